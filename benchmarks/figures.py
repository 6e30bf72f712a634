"""What follows from rows: medians, ratios, means, and how they are written."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from benchmarks.suite import Row
from benchmarks.timing import ratio


def by(rows: Iterable[Row], *fields: str) -> dict[tuple[str, ...], list[Row]]:
    """Rows by some of their fields, as text, in the order in which they come."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(str(getattr(row, field)) for field in fields), []).append(row)
    return found


def ours(row: Row) -> str:
    """Whose figures are ours: the first."""
    return next(iter(row.values))


def others(rows: Iterable[Row]) -> list[str]:
    """Everyone else, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row.values if name != ours(row)))


def median(rows: Iterable[Row], name: str) -> float | None:
    """Of a contestant's figures in rows of one case, measured in several runs."""
    found = [value for row in rows for value in row.values.get(name, ())]
    return statistics.median(found) if found else None


def ratios(row: Row) -> dict[str, tuple[float, float, float]]:
    """Our figures as times each other's: median, smallest, largest of the rounds."""
    return {name: ratio(row.values, ours(row), name) for name in row.values if name != ours(row)}


def mean_ratio(rows: Sequence[Row], name: str) -> float | None:
    """The geometric mean over the cases; None if the contestant is not in all of them."""
    found = [ratios(row)[name][0] for row in rows if name in row.values]
    return statistics.geometric_mean(found) if found and len(found) == len(rows) else None


def figure(value: float, unit: str) -> str:
    """
    >>> figure(0.00001234, "s"), figure(1234567, "B"), figure(1.0234, "x logits")
    ('12.3 us', '1.23 MB', '1.02')
    """
    scales = {"s": ((1, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")), "B": ((1e6, "MB"), (1e3, "kB"), (1, "B"))}
    if unit not in scales:
        return f"{value:.2f}"
    scale, name = next((pair for pair in scales[unit] if value >= pair[0]), scales[unit][-1])
    return f"{significant(value / scale)} {name}"


def significant(value: float) -> str:
    """
    >>> significant(0.1234), significant(12.34), significant(1234.5), significant(2.0)
    ('0.123', '12.3', '1234', '2.00')
    """
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def spread(values: tuple[float, float, float]) -> str:
    """
    >>> spread((0.5, 0.25, 1.0)), spread((2.0, 2.0, 2.0))
    ('0.50 (0.25-1.00)', '2.00')
    """
    return f"{values[0]:.2f}" + (f" ({values[1]:.2f}-{values[2]:.2f})" if values[1] != values[2] else "")


def plural(n: int, name: str) -> str:
    """
    >>> plural(1, "thread"), plural(2, "thread")
    ('1 thread', '2 threads')
    """
    return f"{n} {name}{'' if n == 1 else 's'}"
