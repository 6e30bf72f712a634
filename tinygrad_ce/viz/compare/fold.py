"""Two large graphs folded in the same way: what is in both looks the same, and what differs can be seen."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from tinygrad_ce.graph import Graph
from tinygrad_ce.graph.collapse import collapse, is_named
from tinygrad_ce.graph.fold import LIMIT, fold, folded, levels
from tinygrad_ce.graph.repeats import fold_repeats

_MARK = ("only in one", "")  # an attribute that keeps what is in one graph from being folded with what is in both


def fold_both(
    a: Graph,
    b: Graph,
    pairs: Mapping[str, str],
    depth: float | None = None,
    expand: Collection[str] = (),
    limit: tuple[int, int] = LIMIT,
) -> tuple[Graph, Graph]:
    """Both graphs as `fold` draws the larger one. Modules that hold a difference stay open, unless all of it differs.

    pairs   ids of the nodes that are the same; the others are in one graph alone
    depth, expand   as for `fold`
    """
    graphs = (a, b)
    only = [{node.id for node in a.nodes} - set(pairs), {node.id for node in b.nodes} - set(pairs.values())]
    names = [[name for name in expand if any(is_named(path, [name]) for path in graph.modules)] for graph in graphs]
    if depth is not None:
        return fold(a, depth, names[0]), fold(b, depth, names[1])
    few, some = limit
    size = max(len(graph.nodes) for graph in graphs)
    if size <= few:
        return graphs
    names = [[*given, *found] for given, found in zip(names, _with_differences(a, b, pairs, only), strict=True)]
    drawn = list(graphs)
    for level in (*range(max(map(levels, graphs)), 0, -1), None):
        if level is not None:
            drawn = [collapse(graph, level, opened, True) for graph, opened in zip(graphs, names, strict=True)]
        if size > some:
            drawn = [_fold_repeats(graph, marked) for graph, marked in zip(drawn, only, strict=True)]
        if max(len(graph.nodes) for graph in drawn) <= few:
            break
    return folded(a, drawn[0]), folded(b, drawn[1])


def _with_differences(a: Graph, b: Graph, pairs: Mapping[str, str], only: list[set[str]]) -> tuple[set[str], set[str]]:
    """Paths of the modules in which some is in both graphs and some is not, and of those of the other graph that
    have to be open for the same reason."""
    opened: list[set[str]] = []
    for graph, marked in ((a, only[0]), (b, only[1])):
        holds: dict[str, set[bool]] = {}
        for node in graph.nodes:
            for path in node.module:
                holds.setdefault(path, set()).add(node.id in marked)
        opened.append({path for path, kinds in holds.items() if len(kinds) == 2})
    modules = [{node.id: node.module for node in graph.nodes} for graph in (a, b)]
    before = -1
    while before < len(opened[0]) + len(opened[1]):
        before = len(opened[0]) + len(opened[1])
        for u, v in pairs.items():
            for path, other in zip(modules[0][u], modules[1][v], strict=False):
                if path in opened[0] or other in opened[1]:
                    opened[0].add(path)
                    opened[1].add(other)
    return opened[0], opened[1]


def _fold_repeats(graph: Graph, only: Collection[str]) -> Graph:
    marked = {node.id for node in graph.nodes if any(id in only for id in node.members or (node.id,))}
    nodes = [replace(node, attributes=(*node.attributes, _MARK)) if node.id in marked else node for node in graph.nodes]
    found = fold_repeats(replace(graph, nodes=tuple(nodes)))
    nodes = [
        replace(node, attributes=node.attributes[:-1]) if node.attributes[-1:] == (_MARK,) else node
        for node in found.nodes
    ]
    return replace(found, nodes=tuple(nodes))
