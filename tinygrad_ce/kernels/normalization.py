"""Mean and variance over axes, and the gradient of what is normalized with them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """x - mean, the mean, and the variance (divided by n) over axes that stay with length 1; by two passes."""
    n = _count(x, axes)
    mean = np.add.reduce(x, axes, keepdims=True) / n
    centred = x - mean
    return centred, mean, np.add.reduce(centred * centred, axes, keepdims=True) / n


def normalize_vjp(g: Array, normalized: Array, scale: Array, axes: tuple[int, ...]) -> Array:
    """The gradient of x, given that of normalized = (x - mean) * scale with scale = 1 / sqrt(var + eps).

    A change of x that only moves the mean or the variance changes nothing: that part of g is taken out.
    """
    n = _count(g, axes)
    dx = g - np.add.reduce(g, axes, keepdims=True) / n
    dx -= normalized * (np.add.reduce(g * normalized, axes, keepdims=True) / n)
    dx *= scale
    return dx


def _count(x: Array, axes: tuple[int, ...]) -> int:
    n: int = math.prod(x.shape[i] for i in axes)
    return max(n, 1)  # the mean of nothing is 0: no warning
