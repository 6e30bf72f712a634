"""What stands beside the panels of a comparison: the totals and the legend, in pieces about as high as a card."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set

from tinygrad_ce.graph import Graph
from tinygrad_ce.viz import colors, legend
from tinygrad_ce.viz.card import MONO, font, frame, row, table
from tinygrad_ce.viz.compare.totals import Row

ACCENTS = (colors.ONLY_A, colors.ONLY_B)
_WIDTHS = (132, 74, 74)  # of the columns; the pieces stand below one another


def key(graphs: tuple[Graph, Graph], only: tuple[Set[str], Set[str]], show: Collection[str]) -> list[str]:
    """What the cards look like, what the marks mean, the scale of the gradients: a piece each."""
    samples = [("in both", frame("op"), 1)]
    for letter, marked, accent in zip("AB", only, ACCENTS, strict=True):
        if marked:
            samples.append((f"only in {letter}", frame("op", accent), 1))
    notes = legend.notes(graphs, show)
    return [
        legend.samples(legend.kinds(graphs)),
        legend.samples(samples),
        *([table(*map(row, notes))] if notes else []),
    ]


def numbers(groups: Sequence[Sequence[Row]]) -> list[str]:
    """The totals, a piece for each group; all have the same columns."""
    letters = [font(letter, 12, accent[0], bold=True) for letter, accent in zip("AB", ACCENTS, strict=True)]
    pieces = [
        [_line(name, [font(value, 10, colors.MUTED, MONO, bold=True) for value in values]) for name, *values in group]
        for group in groups
    ]
    pieces[0].insert(0, _line("", letters))
    return [table(*lines) for lines in pieces]


def _line(name: str, values: Sequence[str]) -> str:
    """A row of the totals: a name, and a value in each column, or one over both."""
    cells = [f'<td align="left" width="{_WIDTHS[0]}">{font(name, 10, colors.MUTED)}</td>']
    if len(values) == 1:
        cells.append(f'<td align="right" colspan="2" width="{sum(_WIDTHS[1:])}">{values[0]}</td>')
    else:
        cells += [
            f'<td align="right" width="{width}">{value}</td>' for width, value in zip(_WIDTHS[1:], values, strict=True)
        ]
    return f"<tr>{''.join(cells)}</tr>"
