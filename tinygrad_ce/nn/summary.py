"""A model as a table of its layers, with shapes and sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_ce.mode import get_default_dtype, no_grad
from tinygrad_ce.nn.parameter import Buffer, Parameter
from tinygrad_ce.results import Table
from tinygrad_ce.tensor import Tensor

if TYPE_CHECKING:
    from rich.console import Group


@dataclass(frozen=True)
class Layer:
    """One module: its path, what it is, the shape it returns ("-" if it was not called), what it holds itself."""

    path: str
    kind: str
    output_shape: str
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Summary:
    """What `Module.summary` returns: `layers`, and `total` over them. Shown as a table by print, notebooks and rich.

    frozen   numbers in parameters that take no gradient
    buffers  numbers in buffers

    >>> from tinygrad_ce import nn
    >>> summary = nn.MLP([64, 32, 10]).summary((8, 64))
    >>> summary.layers[0]
    Layer(path='0', kind='Linear(64, 32)', output_shape='(8, 32)', parameters=2080, bytes=8320)
    >>> summary.total.parameters
    2410
    """

    layers: tuple[Layer, ...]
    total: Layer
    frozen: int
    buffers: int

    def table(self) -> Table:
        """The rows as text."""
        rows = (*self.layers, self.total)
        width = max(len(row.path) for row in rows)
        return Table(
            (f"{'layer':{width}}", "output shape", "parameters", "bytes"),
            [
                (f"{row.path:{width}}  {row.kind}", row.output_shape, f"{row.parameters:,}", f"{row.bytes:,}")
                for row in rows
            ],
        )

    def notes(self) -> list[str]:
        """What the table does not say, a line each."""
        notes = [f"{self.frozen:,} of the parameters are frozen."] * bool(self.frozen)
        return notes + [f"Buffers hold {self.buffers:,} numbers more, which are not learned."] * bool(self.buffers)

    def __str__(self) -> str:
        return "\n".join([str(self.table()), *self.notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table().html() + "".join(f"<p>{note}</p>" for note in self.notes())

    def __rich__(self) -> Group:
        from rich.console import Group

        return Group(self.table().rich(), *self.notes())


def summarize(model: Any, shapes: Sequence[Sequence[int]], dtype: DTypeLike | None) -> Summary:
    """Run a Module on zeros of these shapes and note what each module in it returns; see `Module.summary`."""
    modules = list(model.named_modules())
    outputs = _run(model, [module for _, module in modules], _zeros(model, shapes, dtype))
    seen: set[int] = set()
    layers: list[Layer] = []
    for path, module in modules:
        held = [x for x in vars(module).values() if isinstance(x, (Parameter, Buffer)) and id(x) not in seen]
        seen.update(map(id, held))
        kind = type(module).__name__
        inner = bool(module.children())
        if inner and module is model and not held:
            continue
        layers.append(Layer(
            path or "(itself)", kind if inner else f"{kind}({module.describe()})", outputs.get(id(module), "-"),
            sum(x.size for x in held if isinstance(x, Parameter)), sum(x.data.nbytes for x in held),
        ))  # fmt: skip
    total = Layer(
        "total", type(model).__name__, outputs.get(id(model), "-"),
        sum(layer.parameters for layer in layers), sum(layer.bytes for layer in layers),
    )  # fmt: skip
    frozen = sum(x.size for x in model.parameters() if not x.requires_grad)
    return Summary(tuple(layers), total, frozen, sum(x.size for x in model.buffers()))


def _zeros(model: Any, shapes: Sequence[Sequence[int]], dtype: DTypeLike | None) -> list[Tensor]:
    if dtype is None:
        dtype = next((x.dtype for x in model.parameters()), get_default_dtype())
    if not shapes:
        raise TypeError("summary: expected the shape of an input, such as (1, 64), found none")
    for shape in shapes:
        if not isinstance(shape, (tuple, list)) or not all(isinstance(n, (int, np.integer)) and n >= 0 for n in shape):
            raise TypeError(f"summary: expected the shape of an input, such as (1, 64), found {shape!r}")
    return [Tensor(np.zeros(tuple(shape), dtype)) for shape in shapes]


def _run(model: Any, modules: Sequence[Any], inputs: Sequence[Tensor]) -> dict[int, str]:
    """The shapes that each module returns, by its id. While it runs, each module has a `forward` of its own."""
    outputs: dict[int, str] = {}

    def noting(key: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        def forward_and_note(*args: Any, **kwargs: Any) -> Any:
            result = forward(*args, **kwargs)
            shape = _shape(result)
            before = outputs.get(key, "").split(" and ")
            outputs[key] = " and ".join([*filter(None, before), *([] if shape in before else [shape])])
            return result

        return forward_and_note

    own = [{key: vars(module)[key] for key in ("forward", "training") if key in vars(module)} for module in modules]
    try:
        for module in modules:
            vars(module).update(forward=noting(id(module), module.forward), training=False)
        with no_grad():
            model(*inputs)
    except Exception as error:
        found = ", ".join(f"{x.dtype} zeros of shape {x.shape}" for x in inputs)
        raise ValueError(
            f"summary: {type(model).__name__} cannot be called on {found}: {error}; give each input's whole shape, "
            "with its batch axis, and for indices dtype=int"
        ) from error
    finally:
        for module, attributes in zip(modules, own, strict=True):
            for key in ("forward", "training"):
                vars(module).pop(key, None)
            vars(module).update(attributes)
    return outputs


def _shape(result: Any) -> str:
    if isinstance(result, (tuple, list)):
        return ", ".join(map(_shape, result))
    return str(result.shape) if hasattr(result, "shape") else "-"
