"""Two graphs for a terminal, as a unified diff shows two files: `-` only in A, `+` only in B."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set

from tinygrad_ce.graph import Graph, GraphNode
from tinygrad_ce.graph.fold import whole
from tinygrad_ce.graph.trouble import card_words, troubles
from tinygrad_ce.viz import words
from tinygrad_ce.viz.compare.totals import Row, one_or_both
from tinygrad_ce.viz.text import HEADINGS, row

CONTEXT = 3  # lines around a difference that are shown when not all of them are

Line = tuple[str, GraphNode | None, GraphNode | None]  # sign, node in A, node in B


def to_text(
    graphs: tuple[Graph, Graph],
    only: tuple[Set[str], Set[str]],
    pairs: Sequence[tuple[str, str]],
    titles: tuple[str, str],
    totals: Sequence[Row],
    limit: int | None = None,
) -> str:
    """The totals, then a line for each node: a blank for what is in both, `-` and `+` for what is in one alone.

    only   ids of the nodes that are in one graph alone
    pairs  ids of the others
    limit  of more lines than this, leave out what is in both, then lines from the middle

    Ids are those of A as a0, a1, ...; what is only in B has those of B as b0, b1, ... Where A and B differ within a
    line, a bar is between them.
    """
    twins = dict(pairs)
    lines = list(_merged(graphs, only, twins))
    writer = _Writer(graphs, twins)
    rows = [HEADINGS, *writer.rows(lines)]
    filled = [i for i in range(len(HEADINGS)) if any(cells[i] for cells in rows[1:])]
    head, *table = words.columns([[cells[i] for i in filled] for cells in rows])
    signed = [f"{sign} {text}" for (sign, *_), text in zip(lines, table, strict=True)]
    if limit is not None and len(signed) > limit:
        signed = _shortened(signed, limit)
    names = " | ".join(f"{letter} {words.ascii_text(title)}" for letter, title in zip("AB", titles, strict=True))
    above = words.columns([["", name, " | ".join(values)] for name, *values in totals])
    return "\n".join([names, *above, *writer.remarks(), f"  {head}", *signed])


def _merged(graphs: tuple[Graph, Graph], only: tuple[Set[str], Set[str]], pairs: Mapping[str, str]) -> Iterator[Line]:
    """Both graphs as one sequence, in the order of A; what is not in A stands before what follows it in B."""
    a, b = graphs
    place = {node.id: i for i, node in enumerate(b.nodes)}
    paired = set(pairs.values())

    def rest(start: int, stop: int) -> Iterator[Line]:
        for node in b.nodes[start:stop]:
            if node.id not in paired:
                yield "+" if node.id in only[1] else " ", None, node

    at = 0
    for node in a.nodes:
        if node.id not in pairs:
            yield "-" if node.id in only[0] else " ", node, None
            continue
        twin = place[pairs[node.id]]
        yield from rest(at, twin)
        at = max(at, twin)
        yield " ", node, b.nodes[twin]
    yield from rest(at, len(b.nodes))


class _Writer:
    def __init__(self, graphs: tuple[Graph, Graph], pairs: Mapping[str, str]) -> None:
        twins = {v: u for u, v in pairs.items()}
        self.graphs = graphs
        self.troubles = [troubles(whole(graph)) for graph in graphs]
        self.ids: list[dict[str, str]] = []
        self.inputs: list[dict[str, list[str]]] = []
        for letter, graph in zip("ab", graphs, strict=True):
            ids = {n.id: letter + n.id.removeprefix("n") for n in graph.nodes}
            if letter == "b":
                ids |= {v: self.ids[0][u] for v, u in twins.items()}
            shown = {n.id: words.ascii_text(n.name, 24) for n in graph.nodes if n.kind not in ("op", "module")}
            inputs: dict[str, list[str]] = {}
            for edge in graph.edges:
                inputs.setdefault(edge.target, []).append(shown.get(edge.source, ids[edge.source]))
            self.ids.append(ids)
            self.inputs.append(inputs)

    def remarks(self) -> list[str]:
        """What was folded, and what is wrong, in A, in B or in both."""
        found: dict[str, list[str]] = {}
        for letter, graph, wrong in zip("AB", self.graphs, self.troubles, strict=True):
            for line in (*words.remarks(graph, ()), *(f"! {line}" for line in words.alerts(wrong))):
                found.setdefault(line, []).append(letter)
        return [f"  {' and '.join(letters)}: {line}" for line, letters in found.items()]

    def rows(self, lines: Sequence[Line]) -> Iterator[tuple[str, ...]]:
        marks = [card_words(graph, wrong) for graph, wrong in zip(self.graphs, self.troubles, strict=True)]
        for _, *nodes in lines:
            cells = []
            for side, node in enumerate(nodes):
                if node is not None:
                    _, *others = row(node, self.inputs[side].get(node.id, []), marks[side].get(node.id, ()))
                    cells.append((self.ids[side][node.id], *others))
            yield tuple(one_or_both(x, y) for x, y in zip(cells[0], cells[-1], strict=True))


def _shortened(lines: list[str], limit: int) -> list[str]:
    """What is in both only near a difference; and if that is not enough, the beginning and the end."""
    changed = [i for i, line in enumerate(lines) if line[0] != " "]
    near = {j for i in changed for j in range(i - CONTEXT, i + CONTEXT + 1)}
    found, skipped = list[str](), 0
    for i, line in enumerate(lines):
        if i not in near:
            skipped += 1
            continue
        if skipped:
            found.append(f"  ... {skipped} more in both")
            skipped = 0
        found.append(line)
    if skipped:
        found.append(f"  ... {skipped} more in both")
    if len(found) <= limit:
        return found
    head = limit * 2 // 3
    return [*found[:head], f"  ... {len(found) - limit} more lines", *found[head - limit :]]
