"""What the row kernels share: blocks of rows, exp(z - m) without its largest term, sums of rows.

Notation for a row z of logits: a = argmax z, m = z_a and s' = sum over j != a of exp(z_j - m).
The argmax is left out of every sum. Its term is exactly 1, and adding 1 is what makes the usual formulas
lose a small s': on confident rows log(1 + s') and 1/(1 + s') - 1 round to 0, log1p(s') and -s'/(1 + s')
do not.

Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions",
IMA Journal of Numerical Analysis 41(4), 2021.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]

BLOCK = 1 << 17  # elements per row block: the block and its gradient stay in the second-level cache
SHORT_ROW = 64  # up to this many classes float32 rows are computed in float64: it costs little there
LONG_ROW = 1024  # above, plain accumulation of float32 would lose more than a few units
CONFIDENT = 2.0**-10  # float64 rows whose s' is smaller have it computed again, compensated
DEEP, LIFT = 1e-300, 512.0  # float64 rows whose s' is smaller are summed as exp(z_j - m + LIFT): adding it is exact


def row_blocks(n: int, c: int) -> Iterator[slice]:
    step = max(1, BLOCK // c)
    return (slice(i, i + step) for i in range(0, n, step))


def require_classes(c: int) -> int:
    if c == 0:
        raise ValueError("softmax needs at least one class: the class axis of the logits has length 0")
    return c


def work(x: Array, out: Array | None, wide: bool = False) -> tuple[Array, Array]:
    """`x`, row-major, in the dtype to compute in, and where to compute: in `out` if its dtype is that."""
    if x.dtype != np.float64 and (wide or x.shape[1] <= SHORT_ROW):
        x = x.astype(np.float64, order="C")
        return x, x
    x = np.ascontiguousarray(x, np.float32 if x.dtype == np.float16 else x.dtype)
    return x, out if out is not None and out.dtype == x.dtype else np.empty_like(x)


def exp_but_max(x: Array, e: Array, compensate: bool = False) -> tuple[Indices, Array, Array]:
    """exp(x - m) into `e`, 0 at one maximum of each row: its flat position, m and the sum s'.

    With `compensate` the rounding of x - m is put back and that of the sum avoided; then `e` must not be `x`.
    """
    top = x.argmax(1)
    top += row_starts(*x.shape)
    m = x.ravel()[top]
    np.subtract(x, beside(m, x.shape[1]), out=e)
    np.exp(e, out=e)
    if compensate:
        lost = _lost(x, m[:, None])
        lost *= e
        e += lost
    e.ravel()[top] = m - m  # 0, or nan if the row holds nan or +inf, or only -inf
    return top, m, exact_row_sums(e) if compensate else row_sums(e)


def beside(values: Array, c: int) -> Array:
    """The value of a row for each of its `c` elements: repeated where rows are short, as broadcasting is slow there."""
    return values.repeat(c).reshape(-1, c) if c <= SHORT_ROW else values[:, None]


def _lost(x: Array, m: Array) -> Array:
    """What x - m loses when it is rounded to d (Knuth's TwoSum): exp(x - m) = exp(d + lost) = exp(d) (1 + lost)."""
    lost: Array = x - m  # d; then (x - (d - b)) - (m + b), in place: memory from the system costs more than the sums
    b = lost - x
    lost -= b
    np.subtract(x, lost, out=lost)
    b += m
    lost -= b
    return np.fmax(lost, -1.0, out=lost)  # nan, where x is -inf and exp(d) is 0, becomes -1


def row_sums(e: Array) -> Array:
    """Sums of the rows: a product with ones is faster on short rows, pairwise summation better on long."""
    c = e.shape[1]
    sums: Array = np.vecdot(e, _ones(c, e.dtype)) if c <= LONG_ROW else np.add.reduce(e, axis=1)
    return sums


def exact_row_sums(e: Array) -> Array:
    """Sums of the rows of terms >= 0 as if added exactly: of their high parts, and of what those leave over.

    The high parts are multiples of one unit so large that their sum is exact. Source: the extraction of Rump, Ogita &
    Oishi, "Accurate floating-point summation, part I", SIAM Journal on Scientific Computing 31(1), 2008.
    """
    above = np.ldexp(1.0, np.frexp(row_sums(e))[1] + 1)[:, None]  # a power of two, at least twice the sum
    high = e + above
    high -= above
    sums = row_sums(high)
    sums += row_sums(np.subtract(e, high, out=high))
    return sums


@functools.lru_cache(maxsize=8)
def row_starts(n: int, c: int) -> Indices:
    """The flat positions at which the rows of an (n, c) array start."""
    starts = np.arange(0, n * c, c, dtype=np.intp)
    starts.flags.writeable = False
    return starts


@functools.lru_cache(maxsize=64)
def _ones(count: int, dtype: np.dtype[Any]) -> Array:
    ones = np.ones(count, dtype)
    ones.flags.writeable = False
    return ones


def refine(rest: Array, x: Array, compensated: bool = False) -> Floats:
    """s' in float64, more precisely where log1p(s') shows the rounding of z_j - m: in the more confident rows.

    float32 rows are taken to float64, where that rounding is harmless and exp does not underflow; for float64 it is put
    back, unless it has been (`compensated`), and rows whose every exp(z_j - m) is about to underflow are summed lifted.
    """
    rest = rest.astype(np.float64, copy=False)
    double = x.dtype == np.float64
    limit = CONFIDENT if double else min(max(4.0, x.shape[1] / 64), 32.0)  # else 8 ULP of a float32 loss, now 2
    again = (rest < limit).nonzero()[0]
    if again.size and not compensated:
        z = x[again].astype(np.float64, copy=False)
        rest[again] = exp_but_max(z, np.empty_like(z) if double else z, double)[2]
    if again.size and double and (deep := again[rest[again] < DEEP]).size:
        z = x[deep]
        m = z.max(1)[:, None]
        e = np.exp((z - m) + LIFT)
        e += e * _lost(z, m)
        e[z == m] = 0.0
        rest[deep] = row_sums(e) * np.exp(-LIFT)
    return rest
