"""What the row kernels share: blocks of rows, and the sum of exp over all entries of a row but one.

Notation for a row z of logits: y is the entry left out (the target, or the largest where there is no target),
r = max over j != y of z_j, S = sum over j != y of exp(z_j - r).

Leaving one entry out is what keeps a confident row's digits. Relative to z_y its term would be 1 beside a sum
S' = S exp(r - z_y) of the others that may be tiny: log(1 + S') and 1 / (1 + S') - 1 round to 0, log1p(S') and
-S' / (1 + S') do not. And taking the others relative to the largest of *them* makes S at least 1: however confident the
row, what counts in S is rounded little by z_j - r and does not underflow.

Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions",
IMA Journal of Numerical Analysis 41(4), 2021.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.kernels import threads

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
BLOCK = 1 << 18  # elements per row block: few enough for a cache, so many that calls, and waiting to call, cost little
TALL_BLOCK = 120_000  # the same for short rows, whose sums take memory too; no power of 2: such strides share cache
PARALLEL = 1 << 17  # fewer elements are not worth a second thread
SHORT_ROW = 64  # up to this many classes float16 and float32 rows are computed in float64, which costs them little
TALL = 32  # up to this many classes a block is laid out class by class: NumPy is slow along short rows
LONG_ROW = 1024  # above, plain accumulation of float32 would lose more than a few units
SURE = 2.0  # rows whose rest is less would show how a float32 sum was rounded
MOST = 0.75  # where more of the rows are to be added up anew, all of them are: a copy costs more than the others do
LOWEST = {char: float(np.finfo(char).min) for char in "fd"}
FAR = 600.0  # exp of it is a number in float64, and far more than 1 / eps
LIFT = 256.0  # what exp is lifted by where it would underflow: adding it is exact
KEPT = range(1 << 15, 1 << 25)  # bytes of scratch memory worth keeping: what is smaller costs nothing to get


def block_size(c: int) -> int:
    """The most elements of a block of rows of c classes."""
    return BLOCK if c > TALL else min(BLOCK, TALL_BLOCK)


def row_blocks(n: int, c: int) -> Iterator[slice]:
    """Blocks of at most `block_size` elements; of an array worth two threads an even number, almost equal."""
    step = max(1, block_size(c) // c)
    if n * c >= PARALLEL:
        step = -(-n // (2 * -(-n // (2 * step))))
    return (slice(i, i + step) for i in range(0, n, step))


def for_blocks(task: Callable[[slice], object], n: int, c: int) -> None:
    """Call `task` with every block of rows; on several threads if that pays, with the same blocks."""
    if n * c >= PARALLEL:
        threads.run(task, row_blocks(n, c))
    else:
        for block in row_blocks(n, c):
            task(block)


def in_blocks(task: Callable[..., object], *arguments: Any) -> None:
    """Call `task` with every block of rows of those arguments that are arrays, and with the others as they are."""
    n, c = arguments[0].shape
    if n and n * c < PARALLEL and n * c <= block_size(c):
        task(*arguments)
    else:
        for_blocks(lambda part: task(*(x[part] if isinstance(x, np.ndarray) else x for x in arguments)), n, c)


def require_classes(c: int) -> int:
    if c == 0:
        raise ValueError("softmax needs at least one class: the class axis of the logits has length 0")
    return c


class _Kept(threading.local):
    def __init__(self) -> None:  # runs once in each thread
        self.memory: dict[int, NDArray[np.uint8]] = {}


_kept = _Kept()


def scratch(shape: tuple[int, int], dtype: np.dtype[Any], use: int = 0) -> Array:
    """An array for a block's intermediate results, its values undefined, on memory that this thread keeps.

    Fresh memory from the system costs more than the arithmetic. Two arrays needed at once differ in `use`.
    """
    size = shape[0] * shape[1] * dtype.itemsize
    if size not in KEPT:
        return np.empty(shape, dtype)
    memory = _kept.memory.get(use)
    if memory is None or len(memory) < size:
        memory = _kept.memory[use] = np.empty(size, np.uint8)
    return memory[:size].view(dtype).reshape(shape)


def room(x: Array, out: Array | None = None, wide: bool = False, use: int = 0) -> tuple[Array, int]:
    """Where to compute on the rows `x`, its values undefined, and the axis of the classes: 0 where rows are short.

    It is `out` if that has the dtype to compute in, which with `wide` is float64 for all.
    """
    n, c = x.shape
    dtype = DOUBLE if wide or c <= SHORT_ROW or x.dtype == DOUBLE else SINGLE
    if c <= TALL:
        return scratch((c, n), dtype, use), 0
    return out if out is not None and out.dtype == dtype else scratch((n, c), dtype, use), 1


def laid_out(x: Array, use: int) -> tuple[Array, int]:
    """The rows `x` as `room` says, themselves where they are so already, and the axis of the classes.

    How a sum is rounded depends on how it lies in memory, so that must not depend on where `x` comes from.
    """
    e, axis = room(x, x if x.flags.c_contiguous else None, use=use)
    if e is not x:
        e[...] = x if axis else x.T
    return e, axis


def in_rows(e: Array, axis: int) -> Array:
    """A laid out block as rows again, a view."""
    return e.T if axis == 0 else e


def along(values: Array, axis: int) -> Array:
    """The value of a row for each of its classes, to be broadcast."""
    return values if axis == 0 else values[:, None]


def positions(shape: tuple[int, ...], axis: int, classes: Indices) -> Indices:
    """The flat positions, in a block of that shape, of one class of each row."""
    first, second = shape
    if axis == 0:
        return _multiples(first, second)[classes] + _multiples(second, 1)  # looked up: faster than multiplied
    return classes + _multiples(first, second)


def largest(e: Array, axis: int, least: float = -math.inf) -> Array:
    """The largest of each row, and at least `least`; nan if it holds one. (argmax is faster than max.)"""
    if axis == 0:
        m: Array = np.maximum.reduce(e, axis=0, initial=least)
        return m
    return np.maximum(e.take(positions(e.shape, 1, e.argmax(1))), least)


def row_sums(e: Array, axis: int = 1) -> Array:
    """Sums of the rows: a product with ones is faster on rows that are not long, pairwise summation better on those."""
    c = e.shape[axis]
    sums: Array = np.vecdot(e, _ones(c, e.dtype)) if axis == 1 and c <= LONG_ROW else np.add.reduce(e, axis=axis)
    return sums


def exact_row_sums(e: Array, axis: int = 1) -> Array:
    """Sums of the rows of terms >= 0 as if added exactly: of their high parts, and of what those leave over.

    The high parts are multiples of one unit so large that their sum is exact. Source: the extraction of Rump, Ogita &
    Oishi, "Accurate floating-point summation, part I", SIAM Journal on Scientific Computing 31(1), 2008.
    """
    above = along(np.ldexp(1.0, np.frexp(row_sums(e, axis))[1] + 1), axis)  # a power of two, at least twice the sum
    high = np.add(e, above, out=scratch(e.shape, e.dtype, 2))
    high -= above
    sums = row_sums(high, axis)
    sums += row_sums(np.subtract(e, high, out=high), axis)
    return sums


class Others(NamedTuple):
    """Rows without one entry each, y; everything but `e` has one value a row.

    e       exp(z_j - r), and 0 at y
    axis    that of the classes in e
    y, z_y  the flat positions, in e, of the entries left out, and these
    unit    exp(r - z_y), by which e becomes exp(z_j - z_y); at most exp(FAR)
    rest    unit S, the sum of exp(z_j - z_y) over j != y; nan if the row holds nan or +inf, or only -inf
    beyond  how far r - z_y is above FAR; None where it is nowhere
    """

    e: Array
    axis: int
    y: Indices
    z_y: Array
    unit: Floats
    rest: Floats
    beyond: Floats | None


def exp_others(
    z: Array, left_out: Indices | None = None, out: Array | None = None, *, wide: bool = False, compensate: bool = False
) -> Others:
    """exp of all entries of each row but the one of the class `left_out`, which is a largest one if None.

    With `compensate`, for float64, the rounding of z - r is put back and that of the sum avoided.
    """
    e, axis = room(z, out, wide)
    e[...] = z if axis else z.T
    y = positions(e.shape, axis, z.argmax(1) if left_out is None else left_out)
    flat = e.reshape(-1)
    z_y = flat[y]
    flat[y] = -np.inf
    r = largest(e, axis, LOWEST[e.dtype.char])  # a number even where all the others are -inf
    beside = along(r, axis)
    lost = _lost(e, beside, scratch(e.shape, DOUBLE, 1), scratch(e.shape, DOUBLE, 2)) if compensate else None
    e -= beside
    np.exp(e, out=e)
    if lost is None:
        sums = row_sums(e, axis)
    else:
        lost *= e
        e += lost
        sums = exact_row_sums(e, axis)
    unit, rest, beyond = _told_by_left_out(e, z_y, r, sums, exact=z.dtype != DOUBLE)
    return Others(e, axis, y, z_y, unit, rest, beyond)


def _told_by_left_out(e: Array, z_y: Array, r: Array, s: Array, exact: bool) -> tuple[Floats, Floats, Floats | None]:
    """unit, rest and beyond of rows of exp(z_j - r) with the sums s; `exact`: float64 holds r - z_y."""
    gap = np.subtract(r, z_y, dtype=DOUBLE) if e.dtype == SINGLE else r - z_y
    unit = np.exp(gap)
    lost: float | Floats = 0.0
    if not exact:
        lost = _lost(r, z_y)
        unit += unit * lost
    rest = unit * s
    if e.dtype == SINGLE and (again := (rest < SURE).nonzero()[0]).size:
        if again.size < MOST * len(e):
            rest[again] = unit[again] * np.add.reduce(e[again], axis=1, dtype=DOUBLE)
        else:
            rest[again] = (unit * np.add.reduce(e, axis=1, dtype=DOUBLE))[again]
    size = np.abs(gap)
    if size.item(size.argmax()) < FAR:  # argmax is faster than max, and finds nan too
        return unit, rest, None
    far, deep = gap > FAR, gap < -FAR
    unit[far] = np.exp(FAR)
    rest = np.where(far, unit * s, rest)
    rest = np.where(deep, s * (1.0 + lost) * np.exp(gap + LIFT) * np.exp(-LIFT), rest)
    rest[np.isinf(z_y) & ((z_y > 0) | (s == 0))] = np.nan
    return unit, rest, np.maximum(gap - FAR, 0.0)


def _lost(x: Array, m: Array, out: Array | None = None, b: Array | None = None) -> Array:
    """What x - m loses when it is rounded to d (Knuth's TwoSum): exp(x - m) = exp(d + lost) = exp(d) (1 + lost)."""
    lost = np.subtract(x, m, out=out)  # d; then (x - (d - b)) - (m + b)
    b = np.subtract(lost, x, out=b)
    lost -= b
    np.subtract(x, lost, out=lost)
    b += m
    lost -= b
    return np.fmax(lost, -1.0, out=lost)  # nan, where x is -inf and exp(d) is 0, becomes -1


@functools.lru_cache(maxsize=16)
def _multiples(count: int, step: int) -> Indices:
    """0, step, 2 step, ...: where the rows, or the classes, of a block start."""
    starts = np.arange(0, count * step, step, dtype=np.intp)
    starts.flags.writeable = False
    return starts


@functools.lru_cache(maxsize=64)
def _ones(count: int, dtype: np.dtype[Any]) -> Array:
    ones = np.ones(count, dtype)
    ones.flags.writeable = False
    return ones
