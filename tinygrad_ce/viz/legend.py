"""The legend: kinds of cards, the scale of the gradients; its parts serve other pictures too."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence

from tinygrad_ce.graph import Graph
from tinygrad_ce.viz import colors
from tinygrad_ce.viz.card import MONO, font, frame, pill, pills, row, table


def legend(graphs: Sequence[Graph], show: Collection[str]) -> str:
    """What the cards of these graphs look like, and what is on them."""
    rows = [row(samples(kinds(graphs))), *map(row, notes(graphs, show))]
    return table(*rows, cellspacing=2)


def kinds(graphs: Iterable[Graph]) -> list[tuple[str, dict[str, str], int]]:
    """A name, a frame and the number of lines of the frame, for each kind of card that there is."""
    found = {(node.kind, node.fused) for graph in graphs for node in graph.nodes}
    return [
        (f"fused {kind}" if fused else kind, frame(kind), 1 + (fused or kind == "module"))
        for kind, fused in itertools.product(colors.CARDS, (False, True))
        if (kind, fused) in found
    ]


def samples(named: Iterable[tuple[str, dict[str, str], int]]) -> str:
    """Small cards in a row, each with its name: (name, frame, lines)."""
    cells, width = [], 0
    for name, framed, lines in named:
        text, wide = font(name, 10, colors.INK), 6 * len(name) + 16
        if lines > 1:
            text = table(f"<tr><td>{text}</td></tr>", **framed, border=2)
        cells.append(pill(text, wide, 22, **framed, border=1))
        width += wide
    return pills(cells, width, 22, 3)


def notes(graphs: Sequence[Graph], show: Collection[str]) -> list[str]:
    """What chips and words on the cards mean, where there are any."""
    nodes = [node for graph in graphs for node in graph.nodes]
    lines = []
    if "grad" in show and any(node.gradient for node in nodes):
        meaning = font("  RMS of the gradient that reached the tensor", 10, colors.MUTED)
        lines += [font("g", 10, colors.MUTED, MONO, bold=True) + meaning, _scale()]
    if "kept" in show and any(k.shared and not k.leaf for node in nodes if not node.members for k in node.kept):
        lines.append(font("shares: an earlier op keeps it, and it is counted there", 10, colors.MUTED))
    return lines


def _scale() -> str:
    low, high = colors.SCALE
    ticks = []
    for power in range(low, high + 1):
        ground = colors.of_gradient(10.0**power)
        text = font(f"1e{power}", 8, colors.ink_on(ground), MONO)
        ticks.append(f'<td bgcolor="{ground}" width="34" height="14">{text}</td>')
    return table("<tr>", *ticks, "</tr>", cellpadding=1)
