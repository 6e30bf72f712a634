"""What is compared: logits, targets and the options of the loss, as every chain and the reference need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce import functional as F
from tinygrad_ce.arrays import plain
from tinygrad_ce.kernels.accuracy import Wide
from tinygrad_ce.mode import no_grad

Array: TypeAlias = NDArray[Any]
Reduction: TypeAlias = Literal["mean", "sum", "none"]

DEFAULTS: Mapping[str, Any] = {
    "weight": None,
    "ignore_index": -100,
    "label_smoothing": 0.0,
    "on_empty": "nan",
    "precise": False,
}


@dataclass(frozen=True)
class Problem:
    """Checked logits and targets. Rows are the slices along `axis`, as an (N, C) array whatever the shape is.

    logits   floating, any shape with the classes on `axis`
    targets  class indices, or probabilities of the shape of the logits
    options  of the loss that differ from their defaults
    """

    logits: Array = field(repr=False)
    targets: Array = field(repr=False)
    axis: int
    reduction: Reduction
    options: Mapping[str, Any]

    @staticmethod
    def of(
        logits: Array, targets: Any, *, axis: int = -1, reduction: Reduction = "mean", caller: str = "", **options: Any
    ) -> Problem:
        """The problem, checked: what the fused loss refuses is refused here in the same words."""
        prefix = f"{caller}: " if caller else ""
        if logits.dtype.kind != "f":
            raise TypeError(f"{prefix}logits must be floating, found {logits.dtype}; write logits.astype(np.float32)")
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f'{prefix}reduction={reduction!r}; expected "mean", "sum" or "none"')
        if unknown := sorted(set(options) - set(DEFAULTS)):
            raise TypeError(f"{prefix}no loss option is called {unknown[0]!r}; there are {', '.join(DEFAULTS)}")
        given = {key: plain(x) for key, x in options.items() if not _is_default(key, x)}
        targets = np.asarray(plain(targets))
        if not logits.ndim:
            raise ValueError(f"{prefix}logits need a class axis, found a single number")
        with no_grad(), np.errstate(all="ignore"):
            F.softmax_cross_entropy(logits, targets, axis=axis, reduction=reduction, **given)
        if logits.size == 0:
            raise ValueError(f"{prefix}logits of shape {logits.shape} have no rows to compare")
        return Problem(logits, targets, axis % logits.ndim, reduction, given)

    def option(self, name: str) -> Any:
        return self.options.get(name, DEFAULTS[name])

    def rows(self, array: Array) -> Array:
        """An array of the shape of the logits as (N, C)."""
        last = np.moveaxis(array, self.axis, -1)
        return last.reshape(-1, last.shape[-1])

    def unrows(self, rows: Array) -> Array:
        """And back; rows of one number keep an axis of length 1."""
        shape = np.moveaxis(self.logits, self.axis, -1).shape[:-1]
        return np.moveaxis(rows.reshape(*shape, rows.shape[-1]), -1, self.axis)

    @property
    def soft(self) -> bool:
        """More than one class of a row may have a weight: probability targets or smoothing."""
        return self.targets.dtype.kind == "f" or self.option("label_smoothing") > 0

    @cached_property
    def ignored(self) -> Array:
        """(N,) bools: rows that do not count."""
        if self.targets.dtype.kind == "f":
            return np.zeros(self.logits.size // self.logits.shape[self.axis], bool)
        ignored: Array = self.targets.reshape(-1) == self.option("ignore_index")
        return ignored

    @cached_property
    def indices(self) -> Array:
        """(N,) target classes: 0 in rows that are ignored, the likeliest class of probability targets."""
        if self.targets.dtype.kind == "f":
            likeliest: Array = self.rows(self.targets).argmax(axis=1)
            return likeliest
        return np.where(self.ignored, 0, self.targets.reshape(-1)).astype(np.int64)

    @cached_property
    def class_weights(self) -> Array:
        """(C,) in the dtype of the logits."""
        weight, count = self.option("weight"), self.logits.shape[self.axis]
        return np.ones(count, self.logits.dtype) if weight is None else np.asarray(weight, self.logits.dtype)

    @property
    def row_weights(self) -> Array:
        """(N,) weights of the rows' target classes, 0 where ignored, in the dtype of the logits."""
        weights: Array = np.where(self.ignored, 0, self.class_weights[self.indices])
        return weights

    @property
    def uniform(self) -> bool:
        """Every row counts the same: a mean is a plain mean."""
        return "weight" not in self.options and not self.ignored.any()

    @cached_property
    def target_weights(self) -> Array:
        """t = w q in the wide type, (N, C): loss_i = -sum over c of t_ic log p_ic. Rows of ignored targets are 0."""
        smoothing = Wide(self.option("label_smoothing"))
        count = self.logits.shape[self.axis]
        q = np.zeros((self.ignored.size, count), Wide)
        if self.targets.dtype.kind == "f":
            q += self.rows(self.targets)
        else:
            q[np.arange(len(q)), self.indices] = 1
        q = (1 - smoothing) * q + smoothing / count if smoothing else q
        t: Array = np.where(self.ignored[:, None], 0, q * self.class_weights.astype(Wide))
        return t

    @cached_property
    def denominator(self) -> Any:
        """What the sum of the rows' losses is divided by."""
        if self.reduction != "mean":
            return Wide(1)
        if self.targets.dtype.kind == "f":
            return Wide(self.ignored.size)
        return self.row_weights.astype(Wide).sum()

    @property
    def scale(self) -> Any:
        """1 / denominator, the factor of every row's gradient; 0 if there is nothing to average."""
        return 1 / self.denominator if self.denominator else Wide(0)


def _is_default(key: str, value: Any) -> bool:
    default = DEFAULTS[key]
    return value is default or (not isinstance(value, np.ndarray) and type(value) is type(default) and value == default)
