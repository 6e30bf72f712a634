"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tinygrad_ce.optim.optimizer import Optimizer, check_range
from tinygrad_ce.tensor import Tensor


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Polyak 1964): v = momentum * v + g;  p = p - lr * v.

    parameters  leaves, such as `model.parameters()`
    lr          learning rate
    momentum    in [0, 1)

    Raises ValueError for parameters that are no leaves, or a rate out of range.

    >>> import tinygrad_ce as tg
    >>> p = tg.Tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.SGD([p], lr=0.5)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.item()
    0.0
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.0) -> None:
        super().__init__(parameters, lr)
        check_range("SGD", "momentum", momentum, 0.0, 1.0)
        self.momentum = momentum
        self._velocity = [np.zeros_like(p.data) if momentum else None for p in self.parameters]
        self._step = [np.empty_like(p.data) for p in self.parameters]

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        for parameter, velocity, step in zip(self.parameters, self._velocity, self._step, strict=True):
            gradient = parameter.grad
            if gradient is None:
                continue
            direction = gradient.data
            if velocity is not None:
                velocity *= self.momentum
                velocity += direction
                direction = velocity
            np.multiply(direction, self.lr, step)
            data = parameter.data
            np.subtract(data, step, data)
