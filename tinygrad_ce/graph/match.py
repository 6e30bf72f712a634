"""Which nodes of two graphs are the same: what a picture of both lays side by side."""

from __future__ import annotations

import re
import sys
from bisect import bisect_left
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any

from tinygrad_ce.graph.data import Graph, GraphNode

COMMUTATIVE = frozenset({"add", "mul", "maximum", "minimum"})
_UNNAMED = re.compile(r"x\d+")  # what `capture` calls a leaf that nobody named
_FREE = -1
RANKED = ("op", "module")  # leaves stand beside the op that uses them


def match(a: Graph, b: Graph) -> tuple[tuple[str, str], ...]:
    """Pairs of ids (of a, of b): the nodes that are in both graphs, each at most once, in the order of a.

    Two ops can be the same if they agree in op, attributes, shape, dtype and number of operands; two leaves in kind,
    shape and dtype. Which of them are is found from the surest sign to the weakest: made in the same way from leaves
    of the same names; used in the same way up to the outputs; the same operand, or a user, of nodes that are the same;
    between the same such nodes. Operands of two nodes that are the same are themselves the same where both are in both
    graphs, and so nodes that are wired differently are not; the operands of `add` may be swapped.

    `match(b, a)` has the same pairs, reversed. Time grows about linearly.

    >>> import tinygrad_ce as tg
    >>> from tinygrad_ce import functional as F
    >>> from tinygrad_ce.graph import capture
    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> a, b = capture(F.exp(F.sin(x * 2)).sum()), capture(F.exp(F.cos(x * 2)).sum())
    >>> pairs = match(a, b)
    >>> [node.op for node in a.nodes if node.id not in dict(pairs)]
    ['sin']
    """
    if _wording(a) > _wording(b):  # ties are broken by the first graph: it must not depend on the order of the two
        return tuple(sorted(((v, u) for u, v in match(b, a)), key=_order_of(a)))
    words: dict[Hashable, int] = {}
    pairs = _Matcher(_Side(a, words), _Side(b, words)).run()
    return tuple((a.nodes[u].id, b.nodes[v].id) for u, v in pairs)


def _wording(graph: Graph) -> tuple[Any, ...]:
    nodes = [(node.kind, node.op, node.name, node.attributes, node.shape, node.dtype) for node in graph.nodes]
    edges = [(edge.source, edge.target, edge.name) for edge in graph.edges]
    return len(nodes), nodes, edges, graph.outputs


def _order_of(graph: Graph) -> Any:
    order = {node.id: i for i, node in enumerate(graph.nodes)}
    return lambda pair: order[pair[0]]


class _Side:
    """One of the graphs, its nodes as numbers, with what they are told apart by. `words` is common to both.

    label   what a node is
    made    label and the way it was made, from the names of the leaves on
    used    what was made from it, up to the outputs; swapped operands of a commutative op look the same
    place   the same by position alone, whatever the ops are
    """

    def __init__(self, graph: Graph, words: dict[Hashable, int]) -> None:
        def word(*key: Hashable) -> int:
            return words.setdefault(key, len(words))

        nodes, self.size = graph.nodes, len(graph.nodes)
        index = {node.id: i for i, node in enumerate(nodes)}
        self.operands: list[list[tuple[int, int]]] = [[] for _ in nodes]  # (position, node)
        self.users: list[list[tuple[int, int]]] = [[] for _ in nodes]
        for edge in graph.edges:
            source, target = index[edge.source], index[edge.target]
            position = -1 if edge.position is None else edge.position
            self.operands[target].append((position, source))
            self.users[source].append((position, target))
        for operands in self.operands:
            operands.sort()
        self.swaps = [node.op in COMMUTATIVE and len(self.operands[i]) == 2 for i, node in enumerate(nodes)]
        unnamed = [node.kind != "op" and bool(_UNNAMED.fullmatch(node.name)) for node in nodes]
        self.label = [word(*_label(node, self.operands[i])) for i, node in enumerate(nodes)]

        self.made: list[int] = []
        for i, node in enumerate(nodes):
            name = "" if node.kind == "op" or unnamed[i] else node.name
            self.made.append(word("made", self.label[i], name, *((p, self.made[s]) for p, s in self.operands[i])))
        self.made_of_names = [None if unnamed[i] else made for i, made in enumerate(self.made)]

        ends: list[list[Hashable]] = [[] for _ in nodes]
        for n, output in enumerate(graph.outputs):
            ends[index[output]].append((-2, n, 0))
        self.used, self.place = [0] * self.size, [0] * self.size
        for i in reversed(range(self.size)):
            users = [(0 if self.swaps[t] else p, self.label[t], self.used[t]) for p, t in self.users[i]]
            nowhere = () if ends[i] or users else (i, self)  # which is like no other
            self.used[i] = word("used", *nowhere, *ends[i], *sorted(users))
            self.place[i] = word("place", *ends[i], *sorted((p, self.place[t]) for p, t in self.users[i]))


def _label(node: GraphNode, operands: Sequence[tuple[int, int]]) -> tuple[Hashable, ...]:
    if node.kind != "op":
        return node.kind, node.shape, node.dtype
    return node.kind, node.op, node.attributes, node.shape, node.dtype, tuple(position for position, _ in operands)


class _Matcher:
    def __init__(self, a: _Side, b: _Side) -> None:
        self.a, self.b = a, b
        self.in_b, self.in_a = [_FREE] * a.size, [_FREE] * b.size
        self.refused: set[tuple[int, int]] = set()  # once refused is refused for good: pairs are never undone
        self.new: deque[tuple[int, int]] = deque()  # pairs whose operands were not looked at yet
        self.later: deque[tuple[int, int]] = deque()  # whose users were not

    def run(self) -> list[tuple[int, int]]:
        a, b = self.a, self.b
        self.by_key(_pairs(a.made, a.used), _pairs(b.made, b.used))
        self.by_key(a.made_of_names, b.made_of_names)
        self.by_key(_pairs(a.label, a.used), _pairs(b.label, b.used), backwards=True)
        while True:
            self.spread()
            self.by_key(_gaps(a, self.in_b), _gaps(b, self.in_a))
            if not self.new:
                return [(u, v) for u, v in enumerate(self.in_b) if v != _FREE]

    def by_key(self, of_a: Sequence[Hashable], of_b: Sequence[Hashable], backwards: bool = False) -> None:
        """Pair nodes whose keys are equal: first those at the same place, then in order."""
        step = -1 if backwards else 1
        for places in (True, False):
            waiting: dict[Hashable, deque[int]] = {}
            for v in range(self.b.size)[::step]:
                if self.in_a[v] == _FREE and of_b[v] is not None:
                    waiting.setdefault((of_b[v], places and self.b.place[v]), deque()).append(v)
            for u in range(self.a.size)[::step]:
                candidates = waiting.get((of_a[u], places and self.a.place[u]))
                if candidates and self.in_b[u] == _FREE:
                    self.pair(u, candidates.popleft())

    def spread(self) -> None:
        """From pairs to their operands, and then to their users, until there is nothing to be found."""
        while self.new or self.later:
            if self.new:
                u, v = self.new.popleft()
                self.later.append((u, v))
                self.pair_operands(u, v)
            else:
                self.pair_users(*self.later.popleft())

    def pair_operands(self, u: int, v: int) -> None:
        xs, ys = self.a.operands[u], self.b.operands[v]
        for ordered in (ys, ys[::-1]) if self.a.swaps[u] else (ys,):
            for (_, x), (_, y) in zip(xs, ordered, strict=True):
                self.pair(x, y)

    def pair_users(self, u: int, v: int) -> None:
        """Users of the same label at the same position: first those at the same place, then in order."""
        for places in (True, False):
            waiting: dict[Hashable, deque[int]] = {}
            for p, t in self.b.users[v]:
                if self.in_a[t] == _FREE:
                    key = 0 if self.b.swaps[t] else p, self.b.label[t], places and self.b.place[t]
                    waiting.setdefault(key, deque()).append(t)
            for p, s in self.a.users[u] if waiting else ():
                candidates = waiting.get((0 if self.a.swaps[s] else p, self.a.label[s], places and self.a.place[s]))
                if candidates and self.in_b[s] == _FREE:
                    self.pair(s, candidates.popleft())

    def pair(self, u: int, v: int) -> None:
        """Take two nodes for the same, unless they cannot be."""
        if self.in_b[u] != _FREE or self.in_a[v] != _FREE or self.a.label[u] != self.b.label[v]:
            return
        if (u, v) in self.refused:
            return
        self.in_b[u], self.in_a[v] = v, u
        users = {(s, self.in_b[s]) for _, s in self.a.users[u] if self.in_b[s] != _FREE}
        users |= {(self.in_a[t], t) for _, t in self.b.users[v] if self.in_a[t] != _FREE}
        if self.agree(u, v) and all(self.agree(s, t) for s, t in users):
            self.new.append((u, v))
        else:
            self.in_b[u] = self.in_a[v] = _FREE
            self.refused.add((u, v))

    def agree(self, u: int, v: int) -> bool:
        """Are the operands that both graphs have the same ones?"""
        xs, ys = self.a.operands[u], self.b.operands[v]
        ways = (ys, ys[::-1]) if self.a.swaps[u] else (ys,)
        return any(not any(self.clash(x, y) for (_, x), (_, y) in zip(xs, way, strict=True)) for way in ways)

    def clash(self, x: int, y: int) -> bool:
        return self.in_b[x] != y and self.in_b[x] != _FREE and self.in_a[y] != _FREE


def _pairs(keys: Sequence[int], others: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(keys, others, strict=True))


def _gaps(side: _Side, other: Sequence[int]) -> list[Hashable]:
    first, last = -1, sys.maxsize
    before, after = [first] * side.size, [last] * side.size
    # a pair goes by the sum of its two numbers, which is the same from both sides
    for i in range(side.size):
        before[i] = max((before[s] if other[s] == _FREE else s + other[s] for _, s in side.operands[i]), default=first)
    for i in reversed(range(side.size)):
        after[i] = min((after[t] if other[t] == _FREE else t + other[t] for _, t in side.users[i]), default=last)
    return [
        None if before[i] == first and after[i] == last else (side.label[i], before[i], after[i])
        for i in range(side.size)
    ]


def aligned(graphs: tuple[Graph, Graph], pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs of ops that can have the same rank: as many as there are in the same order in both graphs.

    With any more of them the ranks would go round in a circle. (A longest increasing subsequence, Fredman 1975.)
    """
    in_a, in_b = ({node.id: i for i, node in enumerate(graph.nodes) if node.kind in RANKED} for graph in graphs)
    ordered = sorted((in_a[u], in_b[v]) for u, v in pairs if u in in_a and v in in_b)
    ends: list[int] = []  # of a subsequence of each length, the one that ends earliest in b: its end there
    last: list[int] = []  # and the place of that in `ordered`
    before: list[int] = []
    for i, (_, j) in enumerate(ordered):
        length = bisect_left(ends, j)
        before.append(last[length - 1] if length else -1)
        ends[length : length + 1] = [j]
        last[length : length + 1] = [i]
    found = []
    at = last[-1] if last else -1
    while at >= 0:
        found.append(ordered[at])
        at = before[at]
    return [(graphs[0].nodes[i].id, graphs[1].nodes[j].id) for i, j in reversed(found)]
