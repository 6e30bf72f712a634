"""Database entries of ops/softmax.py."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np

from tinygrad_ce.testing import exact
from tinygrad_ce.testing.exact import NAN
from tinygrad_ce.testing.opinfo import ErrorCase, OpInfo, Sample, uniform

# Rows that have taught somebody something: confident, tied, far off, with impossible classes, undefined.
ROWS: tuple[tuple[float, ...], ...] = (
    (0.0, -8.0, -16.0), (0.0, -17.5, -40.0), (100.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1e4, 1e4, -1e4), (3e4, -3e4, 1.0),
    (1e-3, 2e-3, 3e-3), (1.0, -math.inf, 2.0), (-math.inf, -math.inf, 0.0), (-math.inf, -math.inf, -math.inf),
    (math.inf, 0.0, 1.0), (math.nan, 0.0, 1.0), (-1e4, -1e4, -1e4),
)  # fmt: skip


def shifted(line: list[Decimal]) -> tuple[int, list[Decimal], Decimal]:
    """Argmax a, the differences x_j - x_a, and the sum of the exponentials of all but the argmax."""
    top = max(range(len(line)), key=lambda i: line[i])
    differences = [x - line[top] for x in line]
    return top, differences, exact.total(d.exp() for i, d in enumerate(differences) if i != top)


def undefined(line: list[Decimal]) -> bool:
    """Whether the softmax of a line is nan: it has nan or +inf, or only -inf."""
    return any(x.is_nan() or x == exact.INF for x in line) or all(x.is_infinite() for x in line)


def _softmax(line: list[Decimal]) -> list[Decimal]:
    if not line or undefined(line):
        return [NAN] * len(line)
    _, differences, others = shifted(line)
    return [d.exp() / (1 + others) for d in differences]


def log_softmax(line: list[Decimal]) -> list[Decimal]:
    """The logarithm of the softmax of one line."""
    if not line or undefined(line):
        return [NAN] * len(line)
    _, differences, others = shifted(line)
    return [d - exact.log1p(others) for d in differences]


def _samples(generator: np.random.Generator) -> list[Sample]:
    cases = (((5,), -1), ((1,), 0), ((2, 3), 1), ((3, 2), 0), ((2, 3, 2), 1), ((2, 1, 3), -2), ((0, 3), 1))
    return [Sample((uniform(generator, shape, -3.0, 3.0),), {"axis": axis}) for shape, axis in cases]


def _edges() -> list[Sample]:
    return [Sample((np.array(ROWS),), {"axis": 1}), Sample((np.array(ROWS).T,), {"axis": 0})]


def _errors(name: str) -> tuple[ErrorCase, ...]:
    return (
        ErrorCase((np.ones((2, 3)), 2), ValueError, rf"{name}.*axis"),
        ErrorCase((np.ones((2, 0)), 1), ValueError, name),
        ErrorCase(([1j],), TypeError, "found dtype complex128"),
    )


ENTRIES = (
    OpInfo("softmax", exact.along_axis(_softmax), _samples, _edges, _errors("softmax")),
    OpInfo("log_softmax", exact.along_axis(log_softmax), _samples, _edges, _errors("log_softmax")),
)
