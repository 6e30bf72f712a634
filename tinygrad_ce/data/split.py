"""Training and test sets, parted."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_ce.data.checks import check_generator
from tinygrad_ce.data.dataset import ArrayDataset

WHERE = "train_test_split"


@overload
def train_test_split(
    dataset: ArrayDataset,
    /,
    *,
    test_size: float = ...,
    generator: np.random.Generator | None = ...,
    stratify: bool | ArrayLike = ...,
) -> tuple[ArrayDataset, ArrayDataset]: ...
@overload
def train_test_split(
    *arrays: NDArray[Any],
    test_size: float = ...,
    generator: np.random.Generator | None = ...,
    stratify: bool | ArrayLike = ...,
) -> tuple[NDArray[Any], ...]: ...
def train_test_split(
    *data: Any,
    test_size: float = 0.2,
    generator: np.random.Generator | None = None,
    stratify: bool | ArrayLike = False,
) -> tuple[Any, ...]:
    """Part the rows at random: `train, test` of a data set, `x_train, x_test, y_train, y_test` of the arrays x and y.

    Every row is in exactly one of the two, in random order, and its targets stay with it. All results are copies.

    Args:
        data: one `ArrayDataset`, or one or more arrays of the same length.
        test_size: the part for testing, a float between 0 and 1 (rounded to whole rows), or a number of rows.
        generator: draws who goes where; a fresh one if None.
        stratify: True to part each class of a data set's targets alike, so that a class has its share of the test
            set, give or take a row; for arrays, the class of each row, an array of shape (N,).

    Raises:
        TypeError: `data`, `test_size` or `generator` has the wrong type.
        ValueError: lengths differ, a part would be empty, or `stratify` does not name one class for each row.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> iris = tg.data.ArrayDataset(np.arange(150.0), np.repeat([0, 1, 2], 50))
    >>> train, test = tg.data.train_test_split(iris, stratify=True, generator=np.random.default_rng(0))
    >>> len(train), np.bincount(test.targets).tolist()
    (120, [10, 10, 10])
    >>> x, y = np.eye(4), np.arange(4)
    >>> x_train, x_test, y_train, y_test = tg.data.train_test_split(x, y, test_size=1)
    >>> y_train.shape, y_test.shape
    ((3,), (1,))
    """
    _check_data(data)
    check_generator(WHERE, generator)
    total = len(data[0])
    held_out = _held_out(total, test_size)
    order = (np.random.default_rng() if generator is None else generator).permutation(total)
    if isinstance(stratify, bool):
        labels = _own_labels(data) if stratify else np.zeros(total, dtype=np.int64)
    else:
        labels = np.asarray(stratify)
    if labels.shape != (total,) or labels.dtype.kind == "f":
        raise ValueError(
            f"{WHERE}: stratify must name one class for each of {total} rows, "
            f"found {labels.dtype} of shape {labels.shape}; write stratify=False to split without regard to classes"
        )
    chosen = np.zeros(total, dtype=bool)
    for rows, count in _shares(labels, order, held_out):
        chosen[rows[:count]] = True
    parts = order[~chosen[order]], order[chosen[order]]
    if isinstance(data[0], ArrayDataset):
        return tuple(ArrayDataset(*data[0][part], data[0].classes, data[0].features) for part in parts)
    return tuple(array[part] for array in data for part in parts)


def every_fifth(dataset: ArrayDataset) -> tuple[ArrayDataset, ArrayDataset]:
    """The fixed split of the data sets that ship: no random numbers, stratified, four to one, in the source's order.

    With the rows in the order of their class (a stable sort), every fifth, from the first on, is for testing.
    """
    held_out = np.zeros(len(dataset), dtype=bool)
    held_out[np.argsort(dataset.targets, kind="stable")[::5]] = True
    train, test = (ArrayDataset(*dataset[rows], dataset.classes, dataset.features) for rows in (~held_out, held_out))
    return train, test


def _shares(labels: NDArray[Any], order: NDArray[Any], count: int) -> list[tuple[NDArray[Any], int]]:
    """The rows of each class in this order, and how many of them are its share of `count`.

    By the method of the largest remainder: whole shares first, and what is left over to the classes which lost most
    in rounding down.
    """
    names, sizes = np.unique(labels, return_counts=True)
    shares, rest = np.divmod(count * sizes, len(labels))
    shares[np.argsort(-rest, kind="stable")[: count - shares.sum()]] += 1
    return [(order[labels[order] == name], int(share)) for name, share in zip(names, shares, strict=True)]


def _check_data(data: tuple[Any, ...]) -> None:
    datasets = [isinstance(item, ArrayDataset) for item in data]
    if not data or (any(datasets) and len(data) > 1):
        raise TypeError(f"{WHERE}: expected one ArrayDataset, or one or more arrays, found {len(data)} arguments")
    for item in data:
        if not isinstance(item, ArrayDataset) and not (isinstance(item, np.ndarray) and item.ndim):
            raise TypeError(
                f"{WHERE}: expected an ArrayDataset or arrays, found {type(item).__name__} {item!r:.60}; "
                "write np.array([...])"
            )
    if len({len(item) for item in data}) > 1:
        raise ValueError(f"{WHERE}: the arrays must have the same length, found {[len(item) for item in data]}")


def _held_out(total: int, test_size: Any) -> int:
    if isinstance(test_size, bool) or not isinstance(test_size, int | float | np.integer | np.floating):
        raise TypeError(
            f"{WHERE}: test_size must be a part such as 0.2 or a number of rows, "
            f"found {type(test_size).__name__} {test_size!r}"
        )
    whole = isinstance(test_size, int | np.integer)
    count = int(test_size) if whole else round(test_size * total) if 0 < test_size < 1 else 0
    if not 0 < count < total:
        raise ValueError(
            f"{WHERE}: test_size={test_size!r} of {total} rows leaves no rows for one of the parts; write a part "
            f"between 0 and 1, such as 0.2, or a number of rows from 1 to {total - 1}"
        )
    return count


def _own_labels(data: tuple[Any, ...]) -> NDArray[Any]:
    if not isinstance(data[0], ArrayDataset):
        raise ValueError(f"{WHERE}: stratify=True needs a data set with targets; for arrays write stratify=y")
    return data[0].targets
