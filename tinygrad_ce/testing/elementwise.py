"""Database entries of ops/elementwise.py and ops/activation.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Any

import numpy as np

from tinygrad_ce.testing import exact
from tinygrad_ce.testing.exact import NAN, ONE, ZERO
from tinygrad_ce.testing.opinfo import (
    BROADCASTS,
    FLOATS,
    NUMBERS,
    SHAPES,
    ErrorCase,
    OpInfo,
    Sample,
    Samples,
    edges,
    pairs,
    uniform,
)

INF, NOT = math.inf, math.nan
SPECIAL = (0.0, -0.0, 1.0, -1.0, INF, -INF, NOT)
_COMPLEX = [1j]


def _not_real(*rest: Any) -> ErrorCase:
    return ErrorCase((_COMPLEX, *rest), TypeError, "found dtype complex128")


def unary_samples(low: float, high: float, kinks: Sequence[float] = (), **attributes: Any) -> Samples:
    return lambda generator: [Sample((uniform(generator, s, low, high, kinks),), attributes) for s in SHAPES]


def unary(
    name: str,
    scalar: Callable[..., Decimal],
    low: float = -2.0,
    high: float = 2.0,
    *,
    kinks: Sequence[float] = (),
    special: Sequence[float] = SPECIAL,
    **options: Any,
) -> OpInfo:
    """The entry of an op on one input, differentiable between low and high but at the kinks."""
    return OpInfo(
        name,
        exact.elementwise(scalar),
        options.pop("samples", unary_samples(low, high, kinks)),
        edges(*special),
        (_not_real(), ErrorCase((), TypeError, "positional argument"), *options.pop("errors", ())),
        **options,
    )


def binary(
    name: str,
    scalar: Callable[..., Decimal],
    x: tuple[float, float] = (-2.0, 2.0),
    y: tuple[float, float] = (-2.0, 2.0),
    *,
    special: Sequence[tuple[float, float]] = (),
    kinks: Sequence[float] = (),
    **options: Any,
) -> OpInfo:
    """The entry of an op on two inputs that broadcast, each between two bounds."""

    def samples(generator: np.random.Generator) -> list[Sample]:
        return [Sample((uniform(generator, s, *x), uniform(generator, t, *y, kinks))) for s, t in BROADCASTS]

    mismatch = ErrorCase((np.ones((2, 3)), np.ones(4)), ValueError, rf"^{name} of \(2, 3\), \(4,\): .*broadcast")
    return OpInfo(
        name, exact.elementwise(scalar), options.pop("samples", samples), pairs(*special), (mismatch, _not_real(1.0)),
        **options,
    )  # fmt: skip


def _apart(generator: np.random.Generator) -> list[Sample]:
    """Broadcast pairs in which no element of one is close to an element of the other."""
    found = []
    for s, t in BROADCASTS:
        x, y = uniform(generator, s), uniform(generator, t)
        found.append(Sample((np.asarray(np.rint(x * 4) / 4), np.asarray(np.rint(y * 4) / 4 + 0.125))))
    return found


def _larger(x: Decimal, y: Decimal) -> Decimal:
    return NAN if x.is_nan() or y.is_nan() else x if x > y else y


def _smaller(x: Decimal, y: Decimal) -> Decimal:
    return NAN if x.is_nan() or y.is_nan() else x if x < y else y


def _clip_samples(generator: np.random.Generator) -> list[Sample]:
    limits: list[dict[str, Any]] = [
        {"a_min": -0.5, "a_max": 0.75}, {"a_min": -0.5, "a_max": None}, {"a_min": None, "a_max": 0.75},
        {"a_min": None, "a_max": None},
    ]  # fmt: skip
    found = [Sample((uniform(generator, s, kinks=(-0.5, 0.75)),), limits[0]) for s in SHAPES]
    return found + [Sample((uniform(generator, (2, 3), kinks=(-0.5, 0.75)),), each) for each in limits[1:]]


def _clipped(x: Decimal, *, a_min: Any, a_max: Any) -> Decimal:
    if x.is_nan():
        return x
    if a_min is not None and x < Decimal(a_min):
        x = Decimal(a_min)
    if a_max is not None and x > Decimal(a_max):
        x = Decimal(a_max)
    return x


def _where_samples(generator: np.random.Generator) -> list[Sample]:
    shapes: list[tuple[tuple[int, ...], ...]] = [
        ((3,), (3,), (3,)), ((), (), ()), ((2, 3), (2, 3), ()), ((3,), (2, 1), (1, 3)), ((2, 1), (3,), (3,)),
        ((1,), (2, 3), (2, 3)), ((4, 1, 1), (2, 1), (3,)), ((0,), (0,), (1,)), ((2, 0), (), ()),
    ]  # fmt: skip
    return [Sample((generator.random(c) < 0.5, uniform(generator, x), uniform(generator, y))) for c, x, y in shapes]


def _astype_samples(generator: np.random.Generator) -> list[Sample]:
    return [Sample((uniform(generator, s),), {"dtype": np.dtype("float64")}) for s in SHAPES]


def _astype_edges() -> list[Sample]:
    x = np.array([0.1, -2.75, 1e-3, 3.5, 70.0])
    return [Sample((x,), {"dtype": np.dtype(t)}) for t in (*FLOATS, "int64", "int8")]


def _converted(x: Decimal, *, dtype: Any) -> Decimal:
    return x.to_integral_value(ROUND_DOWN) if np.dtype(dtype).kind == "i" else x


def _gelu(x: Decimal, *, approximate: str = "none") -> Decimal:
    if x.is_infinite():
        return x if x > 0 else NAN  # -inf * 0, as NumPy has it
    if approximate == "none":
        return x / 2 * exact.erfc(-x / Decimal(2).sqrt())
    return x * exact.sigmoid(2 * (2 / exact.PI).sqrt() * (x + Decimal("0.044715") * x * x * x))


def _gelu_size(x: Decimal, *, approximate: str = "none") -> Decimal:
    """The value times its condition number: in the left tail rounding x alone costs x**2 units in the last place."""
    return _gelu(x, approximate=approximate) * max(ONE, x * x)


def _gelu_samples(generator: np.random.Generator) -> list[Sample]:
    exactly = [Sample((uniform(generator, s),)) for s in SHAPES]
    return exactly + [Sample((uniform(generator, s),), {"approximate": "tanh"}) for s in ((), (5,), (2, 3))]


def _with(low: float, high: float, kinks: Sequence[float], **variants: Any) -> Samples:
    """Every shape with the defaults, and one sample for each further value of an attribute."""

    def samples(generator: np.random.Generator) -> list[Sample]:
        found = [Sample((uniform(generator, s, low, high, kinks),)) for s in SHAPES]
        for key, values in variants.items():
            found += [Sample((uniform(generator, (2, 3), low, high, kinks),), {key: v}) for v in values]
        return found

    return samples


_TAILS = (-300.0, -100.0, -30.0, -8.0, -1e-3, -1e-20, 1e-20, 1e-3, 8.0, 17.5, 30.0, 100.0, 300.0)

ELEMENTWISE = (
    binary("add", lambda x, y: x + y, special=((INF, 1), (INF, -INF), (NOT, 1), (1, 1e-20), (6e4, 6e4)), ulps=0.5,
           dtypes=NUMBERS),
    binary("sub", lambda x, y: x - y, special=((INF, 1), (INF, INF), (NOT, 1), (1, 1)), ulps=0.5, dtypes=NUMBERS),
    binary("mul", lambda x, y: x * y, special=((INF, 0), (INF, -1), (NOT, 0), (1e-30, 1e-30)), ulps=0.5,
           dtypes=NUMBERS),
    binary("div", lambda x, y: x / y, y=(0.5, 2.0), special=((1, 0), (0, 0), (-1, 0), (INF, INF), (1, INF)), ulps=0.5),
    unary("neg", lambda x: -x, ulps=0.0, dtypes=NUMBERS),
    binary("pow", exact.power, x=(0.5, 2.0),
           special=((0, 0), (0, 2), (-2, 3), (-2, 2), (-2, 0.5), (INF, 0), (NOT, 0), (1, NOT), (2, -1), (2, 0.5))),
    unary("exp", lambda x: x.exp(), special=(*SPECIAL, *_TAILS, -1000.0, 1000.0)),
    unary("log", lambda x: x.ln(), 0.25, 4.0, special=(*SPECIAL, 1e-300, 1e-40, 1e-7, 1e30, 1 + 2**-10)),
    unary("log1p", exact.log1p, -0.5, 4.0, special=(*SPECIAL, 1e-300, 1e-20, -1e-10, 1e-4, 1e30, -0.999)),
    unary("expm1", exact.expm1, special=(*SPECIAL, *_TAILS, -1000.0, 1000.0)),
    unary("sqrt", lambda x: x.sqrt(), 0.25, 4.0, special=(*SPECIAL, 1e-300, 1e-40, 1e300), ulps=0.5),
    unary("abs", abs, kinks=(0.0,), ulps=0.0, dtypes=NUMBERS),
    unary("square", lambda x: x * x, special=(*SPECIAL, 1e-30, 1e30), ulps=0.5, dtypes=NUMBERS),
    unary("reciprocal", lambda x: 1 / x, 0.5, 2.0, special=(*SPECIAL, 1e-30, 3.0), ulps=0.5),
    unary("sin", exact.sin, -4.0, 4.0, special=(*SPECIAL, math.pi, 1e-20, 1e4)),
    unary("cos", exact.cos, -4.0, 4.0, special=(*SPECIAL, math.pi / 2, 1e-20, 1e4)),
    binary("maximum", _larger, samples=_apart, ulps=0.0, dtypes=NUMBERS,
           special=((1, 1), (INF, 1), (-INF, 1), (NOT, 1), (1, NOT), (NOT, NOT))),
    binary("minimum", _smaller, samples=_apart, ulps=0.0, dtypes=NUMBERS,
           special=((1, 1), (INF, 1), (-INF, 1), (NOT, 1), (1, NOT), (NOT, NOT))),
    OpInfo("clip", exact.elementwise(_clipped), _clip_samples,
           edges(*SPECIAL, -0.5, 0.75, a_min=-0.5, a_max=0.75), (_not_real(0.0, 1.0),), ulps=0.0),
    OpInfo("where", exact.elementwise(lambda c, x, y: x if c else y), _where_samples,
           lambda: [Sample((np.array([True, False]), np.array([NOT, NOT]), np.array([1.0, INF])))],
           (ErrorCase(([True, False], np.ones(3), 0.0), ValueError, r"^where of \(2,\), \(3,\), .*broadcast"),),
           ulps=0.0, dtypes=NUMBERS, method=False),
    OpInfo("astype", exact.elementwise(_converted), _astype_samples, _astype_edges,
           (ErrorCase((np.ones(2), "complex64"), TypeError, "complex64"),), ulps=0.5),
)  # fmt: skip

ACTIVATIONS = (
    unary("relu", lambda x: x if x > 0 or x.is_nan() else ZERO, kinks=(0.0,), ulps=0.0, dtypes=NUMBERS),
    unary("leaky_relu", lambda x, negative_slope=0.01: x if x > 0 else x * Decimal(negative_slope),
          samples=_with(-2.0, 2.0, (0.0,), negative_slope=(0.25, 0.0, -0.5)), ulps=1.0),
    unary("elu", lambda x, alpha=1.0: x if x > 0 or x.is_nan() else Decimal(alpha) * exact.expm1(x),
          samples=_with(-2.0, 2.0, (0.0,), alpha=(0.5, 2.0)), special=(*SPECIAL, *_TAILS)),
    unary("sigmoid", exact.sigmoid, -4.0, 4.0, special=(*SPECIAL, *_TAILS)),
    unary("log_sigmoid", lambda x: -exact.softplus(-x), -4.0, 4.0, special=(*SPECIAL, *_TAILS)),
    unary("softplus", exact.softplus, -4.0, 4.0, special=(*SPECIAL, *_TAILS)),
    unary("tanh", exact.tanh, special=(*SPECIAL, *_TAILS)),
    # not at -100, where sigmoid(x) is subnormal in float32 and so is the result
    unary("silu", lambda x: NAN if x == -exact.INF else x * exact.sigmoid(x), -4.0, 4.0,
          special=(*SPECIAL, *(x for x in _TAILS if x != -100))),
    OpInfo("gelu", exact.elementwise(_gelu), _gelu_samples, edges(*SPECIAL, -30.0, -5.0, -1e-3, 1e-20, 5.0, 30.0),
           (_not_real(), ErrorCase((np.ones(2), "sigmoid"), ValueError, r"^gelu.*'sigmoid'.*expected")),
           size=exact.elementwise(_gelu_size)),
    unary("erf", exact.erf, special=(*SPECIAL, 1e-20, 0.46875, 0.5, 3.9, 4.1, 6.0, -0.1, 30.0)),
    unary("erfc", exact.erfc, special=(*SPECIAL, 1e-20, 0.46875, 0.5, 3.9, 4.1, 9.0, 26.0, -5.0, 30.0)),
)  # fmt: skip

ENTRIES = (*ELEMENTWISE, *ACTIVATIONS)
