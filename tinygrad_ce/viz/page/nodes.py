"""What the panel of the page tells of each node: everything that is known, written out, or why it is not."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_ce.graph import Edge, Excerpt, GraphNode, Summary
from tinygrad_ce.graph.repeats import GradientRange
from tinygrad_ce.graph.trouble import troubles
from tinygrad_ce.viz import words
from tinygrad_ce.viz.drawing import Side
from tinygrad_ce.viz.page.timeline import card_of, gradient, label, seeded

LONG = 400  # characters of a name or an attribute that are shown
DETAILED = 60  # nodes up to which the page has whole excerpts
CORNER = 6, 6  # rows and columns of an excerpt in a larger graph
LINE = 5  # numbers in a row of an array of one axis

Links = dict[str, list[tuple[str, str]]]  # by id: the operand's name, and the node at the other end


def records(side: Side) -> dict[str, dict[str, Any]]:
    """A record for JSON of each node, and of each card that stands for several, by its id on the page; cards first.

    A card that stands for several has the id of one of them, which goes by another one on the page.
    """
    writer = _Writer(side)
    cards = {side.prefix + card.id: writer.card(card) if card.members else {} for card in side.drawn.nodes}
    return cards | {writer.ids[node.id]: writer.node(node) for node in side.full.nodes}


class _Writer:
    def __init__(self, side: Side) -> None:
        self.prefix, self.graph = side.prefix, side.full
        self.cards = card_of(side)
        self.ids = {id: self.prefix + id + "-inside" * (id in card.members) * (id == card.id)
                    for id, card in self.cards.items()}  # fmt: skip
        self.corner = CORNER if len(side.full.nodes) > DETAILED else (math.inf, math.inf)
        self.inputs, self.consumers = _links(side.full.edges)
        self.card_inputs, self.card_consumers = _links(side.drawn.edges)
        self.parts: dict[str, list[list[str]]] = defaultdict(list)
        for id in seeded(side.full):
            self.parts[id].append(["", "g 1.0e+00", "g 1.0e+00"])
        for step in side.full.steps:
            for passed in step.passed:
                sent = gradient(passed.gradient), gradient(passed.total)
                self.parts[passed.source].append([self.ids[step.node], *sent])
        self.keepers: dict[int, list[str]] = defaultdict(list)
        for node in side.full.nodes:
            for k in node.kept:
                self.keepers[k.buffer].append(node.id)
        self.troubles: dict[str, list[str]] = defaultdict(list)
        for trouble in troubles(side.full):
            self.troubles[trouble.node].append(trouble.text or trouble.word)

    def node(self, node: GraphNode) -> dict[str, Any]:
        """One op or leaf."""
        card, parts = self.cards[node.id], self.parts[node.id]
        return self.record(
            node,
            inputs=[[name, self.ids[id]] for name, id in self.inputs[node.id]],
            consumers=[[name, self.ids[id]] for name, id in self.consumers[node.id]],
            value=self.value(node),
            gradient=self.gradient(node),
            parts=parts if len(parts) > 1 else [],
            kept=self.kept(node),
            card=self.prefix + card.id if card.members else "",
            troubles=self.troubles[node.id],
        )

    def card(self, card: GraphNode) -> dict[str, Any]:
        """A card that stands for several nodes."""
        repeats = card.count > 1
        kept = words.kept_text(card)
        return self.record(
            card,
            count=str(card.count) if repeats else "",
            inputs=[["", self.prefix + id] for _, id in self.card_inputs[card.id]],
            consumers=[["", self.prefix + id] for _, id in self.card_consumers[card.id]],
            value=self.value(card) if card.summary else {"why": "See its members."},
            gradient=self.gradient(card) if card.gradient else {"why": "See its members."},
            kept=[[kept, "", "", []]] if kept else [],
            members=[self.ids[id] for id in card.members],
            troubles=list(dict.fromkeys(text for id in card.members for text in self.troubles[id])),
        )

    def record(self, node: GraphNode, **more: Any) -> dict[str, Any]:
        """What there is to say of nodes and of cards; entries that would be empty are left out."""
        path = node.module[-1] if node.module else ""
        known = self.graph.modules.get(path, "")
        found = {
            "label": label(node),
            "title": shown(node.op or node.name),
            "name": shown(node.name) if node.op else "",
            "kind": "fused op" if node.fused else node.kind,
            "type": f"{node.shape} {node.dtype}",
            "module": f"{shown(path)}  {shown(known)}".strip() if known != path else shown(path),
            "attributes": [[key, shown(value)] for key, value in node.attributes],
            "formula": node.formula,
            "vjp": node.vjp_formula,
        }
        return {key: value for key, value in (found | more).items() if value}

    def value(self, node: GraphNode) -> dict[str, Any]:
        if node.summary is not None:
            return self.figures(node.summary, node.shape)
        if self.graph.released:
            return {"why": "Not known: backward() has freed the arrays. Draw before it, or give it retain_graph=True."}
        return {"why": "Not known: the graph does not hold these numbers, and they could not be computed again."}

    def gradient(self, node: GraphNode) -> dict[str, Any]:
        found = node.gradient
        if isinstance(found, GradientRange):
            return {"figures": [["RMS", words.gradient_text(found)]], "why": "Of its members, from the smallest on."}
        if found is not None and found.rms is not None:
            if found.summary is not None:
                return self.figures(found.summary, node.shape)
            return {"figures": [["RMS", number(found.rms)], ["largest", number(found.max_abs)]]}
        if node.id in self.graph.detached:
            return {"why": "None arrived: the output was not made from this tensor."}
        if found is not None:
            return {"why": "None arrived: no path that takes gradients leads here from the output."}
        if node.kind == "target" or self.graph.steps:
            return {"why": "It takes none."}
        if self.graph.released:
            return {"why": "Not known: backward() keeps those of leaves alone. Draw with gradients=True before it."}
        return {"why": "Not known: no backward pass has run. Draw with gradients=True."}

    def figures(self, summary: Summary, shape: tuple[int, ...]) -> dict[str, Any]:
        figures = [
            ["min", number(summary.low)],
            ["max", number(summary.high)],
            ["mean", number(summary.mean)],
            ["RMS", number(summary.rms)],
            ["zeros", f"{summary.zeros} of {summary.size}"],
        ]
        odd = {"nan": summary.nan, "infinite": summary.infinite}
        figures += [[what, f"{n} of {summary.size}"] for what, n in odd.items() if n]
        figures += [["units all 0", f"{summary.dead} of {summary.units}"]] if summary.dead else []
        if summary.excerpt is None:
            return {"figures": figures, "why": "The numbers themselves are left out of so large a graph."}
        return {"figures": figures, **self.matrix(summary.excerpt, shape)}

    def matrix(self, excerpt: Excerpt, shape: tuple[int, ...]) -> dict[str, Any]:
        """Rows of numbers, each after its index; those of an array of one axis go on in the next line."""
        rows: list[tuple[float, ...]] = list(excerpt.rows)
        if len(shape) > 1:
            heads = [",".join(map(str, np.unravel_index(i, shape[:-1]))) for i in range(len(rows))]
        else:
            starts = range(0, len(rows[0]) if rows else 0, LINE)
            rows, heads = [rows[0][i : i + LINE] for i in starts], [str(i) if shape else "" for i in starts]
        height, width = (int(min(n, LONG)) for n in self.corner)
        cut = [row[:width] for row in rows[:height]]
        count, of = sum(map(len, cut)), math.prod(shape)
        return {
            "rows": ["\t".join([head, *map(number, row)]) for head, row in zip(heads, cut, strict=False)],
            **({"rest": f"{count} of {of} elements"} if count < of else {}),
        }

    def kept(self, node: GraphNode) -> list[list[Any]]:
        """What, bytes, a note, and the other nodes that keep the same buffer."""
        found = []
        for k in node.kept:
            others = [self.ids[id] for id in dict.fromkeys(self.keepers[k.buffer]) if id != node.id]
            note = "a leaf's own, not counted" if k.leaf else "counted there" if k.shared else ""
            found.append([k.what, words.byte_count(k.nbytes), note, others])
        return found


def _links(edges: Iterable[Edge]) -> tuple[Links, Links]:
    inputs: Links = defaultdict(list)
    consumers: Links = defaultdict(list)
    for edge in edges:
        inputs[edge.target].append((edge.name, edge.source))
        consumers[edge.source].append((edge.name, edge.target))
    return inputs, consumers


def shown(text: str) -> str:
    """Text as it is, the middle of a long one left out."""
    return text if len(text) <= LONG else f"{text[: LONG * 2 // 3]} ... {text[-LONG // 3 :]}"


def number(x: float | None) -> str:
    """Five digits; whole numbers and booleans whole."""
    if x is None:
        return "none"
    return str(x) if isinstance(x, int) else f"{x:.5g}"
