"""What a picture is made of: something that can be drawn, written as text, and stepped through."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from tinygrad_ce.graph import Graph
from tinygrad_ce.graph.fold import whole
from tinygrad_ce.viz.dot import SHOW, Direction, digraph
from tinygrad_ce.viz.text import to_text


class Side(NamedTuple):
    """One graph of a drawing."""

    prefix: str  # of the ids of its nodes and edges in the SVG
    title: str
    drawn: Graph  # as it is shown: modules and repeats may be folded
    full: Graph  # as it was captured


class Drawing(Protocol):
    """One graph or several, drawn in several forms."""

    @property
    def sides(self) -> Sequence[Side]: ...
    def digraph(self) -> Any: ...
    def text(self, limit: int | None = None) -> str: ...


@dataclass(frozen=True)
class GraphDrawing:
    """A single graph.

    graph      as it is shown
    show       what a card tells besides its name: any of "shape", "grad", "kept"
    direction  "TB", from top to bottom, or "LR", from left to right
    """

    graph: Graph
    show: Collection[str] = SHOW
    direction: Direction = "TB"

    @property
    def sides(self) -> list[Side]:
        """The graph, for a page that steps through it."""
        return [Side("", self.graph.title, self.graph, whole(self.graph))]

    def digraph(self) -> Any:
        """A `graphviz.Digraph`."""
        return digraph(self.graph, self.show, self.direction)

    def text(self, limit: int | None = None) -> str:
        """A table; `limit` leaves out lines from the middle."""
        return to_text(self.graph, limit)
