"""What several test files need: leaves, ops of the user's own, the samples of the op database, a training step."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn
from tinygrad_ce.registry import FusedOp, registry
from tinygrad_ce.testing.database import database
from tinygrad_ce.testing.opinfo import OpInfo, Sample


def leaf(data: Any, **kwargs: Any) -> tg.Tensor:
    return tg.Tensor(np.asarray(data, float), requires_grad=True, **kwargs)


# Ops of the user's own


def make(**members: Any) -> type[tg.Op]:
    """Register an op with these members; its forward is x * y unless one is given."""
    members.setdefault("forward", staticmethod(lambda x, y: x * y))
    return tg.register(type("Broken", (tg.Op,), members))


def square_op(rule: Callable[..., Any], **members: Any) -> type[tg.Op]:
    """z = x ** 2 with a given rule; not registered under a name of the library's."""
    return tg.register(
        type("Quadrat", (tg.Op,), {"forward": staticmethod(lambda x: x * x), "vjps": (rule,), **members})
    )


# The op database

SAMPLES = {name: info.samples(np.random.default_rng(0)) for name, info in database.items()}


def cases(
    which: dict[str, list[Sample]],
    keep: Callable[[OpInfo], bool] = lambda _: True,
    dtypes: Sequence[str] = ("float64",),
) -> Any:
    """Parametrize over the samples of the ops to keep, in each of these dtypes that an op has."""
    return pytest.mark.parametrize(
        ("info", "sample"),
        [
            pytest.param(database[name], sample.cast(dtype), id=f"{name}-{i}-{sample}-{dtype}")
            for name, samples in which.items()
            if keep(database[name])
            for i, sample in enumerate(samples)
            for dtype in dtypes
            if dtype in database[name].dtypes
        ],
    )


def is_fused(info: OpInfo) -> bool:
    return issubclass(registry[info.name], FusedOp)


def run(info: OpInfo, sample: Sample, inputs: Sequence[Any] | None = None) -> Any:
    op = registry[info.name]
    return op(
        *(sample.inputs if inputs is None else inputs), **{**op.defaults, **copy.deepcopy(dict(sample.attributes))}
    )


def differentiable(info: OpInfo, sample: Sample) -> list[int]:
    """The positions of the inputs that have a gradient."""
    op = registry[info.name]
    floats = [i for i, x in enumerate(sample.inputs) if x.dtype.kind == "f"]
    return [i for i in floats if op.vjp is not None or op.vjps[i] is not None]


def recorded(info: OpInfo, sample: Sample) -> tuple[Any, list[tg.Tensor]]:
    """The op applied to Tensors, and those of them that take a gradient."""
    inputs = list(sample.inputs)
    for i in differentiable(info, sample):
        inputs[i] = tg.Tensor(inputs[i], requires_grad=True)
    return run(info, sample, inputs), [inputs[i] for i in differentiable(info, sample)]


# A training step to draw

LABELS = np.array([0, 2, 1, 1, 0])


def batch():
    return np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)


def training_step(loss=F.softmax_cross_entropy):
    generator = np.random.default_rng(3)
    model = nn.Sequential(nn.Linear(4, 8, generator=generator), nn.ReLU(), nn.Linear(8, 3, generator=generator))
    x = batch()
    value = loss(model(x), LABELS)
    value.name = "loss"
    return value, {"model": model, "inputs": {"x": x, "y": LABELS}}


def unfused(logits, labels):
    e = np.exp(logits - np.max(logits, axis=1, keepdims=True))
    return F.nll_loss(np.log(e / np.sum(e, axis=1, keepdims=True)), labels)
