"""How far floating-point results are from the truth, in units of the last place."""

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
