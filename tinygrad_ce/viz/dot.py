"""A graph as DOT source: one card for each op and each leaf, leaves beside the op that uses them."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Collection
from typing import Any, Literal

from tinygrad_ce.graph import Graph, GraphNode
from tinygrad_ce.viz import card, colors

Direction = Literal["TB", "LR"]
SHOW = ("shape", "grad", "kept")


def digraph(graph: Graph, show: Collection[str] = SHOW, direction: Direction = "TB") -> Any:
    """The graph as a `graphviz.Digraph`, which can be edited further; `.source` is the DOT text.

    show       what a card tells besides its name: any of "shape", "grad", "kept"
    direction  "TB", from top to bottom, or "LR", from left to right

    The same graph gives the same text, byte for byte.
    """
    import graphviz

    dot = graphviz.Digraph(
        "tinygrad_ce",
        graph_attr={
            "rankdir": direction, "newrank": "true", "nodesep": "0.3", "ranksep": "0.24", "pad": "0.15",
            "bgcolor": "transparent", "fontname": "Arial", "labelloc": "b", "labeljust": "l", "tooltip": " ",
            "label": _html(card.legend(graph, show)),
        },
        node_attr={"shape": "plain", "fontname": "Arial", "fontsize": "11"},
        edge_attr={
            "color": colors.EDGE, "arrowsize": "0.6", "penwidth": "1.1", "fontname": "Arial", "tooltip": " "
        },
    )  # fmt: skip
    panel = _cluster(graphviz, "graph", card.header(graph), color=colors.PANEL, style="rounded", margin="14")
    _add_modules(graphviz, panel, graph, show)
    places = _places(graph)
    _add_edges(panel, graph, places)
    for op, leaves in _ranks(places).items():
        with panel.subgraph() as rank:
            rank.attr(rank="same")
            for id in (*leaves, op):
                rank.node(id)
    dot.subgraph(panel)
    return dot


def _html(content: str) -> str:
    """As the value of a `label` attribute."""
    return f"<{content}>"


def _cluster(graphviz: Any, name: str, label: str, **attributes: str) -> Any:
    attributes = {"label": _html(label), "labelloc": "t", "labeljust": "l", "tooltip": " ", **attributes}
    return graphviz.Digraph(f"cluster_{name}", graph_attr=attributes)


def _add_modules(graphviz: Any, panel: Any, graph: Graph, show: Collection[str]) -> None:
    """All cards, each in the box of its module; a module that made a single card needs no box."""
    cards = Counter(node.module[:depth] for node in graph.nodes for depth in range(1, len(node.module) + 1))
    boxes: dict[tuple[str, ...], Any] = {(): panel}
    for node in graph.nodes:
        path: tuple[str, ...] = ()
        for depth in range(1, len(node.module) + 1):
            inner = node.module[:depth]
            if cards[inner] > 1:
                path = inner
                if path not in boxes:
                    boxes[path] = _cluster(
                        graphviz, f"m{len(boxes)}", card.module(path[-1], graph.modules[path[-1]]),
                        style="rounded,filled", margin="9", fillcolor=colors.MODULE,
                        color=colors.MODULE_BORDER,
                    )  # fmt: skip
        boxes[path].node(node.id, **_node_attributes(node, show))
    # innermost first: a box is copied into the one around it
    for path in sorted(boxes, key=len, reverse=True):
        if path:
            outer = next(path[:depth] for depth in range(len(path) - 1, -1, -1) if path[:depth] in boxes)
            boxes[outer].subgraph(boxes[path])


def _node_attributes(node: GraphNode, show: Collection[str]) -> dict[str, str]:
    # quoted text has HTML's entities in it, and Graphviz's escapes, which are read twice
    lines = (html.escape(line, quote=False).replace("\\", r"\\\\") for line in card.tooltip(node))
    return {
        "id": node.id,
        "class": "op fused" if node.fused else node.kind,
        "label": _html(card.card(node, show)),
        "tooltip": "\\n".join(lines),
    }


def _places(graph: Graph) -> dict[str, tuple[str, str]]:
    """Where leaves go: the op that uses one first, and "head" (above it), "left", "right" or "above".

    An op that uses no other op's result has one of its leaves for a head: the data's path starts there.
    """
    kinds = {node.id: node.kind for node in graph.nodes}
    operands: dict[str, list[str]] = {}
    for edge in graph.edges:
        operands.setdefault(edge.target, []).append(edge.source)
    places: dict[str, tuple[str, str]] = {}
    for op, sources in operands.items():
        leaves = [s for s in dict.fromkeys(sources) if kinds[s] != "op" and s not in places]
        if leaves and all(kinds[s] != "op" for s in sources):
            head = next((s for s in leaves if kinds[s] == "input"), leaves[0])
            places[head] = op, "head"
            leaves.remove(head)
        for leaf, side in zip(leaves, ("left", "right"), strict=False):
            places[leaf] = op, side
        places.update((leaf, (op, "above")) for leaf in leaves[2:])
    return places


def _ranks(places: dict[str, tuple[str, str]]) -> dict[str, list[str]]:
    """The ops that have leaves beside them, with those leaves."""
    beside: dict[str, list[str]] = {}
    for leaf, (op, side) in places.items():
        if side in ("left", "right"):
            beside.setdefault(op, []).append(leaf)
    return beside


def _add_edges(panel: Any, graph: Graph, places: dict[str, tuple[str, str]]) -> None:
    kinds = {node.id: node.kind for node in graph.nodes}
    straight: set[str] = set()
    for i, edge in enumerate(graph.edges):
        source, target, kind = edge.source, edge.target, kinds[edge.source]
        attributes = {"id": f"e{i}", "class": "data" if kind == "op" else kind}
        if target not in straight and (kind == "op" or places[source] == (target, "head")):
            straight.add(target)  # the data's path: one heavy edge into each op makes it a line
            attributes["weight"] = "20"
        if kind == "target":
            attributes["style"] = "dashed"
        if places.get(source) == (target, "right"):  # an edge within a rank goes from left to right
            panel.edge(target, source, dir="back", **attributes)
        else:
            panel.edge(source, target, **attributes)
