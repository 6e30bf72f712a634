"""Adam."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from tinygrad_ce.optim.optimizer import Optimizer, check_range
from tinygrad_ce.tensor import Tensor


class Adam(Optimizer):
    """Adaptive moments (Kingma & Ba 2015).

        m = b1 * m + (1 - b1) * g;  v = b2 * v + (1 - b2) * g**2
        p = p - lr * (m / (1 - b1**t)) / (sqrt(v / (1 - b2**t)) + eps)

    parameters  leaves, such as `model.parameters()`
    lr          learning rate
    betas       decay rates b1 and b2 of the two moments, each in [0, 1)
    eps         added to the denominator

    Raises ValueError for parameters that are no leaves, or a rate out of range.

    >>> import tinygrad_ce as tg
    >>> p = tg.Tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.Adam([p], lr=0.25)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 6)
    0.75
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, lr)
        for i, beta in enumerate(betas):
            check_range("Adam", f"betas[{i}]", beta, 0.0, 1.0)
        check_range("Adam", "eps", eps, 0.0, math.inf)
        self.betas = betas
        self.eps = eps
        self._count = [0] * len(self.parameters)
        self._first = [np.zeros_like(p.data) for p in self.parameters]
        self._second = [np.zeros_like(p.data) for p in self.parameters]
        self._step = [np.empty_like(p.data) for p in self.parameters]

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        b1, b2 = self.betas
        for i, parameter in enumerate(self.parameters):
            if parameter.grad is None:
                continue
            g, m, v, step = parameter.grad.data, self._first[i], self._second[i], self._step[i]
            self._count[i] += 1
            np.multiply(g, 1 - b1, step)
            m *= b1
            m += step
            np.multiply(g, g, step)
            step *= 1 - b2
            v *= b2
            v += step
            np.sqrt(v, step)
            step /= math.sqrt(1 - b2 ** self._count[i])
            step += self.eps
            np.divide(m, step, step)
            step *= self.lr / (1 - b1 ** self._count[i])
            data = parameter.data
            data -= step
