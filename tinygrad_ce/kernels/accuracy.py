"""How far floating-point results are from the truth, and the true softmax cross-entropy to measure against.

The truth is computed in the widest type that NumPy has, by formulas independent of the kernels beside this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

Wide = np.longdouble  # 64 bits of significand on x86, 113 on other Linux, 53 (no wider than float64) elsewhere


@dataclass(frozen=True)
class Difference:
    """How far an array is from the truth, at its worst element.

    absolute    the largest absolute difference
    ulps        the largest difference in ULP: units in the last place of the true value, rounded to the dtype
    index       the element with the most ULP; () for a single number
    name        the parameter it belongs to, where there are several arrays
    """

    absolute: float
    ulps: float
    index: tuple[int, ...] = ()
    name: str = ""


def true_cross_entropy(logits: Array, targets: Array, axis: int, reduction: str) -> tuple[Any, Array]:
    """The loss ("mean" over the rows, or "sum") and its gradient in the wide type, where nothing cancels.

    With a = argmax z, m = z_a and s' = sum over j != a of exp(z_j - m):

        l = log1p(s') + (m - z_y),   p_j = exp(z_j - m) / (1 + s'),   dz_y = -s' / (1 + s') if y = a, else p_y - 1

    Differences of logits are compensated. Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp
    and softmax functions", 2021; the TwoSum of Knuth.
    """
    rows = np.moveaxis(logits, axis, -1)
    z = rows.reshape(-1, rows.shape[-1]).astype(Wide)
    y = targets.reshape(-1)
    each = np.arange(len(z))
    a = z.argmax(axis=1)
    m = z[each, a]
    e = _exp_of_difference(z, m[:, None])
    e[each, a] = m - m  # 0, or nan where a row holds nan or +inf, or only -inf
    rest = e.sum(axis=1)
    losses = np.log1p(rest) + (m - z[each, y])
    e[each, a] += 1
    dz = e / (1 + rest)[:, None]
    dz[each, y] = np.where(y == a, -rest / (1 + rest), dz[each, y] - 1)
    count = len(z) if reduction == "mean" else 1
    return losses.sum() / count, np.moveaxis((dz / count).reshape(rows.shape), -1, axis)


def _exp_of_difference(x: Array, m: Array) -> Array:
    """exp(x - m) with the round-off of the difference put back: TwoSum, then exp(d + dd) = exp(d) (1 + dd)."""
    d = x - m
    b = d - x
    dd = (x - (d - b)) - (m + b)
    result: Array = np.exp(d) * (1 + np.where(np.isfinite(dd), dd, 0))
    return result


def ulp_difference(actual: Array, exact: Array) -> Array:
    """|actual - exact| in units of the last place of the exact value, rounded to the dtype of `actual`.

    Around 0 the unit is the smallest subnormal number, beyond the largest number that number's. nan is right only
    where nan is the truth, an infinity where the truth is that infinity or overflows the dtype; else they are
    infinitely wrong.

    >>> import numpy as np
    >>> ulp_difference(np.float32([1.0, 0.0]), np.longdouble([1.0 + 2.0**-24, 1e-45])).round(2).tolist()
    [0.5, 0.71]
    """
    with np.errstate(all="ignore"):
        actual, exact = np.asarray(actual), np.asarray(exact)
        rounded = exact.astype(actual.dtype)
        largest = np.nextafter(np.finfo(actual.dtype).max, 0, dtype=actual.dtype)
        unit = np.spacing(np.minimum(np.abs(rounded), largest)).astype(Wide)
        result = (np.abs(actual.astype(Wide) - exact) / unit).astype(np.float64)
        right = (actual == rounded) & ~np.isfinite(rounded) | np.isnan(actual) & np.isnan(exact)
        return np.where(right, 0.0, np.where(np.isnan(result), np.inf, result))


def difference(actual: Array, exact: Array, name: str = "") -> Difference:
    """The largest differences between an array and the truth."""
    ulps = ulp_difference(actual, exact)
    if ulps.size == 0:
        return Difference(0.0, 0.0, (), name)
    apart = np.abs(np.where(ulps > 0, np.asarray(actual, Wide) - exact, 0))
    index = np.unravel_index(int(ulps.argmax()), ulps.shape)
    largest = np.where(np.isnan(apart), np.inf, apart).max()
    return Difference(float(largest), float(ulps.max()), tuple(int(i) for i in index), name)
