"""Modules made of modules: chains, lists, and the multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Self, overload

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_ce.nn.activations import ELU, GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from tinygrad_ce.nn.layers import Dropout, Linear
from tinygrad_ce.nn.module import Module
from tinygrad_ce.nn.normalization import BatchNorm1d, LayerNorm
from tinygrad_ce.nn.options import number, random, size
from tinygrad_ce.tensor import TensorLike


class ModuleList(Module):
    """A list of modules whose parameters are found; their names are "0", "1", ... It is not called itself.

    >>> from tinygrad_ce import nn
    >>> class Twins(nn.Module):
    ...     def __init__(self):
    ...         self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(2))
    ...
    ...     def forward(self, x):
    ...         return [head(x) for head in self.heads]
    >>> [name for name, _ in Twins().named_parameters()]
    ['heads.0.weight', 'heads.0.bias', 'heads.1.weight', 'heads.1.bias']
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def append(self, module: Module) -> Self:
        """Add a module at the end; returns the list."""
        last = max((int(name) for name, _ in self.named_children() if name.isdecimal()), default=-1)
        self.add_module(str(last + 1), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end; returns the list."""
        for module in modules:
            self.append(module)
        return self

    def add_module(self, name: str, module: Module) -> None:
        """Add a module under a name of its own, or put it in the place of the one of that name."""
        kind = type(self).__name__
        if not isinstance(module, Module):
            hint = f"; write {module.__name__}()" if isinstance(module, type) else ""
            if isinstance(self, Sequential) and isinstance(module, (list, tuple, Iterator)):
                hint = "; write Sequential(*layers)"
            raise TypeError(f"{kind}: argument {name} is {module!r}, expected a Module such as ReLU(){hint}")
        if not isinstance(name, str) or not name or "." in name or hasattr(type(self), name):
            raise ValueError(f"{kind}: a module cannot have the name {name!r}; expected one without dots, not in use")
        setattr(self, name, module)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.children())

    def __len__(self) -> int:
        return len(self.children())

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return ModuleList(self.children()[index])
        return self.children()[self._place(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        name, _ = list(self.named_children())[self._place(index)]
        self.add_module(name, module)

    def _place(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{type(self).__name__}: index {index} of {len(self)} modules")
        return index


class Sequential(ModuleList):
    """Modules called one after the other; their names are "0", "1", ..., or the keys of one dict of modules.

    An index gives a module, a slice a Sequential of the same modules; `model[-1] = nn.Linear(8, 5)` replaces one.

    >>> from tinygrad_ce import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> model
    Sequential(
      (0): Linear(4, 8)
      (1): ReLU()
      (2): Linear(8, 3)
    )
    >>> len(model[:2])
    2
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        for i, module in enumerate(modules):
            if isinstance(module, Mapping) and len(modules) == 1:
                for name, named in module.items():
                    self.add_module(name, named)
            else:
                self.add_module(str(i), module)  # type: ignore[arg-type]

    def forward(self, x: TensorLike) -> Any:
        for module in vars(self).values():
            if isinstance(module, Module):
                x = module(x)
        return x

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(*self.children()[index])
        return super().__getitem__(index)


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
_NORMS: dict[str | None, type[BatchNorm1d | LayerNorm] | None] = {None: None, "batch": BatchNorm1d, "layer": LayerNorm}


class MLP(Sequential):
    """Multi-layer perceptron: linear layers of the given sizes with an activation between them.

    sizes       at least two: inputs, hidden layers, outputs. The outputs are raw scores (logits)
    activation  "relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "softplus" or "tanh"
    dropout     the probability with which a hidden unit is dropped in training; 0 adds no Dropout
    norm        None, "batch" (BatchNorm1d) or "layer" (LayerNorm), between each hidden layer and its activation
    generator   draws the initial weights and then what is dropped, see `Linear`; a fresh one if None
    dtype       of the parameters; the default dtype if None

    Each hidden layer is Linear, norm, activation, dropout; the last layer is a Linear alone.

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> nn.MLP([64, 32, 10], activation="tanh", dropout=0.2, norm="layer", generator=np.random.default_rng(0))
    MLP(
      (0): Linear(64, 32)
      (1): LayerNorm(32)
      (2): Tanh()
      (3): Dropout(p=0.2)
      (4): Linear(32, 10)
    )
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "relu",
        *,
        dropout: float = 0.0,
        norm: str | None = None,
        generator: np.random.Generator | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        if not isinstance(sizes, (Sequence, np.ndarray)) or isinstance(sizes, str) or len(sizes) < 2:
            raise ValueError(f"MLP: sizes={sizes!r}; expected at least inputs and outputs, such as [64, 32, 10]")
        sizes = [size("MLP", f"sizes[{i}]", n) for i, n in enumerate(sizes)]
        if activation not in _ACTIVATIONS:
            raise ValueError(f"MLP: activation={activation!r}; expected one of {', '.join(_ACTIVATIONS)}")
        if norm not in _NORMS:
            raise ValueError(f'MLP: norm={norm!r}; expected None, "batch" or "layer"')
        dropout = number("MLP", "dropout", dropout, 0, 1)
        generator = random("MLP", generator)
        normalize = _NORMS[norm]
        layers: list[Module] = []
        for n_in, n_out in pairwise(sizes[:-1]):
            layers.append(Linear(n_in, n_out, generator=generator, dtype=dtype))
            if normalize is not None:
                layers.append(normalize(n_out, dtype=dtype))
            layers.append(_ACTIVATIONS[activation]())
            if dropout:
                layers.append(Dropout(dropout, generator=generator))
        super().__init__(*layers, Linear(sizes[-2], sizes[-1], generator=generator, dtype=dtype))
