"""What the commands share: text that is coloured in a terminal and plain everywhere else, and how usage is refused."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from tinygrad_ce.results import as_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

WIDTH = 80


class UsageError(Exception):
    """What was asked for cannot be done; the message says why, on one line."""


def one_line(error: BaseException) -> str:
    """The message of an error, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def warnings_in_a_line() -> Iterator[None]:
    """What the library warns of, on a line each on standard error."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda warning, *_, **__: print(
            f"tinygrad-ce: warning: {' '.join(str(warning).split())}", file=sys.stderr
        )
        yield


def console() -> Console:
    """Where to print with rich; `console().is_terminal` tells whether to."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, markup=False)


def say(text: str = "", style: str = "") -> None:
    """Print a line as it is, in a style if this is a terminal."""
    screen = console()
    if screen.is_terminal:
        screen.print(text, style=style, soft_wrap=True)
    else:
        print(text)


def sentences(*lines: str) -> None:
    """Print sentences, each an entry of a list and wrapped to the width of a page."""
    screen = console()
    width = min(WIDTH, screen.width) if screen.is_terminal else WIDTH
    for line in lines:
        say("\n".join(wrap(line, width, initial_indent="- ", subsequent_indent="  ")))


def show(thing: Any) -> None:
    """Print something that has a `__rich__` for terminals and a plain `__str__`."""
    screen = console()
    if screen.is_terminal:
        screen.print(thing)
    else:
        print(thing)


@dataclass(frozen=True)
class Table:
    """Rows under a head, whose cells may have several lines; `right` are the columns aligned to the right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()

    def __str__(self) -> str:
        return as_text(self.head, self.rows, self.right)

    def __rich__(self) -> RichTable:
        from rich import box
        from rich.table import Table as RichTable

        table = RichTable(box=box.SIMPLE_HEAD, show_edge=False)
        for i, name in enumerate(self.head):
            table.add_column(name, justify="right" if i in self.right else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*map(_styled, row))
        return table


def _styled(cell: str) -> Text:
    """What is lost in red; of several lines the first in full, the others dim."""
    from rich.text import Text

    text = Text(cell, style="bold red" if "lost" in cell else "")
    if "\n" in cell:
        text.stylize("dim", cell.index("\n"))
    return text
