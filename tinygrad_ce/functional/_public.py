"""How a public function is tied to its op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tinygrad_ce.operators import public_function
from tinygrad_ce.registry import Op
from tinygrad_ce.tensor import Tensor

function_of: Callable[[type[Op]], Callable[..., Tensor]] = public_function

_Function = TypeVar("_Function", bound=Callable[..., Any])


def implements(op: type[Op]) -> Callable[[_Function], _Function]:
    """Make the decorated function the op's public one: Tensor method and NumPy function then go through it."""

    def decorate(function: _Function) -> _Function:
        op.function = function
        return function

    return decorate
