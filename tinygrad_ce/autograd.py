"""Gradients of Tensors: what flows in, the walk on arrays or recorded, what comes out.

Written against `Operators`, the part of a Tensor that stands below it, so that `Tensor.backward` can use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_ce import engine
from tinygrad_ce.arrays import to_array
from tinygrad_ce.engine import Node
from tinygrad_ce.mode import enable_grad, mode
from tinygrad_ce.operators import Operators

_ONES = {np.dtype(kind): np.ones((), kind) for kind in (np.float16, np.float32, np.float64)}
for _one in _ONES.values():
    _one.flags.writeable = False


def constant(array: Any) -> Any:
    """A Tensor of this very array, outside any graph."""
    return Operators.__constant__(array)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> Any:
    """Gradients of the sum of the outputs with respect to the inputs, without touching any `.grad`.

    outputs         a tensor or a sequence of tensors
    inputs          a tensor or a sequence of tensors, leaves or interior
    grad_outputs    the gradient that flows into each output; may be left out for outputs of one element
    retain_graph    keep the graph's arrays; by default only when `create_graph` is set
    create_graph    record the backward pass, so that the result can be differentiated again
    allow_unused    give None for an input that the outputs do not depend on, instead of an error

    Returns a Tensor if `inputs` is a Tensor, else a tuple.

    >>> import tinygrad_ce as tg
    >>> x = tg.Tensor(3.0, requires_grad=True)
    >>> dx = tg.grad(x**3, x, create_graph=True)
    >>> ddx = tg.grad(dx, x)
    >>> dx.item(), ddx.item()
    (27.0, 18.0)
    """
    many_outputs, many_inputs = _sequence("outputs", outputs), _sequence("inputs", inputs)
    if grad_outputs is None or isinstance(outputs, Operators):
        many_gradients: list[Any] = [grad_outputs] * len(many_outputs)
    else:
        many_gradients = list(grad_outputs)
    if len(many_gradients) != len(many_outputs):
        raise ValueError(f"grad: {len(many_outputs)} outputs, but {len(many_gradients)} grad_outputs")
    for i, x in enumerate(many_inputs):
        if not x.requires_grad:
            raise RuntimeError(f"grad: inputs[{i}] is {x!r}, which does not require a gradient")
    roots = [incoming("grad", z, g, create_graph) for z, g in zip(many_outputs, many_gradients, strict=True)]
    targets = [origin(x) for x in many_inputs]
    results, shared = run(roots, set(targets), create_graph if retain_graph is None else retain_graph, create_graph)
    gradients: list[Any] = []
    given: set[Any] = set()
    for i, (x, target) in enumerate(zip(many_inputs, targets, strict=True)):
        g = results.get(target)
        if g is None and not allow_unused:
            raise RuntimeError(
                f"grad: the outputs do not depend on inputs[{i}] ({x!r}); pass allow_unused=True to get None for it"
            )
        if g is not None:
            # what was given away once, or is in use elsewhere, is copied
            alone = isinstance(g, np.ndarray) and target is x and target not in shared and target not in given
            g = constant(g) if alone else own(g)
            given.add(target)
        gradients.append(g)
    return gradients[0] if isinstance(inputs, Operators) else tuple(gradients)


def _sequence(name: str, tensors: Any) -> list[Any]:
    if isinstance(tensors, Operators):
        return [tensors]
    found = list(tensors) if isinstance(tensors, Iterable) and not isinstance(tensors, str) else [tensors]
    for i, x in enumerate(found):
        if not isinstance(x, Operators):
            raise RuntimeError(f"grad: {name}[{i}] is {x!r}, no Tensor, and does not require a gradient")
    return found


def origin(x: Any) -> Any:
    """Where a gradient of this tensor goes: the node that made it, or the leaf itself."""
    return x if x.node is None else x.node


def incoming(caller: str, output: Any, gradient: Any, create_graph: bool) -> tuple[Any, Any]:
    """Where a gradient of this output goes, and the gradient that flows into it, checked; a Tensor if recorded."""
    source = origin(output)
    if not source.requires_grad:
        raise RuntimeError(
            f"{caller}: {output!r} does not require a gradient; make a leaf it depends on with requires_grad=True, and "
            "compute it outside no_grad()"
        )
    shape, dtype = source.shape, source.dtype
    if gradient is None:
        if shape and output.size != 1:
            raise RuntimeError(
                f"{caller}: the output has shape {shape}; reduce it to one number with .sum() or .mean() "
                "first, or pass a gradient of that shape"
            )
        ones = np.ones(shape, dtype) if shape else _ONES[dtype]
        return source, constant(ones) if create_graph else ones
    if isinstance(gradient, bool):
        raise TypeError(f"{caller}: gradient={gradient}; retain_graph and create_graph are keywords")
    array = to_array(gradient.data if isinstance(gradient, Operators) else gradient, dtype)
    if array.shape != shape:
        raise ValueError(f"{caller}: the gradient has shape {array.shape}, expected the output's, {shape}")
    if not create_graph:
        return source, array
    return source, gradient if isinstance(gradient, Operators) and gradient.dtype == dtype else constant(array)


def run(
    roots: list[tuple[Any, Any]], targets: set[Any] | None, retain_graph: bool, create_graph: bool
) -> tuple[dict[Any, Any], set[Any]]:
    """The backward pass, on arrays or recorded, and then the hooks of the leaves."""
    if create_graph:
        with enable_grad():
            results, shared = engine.backward(roots, targets, release=False, lift=_lift, observer=mode.watcher)
            return run_hooks(results), shared
    results, shared = engine.backward(roots, targets, release=not retain_graph, observer=mode.watcher)
    return run_hooks(results), shared


def _lift(data: Any, source: Any) -> Any:
    """A saved array as a Tensor that is linked to where it came from; what is no array, or a constant, as it is."""
    if source is None:
        return constant(data)
    if not (source.requires_grad and isinstance(data, (np.ndarray, np.generic))):
        return data
    tensor = constant(np.asarray(data))
    tensor.node = source
    return tensor


def run_hooks(results: dict[Any, Any]) -> dict[Any, Any]:
    """The hooks of leaves: they run once every contribution has arrived, and before any `.grad` changes."""
    for source, g in results.items():
        if type(source) is not Node and source._hooks:
            for hook in list(source._hooks.values()):
                g = hook(g)
            results[source] = g
    return results


def own(g: Any) -> Any:
    """A gradient as a Tensor in memory of its own; one that was recorded stays in its graph."""
    if not isinstance(g, Operators):
        return constant(g.copy())
    tensor: Any = g
    if tensor.node is None and tensor.requires_grad:
        return g
    copy = constant(tensor.data.copy())
    copy.node = tensor.node
    return copy


class RemovableHandle:
    """Takes a hook away again."""

    def __init__(self, hooks: dict[int, Callable[[Any], Any]], key: int) -> None:
        self._hooks = hooks
        self._key = key

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        self._hooks.pop(self._key, None)
