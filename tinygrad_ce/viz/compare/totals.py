"""What two graphs differ by, in numbers: ops, bytes kept for the backward pass, gradients, outputs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.graph import Graph
from tinygrad_ce.viz import words

Arrays = Mapping[str, NDArray[Any]]

Row = tuple[str, str] | tuple[str, str, str]  # what; how much in both together, or in A and in B

OUTPUTS = 4  # whose values are listed
ROUND_OFFS = 8  # of the largest gradient: what the order of computing makes of it, on each machine something else


@dataclass(frozen=True)
class GradientDifference:
    """The largest difference between the gradients of the parameters that both graphs have; without any, of the inputs.

    largest   of all elements; None if it cannot be known
    name      of the parameter it is in; with None, why it cannot be known
    missing   names of parameters that have a gradient on one side alone
    rounding  the largest is no more than `ROUND_OFFS` round-offs of the largest gradient
    """

    largest: float | None
    name: str
    missing: tuple[str, ...] = ()
    rounding: bool = False

    @staticmethod
    def of(a: Graph, b: Graph, pairs: Collection[tuple[str, str]], of_a: Arrays, of_b: Arrays) -> GradientDifference:
        """Compare arrays by id, of nodes that are paired."""
        in_a, in_b = ({node.id: node for node in graph.nodes} for graph in (a, b))
        pairs = [(u, v) for u, v in pairs if in_a[u].kind == "parameter"] or [
            (u, v) for u, v in pairs if in_a[u].kind == "input" and (u in of_a or v in of_b)
        ]
        if not of_a and not of_b:
            return GradientDifference(None, "no gradients")
        if not pairs:
            return GradientDifference(None, "no parameter in both")
        found = [(_largest(of_a[u], of_b[v]), u, v) for u, v in pairs if u in of_a and v in of_b]
        if not found:
            none = [not any(pair[i] in of for pair in pairs) for i, of in enumerate((of_a, of_b))]
            where = "A" if none == [True, False] else "B" if none == [False, True] else "both"
            return GradientDifference(None, f"no gradients in {where}")
        largest, u, v = max(found, key=lambda each: (math.isnan(each[0]), each[0]))
        name = one_or_both(in_a[u].name, in_b[v].name)
        missing = tuple(in_a[u].name for u, v in pairs if (u in of_a) != (v in of_b))
        arrays = [gradient for _, u, v in found for gradient in (of_a[u], of_b[v])]
        size = max(float(np.abs(gradient).max(initial=0.0)) for gradient in arrays)
        unit = max(float(np.finfo(gradient.dtype).eps) for gradient in arrays)
        rounding = math.isfinite(size) and largest <= ROUND_OFFS * unit * size
        return GradientDifference(largest, name, missing, rounding)


def _largest(x: NDArray[Any], y: NDArray[Any]) -> float:
    """The largest |x - y|; nan if there is one on either side."""
    with np.errstate(all="ignore"):
        apart = np.abs(np.subtract(x, y, dtype=np.float64))
    return float(np.where(x == y, 0.0, apart).max(initial=0.0))


@dataclass(frozen=True)
class SideTotals:
    """Numbers of one of the graphs.

    ops         all of them
    only        ops that the other graph has not
    parameters  elements of the parameters that the other has not
    kept        bytes kept for the backward pass; None where it has freed them
    kept_only   those of them that no op of both graphs keeps
    """

    ops: int
    only: int
    parameters: int
    kept: int | None
    kept_only: int | None

    @staticmethod
    def of(graph: Graph, only: Collection[str]) -> SideTotals:
        """The totals of a graph, of which the other has not these nodes."""
        nodes = [node for node in graph.nodes if node.id in only]
        common = {k.buffer for node in graph.nodes if node.id not in only for k in node.kept}
        own = {k.buffer: k.nbytes for node in nodes for k in node.kept if not k.leaf and k.buffer not in common}
        return SideTotals(
            ops=graph.ops,
            only=sum(node.kind == "op" for node in nodes),
            parameters=sum(math.prod(node.shape) for node in nodes if node.kind == "parameter"),
            kept=None if graph.released else graph.kept_bytes,
            kept_only=None if graph.released else sum(own.values()),
        )


@dataclass(frozen=True)
class Totals:
    """Numbers of both graphs.

    gradient  see `GradientDifference`
    outputs   name and values of each output; None for an output of several elements
    """

    a: SideTotals
    b: SideTotals
    gradient: GradientDifference
    outputs: tuple[tuple[str, float | None, float | None], ...]

    @staticmethod
    def of(a: Graph, b: Graph, pairs: Collection[tuple[str, str]], gradient: GradientDifference) -> Totals:
        """The totals of two graphs, of which these nodes are in both."""
        in_a, in_b = ({node.id: node for node in graph.nodes} for graph in (a, b))
        outputs = []
        for i, (x, y) in enumerate(zip(a.outputs, b.outputs, strict=False), 1):
            names = {node.name or node.op for node in (in_a[x], in_b[y])}
            name = names.pop() if len(names) == 1 else f"output {i}" if len(a.outputs) > 1 else "output"
            outputs.append((name, in_a[x].value, in_b[y].value))
        only_a, only_b = in_a.keys() - {u for u, _ in pairs}, in_b.keys() - {v for _, v in pairs}
        return Totals(SideTotals.of(a, only_a), SideTotals.of(b, only_b), gradient, tuple(outputs))

    def groups(self) -> list[list[Row]]:
        """The totals in words: of ops, of bytes, and of each output and the gradients."""
        a, b, gradient = self.a, self.b, self.gradient
        ops: list[Row] = [("ops", str(a.ops), str(b.ops)), ("ops in one only", str(a.only), str(b.only))]
        if a.parameters or b.parameters:
            ops.append(("parameters in one only", str(a.parameters), str(b.parameters)))
        kept: list[Row] = [
            ("kept for backward", _bytes(a.kept), _bytes(b.kept)),
            ("kept by what differs", _bytes(a.kept_only), _bytes(b.kept_only)),
        ]
        groups: list[list[Row]] = [ops, kept]
        for name, x, y in self.outputs[:OUTPUTS]:
            if x is not None and y is not None:
                shown = words.ascii_text(name, 24)
                values = words.value_text(x), words.value_text(y)
                groups.append([(shown, *values), (f"{shown}: B - A", f"{y - x:.3g}")])
        name, largest = words.ascii_text(gradient.name, 28), gradient.largest
        shown = f"-  {name}" if largest is None else f"{name}  {largest:.1e}"
        shown = "within round-off" if gradient.rounding else shown
        found: list[Row] = [("max |dA - dB|", shown)]
        if gradient.missing:
            names = [words.ascii_text(name, 24) for name in gradient.missing[:2]]
            more = [f"{len(gradient.missing) - 2} more"] if len(gradient.missing) > 2 else []
            found.append(("gradient in one only", ", ".join(names + more)))
        if len(groups) == 3 and len(found) == 1:
            groups[-1] += found
        else:
            groups.append(found)
        return groups

    def rows(self) -> list[Row]:
        """The totals in words."""
        return [row for group in self.groups() for row in group]


def one_or_both(a: str, b: str) -> str:
    """A text, or two with a bar between."""
    return a if a == b else f"{a} | {b}"


def _bytes(n: int | None) -> str:
    return "freed" if n is None else words.byte_count(n)
