"""Activation functions, and the error function that one of them is made of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.kernels import special
from tinygrad_ce.registry import Op, register

Array = NDArray[Any]


# A Python number is made an array in each call, which can take as long as the call.
_ZERO = {np.dtype(kind): np.zeros((), kind) for kind in (np.float16, np.float32, np.float64)}
_BITS = {np.dtype(kind): np.dtype(f"i{np.dtype(kind).itemsize}") for kind in (np.float16, np.float32, np.float64)}


def _masked(g: Any, mask: Any) -> Any:
    """g where the mask holds, else 0: of an array its bits times 1 or 0, ten times faster and right for inf and nan."""
    if type(g) is not np.ndarray:
        return np.where(mask, g, 0)
    return (g.view(_BITS[g.dtype]) * mask).view(g.dtype)


@register
class ReLU(Op):
    """Rectified linear unit; its gradient at 0 is 0.

    >>> import tinygrad_ce as tg
    >>> tg.functional.relu([-1.0, 2.0])
    Tensor([0., 2.], shape=(2,), dtype=float32)
    """

    name = "relu"
    formula = "z = max(x, 0)"
    vjp_formula = "dx = g where x > 0, else 0"
    latex = r"z = \max(x, 0)"
    vjps = (lambda g, z, _x: _masked(g, z > _ZERO[z.dtype]),)

    @staticmethod
    def forward(x: Array) -> Array:
        return np.maximum(x, _ZERO.get(x.dtype, 0))


@register
class LeakyReLU(Op):
    """ReLU that keeps a small slope for negative x (Maas, Hannun & Ng 2013).

    >>> import tinygrad_ce as tg
    >>> tg.functional.leaky_relu([-1.0, 2.0])
    Tensor([-0.01,  2.  ], shape=(2,), dtype=float32)
    """

    name = "leaky_relu"
    formula = "z = x if x > 0 else negative_slope * x"
    vjp_formula = "dx = g where x > 0, else negative_slope * g"
    latex = r"z = \max(x, 0) + a \min(x, 0)"
    vjps = (lambda g, _z, x, *, negative_slope: np.where(x > 0, g, negative_slope * g),)

    @staticmethod
    def forward(x: Array, *, negative_slope: float = 0.01) -> Array:
        return np.where(x > 0, x, negative_slope * x)


@register
class ELU(Op):
    """Exponential linear unit (Clevert, Unterthiner & Hochreiter 2015).

    >>> import tinygrad_ce as tg
    >>> tg.functional.elu([-1.0, 2.0])
    Tensor([-0.6321,  2.    ], shape=(2,), dtype=float32)
    """

    name = "elu"
    formula = "z = x if x > 0 else alpha * (exp(x) - 1)"
    vjp_formula = "dx = g where x > 0, else g * alpha * exp(x)"
    latex = r"z = x \text{ if } x > 0 \text{ else } \alpha (e^x - 1)"
    vjps = (lambda g, _z, x, *, alpha: np.where(x > 0, g, g * alpha * np.exp(np.minimum(x, 0))),)

    @staticmethod
    def forward(x: Array, *, alpha: float = 1.0) -> Array:
        return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@register
class Sigmoid(Op):
    """Logistic function, for binary and multi-label probabilities.

    Its slope is written sigmoid(x) sigmoid(-x): z (1 - z) would be exactly 0 for confident x > 17 (float32).

    >>> import tinygrad_ce as tg
    >>> tg.functional.sigmoid([0.0, 2.0])
    Tensor([0.5   , 0.8808], shape=(2,), dtype=float32)
    """

    meaning = "probability"
    formula = "z = 1 / (1 + exp(-x))"
    vjp_formula = "dx = g * sigmoid(x) * sigmoid(-x)"
    latex = r"z = \sigma(x) = \frac{1}{1 + e^{-x}}"
    forward = special.sigmoid
    vjps = (lambda g, _z, x: g * Sigmoid(x) * Sigmoid(-x),)


@register
class LogSigmoid(Op):
    """Logarithm of the logistic function, exact at both ends.

    >>> import tinygrad_ce as tg
    >>> tg.functional.log_sigmoid([0.0, 20.0])
    Tensor([-6.9315e-01, -2.0612e-09], shape=(2,), dtype=float32)
    """

    formula = "z = -log(1 + exp(-x))"
    vjp_formula = "dx = g * sigmoid(-x)"
    latex = r"z = \ln \sigma(x)"
    forward = special.log_sigmoid
    vjps = (lambda g, _z, x: g * Sigmoid(-x),)


@register
class Softplus(Op):
    """Smooth ReLU, exact at both ends.

    >>> import tinygrad_ce as tg
    >>> tg.functional.softplus([0.0, -20.0])
    Tensor([6.9315e-01, 2.0612e-09], shape=(2,), dtype=float32)
    """

    formula = "z = log(1 + exp(x))"
    vjp_formula = "dx = g * sigmoid(x)"
    latex = r"z = \ln(1 + e^x)"
    forward = special.softplus
    vjps = (lambda g, _z, x: g * Sigmoid(x),)


@register
class Tanh(Op):
    """Hyperbolic tangent.

    Its slope is written 4 sigmoid(2x) sigmoid(-2x): 1 - z**2 would be exactly 0 for |x| > 9 (float32).

    >>> import tinygrad_ce as tg
    >>> tg.functional.tanh([0.0, 1.0])
    Tensor([0.    , 0.7616], shape=(2,), dtype=float32)
    """

    formula = "z = tanh(x)"
    vjp_formula = "dx = g * (1 - z**2)"
    latex = r"z = \tanh x"
    forward = np.tanh
    vjps = (lambda g, _z, x: g * (4 * Sigmoid(2 * x) * Sigmoid(-2 * x)),)


@register
class SiLU(Op):
    """Sigmoid linear unit, also called swish (Hendrycks & Gimpel 2016).

    >>> import tinygrad_ce as tg
    >>> tg.functional.silu([-1.0, 2.0])
    Tensor([-0.2689,  1.7616], shape=(2,), dtype=float32)
    """

    name = "silu"
    formula = "z = x * sigmoid(x)"
    vjp_formula = "dx = g * sigmoid(x) * (1 + x * sigmoid(-x))"
    latex = r"z = x\, \sigma(x)"
    vjps = (lambda g, _z, x: g * Sigmoid(x) * (1 + x * Sigmoid(-x)),)

    @staticmethod
    def forward(x: Array) -> Any:
        return x * special.sigmoid(x)


_TANH_SCALE = 2 * math.sqrt(2 / math.pi)
_TANH_CUBIC = 0.044715


def _gelu_vjp(g: Any, _z: Any, x: Any, *, approximate: str) -> Any:
    if approximate == "none":
        return g * (0.5 * Erfc(x * -math.sqrt(0.5)) + x * np.exp(-0.5 * np.square(x)) * (1 / math.sqrt(2 * math.pi)))
    u = _TANH_SCALE * (x + _TANH_CUBIC * x**3)
    slope = _TANH_SCALE * (1 + 3 * _TANH_CUBIC * np.square(x))
    return g * Sigmoid(u) * (1 + x * slope * Sigmoid(-u))


@register
class GELU(Op):
    """Gaussian error linear unit (Hendrycks & Gimpel 2016), exact or with their tanh approximation.

    >>> import tinygrad_ce as tg
    >>> tg.functional.gelu([-1.0, 2.0])
    Tensor([-0.1587,  1.9545], shape=(2,), dtype=float32)
    """

    name = "gelu"
    formula = "z = x * Phi(x), Phi the normal distribution"
    vjp_formula = "dx = g * (Phi(x) + x * phi(x))"
    latex = r"z = x\, \Phi(x)"
    vjps = (_gelu_vjp,)

    @staticmethod
    def forward(x: Array, *, approximate: str = "none") -> Any:
        if approximate == "none":  # erfc keeps the left tail, where 1 + erf would cancel
            return x * (0.5 * special.erfc(x * -math.sqrt(0.5)))
        if approximate == "tanh":  # (1 + tanh(u / 2)) / 2 = sigmoid(u), which does not cancel either
            return x * special.sigmoid(_TANH_SCALE * (x + _TANH_CUBIC * x**3))
        raise ValueError(f'gelu: approximate={approximate!r}; expected "none" or "tanh"')


@register
class Erf(Op):
    """Error function.

    >>> import tinygrad_ce as tg
    >>> tg.functional.erf([0.0, 1.0])
    Tensor([0.    , 0.8427], shape=(2,), dtype=float32)
    """

    formula = "z = erf(x)"
    vjp_formula = "dx = g * 2/sqrt(pi) * exp(-x**2)"
    latex = r"z = \mathrm{erf}\, x"
    forward = special.erf
    vjps = (lambda g, _z, x: g * (2 / math.sqrt(math.pi)) * np.exp(-np.square(x)),)


@register
class Erfc(Op):
    """1 - erf(x), exact in the far tail.

    >>> import tinygrad_ce as tg
    >>> tg.functional.erfc([0.0, 5.0])
    Tensor([1.0000e+00, 1.5375e-12], shape=(2,), dtype=float32)
    """

    formula = "z = 1 - erf(x)"
    vjp_formula = "dx = -g * 2/sqrt(pi) * exp(-x**2)"
    latex = r"z = \mathrm{erfc}\, x"
    forward = special.erfc
    vjps = (lambda g, _z, x: -g * (2 / math.sqrt(math.pi)) * np.exp(-np.square(x)),)
