"""Reading a graph from live tensors into plain data, which outlives the backward pass and the tensors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce import engine
from tinygrad_ce.engine import Constant, Node
from tinygrad_ce.graph.data import Edge, Gradient, Graph, GraphNode, Kept, Kind, Passed, Step, Summary
from tinygrad_ce.graph.expand import Expanded
from tinygrad_ce.graph.expand import expand as expanded
from tinygrad_ce.graph.gradients import Gradients, find_gradients
from tinygrad_ce.graph.summary import summarize
from tinygrad_ce.graph.values import replay
from tinygrad_ce.registry import FusedOp
from tinygrad_ce.tensor import Tensor

Array = NDArray[Any]

DETAILED = 2000  # nodes up to which pictures have excerpts of the numbers


class Model(Protocol):
    """What names parameters and modules: anything with these two methods."""

    def named_parameters(self) -> Any: ...
    def named_modules(self) -> Any: ...


def capture(
    output: Tensor | Sequence[Tensor],
    *,
    model: Model | None = None,
    inputs: Mapping[str, Any] | None = None,
    gradients: Gradients = "auto",
    expand: Collection[str] = (),
) -> Graph:
    """Read the graph that made a tensor, or several, into plain data.

    output      a Tensor or a sequence of Tensors
    model       names the parameters by their path, such as fc1.weight, and tells the modules apart
    inputs      names for tensors or arrays that were put in: `{"x": x, "y": y}`. An array that takes no
                gradient is recognized by identity while the graph holds it, else by being the only one of its
                shape and dtype
    gradients   "auto": what leaves, and tensors that retain theirs, hold in `.grad`. True: those that a backward
                pass would bring to every node now; it is run apart (hooks run, no `.grad` changes), and needs
                outputs of one element and a graph that still has its arrays. False: none

    expand      names of fused ops, such as "softmax_cross_entropy", in whose place their decompositions are read

    Where the graph still has its arrays, the numbers of interior tensors are known too: those that no rule needs are
    computed again. The tensors' numbers are those of now: a parameter changed since then shows its new ones.

    A leaf is a *parameter* if it is one of the model's, an *input* if it is one of the inputs. Of the others, one
    that takes a gradient is a parameter, an array is an input; but once `inputs` are listed, an array is a
    *constant*, and with a model alone, what is not its parameter is an input. Class indices that a loss is given
    as `targets` are a *target*; other metadata, an index say, is drawn if it is among the inputs. The buffers of
    leaves, targets too, do not count as kept for the backward pass.

    Parameters of the model that take a gradient, and tensors among the inputs that do, are *detached* if the outputs
    were not made from them.

    Raises TypeError for anything but Tensors, RuntimeError if `gradients=True` cannot be had, ValueError if there is
    nothing of that name to expand.

    >>> import tinygrad_ce as tg
    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> graph = capture((x * x).sum())
    >>> [(node.id, node.op or node.name) for node in graph.nodes]
    [('n0', 'x'), ('n1', 'mul'), ('n2', 'sum')]
    >>> [(edge.source, edge.target) for edge in graph.edges]
    [('n0', 'n1'), ('n0', 'n1'), ('n1', 'n2')]
    """
    return read(output, model=model, inputs=inputs, gradients=gradients, expand=expand)[0]


def read(
    output: Tensor | Sequence[Tensor],
    *,
    model: Model | None = None,
    inputs: Mapping[str, Any] | None = None,
    gradients: Gradients = "auto",
    expand: Collection[str] = (),
) -> tuple[Graph, dict[str, Array]]:
    """The graph as `capture` gives it, and the gradients of its leaves as arrays, by id."""
    if gradients not in ("auto", True, False):
        raise ValueError(f'capture: gradients: expected "auto", True or False, found {gradients!r}')
    given = _outputs(output)
    outputs = expanded(given, [expand] if isinstance(expand, str) else expand)
    nodes = engine.topological(z.node for z in outputs)[::-1]
    released = any(node.saved is None for node in nodes)
    detailed = len(nodes) <= DETAILED
    reader = _Reader(model, inputs, detailed)
    found = find_gradients(outputs, nodes, released, gradients, detailed)
    reader.gradients = found.sizes
    reader.leaf_buffers = _leaf_buffers(nodes, outputs) | {id(_owner(data)) for _, _, data in reader.given or ()}
    reader.scalars = {z.node or z: z.item() for z in outputs if z.size == 1}
    for node, value in replay(nodes):
        reader.read(node, value)
    for z in outputs:
        if z.node is None:
            reader.leaf(z, z.data, ())
    ids, connected = reader.ids, len(reader.nodes)
    if nodes:
        reader.read_detached(model)
    graph = Graph(
        nodes=tuple(reader.nodes),
        edges=tuple(reader.edges),
        outputs=tuple(dict.fromkeys(ids[z.node or z] for z in outputs)),
        title=_title(given) if model is None else type(model).__name__,
        modules=reader.modules,
        steps=tuple(
            Step(ids[node], tuple(Passed(ids[source], i, g, total) for source, i, g, total in passed))
            for node, passed in found.steps
        ),
        detached=tuple(node.id for node in reader.nodes[connected:]),
        recorded=bool(nodes),
        released=released,
    )
    return graph, {ids[leaf]: g for leaf, g in found.leaves.items() if leaf in ids}


def _outputs(output: Any) -> list[Tensor]:
    outputs = [output] if isinstance(output, Tensor) else list(output) if isinstance(output, Sequence) else []
    for z in outputs or [output]:
        if not isinstance(z, Tensor):
            raise TypeError(f"capture: expected a Tensor or a sequence of Tensors, found {z!r}")
    return list(dict.fromkeys(outputs))


def _title(outputs: Sequence[Tensor]) -> str:
    z = outputs[0]
    return f"{len(outputs)} outputs" if len(outputs) > 1 else z.name or (z.node.op.name if z.node else "leaf")


class _Reader:
    """Gives out ids and names while the nodes go by, oldest first."""

    def __init__(self, model: Model | None, inputs: Mapping[str, Any] | None, detailed: bool) -> None:
        if inputs is not None and not isinstance(inputs, Mapping):
            raise TypeError(f'capture: inputs: expected {{"x": x, ...}}, found {type(inputs).__name__}')
        self.detailed = detailed  # take excerpts
        self.has_model = model is not None
        self.parameters: dict[int, str] = {}
        self.frozen: list[tuple[str, Any, Array]] = []
        self.paths: dict[int, str] = {}
        if model is not None:
            if not (hasattr(model, "named_parameters") and hasattr(model, "named_modules")):
                raise TypeError(
                    f"capture: model: expected named_parameters() and named_modules(), found {type(model).__name__}"
                )
            for name, parameter in model.named_parameters():
                self.parameters.setdefault(id(parameter), name)
                if not parameter.requires_grad:  # frozen: the graph has it as a constant
                    self.frozen.append((name, parameter, parameter.data))
            for name, module in model.named_modules():
                self.paths.setdefault(id(module), name)
        self.taken, self.numbered = set(self.paths.values()), Counter[str]()
        self.given = None if inputs is None else [(name, x, _data(x)) for name, x in inputs.items()]
        self.given_nodes = {x.node: name for name, x, _ in self.given or () if isinstance(x, Tensor) and x.node}
        self.gradients: dict[Any, Gradient] = {}
        self.leaf_buffers: set[int] = set()
        self.scalars: dict[Any, float] = {}
        self.buffers: dict[int, int] = {}
        self.first_keeper: dict[int, str] = {}
        self.ids: dict[Any, str] = {}
        self.modules: dict[str, str] = {}
        self.nodes: list[GraphNode] = []
        self.edges: list[Edge] = []
        self.unnamed = 0

    def read(self, node: Node, value: Array | None) -> None:
        op, scope = node.op, self.scope(node.scope)
        saved = node.saved or node.inputs
        numbers: list[tuple[str, str]] = []
        operands: list[tuple[str, int | None, str]] = []
        for i, (source, x) in enumerate(zip(node.inputs, saved, strict=True)):
            name = op.input_name(i)
            if type(source) is Constant and source.value is not None:
                numbers.append((name, _text(source.value)))
                continue
            array = x if isinstance(x, np.ndarray) else None
            made_by = self.ids[source] if type(source) is Node else self.leaf(source, array, scope)
            operands.append((made_by, i, name))
        pointed = dict(self.pointed(node))
        operands += [(leaf, None, key) for key, leaf in pointed.items()]
        this = self.ids[node] = f"n{len(self.nodes)}"
        self.edges += [Edge(source, this, position, name) for source, position, name in operands]
        metadata = [
            (key, _text(value))
            for key, value in node.attributes.items()
            if key not in pointed and not _is_default(value, op.defaults.get(key))
        ]
        self.nodes.append(GraphNode(
            this, "op", op.name, node.name or self.given_nodes.get(node, ""), node.shape, node.dtype.name,
            (*numbers, *metadata), scope, formula=op.formula, vjp_formula=op.vjp_formula, fused=issubclass(op, FusedOp),
            value=self.scalars.get(node), summary=self.summary(value), gradient=self.gradients.get(node),
            kept=tuple(self.kept(node, this)),
        ))  # fmt: skip

    def leaf(self, source: Any, array: Any, scope: tuple[str, ...]) -> str:
        """The id of a leaf Tensor or a Constant, which gets its node where it is first used."""
        given = self.given_name(source, array)
        named = given or getattr(source, "name", None)
        # a Constant is made anew at each use: the same name, shape and dtype say it is the same array
        same = (named, source.shape, source.dtype) if type(source) is Constant and named else source
        if same in self.ids:
            return self.ids[same]
        path = self.parameters.get(id(source)) or (None if given else self.frozen_name(source, array))
        others = self.given is not None  # inputs were listed, and this is not one of them
        kind: Kind
        if path is not None or given is not None:
            kind = "input" if path is None else "parameter"
        elif source.requires_grad:
            kind = "parameter" if others or not self.has_model else "input"
        else:
            kind = "constant" if others or not source.shape else "input"
        name = path or named or f"x{self.unnamed}"
        self.unnamed += name == f"x{self.unnamed}"
        array = source.data if isinstance(source, Tensor) else array
        return self.add_leaf(same, kind, name, source, array, scope if kind in ("parameter", "constant") else ())

    def pointed(self, node: Node) -> Iterator[tuple[str, str]]:
        """Metadata that is drawn as a leaf, with its id: targets, and arrays that are among the inputs."""
        for key, value in node.attributes.items():
            for array in (value,) if isinstance(value, Constant) else _arrays(value):
                name = self.given_name(None, array) if key == "targets" else self.given_metadata(array)
                if name or key == "targets":
                    same = (name, "metadata") if name else object()
                    array = next((data for given, _, data in self.given or () if given == name), array)
                    kind: Kind = "target" if key == "targets" or array.dtype.kind in "iu" else "constant"
                    yield key, self.ids.get(same) or self.add_leaf(same, kind, name or key, array, array, ())

    def given_metadata(self, array: Any) -> str | None:
        """The name in `inputs` of an index, or of another array that is metadata: often a view of what was given."""
        alike = (math.prod(array.shape), array.dtype)
        given = [(name, data) for name, _, data in self.given or () if (data.size, data.dtype) == alike]
        if isinstance(array, Constant):
            return given[0][0] if len(given) == 1 else None
        start = array.__array_interface__["data"]
        same = [name for name, data in given if data.__array_interface__["data"] == start]
        if array.dtype.kind in "iu" and array.size > 1:  # losses make indices of their own from the targets
            same += [name for name, data in given if np.array_equal(data.ravel(), array.ravel())]
        return same[0] if same else None

    def add_leaf(self, key: Any, kind: Kind, name: str, source: Any, array: Any, scope: tuple[str, ...]) -> str:
        this = self.ids[key] = f"n{len(self.nodes)}"
        self.nodes.append(GraphNode(
            this, kind, "", name, source.shape, source.dtype.name, module=scope,
            value=self.scalars.get(key), summary=self.summary(array), gradient=self.gradients.get(key),
        ))  # fmt: skip
        return this

    def summary(self, array: Any) -> Summary | None:
        return summarize(array, self.detailed) if isinstance(array, np.ndarray) else None

    def read_detached(self, model: Model | None) -> None:
        """What takes a gradient that will never come: no path leads from it to the outputs."""
        for name, parameter in model.named_parameters() if model is not None else ():
            if parameter.requires_grad and parameter not in self.ids:
                self.add_leaf(parameter, "parameter", name, parameter, parameter.data, ())
        for name, x, data in self.given or ():
            if isinstance(x, Tensor) and x.requires_grad and (x.node or x) not in self.ids:
                if x.node is None:
                    self.add_leaf(x, "input", name, x, data, ())
                else:
                    this = self.ids[x.node] = f"n{len(self.nodes)}"
                    op = x.node.op.name
                    self.nodes.append(
                        GraphNode(this, "op", op, name, x.shape, x.dtype.name, summary=self.summary(data))
                    )

    def frozen_name(self, source: Any, array: Any) -> str | None:
        """The path of a parameter that takes no gradient, if this is one."""
        if isinstance(source, Tensor):
            return None
        if isinstance(array, np.ndarray):
            return next((name for name, _, data in self.frozen if _is_same(array, data)), None)
        alike = [name for name, _, data in self.frozen if (data.shape, data.dtype) == (source.shape, source.dtype)]
        return alike[0] if len(alike) == 1 else None

    def given_name(self, source: Any, array: Any) -> str | None:
        """The name in `inputs` of a leaf Tensor, or of a constant with or without its array."""
        given = self.given or []
        held = isinstance(array, np.ndarray)
        for name, x, data in given:
            if x is source or (held and _is_same(array, data)):
                return name
        if isinstance(source, Tensor) or (held and source is not None):
            return None
        shown = source if array is None else array
        alike = [name for name, _, data in given if (data.shape, data.dtype) == (shown.shape, shown.dtype)]
        return alike[0] if len(alike) == 1 else None

    def scope(self, modules: tuple[Any, ...]) -> tuple[str, ...]:
        """The paths of modules, the model itself left out; numbered class names of unknown ones."""
        paths = []
        for module in modules:
            if id(module) not in self.paths:
                kind = name = module.op.name if isinstance(module, Expanded) else type(module).__name__
                while name in self.taken:
                    self.numbered[kind] += 1
                    name = f"{kind} {self.numbered[kind] + 1}"
                self.taken.add(name)
                self.paths[id(module)] = name
            path = self.paths[id(module)]
            if path and path not in paths:
                paths.append(path)
            if path and path not in self.modules:
                shown = repr(module)
                self.modules[path] = type(module).__name__ if "\n" in shown else shown
        return tuple(paths)

    def kept(self, node: Node, this: str) -> Iterator[Kept]:
        for what, array in _kept_arrays(node):
            owner = _owner(array)
            buffer = self.buffers.setdefault(id(owner), len(self.buffers))
            keeper = self.first_keeper.setdefault(id(owner), this)
            yield Kept(what, owner.nbytes, buffer, id(owner) in self.leaf_buffers, keeper != this)


def _kept_arrays(node: Node) -> Iterator[tuple[str, Any]]:
    """The arrays a live node holds, and what they are to its op."""
    if node.saved is None:
        return
    is_residual = issubclass(node.op, FusedOp) and node.op.residual
    yield from (("residual" if is_residual else "output", x) for x in _arrays(node.output))
    yield from ((node.op.input_name(i), x) for i, x in enumerate(node.saved) if isinstance(x, np.ndarray))
    for key, value in node.attributes.items():
        yield from ((key, x) for x in _arrays(value))


def _arrays(value: Any) -> Iterator[Any]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _arrays(item)


def _owner(array: Any) -> Any:
    """The array whose memory this one shows."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _data(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else np.asarray(x)


def _is_same(x: Any, y: Any) -> bool:
    """Do two arrays show the same memory in the same way?"""
    return x is y or all(x.__array_interface__[key] == y.__array_interface__[key] for key in _LAYOUT)


_LAYOUT = ("data", "shape", "strides", "typestr")


def _leaf_buffers(nodes: Sequence[Node], outputs: Sequence[Tensor]) -> set[int]:
    """Identities of the buffers that belong to leaves: given from outside, not made by an op."""
    leaves = [z.data for z in outputs if z.node is None]
    for node in nodes:
        for source, x in zip(node.inputs, node.saved or node.inputs, strict=True):
            if isinstance(source, Tensor):
                leaves.append(source.data)
            elif type(source) is Constant and isinstance(x, np.ndarray):
                leaves.append(x)
        leaves += _arrays(node.attributes.get("targets"))
    return {id(_owner(x)) for x in leaves}


def _is_default(value: Any, default: Any) -> bool:
    same_kind = type(value) is type(default) and isinstance(value, (bool, int, float, str))
    return value is default or (same_kind and value == default)


def _text(value: Any) -> str:
    """Metadata in few characters; arrays by shape and dtype."""
    if isinstance(value, (np.ndarray, Constant)):
        return f"{value.shape} {value.dtype.name}"
    if isinstance(value, (tuple, list)):
        inside = ", ".join(map(_text, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' * (len(value) == 1)})"
    if isinstance(value, slice):
        ends = [("" if x is None else str(x)) for x in (value.start, value.stop, value.step)]
        return ":".join(ends if value.step is not None else ends[:2])
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is Ellipsis:
        return "..."
    if value is None or isinstance(value, (bool, int, str, np.generic)):
        return str(value)
    return getattr(value, "__name__", type(value).__name__)
