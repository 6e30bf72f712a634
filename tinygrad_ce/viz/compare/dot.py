"""Two graphs as one DOT source: a panel each, what is in both at the same height, the totals where there is room."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from typing import Any

from tinygrad_ce.graph import Graph
from tinygrad_ce.graph.match import RANKED, aligned
from tinygrad_ce.viz.card import row, table
from tinygrad_ce.viz.compare.key import ACCENTS, key, numbers
from tinygrad_ce.viz.compare.totals import Row
from tinygrad_ce.viz.dot import Direction, as_html, page, panel

PREFIXES = ("a", "b")


def digraph(
    graphs: tuple[Graph, Graph],
    only: tuple[Set[str], Set[str]],
    pairs: Sequence[tuple[str, str]],
    titles: tuple[str, str],
    totals: Sequence[Sequence[Row]],
    show: Collection[str],
    direction: Direction,
) -> Any:
    """A `graphviz.Digraph` of two panels.

    only    ids of the nodes that are in one graph alone
    pairs   ids of the others
    totals  what stands beside the panels: names and values in groups
    """
    import graphviz

    same = aligned(graphs, pairs)
    above, room = _room(graphs, same)
    pieces, meaning = numbers(totals), key(graphs, only, show)
    if direction == "LR" or room <= len(pieces):
        below, pieces = _beside(pieces, meaning), []
    elif room <= len(pieces) + len(meaning):
        below = _beside(meaning)
    else:
        pieces, below = pieces + meaning, ""
    dot = page(graphviz, direction, below)
    for side in (0, 1) if direction == "TB" else (1, 0):  # Graphviz goes from left to right, and from bottom to top
        letter = "AB"[side]
        title = letter if titles[side] == letter else f"{letter}  {titles[side]}"
        dot.subgraph(panel(
            graphviz, graphs[side], show, prefix=PREFIXES[side], title=title, accent=ACCENTS[side], only=only[side]
        ))  # fmt: skip
    for u, v in same:
        rank = graphviz.Digraph()
        rank.attr(rank="same")
        rank.node(PREFIXES[0] + u)
        rank.node(PREFIXES[1] + v)
        dot.subgraph(rank)
    for i, piece in enumerate(pieces):
        name = f"legend{i}"
        dot.node(name, as_html(piece), _attributes={"id": name, "class": "legend"})
        dot.edge(above, name, style="invis", weight="60", minlen="1" if i else "2")
        above = name
    return dot


def _beside(*columns: Sequence[str]) -> str:
    cells = (f'<td valign="top">{table(*map(row, pieces))}</td>' for pieces in columns)
    return table(f"<tr>{''.join(cells)}</tr>", cellspacing=12)


def _room(graphs: tuple[Graph, Graph], same: Sequence[tuple[str, str]]) -> tuple[str, int]:
    """The last op of the graph that does not go as deep as the other, and how many ranks are free below it."""
    found = []
    for prefix, ranks in zip(PREFIXES, _ranks(graphs, same), strict=True):
        lowest = max(reversed(ranks), key=lambda id: ranks[id], default="")
        found.append((ranks.get(lowest, 0), prefix + lowest))
    (shallow, above), (deep, _) = sorted(found)
    return above, deep - shallow if shallow else 0


def _ranks(graphs: tuple[Graph, Graph], same: Sequence[tuple[str, str]]) -> tuple[dict[str, int], dict[str, int]]:
    """How deep each op lies, if these pairs of ops lie equally deep."""
    ranks: tuple[dict[str, int], dict[str, int]] = ({}, {})
    ops = [[node.id for node in graph.nodes if node.kind in RANKED] for graph in graphs]
    sources: list[dict[str, list[str]]] = [{}, {}]
    for graph, found in zip(graphs, sources, strict=True):
        for edge in graph.edges:
            found.setdefault(edge.target, []).append(edge.source)
    at = [0, 0]
    for pair in (*same, None):
        for side in (0, 1):
            end = len(ops[side]) if pair is None else ops[side].index(pair[side], at[side]) + 1
            for id in ops[side][at[side] : end]:
                ranks[side][id] = 1 + max((ranks[side].get(s, 0) for s in sources[side].get(id, ())), default=0)
            at[side] = end
        if pair:
            ranks[0][pair[0]] = ranks[1][pair[1]] = max(ranks[0][pair[0]], ranks[1][pair[1]])
    return ranks
