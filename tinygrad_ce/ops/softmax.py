"""Scores to probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.kernels.choice import kernels
from tinygrad_ce.registry import Op, register

Array = NDArray[Any]


def _softmax_vjp(g: Any, p: Any, _x: Any, *, axis: int) -> Any:
    if isinstance(g, np.ndarray):
        return kernels.softmax_gradient(g, p, axis)
    return p * (g - np.sum(g * p, axis=axis, keepdims=True))  # on Tensors, to be differentiated again


@register
class Softmax(Op):
    """Scores to probabilities along an axis (Bridle 1990).

    The Jacobian of a row is diag(p) - p p^T; the rule applies it without building it.

    >>> import tinygrad_ce as tg
    >>> tg.functional.softmax([2.0, 1.0, 0.1])
    Tensor([0.659 , 0.2424, 0.0986], shape=(3,), dtype=float32)
    """

    formula = "p = exp(x) / sum(exp(x))"
    vjp_formula = "dx = p * (g - sum(g * p))"
    latex = r"p_j = \frac{e^{x_j}}{\sum_k e^{x_k}}"
    meaning = "probabilities"
    vjps = (_softmax_vjp,)

    @staticmethod
    def forward(x: Array, *, axis: int = -1) -> Array:
        return kernels.softmax(x, axis)


def _log_softmax_vjp(g: Any, z: Any, _x: Any, *, axis: int) -> Any:
    if isinstance(g, np.ndarray):
        return kernels.log_softmax_gradient(g, z, axis)
    undefined = np.isnan(z)
    if undefined.any():  # a row that no gradient reaches has none, even if it is nan: a loss ignored it
        z = np.where(undefined & ~np.any(g, axis=axis, keepdims=True), 0, z)
    # g - p * sum(g), with g (1 - p) = -g expm1(z) taken out: where p is almost 1, that difference would cancel
    others = np.sum(g, axis=axis, keepdims=True) - g
    return -g * np.expm1(z) - np.exp(z) * others


@register
class LogSoftmax(Op):
    """Logarithm of the softmax along an axis, exact for confident rows too.

    >>> import tinygrad_ce as tg
    >>> tg.functional.log_softmax([0.0, 20.0])
    Tensor([-2.0000e+01, -2.0612e-09], shape=(2,), dtype=float32)
    """

    formula = "z = x - logsumexp(x)"
    vjp_formula = "dx = g - softmax(x) * sum(g)"
    latex = r"z_j = x_j - \ln \sum_k e^{x_k}"
    meaning = "log-probabilities"
    vjps = (_log_softmax_vjp,)

    @staticmethod
    def forward(x: Array, *, axis: int = -1) -> Array:
        return kernels.log_softmax(x, axis)
