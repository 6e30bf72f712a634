"""Modules drawn as one card each: a graph to a smaller one, which never has a cycle."""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from tinygrad_ce.graph.data import Edge, Graph, GraphNode, Kept

Path = tuple[str, ...]


def collapse(graph: Graph, depth: float, expand: Collection[str] = (), layers: bool = False) -> Graph:
    """The graph with modules that are nested `depth` deep as one node each, of kind "module".

    depth    1 for the outermost modules, 2 for those inside them, ...
    expand   paths of modules that stay open, with those around them
    layers   close modules that have no modules in them too, however shallow they are

    A node stands for one call of a module. It has the id, shape, dtype, numbers and gradient of the tensor that it
    hands on (the last one, if there are several), what its ops keep for the backward pass, and their parameters.
    What would make a cycle (a module whose result comes back into it from outside), and a module that uses one of its
    parameters twice in the same way (it was called twice, or loops), stays open; the modules in it may close.
    """
    calls = _Calls(graph, depth, expand, layers)
    while calls.open_cycles():
        pass
    return _contracted(graph, calls)


class _Sets:
    """Disjoint sets (union-find with path halving)."""

    def __init__(self, items: Iterable[str]) -> None:
        self.parent = {x: x for x in items}

    def of(self, x: str) -> str:
        """The one that stands for the set of x."""
        while self.parent[x] != x:
            self.parent[x] = x = self.parent[self.parent[x]]
        return x

    def join(self, x: str, y: str) -> None:
        self.parent[self.of(y)] = self.of(x)


class _Calls:
    """Which ops go together as one call of a module: connected ones of the same path."""

    def __init__(self, graph: Graph, depth: float, expand: Collection[str], layers: bool) -> None:
        self.graph, self.depth = graph, depth
        self.nodes = {node.id: node for node in graph.nodes}
        self.ops = [node for node in graph.nodes if node.kind == "op"]
        self.links = [(e.source, e.target) for e in graph.edges if self.nodes[e.source].kind == "op"]
        self.parameters: dict[str, set[str]] = defaultdict(set)  # by the op that uses them
        uses: dict[str, Counter[tuple[str, int | None]]] = defaultdict(Counter)
        for edge in graph.edges:
            if self.nodes[edge.source].kind == "parameter":
                self.parameters[edge.target].add(edge.source)
                uses[edge.source][self.nodes[edge.target].op, edge.position] += 1
        self.opened = {self.nodes[id].module for id, times in uses.items() if max(times.values()) > 1}
        for node in graph.nodes:
            asked = [i for i, path in enumerate(node.module, 1) if is_named(path, expand)]
            self.opened.update(node.module[:i] for i in range(1, max(asked, default=0) + 1))
        around = {node.module[:i] for node in graph.nodes for i in range(len(node.module))}
        self.layers = {node.module for node in graph.nodes} - around if layers else set()
        self.too_wide: dict[str, int] = {}  # by op: the length of a path that would make a cycle
        self.paths: dict[str, Path] = {}  # by op: the module that it disappears in; () if none
        self.group: dict[str, str] = {}

    def _path(self, node: GraphNode) -> Path:
        for i in range(1 + self.too_wide.get(node.id, 0), len(node.module) + 1):
            path = node.module[:i]
            if path not in self.opened and (i >= self.depth or path in self.layers):
                return path
        return ()

    def open_cycles(self) -> bool:
        """Group the ops; where groups are on a cycle, open them by one level. False once there is none."""
        detached = set(self.graph.detached)
        self.paths = {node.id: () if node.id in detached else self._path(node) for node in self.ops}
        sets = _Sets(self.paths)
        for source, target in self.links:
            if self.paths[source] and self.paths[source] == self.paths[target]:
                sets.join(source, target)
        self._join_parts(sets)
        self.group = {id: sets.of(id) for id in self.paths}
        links = {(self.group[a], self.group[b]) for a, b in self.links if self.group[a] != self.group[b]}
        cyclic = on_cycles(links)
        for id, group in self.group.items():
            if group in cyclic and self.paths[id]:
                self.too_wide[id] = len(self.paths[id])
        return bool(cyclic)

    def _join_parts(self, sets: _Sets) -> None:
        """Join what follows one another in a module without being connected, as its queries and keys may be.

        It is of one call if each part has parameters of its own; parts with the same ones are calls of their own.
        """
        used: dict[str, set[str]] = defaultdict(set)
        for node in self.ops:
            used[sets.of(node.id)] |= self.parameters[node.id]
        for before, node in zip(self.ops, self.ops[1:], strict=False):
            a, b = sets.of(before.id), sets.of(node.id)
            if a != b and self.paths[before.id] and self.paths[before.id] == self.paths[node.id]:
                mine, theirs = used[a], used[b]
                if mine and theirs and not mine & theirs:
                    sets.join(a, b)
                    used[a] = mine | theirs

    def members(self) -> dict[str, list[str]]:
        """By group: the ids of its nodes, parameters that nothing else uses with them; at least two."""
        users: dict[str, set[str]] = defaultdict(set)
        for edge in self.graph.edges:
            users[edge.source].add(self.group[edge.target])
        found: dict[str, list[str]] = defaultdict(list)
        for node in self.graph.nodes:
            if node.kind == "op":
                found[self.group[node.id]].append(node.id)
            elif node.kind in ("parameter", "constant") and node.id not in self.graph.outputs:
                for group in users[node.id] if len(users[node.id]) == 1 else ():
                    found[group].append(node.id)
        return {group: ids for group, ids in found.items() if len(ids) > 1 and self.paths[group]}


def is_named(path: str, names: Collection[str]) -> bool:
    """Is a module among these? Outside a model, they go by their class: the second is "Linear 2"."""
    return path in names or path.partition(" ")[0] in names


def on_cycles(links: Iterable[tuple[str, str]]) -> set[str]:
    """The nodes of a directed graph that are on some cycle: in a strong component of several (Tarjan 1972)."""
    out: dict[str, list[str]] = defaultdict(list)
    for source, target in sorted(links):
        out[source].append(target)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    place: dict[str, int] = {}  # on the path; gone once the component is complete
    found: set[str] = set()
    for start in list(out):
        stack = [] if start in index else [(start, iter(out[start]))]
        while stack:
            node, targets = stack[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                place[node] = len(path)
                path.append(node)
            for target in targets:
                if target not in index:
                    stack.append((target, iter(out.get(target, ()))))
                    break
                if target in place:
                    low[node] = min(low[node], index[target])
            else:
                stack.pop()
                if stack:
                    above = stack[-1][0]
                    low[above] = min(low[above], low[node])
                if low[node] == index[node]:
                    at = place[node]
                    component = path[at:]
                    del path[at:]
                    for done in component:
                        del place[done]
                    found.update(component if len(component) > 1 else ())
    return found


def _contracted(graph: Graph, calls: _Calls) -> Graph:
    members = calls.members()
    nodes = {node.id: node for node in graph.nodes}
    card_of = {node.id: node.id for node in graph.nodes}
    cards = dict(nodes)
    handed_on = set(graph.outputs) | {a for a, b in calls.links if calls.group[a] != calls.group[b]}
    for group, ids in members.items():
        inside = [nodes[id] for id in ids]
        ops = [node for node in inside if node.kind == "op"]
        exits = [node for node in ops if node.id in handed_on] or ops
        path = calls.paths[group]
        for id in ids:
            cards.pop(id, None)
            card_of[id] = exits[-1].id
        cards[exits[-1].id] = _card(path, graph.modules.get(path[-1], ""), inside, exits)
    edges = _edges(graph.edges, card_of, cards)
    order = {node.id: i for i, node in enumerate(graph.nodes)}
    for ids in members.values():
        order[card_of[ids[0]]] = order[ids[0]]
    return replace(
        graph,
        nodes=tuple(cards[id] for id in _sorted(cards, edges, order)),
        edges=edges,
        outputs=tuple(dict.fromkeys(card_of[id] for id in graph.outputs)),
    )


def _card(path: Path, shown: str, inside: list[GraphNode], exits: list[GraphNode]) -> GraphNode:
    ops = sum(node.kind == "op" for node in inside)
    parameters = sum(math.prod(node.shape) for node in inside if node.kind == "parameter")
    attributes = [("module", shown)] if shown and shown != path[-1] else []
    attributes += [("ops", str(ops))]
    attributes += [("parameters", f"{parameters}")] if parameters else []
    attributes += [("outputs", str(len(exits)))] if len(exits) > 1 else []
    kept: dict[int, Kept] = {}
    for node in inside:
        for k in node.kept:
            kept.setdefault(k.buffer, k)
    return replace(
        exits[-1], kind="module", op="", name=path[-1], attributes=tuple(attributes), module=path[:-1], formula="",
        vjp_formula="", fused=False, kept=tuple(kept.values()), members=tuple(node.id for node in inside),
    )  # fmt: skip


def _edges(edges: Iterable[Edge], card_of: Mapping[str, str], cards: Mapping[str, GraphNode]) -> tuple[Edge, ...]:
    """The edges between cards; a tensor goes once into a module, however often it is used there."""
    found: dict[object, Edge] = {}
    for edge in edges:
        source, target = card_of[edge.source], card_of[edge.target]
        if source == target:
            continue
        if cards[target].kind == "module":
            found.setdefault((edge.source, target), Edge(source, target, None, edge.name))
        else:
            found[edge] = Edge(source, target, edge.position, edge.name)
    return tuple(found.values())


def _sorted(cards: Mapping[str, GraphNode], edges: Iterable[Edge], order: Mapping[str, int]) -> list[str]:
    """Ids, each after everything it was made from, otherwise as they were (Kahn 1962)."""
    out: dict[str, list[str]] = defaultdict(list)
    waits: Counter[str] = Counter()
    for edge in edges:
        out[edge.source].append(edge.target)
        waits[edge.target] += 1
    ready = [(order[id], id) for id in cards if not waits[id]]
    heapq.heapify(ready)
    found = []
    while ready:
        _, id = heapq.heappop(ready)
        found.append(id)
        for target in out[id]:
            waits[target] -= 1
            if not waits[target]:
                heapq.heappush(ready, (order[target], target))
    return found
