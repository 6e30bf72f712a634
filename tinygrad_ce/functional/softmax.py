"""Softmax and its logarithm."""

from __future__ import annotations

import math

from tinygrad_ce.apply import apply
from tinygrad_ce.functional._public import implements
from tinygrad_ce.functional.reduction import check_one_axis
from tinygrad_ce.ops import softmax as ops
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor

__all__ = ["log_softmax", "softmax"]


@implements(ops.Softmax)
def softmax(x: TensorLike, axis: int = -1, temperature: float = 1.0) -> Tensor:
    """Scores to probabilities along an axis: p_j = exp(x_j) / sum_k exp(x_k), computed without overflow.

    x            any shape, floating; float16 is computed in float32
    axis         the axis that sums to 1
    temperature  x is divided by it first: above 1 the probabilities come closer to each other, below 1 the largest wins

    Returns a Tensor of the shape and dtype of x. A row of -inf, or one with +inf or nan, is nan.
    Raises ValueError for an axis that x does not have or that is empty, or a temperature that is not positive.
    Source: J. Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990.

    >>> from tinygrad_ce import functional as F
    >>> F.softmax([2.0, 1.0, 0.1])
    Tensor([0.659 , 0.2424, 0.0986], shape=(3,), dtype=float32)
    """
    x = as_tensor(x)
    if isinstance(temperature, Tensor):
        raise TypeError("softmax: temperature must be a number; to learn it, write softmax(x / temperature)")
    if temperature != 1:
        if not 0 < temperature < math.inf:
            raise ValueError(f"softmax: temperature={temperature}; expected a positive number")
        x = x / float(temperature)
    return apply(ops.Softmax, (x,), {"axis": check_one_axis("softmax", axis, x.ndim)})


@implements(ops.LogSoftmax)
def log_softmax(x: TensorLike, axis: int = -1) -> Tensor:
    """Logarithm of the softmax along an axis: z_j = x_j - log(sum_k exp(x_k)).

    x     any shape, floating; float16 is computed in float32
    axis  the axis whose probabilities sum to 1

    The largest entry of a row, x_a, gives -log1p(sum over j != a of exp(x_j - x_a)): a confident row keeps its digits
    where log(softmax(x)) would be 0.
    Raises ValueError for an axis that x does not have, or that is empty.
    Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions", 2021.

    >>> from tinygrad_ce import functional as F
    >>> F.log_softmax([0.0, 20.0])
    Tensor([-2.0000e+01, -2.0612e-09], shape=(2,), dtype=float32)
    """
    x = as_tensor(x)
    return apply(ops.LogSoftmax, (x,), {"axis": check_one_axis("log_softmax", axis, x.ndim)})
