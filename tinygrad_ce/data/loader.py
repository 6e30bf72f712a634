"""How to walk through a data set in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.data.checks import check_count, check_generator
from tinygrad_ce.data.collate import collate
from tinygrad_ce.data.dataset import ArrayDataset


class Dataset(Protocol):
    """Whatever has rows: `len(dataset)` and `dataset[i]` for i from 0 on."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class DataLoader:
    """The batches of a data set; each `for` over it walks through all rows once.

    A batch of an `ArrayDataset` is `(inputs, targets)`, a batch of an array is an array: views of the rows in their
    order, copies of shuffled ones. Of any other data set, `dataset[i]` is read row by row and the rows are put
    together: arrays and numbers become one array with a first axis more, tuples and dicts become tuples and dicts of
    such batches, strings a list. A batch is never written to again: keep it as long as you like.

    Several walks may go on at once. Each draws a permutation of its own at its start, `iter(loader)`, and no more.

    Args:
        dataset: an `ArrayDataset`, an array, or anything with `__len__` and `__getitem__`.
        batch_size: rows in a batch, at least 1. The last batch is shorter when it does not divide the length.
        shuffle: whether each walk goes through the rows in a new random order.
        generator: draws these orders; a fresh one if None.
        drop_last: leave out a last batch which would be shorter.
        collate_fn: makes a batch of a list of rows, in place of the above.

    Attributes: the arguments, by their names. `generator` is None if nothing is shuffled.

    Raises:
        TypeError: an argument has the wrong type, as a seed in place of a generator.
        ValueError: `batch_size` is less than 1, or there is a generator and nothing to shuffle.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> five = tg.data.ArrayDataset(np.arange(5.0), np.arange(5))
    >>> [targets.tolist() for _, targets in tg.data.DataLoader(five, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    >>> loader = tg.data.DataLoader(five, 2, shuffle=True, generator=np.random.default_rng(0))
    >>> sorted(target for _, targets in loader for target in targets.tolist())
    [0, 1, 2, 3, 4]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        *,
        shuffle: bool = False,
        generator: np.random.Generator | None = None,
        drop_last: bool = False,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        _check_dataset(dataset)
        check_generator("DataLoader", generator)
        if generator is not None and not shuffle:
            raise ValueError(
                "DataLoader: a generator is given but nothing is shuffled; write shuffle=True, or leave generator out"
            )
        self.dataset = dataset
        self.batch_size = check_count("DataLoader", "batch_size", batch_size)
        self.shuffle = bool(shuffle)
        self.generator = np.random.default_rng() if shuffle and generator is None else generator
        self.drop_last = bool(drop_last)
        self.collate_fn = collate_fn

    def __len__(self) -> int:
        """The number of batches."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        order = None if self.generator is None else self.generator.permutation(len(self.dataset))
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        ends = (min(start + self.batch_size, len(self.dataset)) for start in starts)
        slices = (slice(start, end) for start, end in zip(starts, ends, strict=True))
        return (self._batch(rows if order is None else order[rows]) for rows in slices)

    def _batch(self, rows: slice | NDArray[Any]) -> Any:
        if self.collate_fn is None:
            # A class derived from ArrayDataset may give its rows differently: it is read row by row.
            if type(self.dataset) is ArrayDataset:
                return _rows(self.dataset.inputs, rows), _rows(self.dataset.targets, rows)
            if isinstance(self.dataset, np.ndarray):
                return _rows(self.dataset, rows)
        indices = range(rows.start, rows.stop) if isinstance(rows, slice) else rows.tolist()
        return (self.collate_fn or collate)([self.dataset[i] for i in indices])

    def state_dict(self) -> dict[str, Any]:
        """The state of the generator in plain ints, strings and lists; empty if nothing is shuffled.

        Saved at the end of an epoch and loaded later, by a loader with the same kind of generator, it makes the next
        epochs come in the same order as if nothing had been in between.

        >>> import numpy as np
        >>> import tinygrad_ce as tg
        >>> loader = tg.data.DataLoader(np.arange(6), 6, shuffle=True)
        >>> state = loader.state_dict()
        >>> first, second = next(iter(loader)), next(iter(loader))
        >>> loader.load_state_dict(state)
        >>> bool((next(iter(loader)) == first).all())
        True
        """
        return {} if self.generator is None else {"generator": _plain(self.generator.bit_generator.state)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put the generator in the state that `state_dict` gave.

        Raises:
            ValueError: the state is that of another kind of generator, or of a loader which shuffles when this one
                does not, or the other way round. The generator is left as it was.
        """
        expected = set(self.state_dict())
        if set(state) != expected:
            raise ValueError(
                f"DataLoader: the state must have the keys {sorted(expected)}, found {sorted(state)}; "
                f"this loader has shuffle={self.shuffle}, so load the state of one which has too"
            )
        if self.generator is None:
            return
        before = self.generator.bit_generator.state
        try:
            self.generator.bit_generator.state = state["generator"]
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            self.generator.bit_generator.state = before
            raise ValueError(
                f"DataLoader: the state is not one of the generator's kind, {before['bit_generator']}: {error!r}"
            ) from None

    def __repr__(self) -> str:
        options = "".join(f", {name}=True" for name in ("shuffle", "drop_last") if getattr(self, name))
        rows = f"{type(self.dataset).__name__} of {len(self.dataset)} rows"
        return f"DataLoader({rows}, batch_size={self.batch_size}{options}: {len(self)} batches)"


def _rows(array: NDArray[Any], rows: slice | NDArray[Any]) -> NDArray[Any]:
    """A view of a slice, a copy of chosen rows. `take` is the fastest, but copies a strided array whole, each time."""
    if not isinstance(rows, slice) and array.flags.c_contiguous and array.flags.aligned:
        return array.take(rows, axis=0)
    chosen: NDArray[Any] = array[rows]
    return chosen


def _plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state


def _check_dataset(dataset: Any) -> None:
    make = type(dataset).__name__
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")) or isinstance(dataset, Mapping | str):
        raise TypeError(
            f"DataLoader: dataset must have rows, dataset[0] to dataset[len(dataset) - 1], found {make}; "
            "write tg.data.ArrayDataset(inputs, targets)"
        )
    if isinstance(dataset, tuple) and any(isinstance(item, np.ndarray) for item in dataset):
        raise TypeError(
            f"DataLoader: dataset is a tuple of {len(dataset)}, which would be its rows; for arrays of inputs and "
            "targets write tg.data.ArrayDataset(inputs, targets)"
        )
    if isinstance(dataset, np.ndarray) and dataset.ndim == 0:
        raise TypeError("DataLoader: dataset is an array of shape (), which has no rows; write np.array([...])")
