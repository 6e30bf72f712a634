"""Reference values to 60 decimal digits, element by element, with Python's `decimal`: no NumPy arithmetic in them.

A reference works on arrays of `Decimal`. It is meant to be plainly right, not fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Nothing is trapped: infinities and nan come out as IEEE 754 has them.
CONTEXT = Context(prec=60, Emin=-999_999, Emax=999_999, traps=[])
ZERO, ONE, TWO, NAN, INF = Decimal(0), Decimal(1), Decimal(2), Decimal("nan"), Decimal("inf")
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534")


def decimals(x: Any) -> Array:
    """The numbers of an array as exact Decimals, in an object array of its shape."""
    array = np.asarray(x)
    result = np.empty(array.shape, object)
    for index in np.ndindex(array.shape):
        result[index] = Decimal(array[index].item()) if array.dtype.kind in "fiub" else array[index]
    return result


def full(shape: Iterable[int], value: Decimal = ZERO) -> Array:
    """An array of this shape with one Decimal everywhere."""
    result = np.empty(tuple(shape), object)
    for index in np.ndindex(result.shape):
        result[index] = value
    return result


def build(shape: Iterable[int], element: Callable[..., Decimal]) -> Array:
    """The array whose element at each index is `element(*index)`."""
    result = np.empty(tuple(shape), object)
    for index in np.ndindex(result.shape):
        result[index] = element(*index)
    return result


def elementwise(scalar: Callable[..., Decimal]) -> Callable[..., Array]:
    """A reference for an op that works element by element, from the same on Decimals; inputs broadcast."""

    def reference(*inputs: Any, **attributes: Any) -> Array:
        arrays = [decimals(x) for x in inputs]
        shape = broadcast_shape(*(a.shape for a in arrays))
        views = [(a, len(shape) - a.ndim) for a in arrays]

        def element(*index: int) -> Decimal:
            picked = [a[tuple(0 if n == 1 else i for i, n in zip(index[k:], a.shape, strict=True))] for a, k in views]
            return scalar(*picked, **attributes)

        return build(shape, element)

    return reference


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's broadcasting rule, spelled out."""
    ndim = max(map(len, shapes), default=0)
    padded = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    return tuple(next((n for n in lengths if n != 1), 1) for lengths in zip(*padded, strict=True))


def normalize_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """None, an int or a tuple of ints as a tuple of axes counted from the front."""
    axes = tuple(range(ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(int(a) % ndim for a in axes)


def reduction(function: Callable[..., Decimal]) -> Callable[..., Array]:
    """A reference for a reduction, from a function of the list of Decimals that are reduced to one."""

    def reference(x: Any, *, axis: Any = None, keepdims: bool = False, **attributes: Any) -> Array:
        array = decimals(x)
        axes = normalize_axes(axis, array.ndim)
        kept = [n for a, n in enumerate(array.shape) if a not in axes]

        def element(*index: int) -> Decimal:
            rest = iter(index)
            ranges = [range(n) if a in axes else (next(rest),) for a, n in enumerate(array.shape)]
            return function([array[i] for i in product(*ranges)], **attributes)

        result = build(kept, element)
        return result.reshape([1 if a in axes else n for a, n in enumerate(array.shape)]) if keepdims else result

    return reference


def along_axis(function: Callable[..., list[Decimal]]) -> Callable[..., Array]:
    """A reference for an op that maps each line along one axis to a line as long."""

    def reference(x: Any, *, axis: int = -1, **attributes: Any) -> Array:
        array = decimals(x)
        (a,) = normalize_axes(axis, array.ndim)
        result = np.empty(array.shape, object)
        others = [range(1) if k == a else range(n) for k, n in enumerate(array.shape)]
        for index in product(*others):
            line = [(*index[:a], i, *index[a + 1 :]) for i in range(array.shape[a])]
            for i, value in zip(line, function([array[i] for i in line], **attributes), strict=True):
                result[i] = value
        return result

    return reference


# Functions of one Decimal that `decimal` lacks. Series, so for moderate arguments.


def expm1(x: Decimal) -> Decimal:
    if not x.is_finite() or abs(x) > Decimal("0.01"):
        return x.exp() - 1
    return series(lambda term, n: term * x / (n + 1), start=x)


def log1p(x: Decimal) -> Decimal:
    if not x.is_finite() or abs(x) > Decimal("0.01"):
        return (1 + x).ln()
    power, total, n = x, ZERO, 1
    while power and power.adjusted() > x.adjusted() - 65:
        total += power / n if n % 2 else -power / n
        power *= x
        n += 1
    return total if total else x


def sin(x: Decimal) -> Decimal:
    if not x.is_finite():
        return NAN
    r = reduced(x)
    return series(lambda term, n: -term * r * r / ((2 * n) * (2 * n + 1)), start=r)


def cos(x: Decimal) -> Decimal:
    if not x.is_finite():
        return NAN
    r = reduced(x)
    return series(lambda term, n: -term * r * r / ((2 * n - 1) * (2 * n)), start=ONE)


def reduced(x: Decimal) -> Decimal:
    """x without its whole turns, so that the series needs few terms."""
    return x - (x / (2 * PI)).to_integral_value() * 2 * PI


def series(following: Callable[[Decimal, int], Decimal], start: Decimal) -> Decimal:
    """start + following(start, 1) + ... until terms no longer count."""
    total = term = start
    n = 1
    while term:
        term = following(term, n)
        if term and total and term.adjusted() < total.adjusted() - 70:
            break
        total += term
        n += 1
    return total


def sigmoid(x: Decimal) -> Decimal:
    if x.is_infinite():
        return ONE if x > 0 else ZERO
    return 1 / (1 + (-x).exp())


def softplus(x: Decimal) -> Decimal:
    return x + log1p((-x).exp()) if x > 0 else log1p(x.exp())


def tanh(x: Decimal) -> Decimal:
    if x.is_infinite():
        return ONE if x > 0 else -ONE
    e = expm1(-2 * abs(x))
    return (-e / (2 + e)).copy_sign(x) if x else x


def erf(x: Decimal) -> Decimal:
    """The Taylor series; it cancels for large x, so with as many digits more as x**2 needs."""
    if not x.is_finite():
        return x if x.is_nan() else ONE.copy_sign(x)
    if abs(x) > 3:
        return (1 - erfc(abs(x))).copy_sign(x)
    with localcontext() as context:
        context.prec += 2 * int(x * x)
        total, power, n = ZERO, x, 0
        while power and (not total or (power / (2 * n + 1)).adjusted() > total.adjusted() - context.prec):
            total += power / (2 * n + 1)
            n += 1
            power *= -x * x / n
        return 2 * total / PI.sqrt()


def erfc(x: Decimal) -> Decimal:
    """1 - erf(x); from x = 2 on Laplace's continued fraction, which does not cancel."""
    if not x.is_finite():
        return x if x.is_nan() else 1 - ONE.copy_sign(x)
    if x < 2:
        return 1 - erf(x)
    fraction = x
    for k in range(1500, 0, -1):
        fraction = x + Decimal(k) / 2 / fraction
    return (-x * x).exp() / fraction / PI.sqrt()


def power(x: Decimal, y: Decimal) -> Decimal:
    """x ** y with IEEE 754's exceptions: x ** 0 = 1 ** y = 1."""
    if y == 0 or x == 1:
        return ONE
    if y == TWO:
        return x * x
    return x**y


def total(values: Iterable[Decimal]) -> Decimal:
    """The sum, exact where everything is finite."""
    values = list(values)
    if not all(v.is_finite() for v in values):
        return sum(values, ZERO)
    exact = sum(map(Fraction, values), Fraction(0))
    return Decimal(exact.numerator) / Decimal(exact.denominator)


def ulps(actual: Any, exact: Array, size: Array | None = None) -> NDArray[np.float64]:
    """How far each element of a floating-point array is from the exact value, in units of its last place.

    exact   Decimals
    size    Decimals: measure in units of the last place of these instead, where they are larger

    nan agrees with nan alone; an infinity with an infinity and with what overflows the dtype. Where the shapes
    differ the answer is a ValueError.
    """
    actual = np.asarray(actual)
    if actual.shape != exact.shape:
        raise ValueError(f"expected shape {exact.shape}, found {actual.shape}")
    result = np.zeros(actual.shape)
    with localcontext(CONTEXT):
        for index in np.ndindex(actual.shape):
            wanted: Any = exact[index]
            scale: Any = wanted if size is None else size[index]
            result[index] = _ulps(actual[index], wanted, scale if abs(scale) > abs(wanted) else wanted)
    return result


def _ulps(actual: Any, exact: Decimal, size: Decimal) -> float:
    if np.isnan(actual) or exact.is_nan():
        return 0.0 if np.isnan(actual) and exact.is_nan() else math.inf
    if actual.dtype.kind != "f":
        return float(abs(Decimal(int(actual)) - exact))
    limits = np.finfo(actual.dtype)
    largest = Decimal(float(limits.max))
    if np.isinf(actual) or exact.is_infinite():
        overflows = abs(exact) >= largest * (1 + Decimal(float(limits.eps)) / 4)
        return 0.0 if np.isinf(actual) and overflows and (actual > 0) == (exact > 0) else math.inf
    unit = np.spacing(actual.dtype.type(min(abs(size), largest / 2)))
    return float(abs(Decimal(float(actual)) - exact) / Decimal(float(unit)))
