"""Arithmetic and functions of single elements. Inputs broadcast as in NumPy; see each op's docstring."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_ce.apply import apply
from tinygrad_ce.arrays import plain, to_array
from tinygrad_ce.functional._public import function_of, implements
from tinygrad_ce.ops import activation, elementwise
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor

__all__ = [
    "abs", "add", "astype", "clip", "cos", "div", "elu", "erf", "erfc", "exp", "expm1", "gelu", "leaky_relu", "log",
    "log1p", "log_sigmoid", "maximum", "minimum", "mul", "neg", "pow", "reciprocal", "relu", "sigmoid", "silu", "sin",
    "softplus", "sqrt", "square", "sub", "tanh", "where",
]  # fmt: skip

add = function_of(elementwise.Add)
sub = function_of(elementwise.Sub)
mul = function_of(elementwise.Mul)
div = function_of(elementwise.Div)
neg = function_of(elementwise.Neg)
pow = function_of(elementwise.Pow)
exp = function_of(elementwise.Exp)
log = function_of(elementwise.Log)
log1p = function_of(elementwise.Log1p)
expm1 = function_of(elementwise.Expm1)
sqrt = function_of(elementwise.Sqrt)
abs = function_of(elementwise.Abs)
square = function_of(elementwise.Square)
reciprocal = function_of(elementwise.Reciprocal)
sin = function_of(elementwise.Sin)
cos = function_of(elementwise.Cos)
maximum = function_of(elementwise.Maximum)
minimum = function_of(elementwise.Minimum)
tanh = function_of(activation.Tanh)
sigmoid = function_of(activation.Sigmoid)
log_sigmoid = function_of(activation.LogSigmoid)
softplus = function_of(activation.Softplus)
relu = function_of(activation.ReLU)
silu = function_of(activation.SiLU)
erf = function_of(activation.Erf)
erfc = function_of(activation.Erfc)


@implements(activation.LeakyReLU)
def leaky_relu(x: TensorLike, negative_slope: float = 0.01) -> Tensor:
    """ReLU that keeps a small slope for negative x: z = x if x > 0 else negative_slope * x.

    x               any shape, floating
    negative_slope  a number

    >>> import tinygrad_ce as tg
    >>> tg.functional.leaky_relu([-1.0, 2.0], 0.5)
    Tensor([-0.5,  2. ], shape=(2,), dtype=float32)
    """
    return apply(activation.LeakyReLU, (x,), {"negative_slope": negative_slope})


@implements(activation.ELU)
def elu(x: TensorLike, alpha: float = 1.0) -> Tensor:
    """Exponential linear unit: z = x if x > 0 else alpha * (exp(x) - 1).

    x       any shape, floating
    alpha   a number; -alpha is the value that large negative x tends to

    >>> import tinygrad_ce as tg
    >>> tg.functional.elu([-1.0, 2.0], 0.5)
    Tensor([-0.3161,  2.    ], shape=(2,), dtype=float32)
    """
    return apply(activation.ELU, (x,), {"alpha": alpha})


@implements(activation.GELU)
def gelu(x: TensorLike, approximate: Literal["none", "tanh"] = "none") -> Tensor:
    """Gaussian error linear unit: z = x * Phi(x), Phi the standard normal distribution function.

    x            any shape, floating
    approximate  "none": exact, by erfc; "tanh": x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x**3)))

    Raises ValueError for another `approximate`.

    >>> import tinygrad_ce as tg
    >>> tg.functional.gelu([-1.0, 2.0], "tanh")
    Tensor([-0.1588,  1.9546], shape=(2,), dtype=float32)
    """
    return apply(activation.GELU, (x,), {"approximate": approximate})


@implements(elementwise.Clip)
def clip(x: TensorLike, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Tensor:
    """Each element limited to [a_min, a_max]; a limit of None is no limit. `min=`, `max=` are the same limits.

    x       any shape
    limits  numbers or arrays that broadcast to x; constants (`maximum` and `minimum` pass gradients to both sides)

    Raises TypeError for a limit that requires a gradient.

    >>> import tinygrad_ce as tg
    >>> tg.functional.clip([-1.0, 0.5, 3.0], 0.0, 1.0)
    Tensor([0. , 0.5, 1. ], shape=(3,), dtype=float32)
    """
    if (a_min is not None and min is not None) or (a_max is not None and max is not None):
        raise TypeError("clip: a limit is given twice; min= is a_min and max= is a_max")
    limits = {"a_min": a_min if min is None else min, "a_max": a_max if max is None else max}
    for name, limit in limits.items():
        if isinstance(limit, (list, tuple)):
            limits[name] = to_array(limit)
        if isinstance(limit, Tensor) and limit.requires_grad:
            raise TypeError(f"clip: {name} requires a gradient, but limits are constants; use maximum() and minimum()")
    return apply(elementwise.Clip, (x,), plain(limits))


@implements(elementwise.Where)
def where(condition: TensorLike, x: TensorLike, y: TensorLike) -> Tensor:
    """x where the condition holds, else y; all three broadcast.

    condition   bools (numbers count as true unless 0); takes no gradient
    x, y        the result has their common dtype

    >>> import tinygrad_ce as tg
    >>> tg.functional.where([True, False], [1.0, 2.0], 0.0)
    Tensor([1., 0.], shape=(2,), dtype=float32)
    """
    mask = np.asarray(plain(condition))
    if not any(isinstance(value, (Tensor, np.ndarray, np.generic)) for value in (x, y)):
        x, y = as_tensor(x), as_tensor(y)  # two Python numbers have the default dtype
    return apply(elementwise.Where, (mask if mask.dtype == bool else mask != 0, x, y))


@implements(elementwise.AsType)
def astype(x: TensorLike, dtype: DTypeLike) -> Tensor:
    """x converted to another dtype; the gradient comes back in the dtype of x.

    dtype   float16, float32, float64, an integer or bool (which end the flow of gradients)

    Raises TypeError for another dtype.

    >>> import tinygrad_ce as tg
    >>> tg.functional.astype([1.5, 2.0], "int64")
    Tensor([1, 2], shape=(2,), dtype=int64)
    """
    return apply(elementwise.AsType, (x,), {"dtype": np.dtype(dtype)})
