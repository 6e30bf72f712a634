"""Calibration: is what a model says with 80 % certainty right 80 times of 100?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.arrays import plain
from tinygrad_ce.results import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Group

Array = NDArray[Any]


@dataclass(frozen=True, repr=False, eq=False)
class Calibration:
    """Rows in bins of their confidence, the probability of the likeliest class: `print` it or `plot()` it.

    edges       (B + 1,) of the bins; a bin holds its upper edge and not its lower one, the first one both
    count       (B,) how many rows are in each bin
    confidence  (B,) their mean confidence; nan in an empty bin
    accuracy    (B,) the fraction of them that is right; nan in an empty bin
    """

    edges: Array
    count: Array
    confidence: Array
    accuracy: Array

    @property
    def expected_error(self) -> float:
        """Expected calibration error: the mean over the rows of |accuracy - confidence| of their bin."""
        gaps = self._gaps()
        return float(np.sum(gaps * self.count[self.count > 0]) / self.count.sum())

    @property
    def largest_error(self) -> float:
        """Maximum calibration error: the largest |accuracy - confidence| of a bin."""
        return float(self._gaps().max())

    def _gaps(self) -> Array:
        filled = self.count > 0
        gaps: Array = np.abs(self.accuracy[filled] - self.confidence[filled])
        return gaps

    def table(self) -> Table:
        """A row for each bin that is not empty."""
        rows = [
            [
                f"{low:.3f} to {high:.3f}",
                str(n),
                f"{confidence:.4f}",
                f"{accuracy:.4f}",
                f"{accuracy - confidence:+.4f}",
            ]
            for low, high, n, confidence, accuracy in zip(
                self.edges, self.edges[1:], self.count, self.confidence, self.accuracy, strict=False
            )
            if n
        ]
        return Table(["confidence", "rows", "mean confidence", "accuracy", "gap"], rows)

    def title(self) -> str:
        """The errors, in one line."""
        return (
            f"expected calibration error {self.expected_error:.4f}, largest {self.largest_error:.4f}, "
            f"of {self.count.sum():,} rows"
        )

    def plot(self) -> Figure:
        """A reliability diagram, accuracy against confidence, above how many rows each bin has. By matplotlib."""
        from tinygrad_ce.training.plots import plot_calibration

        return plot_calibration(self.edges, self.count, self.confidence, self.accuracy, self.expected_error)

    def __repr__(self) -> str:
        return f"{self.title()}\n{self.table()}"

    def __rich__(self) -> Group:
        from rich.console import Group

        return Group(self.title(), self.table().rich())

    def _repr_html_(self) -> str:
        return f"<div>{self.title()}</div>{self.table().html()}"


def calibration(probabilities: Any, targets: Any, bins: int = 15) -> Calibration:
    """Compare how certain a classifier is with how often it is right.

    probabilities  (N, C), such as `predict_proba` gives: in [0, 1], each row sums to 1
    targets        integer class indices (N,)
    bins           how many intervals of equal width to cut [0, 1] into

    Raises ValueError for probabilities that are none and arrays that do not fit together, IndexError for a target
    outside [0, C).
    Source: Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", 2017.

    >>> import tinygrad_ce as tg
    >>> found = tg.calibration([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]], [0, 1, 1, 1], bins=5)
    >>> found
    expected calibration error 0.1750, largest 0.2500, of 4 rows
    confidence      rows  mean confidence  accuracy      gap
    --------------  ----  ---------------  --------  -------
    0.600 to 0.800     2           0.7500    0.5000  -0.2500
    0.800 to 1.000     2           0.9000    1.0000  +0.1000
    """
    p, y = np.asarray(plain(probabilities)), np.asarray(plain(targets))
    if isinstance(bins, bool) or not isinstance(bins, (int, np.integer)) or bins < 1:
        raise ValueError(f"calibration: bins={bins!r}; expected a whole number of at least 1")
    _check(p, y)
    p = p.astype(np.float64)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    edges = np.linspace(0, 1, int(bins) + 1)
    # a probability may be a rounding above 1
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, int(bins) - 1)
    count = np.bincount(place, minlength=int(bins))
    with np.errstate(invalid="ignore"):  # 0 / 0 in an empty bin: nan
        means = [np.bincount(place, x, int(bins)) / count for x in (confidence, right)]
    return Calibration(edges, count, *means)


def _check(p: Array, y: Array) -> None:
    if p.ndim != 2 or p.dtype.kind != "f" or not p.size:
        raise ValueError(
            f"calibration: probabilities must be floating of shape (N, C), found {p.dtype} of shape {p.shape}"
        )
    room = 0.01 if p.dtype == np.float16 else 1e-3
    if not ((p >= 0) & (p <= 1 + room)).all() or not (np.abs(p.sum(axis=1, dtype=np.float64) - 1) <= room).all():
        raise ValueError(
            "calibration: probabilities must be in [0, 1] and sum to 1 in each row; of logits write "
            "F.softmax(logits), or predict_proba(model, x)"
        )
    if y.shape != p.shape[:1] or y.dtype.kind not in "iub":
        raise ValueError(
            f"calibration: targets must be integers of shape {p.shape[:1]}, one for each row, found {y.dtype} of shape "
            f"{y.shape}"
        )
    wrong = (y < 0) | (y >= p.shape[1])
    if wrong.any():
        i = int(np.argmax(wrong))
        raise IndexError(f"calibration: targets[{i}] = {y[i]} is not a class; valid are 0 to {p.shape[1] - 1}")
