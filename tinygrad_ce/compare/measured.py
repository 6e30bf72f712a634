"""What a comparison found, as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_ce.compare.problem import Array, Problem
from tinygrad_ce.compare.reference import Truth
from tinygrad_ce.kernels.accuracy import Wide, difference, ulp_difference

TOLERANCE = {"float16": 32.0, "float32": 160.0, "float64": 4096.0}
"""ULP within which a good algorithm stays: what rounding adds up to in long rows and at large logits."""


@dataclass(frozen=True)
class Error:
    """How far an array is from the truth.

    absolute       the largest difference
    relative       the largest difference over the size of the truth, where that is a normal number of the dtype;
                   infinite if an element is nan or infinite and should not be
    ulps           the largest difference in ULP: units in the last place of the truth, rounded to the dtype
    index          the element with the most ULP; () for a single number
    actual, exact  its two values
    name           the parameter it belongs to, where there are several arrays
    """

    absolute: float
    relative: float
    ulps: float
    index: tuple[int, ...]
    actual: float
    exact: float
    name: str = ""

    @staticmethod
    def of(actual: Array, exact: Array, name: str = "") -> Error:
        """
        >>> import numpy as np
        >>> Error.of(np.float32([1.0, 0.0]), np.longdouble([1.0, 1e-8]))
        Error(absolute=1e-08, relative=1.0, ulps=11258999.0..., index=(1,), actual=0.0, exact=1e-08, name='')
        """
        worst = difference(actual, exact, name)
        if np.size(actual) == 0:
            return Error(0.0, 0.0, 0.0, (), math.nan, math.nan, name)
        with np.errstate(all="ignore"):
            size = np.abs(exact)
            normal = size >= np.finfo(actual.dtype).smallest_normal
            wrong = (ulp_difference(actual, exact) > 0) & (normal | ~np.isfinite(actual))
            relative = np.where(wrong, np.abs(np.asarray(actual, Wide) - exact) / size, 0)
            largest = np.where(np.isnan(relative), np.inf, relative).max()
        at = worst.index
        return Error(worst.absolute, float(largest), worst.ulps, at, float(actual[at]), float(exact[at]), name)


@dataclass(frozen=True)
class Cost:
    """What one run takes: the shortest of a few. None where it cannot be told.

    forward, backward   in seconds
    peak_bytes          the most that was allocated at a time during both, beyond what there was before (tracemalloc)
    """

    forward: float | None
    backward: float
    peak_bytes: int | None


@dataclass(frozen=True)
class ChainResult:
    """What one chain computed and what it took.

    loss                its value; the sum of the rows' for reduction "none"; None for those that have only a gradient
    gradient            of the loss with respect to the logits
    loss_error          against the truth
    gradient_error      against the truth, over the elements of the logits' gradient
    parameter_error     against the truth, over the gradients of all parameters; None if none were given
    lost                elements of the logits' gradient that are 0 though the truth, rounded to the dtype, is not
    largest_lost        the largest true magnitude among them; 0.0 if there are none
    lost_rows           rows whose gradient is 0 throughout though the truth is not
    nan, infinite       elements of the logits' gradient that are nan or infinite though the truth is finite
    why                 what in the numbers broke it: "exp overflowed", ...; empty if nothing did
    beyond              by what factor loss or gradient exceed the tolerance of the dtype; at most 1 for what agrees
    ops                 ops from the logits to the loss
    kept_bytes          bytes held for the backward pass: each buffer once, those of leaves not at all
    """

    name: str
    note: str
    agrees: bool
    loss: float | None
    gradient: Array = field(repr=False, compare=False)
    loss_error: Error | None
    gradient_error: Error
    parameter_error: Error | None
    lost: int
    largest_lost: float
    lost_rows: int
    nan: int
    infinite: int
    why: str
    beyond: float
    ops: int | None
    kept_bytes: int | None
    cost: Cost | None = field(compare=False)

    @property
    def not_finite(self) -> int:
        """Elements of the logits' gradient that are nan or infinite though the truth is finite."""
        return self.nan + self.infinite


@dataclass(frozen=True)
class Results:
    """All chains, and what they were run on; see `Comparison`.

    chains      one result each, the fused one first
    loss        the true loss
    gradient    the true gradient of the loss with respect to the logits, in the wide type
    shape, dtype, axis, reduction   of the logits and of the loss
    reference   how the truth was computed
    """

    chains: tuple[ChainResult, ...]
    loss: float
    gradient: Array = field(repr=False, compare=False)
    shape: tuple[int, ...]
    dtype: str
    axis: int
    reduction: str
    options: Mapping[str, Any] = field(compare=False)
    reference: str
    problem: Problem = field(repr=False, compare=False)
    truth: Truth = field(repr=False, compare=False)
