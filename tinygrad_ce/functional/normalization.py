"""Normalization: over the last axes of each sample, or for each feature over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

from tinygrad_ce.apply import apply
from tinygrad_ce.functional._public import implements
from tinygrad_ce.ops import normalization as ops
from tinygrad_ce.registry import Op
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor

__all__ = ["batch_norm", "layer_norm"]


@implements(ops.LayerNorm)
def layer_norm(
    x: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer normalization, fused: z = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias, over the last axes.

    x                 (..., *normalized_shape)
    normalized_shape  lengths of the axes that are normalized together; an int for one axis
    weight, bias      of shape normalized_shape, or None; a bias needs a weight
    eps               added to the variance, which is the mean squared deviation (divided by n)

    Returns the shape of x; dtypes are promoted, float16 is computed in float32. Raises ValueError for shapes that do
    not fit. Source: Ba, Kiros & Hinton, "Layer normalization", 2016.

    >>> import tinygrad_ce as tg
    >>> tg.functional.layer_norm([[1.0, 2.0, 3.0], [0.0, 0.0, 9.0]], 3)
    Tensor([[-1.2247,  0.    ,  1.2247],
            [-0.7071, -0.7071,  1.4142]], shape=(2, 3), dtype=float32)
    """
    shape = tuple(normalized_shape) if isinstance(normalized_shape, Sequence) else (normalized_shape,)
    return _apply(ops.LayerNorm, x, weight, bias, eps, {"normalized_shape": shape})


@implements(ops.BatchNorm)
def batch_norm(
    x: TensorLike, weight: TensorLike | None = None, bias: TensorLike | None = None, eps: float = 1e-5
) -> Tensor:
    """Batch normalization, fused: z = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias, for each feature.

    x             (N, C) or (N, C, ...): C features; mean and variance are over all axes but the features'
    weight, bias  (C,), or None; a bias needs a weight
    eps           added to the variance, which is the mean squared deviation (divided by n)

    The statistics are the batch's, as in training; `nn.BatchNorm1d` keeps the running ones. Returns the shape of x;
    dtypes are promoted, float16 is computed in float32. Raises ValueError for shapes that do not fit, and for a single
    value of each feature. Source: Ioffe & Szegedy, "Batch normalization", 2015.

    >>> import tinygrad_ce as tg
    >>> tg.functional.batch_norm([[1.0, 5.0], [3.0, 5.0]], [1.0, 1.0], [0.0, 0.5])
    Tensor([[-1. ,  0.5],
            [ 1. ,  0.5]], shape=(2, 2), dtype=float32)
    """
    return _apply(ops.BatchNorm, x, weight, bias, eps, {})


def _apply(op: type[Op], x: Any, weight: Any, bias: Any, eps: float, attributes: dict[str, Any]) -> Tensor:
    if not (isinstance(eps, Real) and eps > 0):
        raise ValueError(f"{op.name}: eps={eps!r}; expected a positive number")
    if weight is None and bias is not None:
        raise ValueError(f"{op.name}: a bias without a weight; write {op.name}(...) + bias")
    inputs = [as_tensor(p) for p in (x, weight, bias) if p is not None]
    return apply(op, inputs, {**attributes, "eps": eps})
