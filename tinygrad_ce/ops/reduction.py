"""Ops that put the entries along one axis, several or all of them (None) together.

float16 adds up in float32 and is rounded once, at the end.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.kernels.choice import kernels
from tinygrad_ce.ops.softmax import Softmax
from tinygrad_ce.registry import Op, register


def _is_half(x: Any) -> bool:
    return bool(x.dtype.char == "e")  # a dtype takes five times as long to compare with a type


def _wide(x: Any) -> Any:
    return x.astype(np.float32) if _is_half(x) else x


def _accumulator(x: Any) -> Any:
    return np.float32 if _is_half(x) else None


def _round(z: Any, x: Any) -> Any:
    return z.astype(np.float16) if _is_half(x) else z


def _count(shape: tuple[int, ...], axis: Any) -> int:
    """How many entries are put together into one."""
    axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return math.prod(shape[i] for i in axes)


def _expand(g: Any, axis: Any, keepdims: bool) -> Any:
    """Put the reduced axes back with length 1, so that g broadcasts against x."""
    return g if keepdims or axis is None else np.expand_dims(g, axis)


def _as_rows(x: Any, axis: Any) -> Any:
    """x with the reduced axes moved to the end and flattened into one."""
    kept, reduced = _split(len(x.shape), axis)
    shape = [x.shape[i] for i in kept]
    return np.transpose(x, kept + reduced).reshape((*shape, math.prod(x.shape[i] for i in reduced)))


def _from_rows(rows: Any, shape: tuple[int, ...], axis: Any) -> Any:
    """The inverse of `_as_rows`."""
    kept, reduced = _split(len(shape), axis)
    order = kept + reduced
    return np.transpose(rows.reshape(tuple(shape[i] for i in order)), tuple(np.argsort(order).tolist()))


def _split(ndim: int, axis: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    reduced = tuple(i % ndim for i in axes)
    return tuple(i for i in range(ndim) if i not in reduced), reduced


@register
class Sum(Op):
    """Sum over one axis, several or all; of nothing it is 0."""

    formula = "z = sum(x)"
    vjp_formula = "dx = g"
    latex = r"z = \sum_i x_i"
    numpy = (np.sum,)
    vjps = (lambda g, _z, _x, *, axis, keepdims: np.broadcast_to(_expand(g, axis, keepdims), _x.shape),)

    @staticmethod
    def forward(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
        if _is_half(x):
            return x.sum(axis, np.float32, keepdims=keepdims).astype(np.float16)
        return x.sum(axis, keepdims=keepdims)


def _mean(x: Any, axis: Any, keepdims: bool) -> Any:
    n = _count(x.shape, axis)
    total = x.sum(axis, dtype=_accumulator(x), keepdims=keepdims)
    return total / n if n else total * math.nan  # 0 / 0 would warn


def _mean_vjp(g: Any, _z: Any, _x: Any, *, axis: Any, keepdims: bool) -> Any:
    g = _wide(_expand(g, axis, keepdims))  # n may be beyond the range of float16
    return np.broadcast_to(_round(g / max(_count(_x.shape, axis), 1), _x), _x.shape)


@register
class Mean(Op):
    """Arithmetic mean over one axis, several or all; of nothing it is nan."""

    formula = "z = sum(x) / n"
    vjp_formula = "dx = g / n"
    latex = r"z = \frac{1}{n} \sum_i x_i"
    numpy = (np.mean,)
    vjps = (_mean_vjp,)

    @staticmethod
    def forward(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
        return _round(_mean(x, axis, keepdims), x)


def _variance(x: Any, axis: Any, ddof: float, keepdims: bool) -> Any:
    x = _wide(x)
    deviation = x - _mean(x, axis, True)
    return (deviation * deviation).sum(axis, keepdims=keepdims) / _freedom(x.shape, axis, ddof)


def _freedom(shape: tuple[int, ...], axis: Any, ddof: float) -> float:
    freedom = _count(shape, axis) - ddof
    return freedom if freedom > 0 else math.nan


def _var_vjp(g: Any, _z: Any, x: Any, *, axis: Any, ddof: float, keepdims: bool) -> Any:
    x, g = _wide(x), _wide(_expand(g, axis, keepdims))
    return g * (2 / _freedom(x.shape, axis, ddof)) * (x - Mean(x, axis=axis, keepdims=True))


@register
class Var(Op):
    """Variance: the mean squared deviation from the mean, by two passes; divided by n - ddof.

    nan where n - ddof is not positive.
    """

    formula = "z = sum((x - mean(x))**2) / (n - ddof)"
    vjp_formula = "dx = g * 2 * (x - mean(x)) / (n - ddof)"
    latex = r"z = \frac{1}{n - d} \sum_i (x_i - \bar x)^2"
    numpy = (np.var,)
    vjps = (_var_vjp,)

    @staticmethod
    def forward(x: Any, *, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
        return _round(_variance(x, axis, ddof, keepdims), x)


def _std_vjp(g: Any, z: Any, x: Any, *, axis: Any, ddof: float, keepdims: bool) -> Any:
    x, z, g = _wide(x), _wide(_expand(z, axis, keepdims)), _wide(_expand(g, axis, keepdims))
    deviation = x - Mean(x, axis=axis, keepdims=True)
    constant = z == 0
    slope = np.where(constant, 0, g) / _freedom(x.shape, axis, ddof)
    return slope * (deviation / np.where(constant, 1, z))


@register
class Std(Op):
    """Standard deviation: the square root of the variance.

    Where all entries are equal it is 0 and has a kink; the gradient there is 0, as in PyTorch.
    """

    formula = "z = sqrt(sum((x - mean(x))**2) / (n - ddof))"
    vjp_formula = "dx = g * (x - mean(x)) / ((n - ddof) * z)"
    latex = r"z = \sqrt{\frac{1}{n - d} \sum_i (x_i - \bar x)^2}"
    numpy = (np.std,)
    vjps = (_std_vjp,)

    @staticmethod
    def forward(x: Any, *, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
        return _round(np.sqrt(_variance(x, axis, ddof, keepdims)), x)


def _extreme_vjp(g: Any, z: Any, x: Any, *, axis: Any, keepdims: bool) -> Any:
    chosen = (x == _expand(z, axis, keepdims)) | np.isnan(x)  # nan is chosen over any number
    g = _expand(g, axis, keepdims) / np.sum(chosen, axis=axis, keepdims=True)
    return np.where(chosen, g.astype(x.dtype), 0)


@register
class Max(Op):
    """Largest entry along one axis, several or all; entries that share the maximum share the gradient equally."""

    formula = "z = max(x)"
    vjp_formula = "dx = g / m at the m entries where x = z, else 0"
    latex = r"z = \max_i x_i"
    numpy = (np.max, np.amax)
    vjps = (_extreme_vjp,)

    @staticmethod
    def forward(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
        return x.max(axis, keepdims=keepdims)


@register
class Min(Op):
    """Smallest entry along one axis, several or all; entries that share the minimum share the gradient equally."""

    formula = "z = min(x)"
    vjp_formula = "dx = g / m at the m entries where x = z, else 0"
    latex = r"z = \min_i x_i"
    numpy = (np.min, np.amin)
    vjps = (_extreme_vjp,)

    @staticmethod
    def forward(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
        return x.min(axis, keepdims=keepdims)


@np.errstate(over="ignore", invalid="ignore")
def _prod_vjp(g: Any, _z: Any, x: Any, *, axis: Any, keepdims: bool) -> Any:
    """g times the product of all other entries, which z / x is not where there are zeros.

    A tree: entries are multiplied in pairs, the products in pairs again, up to one product. On the way down each
    partner is multiplied by the product of everything outside the pair and by the other partner.
    """
    rows = _as_rows(_wide(x), axis)
    *batch, n = rows.shape
    width = 1 << max(n - 1, 0).bit_length()  # the next power of two
    level = np.concatenate([rows, np.ones((*batch, width - n), rows.dtype)], axis=-1)
    levels = []
    while width > 1:
        width //= 2
        levels.append(level.reshape((*batch, width, 2)))
        level = levels[-1][..., 0] * levels[-1][..., 1]
    others = g.reshape((*batch, 1))
    for pairs in reversed(levels):
        width *= 2
        others = (others[..., None] * pairs[..., ::-1]).reshape((*batch, width))
    return _from_rows(others[..., :n], x.shape, axis)


@register
class Prod(Op):
    """Product over one axis, several or all; of nothing it is 1. Its gradients are exact with zeros among x, too."""

    formula = "z = prod(x)"
    vjp_formula = "dx = g * (product of the other entries)"
    latex = r"z = \prod_i x_i"
    numpy = (np.prod,)
    vjps = (_prod_vjp,)

    @staticmethod
    @np.errstate(over="ignore", invalid="ignore")
    def forward(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
        return _round(x.prod(axis, dtype=_accumulator(x), keepdims=keepdims), x)


def _logsumexp_vjp(g: Any, _z: Any, x: Any, *, axis: Any, keepdims: bool) -> Any:
    p = Softmax(_as_rows(x, axis), axis=-1)  # exp(x - z) would lose the digits of a large z
    return _from_rows(g.reshape((*p.shape[:-1], 1)) * p, x.shape, axis)


@register
class LogSumExp(Op):
    """Logarithm of the sum of exponentials over one axis, several or all: a smooth maximum, without overflow.

    Only -inf gives -inf, any +inf gives +inf; the gradient is then nan. Source: Blanchard, Higham & Higham, 2021.
    """

    name = "logsumexp"
    formula = "z = log(sum(exp(x)))"
    vjp_formula = "dx = g * exp(x - z)"
    latex = r"z = \ln \sum_i e^{x_i}"
    vjps = (_logsumexp_vjp,)

    @staticmethod
    def forward(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
        if _count(x.shape, axis) == 0:
            raise ValueError("there is nothing to add up; the axis needs a length of at least 1")
        return kernels.logsumexp(x if x.dtype.kind == "f" else x.astype(np.float64), axis, keepdims)


def _cumsum_vjp(g: Any, _z: Any, _x: Any, *, axis: int | None) -> Any:
    along = 0 if axis is None else axis
    dx = np.flip(CumSum(np.flip(g, along), axis=along), along)
    return dx.reshape(_x.shape) if axis is None else dx


@register
class CumSum(Op):
    """Running sum along an axis, or of the flattened array (axis None)."""

    name = "cumsum"
    formula = "z_i = sum of x_j for j <= i"
    vjp_formula = "dx_j = sum of g_i for i >= j"
    latex = r"z_i = \sum_{j \le i} x_j"
    numpy = (np.cumsum,)
    vjps = (_cumsum_vjp,)

    @staticmethod
    def forward(x: Any, *, axis: int | None = None) -> Any:
        return _round(x.cumsum(axis, dtype=_accumulator(x)), x)
