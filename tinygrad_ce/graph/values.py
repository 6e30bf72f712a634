"""The numbers of a graph's interior tensors, which the graph itself keeps only where a rule needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.engine import Constant, Node
from tinygrad_ce.registry import FusedOp
from tinygrad_ce.tensor import Tensor

Array = NDArray[Any]


def replay(nodes: Sequence[Node]) -> Iterator[tuple[Node, Array | None]]:
    """Each node with the array it made, oldest first: what the graph kept, else computed again from what it kept.

    None where neither is possible: after the arrays were freed, or downstream of a constant that no rule needed.
    An array lives no longer than some later node needs it.
    """
    kept: dict[Any, Array] = {}
    last_use: dict[Any, int] = {}
    for i, node in enumerate(nodes):
        if isinstance(node.output, np.ndarray) and not _has_residual(node):
            kept[node] = node.output
        for source, x in zip(node.inputs, node.saved or (), strict=False):
            if type(source) is Node:
                last_use[source] = i
                if isinstance(x, np.ndarray):
                    kept[source] = x
    computed: dict[Any, Array] = {}
    for i, node in enumerate(nodes):
        value = kept.get(node)
        if value is None:
            value = _run(node, computed)
        if node in last_use and value is not None:
            computed[node] = value
        yield node, value
        for source in node.inputs:
            if last_use.get(source) == i:
                computed.pop(source, None)


def _run(node: Node, computed: dict[Any, Array]) -> Array | None:
    """The op once more, on the same arrays."""
    if node.saved is None:
        return None
    inputs: list[Any] = []
    for source, x in zip(node.inputs, node.saved, strict=True):
        if type(source) is Node:
            array: Any = computed.get(source)
        elif isinstance(source, Tensor):
            array = source.data
        else:
            array = x.value if isinstance(x, Constant) else x
        if array is None:
            return None
        inputs.append(array)
    try:
        with np.errstate(all="ignore"):
            if _has_residual(node):
                value = node.op.forward(*inputs, gradient=False, **node.attributes)[0]
            else:
                value = node.op.forward(*inputs, **node.attributes)
    except Exception:  # somebody's own op that runs only once: its picture goes without numbers
        return None
    found: Array = np.asarray(value)
    return found.astype(node.dtype, copy=False) if found.shape == node.shape else None


def _has_residual(node: Node) -> bool:
    return issubclass(node.op, FusedOp) and node.op.residual
