"""Schedules that follow a count: steps, a line, a cosine."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tinygrad_ce.optim.optimizer import Optimizer
from tinygrad_ce.optim.param_groups import number
from tinygrad_ce.optim.scheduler import Every, LRScheduler, positive


class StepLR(LRScheduler):
    """The rate times gamma after every `step_size` counts: lr = base * gamma ** (t // step_size).

    optimizer   whose rates are changed
    step_size   from 1
    gamma       factor
    every       "epoch" or "step": what is counted

    >>> import tinygrad_ce as tg
    >>> optimizer = tg.optim.SGD([tg.Tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = tg.optim.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> optimizer.lr
    0.25
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, *, every: Every | None = None) -> None:
        self.step_size = positive("StepLR", "step_size", step_size)
        self.gamma = number("StepLR", "gamma", gamma)
        super().__init__(optimizer, every=every)

    def _next(self, lr: float, base: float) -> float:  # noqa: ARG002
        return lr * self.gamma if self.last_epoch and self.last_epoch % self.step_size == 0 else lr


class MultiStepLR(LRScheduler):
    """The rate times gamma at each milestone: lr = base * gamma ** (number of milestones up to t).

    optimizer   whose rates are changed
    milestones  counts from 1; one that is given twice counts twice
    gamma       factor
    every       "epoch" or "step": what is counted

    >>> import tinygrad_ce as tg
    >>> optimizer = tg.optim.SGD([tg.Tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = tg.optim.MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
    >>> for _ in range(3):
    ...     schedule.step()
    >>> optimizer.lr
    0.25
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, *, every: Every | None = None
    ) -> None:
        self.milestones = [positive("MultiStepLR", f"milestones[{i}]", m) for i, m in enumerate(milestones)]
        self.gamma = number("MultiStepLR", "gamma", gamma)
        super().__init__(optimizer, every=every)

    def _next(self, lr: float, base: float) -> float:  # noqa: ARG002
        times = self.milestones.count(self.last_epoch)
        return lr * self.gamma**times if times else lr


class LinearLR(LRScheduler):
    """A linear warm-up: the rate grows from start_factor to end_factor times itself, in `total_iters` counts.

        lr = base * (start_factor + (end_factor - start_factor) * min(t, total_iters) / total_iters)

    optimizer       whose rates are changed
    start_factor    above 0, up to 1
    end_factor      from 0 to 1
    total_iters     from 1
    every           "epoch" or "step": what is counted; a warm-up of less than an epoch counts steps

    >>> import tinygrad_ce as tg
    >>> optimizer = tg.optim.SGD([tg.Tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = tg.optim.LinearLR(optimizer, start_factor=0.25, total_iters=3, every="step")
    >>> rates = [optimizer.lr]
    >>> for _ in range(4):
    ...     schedule.step()
    ...     rates.append(optimizer.lr)
    >>> rates
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        *,
        every: Every | None = None,
    ) -> None:
        self.start_factor = number("LinearLR", "start_factor", start_factor)
        self.end_factor = number("LinearLR", "end_factor", end_factor)
        self.total_iters = positive("LinearLR", "total_iters", total_iters)
        if not 0 < self.start_factor <= 1 or not self.end_factor <= 1:
            raise ValueError(
                f"LinearLR: start_factor={start_factor}, end_factor={end_factor}; expected factors up to 1, the start "
                "above 0"
            )
        super().__init__(optimizer, every=every)

    def _next(self, lr: float, base: float) -> float:  # noqa: ARG002
        start, t, n = self.start_factor, self.last_epoch, self.total_iters
        if t == 0:
            return lr * start
        change = self.end_factor - start
        # rounding must not lead below an end of 0
        return max(lr * (1 + change / (n * start + (t - 1) * change)), 0.0) if t <= n else lr


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the rate down to eta_min (Loshchilov & Hutter 2017), and up again after `T_max` counts.

        lr = eta_min + (base - eta_min) * (1 + cos(pi * t / T_max)) / 2

    optimizer   whose rates are changed
    T_max       counts from the highest to the lowest rate
    eta_min     the lowest rate
    every       "epoch" or "step": what is counted

    >>> import tinygrad_ce as tg
    >>> optimizer = tg.optim.SGD([tg.Tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = tg.optim.CosineAnnealingLR(optimizer, T_max=2)
    >>> schedule.step()
    >>> round(optimizer.lr, 6)
    0.5
    >>> schedule.step()
    >>> optimizer.lr
    0.0
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, *, every: Every | None = None) -> None:
        self.T_max = positive("CosineAnnealingLR", "T_max", T_max)
        self.eta_min = number("CosineAnnealingLR", "eta_min", eta_min)
        super().__init__(optimizer, every=every)

    def _next(self, lr: float, base: float) -> float:
        t, n, low = self.last_epoch, self.T_max, self.eta_min
        if t == 0:
            return lr
        if (t - 1 - n) % (2 * n) == 0:  # the count before was the lowest: there is nothing to multiply
            return lr + (base - low) * (1 - math.cos(math.pi / n)) / 2
        ratio = (1 + math.cos(math.pi * t / n)) / (1 + math.cos(math.pi * (t - 1) / n))
        return ratio * (lr - low) + low
