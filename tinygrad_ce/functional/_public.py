"""How a public function is tied to its op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tinygrad_ce.registry import Op
from tinygrad_ce.tensor import Tensor, TensorLike, apply

_Function = TypeVar("_Function", bound=Callable[..., Any])


def function_of(op: type[Op]) -> Callable[..., Tensor]:
    """The public function of an op that takes its inputs and then its metadata, documented by the op."""

    def unary(x: TensorLike) -> Tensor:
        return apply(op, (x,))

    def binary(x: TensorLike, y: TensorLike) -> Tensor:
        return apply(op, (x, y))

    def general(*args: Any, **kwargs: Any) -> Tensor:
        return apply(op, *op.bind(args, kwargs))

    common: dict[tuple[str, ...], Callable[..., Tensor]] = {("x",): unary, ("x", "y"): binary}
    function = general if op.attributes or op.variadic else common.get(op.inputs, general)
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
