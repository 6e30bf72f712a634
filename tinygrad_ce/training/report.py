"""Precision, recall and F1 of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.results import Table
from tinygrad_ce.training.confusion import confusion_matrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]


@dataclass(frozen=True, repr=False, eq=False)
class ClassificationReport:
    """How well each class is found: `print` it for a table, or `plot()` it.

    classes    the name of each class
    precision  (C,) of the rows said to be of the class, the fraction that is; 0 if there are none
    recall     (C,) of the rows of the class, the fraction said to be; 0 if there are none
    f1         (C,) their harmonic mean, 2 p r / (p + r); 0 if both are
    support    (C,) how many rows of the class there are
    accuracy   the fraction of all rows that is right
    """

    classes: tuple[str, ...]
    precision: Array
    recall: Array
    f1: Array
    support: Array
    accuracy: float

    def average(self, weighted: bool = False) -> tuple[float, float, float]:
        """Precision, recall and F1 as means over the classes, each counting the same or by its support."""
        weights = self.support if weighted else np.ones(len(self.classes))
        p, r, f = (float(np.average(x, weights=weights)) for x in (self.precision, self.recall, self.f1))
        return p, r, f

    def table(self) -> Table:
        """A row for each class, and the means."""
        rows = [
            [name, *(f"{x[i]:.4f}" for x in (self.precision, self.recall, self.f1)), str(self.support[i])]
            for i, name in enumerate(self.classes)
        ]
        total = str(self.support.sum())
        rows.append(["accuracy", "", "", f"{self.accuracy:.4f}", total])
        rows.append(["macro average", *(f"{x:.4f}" for x in self.average()), total])
        rows.append(["weighted average", *(f"{x:.4f}" for x in self.average(weighted=True)), total])
        return Table(["", "precision", "recall", "F1", "support"], rows)

    def plot(self) -> Figure:
        """The three numbers of each class side by side; a figure of matplotlib."""
        from tinygrad_ce.training.plots import plot_report

        scores = {"precision": self.precision, "recall": self.recall, "F1": self.f1}
        return plot_report(self.classes, scores, self.support, self.accuracy)

    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__

    def __rich__(self) -> Any:
        return self.table().rich()

    def _repr_html_(self) -> str:
        return self.table().html()


def classification_report(targets: Any, predicted: Any, classes: Sequence[str] | None = None) -> ClassificationReport:
    """Precision, recall, F1 and support of each class, with their means; the numbers of scikit-learn's report.

    targets, predicted, classes  as for `confusion_matrix`, and the same errors

    A class that is never predicted has precision 0, one that never occurs recall 0.

    >>> import tinygrad_ce as tg
    >>> tg.classification_report([0, 0, 1, 1, 1], [0, 1, 1, 1, 0], ["cat", "dog"])
                      precision  recall      F1  support
    ----------------  ---------  ------  ------  -------
    cat                  0.5000  0.5000  0.5000        2
    dog                  0.6667  0.6667  0.6667        3
    accuracy                             0.6000        5
    macro average        0.5833  0.5833  0.5833        5
    weighted average     0.6000  0.6000  0.6000        5
    """
    matrix = confusion_matrix(targets, predicted, classes)
    hits, said, support = matrix.array.diagonal(), matrix.array.sum(0), matrix.array.sum(1)
    precision, recall = (_ratio(hits, n) for n in (said, support))
    f1 = _ratio(2 * hits, said + support)  # 2 p r / (p + r), without the two roundings
    return ClassificationReport(matrix.classes, precision, recall, f1, support, matrix.accuracy)


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
