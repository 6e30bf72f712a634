"""Database entry of ops/linear_cross_entropy.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import product
from typing import Any

import numpy as np

from tinygrad_ce.testing import exact, linalg, loss
from tinygrad_ce.testing.opinfo import Array, ErrorCase, OpInfo, Sample, uniform
from tinygrad_ce.testing.softmax import ROWS

_NAME = "linear_softmax_cross_entropy"
_REFERENCES = {info.name: info.reference for info in (*linalg.ENTRIES, *loss.ENTRIES)}


def _logits(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """The exact x @ weight.T + bias, where the axes of weight between the classes and the last come last."""
    flat = [weight.reshape(-1, weight.shape[-1])] + ([] if bias is None else [bias.reshape(-1)])
    return _REFERENCES["linear"](x, *flat).reshape(x.shape[:-1] + weight.shape[:-1])


def _reference(
    x: Array, weight: Array, bias: Array | None = None, q: Array | None = None, *, class_weight: Any = None,
    **options: Any,
) -> Array:  # fmt: skip
    z = _logits(x, weight, bias)
    return _REFERENCES["softmax_cross_entropy"](z, q, weight=class_weight, axis=x.ndim - 1, **options)


def _size(
    x: Array, weight: Array, bias: Array | None = None, q: Array | None = None, *, class_weight: Any = None,
    **options: Any,
) -> Array:  # fmt: skip
    """The loss, and how much it moves where every logit does by the largest sum of magnitudes behind one of them."""
    value = _reference(x, weight, bias, q, class_weight=class_weight, **options)
    classes = weight.shape[0]
    if classes == 1 or not x.size:
        return value
    terms = _logits(np.abs(x), np.abs(weight), None if bias is None else np.abs(bias))
    largest = max((one for one in terms.flat if one.is_finite()), default=Decimal(0))
    even = _REFERENCES["softmax_cross_entropy"](
        exact.full(terms.shape), q, weight=class_weight, axis=x.ndim - 1, **options
    )  # sum of the target weights, times ln C
    return np.asarray(abs(value) + 2 * largest * even / Decimal(classes).ln())


_REDUCTIONS = ("mean", "sum", "none")
_W = np.array([1.0, 2.0, 0.5])
_Y = np.array([0, 2, 1, 2])
_IGNORED = np.array([0, -100, 2, 1])
_OPTIONS: tuple[dict[str, Any], ...] = (
    {"class_weight": _W},
    {"targets": _IGNORED},
    {"targets": _IGNORED, "class_weight": _W, "label_smoothing": 0.125},
    {"targets": np.array([0, 255, 2, 255], np.uint8), "ignore_index": 255},
    {"targets": _Y, "ignore_index": 2, "class_weight": np.array([1, 2, 3])},
    {"class_weight": np.array([0.0, 1.0, 3.0]), "on_empty": "raise"},
    {"label_smoothing": 0.125},
    {"precise": True},
)
_SOFT: tuple[dict[str, Any], ...] = ({}, {"class_weight": _W, "label_smoothing": 0.125}, {"precise": True})

# Of x and weight, and whether there is a bias.
_SHAPES: tuple[tuple[tuple[int, ...], tuple[int, ...], bool], ...] = (
    ((4, 2), (3, 2), True), ((4, 2), (3, 2), False), ((2,), (3, 2), True), ((2,), (3, 2), False),
    ((2, 2, 2), (3, 2), True), ((2, 3), (4, 2, 3), True), ((2, 2), (3, 2, 1, 2), False), ((1, 1), (1, 1), True),
)  # fmt: skip


def _inputs(generator: np.random.Generator, x: tuple[int, ...], weight: tuple[int, ...], bias: bool) -> list[Array]:
    shapes = [x, weight, *([weight[:-1]] if bias else [])]
    return [uniform(generator, shape, -1.5, 1.5) for shape in shapes]


def _probabilities(generator: np.random.Generator, shape: tuple[int, ...], axis: int) -> Array:
    """Positive multiples of 1/64 with a sum of 1 along an axis."""
    classes, rows = shape[axis], shape[:axis] + shape[axis + 1 :]
    return np.moveaxis((1 + generator.multinomial(64 - classes, [1 / classes] * classes, rows)) / 64, -1, axis)


def _samples(generator: np.random.Generator) -> list[Sample]:
    found = []
    for (x, weight, bias), reduction in product(_SHAPES, _REDUCTIONS):
        targets = np.asarray(generator.integers(0, weight[0], x[:-1] + weight[1:-1]))
        found.append(Sample(tuple(_inputs(generator, x, weight, bias)), {"targets": targets, "reduction": reduction}))
    for option, reduction in product(_OPTIONS, ("mean", "none")):
        attributes = {"targets": _Y, **option, "reduction": reduction}
        found.append(Sample(tuple(_inputs(generator, (4, 2), (3, 2), True)), attributes))
    some = np.array([[0, -100], [-100, -100]])
    found += [Sample(tuple(_inputs(generator, (2, 2), (3, 2, 2), True)), {"targets": some, "reduction": r})
              for r in _REDUCTIONS]  # fmt: skip
    cases = [*(((2, 2), (3, 2), option) for option in _SOFT), ((2,), (3, 2), {}), ((2, 2), (3, 2, 2), _SOFT[1])]
    for (x, weight, option), reduction in product(cases, _REDUCTIONS):
        q = _probabilities(generator, x[:-1] + weight[:-1], len(x) - 1)
        found.append(Sample((*_inputs(generator, x, weight, True), q), {**option, "reduction": reduction}))
    nothing = (np.zeros((0, 2)), uniform(generator, (3, 2)))
    return found + [Sample(nothing, {"targets": np.zeros(0, np.int64), "reduction": r}) for r in ("sum", "none")]


def _edges() -> list[Sample]:
    rows = np.array([row for row in ROWS if np.isfinite(row).all()])
    nan, inf = np.nan, np.inf
    bad = np.array([[1.0, 2.0, 3.0], [nan, inf, 0.0], [-inf, 0.0, 1.0]])
    masked = np.array([0.0, -inf, 0.5])
    sure = np.array([[0.25, 0.0, 0.75], [1.0, 0.0, 0.0]])
    one, none = np.eye(3), {"reduction": "none"}
    return [
        *(Sample((rows, one), {"targets": np.full(len(rows), y), **none}) for y in range(3)),
        *(Sample((bad, one), {"targets": np.array([y, -100, -100]), "reduction": r})
          for r in _REDUCTIONS for y in (0, 2)),
        Sample((bad, one), {"targets": np.array([0, 1, -100]), **none}),
        *(Sample((bad, one), {"targets": np.full(3, -100), "on_empty": e}) for e in ("nan", "zero")),
        *(Sample((bad[:0], one), {"targets": np.zeros(0, int), "on_empty": e}) for e in ("nan", "zero")),
        Sample((np.ones((2, 3)), one, masked), {"targets": np.array([0, 1]), **none}),
        Sample((np.ones((2, 3)), one, masked, sure), none),
        Sample((np.ones((2, 3)), one, masked, sure), {"class_weight": np.array([1.0, 2.0, 0.0])}),
        Sample((bad, one), {"targets": np.array([0, 1, 1]), "class_weight": np.array([1.0, 0.0, 2.0])}),
    ]  # fmt: skip


_X, _WEIGHT = np.array([[1.0, 2.0, 3.0], [1.0, 5.0, 0.5]]), np.eye(3)
_Q = np.full((2, 3), 1 / 3)
_TARGETS = [0, 1]
_ERRORS = (
    ErrorCase((_X, np.ones((3, 2)), _TARGETS), ValueError,
              rf"^{_NAME}: x has shape \(2, 3\) and weight \(3, 2\); expected x \(..., D\) and weight \(C, D\)"),
    ErrorCase((_X, np.ones(3), _TARGETS), ValueError, rf"^{_NAME}: .* weight \(3,\); expected"),
    ErrorCase((2.0, _WEIGHT, 0), ValueError, rf"^{_NAME}: x has shape \(\)"),
    ErrorCase((_X, np.ones((0, 3)), _TARGETS), ValueError, rf"^{_NAME}: weight of shape \(0, 3\) has no classes"),
    ErrorCase((_X, _WEIGHT, _TARGETS, np.ones(2)), ValueError, rf"^{_NAME}: bias has shape \(2,\), expected \(3,\)"),
    ErrorCase((_X.astype(int), _WEIGHT, _TARGETS), ValueError, f"^{_NAME}: x must be floating, found int64"),
    ErrorCase((_X, _WEIGHT.astype(int), _TARGETS), ValueError, f"^{_NAME}: weight must be floating, found int64"),
    ErrorCase((_X, _WEIGHT, [0, 3]), IndexError, rf"^{_NAME}: targets\[1\] = 3 is not a class; valid are 0 to 2"),
    ErrorCase((_X, _WEIGHT, [-1, 0]), IndexError, r"targets\[0\] = -1 is not a class.*write ignore_index=-1"),
    ErrorCase((_X, _WEIGHT, [0, 1, 2]), ValueError, rf"^{_NAME}: targets have shape \(3,\), expected \(2,\): one"),
    ErrorCase((_X, _WEIGHT, [[0], [1]]), ValueError, r"write targets.squeeze\(1\)"),
    ErrorCase((_X, _WEIGHT, _WEIGHT[:2].astype(int)), ValueError, r"write targets.argmax\(1\)"),
    ErrorCase((_X, np.ones((3, 4, 3)), [[0, 1]]), ValueError,
              r"expected \(2, 4\): one .* x, whose shape is \(2, 3\), and for each of \(4,\) in weight"),
    ErrorCase((_X, _WEIGHT, [0.0, 1.0]), ValueError, f"^{_NAME}: .*integers, found float64"),
    ErrorCase((_X, _WEIGHT, _Q[:, :2]), ValueError, r"have the shape of logits, \(2, 3\); found \(2, 2\)"),
    ErrorCase((_X, _WEIGHT, _Q - 0.5), ValueError, r"targets\[0, 0\] = -0.166667 is negative"),
    ErrorCase((_X, _WEIGHT, _Q), ValueError, f"^{_NAME}: ignore_index=0 picks rows", {"ignore_index": 0}),
    ErrorCase((_X, _WEIGHT, _TARGETS), TypeError, f"^{_NAME}: ignore_index=None; expected", {"ignore_index": None}),
    ErrorCase((_X, _WEIGHT, _TARGETS), ValueError, rf"^{_NAME}: class_weight has shape \(2,\), expected \(3,\)",
              {"class_weight": [1.0, 2.0]}),
    ErrorCase((_X, _WEIGHT, _TARGETS), ValueError, f"^{_NAME}: class_weight must be numbers, found bool",
              {"class_weight": [True, False, True]}),
    ErrorCase((_X, _WEIGHT, _TARGETS), ValueError, "label_smoothing=1.5; expected a number from 0 to 1",
              {"label_smoothing": 1.5}),
    ErrorCase((_X, _WEIGHT, _TARGETS), ValueError, f"^{_NAME}: reduction='avg'; expected", {"reduction": "avg"}),
    ErrorCase((_X, _WEIGHT, _TARGETS), ValueError, f"^{_NAME}: on_empty='one'; expected", {"on_empty": "one"}),
    ErrorCase((_X, _WEIGHT, [-100, -100]), ValueError, f"^{_NAME}: all 2 rows are ignored", {"on_empty": "raise"}),
    ErrorCase((_X[:0], _WEIGHT, _Q[:0]), ValueError, f"^{_NAME}: the batch is empty", {"on_empty": "raise"}),
)  # fmt: skip


def _call(function: Callable[..., Any], inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """The targets go between the weight and the bias, which is the input with an axis less than the one before it."""
    rest, options = list(inputs), dict(attributes)
    targets = options.pop("targets") if "targets" in options else rest.pop()
    bias = rest.pop() if len(rest) > 1 and rest[-1].ndim == rest[-2].ndim - 1 else None
    return function(*rest, targets, bias, **options)


ENTRIES = (OpInfo(_NAME, _reference, _samples, _edges, _ERRORS, size=_size, call=_call),)
