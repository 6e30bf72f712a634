"""A large graph made small enough to look at: modules closed, repeated siblings drawn once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields

from tinygrad_ce.graph.collapse import collapse, is_named
from tinygrad_ce.graph.data import Graph
from tinygrad_ce.graph.repeats import fold_repeats

LIMIT = (40, 150)  # cards up to which everything is shown; up to which modules close but nothing else is folded


@dataclass(frozen=True, repr=False)
class Folded(Graph):
    """A graph in which some nodes stand for several of another one, whose totals it has."""

    whole: Graph = field(kw_only=True)

    @property
    def ops(self) -> int:
        """How many ops there are, those that are not drawn with them."""
        return self.whole.ops

    @property
    def kept_bytes(self) -> int:
        """Bytes held for the backward pass by all of them."""
        return self.whole.kept_bytes


def fold(
    graph: Graph, depth: float | None = None, expand: Collection[str] = (), limit: tuple[int, int] = LIMIT
) -> Graph:
    """The graph as it is to be drawn: small ones whole, in larger ones modules and repeats as one.

    depth    how many levels of modules are looked into: 1 draws the outermost modules as one card each, 2 those
             inside them, and so on; with a depth nothing else is folded. None: up to `limit[0]` nodes everything is
             drawn; up to `limit[1]` modules close, the innermost first, as many levels as it takes; past that, blocks
             that repeat along a chain are drawn once too
    expand   paths of modules that stay open

    Edges go where the tensors go, and there is no cycle. What is drawn closed has the ids of what it stands for in
    `members`. The result is the graph itself or a `Folded`.

    >>> import numpy as np, tinygrad_ce as tg
    >>> from tinygrad_ce.graph import capture
    >>> x = tg.Tensor([1.0], requires_grad=True, name="x")
    >>> y = x
    >>> for _ in range(200):
    ...     y = y * 0.5
    >>> [(node.op or node.name, node.count) for node in fold(capture(y)).nodes]
    [('x', 1), ('mul', 1), ('mul', 198), ('mul', 1)]
    """
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, (int, float)) or not depth >= 1):
        raise ValueError(f"depth: expected a number from 1 up, or None, found {depth!r}")
    names = (expand,) if isinstance(expand, str) else tuple(expand)
    for name in names:
        if not any(is_named(path, [name]) for path in graph.modules):
            raise ValueError(f"expand: {name!r}: expected {expected(graph)}")
    few, some = limit
    if depth is not None:
        return folded(graph, collapse(graph, depth, names))
    if len(graph.nodes) <= few:
        return graph
    found = graph
    for level in range(levels(graph), 0, -1):
        found = collapse(graph, level, names, layers=True)
        if len(graph.nodes) > some:
            found = fold_repeats(found)
        if len(found.nodes) <= few:
            break
    else:
        found = fold_repeats(found) if len(graph.nodes) > some else found
    return folded(graph, found)


def whole(graph: Graph) -> Graph:
    """What a graph was folded from; itself, if it was not."""
    return graph.whole if isinstance(graph, Folded) else graph


def levels(graph: Graph) -> int:
    """How deep modules are nested."""
    return max((len(node.module) for node in graph.nodes), default=0)


def expected(graph: Graph) -> str:
    """What there is to expand, for an error message."""
    names = [*dict.fromkeys(node.op for node in graph.nodes if node.fused), *graph.modules]
    if not names:
        return "nothing: this graph has no fused ops and no modules"
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"one of {', '.join(map(repr, names[:12]))}{more}"


def folded(graph: Graph, drawn: Graph) -> Graph:
    """What is drawn of a graph, with the totals of all of it; the graph itself if nothing was folded."""
    if not any(node.members for node in drawn.nodes):
        return graph
    given = {f.name: getattr(drawn, f.name) for f in fields(Graph)}
    return Folded(**{**given, "steps": ()}, whole=graph)
