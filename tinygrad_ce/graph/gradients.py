"""The gradients that a picture shows: those that are held, or those of a backward pass run for the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce import engine
from tinygrad_ce.autograd import run_hooks
from tinygrad_ce.engine import Node
from tinygrad_ce.graph.data import Gradient
from tinygrad_ce.graph.summary import gradient_of, size_of
from tinygrad_ce.tensor import Tensor

Gradients = Literal["auto"] | bool
Sent = tuple[Any, int, Gradient, Gradient]  # the source it went to, the operand's position, what was sent, the sum


@dataclass
class Found:
    """Gradients by node and leaf."""

    sizes: dict[Any, Gradient] = field(default_factory=dict)
    leaves: dict[Any, NDArray[Any]] = field(default_factory=dict)
    steps: list[tuple[Node, list[Sent]]] = field(default_factory=list)


def find_gradients(
    outputs: Sequence[Tensor], nodes: Sequence[Node], released: bool, wanted: Gradients, excerpts: bool
) -> Found:
    """What `capture` says of its argument `gradients`."""
    found = Found()
    if wanted is False:
        return found
    leaves = {x for node in nodes for x in node.inputs if isinstance(x, Tensor)}
    leaves |= {z for z in outputs if z.node is None and z.requires_grad}
    if wanted is True:
        _private_pass(outputs, released, excerpts, found)
    else:
        holders: dict[Any, Tensor | None] = {x: x for x in leaves} | {
            node: node.retained() for node in nodes if node.retained
        }
        for source, holder in holders.items():
            if holder is not None and holder.grad is not None:
                found.sizes[source] = gradient_of(holder.grad.data, excerpts)
                if holder is source:
                    found.leaves[source] = holder.grad.data
    if found.sizes or released:
        found.sizes |= {x: Gradient(None, None) for x in leaves if x not in found.sizes}
    return found


def _private_pass(outputs: Sequence[Tensor], released: bool, excerpts: bool, found: Found) -> None:
    """The gradients a backward pass would bring, found without changing anything."""
    if released:
        raise RuntimeError(
            "capture: gradients=True needs the graph's arrays, but an earlier backward pass has freed them; "
            'capture before it, give it retain_graph=True, or use gradients="auto" for what .grad holds'
        )
    for z in outputs:
        if z.size != 1:
            raise RuntimeError(f"capture: gradients=True needs outputs of one element, found shape {z.shape}")
    roots = [(z.node or z, np.ones(z.shape, z.dtype)) for z in outputs if z.requires_grad]
    with np.errstate(all="ignore"):
        results, _ = engine.backward(roots, release=False, observer=_Recorder(found, excerpts))
        run_hooks(results)
    for source, g in results.items():
        if type(source) is not Node:
            found.sizes[source] = gradient_of(g, excerpts)
            found.leaves[source] = g


class _Recorder:
    """Writes down a backward pass while it runs."""

    def __init__(self, found: Found, excerpts: bool) -> None:
        self._found = found
        self._excerpts = excerpts

    def arrived(self, node: Node, gradient: Any) -> None:
        self._found.sizes[node] = gradient_of(gradient, self._excerpts)
        self._found.steps.append((node, []))

    def passed(self, node: Node, position: int, gradient: Any, total: Any) -> None:
        sent = size_of(gradient)
        self._found.steps[-1][1].append(
            (node.inputs[position], position, sent, sent if total is gradient else size_of(total))
        )
