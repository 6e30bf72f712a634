"""Applying an op to Tensors: run it forward, and record it as a node of the graph if a gradient may be wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.arrays import HELD, check_dtype, to_array
from tinygrad_ce.engine import Constant, record
from tinygrad_ce.mode import mode
from tinygrad_ce.operators import Operators
from tinygrad_ce.registry import Op
from tinygrad_ce.tensor import Tensor, wrap

Array = NDArray[Any]

_NO_ATTRIBUTES: Mapping[str, Any] = {}


def apply(op: type[Op], inputs: Sequence[Any], attributes: Mapping[str, Any] = _NO_ATTRIBUTES) -> Tensor:
    """Apply an op to Tensors, arrays and numbers, and record it if a gradient may be wanted.

    Python numbers stay weak, as in NumPy: float32 * 2.0 is float32.
    """
    now = mode.__dict__  # of this thread
    arrays: list[Any] = []
    sources: list[Any] = []  # where a gradient goes: the node that made the input, a leaf, or (None) nowhere
    needed, bit = 0, 1
    for x in inputs:
        source: Any = None
        if isinstance(x, Tensor):
            arrays.append(x._data)
            source = x.node
            if source is None and x._requires_grad:
                source = x
            if source is not None:
                needed |= bit
        elif type(x) in _WEAK:
            arrays.append(x)
        else:
            arrays.append(to_array(x))
        sources.append(source)
        bit += bit
    if needed == 0 and all(type(x) in _WEAK for x in arrays):  # nothing that Python numbers could be weak beside
        arrays = [to_array(x) for x in arrays]
    recording = needed != 0 and now["recording"]
    try:
        if op.residual:
            data, output = op.forward(*arrays, gradient=recording, **attributes)
        else:
            data = output = op.forward(*arrays, **attributes) if attributes else op.forward(*arrays)
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise op.explained(error, arrays) from error
    if type(data) is not np.ndarray:
        data = np.asarray(data)
    if data.dtype not in HELD:
        data = _held(op, data)
    result = wrap(data)
    if op.meaning is not None:
        result._meaning = _inherited(inputs) if op.meaning == "inherited" else op.meaning
    if recording and data.dtype.kind == "f":
        needs, constants, keep_output, dropped = op._plans.get(needed | bit) or op.plan(needed, bit)
        for i in constants:
            sources[i] = _constant(inputs[i], arrays[i])
        alike = len(dropped) == len(arrays)  # then one tuple will do: long chains of small ops are short of memory
        for i in dropped:
            source, x = sources[i], arrays[i]
            if isinstance(source, Tensor):
                arrays[i] = Constant(x.shape, x.dtype, None)
                alike = False
            else:
                arrays[i] = source
        made_from = tuple(sources)
        saved = made_from if alike else tuple(arrays)
        kept_output = output if keep_output else None
        result.node = record(op, attributes, made_from, needs, saved, kept_output, data, now["scope"])
    if now["watcher"] is not None:
        now["watcher"].made(op, inputs, result)
    return result


def _inherited(inputs: Sequence[Any]) -> str | None:
    """What the inputs are, if they agree."""
    meanings = {x._meaning if isinstance(x, Tensor) else None for x in inputs}
    return meanings.pop() if len(meanings) == 1 else None


def _held(op: type[Op], data: Array) -> Array:
    try:
        return data.astype(check_dtype(data.dtype), copy=False)
    except TypeError as error:
        raise TypeError(f"{op.name}: forward returned {data!r}; {error}") from None


def _constant(x: Any, array: Any) -> Constant:
    if type(array) is np.ndarray:
        return Constant(array.shape, array.dtype, x._name if isinstance(x, Tensor) else None)
    return Constant((), _WEAK[type(array)], None, array)


_WEAK = {kind: np.dtype(kind) for kind in (int, float, bool)}


Operators.__apply_op__ = staticmethod(apply)
