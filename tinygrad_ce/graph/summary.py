"""An array in figures: what a picture tells of its numbers once the array itself is gone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.graph.data import Excerpt, Gradient, Summary

Array = NDArray[Any]

ROWS, COLUMNS = 16, 8  # of an excerpt
LINE = 64  # numbers in the excerpt of an array of one axis
SUNK = 5.0  # times the RMS of the columns that are somewhere positive
_BLOCK = 1 << 18  # elements looked at together, so that a large array costs no copy of its size


def summarize(x: Array, excerpt: bool = True) -> Summary:
    """The figures of an array of any shape and real dtype; float64 is what they are computed in.

    >>> import numpy as np
    >>> found = summarize(np.array([[0.0, 3.0], [0.0, -4.0]], np.float32))
    >>> found.low, found.high, found.mean, found.zeros, found.dead, found.units
    (-4.0, 3.0, -0.25, 2, 1, 2)
    >>> found.excerpt.rows
    ((0.0, 3.0), (0.0, -4.0))
    """
    x = np.asarray(x)
    zeros = x.size - int(np.count_nonzero(x))
    low = high = None
    largest = mean = 0.0
    nan = infinite = 0
    with np.errstate(all="ignore"):
        if x.size:
            ends = float(x.min()), float(x.max())
            if all(map(math.isfinite, ends)):
                low, high = ends
            else:
                finite = x[np.isfinite(x)]
                nan, infinite = int(np.isnan(x).sum()), int(np.isinf(x).sum())
                low, high = (float(finite.min()), float(finite.max())) if finite.size else (None, None)
            largest = math.nan if nan else math.inf if infinite else max(abs(ends[0]), abs(ends[1]))
            mean = float(x.mean(dtype=np.float64))
    rows = x.size // x.shape[-1] if x.ndim > 1 and x.size else 0
    dead = sunk = 0
    if rows > 1 and zeros >= rows:
        dead = int((~x.reshape(-1, x.shape[-1]).any(axis=0)).sum())
    if rows > 1 and low is not None and low < 0 and x.dtype.kind == "f":
        sunk = _sunk(x.reshape(-1, x.shape[-1]))
    return Summary(
        size=x.size, low=low, high=high, mean=mean, rms=_rms(x, largest), zeros=zeros, nan=nan, infinite=infinite,
        dead=dead, sunk=sunk, units=x.shape[-1] if x.ndim else 1, excerpt=_excerpt(x) if excerpt else None,
    )  # fmt: skip


def size_of(gradient: Any) -> Gradient:
    """How large a gradient is."""
    g = np.asarray(gradient)
    largest = max(abs(float(g.max())), abs(float(g.min()))) if g.size else 0.0
    return Gradient(_rms(g, largest), largest)


def gradient_of(gradient: Any, excerpt: bool) -> Gradient:
    """How large a gradient is, with all its figures."""
    summary = summarize(gradient, excerpt)
    largest = math.nan if summary.nan else math.inf if summary.infinite else 0.0
    if summary.low is not None and summary.high is not None and not largest:
        largest = max(-summary.low, summary.high)
    return Gradient(summary.rms, largest, summary)


def _rms(x: Array, largest: float) -> float:
    """Root mean square, scaled by the largest magnitude so that no square overflows or vanishes."""
    if not 0 < largest < math.inf:
        return largest
    flat, total = x.reshape(-1), 0.0
    for start in range(0, flat.size, _BLOCK):
        scaled = flat[start : start + _BLOCK].astype(np.float64) / largest
        total += float(scaled @ scaled)
    return largest * math.sqrt(total / flat.size)


def _sunk(x: Array) -> int:
    """How many columns a relu would keep at 0 for good: no row comes near 0, on the scale of the columns that do."""
    highest = x.max(axis=0)
    awake = highest > 0
    if awake.all() or not awake.any():
        return 0
    scale = _rms(x[:, awake], float(np.abs(x[:, awake]).max()))
    return int((highest < -SUNK * scale).sum())


def _excerpt(x: Array) -> Excerpt:
    if x.ndim < 2:
        line = x.reshape(-1)[:LINE].tolist()
        return Excerpt((tuple(line),), len(line) == x.size)
    corner = x[..., :COLUMNS]
    rows = corner.reshape(math.prod(corner.shape[:-1]), corner.shape[-1])[:ROWS]
    return Excerpt(tuple(map(tuple, rows.tolist())), rows.size == x.size)
