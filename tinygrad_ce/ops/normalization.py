"""Fused normalization: over the last axes of each sample, or for each feature over the batch.

float16 is computed in float32 and rounded once, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.kernels.normalization import moments, normalize_vjp
from tinygrad_ce.ops.reduction import Mean, Var
from tinygrad_ce.registry import FusedOp, register

Array = NDArray[Any]
Axes = tuple[int, ...]
Shape = tuple[int, ...]


def _normalize(inputs: Sequence[Array], axes: Axes, shape: Shape, eps: float) -> tuple[Array, tuple[Array, Array]]:
    """The value, and the mean and scale that the rule starts from; weight and bias broadcast in the given shape."""
    dtype = np.result_type(*inputs, *([] if inputs[0].dtype.kind == "f" else [np.float64]))
    x, *affine = (p.astype(np.result_type(dtype, np.float32), copy=False) for p in inputs)
    z, mean, var = moments(x, axes)
    scale = 1 / np.sqrt(var + eps)
    z *= scale
    for ufunc, parameter in zip((np.multiply, np.add), affine, strict=False):
        ufunc(z, parameter.reshape(shape), out=z)
    return z.astype(dtype, copy=False), (mean, scale)


def _pull(
    g: Array, kept: tuple[Array, Array], inputs: Sequence[Array], needs: Sequence[bool], axes: Axes, shape: Shape,
    repeated: Axes,
) -> list[Any]:  # fmt: skip
    """The gradients of x, weight and bias; the latter two are sums over the axes along which they are repeated."""
    mean, scale = kept
    g = g.astype(scale.dtype, copy=False)
    normalized = (inputs[0] - mean) * scale
    gradients: list[Any] = [None] * len(inputs)
    if needs[0]:
        weighted = g * inputs[1].reshape(shape) if len(inputs) > 1 else g
        gradients[0] = normalize_vjp(weighted, normalized, scale, axes)
    for i, terms in enumerate((g * normalized, g)[: len(inputs) - 1], 1):
        if needs[i]:
            gradients[i] = np.add.reduce(terms, repeated)
    return gradients


def _decompose(inputs: Sequence[Any], axes: Axes, shape: Shape, eps: float) -> Any:
    x, *affine = inputs
    deviation = x - Mean(x, axis=axes, keepdims=True)
    z = deviation / np.sqrt(Var(x, axis=axes, keepdims=True) + eps)
    for ufunc, parameter in zip((np.multiply, np.add), affine, strict=False):
        z = ufunc(z, parameter.reshape(shape))
    return z


def _check(name: str, x: Array, affine: Sequence[Array], shape: Shape) -> None:
    for what, parameter in zip(("weight", "bias"), affine, strict=False):
        if parameter.shape != shape:
            raise ValueError(f"{name}: {what} has shape {parameter.shape}, expected {shape} for x of shape {x.shape}")


def _last(ndim: int, k: int) -> tuple[Axes, Axes]:
    """The last k axes, and those before them."""
    return tuple(range(ndim - k, ndim)), tuple(range(ndim - k))


def _layer_norm_vjp(
    g: Array, kept: Any, *inputs: Array, needs: Sequence[bool], normalized_shape: Shape, eps: float
) -> list[Any]:
    axes, others = _last(g.ndim, len(normalized_shape))
    return _pull(g, kept, inputs, needs, axes, normalized_shape, others)


@register
class LayerNorm(FusedOp):
    """Each sample brought to mean 0 and variance 1 over its last axes, then scaled and shifted entry by entry.

    `normalized_shape` are the lengths of those axes. Source: Ba, Kiros & Hinton, 2016.
    """

    formula = "z = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias"
    vjp_formula = "dx = (h - mean(h) - n * mean(h * n)) / sqrt(var(x) + eps), h = g * weight, n = normalized x"
    latex = r"z = \frac{x - \bar x}{\sqrt{\mathrm{var}(x) + \epsilon}} \odot w + b"
    residual = True
    vjp = _layer_norm_vjp

    @staticmethod
    def forward(
        x: Array, weight: Array | None = None, bias: Array | None = None, *, normalized_shape: Shape, eps: float = 1e-5,
        gradient: bool = False,
    ) -> Any:  # fmt: skip
        k = len(normalized_shape)
        if not k or x.shape[-k:] != normalized_shape:
            raise ValueError(f"layer_norm: x has shape {x.shape}, expected (..., {str(normalized_shape)[1:]}")
        affine = [p for p in (weight, bias) if p is not None]
        _check("layer_norm", x, affine, normalized_shape)
        return _normalize([x, *affine], _last(x.ndim, k)[0], normalized_shape, eps)

    @staticmethod
    def decomposition(*inputs: Any, normalized_shape: Shape, eps: float = 1e-5) -> Any:
        return _decompose(inputs, _last(inputs[0].ndim, len(normalized_shape))[0], normalized_shape, eps)


def _features(x: Any) -> tuple[Axes, Shape]:
    """All axes but the features', which is axis 1; the shape in which one number a feature broadcasts against x."""
    return (0, *range(2, x.ndim)), (-1, *(1,) * (x.ndim - 2))


def _batch_norm_vjp(g: Array, kept: Any, *inputs: Array, needs: Sequence[bool], eps: float) -> list[Any]:
    axes, shape = _features(g)
    return _pull(g, kept, inputs, needs, axes, shape, axes)


@register
class BatchNorm(FusedOp):
    """Each feature brought to mean 0 and variance 1 over the batch, then scaled and shifted.

    Features are axis 1; the statistics are over all other axes. Source: Ioffe & Szegedy, 2015.
    """

    formula = "z = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias"
    vjp_formula = "dx = (g - mean(g) - n * mean(g * n)) * weight / sqrt(var(x) + eps), n = normalized x"
    latex = r"z = \frac{x - \bar x}{\sqrt{\mathrm{var}(x) + \epsilon}} \odot w + b"
    residual = True
    vjp = _batch_norm_vjp

    @staticmethod
    def forward(
        x: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5, gradient: bool = False
    ) -> Any:
        if x.ndim < 2:
            raise ValueError(f"batch_norm: x has shape {x.shape}, expected (N, C) or (N, C, ...)")
        axes, shape = _features(x)
        if math.prod(x.shape[i] for i in axes) == 1:
            raise ValueError(
                f"batch_norm: x has shape {x.shape}, one value of each feature, whose variance is 0 whatever it is; "
                "give a batch of at least two rows (drop the last one if it is smaller), or call eval() on the model"
            )
        affine = [p for p in (weight, bias) if p is not None]
        _check("batch_norm", x, affine, x.shape[1:2])
        return _normalize([x, *affine], axes, shape, eps)

    @staticmethod
    def decomposition(*inputs: Any, eps: float = 1e-5) -> Any:
        return _decompose(inputs, *_features(inputs[0]), eps)
