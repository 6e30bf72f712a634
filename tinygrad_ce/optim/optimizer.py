"""What all optimizers share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

from tinygrad_ce.tensor import Tensor


class Optimizer:
    """Base class: holds the parameters, checks them, and clears their gradients."""

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        kind = type(self).__name__
        if isinstance(parameters, Tensor) or hasattr(parameters, "parameters"):
            raise TypeError(f"{kind}: found one {type(parameters).__name__}; write model.parameters(), or [tensor]")
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError(f"{kind}: no parameters given; write {kind}(model.parameters(), ...)")
        for i, parameter in enumerate(self.parameters):
            if not (isinstance(parameter, Tensor) and parameter.is_leaf and parameter.requires_grad):
                raise ValueError(f"{kind}: parameters[{i}] is {parameter!r}, expected a leaf that requires a gradient")
        if len({id(parameter) for parameter in self.parameters}) != len(self.parameters):
            raise ValueError(f"{kind}: a parameter was given twice")
        check_range(kind, "lr", lr, 0.0, math.inf)
        self.lr = lr

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        raise TypeError(f"{type(self).__name__} defines no step()")


def check_range(kind: str, name: str, value: Any, low: float, high: float) -> None:
    """ValueError unless low <= value < high."""
    if not (isinstance(value, Real) and low <= float(value) < high):
        raise ValueError(f"{kind}: {name}={value!r}; expected a number from {low} to below {high}")
