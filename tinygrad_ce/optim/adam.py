"""Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tinygrad_ce.optim.optimizer import Optimizer, Update, scalars
from tinygrad_ce.optim.param_groups import ParamGroup


class Adam(Optimizer):
    """Adaptive moments (Kingma & Ba 2015).

        g = g + weight_decay * p
        m = b1 * m + (1 - b1) * g;  v = b2 * v + (1 - b2) * g**2
        p = p - lr * (m / (1 - b1**t)) / (sqrt(v / (1 - b2**t)) + eps)

    params          leaves, such as `model.parameters()`, or groups of them (see `Optimizer`)
    lr              learning rate
    betas           decay rates b1 and b2 of the two moments, each in [0, 1)
    eps             added to the denominator
    weight_decay    of the penalty weight_decay / 2 * p**2
    amsgrad         divide by the largest v so far (Reddi et al. 2018)

    t counts the steps of each parameter.

    Raises TypeError or ValueError for wrong parameters, or an option out of range.

    >>> import tinygrad_ce as tg
    >>> p = tg.Tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.Adam([p], lr=0.25)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 6)
    0.75
    """

    remembers: ClassVar[Mapping[str, bool]] = {
        "step": True,
        "exp_avg": True,
        "exp_avg_sq": True,
        "max_exp_avg_sq": False,
    }
    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        )

    def _update(self, group: ParamGroup, dtype: np.dtype[Any], updates: list[Update]) -> None:
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
        b1, fresh1, b2, fresh2, weight_decay, shrink = scalars(
            dtype, beta1, 1 - beta1, beta2, 1 - beta2, decay, 1 - lr * decay
        )
        last = 0
        for p, g, state, a, b in updates:
            if decay and self.decoupled:
                np.multiply(p, shrink, p)
            elif decay:
                g = np.add(g, np.multiply(p, weight_decay, a), a)
            if not state:
                state.update(step=0, exp_avg=np.zeros_like(p, dtype), exp_avg_sq=np.zeros_like(p, dtype))
            state["step"] = t = state["step"] + 1
            m, v = state["exp_avg"], state["exp_avg_sq"]
            np.add(np.multiply(m, b1, m), np.multiply(g, fresh1, b), m)
            np.multiply(np.multiply(g, fresh2, b), g, b)
            np.add(np.multiply(v, b2, v), b, v)
            if group["amsgrad"]:
                if "max_exp_avg_sq" not in state:
                    state["max_exp_avg_sq"] = np.zeros_like(v)
                v = np.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
            if t != last:  # the corrections moved into two numbers, as in section 2 of the paper
                last, root = t, math.sqrt(1 - beta2**t)
                size, eps = scalars(dtype, lr * root / (1 - beta1**t), group["eps"] * root)
            np.divide(m, np.add(np.sqrt(v, b), eps, b), b)
            np.subtract(p, np.multiply(b, size, b), p)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): first p = p - lr * weight_decay * p, then as Adam.

    The arguments are those of `Adam`; weight_decay is 0.01 unless given.

    >>> import tinygrad_ce as tg
    >>> p = tg.Tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.AdamW([p], lr=0.25, weight_decay=0.5)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 6)
    0.625
    """

    decoupled: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)
