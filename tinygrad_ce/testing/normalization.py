"""Database entries of ops/normalization.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import product
from typing import Any

import numpy as np

from tinygrad_ce.testing import exact
from tinygrad_ce.testing.opinfo import Array, ErrorCase, OpInfo, Sample, uniform

Shape = tuple[int, ...]


def _reference(features: Callable[[int, int], tuple[int, ...]], size: bool = False) -> Callable[..., Array]:
    """The definition, entry by entry.

    features  the axes of weight and bias, from the number of axes of x and that of normalized_shape
    size      instead of the value the sum of the magnitudes of its terms
    """

    def reference(
        x: Array, weight: Any = None, bias: Any = None, *, normalized_shape: Shape = (), eps: float = 1e-5
    ) -> Array:
        a = exact.decimals(x)
        own = features(x.ndim, len(normalized_shape))
        # layer norm: together with what differs in the features; batch norm: with what has the same feature
        together = own if normalized_shape else tuple(k for k in range(x.ndim) if k not in own)
        w, b = (None if p is None else exact.decimals(p) for p in (weight, bias))

        def element(*index: int) -> Decimal:
            group = [
                a[i] for i in product(*(range(n) if k in together else (index[k],) for k, n in enumerate(x.shape)))
            ]
            mean = exact.total(group) / len(group)
            var = exact.total((v - mean) ** 2 for v in group) / len(group)
            feature = tuple(index[k] for k in own)
            factor = (Decimal(1) if w is None else w[feature]) / (var + Decimal(eps)).sqrt()
            shift = Decimal(0) if b is None else b[feature]
            value: Decimal = (a[index] - mean) * factor + shift
            if size:
                value = (abs(a[index]) + exact.total(map(abs, group)) / len(group)) * abs(factor) + abs(shift)
            return value

        return exact.build(x.shape, element)

    return reference


def _last(ndim: int, k: int) -> tuple[int, ...]:
    return tuple(range(ndim - k, ndim))


def _second(_ndim: int, _k: int) -> tuple[int, ...]:
    return (1,)


# An upstream gradient that is affine in x gives dx = 0, so the first sample, which is drawn as those are, has a weight.
# Shape of x, how many of its last axes are normalized, how many of weight and bias there are, eps
_LAYERS: tuple[tuple[Shape, int, int, float], ...] = (
    ((2, 3), 1, 2, 1e-5), ((5,), 1, 0, 1e-5), ((2, 3), 2, 1, 0.5), ((3, 2, 4), 1, 2, 1e-5), ((2, 2, 3), 2, 2, 1e-3),
    ((0, 3), 1, 2, 1e-5), ((2, 0), 1, 2, 1e-5),
)  # fmt: skip
_BATCHES: tuple[tuple[Shape, int, float], ...] = (
    ((5, 2), 2, 1e-5), ((4, 3), 0, 1e-5), ((4, 3), 1, 1e-5), ((2, 3, 4), 2, 0.5), ((1, 2, 3), 2, 1e-5),
    ((2, 3, 2, 2), 2, 1e-3), ((0, 3), 2, 1e-5),
)  # fmt: skip


def _layer_samples(generator: np.random.Generator) -> list[Sample]:
    return [
        Sample(
            (uniform(generator, shape), *(uniform(generator, shape[-k:]) for _ in range(affine))),
            {"normalized_shape": shape[-k:], "eps": eps},
        )
        for shape, k, affine, eps in _LAYERS
    ]


def _layer_edges() -> list[Sample]:
    """What does not vary, which is brought to 0 before it is shifted: single entries, and equal ones."""
    weight, bias = np.array([2.0, -3.0]), np.array([0.5, -4.0])
    return [
        Sample((np.array([[7.0], [-1.0]]), weight[:1], bias[:1]), {"normalized_shape": (1,), "eps": 1e-5}),
        Sample((np.array([[7.0, 7.0], [0.0, -0.0]]), weight, bias), {"normalized_shape": (2,), "eps": 1e-5}),
    ]


def _batch_edges() -> list[Sample]:
    return [Sample((np.array([[7.0, 0.0], [7.0, -0.0]]), np.array([2.0, -3.0]), np.array([0.5, -4.0])), {"eps": 1e-5})]


def _batch_samples(generator: np.random.Generator) -> list[Sample]:
    return [
        Sample((uniform(generator, shape), *(uniform(generator, shape[1:2]) for _ in range(affine))), {"eps": eps})
        for shape, affine, eps in _BATCHES
    ]


def _shape_second(function: Callable[..., Any], inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    k = 0 if hasattr(function, "__self__") else 1  # a method has its x already
    return function(*inputs[:k], attributes["normalized_shape"], *inputs[k:], eps=attributes["eps"])


_X = np.ones((2, 3))

ENTRIES = (
    OpInfo("layer_norm", _reference(_last), _layer_samples, _layer_edges,
           errors=(ErrorCase((_X, 2), ValueError, r"^layer_norm: x has shape \(2, 3\), expected \(\.\.\., 2,\)"),
                   ErrorCase((_X, ()), ValueError, r"^layer_norm: x has shape \(2, 3\), expected \(\.\.\., \)"),
                   ErrorCase((_X, 3, np.ones(2)), ValueError, r"^layer_norm: weight has shape \(2,\), expected \(3,\)"),
                   ErrorCase((_X, 3, np.ones(3), _X), ValueError, r"^layer_norm: bias has shape \(2, 3\), expected"),
                   ErrorCase((_X, 3, None, np.ones(3)), ValueError, "^layer_norm: a bias without a weight"),
                   ErrorCase((_X, 3), ValueError, "^layer_norm: eps=0; expected a positive number", {"eps": 0})),
           size=_reference(_last, size=True), call=_shape_second),
    OpInfo("batch_norm", _reference(_second), _batch_samples, _batch_edges,
           errors=(ErrorCase((np.ones(3),), ValueError, r"^batch_norm: x has shape \(3,\), expected \(N, C\)"),
                   ErrorCase((np.ones((1, 3)),), ValueError, r"^batch_norm: x has shape \(1, 3\), one value of each"),
                   ErrorCase((_X, np.ones(2)), ValueError, r"^batch_norm: weight has shape \(2,\), expected \(3,\)"),
                   ErrorCase((_X, np.ones(3), np.ones(1)), ValueError, r"^batch_norm: bias has shape \(1,\), expected"),
                   ErrorCase((_X, None, np.ones(3)), ValueError, "^batch_norm: a bias without a weight"),
                   ErrorCase((_X,), ValueError, "^batch_norm: eps=-1; expected a positive number", {"eps": -1})),
           size=_reference(_second, size=True)),
)  # fmt: skip
