"""`draw_comparison`: two graphs are read, matched, and drawn side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tinygrad_ce import engine
from tinygrad_ce.graph import Gradients, Graph, Model
from tinygrad_ce.graph.capture import read
from tinygrad_ce.graph.collapse import is_named
from tinygrad_ce.graph.expand import expand as expanded
from tinygrad_ce.graph.fold import whole
from tinygrad_ce.graph.match import match
from tinygrad_ce.registry import FusedOp
from tinygrad_ce.tensor import Tensor
from tinygrad_ce.viz.compare.dot import PREFIXES, digraph
from tinygrad_ce.viz.compare.fold import fold_both
from tinygrad_ce.viz.compare.text import to_text
from tinygrad_ce.viz.compare.totals import GradientDifference, Totals
from tinygrad_ce.viz.dot import SHOW, Direction
from tinygrad_ce.viz.drawing import Side
from tinygrad_ce.viz.picture import Picture

Output = Tensor | Sequence[Tensor]
Inputs = Mapping[str, Any]


def draw_comparison(
    a: Output,
    b: Output,
    titles: tuple[str, str] = ("A", "B"),
    *,
    model: Model | tuple[Model | None, Model | None] | None = None,
    inputs: Inputs | tuple[Inputs | None, Inputs | None] | None = None,
    depth: float | None = None,
    expand: str | Collection[str] = (),
    show: Collection[str] = SHOW,
    gradients: Gradients = "auto",
    direction: Direction = "TB",
) -> Picture:
    """Draw two graphs side by side: what is in both at the same height, what is in one alone in its colour.

    a, b        a Tensor or a sequence of Tensors each
    titles      what the two are called
    model       names the parameters and modules, as for `draw`; or a pair, one for each
    inputs      names for what was put in, `{"x": x, "y": y}`; or a pair
    depth, expand, show, direction   as for `draw`; `expand` takes fused ops and modules that one of the two has.
                Large graphs are folded in the same way, and modules that hold a difference stay open
    gradients   "auto": those that a backward pass would bring, found without changing any `.grad` (hooks run), where
                a graph still has its arrays and its outputs are of one element, and else what is held in `.grad`.
                True: the former, or an error; False: none

    What is the same is found by `graph.match`: an op with other attributes or another shape is another op. Between the
    graphs stand the number of ops, the bytes kept for the backward pass, the largest difference between the gradients
    of the parameters that are in both (a few units of round-off of the largest gradient are called that), and the
    values of the outputs. In the text form, `-` is only in A and `+` only in B.

    Raises what `draw` does, and ValueError for titles that are not two texts.

    >>> import tinygrad_ce as tg
    >>> from tinygrad_ce import functional as F
    >>> w = tg.Tensor([1.0, 2.0], requires_grad=True, name="w")
    >>> picture = draw_comparison(F.sum(F.sin(w)), F.sum(F.tanh(w)), titles=("sine", "tanh"))
    >>> picture.save("comparison.svg")  # doctest: +SKIP
    >>> picture
    A sine | B tanh
      ops                   2 | 2
      ops in one only       1 | 1
      kept for backward     0 B | 0 B
      kept by what differs  0 B | 0 B
      sum                   1.750768 | 1.725622
      sum: B - A            -0.0251
      max |dA - dB|         w  4.9e-01
      id  op         name  inputs   tensor    gradient
      a0  parameter  w              (2,) f32  4.8e-01 | 3.0e-01
    - a1  sin              w        (2,) f32  1.0e+00
    + b1  tanh             w        (2,) f32  1.0e+00
      a2  sum              a1 | b1  () f32    1.0e+00
    """
    if not (isinstance(titles, (tuple, list)) and len(titles) == 2 and all(isinstance(t, str) for t in titles)):
        raise ValueError(f'draw_comparison: titles: expected two texts, such as ("unfused", "fused"), found {titles!r}')
    if isinstance(show, str) or not set(show) <= set(SHOW):
        raise ValueError(f"draw_comparison: show: expected a tuple of any of {SHOW}, found {show!r}")
    if direction not in ("TB", "LR"):
        raise ValueError(f'draw_comparison: direction: expected "TB" or "LR", found {direction!r}')
    names = [expand] if isinstance(expand, str) else list(expand)
    sides = [
        _Read.of(output, one_model, one_inputs, gradients, names)
        for output, one_model, one_inputs in zip((a, b), _pair(model), _pair(inputs), strict=True)
    ]
    for name in names:
        if not any(name in side.fused or any(is_named(path, [name]) for path in side.graph.modules) for side in sides):
            raise ValueError(f"draw_comparison: expand: {name!r} is neither a fused op nor a module of either graph")
    graphs = sides[0].graph, sides[1].graph
    pairs = match(*graphs)
    totals = Totals.of(*graphs, pairs, _Read.difference(sides[0], sides[1], pairs))
    shown = fold_both(*graphs, dict(pairs), depth, names)
    return Picture(ComparisonDrawing(shown, pairs, totals, (titles[0], titles[1]), frozenset(show), direction))


def _pair(x: Any) -> tuple[Any, Any]:
    """The same for both, or one for each."""
    return (x[0], x[1]) if isinstance(x, tuple) and len(x) == 2 else (x, x)


@dataclass(frozen=True)
class _Read:
    """One side as it was read."""

    graph: Graph
    arrays: Mapping[str, NDArray[Any]]  # gradients of leaves, by id
    leaves: frozenset[int]  # identities of the leaf tensors
    own: bool  # the gradients are those of a backward pass of its own, not what `.grad` holds
    fused: Collection[str]  # names of fused ops that were expanded

    @staticmethod
    def of(output: Output, model: Any, inputs: Any, gradients: Gradients, names: Collection[str]) -> _Read:
        outputs = [output] if isinstance(output, Tensor) else list(output) if isinstance(output, Sequence) else []
        tensors = [z for z in outputs if isinstance(z, Tensor)]  # what is none, `read` says
        nodes = engine.topological(z.node for z in tensors)
        fused = _to_expand(tensors, names)
        if gradients == "auto":
            can_run = nodes and all(node.saved is not None for node in nodes) and all(z.size == 1 for z in tensors)
            gradients = True if can_run else "auto"
        graph, arrays = read(output, model=model, inputs=inputs, gradients=gradients, expand=fused)
        leaves = frozenset(id(x) for node in nodes for x in node.inputs if isinstance(x, Tensor))
        return _Read(graph, arrays, leaves, gradients is True, fused)

    @staticmethod
    def difference(a: _Read, b: _Read, pairs: Collection[tuple[str, str]]) -> GradientDifference:
        found = GradientDifference.of(a.graph, b.graph, pairs, a.arrays, b.arrays)
        if found.largest is not None and not (a.own and b.own) and a.leaves & b.leaves:
            return GradientDifference(None, "one .grad for both")
        return found


def _to_expand(outputs: Sequence[Tensor], names: Collection[str]) -> list[str]:
    """Those of the names that are fused ops of this graph, or of the decomposition of one that is expanded."""
    found: list[str] = []
    while True:
        nodes = engine.topological(z.node for z in expanded(outputs, found))
        here = {node.op.name for node in nodes if issubclass(node.op, FusedOp)}
        more = [name for name in names if name in here and name not in found]
        if not more:
            return found
        found += more


@dataclass(frozen=True)
class ComparisonDrawing:
    """Two graphs, matched.

    graphs     as they are shown
    pairs      ids of the nodes that are the same, of all nodes
    totals     numbers of both
    titles     what they are called
    show       what a card tells besides its name: any of "shape", "grad", "kept"
    direction  "TB", from top to bottom, or "LR", from left to right
    """

    graphs: tuple[Graph, Graph]
    pairs: Sequence[tuple[str, str]]
    totals: Totals
    titles: tuple[str, str] = ("A", "B")
    show: Collection[str] = SHOW
    direction: Direction = "TB"

    @property
    def sides(self) -> list[Side]:
        """Both graphs, for a page that steps through them."""
        return [Side(*side) for side in zip(PREFIXES, self.titles, self.graphs, map(whole, self.graphs), strict=True)]

    @property
    def only(self) -> tuple[frozenset[str], frozenset[str]]:
        """Ids of the nodes of each graph, as they are shown, that the other has not; or not all of them."""
        both = [{pair[side] for pair in self.pairs} for side in (0, 1)]
        a, b = (
            frozenset(node.id for node in graph.nodes if not found.issuperset(node.members or (node.id,)))
            for graph, found in zip(self.graphs, both, strict=True)
        )
        return a, b

    def digraph(self) -> Any:
        """A `graphviz.Digraph` of two panels, with the ids a... and b..."""
        return digraph(
            self.graphs, self.only, self._shown_pairs(), self.titles, self.totals.groups(), self.show, self.direction
        )

    def text(self, limit: int | None = None) -> str:
        """A table like a unified diff; `limit` leaves out lines of what is in both."""
        return to_text(self.graphs, self.only, self._shown_pairs(), self.titles, self.totals.rows(), limit)

    def _shown_pairs(self) -> list[tuple[str, str]]:
        shown = [{node.id for node in graph.nodes} for graph in self.graphs]
        only = self.only
        return [
            pair for pair in self.pairs
            if all(id in there and id not in alone for id, there, alone in zip(pair, shown, only, strict=True))
        ]  # fmt: skip
