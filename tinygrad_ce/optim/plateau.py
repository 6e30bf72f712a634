"""A schedule that follows a metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from tinygrad_ce.optim.optimizer import Optimizer
from tinygrad_ce.optim.param_groups import number
from tinygrad_ce.optim.scheduler import Every, LRScheduler, per_group, positive


class ReduceLROnPlateau(LRScheduler):
    """The rate times `factor` when a metric has not become better for more than `patience` counts.

    optimizer       whose rates are changed
    mode            "min": a smaller metric is better, as of a loss; "max": a larger one
    factor          below 1
    patience        how many counts without a better metric are borne
    threshold       how much better is better: by this part of the best ("rel"), or by this much ("abs")
    threshold_mode  "rel" or "abs"
    cooldown        counts after a reduction that are not judged
    min_lr          the lowest rate, or one for each group
    eps             a change that is not larger than this is not made
    every           "epoch" or "step": what is counted

    A metric of nan is never better. Raises TypeError for what is no optimizer, ValueError for an argument out of range.

    >>> import tinygrad_ce as tg
    >>> optimizer = tg.optim.SGD([tg.Tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = tg.optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> optimizer.lr
    0.5
    """

    _saved: ClassVar[tuple[str, ...]] = (*LRScheduler._saved, "best", "num_bad_epochs", "cooldown_counter")

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
        *,
        every: Every | None = None,
    ) -> None:
        kind = "ReduceLROnPlateau"
        if mode not in ("min", "max"):
            raise ValueError(f'{kind}: mode={mode!r}; expected "min" or "max"')
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f'{kind}: threshold_mode={threshold_mode!r}; expected "rel" or "abs"')
        self.mode = mode
        self.factor = number(kind, "factor", factor, 1.0)
        self.patience = positive(kind, "patience", patience, 0)
        self.threshold = number(kind, "threshold", threshold)
        self.threshold_mode = threshold_mode
        self.cooldown = positive(kind, "cooldown", cooldown, 0)
        self.eps = number(kind, "eps", eps)
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        super().__init__(optimizer, every=every)
        self.min_lrs = per_group(kind, "min_lr", min_lr, optimizer)

    def step(self, metric: Any) -> None:  # type: ignore[override]
        """Judge a metric, a number or a tensor of one element, and change the learning rates if it is time."""
        value = float(metric)
        self.last_epoch += 1
        if self._is_better(value):
            self.best = value
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
            lower = [max(lr * self.factor, least) for lr, least in zip(self.last_lr, self.min_lrs, strict=True)]
            self._set(new if lr - new > self.eps else lr for lr, new in zip(self.last_lr, lower, strict=True))

    def _is_better(self, value: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            bound = self.best * (1 + sign * self.threshold)
        else:
            bound = self.best + sign * self.threshold
        return value < bound if self.mode == "min" else value > bound

    def _next(self, lr: float, base: float) -> float:  # noqa: ARG002
        return lr
