"""The forms in which results are given: a table for text, rich and HTML; a figure; strict JSON."""

from __future__ import annotations

import io
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table as RichTable


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of cells under a head, whose cells may have several lines; `alarming` are the columns shown in red.

    The first column is aligned to the left, the others to the right.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    alarming: Sequence[str] = ()

    def __repr__(self) -> str:
        return as_text(self.head, self.rows, range(1, len(self.head)))

    def rich(self) -> RichTable:
        """For rich, which wraps nothing: narrow terminals fold long cells."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        for i, name in enumerate(self.head):
            table.add_column(name, justify="right" if i else "left", overflow="fold")
        for row in self.rows:
            table.add_row(
                *(Text(cell, style="bold red" if self.is_alarm(i, cell) else "") for i, cell in enumerate(row))
            )
        return table

    def html(self) -> str:
        """A <table>."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.head)
        lines = []
        for row in self.rows:
            cells = [
                f'<td style="text-align:{"right" if i else "left"}{";color:#c00" * self.is_alarm(i, cell)}">'
                f"{escape(cell)}</td>"
                for i, cell in enumerate(row)
            ]
            lines.append(f"<tr>{''.join(cells)}</tr>")
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"

    def is_alarm(self, column: int, cell: str) -> bool:
        return self.head[column] in self.alarming and cell not in ("0", "-", "")


def as_text(head: Sequence[str], rows: Sequence[Sequence[str]], right: Container[int]) -> str:
    """Rows under a head, whose cells may have several lines, as aligned text; `right` are the columns aligned right."""
    heads = list(zip_longest(*(name.split("\n") for name in head), fillvalue=""))
    widths = [max(map(len, column)) for column in zip(*heads, *rows, strict=True)]
    lines = []
    for line in (*heads, ["-" * n for n in widths], *rows):
        cells = zip(line, widths, strict=True)
        lines.append("  ".join(cell.rjust(n) if i in right else cell.ljust(n) for i, (cell, n) in enumerate(cells)))
    return "\n".join(line.rstrip() for line in lines)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; ImportError with what to install if there is no matplotlib."""
    try:
        from matplotlib.figure import Figure as Plain
    except ImportError:
        raise ImportError('plots need matplotlib: pip install "tinygrad_ce[plot]"') from None

    class Figure(Plain):
        def _repr_png_(self) -> bytes:  # pyplot teaches notebooks to show figures, if it is imported; these do it alone
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=100)
            return buffer.getvalue()

    return Figure(figsize=(width, height), layout="constrained")


def strict_json(value: Any) -> Any:
    """The same without nan and infinity, which JSON has not: they become strings."""
    if isinstance(value, Mapping):
        return {key: strict_json(x) for key, x in value.items()}
    if isinstance(value, (tuple, list)):
        return [strict_json(x) for x in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
