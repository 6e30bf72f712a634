"""The 1cycle schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from tinygrad_ce.optim.optimizer import Optimizer
from tinygrad_ce.optim.param_groups import number
from tinygrad_ce.optim.scheduler import Every, LRScheduler, per_group, positive


class OneCycleLR(LRScheduler):
    """The rate up to max_lr and down far below where it began, the momentum down and up (Smith & Topin 2018).

    optimizer           whose rates, and momentum or first beta, are changed
    max_lr              the highest rate, or one for each group
    total_steps         how many steps there will be; else give `epochs` and `steps_per_epoch`
    pct_start           the part of the steps on which the rate grows, in [0, 1]
    anneal_strategy     "cos" or "linear"
    cycle_momentum      change the momentum too, against the rate; the optimizer must have one
    base_momentum       the lowest, or one for each group
    max_momentum        the highest, or one for each group
    div_factor          begin with max_lr / div_factor
    final_div_factor    end with max_lr / div_factor / final_div_factor
    three_phase         go down to the first rate as fast as up, and then on to the last one
    every               "step" unless given: `step()` is called after each step of the optimizer

    Raises TypeError for what is no optimizer, ValueError for an argument out of range or more than `total_steps` steps.

    >>> import tinygrad_ce as tg
    >>> optimizer = tg.optim.SGD([tg.Tensor([1.0], requires_grad=True)], lr=0.1, momentum=0.9)
    >>> schedule = tg.optim.OneCycleLR(optimizer, max_lr=1.0, total_steps=10, pct_start=0.5)
    >>> round(optimizer.lr, 6), optimizer.param_groups[0]["momentum"]
    (0.04, 0.95)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> round(optimizer.lr, 6), round(optimizer.param_groups[0]["momentum"], 6)
    (1.0, 0.85)
    """

    every: Every = "step"

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        *,
        every: Every | None = None,
    ) -> None:
        kind = "OneCycleLR"
        if total_steps is not None:
            n = positive(kind, "total_steps", total_steps)
        elif epochs is not None and steps_per_epoch is not None:
            n = positive(kind, "epochs", epochs) * positive(kind, "steps_per_epoch", steps_per_epoch)
        else:
            raise ValueError(f"{kind}: give total_steps, or epochs and steps_per_epoch")
        self.total_steps = n
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f'{kind}: anneal_strategy={anneal_strategy!r}; expected "cos" or "linear"')
        self.anneal_strategy = anneal_strategy
        part = self.pct_start = number(kind, "pct_start", pct_start)
        if part > 1:
            raise ValueError(f"{kind}: pct_start={pct_start!r}; expected a part of the steps, from 0 to 1")
        for name, value in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            if number(kind, name, value) == 0:
                raise ValueError(f"{kind}: {name}={value!r}; expected a number above 0")
        peaks = per_group(kind, "max_lr", max_lr, optimizer)
        low = per_group(kind, "base_momentum", base_momentum, optimizer, below=1.0)
        high = per_group(kind, "max_momentum", max_momentum, optimizer, below=1.0)
        self.momentum = next((name for name in ("betas", "momentum") if name in optimizer.defaults), None)
        self.cycle_momentum = cycle_momentum
        if cycle_momentum and self.momentum is None:
            raise ValueError(
                f"{kind}: {type(optimizer).__name__} has no momentum to change; write cycle_momentum=False"
            )
        # for each group, as pairs of rate and momentum: the beginning, the peak, the end
        self._corners = [
            ((lr / div_factor, h), (lr, m), (lr / div_factor / final_div_factor, h))
            for lr, m, h in zip(peaks, low, high, strict=True)
        ]
        # the last step of each phase, and the corners that it leads from and to
        self._phases: list[tuple[float, int, int]] = [(part * n - 1, 0, 1)]
        self._phases += [(2 * part * n - 2, 1, 0), (n - 1, 0, 2)] if three_phase else [(n - 1, 1, 2)]
        super().__init__(optimizer, every=every)

    def step(self) -> None:
        """Count on, and change the learning rates and momenta."""
        if self.last_epoch >= self.total_steps:
            raise ValueError(
                f"OneCycleLR: step {self.last_epoch + 1} of {self.total_steps}; give total_steps= the number of all "
                "steps of the training"
            )
        super().step()

    def _begin(self) -> None:
        for group, (first, _, _) in zip(self.optimizer.param_groups, self._corners, strict=True):
            group["initial_lr"] = first[0]

    def _apply(self) -> None:
        begin: float = 0
        for phase in self._phases:
            end, i, j = phase
            if self.last_epoch <= end or phase is self._phases[-1]:
                break
            begin = end
        part = (self.last_epoch - begin) / (end - begin) if end != begin else 1.0
        for group, corners in zip(self.optimizer.param_groups, self._corners, strict=True):
            group["lr"], momentum = (self._between(*pair, part) for pair in zip(corners[i], corners[j], strict=True))
            if self.cycle_momentum and self.momentum == "betas":
                group["betas"] = (momentum, *group["betas"][1:])
            elif self.cycle_momentum:
                group["momentum"] = momentum

    _resume = _apply

    def _between(self, start: float, end: float, part: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * min(part, 1.0) + start  # the count after the last step would lie below zero
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)
