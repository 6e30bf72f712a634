"""Ops that rearrange, pick and join entries and compute nothing. Their rules keep no numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.registry import Op, register

Array = NDArray[Any]


@register
class Reshape(Op):
    """The same entries in the same (row-major) order in another shape; one length may be -1."""

    formula = "z = x in another shape"
    vjp_formula = "dx = g in the shape of x"
    latex = r"z = \mathrm{reshape}(x)"
    meaning = "inherited"
    numpy = (np.reshape,)
    vjps = (lambda g, _z, _x, *, shape: g.reshape(_x.shape),)

    @staticmethod
    def forward(x: Array, *, shape: Any) -> Array:
        return x.reshape(shape)


def _transpose_vjp(g: Any, _z: Any, _x: Any, *, axes: tuple[int, ...] | None) -> Any:
    if axes is None:
        return g.T
    order = [i % len(axes) for i in axes]
    return np.transpose(g, tuple(order.index(i) for i in range(len(order))))


@register
class Transpose(Op):
    """Axes in another order; by default reversed."""

    formula = "z = x with axes permuted"
    vjp_formula = "dx = g with axes permuted back"
    latex = r"z = x^\top"
    meaning = "inherited"
    numpy = (np.transpose,)
    vjps = (_transpose_vjp,)

    @staticmethod
    def forward(x: Array, *, axes: Any = None) -> Array:
        return np.transpose(x, axes)


@register
class SwapAxes(Op):
    """Two axes exchanged."""

    name = "swapaxes"
    formula = "z = x with axis1 and axis2 exchanged"
    vjp_formula = "dx = g with axis1 and axis2 exchanged"
    latex = r"z_{\dots j \dots i \dots} = x_{\dots i \dots j \dots}"
    meaning = "inherited"
    numpy = (np.swapaxes,)
    vjps = (lambda g, _z, _x, *, axis1, axis2: g.swapaxes(axis1, axis2),)

    @staticmethod
    def forward(x: Array, *, axis1: int, axis2: int) -> Array:
        return np.swapaxes(x, axis1, axis2)


@register
class Squeeze(Op):
    """Axes of length 1 dropped; by default all of them."""

    formula = "z = x without axes of length 1"
    vjp_formula = "dx = g in the shape of x"
    latex = r"z = \mathrm{squeeze}(x)"
    meaning = "inherited"
    numpy = (np.squeeze,)
    vjps = (lambda g, _z, _x, *, axis: g.reshape(_x.shape),)

    @staticmethod
    def forward(x: Array, *, axis: Any = None) -> Array:
        return np.squeeze(x, axis)


@register
class ExpandDims(Op):
    """New axes of length 1."""

    formula = "z = x with new axes of length 1"
    vjp_formula = "dx = g in the shape of x"
    latex = r"z = \mathrm{expand}(x)"
    meaning = "inherited"
    numpy = (np.expand_dims,)
    vjps = (lambda g, _z, _x, *, axis: g.reshape(_x.shape),)

    @staticmethod
    def forward(x: Array, *, axis: Any) -> Array:
        return np.expand_dims(x, axis)


@register
class BroadcastTo(Op):
    """Entries repeated along new axes and along axes of length 1, without copying: the result is read-only."""

    formula = "z = x repeated to another shape"
    vjp_formula = "dx = sum of g over the repeats"
    latex = r"z = \mathrm{broadcast}(x)"
    meaning = "inherited"
    numpy = (np.broadcast_to,)
    vjps = (lambda g, _z, _x, *, shape: g,)
    broadcasts = True

    @staticmethod
    def forward(x: Array, *, shape: Any) -> Array:
        return np.broadcast_to(x, shape)


@register
class GetItem(Op):
    """Entries picked by an index: ints, slices, None, Ellipsis, integer arrays, masks. Slices give a view."""

    name = "getitem"
    formula = "z = x[index]"
    vjp_formula = "dx = zeros, with g added at index"
    latex = r"z = x[i]"
    meaning = "inherited"
    vjps = (lambda g, _z, _x, *, index: ScatterAdd(g, index=index, shape=_x.shape),)

    @staticmethod
    def forward(x: Array, *, index: Any) -> Any:
        return x[index]


def _hits_once(index: Any) -> bool:
    """Can this index reach no position twice? So it is without integer arrays."""
    return all(
        item is None or isinstance(item, (int, np.integer, slice, EllipsisType)) or np.asarray(item).dtype == bool
        for item in (index if isinstance(index, tuple) else (index,))
    )


@register
class ScatterAdd(Op):
    """Zeros with the entries of x added at an index, the transpose of `getitem`: what hits one position adds up."""

    formula = "z = zeros, with x added at index"
    vjp_formula = "dx = g[index]"
    latex = r"z[i] \mathrel{+}= x"
    vjps = (lambda g, _z, _x, *, index, shape: GetItem(g, index=index),)

    @staticmethod
    def forward(x: Array, *, index: Any, shape: Any) -> Array:
        if _hits_once(index):
            z = np.zeros(shape, x.dtype)
            z[index] = x
            return z
        z = np.zeros(shape, np.float32 if x.dtype == np.float16 else x.dtype)
        if isinstance(index, np.ndarray) and z.ndim > 1:  # whole rows: np.add.at is fast along one axis only
            row = math.prod(z.shape[1:])
            rows = np.where(index < 0, index + len(z), index)[..., None] * row + np.arange(row)
            np.add.at(z.reshape(-1), rows.ravel(), x.ravel())
        else:
            np.add.at(z, index, x)
        return z.astype(x.dtype, copy=False)


def _along(indices: Array, shape: tuple[int, ...], axis: int) -> tuple[Any, ...]:
    """The index that picks, in each slice along the axis, that slice's own indices."""
    grid: list[Any] = list(np.ogrid[tuple(slice(n) for n in shape)])
    grid[axis] = indices
    return tuple(grid)


def _take_along_axis_vjp(g: Any, _z: Any, _x: Any, *, indices: Array, axis: int | None) -> Any:
    if axis is None:
        return ScatterAdd(g, index=indices, shape=(math.prod(_x.shape),)).reshape(_x.shape)
    return ScatterAdd(g, index=_along(indices, _x.shape, axis), shape=_x.shape)


@register
class TakeAlongAxis(Op):
    """From each slice along an axis the entries at that slice's own indices; axis None takes from the flattened x."""

    formula = "z[i, j] = x[i, indices[i, j]]"
    vjp_formula = "dx = zeros, with g[i, j] added at [i, indices[i, j]]"
    latex = r"z_{ij} = x_{i, k_{ij}}"
    meaning = "inherited"
    numpy = (np.take_along_axis,)
    vjps = (_take_along_axis_vjp,)

    @staticmethod
    def forward(x: Array, *, indices: Array, axis: int | None = -1) -> Array:
        return np.take_along_axis(x, indices, axis)


def _concatenate_vjp(g: Any, _z: Any, *_tensors: Any, needs: Sequence[bool], axis: int | None) -> list[Any]:
    along = 0 if axis is None else axis % len(_tensors[0].shape)
    gradients: list[Any] = [None] * len(needs)
    end = 0
    for k, x in enumerate(_tensors):
        start, end = end, end + (math.prod(x.shape) if axis is None else x.shape[along])
        if needs[k]:
            part = g[(slice(None),) * along + (slice(start, end),)]
            gradients[k] = part.reshape(x.shape) if axis is None else part
    return gradients


@register
class Concatenate(Op):
    """Arrays joined along an axis they have; axis None flattens them first. dtypes are promoted."""

    formula = "z = [x_1, x_2, ...]"
    vjp_formula = "dx_k = the part of g that came from x_k"
    latex = r"z = [x_1, x_2, \dots]"
    meaning = "inherited"
    numpy = (np.concatenate,)
    vjp = _concatenate_vjp

    @staticmethod
    def forward(*tensors: Array, axis: int | None = 0) -> Array:
        return np.concatenate(tensors, axis=axis)


def _stack_vjp(g: Any, _z: Any, *_tensors: Any, needs: Sequence[bool], axis: int) -> list[Any]:
    before = (slice(None),) * (axis % len(g.shape))
    return [g[(*before, i)] if needed else None for i, needed in enumerate(needs)]


@register
class Stack(Op):
    """Arrays of one shape joined along a new axis. dtypes are promoted."""

    formula = "z[k] = x_k"
    vjp_formula = "dx_k = g[k]"
    latex = r"z_k = x_k"
    meaning = "inherited"
    numpy = (np.stack,)
    vjp = _stack_vjp

    @staticmethod
    def forward(*tensors: Array, axis: int = 0) -> Array:
        return np.stack(tensors, axis=axis, dtype=np.result_type(*tensors))  # so a Python number stays weak


def _pad_vjp(g: Any, _z: Any, _x: Any, *, pad_width: Any, constant_values: Any) -> Any:
    before = np.broadcast_to(pad_width, (len(_x.shape), 2))[:, 0].tolist()
    return g[tuple(slice(start, start + n) for start, n in zip(before, _x.shape, strict=True))]


@register
class Pad(Op):
    """A border of constants around an array."""

    formula = "z = x with a border of constants"
    vjp_formula = "dx = g without the border"
    latex = r"z = \mathrm{pad}(x)"
    numpy = (np.pad,)
    vjps = (_pad_vjp,)

    @staticmethod
    def forward(x: Array, *, pad_width: Any, constant_values: Any = 0) -> Array:
        return np.pad(x, pad_width, constant_values=constant_values)


@register
class Flip(Op):
    """Entries in reverse order along one axis, several or all."""

    formula = "z_i = x_(n-1-i)"
    vjp_formula = "dx_i = g_(n-1-i)"
    latex = r"z_i = x_{n-1-i}"
    meaning = "inherited"
    numpy = (np.flip,)
    vjps = (lambda g, _z, _x, *, axis: np.flip(g, axis),)

    @staticmethod
    def forward(x: Array, *, axis: Any = None) -> Array:
        return np.flip(x, axis)
