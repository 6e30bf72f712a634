"""Which class was taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.arrays import plain
from tinygrad_ce.results import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table as RichTable

Array = NDArray[Any]


class Mistake(NamedTuple):
    """So many rows of one class were taken for another; by their names."""

    true: str
    predicted: str
    rows: int


@dataclass(frozen=True, repr=False, eq=False)
class ConfusionMatrix:
    """Counts: `array[i, j]` rows of class i were said to be of class j. `print` it for a table, or `plot()` it.

    array    (C, C) integers
    classes  the name of each class
    """

    array: Array
    classes: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        """The fraction of the rows on the diagonal."""
        return float(np.trace(self.array) / self.array.sum())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.array, dtype=dtype, copy=copy)

    def table(self) -> Table:
        """A row for each true class, a column for each that was predicted."""
        rows = [[name, *(str(n) for n in row)] for name, row in zip(self.classes, self.array, strict=True)]
        return Table(["true \\ predicted", *self.classes], rows)

    def mistakes(self, n: int = 5) -> list[Mistake]:
        """The n most frequent mistakes, the largest first; of equal ones that of the earlier class.

        Raises ValueError for n below 1.

        >>> import tinygrad_ce as tg
        >>> found = tg.confusion_matrix([0, 0, 1, 1, 2, 2], [1, 1, 1, 2, 2, 2], ["cat", "dog", "fox"])
        >>> for true, predicted, rows in found.mistakes():
        ...     print(f"{true} taken for {predicted}: {rows}")
        cat taken for dog: 2
        dog taken for fox: 1
        """
        if n < 1:
            raise ValueError(f"mistakes: n={n}; expected at least 1")
        off = np.where(np.eye(len(self.classes), dtype=bool), 0, self.array)
        order = np.argsort(-off, axis=None, kind="stable")[:n]
        cells = zip(*np.unravel_index(order, off.shape), strict=True)
        return [Mistake(self.classes[i], self.classes[j], int(off[i, j])) for i, j in cells if off[i, j]]

    def plot(self) -> Figure:
        """Each row as fractions of its class in shades, with the counts written in; a figure of matplotlib."""
        from tinygrad_ce.training.plots import plot_confusion

        return plot_confusion(self.array, self.classes)

    def __repr__(self) -> str:
        return str(self.table())

    def __rich__(self) -> RichTable:
        return self.table().rich()

    def _repr_html_(self) -> str:
        return self.table().html()


def confusion_matrix(targets: Any, predicted: Any, classes: Sequence[str] | None = None) -> ConfusionMatrix:
    """Count which class was taken for which.

    targets    integer class indices (N,), the truth
    predicted  integer class indices (N,), such as `predict` gives
    classes    the names of all classes; without, the numbers 0 to the largest class that occurs

    Raises ValueError for arrays that do not fit together or are no integers, IndexError for a class without a name.

    >>> import tinygrad_ce as tg
    >>> tg.confusion_matrix([0, 0, 1, 1, 1], [0, 1, 1, 1, 0], ["cat", "dog"])
    true \\ predicted  cat  dog
    ----------------  ---  ---
    cat                 1    1
    dog                 1    2
    """
    y, said, names = checked("confusion_matrix", targets, predicted, classes)
    counts = np.bincount(y * len(names) + said, minlength=len(names) ** 2)
    return ConfusionMatrix(counts.reshape(len(names), len(names)), names)


def checked(
    caller: str, targets: Any, predicted: Any, classes: Sequence[str] | None
) -> tuple[Array, Array, tuple[str, ...]]:
    """Both as int64 arrays of one shape, and a name for each class."""
    arrays = []
    for name, values in (("targets", targets), ("predicted", predicted)):
        x = np.asarray(plain(values))
        if x.ndim == 2 and name == "predicted" and x.dtype.kind == "f":
            raise ValueError(f"{caller}: predicted are scores of shape {x.shape}; write predicted.argmax(axis=1)")
        if x.ndim != 1 or x.dtype.kind not in "iub" or not x.size:
            raise ValueError(
                f"{caller}: {name} must be class indices, integers of shape (N,), found {x.dtype} of shape {x.shape}"
            )
        arrays.append(x.astype(np.int64))
    y, said = arrays
    if y.shape != said.shape:
        raise ValueError(f"{caller}: found {len(y)} targets and {len(said)} predicted classes; expected one for each")
    largest = int(max(y.max(), said.max()))
    names = tuple(map(str, range(largest + 1) if classes is None else classes))
    for name, x in (("targets", y), ("predicted", said)):
        wrong = (x < 0) | (x >= len(names))
        if wrong.any():
            i = int(np.argmax(wrong))
            raise IndexError(f"{caller}: {name}[{i}] = {x[i]} is not a class; valid are 0 to {len(names) - 1}")
    return y, said, names
