"""Shapes, axes, indexing and joining. Results share the memory of their input wherever NumPy's do."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from tinygrad_ce.apply import apply
from tinygrad_ce.arrays import plain
from tinygrad_ce.functional._public import implements
from tinygrad_ce.functional.reduction import Axis, check_axis, check_one_axis
from tinygrad_ce.ops import shape as ops
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor

__all__ = [
    "broadcast_to", "concatenate", "expand_dims", "flip", "getitem", "pad", "reshape", "scatter_add", "squeeze",
    "stack", "swapaxes", "take_along_axis", "transpose",
]  # fmt: skip


def _ints(op: str, argument: str, value: Any, more: tuple[Any, ...] = ()) -> tuple[int, ...]:
    """Lengths or axes, written as f(2, 3) or f((2, 3))."""
    values = (value, *more) if more or not isinstance(value, (tuple, list)) else value
    try:
        return tuple(operator.index(i) for i in values)
    except TypeError:
        raise TypeError(f"{op}: {argument}: expected ints or one tuple of ints, found {values!r}") from None


@implements(ops.Reshape)
def reshape(x: TensorLike, shape: int | tuple[int, ...], *more: int, order: Literal["C"] = "C") -> Tensor:
    """The same entries in the same (row-major) order in another shape.

    x      any shape and dtype
    shape  as reshape(x, (2, 3)) or reshape(x, 2, 3); one length may be -1, which stands for what is left
    order  row-major, "C", only

    Raises ValueError if the entries do not fill the shape.

    >>> import tinygrad_ce as tg
    >>> tg.functional.reshape([1.0, 2.0, 3.0, 4.0], (2, -1))
    Tensor([[1., 2.], [3., 4.]], shape=(2, 2), dtype=float32)
    """
    if order != "C":
        raise ValueError(f'reshape: order={order!r}; only row-major order, "C", is supported: transpose first')
    return apply(ops.Reshape, (as_tensor(x),), {"shape": _ints("reshape", "shape", shape, more)})


@implements(ops.Transpose)
def transpose(x: TensorLike, axes: int | tuple[int, ...] | None = None, *more: int) -> Tensor:
    """Axes in another order: axis i of the result is axis axes[i] of x.

    x     any shape and dtype
    axes  as transpose(x, (1, 0)) or transpose(x, 1, 0); by default all axes reversed

    Raises ValueError unless `axes` names every axis once.

    >>> import tinygrad_ce as tg
    >>> tg.functional.transpose([[1.0, 2.0], [3.0, 4.0]])
    Tensor([[1., 3.], [2., 4.]], shape=(2, 2), dtype=float32)
    """
    x = as_tensor(x)
    if axes is None and not more:
        return apply(ops.Transpose, (x,), {"axes": None})
    order = _ints("transpose", "axes", axes, more)
    if len(order) != x.ndim:
        raise ValueError(f"transpose: axes={order} for shape {x.shape}; expected each of its {x.ndim} axes once")
    return apply(ops.Transpose, (x,), {"axes": check_axis("transpose", order, x.ndim)})


@implements(ops.SwapAxes)
def swapaxes(x: TensorLike, axis1: int, axis2: int) -> Tensor:
    """Two axes exchanged.

    x             any shape and dtype
    axis1, axis2  ints

    Raises AxisError (a ValueError and an IndexError) for an axis that x does not have.

    >>> import tinygrad_ce as tg
    >>> tg.functional.swapaxes([[1.0, 2.0]], 0, 1)
    Tensor([[1.], [2.]], shape=(2, 1), dtype=float32)
    """
    x = as_tensor(x)
    axis1, axis2 = (check_one_axis("swapaxes", axis, x.ndim) for axis in (axis1, axis2))
    return apply(ops.SwapAxes, (x,), {"axis1": axis1, "axis2": axis2})


@implements(ops.Squeeze)
def squeeze(x: TensorLike, axis: Axis = None) -> Tensor:
    """Axes of length 1 dropped.

    x     any shape and dtype
    axis  an int or a tuple of ints; None drops every axis of length 1

    Raises ValueError for an axis of another length, AxisError for one that x does not have.

    >>> import tinygrad_ce as tg
    >>> tg.functional.squeeze([[1.0, 2.0]])
    Tensor([1., 2.], shape=(2,), dtype=float32)
    """
    x = as_tensor(x)
    return apply(ops.Squeeze, (x,), {"axis": check_axis("squeeze", axis, x.ndim)})


@implements(ops.ExpandDims)
def expand_dims(x: TensorLike, axis: int | tuple[int, ...]) -> Tensor:
    """New axes of length 1, at these positions of the result.

    x     any shape and dtype
    axis  an int or a tuple of ints

    Raises AxisError (a ValueError and an IndexError) for a position outside the result.

    >>> import tinygrad_ce as tg
    >>> tg.functional.expand_dims([1.0, 2.0], -1)
    Tensor([[1.], [2.]], shape=(2, 1), dtype=float32)
    """
    x = as_tensor(x)
    positions = axis if isinstance(axis, tuple) else (axis,)
    return apply(ops.ExpandDims, (x,), {"axis": check_axis("expand_dims", positions, x.ndim + len(positions))})


@implements(ops.BroadcastTo)
def broadcast_to(x: TensorLike, shape: int | tuple[int, ...]) -> Tensor:
    """Entries repeated along new first axes and along axes of length 1; the gradient sums over the repeats.

    x      any shape and dtype
    shape  of the result, which is a read-only view

    Raises ValueError if x does not broadcast to the shape.

    >>> import tinygrad_ce as tg
    >>> tg.functional.broadcast_to([1.0, 2.0], (2, 2))
    Tensor([[1., 2.], [1., 2.]], shape=(2, 2), dtype=float32)
    """
    return apply(ops.BroadcastTo, (as_tensor(x),), {"shape": _ints("broadcast_to", "shape", shape)})


@implements(ops.GetItem)
def getitem(x: TensorLike, index: Any) -> Tensor:
    """Entries picked by an index, as NumPy does: z = x[index]. What is picked twice gets both gradients.

    x      any shape and dtype
    index  ints, slices, None, Ellipsis, integer arrays, bool masks (arrays or Tensors), or a tuple of them. Arrays are
           kept as they are for the backward pass: do not change them before it

    Raises IndexError for an index out of range, of floats, or with too many items.

    >>> import tinygrad_ce as tg
    >>> x = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> x[[0, 2, 2]].sum().backward()
    >>> x.grad
    Tensor([1., 0., 2.], shape=(3,), dtype=float32)
    """
    if isinstance(index, Tensor) and index.dtype.kind == "f":  # as Tensor([0, 1]) is
        raise IndexError(f"getitem: index is a Tensor of {index.dtype}; write an integer array, np.array([0, 1])")
    return apply(ops.GetItem, (as_tensor(x),), {"index": plain(index)})


@implements(ops.ScatterAdd)
def scatter_add(x: TensorLike, index: Any, shape: int | tuple[int, ...]) -> Tensor:
    """Zeros with x added at an index: z[index] += x. The transpose of `getitem`, and its gradient.

    x      of the shape of z[index], any dtype
    index  as in `getitem`; what hits one position adds up
    shape  of the result

    Raises ValueError if x has another shape than z[index], IndexError for a wrong index.

    >>> import tinygrad_ce as tg
    >>> tg.functional.scatter_add([1.0, 2.0, 3.0], [0, 2, 2], (4,))
    Tensor([1., 0., 5., 0.], shape=(4,), dtype=float32)
    """
    x, index, shape = as_tensor(x), plain(index), _ints("scatter_add", "shape", shape)
    try:
        expected = np.broadcast_to(False, shape)[index].shape
    except IndexError as error:
        raise IndexError(f"scatter_add into shape {shape}: {error}") from None
    if x.shape != expected:
        raise ValueError(f"scatter_add: x has shape {x.shape}, but this index into shape {shape} needs {expected}")
    return apply(ops.ScatterAdd, (x,), {"index": index, "shape": shape})


@implements(ops.TakeAlongAxis)
def take_along_axis(x: TensorLike, indices: Any, axis: int | None = -1) -> Tensor:
    """From each slice along an axis the entries at that slice's own indices: z[i, j] = x[i, indices[i, j]].

    x        any shape and dtype
    indices  integer array or Tensor with as many axes as x; lengths other than along `axis` broadcast
    axis     an int, or None to take from the flattened x

    Raises IndexError for indices that are out of range or no integers, ValueError for another number of axes.

    >>> import tinygrad_ce as tg
    >>> tg.functional.take_along_axis([[1.0, 2.0], [3.0, 4.0]], [[1], [0]], axis=1)
    Tensor([[2.], [3.]], shape=(2, 1), dtype=float32)
    """
    x = as_tensor(x)
    if axis is not None:
        axis = check_one_axis("take_along_axis", axis, x.ndim, "an int or None")
    return apply(ops.TakeAlongAxis, (x,), {"indices": np.asarray(plain(indices)), "axis": axis})


def _sequence(op: str, tensors: Iterable[TensorLike]) -> list[Any]:
    if (isinstance(tensors, Tensor) and tensors.ndim == 0) or not isinstance(tensors, Iterable):
        raise TypeError(f"{op}: expected a sequence of tensors, found {tensors!r}; write {op}([x, y])")
    items = list(tensors)
    if not items:
        raise ValueError(f"{op}: expected at least one tensor, found none")
    return items


@implements(ops.Concatenate)
def concatenate(tensors: Iterable[TensorLike], axis: int | None = 0) -> Tensor:
    """Tensors joined along an axis they have; their gradients are the parts of the upstream one.

    tensors  a sequence of Tensors or arrays, of equal shapes but for the axis; dtypes are promoted
    axis     an int, or None to flatten them first

    Raises ValueError for shapes that do not fit, no tensors, or 0-d ones (use `stack`); AxisError for a wrong axis.

    >>> import tinygrad_ce as tg
    >>> tg.functional.concatenate([[1.0, 2.0], tg.Tensor([3.0])])
    Tensor([1., 2., 3.], shape=(3,), dtype=float32)
    """
    inputs = [as_tensor(x) for x in _sequence("concatenate", tensors)]
    if inputs[0].ndim and axis is not None:
        axis = check_one_axis("concatenate", axis, inputs[0].ndim, "an int or None")
    return apply(ops.Concatenate, inputs, {"axis": axis})


@implements(ops.Stack)
def stack(tensors: Iterable[TensorLike], axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis: z[k] = x_k.

    tensors  a sequence of Tensors, arrays or numbers of one shape; dtypes are promoted
    axis     where the new axis stands in the result

    Raises ValueError for shapes that differ or no tensors; AxisError for a wrong axis.

    >>> import tinygrad_ce as tg
    >>> tg.functional.stack([tg.Tensor(1.0), tg.Tensor(2.0)])
    Tensor([1., 2.], shape=(2,), dtype=float32)
    """
    inputs = _sequence("stack", tensors)
    return apply(ops.Stack, inputs, {"axis": check_one_axis("stack", axis, np.ndim(inputs[0]) + 1)})


@implements(ops.Pad)
def pad(x: TensorLike, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Tensor:
    """A border of constants around a tensor.

    x                any shape and dtype
    pad_width        how many entries to add: n, (before, after), or a pair for each axis
    mode             "constant" only
    constant_values  the value of the border, or values in the same forms as `pad_width`; it takes no gradient

    Raises ValueError for another mode, or widths that are negative or fit no axis; TypeError for widths that are no
    integers, or a constant that requires a gradient.

    >>> import tinygrad_ce as tg
    >>> tg.functional.pad([1.0, 2.0], (1, 2))
    Tensor([0., 1., 2., 0., 0.], shape=(5,), dtype=float32)
    """
    x = as_tensor(x)
    if mode != "constant":
        raise ValueError(f'pad: mode={mode!r}; only "constant" is supported: use getitem or concatenate instead')
    if isinstance(constant_values, Tensor) and constant_values.requires_grad:
        raise TypeError("pad: constant_values requires a gradient, but takes none; join the parts with concatenate()")
    widths = np.asarray(plain(pad_width))
    if widths.dtype.kind not in "iu":
        raise TypeError(f"pad: pad_width={pad_width!r}; expected integers: n, (before, after), or a pair for each axis")
    if widths.size and widths.min() < 0:
        raise ValueError(f"pad: pad_width={pad_width!r} has negative widths; to take entries away use a slice")
    try:
        pairs = np.broadcast_to(widths, (x.ndim, 2))
    except ValueError:
        raise ValueError(
            f"pad: pad_width={pad_width!r} does not fit the shape {x.shape}; "
            f"expected n, (before, after), or {x.ndim} pairs"
        ) from None
    pad_width = tuple(map(tuple, pairs.tolist())) or 0  # 0-d: no pairs, which np.pad does not take
    return apply(ops.Pad, (x,), {"pad_width": pad_width, "constant_values": plain(constant_values)})


@implements(ops.Flip)
def flip(x: TensorLike, axis: Axis = None) -> Tensor:
    """Entries in reverse order along axes: z_i = x_(n-1-i).

    x     any shape and dtype
    axis  an int, a tuple of ints, or None for all axes

    Raises AxisError (a ValueError and an IndexError) for an axis that x does not have.

    >>> import tinygrad_ce as tg
    >>> tg.functional.flip([1.0, 2.0, 3.0])
    Tensor([3., 2., 1.], shape=(3,), dtype=float32)
    """
    x = as_tensor(x)
    return apply(ops.Flip, (x,), {"axis": check_axis("flip", axis, x.ndim)})
