"""How far a run is, as it goes: a live line in a terminal or a notebook, a line for each epoch elsewhere."""

from __future__ import annotations

import importlib
import sys
from html import escape
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tinygrad_ce.training.history import formatted
from tinygrad_ce.training.run import Callback, Run

if TYPE_CHECKING:
    from rich.table import Table as RichTable

PERIOD = 0.1  # seconds between two updates of a live line
SHORTEST = 4  # bar


def progress_display() -> Progress:
    """The display for where we are."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is not None:
        return NotebookProgress()
    from rich.console import Console

    console = Console(highlight=False, emoji=False, markup=False)
    return TerminalProgress(console) if console.is_terminal else Progress()


class Progress(Callback):
    """A table of the epochs that grows by a line whenever one is over; printed as it is."""

    def on_fit_begin(self, run: Run) -> None:
        self.began = perf_counter()
        self.steps_done = 0
        self.head = ["epoch", *(name for name in run.history.epochs if name not in ("epoch", "lr", "seconds"))]
        self.head += ["samples/s", "time"]
        self.widths = [max(len(name), 8) for name in self.head]
        self.widths[0] = max(5, 2 * len(str(run.epochs)) + 1)
        self.show(_aligned(self.head, self.widths))

    def on_epoch_begin(self, run: Run) -> None:
        self.epoch_began = perf_counter()
        self.next_update = 0.0
        del run

    def on_step_end(self, run: Run) -> None:
        self.steps_done += 1
        now = perf_counter()
        if now >= self.next_update:
            self.next_update = now + PERIOD
            self.update(run, now)

    def on_epoch_end(self, run: Run) -> None:
        record = {name: column[-1] for name, column in run.history.epochs.items()}
        cells = [f"{run.epoch}/{run.epochs}", *(formatted(name, record[name]) for name in self.head[1:-2])]
        cells += [f"{run.rows / record['seconds']:,.0f}", clock(record["seconds"])]
        self.show(_aligned(cells, self.widths))

    def on_fit_end(self, run: Run) -> None:
        if run.history.stopped is not None:
            self.show(f"stopped: {run.history.stopped}")

    def show(self, line: str) -> None:
        """A line that stays."""
        print(line, flush=True)

    def update(self, run: Run, now: float) -> None:
        """The line that changes, where there is one."""

    def speed(self, run: Run, now: float) -> str:
        """Samples per second in this epoch."""
        return f"{run.rows / max(now - self.epoch_began, 1e-9):,.0f} samples/s"

    def left(self, run: Run, now: float) -> str:
        """The time to the end of the run, if all goes on as it went so far; empty if that is not known."""
        if run.steps is None:
            return ""
        missing = run.steps * (run.epochs - run.epoch + 1) - run.step
        return f"{clock((now - self.began) / self.steps_done * missing)} left"


class TerminalProgress(Progress):
    """The table, and below it a live line with a bar."""

    def __init__(self, console: Any) -> None:
        from rich.live import Live

        self.live = Live(console=console, auto_refresh=False, transient=True)

    def on_fit_begin(self, run: Run) -> None:
        self.live.start()
        super().on_fit_begin(run)

    def on_fit_end(self, run: Run) -> None:
        self.live.stop()
        super().on_fit_end(run)

    def on_error(self, run: Run) -> None:
        del run
        self.live.stop()

    def show(self, line: str) -> None:
        self.live.console.print(line, soft_wrap=True)

    def update(self, run: Run, now: float) -> None:
        self.live.update(self.line(run, now), refresh=True)

    def line(self, run: Run, now: float) -> RichTable:
        """How far the epoch is, what was measured in it so far, how fast, how long it will take."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        measured = "  ".join(f"{name} {formatted(name, value)}" for name, value in run.latest.items())
        cells = [f"{run.epoch}/{run.epochs}", measured, self.speed(run, now), self.left(run, now)]
        while (spare := self.live.console.width - sum(len(cell) + 2 for cell in cells)) < SHORTEST and len(cells) > 2:
            del cells[2]  # a narrow terminal
        bar = ProgressBar(total=run.steps, completed=run.step, width=max(SHORTEST, min(30, spare)))
        grid = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(len(cells) + 1):
            grid.add_column(no_wrap=True, overflow="ellipsis")
        grid.add_row(cells[0], "" if run.steps is None else bar, *cells[1:])
        return grid


class NotebookProgress(Progress):
    """One output of a cell, written over as the run goes on; in the end one line: the History shows the table."""

    def on_fit_begin(self, run: Run) -> None:
        display = importlib.import_module("IPython.display").display
        self.handle = display(_bundle("starting"), raw=True, display_id=True)
        super().on_fit_begin(run)

    def on_fit_end(self, run: Run) -> None:
        self.handle.update(_bundle(_joined(run.history.title(), *_last(run, ""))), raw=True)

    def on_error(self, run: Run) -> None:
        self.handle.update(_bundle(f"stopped in epoch {run.epoch}"), raw=True)

    def show(self, line: str) -> None:
        """Nothing stays."""

    def update(self, run: Run, now: float) -> None:
        measured = [f"{name} {formatted(name, value)}" for name, value in run.latest.items()]
        pace = self.speed(run, now), self.left(run, now)
        text = _joined(f"epoch {run.epoch}/{run.epochs}", *measured, *_last(run, "valid_"), *pace)
        share = "" if run.steps is None else f' max="{run.steps}" value="{run.step}"'
        self.handle.update(_bundle(text, f'<progress{share} style="width:12em"></progress> '), raw=True)


def _last(run: Run, prefix: str) -> list[str]:
    """What the last epoch measured."""
    columns = run.history.epochs.items() if len(run.history) else ()
    return [
        f"{name} {formatted(name, column[-1])}"
        for name, column in columns
        if name.startswith(prefix) and name not in ("epoch", "lr", "seconds")
    ]


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def _bundle(text: str, bar: str = "") -> dict[str, str]:
    """What a notebook shows: HTML, and plain text where it cannot."""
    return {"text/html": f"<div>{bar}{escape(text)}</div>", "text/plain": text}


def clock(seconds: float) -> str:
    """A time as 0.4 s, 12 s, 3:05 or 1:02:03."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _aligned(cells: list[str], widths: list[int]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
