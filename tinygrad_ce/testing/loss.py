"""Database entries of ops/loss.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import product

import numpy as np

from tinygrad_ce.testing import exact
from tinygrad_ce.testing.exact import NAN, ZERO
from tinygrad_ce.testing.opinfo import Array, ErrorCase, OpInfo, Sample, Samples, uniform
from tinygrad_ce.testing.softmax import ROWS, log_softmax

REDUCTIONS = ("mean", "sum", "none")
_X = np.array([[1.0, 2.0, 3.0], [1.0, 5.0, 0.5]])


def _reduced(losses: Array, reduction: str, rows: int | None = None) -> Array:
    """The losses put together by definition; "batchmean" divides by the length of the first axis."""
    if reduction == "none":
        return losses
    total = exact.total(losses.flat)
    count = {"sum": 1, "mean": losses.size, "batchmean": rows}[reduction]
    return exact.full((), total / count if count else NAN)


def _by_row(loss: Callable[[list[Decimal], int], Decimal]) -> Callable[..., Array]:
    """A reference from the loss of one row of scores and its target class."""

    def reference(x: Array, *, targets: Array, axis: int = -1, reduction: str = "mean") -> Array:
        array = exact.decimals(x)
        (a,) = exact.normalize_axes(axis, array.ndim)

        def element(*row: int) -> Decimal:
            line = [array[(*row[:a], i, *row[a:])] for i in range(array.shape[a])]
            return loss(line, int(np.asarray(targets)[row]))

        return _reduced(exact.build(array.shape[:a] + array.shape[a + 1 :], element), reduction)

    return reference


def _by_element(loss: Callable[[Decimal, Decimal], Decimal]) -> Callable[..., Array]:
    def reference(x: Array, y: Array, *, reduction: str = "mean") -> Array:
        losses = exact.elementwise(loss)(x, y)
        return _reduced(losses, reduction, losses.shape[0] if losses.ndim else 1)

    return reference


def _class_samples(low: float, high: float) -> Samples:
    cases: Sequence[tuple[tuple[int, ...], int]] = (
        ((4, 3), -1), ((3,), 0), ((2, 3), 0), ((2, 3, 2), 1), ((1, 1), 1), ((2, 5), 1),
    )  # fmt: skip

    def samples(generator: np.random.Generator) -> list[Sample]:
        found = []
        for (shape, axis), reduction in product(cases, REDUCTIONS):
            rows = tuple(np.delete(shape, axis).tolist())
            targets = np.asarray(generator.integers(0, shape[axis], rows))
            attributes = {"targets": targets, "axis": axis, "reduction": reduction}
            found.append(Sample((uniform(generator, shape, low, high),), attributes))
        for kind, reduction in (("int32", "mean"), ("uint8", "none")):
            targets = generator.integers(0, 3, 4).astype(kind)
            found.append(Sample((uniform(generator, (4, 3), low, high),), {"targets": targets, "reduction": reduction}))
        nothing = {"targets": np.zeros(0, np.int64)}
        return found + [Sample((np.zeros((0, 3)),), {**nothing, "reduction": r}) for r in ("sum", "none")]

    return samples


def _class_edges() -> list[Sample]:
    found = [
        Sample((np.array(ROWS),), {"targets": np.full(len(ROWS), y), "reduction": "none"}) for y in range(len(ROWS[0]))
    ]
    return [*found, Sample((np.zeros((0, 3)),), {"targets": np.zeros(0, np.int64), "reduction": "mean"})]


def _class_errors(name: str) -> tuple[ErrorCase, ...]:
    return (
        ErrorCase((_X, [0, 3]), IndexError, rf"^{name}: targets\[1\] = 3 is not a class; valid are 0 to 2"),
        ErrorCase((_X, [-1, 0]), IndexError, rf"^{name}: targets\[0\] = -1 is not a class"),
        ErrorCase((_X, [0, 1, 2]), ValueError, rf"^{name}: targets have shape \(3,\), expected \(2,\)"),
        ErrorCase((_X, [[0], [1]]), ValueError, r"write targets.squeeze\(1\)"),
        ErrorCase((_X, np.eye(3, dtype=int)[:2]), ValueError, r"write targets.argmax\(1\)"),
        ErrorCase((_X, [0.0, 1.0]), ValueError, f"^{name}: .*integers, found float64"),
        ErrorCase((_X, [True, False]), ValueError, f"^{name}: .*integers, found bool"),
        ErrorCase((_X.astype(int), [0, 1]), ValueError, f"^{name}: .* must be floating, found int64"),
        ErrorCase((_X, [0, 1]), ValueError, f"^{name}.*axis=2", {"axis": 2}),
        ErrorCase((_X, [0, 1]), ValueError, f"^{name}.*reduction='avg'; expected", {"reduction": "avg"}),
    )


def _element_samples(x: tuple[float, float], y: tuple[float, float], reductions: Sequence[str] = REDUCTIONS) -> Samples:
    def samples(generator: np.random.Generator) -> list[Sample]:
        pairs = [*product(((2, 3), (5,), (), (2, 1, 2)), reductions), ((0,), "sum"), ((0, 2), "none")]
        return [Sample((uniform(generator, s, *x), uniform(generator, s, *y)), {"reduction": r}) for s, r in pairs]

    return samples


def _element_edges(*pairs: tuple[float, float]) -> Callable[[], list[Sample]]:
    x, y = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    return lambda: [Sample((x, y), {"reduction": "none"}), Sample((x[:0], y[:0]), {"reduction": "mean"})]


def _element_errors(name: str, x: str) -> tuple[ErrorCase, ...]:
    a = np.full((2, 3), 0.5)
    return (
        ErrorCase((a, a[0]), ValueError, rf"^{name}: {x} has shape \(2, 3\) but \w+ has shape \(3,\)"),
        ErrorCase((a, np.ones((2, 3), int)), ValueError, rf"^{name}: \w+ must be floating, found int64"),
        ErrorCase((a, a), ValueError, f"^{name}.*reduction='avg'; expected", {"reduction": "avg"}),
    )


def _xlogy(x: Decimal, y: Decimal) -> Decimal:
    return ZERO if x == 0 else x * y.ln()


def _binary_cross_entropy(p: Decimal, y: Decimal) -> Decimal:
    return -_xlogy(y, p) - (ZERO if y == 1 else (1 - y) * exact.log1p(-p))


def _sigmoid_binary_cross_entropy(z: Decimal, y: Decimal) -> Decimal:
    return y * exact.softplus(-z) + (1 - y) * exact.softplus(z)


def _kl_div(log_q: Decimal, p: Decimal) -> Decimal:
    return ZERO if p == 0 else p * (p.ln() - log_q)


def _kl_div_size(log_q: Decimal, p: Decimal) -> Decimal:
    return ZERO if p == 0 else p * (abs(p.ln()) + abs(log_q))


_HALF = np.full(2, 0.5)

ENTRIES = (
    OpInfo("nll_loss", _by_row(lambda line, y: -line[y]), _class_samples(-4.0, -0.1), _class_edges,
           _class_errors("nll_loss")),
    OpInfo("softmax_cross_entropy", _by_row(lambda line, y: -log_softmax(line)[y]), _class_samples(-3.0, 3.0),
           _class_edges, _class_errors("softmax_cross_entropy")),
    OpInfo("mse_loss", _by_element(lambda x, y: (x - y) * (x - y)), _element_samples((-2.0, 2.0), (-2.0, 2.0)),
           _element_edges((1.0, 1.0), (200.0, -200.0), (math.inf, 1.0), (math.inf, math.inf), (math.nan, 0.0)),
           _element_errors("mse_loss", "x")),
    OpInfo("kl_div", _by_element(_kl_div), _element_samples((-3.0, -0.1), (0.1, 0.9), (*REDUCTIONS, "batchmean")),
           _element_edges((-1.0, 0.0), (-math.inf, 0.0), (-math.inf, 0.5), (0.0, 1.0)),
           (*_element_errors("kl_div", "log_q"),
            ErrorCase((-_HALF, -_HALF), ValueError, "^kl_div: p must be probabilities, found -0.5")),
           size=_by_element(_kl_div_size)),
    OpInfo("binary_cross_entropy", _by_element(_binary_cross_entropy), _element_samples((0.1, 0.9), (0.1, 0.9)),
           _element_edges((0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (1e-4, 0.0), (0.999, 1.0), (0.5, 0.0)),
           (*_element_errors("binary_cross_entropy", "p"),
            ErrorCase((_HALF + 1, _HALF), ValueError, r"^binary_cross_entropy: p must lie in \[0, 1\], found .* 1.5"),
            ErrorCase((_HALF, -_HALF), ValueError, r"^binary_cross_entropy: y must lie in \[0, 1\], found .* -0.5"))),
    OpInfo("sigmoid_binary_cross_entropy", _by_element(_sigmoid_binary_cross_entropy),
           _element_samples((-4.0, 4.0), (0.1, 0.9)),
           _element_edges((0.0, 0.0), (40.0, 1.0), (-40.0, 0.0), (40.0, 0.0), (-40.0, 1.0), (8.0, 0.5), (1e-4, 0.5)),
           (*_element_errors("sigmoid_binary_cross_entropy", "logits"),
            ErrorCase((_HALF, _HALF + 1), ValueError,
                      r"^sigmoid_binary_cross_entropy: y must lie in \[0, 1\], found .* 1.5"))),
)  # fmt: skip
