"""Fused ops replaced by the small ops they stand for: a graph of the same function, with the seams showing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tinygrad_ce import engine
from tinygrad_ce.engine import Constant, Node
from tinygrad_ce.mode import enable_grad, mode
from tinygrad_ce.registry import FusedOp
from tinygrad_ce.tensor import Tensor


class Expanded:
    """Stands in the scope of the nodes that a fused op was replaced by, as a module would."""

    def __init__(self, op: type[FusedOp]) -> None:
        self.op = op

    def __repr__(self) -> str:
        return "expanded"


def expand(outputs: Sequence[Tensor], names: Collection[str]) -> list[Tensor]:
    """Tensors of the same values whose graph has the decomposition of every fused op of these names.

    What comes after such an op is recorded anew, so the graph that was given does not change. Hooks, names and
    retained gradients go with the op. A graph whose arrays were freed is expanded too, and holds none.

    Raises ValueError for a name that no fused op of the graph has.
    """
    outputs, seen = list(outputs), set[str]()
    while True:  # a decomposition may itself hold a fused op to expand
        nodes = engine.topological(z.node for z in outputs)[::-1]
        here = {node.op.name for node in nodes if issubclass(node.op, FusedOp)}
        seen |= here
        if not here & set(names):
            break
        outputs = _rewrite(outputs, nodes, names)
    unknown = [name for name in names if name not in seen]
    if unknown:
        there = f"there are {', '.join(sorted(seen))}" if seen else "there is none"
        raise ValueError(f"expand: {unknown[0]!r} is not a fused op of this graph; {there}")
    return outputs


def _rewrite(outputs: list[Tensor], nodes: Sequence[Node], names: Collection[str]) -> list[Tensor]:
    now: dict[Any, Any] = {}
    for node in nodes:
        inputs = [now.get(source, source) for source in node.inputs]
        if node.op.name in names and issubclass(node.op, FusedOp):
            now[node] = _decomposed(node, inputs)
        elif any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
            now[node] = node.with_inputs(inputs)
    return [_tensor(z.data, now[z.node]) if z.node in now else z for z in outputs]


def _decomposed(node: Node, inputs: list[Any]) -> Any:
    """What the fused op's decomposition makes of these sources: a node, or one of the sources."""
    op, scope, watcher = node.op, mode.scope, mode.watcher
    assert issubclass(op, FusedOp)
    arrays: Any = node.saved
    attributes = node.attributes
    if node.saved is None:
        arrays = [_blank(source) for source in inputs]
        attributes = {key: _blank(value) for key, value in attributes.items()}
    elif op.restore is not None:
        arrays = op.restore(node.output, *node.saved, **attributes)
    mode.scope, mode.watcher = (*node.scope, Expanded(op)), None
    try:
        with enable_grad(), np.errstate(all="ignore"):
            z = op.decomposition(*map(_linked, arrays, inputs), **attributes)
    finally:
        mode.scope, mode.watcher = scope, watcher
    made = z if z.node is None else z.node
    if type(made) is not Node or made in inputs:
        return made
    if node.saved is None:
        before = max((source.order for source in inputs if type(source) is Node), default=0)
        for inner in engine.topological([made], newer_than=before):
            inner.release()
    made.name, made.hooks, made.retained = node.name, node.hooks, node.retained
    return made


def _linked(array: Any, source: Any) -> Any:
    """An input of the fused op as a Tensor that comes from where the input came from."""
    if isinstance(source, Tensor) or not isinstance(array, np.ndarray):
        return source if isinstance(source, Tensor) else array
    return Tensor(array, name=source.name) if isinstance(source, Constant) else _tensor(array, source)


def _tensor(array: Any, node: Any) -> Tensor:
    """A Tensor of this array that a node made; a leaf is itself."""
    if isinstance(node, Tensor):
        return node
    tensor = Tensor(array)
    tensor.node = node
    return tensor


def _blank(value: Any) -> Any:
    """Zeros in place of an array that is gone."""
    if isinstance(value, Constant) and value.value is not None:
        return value.value
    return np.zeros(value.shape, value.dtype) if isinstance(value, (Constant, Tensor, Node)) else value
