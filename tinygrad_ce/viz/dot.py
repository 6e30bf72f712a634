"""A graph as DOT source: one card for each op and each leaf, leaves beside the op that uses them."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Collection, Set
from typing import Any, Literal

from tinygrad_ce.graph import Graph, GraphNode
from tinygrad_ce.graph.fold import whole
from tinygrad_ce.graph.trouble import card_words, troubles
from tinygrad_ce.viz import card, colors, legend

Direction = Literal["TB", "LR"]
SHOW = ("shape", "grad", "kept")


def digraph(graph: Graph, show: Collection[str] = SHOW, direction: Direction = "TB") -> Any:
    """The graph as a `graphviz.Digraph`, which can be edited further; `.source` is the DOT text.

    show       what a card tells besides its name: any of "shape", "grad", "kept"
    direction  "TB", from top to bottom, or "LR", from left to right

    The same graph gives the same text, byte for byte.
    """
    import graphviz

    dot = page(graphviz, direction, legend.legend([graph], show))
    dot.subgraph(panel(graphviz, graph, show))
    return dot


def page(graphviz: Any, direction: Direction, below: str) -> Any:
    """An empty `graphviz.Digraph` for panels, with a legend below them."""
    return graphviz.Digraph(
        "tinygrad_ce",
        graph_attr={
            "rankdir": direction, "splines": "polyline", "newrank": "true", "nodesep": "0.3", "ranksep": "0.24",
            "pad": "0.15", "bgcolor": "transparent", "fontname": "Arial", "labelloc": "b", "labeljust": "l",
            "tooltip": " ", "label": as_html(below),
        },
        node_attr={"shape": "plain", "fontname": "Arial", "fontsize": "11"},
        edge_attr={
            "color": colors.EDGE, "arrowsize": "0.6", "penwidth": "1.1", "fontname": "Arial", "tooltip": " "
        },
    )  # fmt: skip


def as_html(content: str) -> str:
    """As the value of a `label` attribute."""
    return f"<{content}>"


def panel(
    graphviz: Any,
    graph: Graph,
    show: Collection[str] = SHOW,
    *,
    prefix: str = "",
    title: str | None = None,
    accent: colors.Pair | None = None,
    only: Set[str] = frozenset(),
) -> Any:
    """A box with everything of one graph, to be a subgraph of a `page`: header, cards, edges.

    graphviz  the module, which this one does not import
    prefix    of the ids of nodes and edges, in DOT and in SVG, so that panels can stand side by side
    title     in place of the graph's own
    accent    border and ground of the cards to be marked; the title has the border's colour
    only      ids of the nodes to be marked, with the edges into them
    """
    drawer = _Panel(graphviz, graph, show, prefix, accent, only if accent else frozenset())
    return drawer.draw(card.header(graph, show, title, accent, drawer.troubles))


class _Panel:
    def __init__(
        self,
        graphviz: Any,
        graph: Graph,
        show: Collection[str],
        prefix: str,
        accent: colors.Pair | None,
        only: Set[str],
    ) -> None:
        self.graphviz = graphviz
        self.graph, self.show = graph, show
        self.prefix, self.accent, self.only = prefix, accent, only
        self.leaves = {node.id: node.kind for node in graph.nodes if node.kind not in ("op", "module")}
        self.troubles = troubles(whole(graph))
        self.warnings = card_words(graph, self.troubles)

    def draw(self, header: str) -> Any:
        outer = self.cluster("graph", "panel", header, color=colors.PANEL, style="rounded", margin="14")
        self.add_modules(outer)
        self.add_detached(outer)
        places = _places(self.graph, self.leaves)
        self.add_edges(outer, places)
        for op, leaves in _ranks(places).items():
            rank = self.graphviz.Digraph()  # `with outer.subgraph()` copies all that is in outer
            rank.attr(rank="same")
            for id in (*leaves, op):
                rank.node(self.prefix + id)
            outer.subgraph(rank)
        return outer

    def cluster(self, name: str, kind: str, label: str, **attributes: str) -> Any:
        attributes |= {"class": kind, "label": as_html(label), "labelloc": "t", "labeljust": "l", "tooltip": " "}
        return self.graphviz.Digraph(f"cluster_{self.prefix}{name}", graph_attr=attributes)

    def add_modules(self, outer: Any) -> None:
        """All cards, each in the box of its module; a module that made a single card needs no box."""
        graph, detached = self.graph, set(self.graph.detached)
        attached = [node for node in graph.nodes if node.id not in detached]
        cards = Counter(node.module[:depth] for node in attached for depth in range(1, len(node.module) + 1))
        folds = {node.module for node in attached if node.count > 1}
        boxes: dict[tuple[str, ...], Any] = {(): outer}
        for node in attached:
            path: tuple[str, ...] = ()
            for depth in range(1, len(node.module) + 1):
                inner = node.module[:depth]
                if cards[inner] > 1 or inner in folds:
                    path = inner
                    if path not in boxes:
                        boxes[path] = self.cluster(
                            f"m{len(boxes)}", "repeat" if path in folds else "module",
                            card.module(path[-1], graph.modules[path[-1]]), style="rounded,filled", margin="9",
                            fillcolor=colors.MODULE, color=colors.MODULE_BORDER,
                        )  # fmt: skip
            boxes[path].node(self.prefix + node.id, **self.node_attributes(node))
        # innermost first: a box is copied into the one around it
        for path in sorted(boxes, key=len, reverse=True):
            if path:
                around = next(path[:depth] for depth in range(len(path) - 1, -1, -1) if path[:depth] in boxes)
                boxes[around].subgraph(boxes[path])

    def add_detached(self, outer: Any) -> None:
        """What the outputs were not made from, in rows of two, in a box of its own."""
        lost = set(self.graph.detached)
        detached = [node for node in self.graph.nodes if node.id in lost]
        if not detached:
            return
        box = self.cluster("detached", "detached", card.detached(), style="dashed", margin="9", color=colors.NOT_FINITE)
        for node in detached:
            box.node(self.prefix + node.id, **self.node_attributes(node))
        ids = [self.prefix + node.id for node in detached]
        for above, below in zip(ids, ids[2:], strict=False):
            box.edge(above, below, style="invis")
        for left, right in zip(ids[::2], ids[1::2], strict=False):
            with box.subgraph() as row:
                row.attr(rank="same")
                row.edge(left, right, style="invis")
        outer.subgraph(box)

    def node_attributes(self, node: GraphNode) -> dict[str, str]:
        marked = node.id in self.only
        # quoted text has HTML's entities in it, and Graphviz's escapes, which are read twice
        lines = (html.escape(line, quote=False).replace("\\", r"\\\\") for line in card.tooltip(node))
        return {
            "id": self.prefix + node.id,
            "class": " ".join([node.kind, *["fused"] * node.fused, *["only"] * marked]),
            "label": as_html(
                card.card(node, self.show, self.accent if marked else None, self.warnings.get(node.id, ()))
            ),
            "tooltip": "\\n".join(lines),
        }

    def add_edges(self, outer: Any, places: dict[str, tuple[str, str]]) -> None:
        straight: set[str] = set()
        for i, edge in enumerate(self.graph.edges):
            source, target, leaf = edge.source, edge.target, self.leaves.get(edge.source)
            attributes = {"id": f"{self.prefix}e{i}", "class": leaf or "data"}
            if target not in straight and (not leaf or places[source] == (target, "head")):
                straight.add(target)  # the data's path: one heavy edge into each op makes it a line
                attributes["weight"] = "20"
            if leaf == "target":
                attributes["style"] = "dashed"
            if self.accent and target in self.only:
                attributes |= {"color": self.accent[0], "penwidth": "1.5"}
            ends = self.prefix + source, self.prefix + target
            if places.get(source) == (target, "right"):  # an edge within a rank goes from left to right
                outer.edge(*reversed(ends), dir="back", **attributes)
            else:
                outer.edge(*ends, **attributes)


def _places(graph: Graph, leaves: Collection[str]) -> dict[str, tuple[str, str]]:
    """Where leaves go: the op that uses one first, and "head" (above it), "left", "right" or "above".

    An op that uses no other op's result has one of its leaves for a head: the data's path starts there.
    """
    kinds = {node.id: node.kind for node in graph.nodes}
    operands: dict[str, list[str]] = {}
    for edge in graph.edges:
        operands.setdefault(edge.target, []).append(edge.source)
    places: dict[str, tuple[str, str]] = {}
    for op, sources in operands.items():
        own = [s for s in dict.fromkeys(sources) if s in leaves and s not in places]
        if own and all(s in leaves for s in sources):
            data = [s for s in sources if kinds[s] == "input"] or own
            if data[0] in own:
                places[data[0]] = op, "head"
                own.remove(data[0])
        for leaf, side in zip(own, ("left", "right"), strict=False):
            places[leaf] = op, side
        places.update((leaf, (op, "above")) for leaf in own[2:])
    return places


def _ranks(places: dict[str, tuple[str, str]]) -> dict[str, list[str]]:
    """The ops that have leaves beside them, with those leaves."""
    beside: dict[str, list[str]] = {}
    for leaf, (op, side) in places.items():
        if side in ("left", "right"):
            beside.setdefault(op, []).append(leaf)
    return beside
