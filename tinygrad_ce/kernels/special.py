"""erf, erfc, sigmoid, log-sigmoid and softplus on plain arrays, accurate in relative terms in both tails."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]

# W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969), 631-637,
# with the 18-digit coefficients of his CALERF; highest power first.
SMALL = 0.46875  # |x| up to here: erf(x) = x * R(x^2)
LARGE = 4.0  # above: erfc(x) = exp(-x^2) / x * (1 / sqrt(pi) - R(1 / x^2) / x^2); between: exp(-x^2) * R(x)
SMALL_TOP = (
    1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2,
    3.77485237685302021e2, 3.20937758913846947e3,
)  # fmt: skip
SMALL_BOTTOM = (
    1.0, 2.36012909523441209e1, 2.44024637934444173e2,
    1.28261652607737228e3, 2.84423683343917062e3,
)  # fmt: skip
SMALL_DIFFERENCE = tuple(top - bottom for top, bottom in zip(SMALL_TOP, SMALL_BOTTOM, strict=True))
MIDDLE_TOP = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594,
    6.61191906371416295e1, 2.98635138197400131e2, 8.81952221241769090e2,
    1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3,
)  # fmt: skip
MIDDLE_BOTTOM = (
    1.0, 1.57449261107098347e1, 1.17693950891312499e2,
    5.37181101862009858e2, 1.62138957456669019e3, 3.29079923573345963e3,
    4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
)  # fmt: skip
LARGE_TOP = (
    1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
    1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4,
)  # fmt: skip
LARGE_BOTTOM = (
    1.0, 2.56852019228982242, 1.87295284992346725,
    5.27905102951428412e-1, 6.05183413124413191e-2, 2.33520497626869185e-3,
)  # fmt: skip
RSQRT_PI = 5.6418958354775628695e-1
UNDERFLOW = 30.0  # erfc is 0 in float64 from 27.3 on


@np.errstate(all="ignore")
def erf(x: ArrayLike) -> Array:
    """The error function 2 / sqrt(pi) * integral of exp(-t^2) from 0 to x.

    Any shape; float16, float32 or float64, computed in float64 and returned in the dtype of `x`.
    erf of +-inf is +-1, of nan nan. Source: W. J. Cody, Math. Comp. 23 (1969).

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.special import erf
    >>> erf(np.array([-np.inf, 0.0, 0.5])).round(6).tolist()
    [-1.0, 0.0, 0.5205]
    """
    x, v, y, small, out = _split(x)
    out[small] = _erf_small(v[small])
    out[~small] = np.copysign(1.0 - _erfc_positive(y[~small]), v[~small])
    return out.reshape(x.shape).astype(x.dtype)


@np.errstate(all="ignore")
def erfc(x: ArrayLike) -> Array:
    """The complement 1 - erf(x), accurate in relative terms until it underflows (x = 27.2 in float64).

    Any shape; float16, float32 or float64, computed in float64 and returned in the dtype of `x`.
    erfc of +inf is 0, of -inf 2, of nan nan. Source: W. J. Cody, Math. Comp. 23 (1969).

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.special import erfc
    >>> erfc(np.array([0.0, 10.0, np.inf]))
    array([1.00000000e+00, 2.08848758e-45, 0.00000000e+00])
    """
    x, v, y, small, out = _split(x)
    out[small] = 1.0 - _erf_small(v[small])
    tail = _erfc_positive(y[~small])
    out[~small] = np.where(v[~small] < 0.0, 2.0 - tail, tail)
    return out.reshape(x.shape).astype(x.dtype)


@np.errstate(all="ignore")
def sigmoid(x: ArrayLike) -> Array:
    """The logistic function 1 / (1 + exp(-x)), as exp(x) / (1 + exp(x)) for negative x: exp never overflows.

    Any shape; float16 (computed in float32), float32 or float64; the dtype of `x` is kept.

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.special import sigmoid
    >>> sigmoid(np.array([-700.0, 0.0, 700.0]))
    array([9.85967654e-305, 5.00000000e-001, 1.00000000e+000])
    """
    x, v = _at_least_float32(x)
    e = np.exp(-np.abs(v))
    return np.asarray(np.where(v < 0.0, e, 1.0) / (1.0 + e), x.dtype)


@np.errstate(all="ignore")
def log_sigmoid(x: ArrayLike) -> Array:
    """log(sigmoid(x)) = min(x, 0) - log1p(exp(-|x|)): -exp(-x), and not 0, for large x.

    Any shape; float16 (computed in float32), float32 or float64; the dtype of `x` is kept.

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.special import log_sigmoid
    >>> log_sigmoid(np.array([-1000.0, 50.0]))
    array([-1.00000000e+03, -1.92874985e-22])
    """
    x, v = _at_least_float32(x)
    return np.asarray(np.minimum(v, 0.0) - np.log1p(np.exp(-np.abs(v))), x.dtype)


@np.errstate(all="ignore")
def softplus(x: ArrayLike) -> Array:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)), which is -log_sigmoid(-x).

    Any shape; float16 (computed in float32), float32 or float64; the dtype of `x` is kept.

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.special import softplus
    >>> softplus(np.array([-50.0, 1000.0]))
    array([1.92874985e-22, 1.00000000e+03])
    """
    x, v = _at_least_float32(x)
    return np.asarray(np.maximum(v, 0.0) + np.log1p(np.exp(-np.abs(v))), x.dtype)


def _floating(x: ArrayLike) -> Array:
    """Integers become float64, as in NumPy's own functions."""
    x = np.asarray(x)
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def _at_least_float32(x: ArrayLike) -> tuple[Array, Array]:
    x = _floating(x)
    return x, x.astype(np.float32) if x.dtype == np.float16 else x


def _split(x: ArrayLike) -> tuple[Array, Floats, Floats, NDArray[np.bool_], Floats]:
    """`x`, its values flat in float64, their sizes, where these are small, and room for the result."""
    x = _floating(x)
    v = x.astype(np.float64).reshape(-1)
    y = np.abs(v)
    return x, v, y, y <= SMALL, np.empty_like(v)


def _horner(coefficients: tuple[float, ...], t: Floats) -> Floats:
    value = np.full_like(t, coefficients[0])
    for c in coefficients[1:]:
        value *= t
        value += c
    return value


def _erf_small(x: Floats) -> Floats:
    """x * R(x^2) as x + x * (R(x^2) - 1), so that the error of R weighs an eighth."""
    t = x * x
    return x + x * (_horner(SMALL_DIFFERENCE, t) / _horner(SMALL_BOTTOM, t))


def _erfc_positive(y: Floats) -> Floats:
    """erfc(y) for y > SMALL."""
    y = np.minimum(y, UNDERFLOW)
    value = np.empty_like(y)
    large = y > LARGE
    t = y[~large]
    value[~large] = _horner(MIDDLE_TOP, t) / _horner(MIDDLE_BOTTOM, t)
    t = 1.0 / y[large]
    tt = t * t
    value[large] = t * (RSQRT_PI - tt * (_horner(LARGE_TOP, tt) / _horner(LARGE_BOTTOM, tt)))
    head = np.floor(y * 2.0**20) / 2.0**20  # head^2 is exact; exp of a rounded y^2 would be off by y^2 ulps
    value *= np.exp(-head * head)
    return value + value * np.expm1(-(y - head) * (y + head))
