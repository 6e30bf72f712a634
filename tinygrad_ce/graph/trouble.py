"""What is wrong with a graph's numbers: dead units, vanishing and exploding gradients, nan, lost tensors."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tinygrad_ce.graph.data import Gradient, Graph, GraphNode, Trouble

# Fresh MLPs of 2 to 8 layers on the digits (relu and tanh, 16 to 100 wide, batches of 8 and 64) have ratios from 6e-4
# to 3 and up to 81 % of their units at rest. Six layers of sigmoid have 8e-5 and less, as eight of gelu may have;
# weights ten times too large have 400 in six layers.
VANISHING = 1e-4  # of the gradient nearest the loss
EXPLODING = 1e2
DEAD = 0.9  # of the units of a layer
_FEW = 8  # elements: fewer may all be 0 by chance
_NAMED = 4  # nodes that a line names


def troubles(graph: Graph) -> tuple[Trouble, ...]:
    """Everything that is wrong with the numbers of a graph, as far as they are known.

    nan, inf                  where values, or gradients on their way back, cease to be finite: what they were made
                              from still was. What follows from that is marked, and counted. Infinities that were put
                              in, as in a mask, are taken as meant until they make a nan; so are those that come of
                              numbers which are not known
    dead units                units of a relu are 0 in every row: at least `DEAD` of them, or fewer that lie so far
                              below the others (`summary.SUNK`) that they will hardly wake again
    vanishing, exploding      the RMS of a parameter's gradient is exactly 0 while others are not; or it is less than
                              `VANISHING`, or more than `EXPLODING`, times that of the one nearest the loss. Weights
                              are compared with weights, biases with biases; without biases, the outputs of layers
                              with each other. The scale of the loss does not matter
    detached                  a parameter or input that takes a gradient, but that the outputs were not made from

    Each is a `Trouble` of its own, to be marked; several of one cause are told by the `text` of the first.

    >>> import numpy as np, tinygrad_ce as tg
    >>> from tinygrad_ce.graph import capture
    >>> x = tg.Tensor([-1.0, 4.0], requires_grad=True, name="x")
    >>> with np.errstate(invalid="ignore"):
    ...     y = np.sqrt(x) * 2
    >>> for trouble in troubles(capture(y)):
    ...     print(trouble.node, trouble.word, "|", trouble.text)
    n1 nan | nan: sqrt n1 makes 1 of 2 elements nan, from finite x; and 1 after it
    n2 nan |
    """
    links = _Links(graph)
    return (*_values(links), *_gradients(links), *_dead(links), *_sizes(links), *_detached(graph))


def card_words(graph: Graph, found: Iterable[Trouble]) -> dict[str, list[str]]:
    """By card of a graph that may be folded: the words on it, of everything that it stands for."""
    card_of = {member: node.id for node in graph.nodes for member in node.members}
    words: dict[str, dict[str, None]] = defaultdict(dict)
    for trouble in found:
        words[card_of.get(trouble.node, trouble.node)][trouble.word] = None
    return {id: list(on_card) for id, on_card in words.items()}


class _Links:
    """The nodes around each node."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.operands: dict[str, list[GraphNode]] = defaultdict(list)
        self.consumers: dict[str, list[GraphNode]] = defaultdict(list)
        nodes = {node.id: node for node in graph.nodes}
        for edge in graph.edges:
            self.operands[edge.target].append(nodes[edge.source])
            self.consumers[edge.source].append(nodes[edge.target])


def _values(links: _Links) -> Iterator[Trouble]:
    meant: set[str] = set()
    origin: dict[str, GraphNode] = {}  # of each node that is not finite
    for node in links.graph.nodes:
        s, operands = node.summary, links.operands[node.id]
        if s is None or not (s.nan or s.infinite):
            continue
        first = next((origin[x.id] for x in operands if x.id in origin), None)
        put_in = node.kind in ("constant", "input") or any("inf" in text for _, text in node.attributes)
        maybe = any(x.id in meant or x.summary is None for x in operands)
        if not s.nan and first is None and (put_in or maybe):
            meant.add(node.id)
        else:
            origin[node.id] = first or node

    def told(node: GraphNode) -> str:
        s = node.summary
        assert s is not None
        count = f"{s.nan} of {s.size} elements nan" if s.nan else f"{s.infinite} of {s.size} elements infinite"
        if node.kind != "op":
            return f"{_called(node)} holds {count}"
        operands = [x for x in links.operands[node.id] if x.kind != "target"]
        masks = [_called(x) for x in operands if x.id in meant]
        if not masks and any(x.summary is None for x in operands):
            return f"{_called(node)} makes {count}"
        source = f"the infinities of {_listed(masks)}" if masks else f"finite {_listed(map(_called, operands))}"
        return f"{_called(node)} makes {count}, from {source}"

    more = _followers(origin, "after")
    for node in links.graph.nodes:
        if node.id in origin:
            word = "nan" if node.summary and node.summary.nan else "inf"
            yield Trouble(node.id, word, f"{word}: {told(node)}{more[node.id]}" if node.id in more else "")


def _gradients(links: _Links) -> Iterator[Trouble]:
    origin: dict[str, GraphNode] = {}
    backwards = links.graph.nodes[::-1]
    for node in backwards:
        if node.gradient is not None and not _is_finite(node.gradient):
            after = links.consumers[node.id]
            known = all(x.gradient is not None for x in after)
            first = next((origin[x.id] for x in after if x.id in origin), None)
            if first is None and not known:  # of leaves alone: the one nearest the loss stands for all
                first = next(iter(origin.values()), None)
            origin[node.id] = first or node
    more = _followers(origin, "before")
    for node in backwards:
        if node.id in origin:
            assert node.gradient is not None
            word = f"{'nan' if math.isnan(node.gradient.rms or 0) else 'inf'} gradient"
            rules = [_called(x) for x in links.consumers[node.id] if x.gradient is not None]
            told = f"{_called(node)}, by the rule of {_listed(rules)}" if rules else _called(node)
            yield Trouble(node.id, word, f"{word}: of {told}{more[node.id]}" if node.id in more else "")


def _followers(origin: Mapping[str, GraphNode], where: str) -> dict[str, str]:
    """By origin: how many it is the origin of besides itself, in words."""
    counts = Counter(first.id for first in origin.values())
    return {id: f"; and {n - 1} {where} it" if n > 1 else "" for id, n in counts.items()}


def _dead(links: _Links) -> Iterator[Trouble]:
    for node in links.graph.nodes:
        s = node.summary
        if not (s and s.dead and _rests_at_zero(node)):
            continue
        sunk = max((x.summary.sunk for x in links.operands[node.id] if x.summary), default=0)
        if s.dead >= DEAD * s.units and s.size >= _FEW:
            count = f"all {s.units}" if s.dead == s.units else f"{s.dead} of {s.units}"
            yield Trouble(node.id, "dead units", f"dead units: {_called(node)}: {count} are 0 in every row")
        elif sunk:
            told = f"{sunk} of {s.units} are 0 in every row and far from anything else"
            yield Trouble(node.id, "dead units", f"dead units: {_called(node)}: {told}")


def _rests_at_zero(node: GraphNode) -> bool:
    """Is this an activation that gives exactly 0 for all that is small?"""
    return node.op == "relu" or (node.op == "maximum" and {"0"} & {value for _, value in node.attributes} != set())


def _sizes(links: _Links) -> Iterator[Trouble]:
    parameters = [node for node in links.graph.nodes if node.kind == "parameter" and node.shape]
    weights = [node for node in parameters if len(node.shape) > 1]
    biases = [node for node in parameters if len(node.shape) == 1]
    fed = {x.id for node in weights for x in links.consumers[node.id]}
    layers = [node for node in links.graph.nodes if node.id in fed]
    alike = [_known(weights), _known(biases) or _known(layers)]
    if not all(_is_finite(g) for _, g in itertools.chain(*alike)):
        return
    some = any(g.rms for _, g in itertools.chain(*alike))
    zero = [node for known in alike for node, g in known if some and not g.rms]
    small, large = [], []
    for known in alike:
        nearest = known[-1][1].rms if known else None
        for node, g in known:
            if nearest and g.rms:
                small += [node] * (g.rms < VANISHING * nearest)
                large += [node] * (g.rms > EXPLODING * nearest)
    place = {node.id: i for i, node in enumerate(links.graph.nodes)}
    for group in (zero, small, large):
        group.sort(key=lambda node: place[node.id])
    yield from _together(zero, "vanishing", "gradient exactly 0")
    yield from _together(small, "vanishing", f"gradient below {VANISHING:g} of the one nearest the loss")
    yield from _together(large, "exploding", f"gradient over {EXPLODING:g} times the one nearest the loss")


def _known(nodes: Iterable[GraphNode]) -> list[tuple[GraphNode, Gradient]]:
    return [(node, node.gradient) for node in nodes if node.gradient is not None and node.gradient.rms is not None]


def _detached(graph: Graph) -> Iterator[Trouble]:
    detached = set(graph.detached if graph.recorded else ())
    lost = [node for node in graph.nodes if node.id in detached]
    yield from _together(lost, "detached", "not connected to the output")


def _together(nodes: Sequence[GraphNode], word: str, told: str) -> Iterator[Trouble]:
    """A mark for each, and one text for all."""
    for i, node in enumerate(nodes):
        yield Trouble(node.id, word, "" if i else f"{word}: {_listed(map(_called, nodes))}: {told}")


def _is_finite(gradient: Gradient) -> bool:
    return gradient.rms is None or math.isfinite(gradient.rms)


def _called(node: GraphNode) -> str:
    return f"{node.op} {node.id}" if node.kind == "op" else node.name


def _listed(names: Iterable[str]) -> str:
    """a, b, c, d and 3 more"""
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
