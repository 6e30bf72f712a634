"""RMSprop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tinygrad_ce.optim.optimizer import Optimizer, Update, scalars
from tinygrad_ce.optim.param_groups import ParamGroup


class RMSprop(Optimizer):
    """Gradients divided by their running root mean square (Tieleman & Hinton 2012; centered: Graves 2013).

        g = g + weight_decay * p
        s = alpha * s + (1 - alpha) * g**2;  a = alpha * a + (1 - alpha) * g
        d = g / (sqrt(s) + eps);  centered: d = g / (sqrt(s - a**2) + eps)
        p = p - lr * d;  with momentum: u = momentum * u + d;  p = p - lr * u

    params          leaves, such as `model.parameters()`, or groups of them (see `Optimizer`)
    lr              learning rate
    alpha           decay rate of the mean square, in [0, 1)
    eps             added to the denominator
    weight_decay    of the penalty weight_decay / 2 * p**2
    momentum        in [0, 1)
    centered        divide by the standard deviation; where rounding makes s - a**2 negative, 0 is taken

    Raises TypeError or ValueError for wrong parameters, or an option out of range.

    >>> import tinygrad_ce as tg
    >>> p = tg.Tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.RMSprop([p], lr=0.025)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 6)
    0.75
    """

    remembers: ClassVar[Mapping[str, bool]] = {"square_avg": True, "grad_avg": False, "momentum_buffer": False}

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
            },
        )

    def _update(self, group: ParamGroup, dtype: np.dtype[Any], updates: list[Update]) -> None:
        lr, alpha, fresh, eps, weight_decay, momentum, zero = scalars(
            dtype,
            group["lr"],
            group["alpha"],
            1 - group["alpha"],
            group["eps"],
            group["weight_decay"],
            group["momentum"],
            0.0,
        )
        for p, g, state, a, b in updates:
            if group["weight_decay"]:
                g = np.add(g, np.multiply(p, weight_decay, a), a)
            s = _buffer(state, "square_avg", p, dtype)
            np.multiply(np.multiply(g, fresh, b), g, b)
            np.add(np.multiply(s, alpha, s), b, s)
            if group["centered"]:
                mean = _buffer(state, "grad_avg", p, dtype)
                np.add(np.multiply(mean, alpha, mean), np.multiply(g, fresh, b), mean)
                np.subtract(s, np.multiply(mean, mean, b), b)
                s = np.maximum(b, zero, out=b)
            np.divide(g, np.add(np.sqrt(s, b), eps, b), b)
            if group["momentum"]:
                u = _buffer(state, "momentum_buffer", p, dtype)
                b = np.multiply(np.add(np.multiply(u, momentum, u), b, u), lr, b)
            else:
                np.multiply(b, lr, b)
            np.subtract(p, b, p)


def _buffer(state: dict[str, Any], name: str, like: Any, dtype: np.dtype[Any]) -> Any:
    """An array of the state, which begins with zeros."""
    if name not in state:
        state[name] = np.zeros_like(like, dtype)
    return state[name]
