"""The picture for a terminal: one line for each op and each leaf."""

from __future__ import annotations

from collections.abc import Iterable

from tinygrad_ce.graph import Graph, GraphNode
from tinygrad_ce.graph.fold import whole
from tinygrad_ce.graph.trouble import card_words, troubles
from tinygrad_ce.viz import words

HEADINGS = ("id", "module", "op", "name", "inputs", "tensor", "gradient", "memory", "trouble")


def to_text(graph: Graph, limit: int | None = None) -> str:
    """A header with the totals, then a line for each node, oldest first; columns without entries are left out.

    limit  leave out lines from the middle of a graph of more nodes

    >>> import tinygrad_ce as tg
    >>> from tinygrad_ce.graph import capture
    >>> w = tg.Tensor([1.0, 2.0], requires_grad=True, name="w")
    >>> print(to_text(capture((w * w * 3.0).sum())))
    sum: 3 ops, 0 B kept for backward, sum 15
    id  op         name  inputs   tensor
    n0  parameter  w              (2,) f32
    n1  mul              w, w     (2,) f32
    n2  mul              n1, y=3  (2,) f32
    n3  sum              n2       () f32
    """
    shown = {
        node.id: node.id if node.kind in ("op", "module") else words.ascii_text(node.name, 24) for node in graph.nodes
    }
    inputs: dict[str, list[str]] = {}
    for edge in graph.edges:
        inputs.setdefault(edge.target, []).append(shown[edge.source])
    nodes, head = graph.nodes, len(graph.nodes)
    if limit is not None and len(nodes) > limit:
        head = limit * 2 // 3
        nodes = (*nodes[:head], *nodes[head - limit :])
    found = troubles(whole(graph))
    marks = card_words(graph, found)
    rows = [HEADINGS, *(row(node, inputs.get(node.id, []), marks.get(node.id, ())) for node in nodes)]
    filled = [i for i in range(len(HEADINGS)) if any(row[i] for row in rows[1:])]
    lines = words.columns([[row[i] for i in filled] for row in rows])
    if len(nodes) < len(graph.nodes):
        lines.insert(head + 1, f"... {len(graph.nodes) - len(nodes)} more nodes")
    above = [f"{words.ascii_text(graph.title)}: {', '.join(words.headline(graph))}", *words.remarks(graph, ())]
    return "\n".join([*above, *(f"! {line}" for line in words.alerts(found)), *lines])


def row(node: GraphNode, inputs: list[str], marks: Iterable[str] = ()) -> tuple[str, ...]:
    """The cells of a node, under `HEADINGS`; inputs are what its operands are called, marks its troubles."""
    attributes = words.attributes_text(node)
    return (
        node.id,
        words.ascii_text(node.module[-1]) if node.module else "",
        words.ascii_text(node.op or node.kind),
        words.ascii_text(node.name, 24),
        ", ".join([*inputs, attributes] if attributes else inputs),
        words.tensor_type(node),
        words.gradient_text(node.gradient) if node.gradient else "",
        words.kept_text(node),
        ", ".join(marks),
    )
