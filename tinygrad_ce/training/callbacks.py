"""What a training run does on the way: early stopping and checkpoints."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tinygrad_ce.training import checkpoint
from tinygrad_ce.training.run import Callback, Run

Mode = Literal["min", "max"]


class EarlyStopping(Callback):
    """Stop when a number has not become better for `patience` epochs.

    monitor       a column of the history, such as "valid_loss"
    patience      how many epochs without a better value are one too many, at least 1
    min_delta     by how much a value must be better than the best one to count as better
    restore_best  give the model, at the end of the run, the weights and buffers of its best epoch
    mode          is smaller better ("min") or larger ("max")? Known of losses and accuracies

    >>> import tinygrad_ce as tg
    >>> tg.training.EarlyStopping(monitor="valid_accuracy", patience=3)
    EarlyStopping(monitor='valid_accuracy', patience=3, min_delta=0.0, restore_best=True)
    """

    def __init__(
        self,
        monitor: str = "valid_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        restore_best: bool = True,
        mode: Mode | None = None,
    ) -> None:
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ValueError(f"EarlyStopping: patience={patience!r}; expected a whole number of at least 1")
        if not min_delta >= 0:
            raise ValueError(f"EarlyStopping: min_delta={min_delta!r}; expected a number of at least 0")
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.restore_best = restore_best
        self.sign = _sign("EarlyStopping", monitor, mode)
        self.best_weights: dict[str, Any] | None = None

    def check(self, run: Run) -> None:
        _check_monitor("EarlyStopping", self.monitor, run)

    def on_fit_begin(self, run: Run) -> None:
        if not len(run.history):  # else a checkpoint has just given them back
            self.best_weights = None

    def on_epoch_end(self, run: Run) -> None:
        best = self._best_epoch(run)
        if best == run.epoch and self.restore_best:
            self.best_weights = run.model.state_dict()
        if run.epoch - best >= self.patience:
            since = f"since epoch {best}" if best else "at all"
            run.stop(f"early: {self.monitor} has not improved {since}")

    def on_fit_end(self, run: Run) -> None:
        if self.best_weights is not None:
            run.model.load_state_dict(self.best_weights)

    def _best_epoch(self, run: Run) -> int:
        """The number of the last epoch that was better than all before it; 0 if none was better than nothing."""
        best, found = math.inf, 0
        for epoch, value in enumerate(run.history.epochs[self.monitor], 1):
            if self.sign * value < best - (self.min_delta if found else 0.0):
                best, found = self.sign * value, epoch
        return found

    def state_dict(self) -> dict[str, Any]:
        return {} if self.best_weights is None else {"best_weights": self.best_weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best_weights = state.get("best_weights")

    def __repr__(self) -> str:
        return (
            f"EarlyStopping(monitor={self.monitor!r}, patience={self.patience}, min_delta={self.min_delta}, "
            f"restore_best={self.restore_best})"
        )


class Checkpoint(Callback):
    """Write the whole state of the run to a file after each epoch, for `fit(..., resume=path)`.

    path       such as "run.safetensors"; replaced each time, at once or not at all
    monitor    with best_only: the column of the history that tells which epoch is best
    best_only  write only after an epoch that is better than all before it
    mode       is smaller better ("min") or larger ("max")? Known of losses and accuracies

    The file holds weights, optimizer, schedule, generators (of the DataLoader and of modules such as Dropout), history
    and the state of the other callbacks; `load(model, path)` and `load_model(path)` take the model alone from it.

    >>> import tinygrad_ce as tg
    >>> tg.training.Checkpoint("best.safetensors", monitor="valid_accuracy", best_only=True)
    Checkpoint('best.safetensors', monitor='valid_accuracy', best_only=True)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "valid_loss",
        best_only: bool = False,
        mode: Mode | None = None,
    ) -> None:
        self.path = Path(path)
        self.monitor = monitor
        self.best_only = best_only
        self.sign = _sign("Checkpoint", monitor, mode) if best_only else 1

    def check(self, run: Run) -> None:
        if self.best_only:
            _check_monitor("Checkpoint", self.monitor, run)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"Checkpoint: {str(self.path)!r}: the folder {str(self.path.parent)!r} does not exist"
            )

    def on_epoch_end(self, run: Run) -> None:
        if self.best_only:
            *before, now = (self.sign * value for value in run.history.epochs[self.monitor])
            if not now < min((value for value in before if not math.isnan(value)), default=math.inf):
                return
        checkpoint.write(run, self.path)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, monitor={self.monitor!r}, best_only={self.best_only})"


def _sign(caller: str, monitor: str, mode: Mode | None) -> int:
    """1 if smaller is better, -1 if larger is."""
    if mode not in ("min", "max", None):
        raise ValueError(f'{caller}: mode={mode!r}; expected "min" or "max"')
    if mode is None:
        if not monitor.endswith(("loss", "accuracy")):
            raise ValueError(f'{caller}: is a smaller {monitor!r} better? write mode="min" or mode="max"')
        mode = "min" if monitor.endswith("loss") else "max"
    return 1 if mode == "min" else -1


def _check_monitor(caller: str, monitor: str, run: Run) -> None:
    if monitor not in run.history.epochs:
        hint = "; give fit the validation data" if monitor.startswith("valid_") and run.valid is None else ""
        raise ValueError(
            f"{caller}: monitor={monitor!r} is not measured; there are {', '.join(run.history.epochs)}{hint}"
        )
