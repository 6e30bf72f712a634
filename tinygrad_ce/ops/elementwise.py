"""Ops that work element by element."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.arrays import check_dtype
from tinygrad_ce.registry import Op, register

Array = NDArray[Any]


@register
class Add(Op):
    """Sum of two arrays, which broadcast.

    >>> import tinygrad_ce as tg
    >>> tg.functional.add([1.0, 2.0], 3.0)
    Tensor([4., 5.], shape=(2,), dtype=float32)
    """

    formula = "z = x + y"
    vjp_formula = "dx = g, dy = g"
    latex = r"z = x + y"
    forward = np.add
    vjps = (lambda g, _z, _x, _y: g, lambda g, _z, _x, _y: g)
    broadcasts = True


@register
class Sub(Op):
    """Difference of two arrays, which broadcast.

    >>> import tinygrad_ce as tg
    >>> tg.functional.sub([1.0, 2.0], 3.0)
    Tensor([-2., -1.], shape=(2,), dtype=float32)
    """

    formula = "z = x - y"
    vjp_formula = "dx = g, dy = -g"
    latex = r"z = x - y"
    forward = np.subtract
    vjps = (lambda g, _z, _x, _y: g, lambda g, _z, _x, _y: -g)
    broadcasts = True


@register
class Mul(Op):
    """Product of two arrays element by element; they broadcast.

    >>> import tinygrad_ce as tg
    >>> tg.functional.mul([1.0, 2.0], 3.0)
    Tensor([3., 6.], shape=(2,), dtype=float32)
    """

    formula = "z = x * y"
    vjp_formula = "dx = g * y, dy = g * x"
    latex = r"z = x y"
    forward = np.multiply
    vjps = (lambda g, _z, _x, y: g * y, lambda g, _z, x, _y: g * x)
    broadcasts = True


@register
class Div(Op):
    """Quotient of two arrays element by element; they broadcast.

    >>> import tinygrad_ce as tg
    >>> tg.functional.div([1.0, 2.0], 4.0)
    Tensor([0.25, 0.5 ], shape=(2,), dtype=float32)
    """

    formula = "z = x / y"
    vjp_formula = "dx = g / y, dy = -g * z / y"
    latex = r"z = \frac{x}{y}"
    forward = np.divide
    vjps = (lambda g, _z, _x, y: g / y, lambda g, z, _x, y: -g * z / y)
    broadcasts = True


@register
class Neg(Op):
    """Negative.

    >>> import tinygrad_ce as tg
    >>> tg.functional.neg([1.0, -2.0])
    Tensor([-1.,  2.], shape=(2,), dtype=float32)
    """

    formula = "z = -x"
    vjp_formula = "dx = -g"
    latex = r"z = -x"
    forward = np.negative
    vjps = (lambda g, _z, _x: -g,)


def _pow_base(g: Any, _z: Any, x: Any, y: Any) -> Any:
    # where y = 0 the derivative is 0, also at x = 0, where x ** (y - 1) is infinite
    if isinstance(y, (int, float)):
        return g * (y * x ** (y - 1 if y else 1))
    return g * (y * np.where((x == 0) & (y == 0), 1, x) ** (y - 1))


def _pow_exponent(g: Any, z: Any, x: Any, _y: Any) -> Any:
    # 0 ** y is constantly 0 for y > 0: its derivative is 0, not 0 * log(0)
    return g * z * np.log(np.where(x == 0, 1, x))


@register
class Pow(Op):
    """x to the power y; they broadcast. The gradient of y needs x >= 0 (at x = 0: y > 0).

    >>> import tinygrad_ce as tg
    >>> tg.functional.pow([1.0, 3.0], 2.0)
    Tensor([1., 9.], shape=(2,), dtype=float32)
    """

    formula = "z = x ** y"
    vjp_formula = "dx = g * y * x**(y - 1), dy = g * z * log(x)"
    latex = r"z = x^y"
    forward = np.power
    vjps = (_pow_base, _pow_exponent)
    broadcasts = True


@register
class Exp(Op):
    """Exponential.

    >>> import tinygrad_ce as tg
    >>> tg.functional.exp([0.0, 1.0])
    Tensor([1.    , 2.7183], shape=(2,), dtype=float32)
    """

    formula = "z = exp(x)"
    vjp_formula = "dx = g * z"
    latex = r"z = e^x"
    forward = np.exp
    vjps = (lambda g, z, _x: g * z,)


@register
class Log(Op):
    """Natural logarithm, for x > 0.

    >>> import tinygrad_ce as tg
    >>> tg.functional.log([1.0, 2.0])
    Tensor([0.    , 0.6931], shape=(2,), dtype=float32)
    """

    formula = "z = log(x)"
    vjp_formula = "dx = g / x"
    latex = r"z = \ln x"
    forward = np.log
    vjps = (lambda g, _z, x: g / x,)


@register
class Log1p(Op):
    """log(1 + x), exact for small x; for x > -1.

    >>> import tinygrad_ce as tg
    >>> tg.functional.log1p([0.0, 1e-9])
    Tensor([0.e+00, 1.e-09], shape=(2,), dtype=float32)
    """

    formula = "z = log(1 + x)"
    vjp_formula = "dx = g / (1 + x)"
    latex = r"z = \ln(1 + x)"
    forward = np.log1p
    vjps = (lambda g, _z, x: g / (1 + x),)


@register
class Expm1(Op):
    """exp(x) - 1, exact for small x.

    >>> import tinygrad_ce as tg
    >>> tg.functional.expm1([0.0, 1e-9])
    Tensor([0.e+00, 1.e-09], shape=(2,), dtype=float32)
    """

    formula = "z = exp(x) - 1"
    vjp_formula = "dx = g * exp(x)"
    latex = r"z = e^x - 1"
    forward = np.expm1
    vjps = (lambda g, _z, x: g * np.exp(x),)  # z + 1 would lose the gradient where exp(x) is small


@register
class Sqrt(Op):
    """Square root, for x >= 0; its gradient is infinite at 0.

    >>> import tinygrad_ce as tg
    >>> tg.functional.sqrt([4.0, 9.0])
    Tensor([2., 3.], shape=(2,), dtype=float32)
    """

    formula = "z = sqrt(x)"
    vjp_formula = "dx = g / (2 * z)"
    latex = r"z = \sqrt{x}"
    forward = np.sqrt
    vjps = (lambda g, z, _x: g / (2 * z),)


@register
class Abs(Op):
    """Absolute value; its gradient at 0 is 0.

    >>> import tinygrad_ce as tg
    >>> tg.functional.abs([-1.0, 2.0])
    Tensor([1., 2.], shape=(2,), dtype=float32)
    """

    formula = "z = |x|"
    vjp_formula = "dx = g * sign(x)"
    latex = r"z = |x|"
    forward = np.absolute
    vjps = (lambda g, _z, x: g * np.sign(x),)


@register
class Square(Op):
    """Square.

    >>> import tinygrad_ce as tg
    >>> tg.functional.square([-1.0, 2.0])
    Tensor([1., 4.], shape=(2,), dtype=float32)
    """

    formula = "z = x ** 2"
    vjp_formula = "dx = g * 2 * x"
    latex = r"z = x^2"
    forward = np.square
    vjps = (lambda g, _z, x: g * (2 * x),)


@register
class Reciprocal(Op):
    """One over x.

    >>> import tinygrad_ce as tg
    >>> tg.functional.reciprocal([2.0, 4.0])
    Tensor([0.5 , 0.25], shape=(2,), dtype=float32)
    """

    formula = "z = 1 / x"
    vjp_formula = "dx = -g * z**2"
    latex = r"z = \frac{1}{x}"
    forward = np.reciprocal
    vjps = (lambda g, z, _x: -g * np.square(z),)


@register
class Sin(Op):
    """Sine of an angle in radians.

    >>> import tinygrad_ce as tg
    >>> tg.functional.sin([0.0, 1.0])
    Tensor([0.    , 0.8415], shape=(2,), dtype=float32)
    """

    formula = "z = sin(x)"
    vjp_formula = "dx = g * cos(x)"
    latex = r"z = \sin x"
    forward = np.sin
    vjps = (lambda g, _z, x: g * np.cos(x),)


@register
class Cos(Op):
    """Cosine of an angle in radians.

    >>> import tinygrad_ce as tg
    >>> tg.functional.cos([0.0, 1.0])
    Tensor([1.    , 0.5403], shape=(2,), dtype=float32)
    """

    formula = "z = cos(x)"
    vjp_formula = "dx = -g * sin(x)"
    latex = r"z = \cos x"
    forward = np.cos
    vjps = (lambda g, _z, x: -g * np.sin(x),)


@register
class Maximum(Op):
    """The larger of two elements; where they are equal each gets half of the gradient. They broadcast.

    >>> import tinygrad_ce as tg
    >>> tg.functional.maximum([1.0, 5.0], 3.0)
    Tensor([3., 5.], shape=(2,), dtype=float32)
    """

    formula = "z = max(x, y)"
    vjp_formula = "dx = g where x > y, g/2 where x = y; dy likewise"
    latex = r"z = \max(x, y)"
    forward = np.maximum
    vjps = (lambda g, _z, x, y: _share(g, x > y, x == y), lambda g, _z, x, y: _share(g, y > x, x == y))
    broadcasts = True


@register
class Minimum(Op):
    """The smaller of two elements; where they are equal each gets half of the gradient. They broadcast.

    >>> import tinygrad_ce as tg
    >>> tg.functional.minimum([1.0, 5.0], 3.0)
    Tensor([1., 3.], shape=(2,), dtype=float32)
    """

    formula = "z = min(x, y)"
    vjp_formula = "dx = g where x < y, g/2 where x = y; dy likewise"
    latex = r"z = \min(x, y)"
    forward = np.minimum
    vjps = (lambda g, _z, x, y: _share(g, x < y, x == y), lambda g, _z, x, y: _share(g, y < x, x == y))
    broadcasts = True


def _share(g: Any, wins: Any, ties: Any) -> Any:
    return np.where(wins, g, np.where(ties, g / 2, 0))


@register
class Clip(Op):
    """Each element limited to [a_min, a_max]; the gradient is 0 outside, 1 inside and on the limits.

    >>> import tinygrad_ce as tg
    >>> tg.functional.clip([-1.0, 0.5, 3.0], 0.0, 1.0)
    Tensor([0. , 0.5, 1. ], shape=(3,), dtype=float32)
    """

    formula = "z = min(max(x, a_min), a_max)"
    vjp_formula = "dx = g where a_min <= x <= a_max, else 0"
    latex = r"z = \min(\max(x, a), b)"
    numpy = (np.clip,)
    vjps = (lambda g, _z, x, *, a_min, a_max: np.where(_outside(x, a_min, a_max), 0, g),)

    @staticmethod
    def forward(x: Array, *, a_min: Any = None, a_max: Any = None) -> Array:
        z = np.asarray(x) if a_min is None and a_max is None else np.clip(x, a_min, a_max)
        if z.shape != np.shape(x):
            raise ValueError(f"clip: limits that broadcast x of shape {np.shape(x)} to {z.shape}; they must fit x")
        return z


def _outside(x: Any, a_min: Any, a_max: Any) -> Any:
    below = False if a_min is None else x < a_min
    above = False if a_max is None else x > a_max
    return below | above


@register
class Where(Op):
    """x where the condition holds, else y; all three broadcast.

    >>> import tinygrad_ce as tg
    >>> tg.functional.where([True, False], [1.0, 2.0], 0.0)
    Tensor([1., 0.], shape=(2,), dtype=float32)
    """

    formula = "z = x if condition else y"
    vjp_formula = "dx = g where condition, else 0; dy = 0 where condition, else g"
    latex = r"z = c \,?\, x : y"
    numpy = (np.where,)
    vjps = (
        None,
        lambda g, _z, condition, _x, _y: np.where(condition, g, 0),
        lambda g, _z, condition, _x, _y: np.where(condition, 0, g),
    )
    broadcasts = True

    @staticmethod
    def forward(condition: Array, x: Array, y: Array) -> Array:
        return np.where(condition, x, y)


@register
class AsType(Op):
    """Converted to another dtype; the gradient comes back in the dtype of x.

    >>> import tinygrad_ce as tg
    >>> tg.functional.astype([1.0, 2.0], "float64").dtype
    dtype('float64')
    """

    name = "astype"
    formula = "z = x"
    vjp_formula = "dx = g"
    latex = r"z = x"
    meaning = "inherited"
    vjps = (lambda g, _z, _x, *, dtype: g,)

    @staticmethod
    def forward(x: Array, *, dtype: Any) -> Array:
        return np.asarray(x).astype(check_dtype(np.dtype(dtype)))
