"""Database entries of ops/reduction.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np

from tinygrad_ce.testing import exact
from tinygrad_ce.testing.exact import NAN, ONE
from tinygrad_ce.testing.opinfo import NUMBERS, Array, ErrorCase, OpInfo, Sample, Samples, distinct, uniform

Make = Callable[[np.random.Generator, tuple[int, ...]], Array]

# Shape, axis, keepdims
CASES: tuple[tuple[tuple[int, ...], Any, bool], ...] = (
    ((), None, False), ((5,), None, False), ((5,), 0, True), ((1,), -1, False),
    ((2, 3), None, True), ((2, 3), 0, False), ((2, 3), -1, True), ((3, 2), (1, 0), False),
    ((2, 1, 3), 1, False), ((2, 3, 2), (0, 2), True), ((2, 3, 2), (-1, 1), False), ((2, 3, 2), 1, False),
    ((2, 0), 0, False), ((2, 3), (), False),
)  # fmt: skip
EMPTY: tuple[tuple[tuple[int, ...], Any, bool], ...] = (((0,), None, False), ((2, 0), 1, True), ((2, 0), None, False))


def _samples(make: Make, cases: Sequence[tuple[tuple[int, ...], Any, bool]], **attributes: Any) -> Samples:
    return lambda generator: [
        Sample((make(generator, shape),), {"axis": axis, "keepdims": keepdims, **attributes})
        for shape, axis, keepdims in cases
    ]


def _special(*values: Sequence[float], **attributes: Any) -> Callable[[], list[Sample]]:
    """Each tuple of values reduced to one, and a reduction of nothing."""
    return lambda: [Sample((np.array(v),), {"axis": 0, **attributes}) for v in values]


def _errors(name: str) -> tuple[ErrorCase, ...]:
    x = np.ones((2, 3))
    return (
        ErrorCase((x, 2), np.exceptions.AxisError, rf"^{name}: axis 2 is out of range for 2 dimensions"),
        ErrorCase((x, (0, -2)), ValueError, rf"^{name}: axis=\(0, -2\) names an axis twice"),
        ErrorCase((x, 0.5), TypeError, rf"^{name}: axis=0.5; expected"),
        ErrorCase((x,), TypeError, rf"^{name}: keepdims=1; expected", {"keepdims": 1}),
    )


def _mean(values: list[Decimal]) -> Decimal:
    return exact.total(values) / len(values) if values else NAN


def _var(values: list[Decimal], *, ddof: float = 0) -> Decimal:
    if len(values) <= ddof or not all(v.is_finite() for v in values):
        return NAN
    mean = _mean(values)
    return exact.total((v - mean) ** 2 for v in values) / (len(values) - Decimal(ddof))


def _std(values: list[Decimal], *, ddof: float = 0) -> Decimal:
    return _var(values, ddof=ddof).sqrt()


def _extreme(values: list[Decimal], *, sign: int) -> Decimal:
    best = values[0]
    for v in values:
        if v.is_nan():
            return NAN
        best = v if sign * v > sign * best else best
    return best


def _prod(values: list[Decimal]) -> Decimal:
    product = ONE
    for v in values:
        product *= v
    return product


def _logsumexp(values: list[Decimal]) -> Decimal:
    if any(v.is_nan() for v in values):
        return NAN
    top = max(range(len(values)), key=lambda i: values[i])
    if values[top].is_infinite():
        return values[top]
    others = exact.total((v - values[top]).exp() for i, v in enumerate(values) if i != top)
    return values[top] + exact.log1p(others)


def _cumsum(x: Array, *, axis: int | None = None) -> Array:
    if axis is None:
        array = exact.decimals(x)
        x, axis = array.reshape(-1), 0
    return exact.along_axis(lambda line: [exact.total(line[: i + 1]) for i in range(len(line))])(x, axis=axis)


def _absolute(reference: Callable[..., Array]) -> Callable[..., Array]:
    """The same on magnitudes: what the rounding errors of a sum are relative to."""
    return lambda x, **attributes: reference(np.abs(x), **attributes)


def _with_zeros(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    x = uniform(generator, shape, 0.5, 1.5)
    x[..., :1] *= 0.0
    return x


def _product_samples(generator: np.random.Generator) -> list[Sample]:
    signed: Make = lambda rng, shape: uniform(rng, shape, 0.5, 1.5) * rng.choice([-1.0, 1.0], shape)  # noqa: E731
    zeros = [((2, 3), -1, False), ((2, 3), 0, False), ((5,), None, False), ((2, 2, 2), (1, 2), True)]
    return _samples(signed, (*CASES, *EMPTY))(generator) + _samples(_with_zeros, zeros)(generator)


def _spread(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Numbers whose deviation from their mean is not small, along any axis, in float16 exactly."""
    return distinct(generator, shape) + 0.5


def _deviation_samples(generator: np.random.Generator) -> list[Sample]:
    several = [case for case in CASES if case[1] != () and case[0] not in ((), (1,), (2, 1, 3))]
    return _samples(_spread, several)(generator) + _samples(_spread, several[:6], ddof=1)(generator)


_sum = exact.reduction(exact.total)
_average = exact.reduction(_mean)
_nothing_to_choose = ErrorCase((np.ones((2, 0)), 1), ValueError, r"no identity|empty")
_INFINITE = ((math.inf, 1.0), (math.inf, -math.inf), (math.nan, 1.0, 2.0), (-math.inf, 0.0))

ENTRIES = (
    OpInfo("sum", _sum, _samples(uniform, (*CASES, *EMPTY)), _special(*_INFINITE, (6e4, 6e4, -6e4)), _errors("sum"),
           ulps=2.0, size=_absolute(_sum), dtypes=NUMBERS),
    OpInfo("mean", _average, _samples(uniform, CASES), _special(*_INFINITE, (), (6e4, 6e4)), _errors("mean"), ulps=2.0,
           size=_absolute(_average)),
    OpInfo("var", exact.reduction(_var), _deviation_samples, _special((), (1.0,), (3.0, 3.0), (math.nan, 1.0)),
           _errors("var")),
    OpInfo("std", exact.reduction(_std), _deviation_samples, _special((), (1.0,), (3.0, 3.0), (math.nan, 1.0)),
           _errors("std")),
    OpInfo("max", exact.reduction(partial(_extreme, sign=1)), _samples(distinct, CASES),
           _special(*_INFINITE, (1.0, 1.0), (0.0, -0.0)), (*_errors("max"), _nothing_to_choose), ulps=0.0,
           dtypes=NUMBERS),
    OpInfo("min", exact.reduction(partial(_extreme, sign=-1)), _samples(distinct, CASES),
           _special(*_INFINITE, (1.0, 1.0), (0.0, -0.0)), (*_errors("min"), _nothing_to_choose), ulps=0.0,
           dtypes=NUMBERS),
    OpInfo("prod", exact.reduction(_prod), _product_samples, _special((math.inf, 2.0), (math.inf, 0.0), (1e30, 1e30)),
           _errors("prod"), ulps=8.0, dtypes=NUMBERS),
    OpInfo("logsumexp", exact.reduction(_logsumexp), _samples(uniform, CASES),
           _special(*_INFINITE, (-math.inf, -math.inf), (1e4, 1e4), (0.0, -30.0), (-1e4, -1e4), (0.0,)),
           (*_errors("logsumexp"), ErrorCase((np.ones((2, 0)), 1), ValueError, "logsumexp"))),
    OpInfo("cumsum", _cumsum,
           lambda generator: [
               Sample((uniform(generator, shape),), {"axis": axis})
               for shape, axis in (((5,), 0), ((2, 3), None), ((2, 3), 0), ((2, 3), -1), ((2, 1, 3), 1), ((2, 0), 1),
                                   ((), None), ((0,), 0))
           ],
           _special((math.inf, -math.inf, 1.0), (1.0, math.nan, 1.0)),
           (ErrorCase((np.ones((2, 3)), 2), np.exceptions.AxisError, "^cumsum: axis 2 is out of range"),),
           ulps=2.0, size=_absolute(_cumsum), dtypes=NUMBERS),
)  # fmt: skip
