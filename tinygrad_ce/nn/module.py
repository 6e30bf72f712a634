"""Module: parameters found by attribute, and a call that remembers where each op was made."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_ce.mode import mode
from tinygrad_ce.nn import state
from tinygrad_ce.nn.parameter import Buffer, Parameter
from tinygrad_ce.nn.summary import Summary, summarize
from tinygrad_ce.tensor import Tensor


class Module:
    """Base class of everything that holds parameters. A subclass sets attributes and defines `forward`.

    Parameters, buffers and modules are found among the attributes, in the order they were set; a parameter's name is
    the path of attributes that leads to it. Modules in a list go into a `ModuleList`: a plain list, tuple or dict that
    holds modules or parameters is refused with a TypeError, because they would not be found in it.

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
        now = mode.__dict__  # of this thread
        outer = now["scope"]
        now["scope"] = (*outer, self)
        try:
            return self.forward(*inputs, **options)
        finally:
            now["scope"] = outer

    def __setattr__(self, name: str, value: Any) -> None:
        _refuse_hidden(self, name, value)
        old = vars(self).get(name)
        if isinstance(old, _HELD) and isinstance(value, (Tensor, np.ndarray)) and not isinstance(value, _HELD):
            kind = type(old).__name__
            raise TypeError(
                f"{type(self).__name__}.{name} is a {kind}, which a {type(value).__name__} would replace and so take "
                f"out of the state; to change its numbers write into .{name}.data[...], or assign nn.{kind}(...)"
            )
        super().__setattr__(name, value)

    # What is in it

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Pairs of name and module of the modules directly below this one."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            else:
                _refuse_hidden(self, name, value)  # a list may have been filled after it was assigned

    def children(self) -> list[Module]:
        """The modules directly below this one."""
        return [module for _, module in self.named_children()]

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Pairs of path and module: this one (its path is "") and all below it, outermost first, each once."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [("", self)]
        while stack:
            path, module = stack.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module
                below = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
                stack += reversed(below)

    def modules(self) -> list[Module]:
        """This module and all below it, outermost first, each once."""
        return [module for _, module in self.named_modules()]

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Pairs of path and parameter, each parameter once, under the first path that leads to it."""
        return self._named(Parameter)

    def parameters(self) -> list[Parameter]:
        """All parameters, each once."""
        return [parameter for _, parameter in self.named_parameters()]

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Pairs of path and buffer, each buffer once, under the first path that leads to it."""
        return self._named(Buffer)

    def buffers(self) -> list[Buffer]:
        """All buffers, each once."""
        return [buffer for _, buffer in self.named_buffers()]

    def _named(self, kind: type[Any]) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, kind) and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def num_parameters(self) -> int:
        """How many numbers the parameters hold, frozen ones too; a shared parameter counts once."""
        return sum(parameter.size for parameter in self.parameters())

    # What is done to all of it

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call `function(module)` on every module below this one, then on this one; each once. Returns the module.

        >>> import numpy as np
        >>> from tinygrad_ce import nn
        >>> generator = np.random.default_rng(0)
        >>> def initialize(module):
        ...     if isinstance(module, nn.Linear):
        ...         nn.init.orthogonal_(module.weight, generator=generator)
        >>> model = nn.MLP([4, 3, 2]).apply(initialize)
        """
        seen: set[int] = set()
        order: list[Module] = []
        stack: list[Module] = [self]
        while stack:  # outermost first and last child first: backwards, this is children first, in their order
            module = stack.pop()
            if id(module) not in seen:
                seen.add(id(module))
                order.append(module)
                stack += module.children()
        for module in reversed(order):
            function(module)
        return self

    def train(self, training: bool = True) -> Self:
        """Set training mode in this module and all below it: dropout and batch normalization behave differently."""
        if not isinstance(training, bool):
            raise TypeError(f"train: training: expected True or False, found {type(training).__name__}")
        for module in self.modules():
            module.training = training
        return self

    def eval(self) -> Self:
        """Set evaluation mode: `train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze all parameters (False), or learn them again; to freeze a part, call it on that module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    # Its state

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """A copy of the array of every parameter and buffer, by path: PyTorch's names and layout.

        What is shared stands under each path that leads to it.

        >>> from tinygrad_ce import nn
        >>> list(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False)).state_dict())
        ['0.weight', '0.bias', '1.running_mean', '1.running_var', '1.num_batches_tracked']
        """
        return {name: tensor.numpy().copy() for name, tensor in self._state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Set every parameter and buffer from a mapping of path to array; dtypes are converted to the model's.

        Raises ValueError unless the paths and shapes are the model's and its dtypes can hold the values. The one
        message lists all that is missing, unexpected, of the wrong shape or not convertible; the model is unchanged
        then. To load a part, fill up the rest: `model.load_state_dict({**model.state_dict(), **part})`.

        >>> from tinygrad_ce import nn
        >>> nn.Linear(2, 1).load_state_dict({"weight": [[1.0, 2.0, 3.0]], "b": [0.0]})
        Traceback (most recent call last):
        ValueError: load_state_dict: the state does not fit this Linear, which is unchanged: missing bias; unexpected b;
        weight has shape (1, 3), expected (1, 2)
        """
        state.load(type(self).__name__, dict(self._state()), state_dict)

    def _state(self) -> Iterator[tuple[str, Parameter | Buffer]]:
        """Parameters and buffers under every path that leads to them, but around no cycle; a module's own first."""
        stack: list[tuple[str, Module, tuple[Module, ...]]] = [("", self, ())]
        while stack:
            prefix, module, above = stack.pop()
            for kind in _HELD:
                for name, value in vars(module).items():
                    if isinstance(value, kind):
                        yield prefix + name, value
            path = (*above, module)
            below = [
                (f"{prefix}{name}.", child, path)
                for name, child in module.named_children()
                if not any(child is one for one in path)
            ]
            stack += reversed(below)

    # How it looks

    def summary(self, *input_shapes: Sequence[int], dtype: DTypeLike | None = None) -> Summary:
        """A table of the layers: path, kind, output shape, parameters, bytes, and the totals.

        input_shapes  the shape of each input, whole, with its batch axis
        dtype         of the inputs; that of the first parameter if None. Indices need an integer one

        The model is run once on zeros, in evaluation mode and unrecorded; nothing in it changes. Bytes are those of
        parameters and buffers. Raises ValueError if the model cannot be run on such inputs.

        >>> from tinygrad_ce import nn
        >>> nn.MLP([64, 32, 10]).summary((8, 64))
        layer                  output shape  parameters  bytes
        ---------------------  ------------  ----------  -----
        0      Linear(64, 32)       (8, 32)       2,080  8,320
        1      ReLU()               (8, 32)           0      0
        2      Linear(32, 10)       (8, 10)         330  1,320
        total  MLP                  (8, 10)       2,410  9,640
        """
        return summarize(self, input_shapes, dtype)

    def describe(self) -> str:
        """The arguments shown in the repr, such as `64, 32`; a subclass may define it."""
        return ""

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        lines = [f"  ({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        head = f"{type(self).__name__}({self.describe()}"
        return "\n".join([head, *lines, ")"]) if lines else f"{head})"


_HELD = (Parameter, Buffer)


def _refuse_hidden(module: Module, name: str, value: Any) -> None:
    """TypeError for a list, tuple, set or dict in which modules or parameters would not be found."""
    stack, seen = [value], set()
    while stack:
        item = stack.pop()
        if isinstance(item, (list, tuple, set, frozenset, dict)) and id(item) not in seen:
            seen.add(id(item))
            stack += item.values() if isinstance(item, dict) else item
        elif isinstance(item, (Module, *_HELD)) and item is not value:
            kind, where = type(item).__name__, f"{type(module).__name__}.{name}"
            mend = f"self.{name} = nn.ModuleList([...]), or " if isinstance(item, Module) else ""
            raise TypeError(
                f"{where}: the {kind} in this {type(value).__name__} would not be found by parameters() and "
                f"state_dict(); write {mend}setattr(self, '{name}0', ...) for each"
            )
