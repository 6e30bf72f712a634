"""Chains of modules as ONNX, for other runtimes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce import nn
from tinygrad_ce.mode import no_grad
from tinygrad_ce.training import files
from tinygrad_ce.training.batches import check_model, in_mode
from tinygrad_ce.training.files import PathLike

OPSET, IR_VERSION = 20, 9  # the first with Gelu; its version of the format


def export_onnx(model: nn.Module, path: PathLike, *, input_shape: Sequence[int] | None = None) -> None:
    """Write a model as ONNX, as it computes in evaluation mode: Dropout is left out, BatchNorm1d uses what it learned.

    model        a Sequential or MLP (also inside one another) of Linear, BatchNorm1d, LayerNorm, Flatten, Dropout,
                 Identity, Softmax, LogSoftmax and the activations
    path         such as "m.onnx"; a file of this name is replaced, at once or not at all
    input_shape  of one row, such as (28, 28); needed where the first layer does not tell it

    The input is called "input" and the output "output"; their first axis, the batch, is free. Weights keep their dtype
    and have the names of the state dict. Opset 20; needs the package onnx. onnxruntime computes all of this in float32;
    in float64 it has no LeakyReLU, ELU, GELU and Softplus.
    Raises TypeError for a module that has no ONNX here, by name; ValueError if the input's shape is not known;
    ImportError without onnx.

    >>> import tinygrad_ce as tg
    >>> tg.export_onnx(tg.nn.Sequential(tg.nn.Linear(4, 3), tg.nn.Embedding(5, 2)), "m.onnx")
    Traceback (most recent call last):
    TypeError: export_onnx: no ONNX is known for 1, Embedding(5, 2); expected Linear, BatchNorm1d, LayerNorm, ...
    """
    check_model("export_onnx", model)
    chain = list(_chain(model))
    shape = _input_shape(chain, input_shape)
    try:
        import onnx
    except ImportError:
        raise ImportError('export_onnx needs onnx: pip install "tinygrad_ce[onnx]"') from None

    from tinygrad_ce import __version__

    dtype = next((parameter.dtype for parameter in model.parameters()), np.dtype(np.float32))
    writer = _Writer(onnx, dtype)
    x: Any = np.zeros((1, *shape), dtype)
    kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    start = onnx.helper.make_tensor_value_info("input", kind, ["N", *shape])
    with in_mode(model, training=False), no_grad():
        for name, module in chain:
            writer.name = name
            _KNOWN[type(module)](writer, module, x)
            x = module(x)
    writer.node("Identity", [writer.latest], outputs=["output"])
    end = onnx.helper.make_tensor_value_info("output", kind, ["N", *x.shape[1:]])
    graph = onnx.helper.make_graph(writer.nodes, type(model).__name__, [start], [end], writer.initializers)
    proto = onnx.helper.make_model(
        graph, ir_version=IR_VERSION, opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        producer_name="tinygrad_ce", producer_version=__version__,
    )  # fmt: skip
    onnx.checker.check_model(proto, full_check=True)
    files.write_whole("export_onnx", path, proto.SerializeToString())


class _Writer:
    """The nodes and weights of the graph so far; `latest` is the name of what was computed last."""

    def __init__(self, onnx: Any, dtype: np.dtype[Any]) -> None:
        self.onnx = onnx
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.name = ""  # path of the module that is being written
        self.latest = "input"

    def node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str] = (), **attributes: Any) -> str:
        """Add a node, whose output is the latest then; its name."""
        outputs = outputs or [f"{self.name}/{kind}_{len(self.nodes)}"]
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))
        self.latest = outputs[0]
        return self.latest

    def array(self, name: str, values: Any, dtype: Any = None) -> str:
        """Add an array that belongs to the module; its name."""
        full = f"{self.name}.{name}" if self.name else name
        values = np.asarray(values, self.dtype if dtype is None else dtype)
        self.initializers.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(values), full))
        return full


def _chain(model: nn.Module, path: str = "") -> Any:
    """Pairs of path and module, in the order they are called; TypeError for a module that is not known here."""
    if type(model) in _KNOWN:
        yield path, model
    elif isinstance(model, nn.Sequential) and type(model).forward is nn.Sequential.forward:
        for name, child in model.named_children():
            yield from _chain(child, f"{path}.{name}" if path else name)
    else:
        known = ", ".join(kind.__name__ for kind in _KNOWN)
        where = f"{path}, " if path else ""
        shown = repr(model) if "\n" not in repr(model) else type(model).__name__
        raise TypeError(f"export_onnx: no ONNX is known for {where}{shown}; expected {known} in a Sequential or MLP")


def _input_shape(chain: Sequence[tuple[str, nn.Module]], given: Sequence[int] | None) -> tuple[int, ...]:
    """The shape of one row, as given or as the first layer that has one tells."""
    if given is not None:
        if isinstance(given, int) or not all(isinstance(n, (int, np.integer)) and n > 0 for n in given):
            raise ValueError(f"export_onnx: input_shape={given!r}; expected positive integers, such as (28, 28)")
        return tuple(int(n) for n in given)
    for _, module in chain:
        if isinstance(module, nn.Linear):
            return (module.weight.shape[1],)
        if isinstance(module, nn.BatchNorm1d):
            return (module.num_features,)
        if isinstance(module, nn.LayerNorm):
            return module.normalized_shape
        if isinstance(module, nn.Flatten):
            break
    raise ValueError("export_onnx: the first layer does not tell the input's shape; write input_shape=(28, 28), say")


def _linear(writer: _Writer, module: Any, x: NDArray[Any]) -> None:
    weight = module.weight.data
    if x.ndim == 2:
        inputs = [writer.latest, writer.array("weight", weight)]
        if module.bias is not None:
            inputs.append(writer.array("bias", module.bias.data))
        writer.node("Gemm", inputs, transB=1)
        return
    writer.node("MatMul", [writer.latest, writer.array("weight", weight.T)])
    if module.bias is not None:
        writer.node("Add", [writer.latest, writer.array("bias", module.bias.data)])


def _batch_norm(writer: _Writer, module: Any, _x: NDArray[Any]) -> None:
    if module.running_mean is None:
        raise TypeError(
            f"export_onnx: {writer.name}, {module!r} has no running statistics, so its outputs depend on the batch; "
            "make it with track_running_stats=True"
        )
    ones = np.ones(module.num_features)
    arrays = {
        "weight": ones if module.weight is None else module.weight.data,
        "bias": 0 * ones if module.bias is None else module.bias.data,
        "running_mean": module.running_mean.data,
        "running_var": module.running_var.data,
    }
    inputs = [writer.latest, *(writer.array(name, values) for name, values in arrays.items())]
    writer.node("BatchNormalization", inputs, epsilon=module.eps)


def _layer_norm(writer: _Writer, module: Any, _x: NDArray[Any]) -> None:
    weight = np.ones(module.normalized_shape) if module.weight is None else module.weight.data
    inputs = [writer.latest, writer.array("weight", weight)]
    if module.bias is not None:
        inputs.append(writer.array("bias", module.bias.data))
    writer.node("LayerNormalization", inputs, axis=-len(module.normalized_shape), epsilon=module.eps)


def _flatten(writer: _Writer, module: Any, x: NDArray[Any]) -> None:
    first = module.start_dim % x.ndim
    if first == 0:
        raise TypeError(f"export_onnx: {writer.name}, {module!r} flattens the batch too; expected start_dim=1 or more")
    shape = [0, *module(x).shape[1:]]  # 0: as it is
    writer.node("Reshape", [writer.latest, writer.array("shape", shape, np.int64)])


def _softmax(writer: _Writer, module: Any, _x: NDArray[Any]) -> None:
    if module.temperature != 1:
        writer.node("Div", [writer.latest, writer.array("temperature", module.temperature)])
    writer.node("Softmax", [writer.latest], axis=module.axis)


def _log_softmax(writer: _Writer, module: Any, _x: NDArray[Any]) -> None:
    writer.node("LogSoftmax", [writer.latest], axis=module.axis)


def _silu(writer: _Writer, _module: Any, _x: NDArray[Any]) -> None:
    before = writer.latest
    writer.node("Mul", [before, writer.node("Sigmoid", [before])])


def _nothing(_writer: _Writer, _module: Any, _x: NDArray[Any]) -> None:
    """Computes nothing in evaluation mode."""


def _one(kind: str, *options: str, **names: str) -> Callable[[_Writer, Any, NDArray[Any]], None]:
    """A module that is one node: the names of its options, in ONNX and here where they differ."""

    def write(writer: _Writer, module: Any, _x: NDArray[Any]) -> None:
        given = {name: getattr(module, names.get(name, name)) for name in (*options, *names)}
        writer.node(kind, [writer.latest], **given)

    return write


_KNOWN: dict[type[nn.Module], Callable[[_Writer, Any, NDArray[Any]], None]] = {
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.Flatten: _flatten,
    nn.Dropout: _nothing,
    nn.Identity: _nothing,
    nn.Softmax: _softmax,
    nn.LogSoftmax: _log_softmax,
    nn.ReLU: _one("Relu"),
    nn.LeakyReLU: _one("LeakyRelu", alpha="negative_slope"),
    nn.ELU: _one("Elu", "alpha"),
    nn.GELU: _one("Gelu", "approximate"),
    nn.SiLU: _silu,
    nn.Sigmoid: _one("Sigmoid"),
    nn.Softplus: _one("Softplus"),
    nn.Tanh: _one("Tanh"),
}
