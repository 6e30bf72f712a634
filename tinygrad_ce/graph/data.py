"""A computation graph as plain data: what is drawn, listed or compared. Numbers and text, never arrays or tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["op", "parameter", "input", "constant", "target", "module"]


@dataclass(frozen=True)
class Excerpt:
    """The first rows and columns of an array, its leading axes laid flat: `rows` of Python numbers."""

    rows: tuple[tuple[float, ...], ...]
    whole: bool  # nothing was left out


@dataclass(frozen=True)
class Summary:
    """What an array holds, in figures."""

    size: int
    low: float | None  # smallest and largest of the finite elements; None if there are none
    high: float | None
    mean: float  # over all elements, so that nan and infinity show
    rms: float
    zeros: int  # elements that are exactly 0
    nan: int
    infinite: int
    dead: int  # positions on the last axis that are 0 in every one of several rows
    sunk: int  # positions on the last axis that are far below zero in every row: `summary.SUNK` times as far as usual
    units: int  # positions on the last axis
    excerpt: Excerpt | None = None  # None in a large graph


@dataclass(frozen=True)
class Gradient:
    """The size of a gradient: root mean square and largest magnitude; both None if none arrived."""

    rms: float | None
    max_abs: float | None
    summary: Summary | None = None


@dataclass(frozen=True)
class Kept:
    """A buffer that a node holds for the backward pass."""

    what: str  # "output", "residual", or the op's name for an input or metadata
    nbytes: int  # of the whole buffer, of which a view may show a part
    buffer: int  # buffers are numbered, so that the same number is the same memory
    leaf: bool  # it belongs to a leaf, which would be held in any case
    shared: bool  # an older node keeps it too


@dataclass(frozen=True)
class GraphNode:
    """One op applied, together with the tensor it made; or a leaf; or a module drawn as one."""

    id: str  # n0, n1, ... in the order things happened
    kind: Kind
    op: str  # the op's name; empty for a leaf or a module
    name: str  # given by the user or found in the model; may be empty for an op
    shape: tuple[int, ...]
    dtype: str
    attributes: tuple[tuple[str, str], ...] = ()  # metadata that differs from its default, and Python numbers
    module: tuple[str, ...] = ()  # paths of the modules it is in, outermost first
    formula: str = ""
    vjp_formula: str = ""
    fused: bool = False
    value: float | None = None  # of an output of one element
    summary: Summary | None = None  # of the tensor's numbers; None where they are not known
    gradient: Gradient | None = None  # None: not looked for, or not taking any
    kept: tuple[Kept, ...] = ()
    members: tuple[str, ...] = ()  # ids of the nodes that this one stands for, in a graph that was folded
    count: int = 1  # how many like it follow one another and are drawn as one


@dataclass(frozen=True)
class Edge:
    """A tensor used as an operand; used twice, it has two edges."""

    source: str
    target: str
    position: int | None  # of the operand; None for metadata
    name: str  # of the operand in the op's signature


@dataclass(frozen=True)
class Passed:
    """What the rule of a node sent to one of its operands."""

    source: str  # the node it arrived at: the source of the edge
    position: int  # of the operand
    gradient: Gradient  # what was sent
    total: Gradient  # what has arrived at the source so far, this included


@dataclass(frozen=True)
class Step:
    """One step of the backward pass: the gradient of a node was complete and its rule ran."""

    node: str
    passed: tuple[Passed, ...]


@dataclass(frozen=True)
class Trouble:
    """Something that a picture points at."""

    node: str
    word: str  # on the card: nan, inf, dead units, vanishing, exploding, detached
    text: str  # under the header: what was found and where


@dataclass(frozen=True, repr=False)
class Graph:
    """Everything a picture shows; see `capture`."""

    nodes: tuple[GraphNode, ...]  # oldest first: each after everything it was made from
    edges: tuple[Edge, ...]
    outputs: tuple[str, ...]
    title: str
    modules: Mapping[str, str] = field(default_factory=dict)  # path of a module: its repr, Linear(4, 8)
    steps: tuple[Step, ...] = ()  # the backward pass as it went, if one was run for the picture
    detached: tuple[str, ...] = ()  # of the nodes, those that the outputs were not made from
    recorded: bool = True  # False: no op made the outputs, as far as is known
    released: bool = False  # a backward pass has let go of the arrays

    @property
    def ops(self) -> int:
        """How many ops there are."""
        return sum(node.kind == "op" for node in self.nodes)

    @property
    def kept_bytes(self) -> int:
        """Bytes held for the backward pass: each buffer once, those of leaves not at all."""
        return sum({k.buffer: k.nbytes for node in self.nodes for k in node.kept if not k.leaf}.values())

    def __repr__(self) -> str:
        return f"<Graph {self.title}: {self.ops} ops, {len(self.edges)} edges, {self.kept_bytes} bytes kept>"
