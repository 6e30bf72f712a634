"""Layers that bring what passes through them to mean 0 and variance 1: over the features, or over the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_ce import functional as F
from tinygrad_ce.kernels.normalization import moments
from tinygrad_ce.mode import get_default_dtype
from tinygrad_ce.nn.options import WithOptions, number, size
from tinygrad_ce.nn.parameter import Buffer, Parameter
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor

Array = NDArray[Any]
_TINY = 1e-30  # the smallest eps: it keeps a constant row from a division by 0


class LayerNorm(WithOptions):
    """z = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias, over the last axes of x; see `functional.layer_norm`.

    normalized_shape    lengths of the axes that are normalized together, the last ones of x; an int for one axis
    eps                 added to the variance
    elementwise_affine  whether there is a weight (1 at first), and
    bias                a bias (0 at first), both of shape normalized_shape
    dtype               of the parameters; the default dtype if None

    Source: Ba, Kiros & Hinton, "Layer normalization", 2016.

    >>> from tinygrad_ce import nn
    >>> nn.LayerNorm(3)([[1.0, 2.0, 3.0], [0.0, 0.0, 9.0]])
    Tensor([[-1.2247,  0.    ,  1.2247],
            [-0.7071, -0.7071,  1.4142]], shape=(2, 3), dtype=float32, op=layer_norm)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike | None = None,
    ) -> None:
        lengths = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
        if not lengths:
            raise ValueError("LayerNorm: normalized_shape=(); expected at least one length")
        self.normalized_shape = tuple(size("LayerNorm", "normalized_shape", n) for n in lengths)
        self.eps = number("LayerNorm", "eps", eps, _TINY, math.inf)
        dtype = get_default_dtype() if dtype is None else dtype
        shape = self.normalized_shape
        self.weight = Parameter(np.ones(shape), dtype=dtype) if elementwise_affine else None
        self.bias = Parameter(np.zeros(shape), dtype=dtype) if elementwise_affine and bias else None

    def forward(self, x: TensorLike) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def options(self) -> dict[str, Any]:
        shape = self.normalized_shape
        return {
            "normalized_shape": shape[0] if len(shape) == 1 else shape, "eps": self.eps,
            "elementwise_affine": self.weight is not None, "bias": self.weight is None or self.bias is not None,
            "dtype": None if self.weight is None else self.weight.dtype.name,
        }  # fmt: skip


class BatchNorm1d(WithOptions):
    """z = (x - mean) / sqrt(var + eps) * weight + bias, for each feature over the batch; see `functional.batch_norm`.

    num_features         length C of axis 1 of x, which has shape (N, C) or (N, C, L)
    eps                  added to the variance
    momentum             how much a batch moves the running statistics; None: they are the mean over all batches
    affine               whether there are a weight (1 at first) and a bias (0 at first), both (C,)
    track_running_stats  whether to keep running statistics, and to use them in evaluation mode
    dtype                of the parameters and running statistics; the default dtype if None

    In training the statistics are the batch's: its mean, and its variance divided by n = N L. Then, in place,
    running = (1 - momentum) * running + momentum * batch, with the variance divided by n - 1 there, as in PyTorch.

    Raises ValueError for another shape of x, and in training for a single value of each feature, whose variance would
    be 0. Source: Ioffe & Szegedy, "Batch normalization", 2015.

    >>> from tinygrad_ce import nn
    >>> layer = nn.BatchNorm1d(2)
    >>> layer([[1.0, 5.0], [3.0, 5.0]])
    Tensor([[-1.,  0.],
            [ 1.,  0.]], shape=(2, 2), dtype=float32, op=batch_norm)
    >>> layer.running_mean
    Buffer([0.2, 0.5], shape=(2,), dtype=float32)
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.num_features = size("BatchNorm1d", "num_features", num_features)
        self.eps = number("BatchNorm1d", "eps", eps, _TINY, math.inf)
        self.momentum = None if momentum is None else number("BatchNorm1d", "momentum", momentum, 0, 1)
        self.track_running_stats = bool(track_running_stats)
        dtype = get_default_dtype() if dtype is None else dtype
        zeros, ones = np.zeros(num_features), np.ones(num_features)
        self.weight = Parameter(ones, dtype=dtype) if affine else None
        self.bias = Parameter(zeros, dtype=dtype) if affine else None
        tracked = self.track_running_stats
        self.running_mean = Buffer(zeros, dtype) if tracked else None
        self.running_var = Buffer(ones, dtype) if tracked else None
        self.num_batches_tracked = Buffer(np.zeros((), np.int64)) if tracked else None

    def forward(self, x: TensorLike) -> Tensor:
        x = as_tensor(x)
        if x.ndim not in (2, 3) or x.shape[1] != self.num_features:
            c = self.num_features
            raise ValueError(f"BatchNorm1d: x has shape {x.shape}, expected (N, {c}) or (N, {c}, L)")
        if self.running_mean is None or self.running_var is None:
            return F.batch_norm(x, self.weight, self.bias, self.eps)
        if self.training:
            z = F.batch_norm(x, self.weight, self.bias, self.eps)
            self._track(x.data, self.running_mean.data, self.running_var.data)
            return z
        shape = (-1, 1)[: x.ndim - 1]
        scale = (1 / np.sqrt(_wide(self.running_var.data) + self.eps)).astype(self.running_var.dtype)
        z = (x - self.running_mean.data.reshape(shape)) * scale.reshape(shape)
        z = z if self.weight is None else z * self.weight.reshape(shape)
        return z if self.bias is None else z + self.bias.reshape(shape)

    def _track(self, x: Array, *running: Array) -> None:
        """Move the running mean and variance towards those of a batch."""
        n = x.size // self.num_features
        if n == 0 or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.data[...] += 1
        momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        _, mean, var = moments(_wide(x), (0, *range(2, x.ndim)))
        for old, batch in zip(running, (mean, var * (n / (n - 1))), strict=True):
            old[...] = (1 - momentum) * _wide(old) + momentum * batch.reshape(-1)

    def options(self) -> dict[str, Any]:
        held = self.weight if self.running_mean is None else self.running_mean
        return {
            "num_features": self.num_features, "eps": self.eps, "momentum": self.momentum,
            "affine": self.weight is not None, "track_running_stats": self.track_running_stats,
            "dtype": None if held is None else held.dtype.name,
        }  # fmt: skip


def _wide(x: Array) -> Array:
    return x.astype(np.float32) if x.dtype == np.float16 else x
