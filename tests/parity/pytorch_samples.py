"""PyTorch's own samples for the softmax family, read from its test database (`torch.testing._internal`).

PyTorch has the classes on axis 1 of a batch (axis 0 of a single row); here they are on the last axis unless `axis` says
otherwise, so every call gets its axis. The samples are random: each suite is drawn with a seed of its own.
"""

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tinygrad_ce import functional as F
from tinygrad_ce import nn

torch = pytest.importorskip("torch", reason='needs PyTorch: pip install "tinygrad_ce[parity]"')
pytest.importorskip("expecttest", reason='needs expecttest: pip install "tinygrad_ce[parity]"')

from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402
from torch.testing._internal.common_modules import module_db  # noqa: E402

DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Case:
    """One sample: what PyTorch computes with it, what we are to compute with it, and the tensors both start from.

    error   for an error input: the exception PyTorch raises and a pattern that its message matches
    """

    suite: str
    number: int
    what: str
    dtype: str
    theirs: Callable[..., Any]
    ours: Callable[..., Any]
    inputs: tuple[Any, ...] = field(repr=False)
    error: tuple[type[Exception], str] | None = None

    @property
    def label(self) -> str:
        return f"{self.suite}-{self.dtype}-{self.number}" + (f"-{self.what}" if self.what else "")


def _class_axis(x: Any) -> int:
    return 1 if x.ndim > 1 else 0


def _options(module: Any) -> dict[str, Any]:
    """The options as the module has them: PyTorch has resolved its old `size_average` and `reduce` by then."""
    names = ("weight", "ignore_index", "label_smoothing", "reduction")
    found = {name: getattr(module, name) for name in names if getattr(module, name, None) is not None}
    if "weight" in found:
        found["weight"] = found["weight"].numpy()
    return found


def _loss(function: Callable[..., Any]) -> Callable[[Any, tuple[Any, ...]], Callable[..., Any]]:
    """Our function with the options of PyTorch's module."""

    def prepare(module: Any, inputs: tuple[Any, ...]) -> Callable[..., Any]:
        options = {**_options(module), "axis": _class_axis(inputs[0])}
        return lambda x, target: function(x, target, **options)

    return prepare


def _loss_module(kind: type[Any]) -> Callable[[Any, tuple[Any, ...]], Callable[..., Any]]:
    """Our module with the options of PyTorch's."""
    return lambda module, inputs: kind(**_options(module), axis=_class_axis(inputs[0]))


MODULES: Mapping[str, Callable[[Any, tuple[Any, ...]], Callable[..., Any]]] = {
    "CrossEntropyLoss": _loss_module(nn.SoftmaxCrossEntropy),
    "NLLLoss": _loss_module(nn.NLLLoss),
    "Softmax": lambda module, _: nn.Softmax(axis=module.dim),
    "LogSoftmax": lambda module, _: nn.LogSoftmax(axis=module.dim),
}
"""From PyTorch's module to ours, by the name of PyTorch's."""


def module_samples(name: str, dtype: str) -> Iterator[Case]:
    """The ModuleInfo of `torch.nn.<name>`: its samples, then its error inputs."""
    info = next(info for info in module_db if info.name == f"nn.{name}")
    arguments = {
        "device": "cpu", "dtype": getattr(torch, dtype), "requires_grad": True, "training": True,
    }  # fmt: skip
    found = [(s, None, s.desc) for s in info.module_inputs_func(info, **arguments)]
    errors = info.module_error_inputs_func(info, **arguments) if info.module_error_inputs_func else ()
    found += [(e.module_error_input, (e.error_type, e.error_regex), "error") for e in errors]
    for number, (sample, error, what) in enumerate(found):
        module = info.module_cls(*sample.constructor_input.args, **sample.constructor_input.kwargs)
        inputs = sample.forward_input.args
        # what is no error is compared with PyTorch's float64
        theirs = module if error else copy.deepcopy(module).double()
        yield Case(f"ModuleInfo {name}", number, what, dtype, theirs, MODULES[name](module, inputs), inputs, error)


def _losses(kind: type[Any], function: Callable[..., Any]) -> Callable[[Any], tuple[Any, Any, tuple[Any, ...]]]:
    def read(sample: Any) -> tuple[Any, Any, tuple[Any, ...]]:
        module = kind(**sample.kwargs)
        inputs = (sample.input, *sample.args)
        return copy.deepcopy(module).double(), _loss(function)(module, inputs), inputs

    return read


def _along_axis(theirs: Callable[..., Any], ours: Callable[..., Any]) -> Callable[[Any], Any]:
    def read(sample: Any) -> tuple[Any, Any, tuple[Any, ...]]:
        assert set(sample.kwargs) <= {"dtype"}
        rest = [tuple(a) if isinstance(a, list) else a for a in sample.args]
        if not sample.kwargs:
            return lambda x: theirs(x, *rest), lambda x: ours(x, *rest), (sample.input,)
        wide = str(sample.kwargs["dtype"]).removeprefix("torch.")
        return lambda x: theirs(x, *rest, **sample.kwargs), lambda x: ours(x.astype(wide), *rest), (sample.input,)

    return read


OPS: Mapping[tuple[str, str], Callable[[Any], tuple[Any, Any, tuple[Any, ...]]]] = {
    ("nn.functional.cross_entropy", ""): _losses(torch.nn.CrossEntropyLoss, F.softmax_cross_entropy),
    ("nn.functional.nll_loss", ""): _losses(torch.nn.NLLLoss, F.nll_loss),
    ("softmax", ""): _along_axis(torch.softmax, F.softmax),
    ("softmax", "with_dtype"): _along_axis(torch.softmax, F.softmax),
    ("log_softmax", ""): _along_axis(torch.log_softmax, F.log_softmax),
    ("log_softmax", "with_dtype"): _along_axis(torch.log_softmax, F.log_softmax),
    ("logsumexp", ""): _along_axis(torch.logsumexp, F.logsumexp),
}
"""How to read a sample of an OpInfo, by its name and variant: PyTorch's function, ours, and the tensors."""


def op_samples(name: str, variant: str, dtype: str) -> Iterator[Case]:
    """The samples of an OpInfo. None of these ops has error inputs there."""
    info = next(info for info in op_db if (info.name, info.variant_test_name) == (name, variant))
    assert info.error_inputs_func is None
    suite = " ".join(("OpInfo", name.removeprefix("nn.functional."), variant)).strip()
    for number, sample in enumerate(info.sample_inputs("cpu", getattr(torch, dtype), requires_grad=True)):
        theirs, ours, inputs = OPS[name, variant](sample)
        shape = "x".join(map(str, sample.input.shape)) or "0-d"
        yield Case(suite, number, shape, dtype, theirs, ours, inputs)


def all_cases() -> list[Case]:
    """Every sample of every suite, in both dtypes."""
    state = random.getstate()
    cases = []
    with torch.random.fork_rng(devices=[]):
        for dtype in DTYPES:
            for name in MODULES:
                _seed()
                cases += module_samples(name, dtype)
            for name, variant in OPS:
                _seed()
                cases += op_samples(name, variant, dtype)
    random.setstate(state)
    return cases


def _seed() -> None:
    torch.manual_seed(0)
    random.seed(0)
