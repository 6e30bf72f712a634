"""Database entries of ops/shape.py. References move one entry at a time, by its index."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from tinygrad_ce.testing import exact
from tinygrad_ce.testing.opinfo import NUMBERS, Array, ErrorCase, OpInfo, Sample, Samples, uniform

AxisError = np.exceptions.AxisError
Index = tuple[int, ...]
_X = np.ones((2, 3))


def _of(*cases: tuple[Index, dict[str, Any]]) -> Samples:
    """One sample for each pair of an input's shape and the metadata."""
    return lambda generator: [Sample((uniform(generator, shape),), attributes) for shape, attributes in cases]


def _row_major(shape: Sequence[int]) -> Iterator[Index]:
    return product(*map(range, shape))


def _refill(x: Array, shape: Sequence[int]) -> Array:
    """The entries in row-major order in another shape."""
    array = exact.decimals(x)
    entries = iter([array[i] for i in _row_major(array.shape)])
    return exact.build(shape, lambda *_: next(entries))


def _reshape(x: Array, *, shape: Sequence[int]) -> Array:
    rest = math.prod(n for n in shape if n != -1)
    return _refill(x, [x.size // rest if n == -1 else n for n in shape])


def _transpose(x: Array, *, axes: Sequence[int] | None = None) -> Array:
    array = exact.decimals(x)
    order = [a % x.ndim for a in axes] if axes is not None else list(range(x.ndim))[::-1]

    def element(*index: int) -> Any:
        source = dict(zip(order, index, strict=True))
        return array[tuple(source[a] for a in range(x.ndim))]

    return exact.build([x.shape[a] for a in order], element)


def _swapaxes(x: Array, *, axis1: int, axis2: int) -> Array:
    axes = list(range(x.ndim))
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return _transpose(x, axes=axes)


def _squeeze(x: Array, *, axis: Any = None) -> Array:
    dropped = [a for a, n in enumerate(x.shape) if n == 1] if axis is None else exact.normalize_axes(axis, x.ndim)
    return _refill(x, [n for a, n in enumerate(x.shape) if a not in dropped])


def _expand_dims(x: Array, *, axis: Any) -> Array:
    ndim = x.ndim + (len(axis) if isinstance(axis, tuple) else 1)
    new, lengths = exact.normalize_axes(axis, ndim), iter(x.shape)
    return _refill(x, [1 if a in new else next(lengths) for a in range(ndim)])


def _broadcast_to(x: Array, *, shape: Any) -> Array:
    shape = shape if isinstance(shape, tuple) else (shape,)
    array, extra = exact.decimals(x), len(shape) - x.ndim
    return exact.build(
        shape, lambda *i: array[tuple(0 if n == 1 else k for k, n in zip(i[extra:], x.shape, strict=True))]
    )


def _flip(x: Array, *, axis: Any = None) -> Array:
    array, axes = exact.decimals(x), exact.normalize_axes(axis, x.ndim)
    return exact.build(
        x.shape, lambda *i: array[tuple(x.shape[a] - 1 - k if a in axes else k for a, k in enumerate(i))]
    )


def _pick(shape: Index, index: Any) -> tuple[list[int], Callable[..., Index]]:
    """What NumPy's indexing rules make of an index: the result's shape, and the entry each of its places comes from."""
    items = list(index) if isinstance(index, tuple) else [index]
    expanded: list[Any] = []
    for item in items:
        array = np.asarray(item) if isinstance(item, (list, np.ndarray)) else None
        if array is not None and array.dtype == bool:  # a mask is the indices of its true places, one array an axis
            places = [place for place in _row_major(array.shape) if array[place]]
            expanded += [np.array([p[a] for p in places], int) for a in range(array.ndim)]
        else:
            expanded.append(item if array is None else array)
    used = sum(item is not None and item is not Ellipsis for item in expanded)
    if not any(item is Ellipsis for item in expanded):
        expanded.append(Ellipsis)
    at = next(i for i, item in enumerate(expanded) if item is Ellipsis)
    expanded[at : at + 1] = [slice(None)] * (len(shape) - used)
    # With an array among them ints are arrays too. What they pick has one place: where they stand, or first if apart.
    advanced = [i for i, item in enumerate(expanded) if isinstance(item, np.ndarray)]
    if advanced:
        advanced = [i for i, item in enumerate(expanded) if isinstance(item, (int, np.ndarray))]
    joint = exact.broadcast_shape(*(np.shape(expanded[i]) for i in advanced))
    first = advanced[0] if advanced and advanced[-1] - advanced[0] == len(advanced) - 1 else 0
    result: list[int] = []
    plan: list[tuple[int, Any]] = []  # for each axis of x: where in the result's index to look, and how to read it
    axis = 0
    joint_at = sum(not isinstance(item, int) for item in expanded[:first]) if advanced else 0
    for i, item in enumerate(expanded):
        if advanced and i == first:
            result += joint
        if item is None:
            result.append(1)
        elif i in advanced:
            plan.append((-1, np.asarray(item)))
            axis += 1
        elif isinstance(item, slice):
            plan.append((len(result), range(shape[axis])[item]))
            result.append(len(range(shape[axis])[item]))
            axis += 1
        else:
            plan.append((-2, item))
            axis += 1
    joint_at = joint_at if first else 0

    def source(*place: int) -> Index:
        found = []
        for a, (where, reader) in enumerate(plan):
            if where == -2:
                found.append(reader % shape[a])
            elif where == -1:
                own = place[joint_at : joint_at + len(joint)][len(joint) - reader.ndim :]
                picked = reader[tuple(0 if n == 1 else k for k, n in zip(own, reader.shape, strict=True))]
                found.append(int(picked) % shape[a])
            else:
                found.append(reader[place[where]])
        return tuple(found)

    return result, source


def _getitem(x: Array, *, index: Any) -> Array:
    array = exact.decimals(x)
    shape, source = _pick(x.shape, index)
    return exact.build(shape, lambda *place: array[source(*place)])


def _scatter_add(x: Array, *, index: Any, shape: Any) -> Array:
    array, result = exact.decimals(x), exact.full(shape)
    _, source = _pick(tuple(shape), index)
    for place in _row_major(x.shape):
        result[source(*place)] += array[place]
    return result


def _take_along_axis(x: Array, *, indices: Array, axis: int | None = -1) -> Array:
    if axis is None:
        x, axis = _refill(x, [x.size]), 0
    array, axis = exact.decimals(x), axis % x.ndim
    joint = exact.broadcast_shape(
        (*x.shape[:axis], 1, *x.shape[axis + 1 :]), (*indices.shape[:axis], 1, *indices.shape[axis + 1 :])
    )

    def element(*i: int) -> Any:
        picked = int(indices[tuple(0 if n == 1 else k for k, n in zip(i, indices.shape, strict=True))])
        lengths = (*x.shape[:axis], None, *x.shape[axis + 1 :])
        source = [0 if n == 1 else k for k, n in zip(i, lengths, strict=True)]
        source[axis] = picked % x.shape[axis]
        return array[tuple(source)]

    return exact.build((*joint[:axis], indices.shape[axis], *joint[axis + 1 :]), element)


def _concatenate(*tensors: Array, axis: int | None = 0) -> Array:
    arrays = [exact.decimals(x) if axis is not None else _refill(x, [x.size]) for x in tensors]
    a = (axis or 0) % arrays[0].ndim
    lines = [(x, i) for x in arrays for i in range(x.shape[a])]

    def element(*index: int) -> Any:
        x, i = lines[index[a]]
        return x[(*index[:a], i, *index[a + 1 :])]

    return exact.build((*arrays[0].shape[:a], len(lines), *arrays[0].shape[a + 1 :]), element)


def _stack(*tensors: Array, axis: int = 0) -> Array:
    arrays = [exact.decimals(x) for x in tensors]
    a, shape = axis % (arrays[0].ndim + 1), arrays[0].shape
    return exact.build((*shape[:a], len(arrays), *shape[a:]), lambda *i: arrays[i[a]][i[:a] + i[a + 1 :]])


def _pairs(value: Any, ndim: int) -> list[tuple[Any, Any]]:
    """n, (before, after) or a pair for each axis, as a pair for each axis."""
    if not isinstance(value, tuple):
        return [(value, value)] * ndim
    return list(value) if isinstance(value[0], tuple) else [value] * ndim


def _pad(x: Array, *, pad_width: Any, constant_values: Any = 0) -> Array:
    array, widths, borders = exact.decimals(x), _pairs(pad_width, x.ndim), _pairs(constant_values, x.ndim)

    def element(*index: int) -> Any:
        for axis in reversed(range(x.ndim)):  # the last axis is padded last, so its border owns the corners
            k = index[axis] - widths[axis][0]
            if not 0 <= k < x.shape[axis]:
                return exact.decimals(borders[axis][k >= 0])[()]
        return array[tuple(i - before for i, (before, _) in zip(index, widths, strict=True))]

    return exact.build([n + sum(width) for n, width in zip(x.shape, widths, strict=True)], element)


_MASK = np.array([[True, False, True], [False, False, True]])
_INDICES: tuple[tuple[Index, Any], ...] = (
    ((5,), 2), ((5,), -1), ((5,), slice(1, None, 2)), ((5,), slice(None, None, -1)), ((5,), np.array([0, 4, 4, -1])),
    ((5,), [1, 1, 3]), ((5,), np.array([True, False, True, False, True])), ((5,), slice(3, 1)),
    ((2, 3), ()), ((2, 3), (1, slice(None))), ((2, 3), (Ellipsis, 0)), ((2, 3), (None, slice(None), None, 2)),
    ((2, 3), _MASK), ((2, 3), (_MASK[:, 0], slice(1, 3))), ((2, 3), (np.array([0, 1, 1]), np.array([2, 0, 2]))),
    ((2, 3), (slice(None), np.array([[0, 0], [2, 1]]))), ((2, 3, 2), (1, _MASK.T)),
    ((2, 3, 2), (np.array([1, 0]), slice(None), np.array([0, 0]))), ((2, 3, 2), (slice(None), np.array([1, 1]), 0)),
    ((2, 3, 2), (Ellipsis, np.array([], int))), ((), ()), ((), (None,)), ((0, 2), slice(None)),
)  # fmt: skip


def _getitem_samples(generator: np.random.Generator) -> list[Sample]:
    return [Sample((uniform(generator, shape),), {"index": index}) for shape, index in _INDICES]


def _scatter_samples(generator: np.random.Generator) -> list[Sample]:
    return [
        Sample((uniform(generator, tuple(_pick(shape, index)[0])),), {"index": index, "shape": shape})
        for shape, index in _INDICES
    ]


def _take_samples(generator: np.random.Generator) -> list[Sample]:
    cases = (((5,), (3,), 0), ((2, 3), (2, 4), 1), ((2, 3), (1, 3), 0), ((2, 3), (2, 1), -1), ((2, 3, 2), (2, 2, 2), 1),
             ((2, 3), (4,), None), ((2, 3), (1, 2), 1), ((2, 3), (2, 0), 1), ((0, 2), (0, 1), 1))  # fmt: skip
    found = []
    for shape, picked, axis in cases:
        length = math.prod(shape) if axis is None else shape[axis]
        indices = generator.integers(-length, length, picked)
        found.append(Sample((uniform(generator, shape),), {"indices": indices, "axis": axis}))
    return found


def _joined(*cases: tuple[tuple[Index, ...], int | None]) -> Samples:
    return lambda generator: [
        Sample(tuple(uniform(generator, shape) for shape in shapes), {"axis": axis}) for shapes, axis in cases
    ]


def _in_a_list(function: Callable[..., Any], inputs: Sequence[Any], attributes: Any) -> Any:
    return function(list(inputs), **attributes)


def _in_order(function: Callable[..., Any], inputs: Sequence[Any], attributes: Any) -> Any:
    return function(*inputs, *attributes.values())


def _moved(name: str, reference: Callable[..., Array], samples: Samples, *errors: ErrorCase, **options: Any) -> OpInfo:
    """The entry of an op that moves numbers and changes none."""
    return OpInfo(name, reference, samples, errors=errors, **{"ulps": 0.0, "dtypes": NUMBERS, **options})


ENTRIES = (
    _moved("reshape", _reshape,
           _of(((), {"shape": (1, 1)}), ((6,), {"shape": (2, 3)}), ((2, 3), {"shape": (3, -1)}),
               ((2, 3), {"shape": (-1,)}),
               ((2, 1, 3), {"shape": (3, 2)}), ((1,), {"shape": ()}), ((0, 3), {"shape": (3, 0, 2)})),
           ErrorCase((_X, (4, 2)), ValueError, r"^reshape of \(2, 3\): cannot reshape"),
           ErrorCase((_X, 1.5), TypeError, "^reshape: shape: expected ints"),
           ErrorCase((_X, (3, 2)), ValueError, "^reshape: order='F'", {"order": "F"}), call=_in_order),
    _moved("transpose", _transpose,
           _of(((), {"axes": None}), ((3,), {"axes": None}), ((2, 3), {"axes": None}), ((2, 3, 4), {"axes": (2, 0, 1)}),
               ((2, 1, 3), {"axes": (-2, -1, 0)}), ((2, 3), {"axes": (0, 1)}), ((0, 3), {"axes": (1, 0)})),
           ErrorCase((_X, (0, 0)), ValueError, r"^transpose: axis=\(0, 0\) names an axis twice"),
           ErrorCase((_X, (0,)), ValueError, r"^transpose: axes=\(0,\) for "), call=_in_order),
    _moved("swapaxes", _swapaxes,
           _of(((2, 3), {"axis1": 0, "axis2": 1}), ((2, 3, 4), {"axis1": -1, "axis2": 0}),
               ((3,), {"axis1": 0, "axis2": 0}),
               ((2, 1, 0), {"axis1": 1, "axis2": 2})),
           ErrorCase((_X, 0, 2), AxisError, "^swapaxes: axis 2 is out of range")),
    _moved("squeeze", _squeeze,
           _of(((1,), {"axis": None}), ((2, 1, 3, 1), {"axis": None}), ((2, 1, 3, 1), {"axis": 1}),
               ((1, 2, 1), {"axis": (0, -1)}),
               ((2, 3), {"axis": None}), ((), {"axis": None}), ((1, 0), {"axis": 0})),
           ErrorCase((_X, 0), ValueError, "^squeeze of .*not equal to one"),
           ErrorCase((_X, 2), AxisError, "^squeeze: axis 2 is out of range")),
    _moved("expand_dims", _expand_dims,
           _of(((), {"axis": 0}), ((3,), {"axis": 1}), ((2, 3), {"axis": -1}), ((2, 3), {"axis": (0, 2)}),
               ((0,), {"axis": 0})),
           ErrorCase((_X, 3), AxisError, "^expand_dims: axis 3 is out of range")),
    _moved("broadcast_to", _broadcast_to,
           _of(((), {"shape": (2, 3)}), ((3,), {"shape": (2, 3)}), ((2, 1), {"shape": (2, 3)}),
               ((2, 1, 3), {"shape": (4, 2, 2, 3)}),
               ((1,), {"shape": (0,)}), ((0,), {"shape": (2, 0)}), ((2, 3), {"shape": (2, 3)}),
               ((1, 1), {"shape": (1, 1)})),
           ErrorCase((_X, (3, 2)), ValueError, "^broadcast_to of .*broadcast")),
    _moved("getitem", _getitem, _getitem_samples,
           ErrorCase((_X, 2), IndexError, "^getitem of .*out of bounds"),
           ErrorCase((_X, (0, 0, 0)), IndexError, "^getitem of .*too many indices"),
           ErrorCase((_X, 0.5), IndexError, "^getitem of .*only integers")),
    _moved("scatter_add", _scatter_add, _scatter_samples,
           ErrorCase((_X, 0, (2, 3)), ValueError, r"^scatter_add: x has shape \(2, 3\), but .* needs \(3,\)"),
           ErrorCase((_X, 5, (2, 3)), IndexError, "out of bounds"),
           ulps=1.0, size=lambda x, **attributes: _scatter_add(np.abs(x), **attributes)),
    _moved("take_along_axis", _take_along_axis, _take_samples,
           ErrorCase((_X, np.array([[5], [0]]), 1), IndexError, "^take_along_axis of .*out of bounds"),
           ErrorCase((_X, np.array([0]), 1), ValueError, "^take_along_axis of .*dimensions"),
           ErrorCase((_X, np.array([[0.5]]), 1), IndexError, "^take_along_axis of .*integer")),
    _moved("concatenate", _concatenate,
           _joined((((3,), (2,)), 0), (((2, 3), (1, 3), (2, 3)), 0), (((2, 3), (2, 1)), 1), (((2, 3), (2, 2)), -1),
                   (((2, 3), (4,), ()), None), (((2, 3),), 0), (((0, 2), (3, 2)), 0)),
           ErrorCase(([_X, np.ones((2, 2))],), ValueError, r"^concatenate of \(2, 3\), \(2, 2\)"),
           ErrorCase(([_X], 2), AxisError, "^concatenate: axis 2"),
           ErrorCase(([],), ValueError, "^concatenate"),
           ErrorCase((1.0,), TypeError, "^concatenate: expected a sequence"),
           call=_in_a_list, method=False),
    _moved("stack", _stack,
           _joined((((3,), (3,)), 0), (((2, 3), (2, 3), (2, 3)), 1), (((2, 3), (2, 3)), -1), (((), ()), 0),
                   (((2, 3),), 2),
                   (((0, 2), (0, 2)), 1)),
           ErrorCase(([_X, np.ones((2, 2))],), ValueError, r"^stack of \(2, 3\), \(2, 2\)"),
           ErrorCase(([_X], 3), AxisError, "^stack: axis 3"),
           ErrorCase(([],), ValueError, "^stack"), ErrorCase((1.0,), TypeError, "^stack: expected a sequence"),
           call=_in_a_list, method=False),
    _moved("pad", _pad,
           _of(((3,), {"pad_width": ((1, 2),)}), ((2, 3), {"pad_width": 1, "constant_values": 0.5}),
               ((2, 3), {"pad_width": (0, 2)}),
               ((2, 3), {"pad_width": ((1, 0), (2, 1)), "constant_values": ((1, 2), (3, 4))}),
               ((2, 3), {"pad_width": 0}),
               ((0, 2), {"pad_width": ((1, 1), (0, 0))})),
           ErrorCase((_X, -1), ValueError, "^pad: pad_width=-1 has negative widths"),
           ErrorCase((_X, 0.5), TypeError, "^pad: pad_width=0.5; expected integers"),
           ErrorCase((_X, ((1, 1), (1, 1), (1, 1))), ValueError, "^pad: pad_width=.* does not fit"),
           ErrorCase((_X, 1, "reflect"), ValueError, "^pad: mode='reflect'"), dtypes=NUMBERS[:3]),
    _moved("flip", _flip,
           _of(((), {"axis": None}), ((5,), {"axis": 0}), ((2, 3), {"axis": None}), ((2, 3), {"axis": -1}),
               ((2, 3, 2), {"axis": (0, 2)}), ((0, 2), {"axis": 1})),
           ErrorCase((_X, 2), AxisError, "^flip: axis 2 is out of range")),
)  # fmt: skip
