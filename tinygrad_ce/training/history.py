"""History: what a training run measured, step by step and epoch by epoch."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tinygrad_ce.results import Table, strict_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Group

Each = Literal["epoch", "step"]
Columns = dict[str, list[Any]]
MOST_ROWS = 40


class History:
    """What `fit` measured: `print` it for a table of the epochs, `plot()` it, or take the numbers.

    epochs   {"epoch", "loss", each metric, "valid_loss", "valid_..." of each metric, "lr", "seconds"}: a list each, one
             value for each finished epoch. Losses and metrics are means over the rows, those of training while the
             weights still change; seconds are of training and validation together
    steps    {"epoch", "loss", each metric, "lr", "seconds"}: a list each, one value for each step, of its batch alone
    stopped  why the run ended before its last epoch; None if it did not

    `history["valid_loss"]` is short for `history.epochs["valid_loss"]`; `len(history)` counts the finished epochs.

    >>> import tinygrad_ce as tg
    >>> train, test = tg.data.digits()
    >>> model = tg.nn.Linear(64, 10)
    >>> history = tg.fit(model, train, test, loss=tg.F.softmax_cross_entropy,
    ...                  optimizer=tg.optim.SGD(model.parameters(), lr=0.5), epochs=2, progress=False)
    >>> len(history), len(history.steps["loss"])
    (2, 46)
    >>> list(history.epochs)
    ['epoch', 'loss', 'accuracy', 'valid_loss', 'valid_accuracy', 'lr', 'seconds']
    """

    def __init__(self, metrics: Sequence[str] = (), valid: bool = False) -> None:
        measured = ["loss", *metrics]
        validated = [f"valid_{name}" for name in measured] if valid else []
        self.epochs: Columns = {name: [] for name in ("epoch", *measured, *validated, "lr", "seconds")}
        self.steps: Columns = {name: [] for name in ("epoch", *measured, "lr", "seconds")}
        self.stopped: str | None = None

    def __len__(self) -> int:
        return len(self.epochs["epoch"])

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self.epochs:
            raise KeyError(f"History: {name!r} was not measured; there are {', '.join(self.epochs)}")
        return self.epochs[name]

    def complete(self) -> None:
        """Drop what an interrupt left of a step or an epoch that has not been recorded whole."""
        for columns in (self.epochs, self.steps):
            shortest = min(map(len, columns.values()))
            for column in columns.values():
                del column[shortest:]

    def table(self) -> Table:
        """A row for each epoch; of more than 40 the ones in the middle are left out."""
        rows = [[formatted(name, column[i]) for name, column in self.epochs.items()] for i in range(len(self))]
        if len(rows) > MOST_ROWS:
            half = MOST_ROWS // 2
            rows = [*rows[:half], ["..."] * len(self.epochs), *rows[-half:]]
        return Table(list(self.epochs), rows)

    def title(self) -> str:
        """How much was done, and why it stopped, in one line."""
        steps, epochs, seconds = len(self.steps["loss"]), len(self), sum(self.epochs["seconds"])
        done = f"{_count(epochs, 'epoch')}, {_count(steps, 'step')}, {seconds:.1f} s"
        return done if self.stopped is None else f"{done}; stopped: {self.stopped}"

    def to_json(self) -> dict[str, Any]:
        """Everything as a dict that `json.dumps` takes; nan and infinity are strings."""
        strict: dict[str, Any] = strict_json({"epochs": self.epochs, "steps": self.steps, "stopped": self.stopped})
        return strict

    def to_csv(self, path: str | os.PathLike[str], each: Each = "epoch") -> None:
        """Write a line for each epoch, or with each="step" for each step; numbers keep all their digits."""
        if each not in ("epoch", "step"):
            raise ValueError(f'to_csv: each={each!r}; expected "epoch" or "step"')
        columns = self.epochs if each == "epoch" else self.steps
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))

    def plot(self) -> Figure:
        """The loss, and beside it the metrics, epoch by epoch; the loss of each step faintly behind. By matplotlib."""
        from tinygrad_ce.training.plots import plot_history

        return plot_history(self.epochs, self.steps)

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """The columns as arrays, for a checkpoint."""
        return {
            each: {name: np.array(column, np.int64 if name == "epoch" else np.float64) for name, column in columns}
            for each, columns in (("epochs", self.epochs.items()), ("steps", self.steps.items()))
        }

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the columns of a checkpoint; ValueError if they are not the ones that are measured now."""
        for each, columns in (("epochs", self.epochs), ("steps", self.steps)):
            if set(state[each]) != set(columns):
                raise ValueError(
                    f"History: the {each} hold {sorted(state[each])}, expected {sorted(columns)}; give the same "
                    "metrics and validation data as before"
                )
        for each, columns in (("epochs", self.epochs), ("steps", self.steps)):
            for name, column in columns.items():
                column[:] = state[each][name].tolist()

    def __repr__(self) -> str:
        return f"{self.title()}\n{self.table()}" if len(self) else self.title()

    def __rich__(self) -> Group:
        from rich.console import Group

        return Group(self.title(), self.table().rich())

    def _repr_html_(self) -> str:
        return f"<div>{self.title()}</div>{self.table().html()}"


def formatted(name: str, value: float) -> str:
    """A number in a table of epochs."""
    if name == "epoch":
        return str(value)
    if name == "lr":
        return f"{value:.3g}"
    if name == "seconds":
        return f"{value:.1f}"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3g}"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
