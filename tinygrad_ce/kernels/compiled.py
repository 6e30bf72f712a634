"""The kernels of `softmax`, compiled by numba: the same functions, but always as exact as `precise` asks for.

Notation for a row z of logits: m = max z, e_j = exp(z_j - m), y the entry that is left out of the sum (the target, or
the largest where there is no target), others = sum over j != y of e_j. Then

    s' = others + (e_y - 1),  log-sum-exp = m + log1p(s')
    p_j = e_j / (others + e_y),  p_y - 1 = -others / (others + e_y)

lose nothing on confident rows, where others is tiny beside e_y = 1. All of it is float64: float32 is rounded once,
where the result is written, to 0.5 ULP. For float64 logits exp is given what z_j - m rounds off, and sums are
compensated.

A kernel computes a block of rows at a time, and a block in one short loop after the other, each without branches: so
a processor computes them by the vector, and sees far enough ahead to do so without waiting. Where rows are too short
for that, the terms are laid out class by class, and the loops go along the rows of the block. Threads that run a kernel
together take the blocks from one counter, without the interpreter's lock.
What a function may do with the rules of arithmetic stands above it: "contract" joins a product and a sum, "reassoc"
adds in another order; without a word it is plain IEEE 754.

Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions",
IMA Journal of Numerical Analysis 41(4), 2021.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_ce.kernels import rows, threads
from tinygrad_ce.kernels.rows import Array, Floats, require_classes

__all__ = [
    "cross_entropy", "log_softmax", "log_softmax_gradient", "logsumexp", "soft_cross_entropy", "softmax",
    "softmax_gradient",
]  # fmt: skip

FLOAT32, FLOAT64, INT64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
BLOCK = 1 << 11  # elements that are computed together, or one row: the terms, float64, stay in the first-level cache
SHORT = 32  # up to this many classes the terms are laid out class by class
PARALLEL = 200_000  # fewer elements are not worth a second thread: waking it takes as long as 50,000 of them
CHEAP_PARALLEL = 1 << 20  # nor are fewer than this where there are no exponentials to compute
FEW_BLOCKS = 4  # that a thread takes at a time
BEGUN, DONE, PLACES = 0, 8, 16  # where the counts of rows stand in `progress`: each in a cache line of its own
PATIENCE, COURTESY = 1 << 14, 1 << 8  # how often `_settle` looks
FEW = 256  # float32 numbers that are added up in float32
SURE = 2.0**-10  # what is left of a float64 sum of at least 1 is then right to 2**-40

LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453
LN_2_HIGH, LN_2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # k times the first is exact
ROUND = 1.5 * 2.0**52  # adding it leaves the nearest integer in the last bits
BIAS = 1023  # of the exponent of float64
LIFT = 128  # float64 terms are kept times 2**LIFT, so that none underflows where the sum of many does not
LOWEST, LOWEST_LIFTED = -709.09, -797.81  # the first where 2**k is 0 in float64, as k is -1023 or -1023 - LIFT
LIFT_SINGLE = 32  # the same in float32
LOWEST_SINGLE, ROUND_SINGLE = np.float32(-159.2 * LN_2), np.float32(1.5 * 2.0**23 + 127 + LIFT_SINGLE)
LOG2_E_SINGLE, LN_2_SINGLE = np.float32(LOG2_E), (np.float32(0.693359375), np.float32(-2.12194440e-4))
EXP_SINGLE_ONE = np.float32(1.0)
EXP_SINGLE = tuple(np.float32(x) for x in (1.9875691e-4, 1.3981999e-3, 8.3334519e-3, 4.1665796e-2, 0.16666666, 0.5))
ROUND_BITS = np.float64(ROUND).view(np.uint64)
SQRT_HALF = np.uint64(0x3FE6A09E667F3BCD)  # the bits of the square root of 1/2
SHIFT, MANTISSA = np.uint64(52), np.uint64((1 << 52) - 1)

Function = TypeVar("Function", bound=Callable[..., Any])


def _inline(*liberties: str) -> Callable[[Function], Function]:
    """A function that is compiled into those that call it, with these liberties."""

    def decorate(function: Function) -> Function:
        options = {"error_model": "numpy", "fastmath": set(liberties) or False, "forceinline": True}
        return cast(Function, numba.njit(function, **options))

    return decorate


def _atomic_add(_: Any, array: Any, _index: Any, _value: Any) -> Any:
    """Add to an entry of an array at once, whoever else does; what was there before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [arguments[1]]), arguments[2], "acq_rel")

    return types.int64(array, types.int64, types.int64), generate


_add: Any = intrinsic(_atomic_add)


@_inline()
def _blocks(progress: Array, n: int, step: int) -> Iterator[tuple[int, int]]:
    """The first row and the number of rows of the blocks that this thread takes, a few at a time."""
    start = _add(progress, BEGUN, FEW_BLOCKS * step)
    while start < n:
        stop = min(start + FEW_BLOCKS * step, n)
        for first in range(start, stop, step):
            yield first, min(step, stop - first)
        _add(progress, DONE, stop - start)
        start = _add(progress, BEGUN, FEW_BLOCKS * step)


@_inline("contract")
def _exp(d: float) -> tuple[float, float]:
    """2**k and q, of which exp(d) = 2**k (1 + q), to 2**-34, for d <= 0; exactly 0 below LOWEST.

    d = k ln 2 + r, and q is a polynomial in r, right to as many digits for the smallest r too.
    """
    d = LOWEST if d < LOWEST else d  # nan stays nan
    t = d * LOG2_E + (ROUND + BIAS)
    r = d - (t - (ROUND + BIAS)) * LN_2
    r2 = r * r
    low, middle = 0.5000000067682111 + 0.16666665868936492 * r, 0.0416662949471975 + 0.008333497074880809 * r
    high = 0.0013944659634710502 + 0.00019790341424157098 * r
    return _power_of_two(t), r + r2 * (low + r2 * (middle + r2 * high))


@_inline("contract")
def _exp_difference(x: float, m: float) -> tuple[float, float]:
    """As `_exp` of x - m for x <= m, times 2**LIFT, to 0.8 ULP of the exact difference (TwoSum)."""
    d = x - m
    b = d - x
    lost = (x - (d - b)) - (m + b)
    lost = lost if d > LOWEST_LIFTED else 0.0
    d = LOWEST_LIFTED if d < LOWEST_LIFTED else d
    t = d * LOG2_E + (ROUND + (BIAS + LIFT))
    k = t - (ROUND + (BIAS + LIFT))
    high, low = d - k * LN_2_HIGH, lost - k * LN_2_LOW
    r = high + low
    low += high - r
    r2 = r * r
    q = 2.480149309888739e-05 + 2.755758637378518e-06 * r + r2 * (2.763024838532302e-07 + 2.500006162553128e-08 * r)
    q = 0.0013888888943630134 + 0.00019841269506578723 * r + r2 * q
    q = 0.041666666666530155 + 0.008333333333494461 * r + r2 * q
    q = 0.5000000000000011 + 0.16666666666666413 * r + r2 * q
    return _power_of_two(t), r + (low + r2 * q)


@_inline("contract")
def _exp_lifted(z: Any) -> Any:
    """exp(z) * 2**LIFT_SINGLE for z <= 0, in float32, to 1 ULP; exactly 0 where exp(z) is 0 in float32."""
    d = LOWEST_SINGLE if z < LOWEST_SINGLE else z
    t = d * LOG2_E_SINGLE + ROUND_SINGLE
    k = t - ROUND_SINGLE
    r = (d - k * LN_2_SINGLE[0]) - k * LN_2_SINGLE[1]
    a, b, c, d2, e, f = EXP_SINGLE
    q = ((((a * r + b) * r + c) * r + d2) * r + e) * r + f
    return (q * (r * r) + r + EXP_SINGLE_ONE) * np.int32(np.float32(t).view(np.int32) << 23).view(np.float32)


@_inline()
def _power_of_two(t: float) -> float:
    """2**k, of the exponent in the last bits of t = ROUND + BIAS + k."""
    return np.int64(np.float64(t).view(np.int64) << 52).view(np.float64)


@_inline("contract")
def _log1p(x: float) -> float:
    """log(1 + x) for x >= 0, to 1 ULP, without a branch: the method and the polynomial of FreeBSD's s_log1p.c."""
    u = 1.0 + x
    lost = (x - (u - 1.0)) / u
    bits = np.uint64(np.float64(u).view(np.uint64) - SQRT_HALF)
    k = np.uint64((bits >> SHIFT) + ROUND_BITS).view(np.float64) - ROUND
    f = np.uint64((bits & MANTISSA) + SQRT_HALF).view(np.float64) - 1.0
    s = f / (2.0 + f)
    w = s * s
    p = 2.222219843214978396e-01 + w * (
        1.818357216161805012e-01 + w * (1.531383769920937332e-01 + w * 1.479819860511658591e-01)
    )
    p = w * (6.666666666666735130e-01 + w * (3.999999999940941908e-01 + w * (2.857142874366239149e-01 + w * p)))
    half = 0.5 * f * f
    return k * LN_2_HIGH - ((half - (s * (half + p) + (k * LN_2_LOW + lost))) - f)


@_inline()
def _one(wide: bool) -> float:
    """The term of the largest entry."""
    return 2.0**LIFT if wide else 1.0


@_inline()
def _term(x: float, m: float, wide: bool) -> float:
    scale, q = _exp_difference(x, m) if wide else _exp(x - m)
    return (1.0 + q) * scale


def _row_max_of(real: Any, integer: Any) -> Callable[[Array, int], float]:
    """The largest of row i by the order of the bits, which is that of the numbers; of nan it may be anything."""
    lowest = np.iinfo(integer).min

    @_inline()
    def row_max(z: Array, i: int) -> float:
        top = integer(lowest)
        for j in range(z.shape[1]):
            bits = real(z[i, j]).view(integer)
            top = max(top, bits if bits >= 0 else integer(lowest - bits))
        return np.float64(integer(top if top >= 0 else lowest - top).view(real))

    return row_max


_row_max_32, _row_max_64 = _row_max_of(np.float32, np.int32), _row_max_of(np.float64, np.int64)


@_inline()
def _row_max(z: Array, i: int) -> float:
    return _row_max_64(z, i) if z.dtype == FLOAT64 else _row_max_32(z, i)


@_inline("reassoc")
def _row_terms(z: Array, i: int, m: float, e: Floats, keep: bool) -> float:
    """The sum of the terms of row i, which are put in e, to be kept or not."""
    total = 0.0
    for j in range(z.shape[1]):
        term = _term(np.float64(z[i, j]), m, z.dtype == FLOAT64)
        if keep:
            e[j] = term
        total += term
    return total


@_inline()
def _terms(z: Array, start: int, count: int, e: Floats, m: Floats, sums: Floats, short: bool, keep: bool) -> None:
    """m, e_j and the sum of these of some rows; e has a row for each class if they are few, else for each row of z."""
    wide, c = z.dtype == FLOAT64, z.shape[1]
    if not short:
        for r in range(count):
            m[r] = _row_max(z, start + r)
            sums[r] = _row_terms(z, start + r, m[r], e[r], keep)
        return
    block = z[start : start + count]
    for r in range(count):
        m[r], sums[r] = -np.inf, 0.0
    for j in range(c):
        for r in range(count):
            e[j, r] = block[r, j]
    for j in range(c):
        for r in range(count):
            m[r] = (e[j, r] if e[j, r] > m[r] else m[r]) + 0.0  # without the sum: a store under a mask, slow
    for j in range(c):
        for r in range(count):
            e[j, r] = _term(e[j, r], m[r], wide)
            sums[r] += e[j, r]


@_inline()
def _others(e: Floats, r: int, y: Any, short: bool, wide: bool) -> float:
    """The sum of the terms of a row, that of y made 0."""
    if short:
        e[y, r] *= 0.0  # nan stays nan
        return _sum(e[:, r], wide)
    e[r, y] *= 0.0
    return _sum(e[r], wide)


@_inline("reassoc")
def _sum(x: Floats, exact: bool) -> float:
    """The sum of numbers >= 0; if `exact`, of their high parts, which add without rounding, and of what these leave.

    Source: Rump, Ogita & Oishi, "Accurate floating-point summation, part I", SIAM Journal on Scientific Computing
    31(1), 2008.
    """
    total, low = 0.0, 0.0
    for j in range(len(x)):
        total += x[j]
    if exact:
        above, total = _above(total), 0.0
        for j in range(len(x)):
            high, rest = _split(x[j], above)
            total += high
            low += rest
    return total + low


@_inline()
def _above(total: float) -> float:
    """A power of two, at least twice the sum."""
    return np.uint64(np.float64(total).view(np.uint64) & ~MANTISSA).view(np.float64) * 4.0


@_inline()
def _split(x: float, above: float) -> tuple[float, float]:
    """The part of x that is a multiple of the last bit of `above`, and the rest."""
    high = (x + above) - above
    return high, x - high


@_inline()
def _room(c: int) -> tuple[bool, int, Floats]:
    """Whether rows of c classes are short, how many of them make a block, and where their terms go."""
    short, step = c <= SHORT, max(1, BLOCK // c)
    return short, step, np.empty((c, step) if short else (step, c))


def _index_kernel(
    progress: Array, z: Array, targets: Array, scale: float, scales: Floats, losses: Floats, dz: Array
) -> None:
    """loss = log1p(s') + (m - z_y), dz_j = e_j / (others + e_y) * scale, dz_y = -others / (others + e_y) * scale

    dz is empty if it is not asked for.
    """
    c, wide = z.shape[1], z.dtype == FLOAT64
    one, (short, step, e) = _one(wide), _room(c)
    m, others, own = np.empty(step), np.empty(step), np.empty(step)
    for first, count in _blocks(progress, len(z), step):
        _terms(z, first, count, e, m, others, short, True)
        for r in range(count):
            y: Any = np.uint64(targets[first + r])  # so that nobody asks whether it counts from the end
            j, k = (y, np.uint64(r)) if short else (np.uint64(r), y)
            m[r] -= np.float64(z[first + r, y])
            own[r] = e[j, k]
            others[r] -= own[r]
            if wide or others[r] < SURE:
                others[r] = _others(e, r, y, short, wide)
            e[j, k] = 0.0 - others[r]
        for r in range(count):
            own[r] /= one
            others[r] /= one
            losses[first + r] = _log1p(others[r] + (own[r] - 1.0)) + m[r]
        if len(dz):
            for r in range(count):
                own[r] = (scales[first + r] if scales.size else scale) / (others[r] + own[r]) / one
            _scaled(e, own, dz[first : first + count], short)
            for i in range(first, first + count if scales.size else first):
                if scales[i] == 0.0:
                    _clear(dz[i])


@_inline()
def _scaled(e: Floats, factors: Floats, out: Array, short: bool) -> None:
    """The terms of each row times a factor, written out."""
    n, c = out.shape
    if short:
        for j in range(c):
            for r in range(n):
                out[r, j] = e[j, r] * factors[r]
    else:
        for r in range(n):
            for j in range(c):
                out[r, j] = e[r, j] * factors[r]


@_inline()
def _clear(row: Array) -> None:
    """A row whose own scale is 0 has gradient 0, also where 0 times it was nan."""
    for j in range(len(row)):
        row[j] = 0.0


def _soft_kernel(
    start: int, stop: int, z: Array, t: Floats, scale: float, scales: Floats, losses: Floats, dz: Array
) -> None:
    """loss = sum_c t_c (m - z_c) + log1p(s') T, dz_j = (p_j T - t_j) * scale, all of it compensated

    dz_a is sum_{c != a} t_c - T s' / (1 + s') where p_a is almost 1. t has the rows from `start` to `stop` alone.
    """
    c, one = z.shape[1], _one(True)  # for float32 too, as p_j T and t_j may cancel
    e, terms = np.empty(c), np.empty(c)
    for i in range(start, stop):
        q, m, a = t[i - start], _row_max(z, i), 0
        while a < c - 1 and z[i, a] != m:
            a += 1
        for j in range(c):
            e[j] = _term(np.float64(z[i, j]), m, True)
        e[a] *= 0.0  # nan stays nan
        rest = _sum(e, True) / one
        for j in range(c):
            terms[j] = 0.0 if q[j] == 0.0 else q[j] * (m - np.float64(z[i, j]))
        away = _sum(terms, True)
        if math.isnan(away):  # of inf; or the row is nan, as s' is then
            away = terms.sum()
        for j in range(c):
            terms[j] = 0.0 if j == a else q[j]
        q_others = _sum(terms, True)
        total = q_others + q[a]
        losses[i] = away + _log1p(rest) * total
        if len(dz):
            factor = scales[i] if scales.size else scale
            p_a = total / (1.0 + rest)
            for j in range(c):
                dz[i, j] = (e[j] * p_a / one - q[j]) * factor
            dz[i, a] = (q_others - p_a * rest if rest < 1.0 else p_a - q[a]) * factor
            if scales.size and factor == 0.0:
                _clear(dz[i])


def _softmax_kernel(progress: Array, x: Array, out: Array) -> None:
    """p_j = e_j / (others + e_y)"""
    c, wide = x.shape[1], x.dtype == FLOAT64
    short, step, e = _room(c)
    m, sums = np.empty(step), np.empty(step)
    for first, count in _blocks(progress, len(x), step):
        _terms(x, first, count, e, m, sums, short, True)
        for r in range(count):
            if wide:
                sums[r] = _sum(e[:, r], wide) if short else _sum(e[r], wide)
            sums[r] = 1.0 / sums[r]
        _scaled(e, sums, out[first : first + count], short)


def _log_kernel(progress: Array, x: Array, whole: bool, out: Array) -> None:
    """(x_j - m) - log1p(s') if all of the rows is asked for, else log-sum-exp m + log1p(s')"""
    c, wide = x.shape[1], x.dtype == FLOAT64
    one, (short, step, e) = _one(wide), _room(c)
    m, rest = np.empty(step), np.empty(step)
    for first, count in _blocks(progress, len(x), step):
        _terms(x, first, count, e, m, rest, short, wide)
        for r in range(count):
            rest[r] -= one
            if wide or rest[r] < SURE:
                a = 0
                while a < c - 1 and x[first + r, a] != m[r]:
                    a += 1
                if not (short or wide):
                    _row_terms(x, first + r, m[r], e[r], True)
                rest[r] = _others(e, r, a, short, wide) / one
        for r in range(count):
            rest[r] = _log1p(rest[r])
        if whole:
            _minus(x[first : first + count], m, rest, out[first : first + count], short)
        for i in range(first, first if whole else first + count):
            r = i - first
            if math.isinf(m[r]):  # the largest, unless there is a nan
                for j in range(c):
                    m[r] += x[i, j] - x[i, j] if math.isnan(x[i, j]) else 0.0
                out[i, 0] = m[r]
            else:
                out[i, 0] = m[r] + rest[r]


@_inline()
def _minus(x: Array, m: Floats, rest: Floats, out: Array, short: bool) -> None:
    """The entries of each row minus two numbers, one after the other."""
    n, c = x.shape
    if short:
        for j in range(c):
            for r in range(n):
                out[r, j] = (np.float64(x[r, j]) - m[r]) - rest[r]
    else:
        for r in range(n):
            for j in range(c):
                out[r, j] = (np.float64(x[r, j]) - m[r]) - rest[r]


@_inline("reassoc")
def _dot(g: Array, p: Array) -> Any:
    """The sum of products, in the dtype of these."""
    total = g[0] * p[0]
    for j in range(1, len(g)):
        total += g[j] * p[j]
    return total


@_inline("reassoc")
def _total(g: Array) -> float:
    total = 0.0
    for j in range(len(g)):
        total += np.float64(g[j])
    return total


def _softmax_gradient_kernel(progress: Array, g: Array, p: Array, out: Array) -> None:
    """dx_j = p_j (g_j - sum_k g_k p_k)"""
    c = g.shape[1]
    for first, count in _blocks(progress, len(g), max(1, BLOCK // c)):
        for i in range(first, first + count):
            total = np.float64(_dot(g[i, :FEW], p[i, :FEW]))
            for j in range(FEW, c, FEW):
                total += _dot(g[i, j : j + FEW], p[i, j : j + FEW])
            mean = g.dtype.type(total)
            for j in range(c):
                out[i, j] = p[i, j] * (g[i, j] - mean)


def _log_softmax_gradient_kernel(progress: Array, g: Array, z: Array, out: Array) -> None:
    """dx_j = g_j - p_j sum_k g_k; where a p_j is almost 1, g_j (1 - p_j) - p_j sum_{k != j} g_k"""
    c, wide = z.shape[1], z.dtype == FLOAT64
    one, short, step = _one(wide), c <= SHORT, max(1, BLOCK // c)
    p = np.empty(step * c if short else 1, np.float32)
    for first, count in _blocks(progress, len(z), step):
        if short and not wide:
            flat = z[first : first + count].reshape(-1)  # as one row, which is longer
            for j in range(count * c):
                p[j] = _exp_lifted(flat[j])
        for i in range(first, first + count):
            total = _total(g[i])
            single = np.float32(total * 2.0**-LIFT_SINGLE)
            if math.isnan(z[i, 0]) and not g[i].any():  # a loss has ignored this row
                _clear(out[i])
            elif wide or _row_max(z, i) > -SURE:
                for j in range(c):
                    own = np.float64(g[i, j])
                    power, q = _exp_difference(np.float64(z[i, j]), 0.0) if wide else _exp(np.float64(z[i, j]))
                    out[i, j] = (own * ((one - power) - power * q) - (1.0 + q) * power * (total - own)) / one
            elif short:
                for j in range(c):
                    out[i, j] = g[i, j] - p[(i - first) * c + j] * single
            else:
                for j in range(c):
                    out[i, j] = g[i, j] - _exp_lifted(z[i, j]) * single


@functools.cache
def _kernel(function: Function, wide: bool) -> Function:
    """A kernel for logits of float64, if `wide`, or float32: made when first needed, or read from where it was kept."""
    real = types.float64 if wide else types.float32
    given = functools.partial(types.Array, layout="C", readonly=True)
    kinds = dict.fromkeys(("z", "x", "p", "g"), given(real, 2)) | dict.fromkeys(("start", "stop", "n"), types.intp)
    kinds |= {"targets": given(types.int64, 1), "t": given(types.float64, 2)}
    kinds |= {"progress": types.Array(types.int64, 1, "C")}
    kinds |= {"scale": types.float64, "scales": given(types.float64, 1)}
    kinds |= {"whole": types.boolean, "losses": types.Array(types.float64, 1, "C")}
    kinds |= dict.fromkeys(("dz", "out"), types.Array(real, 2, "C"))
    signature = tuple(kinds[name] for name in inspect.signature(function).parameters)
    options = {"error_model": "numpy", "nogil": True}
    try:
        kernel = numba.njit([signature], cache=True, **options)(function)
    except RuntimeError:  # there is no place to keep it
        kernel = numba.njit([signature], **options)(function)
    return cast(Function, kernel)


def _settle(progress: Array, n: int) -> None:
    """Let other threads end the blocks they have begun, and then, which needs the interpreter's lock, their calls.

    It does not take long, and if it does, someone else will wait for them: that is all it saves, but that is dear.
    """
    for _ in range(PATIENCE):
        if _add(progress, DONE, 0) >= n:
            break
    for _ in range(COURTESY):
        _add(progress, DONE, 0)


NO_SCALES = np.empty(0)
NO_GRADIENT = {real: np.empty((0, 0), real) for real in (FLOAT32, FLOAT64)}


def cross_entropy(
    z: Array,
    targets: Array,
    scale: float | Floats,
    gradient: bool,
    precise: bool = False,  # noqa: ARG001
) -> tuple[Floats, Array | None]:
    """Losses of the rows of `z`, and, if `gradient`, their derivatives times `scale`: as `softmax.cross_entropy`.

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.compiled import cross_entropy
    >>> losses, dz = cross_entropy(np.array([[1.0, 2.0, 3.0], [1.0, 5.0, 0.5]]), np.array([2, 0]), 0.5, True)
    >>> losses.round(4), dz.round(4)
    (array([0.4076, 4.029 ]), array([[ 0.045 ,  0.1224, -0.1674],
           [-0.4911,  0.4857,  0.0054]]))
    """
    x = _readable(z)
    n, c = x.shape
    require_classes(c)
    losses, dz = np.empty(n), np.empty((n, c), x.dtype) if gradient else NO_GRADIENT[x.dtype]
    _run(_index_kernel, x, _contiguous(targets, INT64), *_scales(scale), losses, dz)
    return losses, _rounded(dz, z.dtype) if gradient else None


def soft_cross_entropy(
    z: Array,
    target_rows: Callable[[slice], Array],
    scale: float | Floats,
    gradient: bool,
    precise: bool = False,  # noqa: ARG001
) -> tuple[Floats, Array | None]:
    """As `cross_entropy`, for rows of target weights: as `softmax.soft_cross_entropy`.

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.compiled import soft_cross_entropy
    >>> q = np.array([[0.1, 0.2, 0.7]])
    >>> losses, dz = soft_cross_entropy(np.array([[1.0, 2.0, 3.0]]), lambda rows: q[rows], 1.0, True)
    >>> losses.round(4), dz.round(4)
    (array([0.8076]), array([[-0.01  ,  0.0447, -0.0348]]))
    """
    x = _readable(z)
    n, c = x.shape
    losses = np.empty(n)
    dz = np.empty((n, require_classes(c)), x.dtype) if gradient else NO_GRADIENT[x.dtype]
    kernel, (factor, factors) = _kernel(_soft_kernel, x.dtype == FLOAT64), _scales(scale)

    def block(part: slice) -> None:
        start, stop, _ = part.indices(n)
        kernel(start, stop, x, _contiguous(target_rows(part), FLOAT64), factor, factors, losses, dz)

    rows.for_blocks(block, n, c)
    return losses, _rounded(dz, z.dtype) if gradient else None


def softmax(x: Array, axis: int = -1) -> Array:
    """Probabilities p_j = exp(x_j - m) / (1 + s') along `axis`: as `softmax.softmax`.

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.compiled import softmax
    >>> softmax(np.array([1.0, 2.0, 3.0])).round(4).tolist()
    [0.09, 0.2447, 0.6652]
    """
    return _along(axis, _softmax_kernel, x)


def softmax_gradient(g: Array, p: Array, axis: int = -1) -> Array:
    """The gradient g of the probabilities p pulled back to the logits: as `softmax.softmax_gradient`.

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.compiled import softmax_gradient
    >>> softmax_gradient(np.array([1.0, 0.0]), np.array([0.25, 0.75]))
    array([ 0.1875, -0.1875])
    """
    return _along(axis, _softmax_gradient_kernel, g, p)


def log_softmax(x: Array, axis: int = -1) -> Array:
    """Log-probabilities (x_j - m) - log1p(s') along `axis`: as `softmax.log_softmax`.

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.compiled import log_softmax
    >>> log_softmax(np.array([50.0, 0.0]))
    array([-1.92874985e-22, -5.00000000e+01])
    """
    return _along(axis, _log_kernel, x, whole=True)


def log_softmax_gradient(g: Array, z: Array, axis: int = -1) -> Array:
    """The gradient g of the log-probabilities z pulled back to the logits: as `softmax.log_softmax_gradient`.

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.compiled import log_softmax_gradient
    >>> log_softmax_gradient(np.array([1.0, 0.0]), np.array([-1e-20, -46.0]))
    array([ 1.00000000e-20, -1.05306174e-20])
    """
    return _along(axis, _log_softmax_gradient_kernel, g, z)


def logsumexp(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """log(sum(exp(x))) = m + log1p(s') over `axis`: one axis, several, or all of them (None): as `softmax.logsumexp`.

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.compiled import logsumexp
    >>> logsumexp(np.array([[1e4, 1e4], [0.0, -np.inf]]), axis=1)
    array([10000.69314718,     0.        ])
    """
    axes = tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim)
    c = require_classes(math.prod(x.shape[i] for i in axes))
    z = _readable(np.moveaxis(x, axes, range(-len(axes), 0)).reshape(x.size // c, c))
    out = np.empty((len(z), 1), z.dtype)
    _run(_log_kernel, z, False, out)
    shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
    return _rounded(out, x.dtype).reshape(shape)


def _along(axis: int, function: Callable[..., None], *arrays: Array, **options: Any) -> Array:
    """What a kernel makes of the slices of the arrays, which have one shape and dtype, along `axis`."""
    x = arrays[0]
    if x.ndim == 2 and axis in (1, -1):
        require_classes(x.shape[1])
        given = [_readable(x) for x in arrays]
        out = np.empty(x.shape, given[0].dtype)
        _run(function, *given, *options.values(), out)
        return out if out.dtype is x.dtype else _rounded(out, x.dtype)
    last = [x.swapaxes(axis, -1) for x in arrays]
    c = require_classes(last[0].shape[-1])
    rows = _along(1, function, *(x.reshape(x.size // c, c) for x in last), **options)
    return rows.reshape(last[0].shape).swapaxes(axis, -1)


def _run(function: Callable[..., None], z: Array, *arguments: Any) -> None:
    """Run a kernel on all rows of z, on several threads if that pays."""
    kernel, progress = _kernel(function, z.dtype == FLOAT64), np.zeros(PLACES, INT64)
    if z.size < (CHEAP_PARALLEL if function is _softmax_gradient_kernel else PARALLEL):
        kernel(progress, z, *arguments)
    else:
        with threads.helped(lambda: kernel(progress, z, *arguments)) as helpers:
            kernel(progress, z, *arguments)
            if helpers:
                _kernel(_settle, False)(progress, len(z))


def _readable(z: Array) -> Array:
    """`z` as the kernels read it: row by row, in float64 or float32."""
    dtype = z.dtype
    return _contiguous(z, dtype if dtype in (FLOAT32, FLOAT64) else FLOAT32)


def _contiguous(x: Array, dtype: Any) -> Array:
    return x if x.dtype == dtype and x.flags.carray else np.require(x, dtype, ["C", "A"])


def _scales(scale: float | Floats) -> tuple[float, Floats]:
    """One factor, and those of the rows where there are any."""
    if isinstance(scale, np.ndarray):
        return 0.0, _contiguous(scale, FLOAT64)
    return scale, NO_SCALES


def _rounded(values: Array, dtype: Any) -> Array:
    if values.dtype == dtype:
        return values
    with np.errstate(all="ignore"):
        return values.astype(dtype)
