"""A model's architecture as plain data, for saving beside its weights: class names and constructor arguments.

A config is a dict of what JSON has: {"class": "Linear", "arguments": {"in_features": 4, ...}}, and for a container
{"class": "Sequential", "children": [config, ...]}, where a child whose name is not its index has a "name" too.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_ce.nn import activations, losses
from tinygrad_ce.nn.containers import MLP, ModuleList, Sequential
from tinygrad_ce.nn.layers import Dropout, Embedding, Flatten, Identity, Linear
from tinygrad_ce.nn.linear_cross_entropy import LinearCrossEntropyLoss
from tinygrad_ce.nn.module import Module
from tinygrad_ce.nn.normalization import BatchNorm1d, LayerNorm
from tinygrad_ce.nn.options import WithOptions

_CONTAINERS: dict[str, type[ModuleList]] = {kind.__name__: kind for kind in (Sequential, ModuleList, MLP)}
_LAYERS: dict[str, type[WithOptions]] = {
    kind.__name__: kind
    for kind in (
        Linear, Embedding, Dropout, Flatten, Identity, LayerNorm, BatchNorm1d,
        activations.ReLU, activations.LeakyReLU, activations.ELU, activations.GELU, activations.SiLU,
        activations.Sigmoid, activations.Softplus, activations.Tanh, activations.Softmax, activations.LogSoftmax,
        losses.SoftmaxCrossEntropy, losses.NLLLoss, losses.SigmoidBinaryCrossEntropy, losses.BinaryCrossEntropy,
        losses.MSELoss, losses.KLDivLoss, LinearCrossEntropyLoss,
    )
}  # fmt: skip


def to_config(model: Module) -> dict[str, Any]:
    """The architecture of a model made of `nn`'s own modules, as data that JSON can hold: no weights, no generators.

    `from_config` makes such a model again, with weights of the same names, shapes and dtypes; that is tried here.

    Raises TypeError for a module of a class that is not `nn`'s own, and ValueError for a model that a config cannot
    describe: with a parameter that is used in two places, or changed by hand after it was made. The weights of such a
    model are saved with `state_dict()` alone.

    >>> from tinygrad_ce import nn
    >>> to_config(nn.Sequential(nn.Flatten(), nn.LeakyReLU(0.1)))
    {'class': 'Sequential', 'children': [{'class': 'Flatten', 'arguments': {'start_dim': 1, 'end_dim': -1}},
                                         {'class': 'LeakyReLU', 'arguments': {'negative_slope': 0.1}}]}
    """
    if not isinstance(model, Module):
        raise TypeError(f"to_config: expected a Module, found {type(model).__name__}")
    config = _config(model, "", ())
    tensors = dict(model._state())
    places: dict[int, str] = {}
    for name, tensor in tensors.items():
        first = places.setdefault(id(tensor), name)
        if first != name:
            raise ValueError(f"to_config: {first} and {name} are one tensor, which a config cannot say; {_INSTEAD}")
    again = dict(from_config(config, generator=np.random.default_rng(0))._state())
    form, other = ({name: (x.shape, x.dtype.name) for name, x in found.items()} for found in (tensors, again))
    if form != other:
        name = next(name for name in {**form, **other} if form.get(name) != other.get(name))
        raise ValueError(
            f"to_config: {name} was changed after its module was made, which a config cannot say; {_INSTEAD}"
        )
    return config


_INSTEAD = "save the weights with model.state_dict(), build the model in code, and load them with load_state_dict()"


def _config(module: Module, path: str, above: tuple[Module, ...]) -> dict[str, Any]:
    kind = type(module)
    if isinstance(module, ModuleList) and _CONTAINERS.get(kind.__name__) is kind:
        if any(module is one for one in above):
            raise ValueError(f"to_config: {path} is inside itself, which a config cannot say; {_INSTEAD}")
        children = []
        for i, (name, child) in enumerate(module.named_children()):
            label = {} if name == str(i) else {"name": name}
            children.append({**label, **_config(child, f"{path}.{name}" if path else name, (*above, module))})
        return {"class": kind.__name__, "children": children}
    if isinstance(module, WithOptions) and _LAYERS.get(kind.__name__) is kind:
        return {
            "class": kind.__name__,
            "arguments": {name: _encoded(value) for name, value in module.options().items()},
        }
    raise TypeError(
        f"to_config: {path or 'the model'} is a {kind.__name__}, no class of tinygrad_ce.nn, which a config cannot "
        f"describe; {_INSTEAD}"
    )


def _encoded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.name, "values": value.tolist()}
    if isinstance(value, tuple):
        return list(value)
    return value.item() if isinstance(value, np.generic) else value


def from_config(config: Mapping[str, Any], *, generator: np.random.Generator | None = None) -> Module:
    """The model that a config describes, with new weights: `to_config` the other way round.

    config     as `to_config` makes it, or as JSON gives it back
    generator  draws the initial weights and what is dropped; fresh ones if None

    Only classes of `nn` are made, found in a table by name: nothing is imported or evaluated. Raises ValueError for
    anything else, with the place in the config.

    >>> from tinygrad_ce import nn
    >>> from_config({"class": "Sequential", "children": [{"class": "ReLU", "arguments": {}}]})
    Sequential(
      (0): ReLU()
    )
    """
    try:
        return _made(config, "config", generator)
    except RecursionError:
        raise ValueError("from_config: the config is nested too deeply") from None


def _made(config: Any, where: str, generator: np.random.Generator | None) -> Module:
    if not isinstance(config, Mapping):
        raise _malformed(where, f"expected a dict with a 'class', found {type(config).__name__}")
    name = config.get("class")
    container = _CONTAINERS.get(name) if isinstance(name, str) else None
    layer = _LAYERS.get(name) if isinstance(name, str) else None
    if container is None and layer is None:
        raise _malformed(where, f"class={name!r}; expected one of {', '.join([*_CONTAINERS, *_LAYERS])}")
    keys = {"class", "name", "arguments" if container is None else "children"}
    for key in config:
        if key not in keys:
            raise _malformed(where, f"{key!r} is unknown in the config of a {name}")
    if container is not None:
        return _container(container, config.get("children", []), where, generator)
    assert layer is not None
    arguments = config.get("arguments", {})
    if not isinstance(arguments, Mapping):
        raise _malformed(where, f"arguments: expected a dict, found {type(arguments).__name__}")
    return _layer(layer, arguments, where, generator)


def _container(kind: type[ModuleList], children: Any, where: str, generator: np.random.Generator | None) -> ModuleList:
    if not isinstance(children, Sequence) or isinstance(children, str):
        raise _malformed(where, f"children: expected a list, found {type(children).__name__}")
    module = kind.__new__(kind)  # an MLP is what is in it: there is nothing else to be made
    for i, child in enumerate(children):
        place = f"{where}.children[{i}]"
        made = _made(child, place, generator)
        name = child.get("name", str(i))
        try:
            if isinstance(name, str) and name in vars(module):
                raise ValueError(f"the name {name!r} is given twice")
            module.add_module(name, made)
        except (TypeError, ValueError) as error:
            raise _malformed(place, str(error)) from None
    return module


def _layer(
    kind: type[WithOptions], arguments: Mapping[Any, Any], where: str, generator: np.random.Generator | None
) -> WithOptions:
    parameters = inspect.signature(kind).parameters
    hints = typing.get_type_hints(kind.__init__) if parameters else {}
    given: dict[str, Any] = {}
    for name, value in arguments.items():
        if name not in parameters or name == "generator":
            raise _malformed(where, f"{kind.__name__} has no argument {name!r}")
        given[name] = _decoded(value)
        if not (_is_dtype(value) if name == "dtype" else _fits(given[name], hints[name])):
            raise _malformed(where, f"{kind.__name__}: {name}={value!r} is not of the kind expected")
    if "generator" in parameters:
        given["generator"] = generator
    try:
        return kind(**given)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise _malformed(where, str(error)) from error


def _decoded(value: Any) -> Any:
    """What `_encoded` made, back; anything malformed as it is."""
    if isinstance(value, Mapping) and set(value) == {"dtype", "values"}:
        try:
            return np.array(value["values"], _NUMBERS.get(value["dtype"], object))
        except (TypeError, ValueError):
            return value
    return value


_NUMBERS = {name: np.dtype(name) for name in ("float16", "float32", "float64", "int64", "int32", "uint8", "bool")}


def _is_dtype(value: Any) -> bool:
    return value is None or value in ("float16", "float32", "float64")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the type that a constructor's annotation names."""
    if hint is Any:  # an array, or None
        return value is None or (isinstance(value, np.ndarray) and value.dtype != object)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return any(value == one and type(value) is type(one) for one in args)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in args)
    if origin is not None:  # a sequence
        return isinstance(value, (list, tuple)) and all(_fits(item, args[0]) for item in value)
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint


def _malformed(where: str, why: str) -> ValueError:
    return ValueError(f"from_config: {where}: {why}")
