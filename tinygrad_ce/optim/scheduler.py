"""What all schedules share: a count, the rates they change, the state to save and load."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, TypeAlias

from tinygrad_ce.optim.optimizer import Optimizer
from tinygrad_ce.optim.param_groups import number

Every: TypeAlias = Literal["epoch", "step"]


class LRScheduler:
    """Base class of the schedules. `step()` counts on and sets the rate of each group from the rate it has.

    optimizer   its learning rates are changed, at once to what the schedule begins with
    every       how often a training loop is to call `step()`: after each "epoch", or after each "step" of the optimizer

    last_epoch  how often `step()` was called
    base_lrs    the rate of each group before the first schedule

    Since the rate is changed rather than set, several schedules can work on one optimizer, and a rate changed by hand
    stays changed. A subclass has a method `_next(lr, base)`: the rate at the count `last_epoch`, given the rate before.

    Raises TypeError for what is no optimizer, ValueError for an argument out of range.

    >>> import tinygrad_ce as tg
    >>> class Halving(tg.optim.LRScheduler):
    ...     def _next(self, lr, base):
    ...         return lr / 2 if self.last_epoch else lr
    >>> optimizer = tg.optim.SGD([tg.Tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = Halving(optimizer, every="step")
    >>> schedule.step()
    >>> optimizer.lr, schedule.base_lrs
    (0.5, [1.0])
    """

    every: Every = "epoch"
    _saved: ClassVar[tuple[str, ...]] = ("last_epoch", "base_lrs", "last_lr")

    def __init__(self, optimizer: Optimizer, *, every: Every | None = None) -> None:
        kind = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{kind}: optimizer is {type(optimizer).__name__}; write {kind}(optimizer, ...)")
        if every not in (None, "epoch", "step"):
            raise ValueError(f'{kind}: every={every!r}; expected "epoch" or "step"')
        if every is not None:
            self.every = every
        self.optimizer = optimizer
        self.last_epoch = 0
        self._begin()
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self._apply()

    def step(self) -> None:
        """Count on, and change the learning rates."""
        self.last_epoch += 1
        self._apply()

    @property
    def last_lr(self) -> list[float]:
        """The learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What another schedule with the same arguments needs to go on from here: numbers and lists of numbers."""
        values = ((name, getattr(self, name)) for name in self._saved)
        return {name: list(value) if isinstance(value, list) else value for name, value in values}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned; the learning rates of the optimizer are set too.

        Raises ValueError for anything else; schedule and optimizer are unchanged then.
        """
        kind = f"{type(self).__name__}.load_state_dict"
        here = self.state_dict()
        if not isinstance(state_dict, Mapping) or set(state_dict) != set(here):
            found = list(state_dict) if isinstance(state_dict, Mapping) else state_dict
            raise ValueError(f"{kind}: found {found!r}; expected {list(here)}")
        for name, value in state_dict.items():
            if not _alike(value, here[name]):
                raise ValueError(f"{kind}: {name}={value!r}; expected a value such as {here[name]!r}")
        for name, value in state_dict.items():
            if name != "last_lr":
                setattr(self, name, list(value) if isinstance(value, (list, tuple)) else value)
        self._set(state_dict["last_lr"])
        self._resume()

    def _begin(self) -> None:
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])

    def _apply(self) -> None:
        self._set([self._next(lr, base) for lr, base in zip(self.last_lr, self.base_lrs, strict=True)])

    def _resume(self) -> None:
        """Set what the rates are not all of, after a state was loaded."""

    def _set(self, rates: Iterable[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr

    def _next(self, lr: float, base: float) -> float:  # noqa: ARG002
        raise TypeError(f"{type(self).__name__} defines no _next(lr, base)")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(every={self.every!r}, last_epoch={self.last_epoch}, last_lr={self.last_lr})"


def _alike(value: Any, example: Any) -> bool:
    """Whether a value from a state can take the place of another."""
    if isinstance(example, list):
        return (
            isinstance(value, (list, tuple))
            and len(value) == len(example)
            and all(_alike(x, y) and 0 <= x < math.inf for x, y in zip(value, example, strict=True))
        )
    if isinstance(example, int):
        return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def positive(kind: str, name: str, value: Any, least: int = 1) -> int:
    """The value as an int; ValueError unless it is a whole number from `least`."""
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least:
        return int(value)
    raise ValueError(f"{kind}: {name}={value!r}; expected a whole number from {least}")


def per_group(kind: str, name: str, value: Any, optimizer: Optimizer, below: float = math.inf) -> list[float]:
    """A number for each group, from one for all or a list; ValueError if it does not fit."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{kind}: optimizer is {type(optimizer).__name__}; write {kind}(optimizer, ...)")
    n = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [number(kind, name, value, below)] * n
    if len(value) != n:
        raise ValueError(f"{kind}: {name} has {len(value)} values; expected one, or one for each of the {n} groups")
    return [number(kind, f"{name}[{i}]", x, below) for i, x in enumerate(value)]
