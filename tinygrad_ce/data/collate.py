"""From the rows of any data set to one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.arrays import to_array
from tinygrad_ce.mode import get_default_dtype


def collate(rows: Sequence[Any], where: str = "row") -> Any:
    """Rows of the same make as one batch, which has that make too.

    Arrays, Tensors and numbers become one array with a first axis more; tuples, lists and mappings become a tuple,
    a list or a dict of batches, as deep as they go; strings stay a list. Arrays and NumPy's numbers keep their
    dtype; Python's floats get the default dtype, ints int64.

    Raises:
        TypeError: a row holds what cannot be put in an array.
        ValueError: the rows differ in shape, in length or in keys. The message says in which place of a row.

    >>> from tinygrad_ce.data.collate import collate
    >>> collate([([1.0, 2.0], "a"), ([3.0, 4.0], "b")])
    ([array([1., 3.], dtype=float32), array([2., 4.], dtype=float32)], ['a', 'b'])
    >>> collate([{"age": 7}, {"age": 9}])
    {'age': array([7, 9])}
    """
    first = rows[0]
    if isinstance(first, str | bytes):
        return list(rows)
    if isinstance(first, Mapping):
        _same(where, "keys", [sorted(row, key=repr) if isinstance(row, Mapping) else None for row in rows])
        return {key: collate([row[key] for row in rows], f"{where}[{key!r}]") for key in first}
    if isinstance(first, tuple | list):
        _same(where, "lengths", [len(row) if isinstance(row, tuple | list) else None for row in rows])
        columns = [collate(column, f"{where}[{i}]") for i, column in enumerate(zip(*rows, strict=True))]
        if isinstance(first, list):
            return columns
        return type(first)(*columns) if hasattr(first, "_fields") else tuple(columns)
    return _stack(rows, where)


def _stack(rows: Sequence[Any], where: str) -> NDArray[Any]:
    if all(type(row) in (bool, int, float) for row in rows):
        numbers = np.asarray(rows)
        return numbers.astype(get_default_dtype()) if numbers.dtype.kind == "f" else numbers
    try:
        arrays = [to_array(row) for row in rows]
    except (TypeError, ValueError) as error:
        kinds = " or ".join(dict.fromkeys(type(row).__name__ for row in rows))
        raise TypeError(
            f"DataLoader: {where} is {kinds}, which makes no array ({error}); let each row of the data set be an "
            "array, a number, a string, or a tuple or dict of these, or pass collate_fn="
        ) from None
    _same(where, "shapes", [array.shape for array in arrays])
    return np.stack(arrays)


def _same(where: str, what: str, found: Sequence[Any]) -> None:
    other = next((x for x in found if x != found[0]), found[0])
    if other != found[0]:
        raise ValueError(
            f"DataLoader: {where} must have the same make in every row of a batch, found the {what} "
            f"{found[0]} and {'none' if other is None else other}; make them equal, for example by padding, "
            "or pass collate_fn="
        )
