"""A data set as plain arrays, and how to walk through it in batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pair = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class ArrayDataset:
    """Inputs and their targets, row by row: row i of `inputs` belongs to `targets[i]`.

    Indexing with an int, a slice or an index array gives `(inputs, targets)` of that selection, as NumPy
    indexes: an int or a slice gives views, an index array gives copies.

    Args:
        inputs: array of shape (N, ...), any dtype.
        targets: array of shape (N, ...): class indices (N,), or values to regress.
        classes: the name of each class, in the order of the class indices; empty when there are no classes.

    Raises:
        TypeError: `inputs` or `targets` is not an array with at least one dimension.
        ValueError: `inputs` and `targets` differ in length.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> points = tg.data.ArrayDataset(np.eye(3), np.array([0, 1, 1]), ("cat", "dog"))
    >>> points
    ArrayDataset(3 rows: inputs float64 (3, 3), targets int64 (3,), 2 classes)
    >>> inputs, targets = points[1:]
    >>> inputs.shape, targets.tolist()
    ((2, 3), [1, 1])
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in (("inputs", self.inputs), ("targets", self.targets)):
            if not isinstance(value, np.ndarray) or value.ndim == 0:
                raise TypeError(
                    f"ArrayDataset: {name} must be an array with one row for each example, "
                    f"found {type(value).__name__} {value!r:.60}; write np.array([...])"
                )
        if len(self.inputs) != len(self.targets):
            raise ValueError(
                f"ArrayDataset: inputs and targets must have the same length, found {len(self.inputs)} "
                f"inputs {self.inputs.shape} and {len(self.targets)} targets {self.targets.shape}; "
                "give each row of inputs one row of targets"
            )

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int | slice | NDArray[Any]) -> Pair:
        return self.inputs[index], self.targets[index]

    def __repr__(self) -> str:
        inputs, targets = (f"{array.dtype} {array.shape}" for array in (self.inputs, self.targets))
        return f"ArrayDataset({len(self)} rows: inputs {inputs}, targets {targets}, {len(self.classes)} classes)"


def batches(dataset: ArrayDataset, batch_size: int, *, generator: np.random.Generator | None = None) -> Iterator[Pair]:
    """Walk once through a data set: an iterator over `(inputs, targets)` of `batch_size` rows each.

    Every row comes exactly once, so the last batch is shorter when `batch_size` does not divide the length.
    Without a generator the rows keep their order and batches are views; with one they are shuffled copies.

    Args:
        dataset: what to walk through.
        batch_size: rows in a batch, at least 1.
        generator: shuffles the rows; one permutation is drawn from it when `batches` is called.

    Raises:
        TypeError: `batch_size` is not an int, or `generator` is not a `numpy.random.Generator`.
        ValueError: `batch_size` is less than 1.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> five = tg.data.ArrayDataset(np.arange(5.0), np.arange(5))
    >>> [targets.tolist() for _, targets in tg.data.batches(five, 2)]
    [[0, 1], [2, 3], [4]]
    >>> shuffled = tg.data.batches(five, 2, generator=np.random.default_rng(0))
    >>> sorted(target for _, targets in shuffled for target in targets.tolist())
    [0, 1, 2, 3, 4]
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
        raise TypeError(
            f"batches: batch_size must be an int, found {type(batch_size).__name__} {batch_size!r}; write 32"
        )
    if batch_size < 1:
        raise ValueError(f"batches: batch_size must be at least 1, found {batch_size}; write 32")
    if generator is not None and not isinstance(generator, np.random.Generator):
        raise TypeError(
            f"batches: generator must be a numpy.random.Generator or None, found {type(generator).__name__} "
            f"{generator!r}; write np.random.default_rng(0)"
        )
    starts = range(0, len(dataset), batch_size)
    if generator is None:
        return (dataset[start : start + batch_size] for start in starts)
    order = generator.permutation(len(dataset))
    return (dataset[order[start : start + batch_size]] for start in starts)
