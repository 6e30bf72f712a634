"""Adagrad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tinygrad_ce.optim.optimizer import Optimizer, Update, scalars
from tinygrad_ce.optim.param_groups import ParamGroup


class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of all their squares so far (Duchi, Hazan & Singer 2011).

        g = g + weight_decay * p
        s = s + g**2
        p = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)

    params                      leaves, such as `model.parameters()`, or groups of them (see `Optimizer`)
    lr                          learning rate
    lr_decay                    how fast the learning rate falls; t counts the steps of each parameter
    weight_decay                of the penalty weight_decay / 2 * p**2
    initial_accumulator_value   what s begins with
    eps                         added to the denominator

    Raises TypeError or ValueError for wrong parameters, or an option out of range.

    >>> import tinygrad_ce as tg
    >>> p = tg.Tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.Adagrad([p], lr=0.25)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 6)
    0.75
    """

    remembers: ClassVar[Mapping[str, bool]] = {"step": True, "sum": True}

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
            },
        )

    def _update(self, group: ParamGroup, dtype: np.dtype[Any], updates: list[Update]) -> None:
        weight_decay, eps = scalars(dtype, group["weight_decay"], group["eps"])
        last = 0
        for p, g, state, a, b in updates:
            if group["weight_decay"]:
                g = np.add(g, np.multiply(p, weight_decay, a), a)
            if not state:
                state.update(step=0, sum=np.full_like(p, group["initial_accumulator_value"], dtype))
            state["step"] = t = state["step"] + 1
            s = state["sum"]
            np.add(s, np.multiply(g, g, b), s)
            np.divide(g, np.add(np.sqrt(s, b), eps, b), b)
            if t != last:
                last = t
                (lr,) = scalars(dtype, group["lr"] / (1 + (t - 1) * group["lr_decay"]))
            np.subtract(p, np.multiply(b, lr, b), p)
