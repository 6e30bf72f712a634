"""Activations as modules: each holds the options of its function."""

from __future__ import annotations

import math
from typing import Literal

from tinygrad_ce import functional as F
from tinygrad_ce.nn.options import WithOptions, number
from tinygrad_ce.tensor import Tensor, TensorLike


class ReLU(WithOptions):
    """max(x, 0), see `functional.relu`.

    >>> from tinygrad_ce import nn
    >>> nn.ReLU()([-1.0, 2.0])
    Tensor([0., 2.], shape=(2,), dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        return F.relu(x)


class LeakyReLU(WithOptions):
    """x if x > 0 else negative_slope * x, see `functional.leaky_relu`.

    >>> from tinygrad_ce import nn
    >>> nn.LeakyReLU(0.5)([-1.0, 2.0])
    Tensor([-0.5,  2. ], shape=(2,), dtype=float32)
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope, -math.inf, math.inf)

    def forward(self, x: TensorLike) -> Tensor:
        return F.leaky_relu(x, self.negative_slope)


class ELU(WithOptions):
    """x if x > 0 else alpha * (exp(x) - 1), see `functional.elu`.

    >>> from tinygrad_ce import nn
    >>> nn.ELU()([-1.0, 2.0])
    Tensor([-0.6321,  2.    ], shape=(2,), dtype=float32)
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = number("ELU", "alpha", alpha, -math.inf, math.inf)

    def forward(self, x: TensorLike) -> Tensor:
        return F.elu(x, self.alpha)


class GELU(WithOptions):
    """x * Phi(x), see `functional.gelu`; `approximate` is "none" or "tanh".

    >>> from tinygrad_ce import nn
    >>> nn.GELU("tanh")([-1.0, 2.0])
    Tensor([-0.1588,  1.9546], shape=(2,), dtype=float32)
    """

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ValueError(f'GELU: approximate={approximate!r}; expected "none" or "tanh"')
        self.approximate: Literal["none", "tanh"] = approximate

    def forward(self, x: TensorLike) -> Tensor:
        return F.gelu(x, self.approximate)


class SiLU(WithOptions):
    """x * sigmoid(x), see `functional.silu`.

    >>> from tinygrad_ce import nn
    >>> nn.SiLU()([-1.0, 2.0])
    Tensor([-0.2689,  1.7616], shape=(2,), dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        return F.silu(x)


class Sigmoid(WithOptions):
    """1 / (1 + exp(-x)), see `functional.sigmoid`.

    >>> from tinygrad_ce import nn
    >>> nn.Sigmoid()([0.0, 2.0])
    Tensor([0.5   , 0.8808], shape=(2,), dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        return F.sigmoid(x)


class Softplus(WithOptions):
    """log(1 + exp(x)), see `functional.softplus`.

    >>> from tinygrad_ce import nn
    >>> nn.Softplus()([0.0, -20.0])
    Tensor([6.9315e-01, 2.0612e-09], shape=(2,), dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        return F.softplus(x)


class Tanh(WithOptions):
    """tanh(x), see `functional.tanh`.

    >>> from tinygrad_ce import nn
    >>> nn.Tanh()([0.0, 1.0])
    Tensor([0.    , 0.7616], shape=(2,), dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        return F.tanh(x)


class Softmax(WithOptions):
    """Scores to probabilities along an axis, see `functional.softmax`. Losses on logits apply it themselves.

    >>> from tinygrad_ce import nn
    >>> nn.Softmax(temperature=2.0)([2.0, 1.0, 0.1])
    Tensor([0.5017, 0.3043, 0.194 ], shape=(3,), dtype=float32)
    """

    def __init__(self, axis: int = -1, temperature: float = 1.0) -> None:
        self.axis = axis
        self.temperature = temperature

    def forward(self, x: TensorLike) -> Tensor:
        return F.softmax(x, self.axis, self.temperature)


class LogSoftmax(WithOptions):
    """Logarithm of the softmax along an axis, see `functional.log_softmax`.

    >>> from tinygrad_ce import nn
    >>> nn.LogSoftmax(axis=0)([0.0, 20.0])
    Tensor([-2.0000e+01, -2.0612e-09], shape=(2,), dtype=float32)
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: TensorLike) -> Tensor:
        return F.log_softmax(x, self.axis)
