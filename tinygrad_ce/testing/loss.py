"""Database entries of ops/loss.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import product
from typing import Any

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


def _by_row(logarithms: Callable[[list[Decimal]], list[Decimal]]) -> Callable[..., Array]:
    """A reference from the log-probabilities of one row of scores; targets and options by their definitions."""

    def reference(
        x: Array, q: Array | None = None, *, targets: Any = None, weight: Any = None, ignore_index: int = -100,
        label_smoothing: float = 0.0, reduction: str = "mean", axis: int = -1, on_empty: str = "nan", **_: Any,
    ) -> Array:  # fmt: skip
        array = exact.decimals(x)
        (a,) = exact.normalize_axes(axis, array.ndim)
        classes = range(array.shape[a])
        e = Decimal(label_smoothing)
        w = [Decimal(1) for _ in classes] if weight is None else [Decimal(float(v)) for v in weight]
        counts: list[Decimal] = []

        def element(*row: int) -> Decimal:
            at = [(*row[:a], c, *row[a:]) for c in classes]
            if q is None:
                y = int(np.asarray(targets)[row])
                if y == ignore_index:
                    return ZERO
                own = [Decimal(c == y) for c in classes]
                counts.append(w[y])
            else:
                own = [Decimal(float(q[i])) for i in at]
                counts.append(Decimal(1))
            goal = [w[c] * ((1 - e) * own[c] + e / len(classes)) for c in classes]
            log_p = logarithms([array[i] for i in at])
            return exact.total(-t * log for t, log in zip(goal, log_p, strict=True) if t)

        losses = exact.build(array.shape[:a] + array.shape[a + 1 :], element)
        if reduction != "mean":
            return _reduced(losses, reduction)
        count, empty = exact.total(counts), ZERO if on_empty == "zero" else NAN
        return exact.full((), exact.total(losses.flat) / count if count else empty)

    return reference


def _by_element(loss: Callable[[Decimal, Decimal], Decimal]) -> Callable[..., Array]:
    def reference(x: Array, y: Array, *, reduction: str = "mean") -> Array:
        losses = exact.elementwise(loss)(x, y)
        return _reduced(losses, reduction, losses.shape[0] if losses.ndim else 1)

    return reference


_W = np.array([1.0, 2.0, 0.5])
_IGNORED = np.array([0, -100, 2, 1])
# Options for four rows of three classes, and for nll_loss those without smoothing.
_OPTIONS: tuple[dict[str, Any], ...] = (
    {"weight": _W},
    {"targets": _IGNORED},
    {"targets": _IGNORED, "weight": _W},
    {"targets": np.array([0, 255, 2, 255], np.uint8), "ignore_index": 255},
    {"targets": np.array([0, 1, 2, 1]), "ignore_index": 1, "weight": np.array([1, 2, 3])},
    {"weight": np.array([0.0, 1.0, 3.0]), "on_empty": "raise"},
)
_SMOOTH: tuple[dict[str, Any], ...] = (
    {"label_smoothing": 0.125},
    {"label_smoothing": 1.0},
    {"label_smoothing": 0.1, "targets": _IGNORED},
    {"label_smoothing": 0.1, "weight": _W, "targets": _IGNORED},
    {"precise": True},
    {"precise": True, "weight": _W, "label_smoothing": 0.125},
)
_SOFT: tuple[dict[str, Any], ...] = (
    {},
    {"weight": _W},
    {"label_smoothing": 0.125},
    {"label_smoothing": 0.1, "weight": _W},
    {"precise": True},
)


def _class_samples(low: float, high: float, options: Sequence[dict[str, Any]]) -> Samples:
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
        for option, reduction in product(options, REDUCTIONS):
            attributes = {"targets": np.array([0, 1, 2, 1]), **option, "reduction": reduction}
            found.append(Sample((uniform(generator, (4, 3), low, high),), attributes))
        option = {**options[2], "targets": np.array([[0, -100], [2, 1]]), "axis": 1}
        found += [Sample((uniform(generator, (2, 3, 2), low, high),), {**option, "reduction": r}) for r in REDUCTIONS]
        nothing = {"targets": np.zeros(0, np.int64)}
        return found + [Sample((np.zeros((0, 3)),), {**nothing, "reduction": r}) for r in ("sum", "none")]

    return samples


def _probabilities(generator: np.random.Generator, shape: tuple[int, ...], axis: int) -> Array:
    """Positive multiples of 1/64 with a sum of 1 along an axis."""
    rows = np.delete(shape, axis)
    classes = shape[axis]
    counts = 1 + generator.multinomial(64 - classes, np.full(classes, 1 / classes), rows)
    return np.moveaxis(counts / 64, -1, axis)


def _soft_samples(generator: np.random.Generator) -> list[Sample]:
    """Of softmax_cross_entropy: class indices with every option, and probabilities."""
    found = _class_samples(-3.0, 3.0, (*_OPTIONS, *_SMOOTH))(generator)
    cases: Sequence[tuple[tuple[int, ...], int, dict[str, Any]]] = (
        *(((4, 3), -1, option) for option in _SOFT),
        ((3,), 0, {}), ((3, 2), 0, {"weight": _W}), ((2, 3, 2), 1, {"weight": _W, "label_smoothing": 0.125}),
    )  # fmt: skip
    for (shape, axis, option), reduction in product(cases, REDUCTIONS):
        inputs = uniform(generator, shape, -3.0, 3.0), _probabilities(generator, shape, axis)
        found.append(Sample(inputs, {**option, "axis": axis, "reduction": reduction}))
    return [*found, Sample((np.zeros((0, 3)), np.zeros((0, 3))), {"reduction": "sum"})]


def _class_edges() -> list[Sample]:
    rows = np.array(ROWS)
    nothing, ignored = {"targets": np.zeros(0, np.int64)}, {"targets": np.full(len(ROWS), -100)}
    found = [Sample((rows,), {"targets": np.full(len(ROWS), y), "reduction": "none"}) for y in range(len(ROWS[0]))]
    for option, on_empty in product((nothing, ignored), ("nan", "zero")):
        found.append(Sample((rows[: len(option["targets"])],), {**option, "on_empty": on_empty}))
    finite = np.where(np.isfinite(rows).all(axis=1), 0, -100)
    found += [Sample((rows,), {**ignored, "reduction": r}) for r in ("sum", "none")]
    found += [Sample((rows,), {"targets": finite, "reduction": r}) for r in REDUCTIONS]
    return [*found, Sample((rows,), {"targets": np.where(finite == 0, 2, 0), "weight": np.array([0.0, 1.0, 2.0])})]


def _soft_edges() -> list[Sample]:
    rows = np.array(ROWS)
    targets = np.where(np.isfinite(rows).all(axis=1), 0, -100)
    impossible = np.where(np.isneginf(rows) & ~np.isneginf(rows).all(axis=1, keepdims=True), 0.0, 0.25)
    return [
        *_class_edges(),
        *(Sample((rows, q), {"reduction": "none"}) for q in (impossible, np.full(rows.shape, 0.25))),
        *(Sample((rows, np.eye(3)[np.full(len(rows), y)]), {"reduction": "none"}) for y in range(3)),
        *(Sample((rows,), {"targets": targets, "label_smoothing": 0.125, "reduction": r}) for r in REDUCTIONS),
        Sample((np.zeros((0, 3)), np.zeros((0, 3))), {"on_empty": "zero"}),
        Sample((np.zeros((0, 3)), np.zeros((0, 3))), {"on_empty": "nan", "label_smoothing": 0.5}),
    ]


def _class_errors(name: str) -> tuple[ErrorCase, ...]:
    y = [0, 1]
    return (
        ErrorCase((_X, [0, 3]), IndexError, rf"^{name}: targets\[1\] = 3 is not a class; valid are 0 to 2"),
        ErrorCase((_X, [1, 3]), IndexError, r"count from 1\? write targets - 1"),
        ErrorCase((_X, [-1, 0]), IndexError, rf"^{name}: targets\[0\] = -1 is not a class.*write ignore_index=-1"),
        ErrorCase((_X, [0, 1, 2]), ValueError, rf"^{name}: targets have shape \(3,\), expected \(2,\)"),
        ErrorCase((_X, [[0], [1]]), ValueError, r"write targets.squeeze\(1\)"),
        ErrorCase((_X, np.eye(3, dtype=int)[:2]), ValueError, r"write targets.argmax\(1\)"),
        ErrorCase((_X, [0.0, 1.0]), ValueError, f"^{name}: .*integers, found float64"),
        ErrorCase((_X, [True, False]), ValueError, f"^{name}: .*integers, found bool"),
        ErrorCase((_X.astype(int), y), ValueError, f"^{name}: .* must be floating, found int64"),
        ErrorCase((_X, y), ValueError, f"^{name}.*axis=2", {"axis": 2}),
        ErrorCase((_X, y), ValueError, f"^{name}.*reduction='avg'; expected", {"reduction": "avg"}),
        ErrorCase((_X, y), ValueError, f"^{name}.*on_empty='one'; expected", {"on_empty": "one"}),
        ErrorCase((_X, y), TypeError, f"^{name}: ignore_index=None; expected an integer", {"ignore_index": None}),
        ErrorCase((_X, y), ValueError, rf"^{name}: weight has shape \(2,\), expected \(3,\)", {"weight": [1.0, 2.0]}),
        ErrorCase((_X, [-100, -100]), ValueError, f"^{name}: all 2 rows are ignored", {"on_empty": "raise"}),
    )


_Q = np.full((2, 3), 1 / 3)
_SOFT_ERRORS = (
    *(ErrorCase((_X, [0, 1]), ValueError, f"label_smoothing={e}; expected a number from 0 to 1", {"label_smoothing": e})
      for e in (-0.1, 1.1, math.nan)),
    ErrorCase((_X, _Q[:1]), ValueError, r"have the shape of logits, \(2, 3\); found \(1, 3\)"),
    ErrorCase((_X, _Q[:, :1]), ValueError, r"write targets.squeeze\(1\).astype\(np.int64\)"),
    ErrorCase((_X, _Q), ValueError, "^softmax_cross_entropy: ignore_index=0 picks rows", {"ignore_index": 0}),
    ErrorCase((_X, _Q - 0.5), ValueError, r"targets\[0, 0\] = -0.166667 is negative, .* write np.exp\(targets\)"),
    ErrorCase((_X[:0], _Q[:0]), ValueError, "the batch is empty", {"on_empty": "raise"}),
)  # fmt: skip


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


def _sigmoid_binary_cross_entropy(
    z: Array, y: Array, *, weight: Any = None, pos_weight: Any = None, reduction: str = "mean"
) -> Array:
    one = np.ones(())
    weight, pos_weight = (one if v is None else np.asarray(v, float) for v in (weight, pos_weight))

    def element(z: Decimal, y: Decimal, w: Decimal, v: Decimal) -> Decimal:
        return ZERO if w == 0 else w * ((v * y * exact.softplus(-z) if v * y else ZERO) + _rest(1 - y, z))

    losses = exact.elementwise(element)(z, y, weight, pos_weight)
    return _reduced(losses, reduction)


def _rest(miss: Decimal, z: Decimal) -> Decimal:
    return miss * exact.softplus(z) if miss else ZERO


def _logit_samples(generator: np.random.Generator) -> list[Sample]:
    found = _element_samples((-4.0, 4.0), (0.1, 0.9))(generator)
    options: Sequence[dict[str, Any]] = (
        {"weight": _W}, {"pos_weight": _W}, {"weight": np.array([[2.0], [0.25]]), "pos_weight": np.array(3.0)},
        {"weight": np.array([[1, 0, 2], [3, 1, 1]])},
    )  # fmt: skip
    for option, reduction in product(options, REDUCTIONS):
        inputs = uniform(generator, (2, 3), -4.0, 4.0), uniform(generator, (2, 3), 0.1, 0.9)
        found.append(Sample(inputs, {**option, "reduction": reduction}))
    return found


def _logit_edges(*pairs: tuple[float, float]) -> Callable[[], list[Sample]]:
    plain = _element_edges(*pairs)
    z, y = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    return lambda: [
        *plain(),
        Sample((z, y), {"pos_weight": np.array(0.0), "reduction": "none"}),
        Sample((z, y), {"pos_weight": np.array(3.0), "weight": np.array(0.5), "reduction": "none"}),
        Sample((np.array([math.inf, 1.0]), np.array([0.0, 1.0])), {"weight": np.array([0.0, 1.0])}),
    ]


def _kl_div(log_q: Decimal, p: Decimal) -> Decimal:
    return ZERO if p == 0 else p * (p.ln() - log_q)


def _kl_div_size(log_q: Decimal, p: Decimal) -> Decimal:
    return ZERO if p == 0 else p * (abs(p.ln()) + abs(log_q))


_HALF = np.full(2, 0.5)

ENTRIES = (
    OpInfo("nll_loss", _by_row(lambda line: line), _class_samples(-4.0, -0.1, _OPTIONS), _class_edges,
           _class_errors("nll_loss")),
    OpInfo("softmax_cross_entropy", _by_row(log_softmax), _soft_samples, _soft_edges,
           (*_class_errors("softmax_cross_entropy"), *_SOFT_ERRORS)),
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
    OpInfo("sigmoid_binary_cross_entropy", _sigmoid_binary_cross_entropy, _logit_samples,
           _logit_edges((0.0, 0.0), (40.0, 1.0), (-40.0, 0.0), (40.0, 0.0), (-40.0, 1.0), (8.0, 0.5), (1e-4, 0.5)),
           (*_element_errors("sigmoid_binary_cross_entropy", "logits"),
            ErrorCase((_HALF, _HALF + 1), ValueError,
                      r"^sigmoid_binary_cross_entropy: y must lie in \[0, 1\], found .* 1.5"),
            *(ErrorCase((_HALF, _HALF), ValueError, rf": {name} has shape \(3,\), which does not broadcast", {name: _W})
              for name in ("weight", "pos_weight")))),
)  # fmt: skip
