"""Layers: linear maps, activations, and chains of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_ce import functional as F
from tinygrad_ce.mode import get_default_dtype
from tinygrad_ce.nn.module import Module, Parameter
from tinygrad_ce.tensor import Tensor, TensorLike


class Linear(Module):
    """z = x W^T + b, as one fused op.

    in_features, out_features   sizes of the last axis of x and of z
    bias                        whether to add b
    generator                   a numpy.random.Generator that draws the initial weights; a fresh one if None
    dtype                       of the parameters; the default dtype if None

    `weight` has shape (out_features, in_features) and `bias` (out_features,), as in PyTorch, both drawn from
    U(-1/sqrt(in_features), 1/sqrt(in_features)).

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> layer = nn.Linear(4, 3, generator=np.random.default_rng(0))
    >>> layer(np.ones((2, 4), np.float32)).shape
    (2, 3)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        generator: np.random.Generator | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        for name, value in (("in_features", in_features), ("out_features", out_features)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"Linear: {name}={value!r}; expected a positive integer")
        if generator is None:
            generator = np.random.default_rng()
        elif not isinstance(generator, np.random.Generator):
            raise TypeError(f"Linear: generator={generator!r}; write generator=numpy.random.default_rng(seed)")
        bound = 1 / math.sqrt(in_features)
        dtype = get_default_dtype() if dtype is None else np.dtype(dtype)
        self.weight = Parameter(generator.uniform(-bound, bound, (out_features, in_features)), dtype)
        self.bias = Parameter(generator.uniform(-bound, bound, out_features), dtype) if bias else None

    def forward(self, x: TensorLike) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def describe(self) -> str:
        out_features, in_features = self.weight.shape
        return f"{in_features}, {out_features}" + ("" if self.bias is not None else ", bias=False")


class Sequential(Module):
    """Modules called one after the other; their names are "0", "1", ...

    >>> from tinygrad_ce import nn
    >>> nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    Sequential(
      (0): Linear(4, 8)
      (1): ReLU()
      (2): Linear(8, 3)
    )
    """

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"{type(self).__name__}: argument {i} is {module!r}, expected a Module such as ReLU()")
            setattr(self, str(i), module)

    def forward(self, x: TensorLike) -> Any:
        for module in vars(self).values():
            if isinstance(module, Module):
                x = module(x)
        return x

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.children())

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __getitem__(self, index: int) -> Module:
        return list(self)[index]


class ReLU(Module):
    """max(x, 0), see `functional.relu`.

    >>> from tinygrad_ce import nn
    >>> nn.ReLU()([-1.0, 2.0])
    Tensor([0., 2.], shape=(2,), dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        return F.relu(x)


class LeakyReLU(Module):
    """x if x > 0 else negative_slope * x, see `functional.leaky_relu`.

    >>> from tinygrad_ce import nn
    >>> nn.LeakyReLU(0.5)([-1.0, 2.0])
    Tensor([-0.5,  2. ], shape=(2,), dtype=float32)
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: TensorLike) -> Tensor:
        return F.leaky_relu(x, self.negative_slope)

    def describe(self) -> str:
        return f"{self.negative_slope}"


class ELU(Module):
    """x if x > 0 else alpha * (exp(x) - 1), see `functional.elu`.

    >>> from tinygrad_ce import nn
    >>> nn.ELU()([-1.0, 2.0])
    Tensor([-0.6321,  2.    ], shape=(2,), dtype=float32)
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: TensorLike) -> Tensor:
        return F.elu(x, self.alpha)

    def describe(self) -> str:
        return f"{self.alpha}"


class GELU(Module):
    """x * Phi(x), see `functional.gelu`; `approximate` is "none" or "tanh".

    >>> from tinygrad_ce import nn
    >>> nn.GELU("tanh")([-1.0, 2.0])
    Tensor([-0.1588,  1.9546], shape=(2,), dtype=float32)
    """

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        self.approximate: Literal["none", "tanh"] = approximate

    def forward(self, x: TensorLike) -> Tensor:
        return F.gelu(x, self.approximate)

    def describe(self) -> str:
        return repr(self.approximate)


class SiLU(Module):
    """x * sigmoid(x), see `functional.silu`.

    >>> from tinygrad_ce import nn
    >>> nn.SiLU()([-1.0, 2.0])
    Tensor([-0.2689,  1.7616], shape=(2,), dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        return F.silu(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x)), see `functional.sigmoid`.

    >>> from tinygrad_ce import nn
    >>> nn.Sigmoid()([0.0, 2.0])
    Tensor([0.5   , 0.8808], shape=(2,), dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        return F.sigmoid(x)


class Softplus(Module):
    """log(1 + exp(x)), see `functional.softplus`.

    >>> from tinygrad_ce import nn
    >>> nn.Softplus()([0.0, -20.0])
    Tensor([6.9315e-01, 2.0612e-09], shape=(2,), dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        return F.softplus(x)


class Tanh(Module):
    """tanh(x), see `functional.tanh`.

    >>> from tinygrad_ce import nn
    >>> nn.Tanh()([0.0, 1.0])
    Tensor([0.    , 0.7616], shape=(2,), dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        return F.tanh(x)


_ACTIVATIONS: dict[str, type[Module]] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "gelu": GELU,
    "silu": SiLU,
    "sigmoid": Sigmoid,
    "softplus": Softplus,
    "tanh": Tanh,
}


class MLP(Sequential):
    """Multi-layer perceptron: linear layers of the given sizes with an activation between them.

    sizes       at least two: inputs, hidden layers, outputs. The outputs are raw scores (logits)
    activation  "relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "softplus" or "tanh"
    generator   draws the initial weights, see `Linear`

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> model = nn.MLP([64, 32, 10], generator=np.random.default_rng(0))
    >>> model.num_parameters()
    2410
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "relu",
        *,
        generator: np.random.Generator | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        if len(sizes) < 2:
            raise ValueError(f"MLP: sizes={sizes!r}; expected at least inputs and outputs, such as [64, 32, 10]")
        if activation not in _ACTIVATIONS:
            raise ValueError(f"MLP: activation={activation!r}; expected one of {', '.join(_ACTIVATIONS)}")
        if generator is None:
            generator = np.random.default_rng()
        layers: list[Module] = []
        for i in range(len(sizes) - 1):
            if layers:
                layers.append(_ACTIVATIONS[activation]())
            layers.append(Linear(sizes[i], sizes[i + 1], generator=generator, dtype=dtype))
        super().__init__(*layers)
