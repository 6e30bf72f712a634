"""Losses element by element. `reduction` is "mean", "sum" or "none"; sums run in float64 and are cast last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.kernels import special
from tinygrad_ce.ops.activation import LogSigmoid
from tinygrad_ce.ops.targets import check_same_shape
from tinygrad_ce.registry import FusedOp, Op, register

Array = NDArray[Any]

_FLOAT64 = np.dtype(np.float64)


def reduce(losses: Array, reduction: str, dtype: Any, divisor: float | None = None, empty: float = np.nan) -> Any:
    """The losses put together; `divisor` is what a mean divides by, and `empty` the mean of nothing."""
    if reduction == "none":
        return _cast(losses, dtype)
    total = np.add.reduce(losses, None, _FLOAT64)
    if reduction == "mean":
        divisor = losses.size if divisor is None else divisor
        total = total / divisor if divisor else empty
    elif reduction != "sum":
        raise ValueError(f'reduction={reduction!r}; expected "mean", "sum" or "none"')
    return _cast(total, dtype)


def _cast(x: Any, dtype: np.dtype[Any]) -> Array:
    if dtype.char != "e":
        return np.asarray(x, dtype)
    with np.errstate(over="ignore"):  # what is too large for float16 is inf
        return np.asarray(x, dtype)


def scaled(g: Any, reduction: str, count: int) -> Any:
    """The upstream gradient of a loss as the gradient of each of the `count` losses that were reduced."""
    if reduction != "mean":
        return g
    return g * np.asarray(1 / max(count, 1), np.result_type(np.float32, g.dtype))  # 1 / count may underflow in float16


def _log_or_zero(p: Any) -> Any:
    """log(p), and 0 at p = 0, where it is multiplied by a probability of 0."""
    return np.log(np.where(p == 0, 1, p))


@register
class BinaryCrossEntropy(Op):
    """Cross-entropy of independent yes/no probabilities p against targets y in [0, 1].

    >>> import tinygrad_ce as tg
    >>> tg.functional.binary_cross_entropy([0.9, 0.2], [1.0, 0.0], reduction="none")
    Tensor([0.1054, 0.2231], shape=(2,), dtype=float32)
    """

    formula = "l = -y * log(p) - (1 - y) * log(1 - p)"
    vjp_formula = "dp = ((1 - y)/(1 - p) - y/p) * g / N, dy = (log(1 - p) - log(p)) * g / N"
    latex = r"\ell = -y \ln p - (1 - y) \ln(1 - p)"

    @staticmethod
    def forward(p: Array, y: Array, *, reduction: str = "mean") -> Array:
        check_same_shape("binary_cross_entropy", "p", p, "y", y)
        _check_unit_interval("binary_cross_entropy", "p", p, "for logits use sigmoid_binary_cross_entropy")
        _check_unit_interval("binary_cross_entropy", "y", y, "targets are probabilities or 0 and 1")
        with np.errstate(divide="ignore"):  # p = 0 where y > 0: an infinite loss, as it is
            hit = y * np.log(np.where(y == 0, 1, p))
            miss = (1 - y) * np.log1p(-np.where(y == 1, 0, p))
        return np.asarray(reduce(0 - (hit + miss), reduction, np.result_type(p, y)))

    @staticmethod
    def _vjp_p(g: Any, _z: Any, p: Any, y: Any, *, reduction: str) -> Any:
        g = scaled(g, reduction, y.size)
        return g * ((1 - y) / np.where(y == 1, 1, 1 - p) - y / np.where(y == 0, 1, p))

    @staticmethod
    def _vjp_y(g: Any, _z: Any, p: Any, _y: Any, *, reduction: str) -> Any:
        return scaled(g, reduction, p.size) * (np.log1p(-p) - np.log(p))

    vjps = (_vjp_p, _vjp_y)


@register
class SigmoidBinaryCrossEntropy(FusedOp):
    """Sigmoid and binary cross-entropy in one, on logits z; targets y in [0, 1], several may be 1 (multi-label).

    With t = log1p(exp(-|z|)), weight w and weight v of the positive part every term is positive, so nothing cancels:

        l  = w (t (v y + 1 - y) + |z| (1 - y if z > 0 else v y))
        dz = w ((1 - y) sigmoid(z) - v y sigmoid(-z))

    >>> import tinygrad_ce as tg
    >>> tg.functional.sigmoid_binary_cross_entropy([2.0, -40.0], [1.0, 0.0], reduction="none")
    Tensor([1.2693e-01, 4.2484e-18], shape=(2,), dtype=float32)
    """

    formula = "l = mean(softplus(z) - z * y)"
    vjp_formula = "dz = (sigmoid(z) - y) * g / N, dy = -z * g / N"
    latex = r"\ell = \ln(1 + e^z) - z y"

    @staticmethod
    def forward(
        z: Array, y: Array, *, weight: Array | None = None, pos_weight: Array | None = None, reduction: str = "mean"
    ) -> Array:
        op = "sigmoid_binary_cross_entropy"
        check_same_shape(op, "logits", z, "y", y)
        _check_unit_interval(op, "y", y, "targets are probabilities or 0 and 1")
        for name, factor in (("weight", weight), ("pos_weight", pos_weight)):
            _check_factor(op, name, factor, z)
        dtype = np.result_type(z, y)
        z, y, positive = _wide(z), _wide(y), _times(_wide(y), pos_weight)
        size = np.abs(z)
        wrong = np.where(z > 0, 1 - y, positive)
        losses = special.softplus(-size)
        if pos_weight is not None:
            losses = losses * (positive + (1 - y))
        losses = _times(losses + np.where(wrong == 0, 0, size) * wrong, weight)
        return np.asarray(reduce(losses, reduction, dtype))

    @staticmethod
    def _vjp_z(g: Any, _z: Any, z: Array, y: Array, *, weight: Any, pos_weight: Any, reduction: str) -> Any:
        z, y = _wide(z), _wide(y)
        slope = (1 - y) * special.sigmoid(z) - _times(y, pos_weight) * special.sigmoid(-z)
        return scaled(g, reduction, z.size) * _times(slope, weight)

    @staticmethod
    def _vjp_y(g: Any, _z: Any, z: Array, _y: Any, *, weight: Any, pos_weight: Any, reduction: str) -> Any:
        z = _wide(z)
        slope = -z if pos_weight is None else _times(special.softplus(-z), pos_weight) - special.softplus(z)
        return scaled(g, reduction, z.size) * _times(slope, weight)

    vjps = (_vjp_z, _vjp_y)

    @staticmethod
    def decomposition(
        z: Any, y: Any, *, weight: Array | None = None, pos_weight: Array | None = None, reduction: str = "mean"
    ) -> Any:
        losses = _times(-(_times(y, pos_weight) * LogSigmoid(z) + (1 - y) * LogSigmoid(-z)), weight)
        if reduction == "none":
            return losses
        return np.mean(losses) if reduction == "mean" else np.sum(losses)


def _wide(x: Array) -> Array:
    return x.astype(np.float32) if x.dtype.char == "e" else x


def _times(x: Any, factor: Any) -> Any:
    """x times a weight in the dtype of x; where the weight is 0 the product is 0."""
    if factor is None:
        return x
    factor = np.asarray(factor, x.dtype)
    return np.where(factor == 0, 0, x) * factor


def _check_factor(op: str, name: str, factor: Any, z: Array) -> None:
    """A weight must be numbers that broadcast to the shape of the logits, and not beyond."""
    if factor is None:
        return
    array: Array = np.asarray(factor)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{op}: {name} must be numbers, found {array.dtype}")
    fits = array.ndim <= z.ndim and all(n in (1, m) for n, m in zip(array.shape[::-1], z.shape[::-1], strict=False))
    if not fits:
        raise ValueError(f"{op}: {name} has shape {array.shape}, which does not broadcast to that of logits, {z.shape}")


@register
class MSELoss(Op):
    """Mean squared error of two arrays of the same shape.

    >>> import tinygrad_ce as tg
    >>> tg.functional.mse_loss([1.0, 2.0], [0.0, 4.0])
    Tensor(2.5, shape=(), dtype=float32)
    """

    name = "mse_loss"
    formula = "l = mean((x - y) ** 2)"
    vjp_formula = "dx = 2 * (x - y) * g / N, dy = -dx"
    latex = r"\ell = \frac{1}{N} \sum_i (x_i - y_i)^2"
    vjps = (
        lambda g, _z, x, y, *, reduction: scaled(g, reduction, x.size) * (2 * (x - y)),
        lambda g, _z, x, y, *, reduction: scaled(g, reduction, x.size) * (2 * (y - x)),
    )

    @staticmethod
    def forward(x: Array, y: Array, *, reduction: str = "mean") -> Array:
        check_same_shape("mse_loss", "x", x, "y", y)
        losses = np.square(np.subtract(x, y, dtype=_at_least_float32(x, y)))
        return np.asarray(reduce(losses, reduction, np.result_type(x, y)))


@register
class KLDivLoss(Op):
    """Kullback-Leibler divergence of probabilities p from exp(log_q), element by element; 0 log 0 is 0.

    "batchmean" divides by the length of the first axis, which makes it the mean of the rows' divergences; "mean"
    divides by the number of elements.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> tg.functional.kl_div(np.log([[0.5, 0.5]]), np.array([[0.25, 0.75]]), reduction="sum")
    Tensor(0.1308, shape=(), dtype=float64)
    """

    name = "kl_div"
    formula = "l = p * (log(p) - log_q)"
    vjp_formula = "dlog_q = -p * g / N, dp = (log(p) + 1 - log_q) * g / N"
    latex = r"\ell = p (\ln p - \ln q)"

    @staticmethod
    def forward(log_q: Array, p: Array, *, reduction: str = "mean") -> Array:
        check_same_shape("kl_div", "log_q", log_q, "p", p)
        if (p < 0).any():
            raise ValueError(f"kl_div: p must be probabilities, found {p.min():.6g}; log_q comes first, as logarithms")
        losses = np.where(p == 0, 0, p) * (_log_or_zero(p) - np.where(p == 0, 0, log_q))
        if reduction == "batchmean":
            return np.asarray(reduce(losses, "mean", np.result_type(log_q, p), len(p) if p.ndim else 1))
        return np.asarray(reduce(losses, reduction, np.result_type(log_q, p)))

    @staticmethod
    def _scale(g: Any, p: Any, reduction: str) -> Any:
        if reduction == "batchmean":
            return scaled(g, "mean", len(p) if p.ndim else 1)
        return scaled(g, reduction, p.size)

    vjps = (
        lambda g, _z, _log_q, p, *, reduction: -p * KLDivLoss._scale(g, p, reduction),
        lambda g, _z, log_q, p, *, reduction: KLDivLoss._scale(g, p, reduction) * (np.log(p) + 1 - log_q),
    )


def _at_least_float32(*arrays: Array) -> Any:
    return np.result_type(np.float32, *arrays)


def _check_unit_interval(op: str, name: str, x: Array, hint: str) -> None:
    if x.size and not (np.minimum.reduce(x, axis=None) >= 0 and np.maximum.reduce(x, axis=None) <= 1):
        low, high = x.min(), x.max()
        if low < 0 or high > 1:  # nan passes: it shows in the loss
            raise ValueError(f"{op}: {name} must lie in [0, 1], found values from {low:.6g} to {high:.6g}; {hint}")
