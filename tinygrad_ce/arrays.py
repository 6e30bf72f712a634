"""From what users write to arrays: which data a Tensor may hold, and how it is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_ce.mode import get_default_dtype

_FLOATS = (np.float16, np.float32, np.float64)
HELD = frozenset(np.dtype(kind) for kind in (*_FLOATS, np.int64, np.int32, np.uint8, np.bool_))


def to_array(data: Any, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """The array a Tensor holds for this data, shared where possible.

    Lists of numbers and Python floats get the default dtype, arrays keep theirs.
    """
    if type(data) is np.ndarray and data.dtype in HELD and (dtype is None or dtype is data.dtype):
        return data
    wanted = None if dtype is None else check_dtype(np.dtype(dtype))
    if hasattr(data, "__apply_op__"):
        if data.requires_grad:
            raise TypeError("data is a Tensor that requires a gradient; write tensor.detach(), or use it as it is")
        data = data.data
    elif data is None:
        raise TypeError("data is None, no number; a Tensor holds float16, float32, float64, integers or bools")
    elif isinstance(data, (list, tuple)):
        _refuse_tracked(data)
    elif isinstance(data, np.ma.MaskedArray) and data.mask.any():
        raise TypeError("data is a masked array, whose mask a Tensor would lose; write data.filled(value)")
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"data is a ragged list, no array: {error}") from None
    if wanted is None:
        numbers = isinstance(data, (list, tuple)) and array.dtype.kind in "fiu"
        # np.float64 is a Python float too, but has a dtype of its own
        wanted = get_default_dtype() if numbers or type(data) is float else check_dtype(array.dtype)
    elif array.dtype.kind not in "fiub":
        check_dtype(array.dtype)
    return array.astype(wanted, copy=False)


def _refuse_tracked(data: Any) -> None:
    for item in data:
        if isinstance(item, (list, tuple)):
            _refuse_tracked(item)
        elif hasattr(item, "__apply_op__") and item.requires_grad:
            raise TypeError("data is a list of Tensors that require gradients; join them with stack() or concatenate()")


def check_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in native byte order; TypeError if a Tensor cannot hold it."""
    if dtype.kind not in "fiub" or (dtype.kind == "f" and dtype.type not in _FLOATS):
        raise TypeError(
            f"a Tensor holds float16, float32, float64, integers or bools, found dtype {dtype}; "
            "convert the data first, e.g. with np.asarray(data, dtype=np.float32)"
        )
    return np.dtype(dtype.type)  # in native byte order, and the one object that stands for it


def check_differentiable(dtype: np.dtype[Any]) -> None:
    """TypeError unless gradients exist for this dtype."""
    if dtype.kind != "f":
        raise TypeError(
            f"requires_grad=True needs floating-point data, found {dtype}; "
            "write Tensor(data, requires_grad=True, dtype=np.float32), or 2.0 instead of 2"
        )


def plain(x: Any) -> Any:
    """The same with every Tensor in it, as deep as tuples, lists and slices go, replaced by its array."""
    if type(x) is np.ndarray:
        return x
    if hasattr(x, "__apply_op__"):
        return x.data
    if isinstance(x, (tuple, list)):
        return type(x)(plain(item) for item in x)
    if isinstance(x, slice):
        return slice(plain(x.start), plain(x.stop), plain(x.step))
    if isinstance(x, dict):
        return {key: plain(value) for key, value in x.items()}
    return x


def summary(array: NDArray[Any], indent: int) -> str:
    """The values on a few lines: all of a small array, the edges of a large one, the range of one with many axes."""
    if array.size > 60 and array.ndim > 4:
        return f"{array.size} values from {array.min():.4g} to {array.max():.4g}"
    edge = 3 if array.ndim < 3 else 1
    text = np.array2string(array, separator=", ", precision=4, threshold=60, edgeitems=edge, max_line_width=100)
    return "\n".join((" " * indent + line if i and line else line) for i, line in enumerate(text.split("\n")))
