"""Softmax, log-softmax and log-sum-exp on plain arrays, without cancellation; the cross-entropies are here by name.

Notation for a row z of logits: a = argmax z, m = z_a and s' = sum over j != a of exp(z_j - m). The argmax is left out
of every sum, so nothing cancels; `rows` has the reason.

Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions",
IMA Journal of Numerical Analysis 41(4), 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_ce.kernels import rows
from tinygrad_ce.kernels.cross_entropy import cross_entropy, soft_cross_entropy
from tinygrad_ce.kernels.rows import Array, Floats

__all__ = [
    "cross_entropy", "log_softmax", "log_softmax_gradient", "logsumexp", "soft_cross_entropy", "softmax",
    "softmax_gradient",
]  # fmt: skip


def softmax(x: Array, axis: int = -1) -> Array:
    """Probabilities p_j = exp(x_j - m) / (1 + s') along `axis`, and p_a = 1 / (1 + s').

    Shape and dtype (float16, float32 or float64) are those of `x`, which is not modified. An entry of -inf
    has probability 0; a slice that holds nan or +inf, or only -inf, is nan. A slice of length 0 is an error
    (ValueError). Source: Blanchard, Higham & Higham (2021).

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.softmax import softmax
    >>> softmax(np.array([1.0, 2.0, 3.0])).round(4).tolist()
    [0.09, 0.2447, 0.6652]
    """
    return _map_rows(_softmax_rows, axis, x)


def log_softmax(x: Array, axis: int = -1) -> Array:
    """Log-probabilities (x_j - m) - log1p(s') along `axis`, and -log1p(s') at the argmax.

    The value at the argmax is not 0 on confident rows: it is about -s', however small.
    Shape and dtype are those of `x`, which is not modified. A slice that holds nan or +inf, or only -inf,
    is nan. A slice of length 0 is a ValueError. Source: Blanchard, Higham & Higham (2021).

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.softmax import log_softmax
    >>> log_softmax(np.array([50.0, 0.0]))
    array([-1.92874985e-22, -5.00000000e+01])
    """
    return _map_rows(_log_softmax_rows, axis, x)


def softmax_gradient(g: Array, p: Array, axis: int = -1) -> Array:
    """The gradient dx_j = p_j (g_j - sum_k g_k p_k) of x, from that of p = softmax(x) along `axis`.

    Both arrays have the shape and dtype of the result and are not modified.

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.softmax import softmax_gradient
    >>> softmax_gradient(np.array([4.0, 0.0]), np.array([0.25, 0.75]))
    array([ 0.75, -0.75])
    """
    return _map_rows(_softmax_gradient_rows, axis, g, p)


def log_softmax_gradient(g: Array, z: Array, axis: int = -1) -> Array:
    """The gradient dx_j = g_j - p_j G, G = sum_k g_k and p_j = exp(z_j), of x, from that of z = log_softmax(x).

    Where p_j > 1/2 it is g_j (1 - p_j) - p_j (G - g_j), with 1 - p_j = -expm1(z_j), which does not cancel where p_j is
    almost 1. A row of nan that no gradient reaches has none: a loss has ignored it. Both arrays have the shape and
    dtype of the result and are not modified.

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.softmax import log_softmax_gradient
    >>> log_softmax_gradient(np.array([4.0, 0.0]), np.log([0.25, 0.75]))
    array([ 3., -3.])
    """
    return _map_rows(_log_softmax_gradient_rows, axis, g, z)


@np.errstate(all="ignore")
def logsumexp(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """log(sum(exp(x))) = m + log1p(s') over `axis`: one axis, several, or all of them (None).

    The dtype is that of `x`, which is not modified; the work is done in float64. Only -inf gives -inf, any
    +inf gives +inf, any nan gives nan. Nothing to sum is a ValueError.
    Source: Blanchard, Higham & Higham (2021).

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.softmax import logsumexp
    >>> logsumexp(np.array([[1e4, 1e4], [0.0, -np.inf]]), axis=1)
    array([10000.69314718,     0.        ])
    """
    axes = tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim)
    c = rows.require_classes(math.prod(x.shape[i] for i in axes))
    last = x if axes == (x.ndim - 1,) else np.moveaxis(x, axes, range(-len(axes), 0))
    z = last.reshape(x.size // c, c)
    out = np.empty(len(z), x.dtype)
    rows.in_blocks(_logsumexp_rows, z, out)
    return out.reshape([1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes])


def _softmax_rows(z: Array, out: Array) -> None:
    e, axis, _ = _below_largest(z, out)
    np.exp(e, out=e)
    np.divide(e, rows.along(rows.row_sums(e, axis), axis), out=rows.in_rows(out, axis))


def _log_softmax_rows(z: Array, out: Array) -> None:
    d, axis, _ = _below_largest(z, out)
    rest = _rest(z, np.exp(d, out=rows.scratch(d.shape, d.dtype, 2)), axis)
    log_sum = np.log1p(rest).astype(d.dtype, copy=False)
    np.subtract(d, rows.along(log_sum, axis), out=rows.in_rows(out, axis))


def _logsumexp_rows(z: Array, out: Array) -> None:
    e, axis, m = _below_largest(z, wide=True)
    rest = _rest(z, np.exp(e, out=e), axis)
    out[...] = np.where(np.isinf(m), m, m + np.log1p(rest))


def _below_largest(z: Array, out: Array | None = None, wide: bool = False) -> tuple[Array, int, Array]:
    """z_j - m, the axis of the classes in it, and m."""
    d, axis = rows.room(z, out, wide, 1)
    if axis == 0:
        d[...] = z.T
        m = rows.largest(d, axis)
        d -= m
    else:
        m = rows.largest(z, axis).astype(d.dtype, copy=False)
        np.subtract(z, rows.along(m, axis), out=d)
    return d, axis, m


_LEAST = {"f": 2.0**-3, "d": 1.0}  # where s' is less, a sum that holds the largest's 1 has too few digits of it


def _rest(z: Array, e: Array, axis: int) -> Floats:
    """s' of each row; nan if the row holds nan or +inf, or only -inf."""
    sums = rows.row_sums(e, axis)
    rest = sums.astype(np.float64, copy=False)
    rest -= 1.0
    digits_to_spare = sums.dtype == np.float64 and z.dtype != np.float64
    least = 2.0**-20 if digits_to_spare else _LEAST[sums.dtype.char]
    again = (rest < least).nonzero()[0]
    if again.size:  # here the 1 of the largest hides digits of what the others add up to
        rest[again] = rows.exp_others(z[again], wide=e.dtype == np.float64).rest
    return rest


def _softmax_gradient_rows(g: Array, p: Array, out: Array) -> None:
    d, axis = rows.laid_out(g, 1)
    q, _ = rows.laid_out(p, 2)
    dx, _ = rows.room(g, out, use=1)
    if axis == 1 and g.shape[1] <= rows.LONG_ROW:
        sums = np.vecdot(d, q)
    else:
        sums = rows.row_sums(np.multiply(d, q, out=rows.scratch(d.shape, d.dtype, 3)), axis)
    np.subtract(d, rows.along(sums, axis), out=dx)
    np.multiply(dx, q, out=rows.in_rows(out, axis))


def _log_softmax_gradient_rows(g: Array, z: Array, out: Array) -> None:
    d, axis = rows.laid_out(g, 1)
    e, _ = rows.laid_out(z, 2)
    dx, _ = rows.room(z, out, use=3)
    sums = rows.row_sums(d, axis)
    np.exp(e, out=dx)
    dx *= rows.along(sums, axis)
    np.subtract(d, dx, out=dx)
    sure = (e.reshape(-1) > -math.log(2)).nonzero()[0]
    if sure.size:
        row = sure % len(z) if axis == 0 else sure // z.shape[1]
        z_a, g_a = e.reshape(-1)[sure].astype(np.float64), d.reshape(-1)[sure]
        total = sums[row] if sums.dtype == np.float64 else np.add.reduce(d[row], axis=1, dtype=np.float64)
        dx.reshape(-1)[sure] = -g_a * np.expm1(z_a) - np.exp(z_a) * (total - g_a)
    undefined = np.isnan(z[:, 0]).nonzero()[0]  # log_softmax leaves whole rows of nan
    if undefined.size:
        rows.in_rows(dx, axis)[undefined[~g[undefined].any(axis=1)]] = 0
    if dx is not out:
        out[...] = rows.in_rows(dx, axis)


@np.errstate(all="ignore")
def _map_rows(rule: Callable[..., None], axis: int, *arrays: Array) -> Array:
    """Apply `rule(rows, ..., out)` to blocks of the slices of the arrays, which have one shape, along `axis`."""
    last = [x.swapaxes(axis, -1) for x in arrays]
    shape, c = last[0].shape, rows.require_classes(last[0].shape[-1])
    matrices = [x.reshape(x.size // c, c) for x in last]
    out = np.empty(matrices[0].shape, arrays[0].dtype)
    rows.in_blocks(rule, *matrices, out)
    return out.reshape(shape).swapaxes(axis, -1)
