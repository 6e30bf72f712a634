"""Softmax, log-softmax, log-sum-exp and softmax cross-entropy on plain arrays, without cancellation.

Notation for a row z of logits: a = argmax z, m = z_a, y the target and s' = sum over j != a of exp(z_j - m).
The argmax is left out of every sum. Its term is exactly 1, and adding 1 is what makes the usual formulas
lose a small s': on confident rows log(1 + s') and 1/(1 + s') - 1 round to 0, log1p(s') and -s'/(1 + s')
do not.

Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions",
IMA Journal of Numerical Analysis 41(4), 2021.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]

BLOCK = 1 << 17  # elements per row block: the block and its gradient stay in the second-level cache
SHORT_ROW = 64  # up to this many classes float32 rows are computed in float64: it costs little there
LONG_ROW = 1024  # above, plain accumulation of float32 would lose more than a few units
CONFIDENT = 2.0**-10  # rows whose s' is smaller have it computed again, more precisely


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
    return _map_rows(_softmax_rows, x, axis)


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
    return _map_rows(_log_softmax_rows, x, axis)


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
    c = _require_classes(math.prod(x.shape[i] for i in axes))
    rows = np.moveaxis(x, axes, range(-len(axes), 0)).reshape(x.size // c, c)
    out = np.empty(len(rows), x.dtype)
    for block in _row_blocks(*rows.shape):
        e = rows[block].astype(np.float64, order="C")
        _, m, rest = _exp_but_max(e, e, np.arange(0, e.size, c))
        out[block] = np.where(np.isinf(m), m, m + np.log1p(rest))
    return out.reshape([1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes])


@np.errstate(all="ignore")
def cross_entropy(z: Array, targets: Array, scale: float | Floats, gradient: bool) -> tuple[Floats, Array | None]:
    """Losses of the rows of `z`, and, if `gradient` is true, their derivatives times `scale`.

        loss = log1p(s') + (m - z_y)
        dz_y = -(s' + (1 - e_y)) / (1 + s') * scale,   dz_j = e_j / (1 + s') * scale,   e_j = exp(z_j - m)

    dz_y is p_y - 1 without cancellation: -s' / (1 + s') if the target is the argmax, where e_y = 1.

    `z` is (N, C), of dtype float16, float32 or float64, and is not modified; `targets` (N,) are integers in
    [0, C), which the caller has checked; `scale` is one factor or N of them, in float64: 1/N for a mean.
    The losses are (N,) in float64, neither reduced nor scaled; the gradient, or None, has the shape and dtype
    of `z`. A target at -inf has loss inf and a finite gradient; a row that holds nan or +inf, or only -inf,
    is nan in its loss and gradient. C = 0 is a ValueError. Source: Blanchard, Higham & Higham (2021).

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.softmax import cross_entropy
    >>> losses, dz = cross_entropy(np.array([[1.0, 2.0, 3.0], [1.0, 5.0, 0.5]]), np.array([2, 0]), 0.5, True)
    >>> losses.round(4), dz.round(4)
    (array([0.4076, 4.029 ]), array([[ 0.045 ,  0.1224, -0.1674],
           [-0.4911,  0.4857,  0.0054]]))
    """
    n, c = z.shape
    _require_classes(c)
    targets = targets.astype(np.intp, copy=False)
    dz = np.empty((n, c), z.dtype) if gradient else None
    if z.size <= BLOCK:
        return _cross_entropy_rows(z, targets, scale, dz), dz
    losses = np.empty(n)
    for block in _row_blocks(n, c):
        losses[block] = _cross_entropy_rows(
            z[block],
            targets[block],
            scale[block] if isinstance(scale, np.ndarray) else scale,
            None if dz is None else dz[block],
        )
    return losses, dz


def _cross_entropy_rows(z: Array, targets: Indices, scale: float | Floats, dz: Array | None) -> Floats:
    """The losses of one block of rows; its gradient goes into `dz`."""
    x, e = _work(z, dz)
    start = np.arange(0, x.size, x.shape[1])
    target = start + targets
    z_y = x.reshape(-1)[target]
    top, m, rest = _exp_but_max(x, e, start)
    if x is not e:
        rest, m = _refine(rest, x), m.astype(np.float64, copy=False)
    losses: Floats = np.log1p(rest)
    losses += m - z_y
    if dz is not None:
        flat = e.reshape(-1)
        flat[top] = 1.0
        factor = scale / (1.0 + rest)
        dz_y = (flat[target] - 1.0 - rest) * factor
        e *= factor.astype(e.dtype, copy=False)[:, None]
        flat[target] = dz_y
        if e is not dz:
            dz[...] = e
    return losses


def _softmax_rows(x: Array, out: Array) -> None:
    x, e = _work(x, out)
    top, _, rest = _exp_but_max(x, e, np.arange(0, x.size, x.shape[1]))
    e.reshape(-1)[top] = 1.0
    np.divide(e, (1.0 + rest)[:, None], out=out)


def _log_softmax_rows(x: Array, out: Array) -> None:
    x, e = _work(x, out)
    if e is x:
        e = np.empty_like(x)
    top, m, rest = _exp_but_max(x, e, np.arange(0, x.size, x.shape[1]))
    log_sum = np.log1p(_refine(rest, x))
    np.subtract(x, m[:, None], out=e)
    e -= log_sum.astype(e.dtype)[:, None]
    e.reshape(-1)[top] = 0.0 - log_sum
    if e is not out:
        out[...] = e


def _work(x: Array, out: Array | None) -> tuple[Array, Array]:
    """`x`, row-major, in the dtype to compute in, and where to compute: in `out` if its dtype is that."""
    if x.dtype != np.float64 and x.shape[1] <= SHORT_ROW:
        x = x.astype(np.float64, order="C")
        return x, x
    x = np.ascontiguousarray(x, np.float32 if x.dtype == np.float16 else x.dtype)
    return x, out if out is not None and out.dtype == x.dtype else np.empty_like(x)


def _exp_but_max(x: Array, e: Array, start: Indices) -> tuple[Indices, Array, Array]:
    """exp(x - m) into `e`, 0 at one maximum of each row: its flat position, m and the sum s'. Rows start at `start`."""
    top = x.argmax(1)
    top += start
    m = x.reshape(-1)[top]
    np.subtract(x, m[:, None], out=e)
    np.exp(e, out=e)
    e.reshape(-1)[top] = m - m  # 0, or nan if the row holds nan or +inf, or only -inf
    return top, m, _row_sums(e)


def _row_sums(e: Array) -> Array:
    """Sums of the rows: a product with ones is faster on short rows, pairwise summation better on long."""
    c = e.shape[1]
    sums: Array = np.vecdot(e, _ones(c, e.dtype)) if c <= LONG_ROW else np.add.reduce(e, axis=1)
    return sums


@functools.lru_cache(maxsize=64)
def _ones(count: int, dtype: np.dtype[Any]) -> Array:
    ones = np.ones(count, dtype)
    ones.flags.writeable = False
    return ones


def _refine(rest: Array, x: Array) -> Floats:
    """s' in float64, again for confident rows: all of their loss is exp(z_j - m), and z_j - m is rounded.

    float32 rows are taken to float64, where the rounding is harmless and exp does not underflow. For float64
    Knuth's TwoSum gives what the difference has lost, and exp(d + lost) is exp(d) + exp(d) * lost.
    """
    rest = rest.astype(np.float64, copy=False)
    confident = (rest < CONFIDENT).nonzero()[0]
    if confident.size:
        z = x[confident].astype(np.float64, copy=False)
        e = np.empty_like(z)
        _, m, sums = _exp_but_max(z, e, np.arange(0, z.size, z.shape[1]))
        if x.dtype == np.float64:
            d = z - m[:, None]
            b = d - z
            e *= np.nan_to_num(z - (d - b) - (m[:, None] + b), copy=False)  # nan where z_j is -inf
            sums += _row_sums(e)
        rest[confident] = sums
    return rest


@np.errstate(all="ignore")
def _map_rows(rule: Callable[[Array, Array], None], x: Array, axis: int) -> Array:
    """Apply `rule(rows, out)` to blocks of the slices of `x` along `axis`."""
    last = x.swapaxes(axis, -1)
    rows = last.reshape(x.size // _require_classes(last.shape[-1]), last.shape[-1])
    out = np.empty(rows.shape, x.dtype)
    for block in _row_blocks(*rows.shape):
        rule(rows[block], out[block])
    return out.reshape(last.shape).swapaxes(axis, -1)


def _row_blocks(n: int, c: int) -> Iterator[slice]:
    step = max(1, BLOCK // c)
    return (slice(i, i + step) for i in range(0, n, step))


def _require_classes(c: int) -> int:
    if c == 0:
        raise ValueError("softmax needs at least one class: the class axis of the logits has length 0")
    return c
