"""What is measured beside the loss: metrics by name or function, and their means over many batches."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_ce import functional as F
from tinygrad_ce.arrays import plain
from tinygrad_ce.tensor import Tensor

Metric = Callable[[Tensor, Any], Any]
Metrics = Sequence[str | Metric] | Mapping[str, Metric]
IGNORED = -100  # the class index of rows that do not count, as in the losses


class Measured(NamedTuple):
    """A metric of one batch: its sum over the rows that count, and how many those are."""

    total: float
    rows: int


Measure = Callable[[Tensor, Any], Measured]


class Mean:
    """The mean of a metric over all rows that have been measured; nan if there were none."""

    __slots__ = ("rows", "total")

    def __init__(self) -> None:
        self.total = 0.0
        self.rows = 0

    def add(self, total: float, rows: int) -> None:
        self.total += total
        self.rows += rows

    @property
    def value(self) -> float:
        return self.total / self.rows if self.rows else float("nan")


def named(caller: str, metrics: Metrics) -> dict[str, Measure]:
    """Each metric by the name of its column; one clear error for a metric that cannot be."""
    if isinstance(metrics, str) or callable(metrics):
        raise TypeError(f"{caller}: metrics={metrics!r}; expected several, such as metrics=({_shown(metrics)},)")
    pairs = metrics.items() if isinstance(metrics, Mapping) else [(_name(caller, metric), metric) for metric in metrics]
    found: dict[str, Measure] = {}
    for name, metric in pairs:
        if name in found or name in ("epoch", "loss", "lr", "seconds") or name.startswith("valid_"):
            raise ValueError(
                f"{caller}: the name {name!r} of a metric is taken; write metrics={{'another name': metric}}"
            )
        found[name] = _by_name(caller, metric) if isinstance(metric, str) else _mean_of(metric)
    return found


def measure(caller: str, measures: Mapping[str, Measure], outputs: Tensor, targets: Any) -> list[Measured]:
    """Every metric of one batch; an error says which metric it was and what to write instead."""
    results = []
    for name, each in measures.items():
        try:
            results.append(each(outputs, targets))
        except (ValueError, TypeError, IndexError) as error:
            kind = next(kind for kind in (ValueError, TypeError, IndexError) if isinstance(error, kind))
            raise kind(f"{caller}: the metric {name!r} failed: {error}{_hint(targets)}") from error
    return results


def _hint(targets: Any) -> str:
    if np.asarray(plain(targets)).dtype.kind != "f":
        return ""
    return "; metrics=() measures none, 'binary_accuracy' is for targets that are 0.0 or 1.0"


def _shown(metric: Any) -> str:
    return repr(metric) if isinstance(metric, str) else getattr(metric, "__name__", repr(metric))


def _name(caller: str, metric: Any) -> str:
    if isinstance(metric, str):
        return metric
    name = getattr(metric, "__name__", "") or type(metric).__name__
    if not callable(metric) or name == "<lambda>":
        raise TypeError(f"{caller}: metrics holds {metric!r}; expected a name, a function, or {{'name': function}}")
    return name


def _by_name(caller: str, name: str) -> Measure:
    if name == "accuracy":
        return _hits(1)
    if name == "binary_accuracy":
        return _binary_accuracy
    top = re.fullmatch(r"top_([1-9]\d*)_accuracy", name)
    if top is None:
        raise ValueError(
            f"{caller}: there is no metric {name!r}; there are 'accuracy', 'top_5_accuracy' (or any other number) and "
            "'binary_accuracy', or give a function of (outputs, targets)"
        )
    return _hits(int(top[1]))


def _hits(k: int) -> Measure:
    def hits(outputs: Tensor, targets: Any) -> Measured:
        if k == 1 and _is_plain(outputs.data, targets):
            return Measured(int(np.count_nonzero(outputs.data.argmax(axis=1) == targets)), len(targets))
        rate = F.accuracy(outputs, targets) if k == 1 else F.top_k_accuracy(outputs, targets, k)
        classes = np.asarray(plain(targets))
        counted = classes.size - int(np.count_nonzero(classes == IGNORED))
        return Measured(round(rate * counted) if counted else 0, counted)

    return hits


def _is_plain(z: Any, y: Any) -> bool:
    """A batch of scores and classes with nothing special, of which `argmax` tells the accuracy: it is quick."""
    if type(y) is not np.ndarray or y.dtype.kind not in "iu" or z.ndim != 2 or y.shape != z.shape[:1] or not z.size:
        return False
    largest = z.max()
    return bool(largest == largest and y.min() >= 0 and y.max() < z.shape[1])  # nan differs from itself


def _binary_accuracy(outputs: Tensor, targets: Any) -> Measured:
    """Which side of the boundary each element is on: 0 for logits, 1/2 for probabilities."""
    y = np.asarray(plain(targets))
    if y.shape != outputs.shape:
        raise ValueError(f"targets have shape {y.shape}, expected that of the outputs, {outputs.shape}")
    said = outputs.data > (0.5 if outputs.meaning in ("probabilities", "probability") else 0.0)
    right = (said == (y > 0.5)) & ~np.isnan(outputs.data)
    return Measured(int(np.count_nonzero(right)), right.size)


def _mean_of(metric: Metric) -> Measure:
    """A user's function, which gives the mean over the rows of a batch."""

    def weighted(outputs: Tensor, targets: Any) -> Measured:
        rows = len(targets)
        return Measured(float(metric(outputs, targets)) * rows, rows)

    return weighted
