"""The one place that checks the targets of a loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def check_targets(op: str, name: str, scores: Array, targets: Any, axis: int) -> Array:
    """Class indices as an int64 array that fits the scores' shape without the class axis.

    Raises ValueError for the wrong kind or shape, IndexError for an index outside [0, C), naming its position.
    """
    if scores.dtype.kind != "f":
        raise ValueError(f"{op}: {name} must be floating, found {scores.dtype}; write {name}.astype(np.float32)")
    if not -scores.ndim <= axis < scores.ndim:
        raise ValueError(f"{op}: axis={axis} is no axis of {name} of shape {scores.shape}")
    axis %= scores.ndim
    indices: Array = np.asarray(targets)
    classes = scores.shape[axis]
    expected = scores.shape[:axis] + scores.shape[axis + 1 :]
    if indices.shape != expected:
        raise ValueError(
            f"{op}: targets have shape {indices.shape}, expected {expected}: one class index for each row of "
            f"{name}, whose shape is {scores.shape} with the classes on axis {axis}{_shape_hint(scores, indices, axis)}"
        )
    if indices.dtype.kind not in "iu" and indices.size:
        raise ValueError(
            f"{op}: targets are class indices, so integers, found {indices.dtype}; write targets.astype(np.int64)"
        )
    if classes == 0:
        raise ValueError(f"{op}: {name} of shape {scores.shape} has no classes on axis {axis}")
    indices = indices.astype(np.int64, copy=False)
    # as unsigned numbers negative indices are huge, so one comparison finds both kinds
    if indices.size and np.maximum.reduce(indices.view(np.uint64), axis=None) >= classes:
        position = np.unravel_index(int(np.argmax(indices.view(np.uint64) >= classes)), indices.shape)
        where = ", ".join(str(int(i)) for i in position)
        found = int(indices[position])
        hint = "; do the labels count from 1? write targets - 1" if _from_one(indices, classes) else ""
        raise IndexError(f"{op}: targets[{where}] = {found} is not a class; valid are 0 to {classes - 1}{hint}")
    return indices


def _from_one(indices: Array, classes: int) -> bool:
    return int(indices.min()) >= 1 and int(indices.max()) == classes


def _shape_hint(scores: Array, targets: Array, axis: int) -> str:
    if targets.shape == scores.shape and targets.dtype.kind in "iub":
        return f"; one-hot targets? write targets.argmax({axis})"
    if targets.ndim == scores.ndim and targets.shape[axis] == 1:
        return f"; write targets.squeeze({axis})"
    for other in range(scores.ndim):
        if targets.shape == scores.shape[:other] + scores.shape[other + 1 :]:
            return f"; are the classes on axis {other}? write axis={other}"
    return ""


def check_same_shape(op: str, x_name: str, x: Array, y_name: str, y: Array) -> None:
    """ValueError unless both are floating arrays of one shape: a loss does not broadcast its targets."""
    for name, array in ((x_name, x), (y_name, y)):
        if array.dtype.kind != "f":
            raise ValueError(f"{op}: {name} must be floating, found {array.dtype}; write {name}.astype(np.float32)")
    if x.shape != y.shape:
        raise ValueError(f"{op}: {x_name} has shape {x.shape} but {y_name} has shape {y.shape}; they must be equal")


def one_hot(targets: Any, axis: int, shape: tuple[int, ...]) -> Array:
    """Bools of this shape, true at the target class of each row."""
    axis %= len(shape)
    classes = np.arange(shape[axis]).reshape((-1,) + (1,) * (len(shape) - 1 - axis))
    hot: Array = np.expand_dims(targets, axis) == classes
    return hot
