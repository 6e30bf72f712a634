"""Every op against PyTorch on the samples of the op database: value, gradient and dtype."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import functional as F  # noqa: F401  registers the ops
from tinygrad_ce.registry import registry
from tinygrad_ce.testing.database import database
from tinygrad_ce.testing.opinfo import OpInfo, Sample

torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install -e '.[parity]'")
nnf = torch.nn.functional

# Ops that PyTorch has no counterpart of.
NO_COUNTERPART = {
    "dropout": "PyTorch draws which entries are kept from a generator of its own; the op itself is given them",
}


def axes(x: Any, axis: Any) -> list[int]:
    return list(range(x.ndim)) if axis is None else list(axis) if isinstance(axis, tuple) else [axis]


def reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Any, axis: Any = None, keepdims: bool = False, **attributes: Any) -> Any:
        if x.ndim == 0 or axis == ():  # to PyTorch an empty list of axes means all
            return function(x.reshape(*x.shape, 1), dim=[-1], keepdim=False, **attributes)
        return function(x, dim=axes(x, axis), keepdim=keepdims, **attributes)

    return call


def prod(x: Any, dim: list[int], keepdim: bool) -> Any:
    for axis in sorted((a % x.ndim for a in dim), reverse=True):
        x = torch.prod(x, dim=axis, keepdim=keepdim)
    return x


def cumsum(x: Any, axis: int | None = None) -> Any:
    return torch.cumsum(x.reshape(-1) if axis is None else x, dim=axis or 0)


def expand_dims(x: Any, axis: Any) -> Any:
    ndim = x.ndim + (len(axis) if isinstance(axis, tuple) else 1)
    for a in sorted(k % ndim for k in (axis if isinstance(axis, tuple) else (axis,))):
        x = x.unsqueeze(a)
    return x


def clip(x: Any, a_min: Any, a_max: Any) -> Any:
    return x.clone() if a_min is None and a_max is None else torch.clamp(x, a_min, a_max)


def getitem(x: Any, index: Any) -> Any:
    items = index if isinstance(index, tuple) else (index,)
    converted = []
    for item in items:
        if isinstance(item, slice) and (item.step or 1) < 0:  # PyTorch has no negative steps
            item = list(range(*item.indices(x.shape[0])))
        converted.append(torch.as_tensor(item) if isinstance(item, (list, np.ndarray)) else item)
    return x[tuple(converted)]


def scatter_add(x: Any, index: Any, shape: Any) -> Any:
    base = torch.zeros(shape, dtype=x.dtype, requires_grad=True)
    return torch.autograd.grad(getitem(base, index), base, x, create_graph=True)[0]


def take_along_axis(x: Any, indices: Any, axis: int | None) -> Any:
    if axis is None:
        x, axis = x.reshape(-1), 0
    return torch.take_along_dim(x, torch.as_tensor(indices % x.shape[axis]), dim=axis)


def concatenate(*tensors: Any, axis: int | None) -> Any:
    return torch.cat([x.reshape(-1) for x in tensors] if axis is None else tensors, dim=axis or 0)


def pad(x: Any, pad_width: Any, constant_values: Any = 0) -> Any:
    for axis in range(x.ndim):
        before, after = np.broadcast_to(pad_width, (x.ndim, 2))[axis].tolist()
        low, high = np.broadcast_to(constant_values, (x.ndim, 2))[axis].tolist()
        ahead, behind = ([0, 0] * (x.ndim - 1 - axis) + side for side in ([before, 0], [0, after]))
        x = nnf.pad(nnf.pad(x, ahead, value=low), behind, value=high)
    return x


def by_row(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(
        x: Any, q: Any = None, targets: Any = None, axis: int = -1, reduction: str = "mean", weight: Any = None,
        **options: Any,
    ) -> Any:  # fmt: skip
        for ours in ("on_empty", "precise"):
            options.pop(ours, None)
        if weight is not None:
            options["weight"] = torch.as_tensor(weight).to(x.dtype)
        rows = x.movedim(axis, -1)
        classes = rows.shape[-1]
        if q is None:
            target = torch.as_tensor(targets.astype(np.int64)).reshape(-1)
        else:
            target = q.movedim(axis, -1).reshape(-1, classes)
        loss = function(rows.reshape(-1, classes), target, reduction=reduction, **options)
        return loss.reshape(rows.shape[:-1]) if reduction == "none" else loss

    return call


def sigmoid_binary_cross_entropy(x: Any, y: Any, reduction: str = "mean", **weights: Any) -> Any:
    factors = {name: torch.as_tensor(w).to(x.dtype) for name, w in weights.items()}
    return nnf.binary_cross_entropy_with_logits(x, y, reduction=reduction, **factors)


def linear_cross_entropy(
    x: Any, weight: Any, bias: Any = None, q: Any = None, *, class_weight: Any = None, **options: Any
) -> Any:
    """By way of the logits, (..., C, d_1, ...); what PyTorch's own op takes is tested in a file of its own."""
    lines = (a.reshape(-1, *a.shape[weight.ndim - 1 :]) for a in (weight, bias) if a is not None)
    z = nnf.linear(x, *lines).reshape(*x.shape[:-1], *weight.shape[:-1])
    return by_row(nnf.cross_entropy)(z, q, weight=class_weight, axis=x.ndim - 1, **options)


TORCH: dict[str, Callable[..., Any]] = {
    **{name: getattr(torch, name) for name in (
        "add", "sub", "mul", "div", "neg", "pow", "exp", "log", "log1p", "expm1", "sqrt", "abs", "square", "reciprocal",
        "sin", "cos", "tanh", "sigmoid", "maximum", "minimum", "where", "erf", "erfc", "relu", "matmul", "reshape")},
    **{name: getattr(nnf, name) for name in (
        "softplus", "leaky_relu", "elu", "gelu", "silu", "linear", "mse_loss", "kl_div", "binary_cross_entropy")},
    "log_sigmoid": nnf.logsigmoid,
    "clip": clip,
    "astype": lambda x, dtype: x.to(getattr(torch, dtype.name)),
    "sum": reduction(torch.sum),
    "mean": reduction(torch.mean),
    "var": reduction(lambda x, ddof=0, **kw: torch.var(x, correction=ddof, **kw)),
    "std": reduction(lambda x, ddof=0, **kw: torch.std(x, correction=ddof, **kw)),
    "max": reduction(torch.amax),
    "min": reduction(torch.amin),
    "prod": reduction(prod),
    "logsumexp": reduction(torch.logsumexp),
    "cumsum": cumsum,
    "transpose": lambda x, axes: x.permute(tuple(range(x.ndim))[::-1] if axes is None else axes),
    "broadcast_to": lambda x, shape: torch.broadcast_to(x, shape),
    "swapaxes": lambda x, axis1, axis2: x.swapaxes(axis1, axis2),
    "squeeze": lambda x, axis: torch.squeeze(x) if axis is None else torch.squeeze(x, axis),
    "expand_dims": expand_dims,
    "getitem": getitem,
    "scatter_add": scatter_add,
    "take_along_axis": take_along_axis,
    "concatenate": concatenate,
    "stack": lambda *tensors, axis: torch.stack(tensors, dim=axis),
    "pad": pad,
    "flip": lambda x, axis: torch.flip(x, axes(x, axis)),
    "outer": lambda x, y: torch.outer(x.reshape(-1), y.reshape(-1)),
    "einsum": lambda *operands, subscripts: torch.einsum(subscripts, *operands),
    "layer_norm": lambda x, weight=None, bias=None, **options: nnf.layer_norm(
        x, weight=weight, bias=bias, **options),
    "batch_norm": lambda x, weight=None, bias=None, **options: nnf.batch_norm(
        x, None, None, weight, bias, training=True, **options),
    "softmax": lambda x, axis: torch.softmax(x, dim=axis),
    "log_softmax": lambda x, axis: torch.log_softmax(x, dim=axis),
    "nll_loss": by_row(nnf.nll_loss),
    "softmax_cross_entropy": by_row(nnf.cross_entropy),
    "linear_softmax_cross_entropy": linear_cross_entropy,
    "sigmoid_binary_cross_entropy": sigmoid_binary_cross_entropy,
}  # fmt: skip

CASES = [
    pytest.param(info, sample.cast(dtype), id=f"{name}-{i}-{sample}-{dtype}")
    for name, info in database.items()
    if name in TORCH
    for i, sample in enumerate(info.samples(np.random.default_rng(1)))
    for dtype in ("float32", "float64")
]


def test_every_op_is_compared() -> None:
    built_in = {name for name, op in registry.items() if op.__module__.startswith("tinygrad_ce.ops.")}
    assert set(TORCH) | set(NO_COUNTERPART) == built_in
    assert not set(TORCH) & set(NO_COUNTERPART)
    assert all(NO_COUNTERPART.values())
    assert len(CASES) > 1000
    assert {case.values[0].name for case in CASES} == set(TORCH)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
@pytest.mark.filterwarnings("ignore:(var|std).*degrees of freedom is <= 0:UserWarning")
@pytest.mark.parametrize(("info", "sample"), CASES)
def test_op_agrees(info: OpInfo, sample: Sample, rng: np.random.Generator) -> None:
    op = registry[info.name]
    floats = [i for i, x in enumerate(sample.inputs) if x.dtype.kind == "f"]
    ours = [tg.Tensor(x, requires_grad=i in floats) for i, x in enumerate(sample.inputs)]
    theirs = [torch.tensor(x, requires_grad=i in floats) for i, x in enumerate(sample.inputs)]
    z = op(*ours, **{**op.defaults, **sample.attributes})
    expected = TORCH[info.name](*theirs, **sample.attributes)
    assert_close(z.data, expected)
    g = np.asarray(rng.normal(size=z.shape), z.dtype)
    found = tg.grad([z], [ours[i] for i in floats], [g])
    wanted = torch.autograd.grad(expected, [theirs[i] for i in floats], torch.as_tensor(g))
    for dx, expected_dx in zip(found, wanted, strict=True):
        assert_close(dx.data, expected_dx)


def assert_close(ours: np.ndarray, theirs: Any) -> None:
    """The same shape and dtype, and the same numbers but for a few round-offs of the largest."""
    expected = theirs.detach().numpy()
    assert ours.shape == expected.shape
    assert ours.dtype == expected.dtype
    size = np.max(np.abs(expected), initial=0.0)
    assert math.isfinite(size)
    assert np.all(np.abs(ours - expected) <= 32 * np.finfo(ours.dtype).eps * size)
