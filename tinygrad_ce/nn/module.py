"""Module: parameters found by attribute, and a call that remembers where each op was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_ce.mode import mode
from tinygrad_ce.tensor import Tensor, TensorLike


class Parameter(Tensor):
    """A leaf Tensor that a module learns: found by `Module.parameters()` when it is an attribute of a module.

    >>> from tinygrad_ce import nn
    >>> nn.Parameter([1.0, 2.0])
    Parameter([1., 2.], shape=(2,), dtype=float32, requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: TensorLike, dtype: DTypeLike | None = None, name: str | None = None) -> None:
        super().__init__(data, requires_grad=True, dtype=dtype, name=name)


class Module:
    """Base class of everything that holds parameters. A subclass sets attributes and defines `forward`.

    Parameters and modules are found among the attributes, in the order they were set (not inside lists: use
    `Sequential`); a parameter's name is the path of attributes that leads to it.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> class Scale(tg.nn.Module):
    ...     def __init__(self):
    ...         self.factor = tg.nn.Parameter([2.0])
    ...
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> model = Scale()
    >>> model(np.float32([1.0, 3.0]))
    Tensor([2., 6.], shape=(2,), dtype=float32, op=mul)
    >>> dict(model.named_parameters())
    {'factor': Parameter([2.], shape=(1,), dtype=float32, requires_grad=True)}
    """

    training: bool = True

    def forward(self, *inputs: Any, **options: Any) -> Any:  # noqa: ARG002
        """What the module computes; a subclass defines it."""
        raise TypeError(f"{type(self).__name__} defines no forward(self, x, ...)")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        outer = mode.scope
        mode.scope = (*outer, self)
        try:
            return self.forward(*inputs, **options)
        finally:
            mode.scope = outer

    def children(self) -> Iterator[tuple[str, Module]]:
        """Pairs of name and module of the modules directly below this one."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Pairs of path and module: this one (its path is "") and all below it, outermost first, each once."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [("", self)]
        while stack:
            path, module = stack.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module
                stack += [(f"{path}.{name}" if path else name, child) for name, child in reversed([*module.children()])]

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Pairs of path and parameter, each parameter once, under the first path that leads to it."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def parameters(self) -> list[Parameter]:
        """All parameters, each once."""
        return [parameter for _, parameter in self.named_parameters()]

    def num_parameters(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.size for parameter in self.parameters())

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, training: bool = True) -> Self:
        """Set training mode in this module and all below it (dropout and the like behave differently)."""
        for _, module in self.named_modules():
            module.training = training
        return self

    def eval(self) -> Self:
        """Set evaluation mode: `train(False)`."""
        return self.train(False)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """A copy of every parameter's array, by path."""
        return {name: parameter.numpy().copy() for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set every parameter from a mapping of path to array; dtypes are converted to the parameters'.

        Raises KeyError if paths are missing or unexpected, ValueError if shapes differ; it lists all of them, and the
        module is unchanged then.
        """
        parameters = dict(self.named_parameters())
        missing = [name for name in parameters if name not in state]
        unexpected = [name for name in state if name not in parameters]
        if missing or unexpected:
            raise KeyError(f"load_state_dict: missing {missing}, unexpected {unexpected}")
        arrays = {name: np.asarray(value) for name, value in state.items()}
        wrong = [
            f"{name}: expected {parameter.shape}, found {arrays[name].shape}"
            for name, parameter in parameters.items()
            if arrays[name].shape != parameter.shape
        ]
        if wrong:
            raise ValueError(f"load_state_dict: wrong shapes: {'; '.join(wrong)}")
        for name, parameter in parameters.items():
            parameter.data[...] = arrays[name]

    def describe(self) -> str:
        """The arguments shown in the repr, such as `64, 32`; a subclass may define it."""
        return ""

    def __repr__(self) -> str:
        children = list(self.children())
        if not children:
            return f"{type(self).__name__}({self.describe()})"
        lines = [f"  ({name}): {child!r}".replace("\n", "\n  ") for name, child in children]
        return "\n".join([f"{type(self).__name__}({self.describe()}", *lines, ")"])
