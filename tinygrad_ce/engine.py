"""The generic backward pass: walk the graph once, newest node first, and let each op pull its gradient back.

The engine knows no op by name and no Tensor: a *source* of a node's input is another `Node`, a leaf (anything with
`requires_grad`, `shape` and `dtype`), or a `Constant`.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any, Protocol

import numpy as np
from numpy import ndarray

from tinygrad_ce.registry import FusedOp, Op

_count = itertools.count(1)


class Constant:
    """What a graph remembers of an input that takes no gradient: never its numbers."""

    __slots__ = ("dtype", "name", "shape", "value")
    requires_grad = False

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], name: str | None, value: Any = None) -> None:
        self.shape = shape
        self.dtype = dtype
        self.name = name
        self.value = value  # of a Python number, such as the 2 in x * 2; else None


class Node:
    """One op applied once: what made a tensor.

    op, attributes      what was applied
    inputs              the source of each input
    needs               the positions of the inputs that take a gradient
    saved               each input's array where a rule needs its numbers, else its shape and dtype (the node that made
                        it, or a Constant); None once released
    output              the output's array (or a fused op's residual) where a rule needs it, else None
    shape, dtype        of the output
    order               nodes are numbered as they are made, so newest first is a topological order
    scope               the modules it was made in, outermost first
    name                given by the user, or None
    hooks               functions on the gradient that arrives, or None
    retained            a weak reference to the Tensor it made, if that asked to keep its gradient; else None

    A node does not hold the Tensor it made, so a graph is free of reference cycles.
    """

    __slots__ = (
        "__weakref__", "attributes", "dtype", "hooks", "inputs", "name", "needs", "op", "order", "output", "retained",
        "saved", "scope", "shape",
    )  # fmt: skip
    requires_grad = True

    op: type[Op]
    attributes: Mapping[str, Any]
    inputs: tuple[Any, ...]
    needs: tuple[int, ...]
    saved: tuple[Any, ...] | None
    output: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: int
    scope: tuple[Any, ...]
    name: str | None
    hooks: dict[int, Callable[[Any], Any]] | None
    retained: Callable[[], Any] | None

    def release(self) -> None:
        """Let go of all data; what a picture needs stays."""
        self.saved = self.output = None
        for key, value in self.attributes.items():
            if type(value) in _CONTAINERS and (bare := without_data(value)) is not value:
                self.attributes = {**self.attributes, key: bare}

    def with_inputs(self, inputs: Iterable[Any]) -> Node:
        """The same op on inputs of the same shapes from elsewhere, as the newest node."""
        node = copy.copy(self)
        node.inputs = tuple(inputs)
        node.order = next(_count)
        return node


_new = Node.__new__


def record(
    op: type[Op],
    attributes: Mapping[str, Any],
    inputs: tuple[Any, ...],
    needs: tuple[int, ...],
    saved: tuple[Any, ...],
    output: Any,
    data: np.ndarray[Any, Any],
    scope: tuple[Any, ...],
) -> Node:
    """A new node, in half the time that a constructor would take: every op makes one."""
    node = _new(Node)
    node.op = op
    node.attributes = attributes
    node.inputs = inputs
    node.needs = needs
    node.saved = saved
    node.output = output
    node.shape = data.shape
    node.dtype = data.dtype
    node.order = next(_count)
    node.scope = scope
    node.name = node.hooks = node.retained = None
    return node


_CONTAINERS = frozenset((np.ndarray, tuple, list))


def without_data(value: Any) -> Any:
    """Metadata with every array in it replaced by its shape and dtype; if it has none, the very same."""
    if isinstance(value, ndarray):
        return Constant(value.shape, value.dtype, None)
    if isinstance(value, (tuple, list)):
        for item in value:
            if type(item) in _CONTAINERS:
                return type(value)(without_data(item) for item in value)
    return value


def topological(roots: Iterable[Any], newer_than: int = 0) -> list[Node]:
    """The nodes that the roots were made from, newest first: each before everything it was made from."""
    found = [root for root in dict.fromkeys(roots) if type(root) is Node and root.order > newer_than]
    seen = set(found)
    for node in found:  # which grows
        for source in node.inputs:
            if type(source) is Node and source not in seen and source.order > newer_than:
                seen.add(source)
                found.append(source)
    found.sort(key=_order, reverse=True)  # quick for a chain, which is found in order
    return found


_order = attrgetter("order")


class Observer(Protocol):
    """Who wants to see a backward pass as it happens. The arrays are the engine's own, not to be kept or changed."""

    def arrived(self, node: Node, gradient: Any) -> None:
        """The gradient of a node is complete; its rules run next."""

    def passed(self, node: Node, position: int, gradient: Any, total: Any) -> None:
        """A rule of the node sent a gradient to the input at this position, where the sum is now `total`."""


def backward(
    roots: Sequence[tuple[Any, Any]],
    targets: Collection[Any] | None = None,
    *,
    release: bool,
    lift: Callable[[Any, Any], Any] | None = None,
    newer_than: int = 0,
    observer: Observer | None = None,
) -> tuple[dict[Any, Any], set[Any]]:
    """Pull the gradients that flow into the roots back to the targets: a mapping from source to gradient.

    roots       pairs of a source and the gradient that flows into it
    targets     the sources wanted; None means every leaf and every node that retains its gradient
    release     let go of each node's data as soon as it has been used
    lift        None: gradients are arrays. Otherwise they are Tensors and every rule is recorded; `lift(array, source)`
                makes a Tensor of a saved array that is linked to its source
    newer_than  take the nodes up to this number for leaves
    observer    told of every gradient, in the order of the walk

    Also returned: the leaves whose gradient may share its memory with something else.
    """
    wanted = None if targets is None else _wanted(topological([source for source, _ in roots], newer_than), targets)
    gradients: dict[Any, Any] = {}
    shared: set[Any] = set()
    queue: list[tuple[int, Node]] = []  # the nodes that a gradient has reached: a heap, the newest first
    for source, g in roots:
        if source in gradients:
            g = _sum(gradients[source], g)
        elif type(source) is Node and source.order > newer_than:
            heappush(queue, (-source.order, source))
        gradients[source] = g
        shared.add(source)
    while queue:
        node = heappop(queue)[1]
        g = gradients.pop(node)
        if node.hooks:
            for hook in list(node.hooks.values()):
                g = hook(g)
        if observer is not None:
            observer.arrived(node, g)
        if node.retained is not None if targets is None else node in targets:
            gradients[node] = g
        op, inputs, needs, z, attributes = node.op, node.inputs, node.needs, node.output, node.attributes
        kept = node.saved
        if kept is None:
            raise RuntimeError(
                f"backward: this graph was freed by an earlier backward pass, or by one that failed half-way (found at "
                f"{op.name}); give that pass retain_graph=True, or run the forward again"
            )
        rules: Any = op.vjps
        joint: Any = None  # the gradients of all inputs, where they come together
        saved: Sequence[Any] = kept
        if wanted is not None:
            needs = tuple(i for i in needs if inputs[i] in wanted)
        if lift is not None:
            if issubclass(op, FusedOp):
                joint = _pull_decomposition(node, g, needs, lift)
                needs = tuple(joint)
            else:
                saved = [lift(x, source) for x, source in zip(kept, inputs, strict=True)]
                z = None if z is None else lift(z, node)
        arguments = (g, node if z is None else z, *saved)
        if joint is None and op.vjp is not None:
            joint = _pull_jointly(op, arguments, attributes, needs)
        for i in needs:
            if joint is None:
                try:
                    gx = rules[i](*arguments, **attributes) if attributes else rules[i](*arguments)
                except _RULE_ERRORS as error:
                    raise _failed(op, i, error) from error
            else:
                gx = joint[i]
            source, x = inputs[i], kept[i]
            if type(gx) is not ndarray or lift is not None:
                gx = _checked(gx, op, i, lift)
            if gx.shape != x.shape:
                gx = _fit(gx, x.shape, op, i)
            if gx.dtype is not x.dtype:
                gx = _checked(gx, op, i, lift).astype(x.dtype)
            if source in gradients:
                gradients[source] = _sum(gradients[source], gx)
                shared.discard(source)
            else:
                gradients[source] = gx
                if type(source) is Node and source.order > newer_than:
                    heappush(queue, (-source.order, source))
                elif lift is None and _is_held(gx, arguments, attributes, op.residual > release):
                    shared.add(source)
            if observer is not None:
                observer.passed(node, i, gx, gradients[source])
        if release:
            node.release()
    return gradients, shared


_RULE_ERRORS = (TypeError, AttributeError, IndexError, ValueError)


def _failed(op: type[Op], i: int, error: Exception) -> Exception:
    """What to say of a rule that could not be run."""
    if i >= len(op.vjps) or op.vjps[i] is None:
        return _no_rule(op, i)
    kind = next(kind for kind in _RULE_ERRORS if isinstance(error, kind))
    return kind(
        f"{op.name}: the vjp of input {_input_name(op, i)} failed: {error}. "
        "A parameter that starts with an underscore, such as _y, has a shape and a dtype but no numbers"
    )


def _pull_jointly(
    op: type[Op], arguments: tuple[Any, ...], attributes: Mapping[str, Any], needs: tuple[int, ...]
) -> Sequence[Any]:
    """Run the op's one rule for all inputs."""
    assert op.vjp is not None
    count = len(arguments) - 2
    gradients = op.vjp(*arguments, needs=[i in needs for i in range(count)], **attributes)
    if isinstance(gradients, (tuple, list)) and len(gradients) == count:
        return gradients
    found = f"{len(gradients)} gradients" if isinstance(gradients, (tuple, list)) else type(gradients).__name__
    raise TypeError(f"{op.name}: its vjp returned {found} for {count} inputs; return one for each input")


def _wanted(order: list[Node], targets: Collection[Any]) -> set[Any]:
    """The sources through which a gradient reaches a target."""
    wanted = set(targets)
    for node in reversed(order):
        if any(node.inputs[i] in wanted for i in node.needs):
            wanted.add(node)
    return wanted


def _pull_decomposition(
    node: Node, g: Any, needs: tuple[int, ...], lift: Callable[[Any, Any], Any]
) -> Mapping[int, Any]:
    """Gradients of a fused op by way of the small ops it stands for, which are recorded and so differentiable again."""
    op, inputs, saved = node.op, node.inputs, node.saved
    assert issubclass(op, FusedOp)
    assert saved is not None
    if op.restore is not None:
        saved = tuple(op.restore(node.output, *saved, **node.attributes))
    mark = next(_count)
    z = op.decomposition(*(lift(x, s) for x, s in zip(saved, inputs, strict=True)), **node.attributes)
    root = z if z.node is None else z.node
    gradients, _ = backward([(root, g)], {inputs[i] for i in needs}, release=False, lift=lift, newer_than=mark)
    # an input that was given twice has its whole gradient under one key: it is counted for the first place
    return {i: gradients.pop(inputs[i]) for i in needs if inputs[i] in gradients}


def _checked(gradient: Any, op: type[Op], i: int, lift: Callable[[Any, Any], Any] | None) -> Any:
    """What a rule returned as an array, or as a Tensor if the rules are recorded; anything else is a wrong rule."""
    if lift is not None and hasattr(gradient, "node"):
        return gradient
    if gradient is None:
        raise _no_rule(op, i)
    if isinstance(gradient, (tuple, list)):
        raise TypeError(
            f"{op.name}: the vjp of input {_input_name(op, i)} returned {len(gradient)} gradients where one is expected"
        )
    array = np.asarray(gradient)  # NumPy turns 0-d results into scalars
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{op.name}: the vjp of input {_input_name(op, i)} returned {gradient!r}, which is no gradient")
    return array if lift is None else lift(array, None)


def _fit(gradient: Any, shape: tuple[int, ...], op: type[Op], i: int) -> Any:
    """Undo broadcasting, for the ops that broadcast; afterwards the shape must be the input's."""
    fitted = unbroadcast(gradient, shape) if op.broadcasts else gradient
    if fitted.shape != shape:
        raise ValueError(
            f"{op.name}: the vjp of input {_input_name(op, i)} returned a gradient of shape {gradient.shape}, "
            f"but the input has shape {shape}"
            + ("" if op.broadcasts else "; if the op broadcasts its inputs, set broadcasts = True")
        )
    return fitted


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum g over the axes along which an array of this shape was broadcast."""
    extra = g.ndim - len(shape)
    axes = tuple(a for a in range(g.ndim) if a < extra or (shape[a - extra] == 1 and g.shape[a] != 1))
    if axes:
        # float16 sums stall at 2048 ones: add up in float32
        half = isinstance(g, np.ndarray) and g.dtype == np.float16
        g = g.sum(axis=axes, keepdims=True, dtype=np.float32) if half else g.sum(axis=axes, keepdims=True)
    return g.reshape(shape) if extra > 0 else g


def _no_rule(op: type[Op], i: int) -> Exception:
    return NotDifferentiable(
        f"{op.name}: there is no rule for the gradient of input {_input_name(op, i)}; "
        f"give {op.__name__}.vjps one, or call detach() on that input if no gradient is meant to flow through it"
    )


class NotDifferentiable(TypeError):
    """A gradient was asked for where an op has no rule."""


def _input_name(op: type[Op], i: int) -> str:
    return op.input_name(i) if op.variadic else f"{op.input_name(i)!r} (position {i})"


def _sum(a: Any, b: Any) -> Any:
    total = a + b
    return np.asarray(total) if isinstance(total, np.generic) else total


def _is_held(gradient: Any, arguments: tuple[Any, ...], attributes: Mapping[str, Any], residual: bool) -> bool:
    """Does anything else hold the memory of what a rule returned? A residual that stays may."""
    held = residual or gradient.base is not None
    for x in arguments:
        held |= gradient is x
    for x in attributes.values():
        held |= gradient is x
    return held
