"""Repeated siblings drawn once: a chain of twenty equal blocks as one block, "20 times"."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.graph.data import Edge, Gradient, Graph, GraphNode, Kept

LONGEST = 128  # nodes in a pattern
FEWEST = 3  # repetitions worth a box

Ints = NDArray[np.intp]


@dataclass(frozen=True)
class GradientRange(Gradient):
    """The smallest of the gradients of repeated nodes, and the largest; one that is not finite is the largest."""

    largest: Gradient = field(kw_only=True)


class Run(NamedTuple):
    """Equal blocks of ops, one after the other: from `start` on, `times` blocks of `period` ops."""

    start: int
    period: int
    times: int


def fold_repeats(graph: Graph) -> Graph:
    """The graph with patterns of ops and modules that repeat along a chain drawn once, in a box "20 times".

    Blocks are equal if their ops, attributes, shapes, dtypes and links are: each takes from itself, from the block
    before it, and from what all of them take from. What goes into the first goes into the one that is drawn, what
    leaves the last leaves it. Its nodes have the ids of the last block, and a `GradientRange`.
    """
    chain = _Chain(graph)
    runs = sorted(_chosen(chain))
    return _folded(graph, chain, runs) if runs else graph


class _Chain:
    """The ops and modules of a graph in order, as arrays: what each is, and where its operands come from."""

    def __init__(self, graph: Graph) -> None:
        self.nodes = [node for node in graph.nodes if node.kind in ("op", "module")]
        self.at = {node.id: i for i, node in enumerate(self.nodes)}
        self.leaves = [node for node in graph.nodes if node.id not in self.at]
        leaf_at = {node.id: i for i, node in enumerate(self.leaves)}
        edges = sorted(graph.edges, key=lambda edge: self.at[edge.target])
        self.edges = edges
        n = len(self.nodes)
        self.target = np.array([self.at[edge.target] for edge in edges], np.intp)
        self.first_edge = np.searchsorted(self.target, np.arange(n + 1))
        # the source of each edge: an op by its place, a leaf by -1, -2, ...
        self.source = np.array([self.at.get(e.source, -1 - leaf_at.get(e.source, 0)) for e in edges], np.intp)
        self.first_use = np.full(len(self.leaves) + 1, n, np.intp)
        self.last_use = np.full(len(self.leaves) + 1, -1, np.intp)
        self.last_consumer = np.full(n, -1, np.intp)
        of_leaf = self.source < 0
        np.maximum.at(self.last_consumer, self.source[~of_leaf], self.target[~of_leaf])
        np.minimum.at(self.first_use, -1 - self.source[of_leaf], self.target[of_leaf])
        np.maximum.at(self.last_use, -1 - self.source[of_leaf], self.target[of_leaf])
        self.cards = Counter(node.module[:i] for node in graph.nodes for i in range(len(node.module) + 1))
        self.kind = self._kinds(graph)

    def around(self, node: GraphNode) -> tuple[str, ...]:
        """The modules that a node has a sibling in."""
        return next((path for path in _prefixes(node.module) if self.cards[path] > 1), ())

    def _kinds(self, graph: Graph) -> Ints:
        """A number for each op: the same for those that are alike, links apart."""
        outputs = set(graph.outputs)
        by_id = {node.id: node for node in graph.nodes}
        consumers: dict[str, list[int]] = defaultdict(list)
        operands: dict[str, list[Any]] = defaultdict(list)
        for edge in self.edges:
            consumers[edge.source].append(self.at[edge.target] - self.at.get(edge.source, 0))
            source = by_id[edge.source]
            operands[edge.target].append((edge.position, edge.name, edge.source in self.at or _likeness(source)))
        numbers: dict[Any, int] = {}
        found = []
        for node in self.nodes:
            same: Any = (_likeness(node), self.around(node), tuple(operands[node.id]), tuple(consumers[node.id]))
            found.append(numbers.setdefault(node.id if node.id in outputs else same, len(numbers)))
        return np.array(found, np.intp)

    def runs(self, period: int) -> Iterator[tuple[int, int]]:
        """Where the chain repeats itself after so many ops: (start, stop)."""
        n = len(self.nodes)
        same = self.kind[period:] == self.kind[:-period]
        edges = np.flatnonzero(np.concatenate([np.zeros(period, bool), same])[self.target])
        if edges.size:
            target = self.target[edges]
            earlier = edges - self.first_edge[target] + self.first_edge[target - period]
            same[np.unique(target[~self._linked_alike(edges, earlier, period)]) - period] = False
        steps = np.diff(np.concatenate([[0], same.view(np.int8), [0]]))
        for a, b in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True):
            if b - a >= period * (FEWEST - 1):
                yield int(a), min(int(b) + period, n)

    def _linked_alike(self, edges: Ints, earlier: Ints, period: int) -> NDArray[np.bool_]:
        """Do two edges come from the same source, or from sources that correspond?"""
        a, b = self.source[edges], self.source[earlier]
        leaf_a, leaf_b = np.where(a < 0, -1 - a, -1), np.where(b < 0, -1 - b, -1)
        ops = (a >= 0) & (b >= 0) & (a - b == period)
        own = (a < 0) & (b < 0)
        for use in (self.first_use, self.last_use):
            own &= use[leaf_a] - use[leaf_b] == period
        same: NDArray[np.bool_] = (a == b) | ops | own
        return same

    def is_steady(self, start: int, stop: int, period: int) -> bool:
        """Is what all blocks of a run take from the same for all of them?"""
        edges = np.arange(self.first_edge[start + period], self.first_edge[stop])
        target = self.target[edges]
        shared = self.source[edges] == self.source[edges - self.first_edge[target] + self.first_edge[target - period]]
        by_place: dict[tuple[int, int], bool] = {}
        for t, slot, is_shared in zip(target, edges - self.first_edge[target], shared, strict=True):
            place = (int(t) - start) % period, int(slot)
            if by_place.setdefault(place, bool(is_shared)) != is_shared:
                return False
        return True


def _likeness(node: GraphNode) -> Any:
    """What equal nodes have in common: everything but names, places and numbers."""
    no_gradient = node.gradient and node.gradient.rms is None
    return node.kind, node.op, node.attributes, node.shape, node.dtype, node.fused, no_gradient


def _prefixes(path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (path[:i] for i in range(len(path), -1, -1))


def _chosen(chain: _Chain) -> list[Run]:
    """Runs that do not overlap, those that save most cards first."""
    found = []
    for period in range(1, min(LONGEST, len(chain.nodes) // FEWEST) + 1):
        for start, stop in chain.runs(period):
            found.append((-(stop - start - period), period, start, stop))
    taken = np.zeros(len(chain.nodes), bool)
    chosen: list[Run] = []
    for _, period, start, stop in sorted(found):
        free = ~taken[start:stop]
        bounds = np.flatnonzero(np.diff(np.concatenate([[0], free.view(np.int8), [0]])))
        for a, b in zip(bounds[::2], bounds[1::2], strict=True):
            run = _best_phase(chain, start + int(a), start + int(b), period)
            if run:
                taken[run.start : run.start + run.period * run.times] = True
                chosen.append(run)
    return chosen


def _best_phase(chain: _Chain, start: int, stop: int, period: int) -> Run | None:
    """Where to cut a run into blocks: where fewest tensors cross, and a block begins with parameters of its own."""
    if stop - start < FEWEST * period or not chain.is_steady(start, stop, period):
        return None
    best: tuple[tuple[int, ...], Run] | None = None
    for first in range(start, min(start + period, stop)):
        times = (stop - first) // period
        if times < FEWEST:
            break
        crossing = _crossing(chain, first + period, period)
        if crossing is None:
            continue
        node = chain.nodes[first + period]
        edges = slice(chain.first_edge[first + period], chain.first_edge[first + period + 1])
        plain = node.kind != "module" and not (chain.source[edges] < 0).any()
        rank = (crossing, plain, -times, first)
        if best is None or rank < best[0]:
            best = rank, Run(first, period, times)
    return best and best[1]


def _crossing(chain: _Chain, first: int, period: int) -> int | None:
    """How many tensors come into the block at `first` from the one before it.

    None if none does, or if it is linked to other blocks than the one before and the one after.
    """
    if (chain.last_consumer[first : first + period] >= first + 2 * period).any():
        return None
    before: set[int] = set()
    for e in range(chain.first_edge[first], chain.first_edge[first + period]):
        source, target = int(chain.source[e]), int(chain.target[e])
        twin = int(chain.source[e - chain.first_edge[target] + chain.first_edge[target - period]])
        if source == twin:
            continue  # what all blocks take from
        if source < 0:
            if chain.first_use[-1 - source] < first or chain.last_use[-1 - source] >= first + period:
                return None
        elif source < first - period:
            return None
        elif source < first:
            before.add(source)
    return len(before) or None


def _folded(graph: Graph, chain: _Chain, runs: Sequence[Run]) -> Graph:
    drawn: dict[str, str] = {}  # for what is repeated: the id that it is drawn by
    dropped: set[int] = set()  # edges between blocks
    boxes: dict[str, tuple[str, ...]] = {}
    modules = dict(graph.modules)
    for run in runs:
        blocks = _Blocks(chain, run)
        box = blocks.title(modules)
        modules[box] = box
        dropped |= blocks.inner
        for group in blocks.groups:
            drawn.update(dict.fromkeys(group, group[-1]))
            boxes[group[-1]] = (*blocks.around, box)
    alike: dict[str, list[GraphNode]] = defaultdict(list)
    for node in graph.nodes:
        alike[drawn.get(node.id, node.id)].append(node)
    nodes = [
        _repeated(alike[node.id], boxes[node.id]) if node.id in boxes else node
        for node in graph.nodes
        if drawn.get(node.id, node.id) == node.id
    ]
    edges: dict[Edge, None] = {}
    for i, edge in enumerate(chain.edges):
        if i not in dropped:
            source, target = drawn.get(edge.source, edge.source), drawn.get(edge.target, edge.target)
            edges[replace(edge, source=source, target=target)] = None
    detached = dict.fromkeys(drawn.get(id, id) for id in graph.detached)
    return replace(graph, nodes=tuple(nodes), edges=tuple(edges), modules=modules, detached=tuple(detached))


class _Blocks:
    """The nodes of a run, by their place in the block, with the leaves that only they use."""

    def __init__(self, chain: _Chain, run: Run) -> None:
        start, period, times = run
        stop = start + period * times
        self.times = times
        first = chain.nodes[start]
        self.around = chain.around(first)
        places = [range(start + r, stop, period) for r in range(period)]
        self.groups = [[chain.nodes[i].id for i in place] for place in places]
        modules = [node.name for node in chain.nodes[start:stop] if node.kind == "module"]
        ids = [self.groups[0][0], self.groups[-1][-1]]
        self.ends = [modules[0], modules[-1]] if modules else ids
        self.inner: set[int] = set()
        for e in range(chain.first_edge[start + period], chain.first_edge[stop]):
            source, target = int(chain.source[e]), int(chain.target[e])
            block = start + (target - start) // period * period
            if start <= source < block:
                self.inner.add(e)
        own: dict[int, None] = {}
        for e in range(chain.first_edge[start], chain.first_edge[start + period]):
            leaf = -1 - int(chain.source[e])
            if leaf >= 0 and chain.last_use[leaf] < start + period and chain.first_use[leaf] >= start:
                own[e] = None
        grouped: set[str] = set()
        for e in own:
            target = int(chain.target[e])
            slot = e - chain.first_edge[target]
            group = [chain.edges[chain.first_edge[t] + slot].source for t in range(target, stop, period)]
            if group[-1] not in grouped:
                grouped.add(group[-1])
                self.groups.append(group)

    def title(self, taken: Mapping[str, str]) -> str:
        """22 times: layers.1 to layers.43"""
        title = f"{self.times} times: {self.ends[0]} to {self.ends[1]}"
        return title if title not in taken else f"{title} ({len(taken)})"


def _repeated(nodes: Sequence[GraphNode], module: tuple[str, ...]) -> GraphNode:
    """The last of several equal nodes, standing for all of them."""
    kept: dict[int, Kept] = {k.buffer: k for node in reversed(nodes) for k in node.kept}
    return replace(
        nodes[-1],
        name=nodes[0].name if nodes[0].name == nodes[-1].name else f"{nodes[0].name} to {nodes[-1].name}",
        summary=None,
        gradient=_range([node.gradient for node in nodes if node.gradient]),
        kept=tuple(kept.values()),
        members=tuple(id for node in nodes for id in (node.members or (node.id,))),
        module=module,
        count=len(nodes),
    )


def _range(gradients: Sequence[Gradient]) -> Gradient | None:
    if not gradients or gradients[0].rms is None:
        return gradients[0] if gradients else None
    ordered = sorted(gradients, key=lambda g: (not np.isfinite(g.rms or 0), g.rms))
    low, high = ordered[0], ordered[-1]
    return GradientRange(low.rms, low.max_abs, low.summary, largest=high)
