"""Losses. `reduction` is "mean", "sum" or "none"; sums run in float64 and are cast last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.kernels import softmax as kernels
from tinygrad_ce.kernels import special
from tinygrad_ce.ops.activation import LogSigmoid
from tinygrad_ce.ops.softmax import LogSoftmax
from tinygrad_ce.ops.targets import check_same_shape, check_targets, one_hot
from tinygrad_ce.registry import FusedOp, Op, register

Array = NDArray[Any]


def _reduce(losses: Array, reduction: str, dtype: Any, count: int | None = None) -> Any:
    """The losses of the rows put together; `count` is what a mean divides by."""
    if reduction == "none":
        return losses.astype(dtype, copy=False)
    total = np.add.reduce(losses, axis=None, dtype=np.float64)
    if reduction == "sum":
        return np.asarray(total, dtype)
    if reduction == "mean":
        count = losses.size if count is None else count
        return np.asarray(total / count if count else np.nan, dtype)
    raise ValueError(f'reduction={reduction!r}; expected "mean", "sum" or "none"')


def _scaled(g: Any, reduction: str, count: int) -> Any:
    """The upstream gradient of a loss as the gradient of each of the `count` losses that were reduced."""
    return g * (1 / max(count, 1)) if reduction == "mean" else g


@register
class NLLLoss(Op):
    """Negative log-likelihood: minus the log-probability of each row's target class.

    >>> import tinygrad_ce as tg
    >>> tg.functional.nll_loss([[-0.5, -1.0], [-0.25, -2.0]], [0, 1], reduction="none")
    Tensor([0.5, 2. ], shape=(2,), dtype=float32)
    """

    name = "nll_loss"
    formula = "l_i = -log_probs[i, y_i]"
    vjp_formula = "dlog_probs = -onehot(y) * g / N"
    latex = r"\ell = -\frac{1}{N} \sum_i \log p_{i, y_i}"

    @staticmethod
    def forward(log_probs: Array, *, targets: Array, axis: int = -1, reduction: str = "mean") -> Array:
        targets = check_targets("nll_loss", "log_probs", log_probs, targets, axis)
        picked = np.take_along_axis(log_probs, np.expand_dims(targets, axis), axis)
        losses = 0 - np.squeeze(picked, axis)  # not -picked: a loss is never -0.0
        return np.asarray(_reduce(losses, reduction, log_probs.dtype))

    @staticmethod
    def _vjp(g: Any, _z: Any, _log_probs: Any, *, targets: Array, axis: int, reduction: str) -> Any:
        g = np.expand_dims(g, axis) if reduction == "none" else _scaled(g, reduction, np.size(targets))
        return np.where(one_hot(targets, axis, _log_probs.shape), -g, 0)

    vjps = (_vjp,)


@register
class SoftmaxCrossEntropy(FusedOp):
    """Softmax and negative log-likelihood in one: from logits z and target classes y straight to the loss.

    The sum in logsumexp leaves out the largest entry, z_a, so nothing cancels (Blanchard, Higham & Higham 2021). With
    s' = sum over j != a of exp(z_j - z_a):

        l    = log1p(s') + (z_a - z_y)
        dz_j = softmax(z)_j - [j = y], and at j = y = a written -s' / (1 + s')

    The 1/p of the logarithm and the p of the softmax have met and gone: hence p - y, and a gradient that stays exact
    where p rounds to 1. It is computed with the loss and kept in place of the logits.

    >>> import tinygrad_ce as tg
    >>> tg.functional.softmax_cross_entropy([[2.0, 1.0, 0.1], [0.0, 40.0, 0.0]], [0, 1], reduction="none")
    Tensor([4.1703e-01, 8.4967e-18], shape=(2,), dtype=float32)
    """

    formula = "l = mean(logsumexp(z) - z[y])"
    vjp_formula = "dz = (softmax(z) - onehot(y)) * g / N"
    latex = r"\ell = \frac{1}{N} \sum_i \Big( \ln \sum_k e^{z_{ik}} - z_{i, y_i} \Big)"
    residual = True

    @staticmethod
    def forward(
        z: Array, *, targets: Array, axis: int = -1, reduction: str = "mean", gradient: bool = False
    ) -> tuple[Any, tuple[Array, Array] | None]:
        targets = check_targets("softmax_cross_entropy", "logits", z, targets, axis)
        scale = 1 / targets.size if reduction == "mean" and targets.size else 1.0
        if z.ndim == 2 and axis in (-1, 1):
            losses, dz = kernels.cross_entropy(z, targets, scale, gradient)
        else:
            rows = np.moveaxis(z, axis, -1)
            losses, dz = kernels.cross_entropy(rows.reshape(-1, rows.shape[-1]), targets.reshape(-1), scale, gradient)
            losses = losses.reshape(targets.shape)
            dz = None if dz is None else np.moveaxis(dz.reshape(rows.shape), -1, axis)
        return _reduce(losses, reduction, z.dtype), None if dz is None else (dz, losses.astype(z.dtype))

    @staticmethod
    def _vjp(g: Any, kept: tuple[Array, Array], _z: Any, *, targets: Array, axis: int, reduction: str) -> Any:
        dz, _ = kept
        if reduction == "none":
            return dz * np.expand_dims(g, axis)
        return dz if g == 1 else dz * g

    vjps = (_vjp,)

    @staticmethod
    def decomposition(z: Any, *, targets: Array, axis: int = -1, reduction: str = "mean") -> Any:
        return NLLLoss(LogSoftmax(z, axis=axis), targets=targets, axis=axis, reduction=reduction)

    @staticmethod
    def restore(kept: tuple[Array, Array], _z: Any, *, targets: Array, axis: int, reduction: str) -> Sequence[Array]:
        """The logits up to a shift of each row, which softmax does not see: log p, of dz = p / N and l = -log p_y."""
        dz, losses = kept
        p = dz * np.size(targets) if reduction == "mean" else dz
        hot = one_hot(targets, axis, dz.shape)
        with np.errstate(divide="ignore"):
            log_p = np.where(hot, -np.expand_dims(losses, axis), np.log(np.where(hot, 1, p)))
        return [log_p.astype(dz.dtype, copy=False)]


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
        return np.asarray(_reduce(0 - (hit + miss), reduction, np.result_type(p, y)))

    @staticmethod
    def _vjp_p(g: Any, _z: Any, p: Any, y: Any, *, reduction: str) -> Any:
        g = _scaled(g, reduction, y.size)
        return g * ((1 - y) / np.where(y == 1, 1, 1 - p) - y / np.where(y == 0, 1, p))

    @staticmethod
    def _vjp_y(g: Any, _z: Any, p: Any, _y: Any, *, reduction: str) -> Any:
        return _scaled(g, reduction, p.size) * (np.log1p(-p) - np.log(p))

    vjps = (_vjp_p, _vjp_y)


@register
class SigmoidBinaryCrossEntropy(FusedOp):
    """Sigmoid and binary cross-entropy in one, on logits z; targets y in [0, 1], several may be 1 (multi-label).

    With t = log1p(exp(-|z|)) every term is positive, so nothing cancels:

        l  = t + |z| * (1 - y if z > 0 else y)
        dz = (1 - y) * sigmoid(z) - y * sigmoid(-z)

    >>> import tinygrad_ce as tg
    >>> tg.functional.sigmoid_binary_cross_entropy([2.0, -40.0], [1.0, 0.0], reduction="none")
    Tensor([1.2693e-01, 4.2484e-18], shape=(2,), dtype=float32)
    """

    formula = "l = mean(softplus(z) - z * y)"
    vjp_formula = "dz = (sigmoid(z) - y) * g / N, dy = -z * g / N"
    latex = r"\ell = \ln(1 + e^z) - z y"

    @staticmethod
    def forward(z: Array, y: Array, *, reduction: str = "mean") -> Array:
        check_same_shape("sigmoid_binary_cross_entropy", "logits", z, "y", y)
        _check_unit_interval("sigmoid_binary_cross_entropy", "y", y, "targets are probabilities or 0 and 1")
        size = np.abs(z)
        wrong = np.where(z > 0, 1 - y, y)
        losses = special.softplus(-size) + np.where(wrong == 0, 0, size) * wrong
        return np.asarray(_reduce(losses, reduction, np.result_type(z, y)))

    @staticmethod
    def _vjp_z(g: Any, _z: Any, z: Array, y: Array, *, reduction: str) -> Any:
        return _scaled(g, reduction, z.size) * ((1 - y) * special.sigmoid(z) - y * special.sigmoid(-z))

    @staticmethod
    def _vjp_y(g: Any, _z: Any, z: Array, _y: Any, *, reduction: str) -> Any:
        return -_scaled(g, reduction, z.size) * z

    vjps = (_vjp_z, _vjp_y)

    @staticmethod
    def decomposition(z: Any, y: Any, *, reduction: str = "mean") -> Any:
        return _reduce_recorded(-(y * LogSigmoid(z) + (1 - y) * LogSigmoid(-z)), reduction)


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
        lambda g, _z, x, y, *, reduction: _scaled(g, reduction, x.size) * (2 * (x - y)),
        lambda g, _z, x, y, *, reduction: _scaled(g, reduction, x.size) * (2 * (y - x)),
    )

    @staticmethod
    def forward(x: Array, y: Array, *, reduction: str = "mean") -> Array:
        check_same_shape("mse_loss", "x", x, "y", y)
        losses = np.square(np.subtract(x, y, dtype=_at_least_float32(x, y)))
        return np.asarray(_reduce(losses, reduction, np.result_type(x, y)))


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
            return np.asarray(_reduce(losses, "mean", np.result_type(log_q, p), len(p) if p.ndim else 1))
        return np.asarray(_reduce(losses, reduction, np.result_type(log_q, p)))

    @staticmethod
    def _scale(g: Any, p: Any, reduction: str) -> Any:
        if reduction == "batchmean":
            return _scaled(g, "mean", len(p) if p.ndim else 1)
        return _scaled(g, reduction, p.size)

    vjps = (
        lambda g, _z, _log_q, p, *, reduction: -p * KLDivLoss._scale(g, p, reduction),
        lambda g, _z, log_q, p, *, reduction: KLDivLoss._scale(g, p, reduction) * (np.log(p) + 1 - log_q),
    )


def _reduce_recorded(losses: Any, reduction: str) -> Any:
    """The same reduction in ops that are recorded."""
    if reduction == "none":
        return losses
    return np.mean(losses) if reduction == "mean" else np.sum(losses)


def _at_least_float32(*arrays: Array) -> Any:
    return np.result_type(np.float32, *arrays)


def _check_unit_interval(op: str, name: str, x: Array, hint: str) -> None:
    if x.size and not (np.minimum.reduce(x, axis=None) >= 0 and np.maximum.reduce(x, axis=None) <= 1):
        low, high = x.min(), x.max()
        if low < 0 or high > 1:  # nan passes: it shows in the loss
            raise ValueError(f"{op}: {name} must lie in [0, 1], found values from {low:.6g} to {high:.6g}; {hint}")
