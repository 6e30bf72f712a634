"""The one place that checks what a loss over classes is told: targets, weight, ignored rows, smoothing, reduction."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_INT64, _UINT64 = np.dtype(np.int64), np.dtype(np.uint64)
REDUCTIONS = ("mean", "sum", "none")
ON_EMPTY = ("nan", "zero", "raise")


class Goal(NamedTuple):
    """What the targets and options of a call come to. A row is a slice of the scores along the class axis."""

    indices: Array | None  # the class of each row, 0 where the row is ignored; None if the targets are probabilities
    ignored: Array | None  # whether each row is ignored; None if none is
    weights: Array | None  # what the loss of each row is multiplied by, in float64; None if that is 1 everywhere
    divisor: float  # of a mean

    def scale(self, reduction: str) -> Any:
        """How much each row counts in the result: one number, or one for each row. Nothing to average counts 0."""
        factor = 1.0 if reduction != "mean" else 1.0 / self.divisor if self.divisor else 0.0
        return factor if self.weights is None else self.weights * factor


def check_goal(
    op: str, name: str, scores: Any, targets: Any, q: Any = None, *, weight: Any = None, ignore_index: int = -100,
    label_smoothing: float = 0.0, reduction: str = "mean", axis: int = -1, on_empty: str = "nan",
) -> Goal:  # fmt: skip
    """Check the targets, class indices or probabilities q, and all options of a loss over classes.

    Raises IndexError for an index outside [0, C) that is not `ignore_index`, TypeError for an `ignore_index` that is
    no integer, ValueError for anything else; they name `op` and the scores by `name`.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f'{op}: reduction={reduction!r}; expected "mean", "sum" or "none"')
    if on_empty not in ON_EMPTY:
        raise ValueError(f'{op}: on_empty={on_empty!r}; expected "nan", "zero" or "raise"')
    if label_smoothing != 0 and not 0 <= label_smoothing <= 1:
        raise ValueError(f"{op}: label_smoothing={label_smoothing}; expected a number from 0 to 1")
    if ignore_index != -100 and (not isinstance(ignore_index, (int, np.integer)) or isinstance(ignore_index, bool)):
        raise TypeError(f"{op}: ignore_index={ignore_index!r}; expected an integer, such as -100, which is the default")
    indices: Array | None = None
    ignored: Array | None = None
    weights: Array | None = None
    divisor: float
    if q is None:
        indices, ignored = _check_indices(op, name, scores, targets, axis, ignore_index)
        divisor = indices.size
        if weight is None and ignored is None and divisor:
            return Goal(indices, None, None, divisor)
    else:
        _check_probabilities(op, name, scores, targets, q, axis, ignore_index)
        divisor = scores.size // scores.shape[axis]
    if weight is not None:
        weight = check_weight(op, name, scores, weight, axis)
    if indices is not None and (weight is not None or ignored is not None):
        weights = np.ones(indices.shape) if weight is None else np.asarray(weight[indices])
        if ignored is not None:
            weights[ignored] = 0
        divisor = float(np.add.reduce(weights, None))
        if label_smoothing:  # smoothed targets carry their weights in themselves
            weights = None if ignored is None else np.where(ignored, 0.0, 1.0)
    if not divisor and reduction == "mean" and on_empty == "raise":
        raise ValueError(f'{op}: {_nothing(indices, ignored)}; on_empty="nan" or "zero" makes that the loss')
    return Goal(indices, ignored, weights, divisor)


def check_weight(op: str, name: str, scores: Any, weight: Any, axis: int) -> Array:
    """The weights of the classes in float64."""
    array: Array = np.asarray(weight)
    classes = scores.shape[axis]
    if array.shape != (classes,):
        raise ValueError(
            f"{op}: weight has shape {array.shape}, expected {(classes,)}: one for each class on axis "
            f"{axis % len(scores.shape)} of {name}, whose shape is {scores.shape}"
        )
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{op}: weight must be numbers, found {array.dtype}")
    return array.astype(np.float64, copy=False)


def effective_targets(
    q: Any, weight: Array | None, label_smoothing: float, ignored: Array | None, axis: int = -1
) -> Any:
    """t_c = w_c ((1 - e) q_c + e / C), and 0 in ignored rows: what log-probabilities are multiplied by.

    q   probabilities or one-hot rows, an array or a Tensor
    """
    if label_smoothing:
        q = q * (1 - label_smoothing) + label_smoothing / q.shape[axis]
    if weight is not None:
        q = q * along(weight, axis, q)
    return q if ignored is None else np.where(np.expand_dims(ignored, axis), 0, q)


def along(weight: Array, axis: int, x: Any) -> Array:
    """The weights of the classes in the dtype of x, shaped to broadcast along its class axis."""
    after = -1 - axis if axis < 0 else len(x.shape) - 1 - axis
    return np.asarray(weight, x.dtype).reshape((-1,) + (1,) * after)


def one_hot(targets: Any, axis: int, shape: tuple[int, ...]) -> Array:
    """Bools of this shape, true at the target class of each row."""
    axis %= len(shape)
    classes = np.arange(shape[axis]).reshape((-1,) + (1,) * (len(shape) - 1 - axis))
    hot: Array = np.expand_dims(targets, axis) == classes
    return hot


def check_same_shape(op: str, x_name: str, x: Array, y_name: str, y: Array) -> None:
    """ValueError unless both are floating arrays of one shape: a loss does not broadcast its targets."""
    for name, array in ((x_name, x), (y_name, y)):
        if array.dtype.kind != "f":
            raise ValueError(f"{op}: {name} must be floating, found {array.dtype}; write {name}.astype(np.float32)")
    if x.shape != y.shape:
        raise ValueError(f"{op}: {x_name} has shape {x.shape} but {y_name} has shape {y.shape}; they must be equal")


def _bad_scores(op: str, name: str, scores: Any, axis: int) -> ValueError:
    if scores.dtype.kind != "f":
        return ValueError(f"{op}: {name} must be floating, found {scores.dtype}; write {name}.astype(np.float32)")
    if not -len(scores.shape) <= axis < len(scores.shape):
        return ValueError(f"{op}: axis={axis} is no axis of {name} of shape {scores.shape}")
    return ValueError(f"{op}: {name} of shape {scores.shape} has no classes on axis {axis}")


def _check_indices(
    op: str, name: str, scores: Any, targets: Any, axis: int, ignore_index: int | None
) -> tuple[Array, Array | None]:
    """Class indices in int64, 0 where the row is ignored, and which rows are, or None if none is."""
    shape = scores.shape
    ndim = len(shape)
    if scores.dtype.kind != "f" or not -ndim <= axis < ndim or not shape[axis]:
        raise _bad_scores(op, name, scores, axis)
    axis %= ndim
    classes = shape[axis]
    indices: Array = np.asarray(targets)
    if indices.shape != shape[:axis] + shape[axis + 1 :] or indices.dtype.kind not in "iu":
        indices = _no_indices(op, name, shape, targets, indices, axis)
    if indices.dtype is not _INT64:
        indices = indices.astype(np.int64)
    if not indices.size:
        return indices, None
    # as unsigned numbers negative indices are huge, so one comparison finds both kinds; argmax is faster than max
    unsigned = indices.view(_UINT64)
    outside = unsigned.item(unsigned.argmax()) >= classes
    if ignore_index is not None and (outside or 0 <= ignore_index < classes):
        ignored = indices == ignore_index
        if ignored.any():
            rest = np.where(ignored, 0, indices)
            if outside:
                _check_range(op, rest, classes, ~ignored)
            return rest, ignored
    if outside:
        _check_range(op, indices, classes, np.ones(indices.shape, bool))
    return indices, None


def _no_indices(op: str, name: str, shape: tuple[int, ...], targets: Any, indices: Array, axis: int) -> Array:
    """Say what is wrong with targets that are no class indices; an empty list is none at all, of any dtype."""
    expected = shape[:axis] + shape[axis + 1 :]
    if targets is None:
        raise ValueError(f"{op}: there are no targets; give class indices, or probabilities of the shape of {name}")
    if indices.shape != expected:
        raise ValueError(
            f"{op}: targets have shape {indices.shape}, expected {expected}: one class index for each row of {name}, "
            f"whose shape is {shape} with the classes on axis {axis}{_shape_hint(shape, indices, axis)}"
        )
    if not indices.size:
        return indices
    if indices.dtype.kind in "SU" or all(isinstance(item, str) for item in indices.flat):
        raise ValueError(
            f"{op}: targets are class indices, so integers, found strings, such as {indices.item(0)!r}; number the "
            "classes with np.unique(targets, return_inverse=True)[1]"
        )
    raise ValueError(
        f"{op}: targets are class indices, so integers, found {indices.dtype}; write "
        f"np.asarray(targets, dtype=np.int64), or give probabilities of the shape of {name}, {shape}"
    )


def _check_range(op: str, indices: Array, classes: int, counted: Array) -> None:
    wrong = indices.view(np.uint64) >= classes
    if not wrong.any():
        return
    position = np.unravel_index(int(np.argmax(wrong)), indices.shape)
    found = int(indices[position])
    used = indices[counted]
    hint = ""
    if int(used.min()) >= 1 and int(used.max()) == classes:
        hint = "; do the labels count from 1? write targets - 1"
    elif found in (-1, 255) and (used[used != found] < classes).all():
        hint = f"; if {found} marks rows to leave out, write ignore_index={found}"
    raise IndexError(f"{op}: targets{_index(position)} = {found} is not a class; valid are 0 to {classes - 1}{hint}")


def _check_probabilities(op: str, name: str, scores: Any, targets: Any, q: Any, axis: int, ignore_index: int) -> None:
    ndim = len(scores.shape)
    if scores.dtype.kind != "f" or not -ndim <= axis < ndim or not scores.shape[axis]:
        raise _bad_scores(op, name, scores, axis)
    if targets is not None:
        raise ValueError(f"{op}: targets are given twice, as class indices and as probabilities")
    if q.shape != scores.shape:
        hint = ""
        if len(q.shape) == len(scores.shape) and q.shape[axis] == 1:
            hint = f"; are these class indices? write targets.squeeze({axis % len(q.shape)}).astype(np.int64)"
        raise ValueError(
            f"{op}: targets of floating numbers are probabilities, so they have the shape of {name}, {scores.shape}; "
            f"found {q.shape}{hint}"
        )
    if q.dtype.kind != "f":
        raise ValueError(f"{op}: targets that are probabilities must be floating, found {q.dtype}")
    if ignore_index >= 0:
        raise ValueError(
            f"{op}: ignore_index={ignore_index} picks rows by their class index, but the targets are probabilities; "
            "leave rows out by indexing, or by multiplying the losses of reduction='none' with a mask"
        )
    values: Array = np.asarray(q)
    if values.size and np.minimum.reduce(values, axis=None) < 0:
        position = np.unravel_index(int(np.argmin(values)), values.shape)
        hint = "; are they log-probabilities? write np.exp(targets)" if (values <= 0).all() else ""
        raise ValueError(
            f"{op}: targets{_index(position)} = {values[position]:.6g} is negative, and no probability{hint}"
        )


def unnormalized(op: str, q: Array, axis: int) -> str | None:
    """What to say of probabilities that do not sum to 1 in some row; None if they do, to the precision of the dtype."""
    total = np.asarray(q.sum(axis, dtype=np.float64))
    off = np.abs(total - 1)
    wrong = off > _TOLERANCE[q.dtype.type]
    if not wrong.any():
        return None
    position = np.unravel_index(int(np.argmax(np.where(wrong, off, 0))), total.shape)
    axis %= q.ndim
    where = f"targets{_index((*position[:axis], slice(None), *position[axis:]))}" if total.ndim else "targets"
    return (
        f"{op}: the targets are probabilities but do not sum to 1 along axis {axis} in {int(wrong.sum())} of "
        f"{total.size} rows; the worst is {where}, with a sum of {total[position]:.6g}. Divide by "
        f"targets.sum({axis}, keepdims=True); if several classes may be right at once, use sigmoid_binary_cross_entropy"
    )


# Room for sums of rounded numbers, for float32 of numbers that were float16 once, and for gradcheck's steps.
_TOLERANCE = {np.float16: 2e-2, np.float32: 1e-3, np.float64: 1e-4}


def _shape_hint(shape: tuple[int, ...], targets: Array, axis: int) -> str:
    if targets.shape == shape and targets.dtype.kind in "iub":
        return (
            f"; are they one-hot? write targets.argmax({axis}), or targets.astype(np.float32) for targets that are "
            "probabilities"
        )
    if targets.ndim == len(shape) and targets.shape[axis] == 1:
        return f"; write targets.squeeze({axis})"
    for other in range(len(shape)):
        if targets.shape == shape[:other] + shape[other + 1 :]:
            return f"; are the classes on axis {other}? write axis={other}"
    return ""


def _nothing(indices: Array | None, ignored: Array | None) -> str:
    if indices is None or not indices.size:
        return "the batch is empty, so there is nothing to average"
    if ignored is not None and ignored.all():
        return f"all {indices.size} rows are ignored, so there is nothing to average"
    return "the weights of the target classes sum to 0, so there is nothing to average"


def _index(position: Any) -> str:
    return f"[{', '.join(':' if isinstance(i, slice) else str(int(i)) for i in position)}]" if len(position) else ""
