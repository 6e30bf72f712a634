"""How a public function is tied to its op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tinygrad_ce.registry import Op
from tinygrad_ce.tensor import Tensor, apply

_Function = TypeVar("_Function", bound=Callable[..., Any])


def function_of(op: type[Op]) -> Callable[..., Tensor]:
    """The public function of an op that takes its inputs and then its metadata, documented by the op."""

    def function(*args: Any, **kwargs: Any) -> Tensor:
        if kwargs or op.attributes or len(args) != len(op.inputs):
            return apply(op, *op.bind(args, kwargs))
        return apply(op, args)

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.__doc__
    function.__signature__ = op.signature()  # type: ignore[attr-defined]
    return function


def implements(op: type[Op]) -> Callable[[_Function], _Function]:
    """Make the decorated function the op's public one: Tensor method and NumPy function then go through it."""

    def decorate(function: _Function) -> _Function:
        op.function = function
        return function

    return decorate
