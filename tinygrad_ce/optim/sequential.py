"""One schedule after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from tinygrad_ce.optim.optimizer import Optimizer
from tinygrad_ce.optim.plateau import ReduceLROnPlateau
from tinygrad_ce.optim.scheduler import LRScheduler, positive


class SequentialLR(LRScheduler):
    """One schedule after the other, such as a warm-up and then a cosine; each begins with the optimizer's own rate.

    optimizer   whose rates are changed
    schedulers  made for this optimizer, all with the same `every`
    milestones  the counts at which the second and the following take over

    >>> import tinygrad_ce as tg
    >>> optimizer = tg.optim.SGD([tg.Tensor([1.0], requires_grad=True)], lr=1.0)
    >>> warm_up = tg.optim.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> cosine = tg.optim.CosineAnnealingLR(optimizer, T_max=2)
    >>> schedule = tg.optim.SequentialLR(optimizer, [warm_up, cosine], milestones=[2])
    >>> rates = [optimizer.lr]
    >>> for _ in range(4):
    ...     schedule.step()
    ...     rates.append(round(optimizer.lr, 6))
    >>> rates
    [0.5, 0.75, 1.0, 0.5, 0.0]
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]) -> None:
        self.schedulers = list(schedulers)
        self.milestones = [positive("SequentialLR", f"milestones[{i}]", m) for i, m in enumerate(milestones)]
        for i, schedule in enumerate(self.schedulers):
            if not isinstance(schedule, LRScheduler) or isinstance(schedule, ReduceLROnPlateau):
                raise TypeError(f"SequentialLR: schedulers[{i}] is {schedule!r}, which does not follow a count alone")
            if schedule.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: schedulers[{i}] was made for another optimizer")
        if len(self.milestones) != len(self.schedulers) - 1 or self.milestones != sorted(set(self.milestones)):
            raise ValueError(
                f"SequentialLR: {len(self.schedulers)} schedulers and milestones={self.milestones}; expected a "
                "milestone between each two, one above the other"
            )
        every = {schedule.every for schedule in self.schedulers}
        if len(every) != 1:
            raise ValueError("SequentialLR: some schedulers count epochs and some steps; give all the same every=")
        super().__init__(optimizer, every=every.pop())

    def _apply(self) -> None:
        schedule, begin = self._current()
        if self.last_epoch == begin:
            self._set(schedule.base_lrs)
        schedule._apply()

    def _resume(self) -> None:
        self._current()[0]._resume()

    def _current(self) -> tuple[LRScheduler, int]:
        """The schedule whose turn it is, told its own count, and the count at which it took over."""
        i = bisect_right(self.milestones, self.last_epoch)
        schedule, begin = self.schedulers[i], self.milestones[i - 1] if i else 0
        schedule.last_epoch = self.last_epoch - begin
        return schedule, begin
