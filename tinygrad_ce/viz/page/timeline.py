"""What happens when: the forward pass op by op, then the backward pass as it was recorded."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from tinygrad_ce.graph import Gradient, GraphNode
from tinygrad_ce.graph.match import aligned, match
from tinygrad_ce.graph.repeats import GradientRange
from tinygrad_ce.viz import colors, words
from tinygrad_ce.viz.drawing import Side

Frame = dict[str, Any]
"""What changes on one side in one tick, for JSON:

say    words: where we are ("backward 3 of 7"), what runs, its formula, what came of it
card   whose turn it is
lit    cards that something happens to in the forward pass
edges  that something flows along
chips  gradients that arrive: [card, text, ground, border, ink, "1 of 2"]; [card] alone is the chip as it was drawn
"""

Pass = list[tuple[str, Frame]]  # with the id of the node whose turn it is
Pairs = Sequence[tuple[str, str]]


def ticks(sides: Sequence[Side]) -> tuple[list[list[Frame | None]], int | None]:
    """A frame, or None to wait, for each side at each tick; and the tick the backward pass begins with, from 1.

    Two sides go forward together and backward together: what is the same in both happens at the same time, and where
    only one of them has anything to do, the other one waits.
    """
    stories = [_Story(side) for side in sides]
    forward = [list(story.forward()) for story in stories]
    backward = [list(story.backward()) for story in stories]
    end: list[Frame | None] = [story.end() for story in stories]
    same = _same(sides)
    shown = _together(backward, [(_SEED, _SEED), *reversed(same)])
    return [*_together(forward, same), *shown, end], len(_together(forward, same)) + 1 if shown else None


_SEED = "seed"


def _same(sides: Sequence[Side]) -> Pairs:
    """Ops of two sides that are the same, as many as come in the same order on both."""
    if len(sides) == 1:
        return []
    graphs = sides[0].full, sides[1].full
    return aligned(graphs, match(*graphs))


def _together(passes: Sequence[Pass], same: Pairs) -> list[list[Frame | None]]:
    """The frames of one pass side by side."""
    if len(passes) == 1:
        return [[frame] for _, frame in passes[0]]
    places = [{id: i for i, (id, _) in enumerate(entries)} for entries in passes]
    found: list[tuple[tuple[str, Frame] | None, ...]] = []
    at = [0, 0]
    for pair in same:
        there = [places[i].get(id, -1) for i, id in enumerate(pair)]
        if all(i >= start for i, start in zip(there, at, strict=True)):
            before = (entries[start:i] for entries, start, i in zip(passes, at, there, strict=True))
            found += [*zip_longest(*before), tuple(entries[i] for entries, i in zip(passes, there, strict=True))]
            at = [i + 1 for i in there]
    found += zip_longest(*(entries[start:] for entries, start in zip(passes, at, strict=True)))
    return [[entry and entry[1] for entry in row] for row in found]


class _Story:
    """The frames of one graph."""

    def __init__(self, side: Side) -> None:
        self.prefix, self.full = side.prefix, side.full
        self.nodes = {node.id: node for node in side.full.nodes}
        self.called = {node.id: called(node) for node in side.full.nodes}
        self.cards = card_of(side)
        self.ops = [node for node in side.full.nodes if node.kind in ("op", "module")]
        self.operands: dict[str, list[tuple[str, int | None]]] = defaultdict(list)
        for edge in side.full.edges:
            self.operands[edge.target].append((edge.source, edge.position))
        self.drawn_edges: dict[tuple[str, str], list[tuple[str, int | None]]] = defaultdict(list)
        for i, edge in enumerate(side.drawn.edges):
            self.drawn_edges[edge.source, edge.target].append((f"{side.prefix}e{i}", edge.position))
        self.due: Counter[str] = Counter()  # by card: how many of its nodes get a gradient
        self.complete: Counter[str] = Counter()  # how many have all of it

    def forward(self) -> Iterator[tuple[str, Frame]]:
        """Op by op; a leaf lights with the op that uses it first, one that no op uses with the last op."""
        seen: set[str] = set()
        for i, op in enumerate(self.ops, 1):
            sources = list(dict.fromkeys(source for source, _ in self.operands[op.id]))
            lit = [*(s for s in sources if s not in seen), op.id]
            seen.update(lit)
            if i == len(self.ops):
                lit += [id for id in self.nodes if id not in seen]
            edges = [e for source, position in self.operands[op.id] for e in self.edge_ids(source, op.id, position)]
            say = [f"forward {i} of {len(self.ops)}", self.called[op.id], op.formula, self.made(op, sources)]
            yield op.id, self.frame(say, op.id, lit=self.card_ids(lit), edges=edges)
        if not self.ops:
            say = ["forward", "there is no op: a leaf is its own result"]
            yield "", self.frame(say, "", lit=self.card_ids(self.nodes))

    def made(self, op: GraphNode, sources: Sequence[str]) -> str:
        made = f"makes {words.tensor_type(op)}"
        return f"reads {', '.join(self.called[s] for s in sources)}; {made}" if sources else made

    def backward(self) -> Iterator[tuple[str, Frame]]:
        """The seed, then each rule in the order in which it ran."""
        seeds = seeded(self.full)
        if not seeds:
            return
        steps = self.full.steps
        expected = Counter(passed.source for step in steps for passed in step.passed) + Counter(seeds)
        arrived = Counter(seeds)
        ran = {step.node for step in steps}
        self.due.update(self.cards[id].id for id in ran | expected.keys())
        chips = [self.chip(id, Gradient(1.0, 1.0), _part(1, expected[id])) for id in seeds]
        names = " and of ".join(self.called[id] for id in seeds)
        say = ["backward", "seed", "", f"the gradient of {names} with respect to itself is 1"]
        yield _SEED, self.frame(say, seeds[-1], chips=chips)
        for i, step in enumerate(steps, 1):
            node = self.nodes[step.node]
            self.complete[self.cards[node.id].id] += 1
            chips, edges, sent = [self.chip(node.id, node.gradient, "")], [], []
            for passed in step.passed:
                arrived[passed.source] += 1
                count, of = arrived[passed.source], expected[passed.source]
                self.complete[self.cards[passed.source].id] += count == of and passed.source not in ran
                chips.append(self.chip(passed.source, passed.total, _part(count, of)))
                edges += self.edge_ids(passed.source, node.id, passed.position)
                text = f"{gradient(passed.gradient)} to {self.called[passed.source]}"
                so_far = f", {'in all' if count == of else 'so far'} {gradient(passed.total)}" if count > 1 else ""
                sent.append(f"{text} ({count} of {of}{so_far})" if of > 1 else text)
            say = [
                f"backward {i} of {len(steps)}", f"rule of {self.called[node.id]}", node.vjp_formula,
                f"sends {', '.join(sent)}" if sent else "sends nothing",
            ]  # fmt: skip
            yield node.id, self.frame(say, node.id, edges=edges, chips=chips)

    def end(self) -> Frame:
        """Everything as in the static picture."""
        done = [f"{_count(len(self.ops), 'op')} forward"]
        done += [f"{_count(len(self.full.steps), 'rule')} backward"] if self.full.steps else []
        return self.frame(["complete", ", ".join(done)], "")

    def frame(self, say: list[str], node: str, **changes: list[Any]) -> Frame:
        found: Frame = {"say": say, **{key: [x for x in items if x] for key, items in changes.items()}}
        return found | ({"card": self.prefix + self.cards[node].id} if node else {})

    def card_ids(self, ids: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(self.prefix + self.cards[id].id for id in ids))

    def edge_ids(self, source: str, target: str, position: int | None) -> list[str]:
        """The edges drawn for this operand: one, or those between the cards that the two are folded into."""
        found = self.drawn_edges[self.cards[source].id, self.cards[target].id]
        return [id for id, at in found if at == position] or [id for id, _ in found]

    def chip(self, id: str, total: Gradient | None, part: str) -> list[str]:
        """What the card shows once this much of the gradient of a node has arrived.

        A card that is repeated shows one gradient after the other, and then the range of them all.
        """
        card = self.cards[id]
        drawn, shown = [self.prefix + card.id], look(total)
        if isinstance(card.gradient, GradientRange):
            part = part or _part(self.complete[card.id], self.due[card.id])
            return drawn if not part else [*drawn, *shown, part] if card.kind != "module" else []
        if not self.is_shown(id):
            return []
        return [*drawn, *shown, part] if part or shown != look(card.gradient) else drawn

    def is_shown(self, id: str) -> bool:
        """Is it the gradient of this node that its card shows?"""
        card = self.cards[id]
        return card.gradient is not None and card.gradient is self.nodes[id].gradient


def card_of(side: Side) -> Mapping[str, GraphNode]:
    """By node: the card that it is drawn as, or folded into."""
    return {id: card for card in side.drawn.nodes for id in (card.id, *card.members)}


def seeded(graph: Any) -> list[str]:
    """The outputs that the recorded backward pass began with."""
    if not graph.steps:
        return []
    reached = {step.node for step in graph.steps}
    reached |= {passed.source for step in graph.steps for passed in step.passed}
    known = {node.id: node.gradient for node in graph.nodes}
    return [id for id in graph.outputs if id in reached or ((g := known[id]) is not None and g.rms is not None)]


def look(found: Gradient | None) -> list[str]:
    """The text and the colours of a chip, as on the card: ground, border, ink."""
    if found is None:
        return []
    ground = border = colors.NOT_FINITE
    if found.rms is None or math.isfinite(found.rms):
        ground = colors.of_gradient(found.rms) if found.rms else colors.CHIP
        border = ground if found.rms else colors.SECONDARY
    return [gradient(found), ground, border, colors.ink_on(ground)]


def gradient(found: Gradient) -> str:
    """As on a chip: g 3.1e-02."""
    text = words.gradient_text(found)
    return text if found.rms is None else f"g {text}"


def called(node: GraphNode) -> str:
    """What a node is called in a sentence: matmul in fc1."""
    path = words.ascii_text(node.module[-1]) if node.op and node.module else ""
    return f"{label(node)} in {path}" if path else label(node)


def label(node: GraphNode) -> str:
    """Name of a leaf, op and name of what an op made."""
    name = words.ascii_text(node.name)
    if not node.op:
        return name
    return f"{words.ascii_text(node.op)} ({name})" if name else words.ascii_text(node.op)


def _part(arrived: int, expected: int) -> str:
    return f"{arrived} of {expected}" if arrived < expected else ""


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
