"""A loss that is nan or infinite: which op made it first, and of what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_ce import engine
from tinygrad_ce.engine import Node
from tinygrad_ce.graph.summary import summarize
from tinygrad_ce.graph.values import replay
from tinygrad_ce.nn import Module
from tinygrad_ce.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_ce.training.history import History

SMALLER = "use a smaller learning rate, or clip the gradients"


class NonFiniteLoss(FloatingPointError):
    """Training met nan or infinity: the message says where they came from.

    history  of the run so far
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


def first_nonfinite(loss: Tensor, model: Module, **inputs: Any) -> str:
    """Where the nan or infinity in a loss came from, in words; empty if that cannot be told.

    loss    a Tensor whose graph still has its arrays, so before the backward pass
    inputs  what the loss was computed from, by name

    A parameter or input that holds nan or infinity, or else the oldest op that made nan of inputs without nan, or
    infinity of inputs without infinity; for that the ops are run again on what the graph keeps.
    """
    for name, parameter in model.named_parameters():
        if not np.isfinite(parameter.data).all():
            return f"{_range(name, parameter.data)}: the update of the step before made it; {SMALLER}"
    for name, x in inputs.items():
        if isinstance(x, np.ndarray) and x.dtype.kind == "f" and not np.isfinite(x).all():
            return f"{_range(name, x)}: take these rows out of the data, or fill them in"
    paths = {id(module): path for path, module in model.named_modules()}
    made: dict[Node, Any] = {}
    for node, z in replay(engine.topological([loss.node])[::-1]):
        made[node] = z
        given = _given(node, made)
        for test, kind in ((np.isnan, "nan"), (np.isinf, "infinity")):
            if z is not None and test(z).any() and not any(test(x).any() for _, x in given):
                path = next((paths[id(module)] for module in reversed(node.scope) if paths.get(id(module))), "")
                where = f" in {path}" if path else ""
                return f"{kind} was first made by {node.op.name}{where}, from {', '.join(_range(*x) for x in given)}"
    return ""


def _given(node: Node, made: dict[Node, Any]) -> list[tuple[str, Any]]:
    """What is known of the floating inputs of an op, by name."""
    arrays = []
    for i, (source, saved) in enumerate(zip(node.inputs, node.saved or (), strict=True)):
        x = made[source] if isinstance(source, Node) else source.data if isinstance(source, Tensor) else saved
        if isinstance(x, (np.ndarray, float)) and np.asarray(x).dtype.kind == "f":
            arrays.append((node.op.input_name(i), np.asarray(x)))
    return arrays


def _range(name: str, x: Any) -> str:
    found = summarize(x, excerpt=False)
    parts = [f"{count:,} {kind}" for kind, count in (("nan", found.nan), ("infinite", found.infinite)) if count]
    if found.low is not None:
        parts.insert(0, f"{found.low:.6g} to {found.high:.6g}" if found.low != found.high else f"{found.low:.6g}")
    return f"{name} {x.shape} {' and '.join(parts) or 'empty'}"
