"""A data set as plain arrays."""

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
        features: the name of each column of inputs of shape (N, D); empty when they have none.

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
    features: tuple[str, ...] = ()

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
