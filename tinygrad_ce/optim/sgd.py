"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tinygrad_ce.optim.optimizer import Optimizer, Update, scalars
from tinygrad_ce.optim.param_groups import ParamGroup


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Polyak 1964; Nesterov 1983, as in Sutskever et al. 2013).

        g = g + weight_decay * p
        v = momentum * v + (1 - dampening) * g,  at first v = g
        p = p - lr * v;  nesterov: p = p - lr * (g + momentum * v);  without momentum: p = p - lr * g

    params          leaves, such as `model.parameters()`, or groups of them (see `Optimizer`)
    lr              learning rate
    momentum        in [0, 1)
    dampening       how much less of the gradient goes into v
    weight_decay    of the penalty weight_decay / 2 * p**2
    nesterov        look ahead; needs momentum and no dampening

    Raises TypeError or ValueError for wrong parameters, or an option out of range.

    >>> import tinygrad_ce as tg
    >>> p = tg.Tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.SGD([p], lr=0.5)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.item()
    0.0
    """

    remembers: ClassVar[Mapping[str, bool]] = {"momentum_buffer": False}

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
            },
        )
        for group in self.param_groups:
            if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
                raise ValueError(
                    f"SGD: nesterov=True with momentum={group['momentum']} and dampening={group['dampening']}; "
                    "expected a momentum above 0, such as 0.9, and dampening=0"
                )

    def _update(self, group: ParamGroup, dtype: np.dtype[Any], updates: list[Update]) -> None:
        has_momentum, has_decay, nesterov = group["momentum"] != 0, group["weight_decay"] != 0, group["nesterov"]
        multiply, subtract = np.multiply, np.subtract
        lr = np.array(group["lr"], dtype)
        if has_momentum or has_decay:
            momentum, fresh, weight_decay = scalars(
                dtype, group["momentum"], 1 - group["dampening"], group["weight_decay"]
            )
        for p, g, state, a, b in updates:
            if has_decay:
                g = np.add(g, multiply(p, weight_decay, a), a)
            if has_momentum:
                v = state.get("momentum_buffer")
                if v is None:
                    v = state["momentum_buffer"] = g.astype(dtype)
                else:
                    multiply(v, momentum, v)
                    np.add(v, multiply(g, fresh, b) if group["dampening"] else g, v)
                g = np.add(g, multiply(v, momentum, b), b) if nesterov else v
            subtract(p, multiply(g, lr, b), p)
