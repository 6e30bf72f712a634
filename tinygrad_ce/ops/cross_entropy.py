"""Losses over classes: negative log-likelihood, and softmax cross-entropy fused from logits to the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.kernels.choice import kernels
from tinygrad_ce.ops.loss import reduce, scaled
from tinygrad_ce.ops.softmax import LogSoftmax
from tinygrad_ce.ops.targets import Goal, check_goal, effective_targets, one_hot
from tinygrad_ce.registry import FusedOp, Op, register

Array = NDArray[Any]


def _reduce_rows(losses: Array, goal: Goal, reduction: str, on_empty: str, dtype: Any) -> Any:
    """The losses of the rows put together; one that is ignored or weighs 0 adds exactly 0, whatever it is."""
    if goal.weights is not None:
        counted = goal.weights != 0
        losses = np.multiply(losses, goal.weights, out=np.zeros(losses.shape), where=counted)
    return reduce(losses, reduction, dtype, goal.divisor, 0.0 if on_empty == "zero" else np.nan)


@register
class NLLLoss(Op):
    """Negative log-likelihood: minus the log-probability of each row's target class.

    With class weights w a row counts w[y], in the loss and in what the mean divides by; rows whose target is
    `ignore_index` count nothing.

    >>> import tinygrad_ce as tg
    >>> tg.functional.nll_loss([[-0.5, -1.0], [-0.25, -2.0]], [0, 1], reduction="none")
    Tensor([0.5, 2. ], shape=(2,), dtype=float32)
    """

    name = "nll_loss"
    formula = "l_i = -log_probs[i, y_i]"
    vjp_formula = "dlog_probs = -onehot(y) * g / N"
    latex = r"\ell = -\frac{1}{N} \sum_i \log p_{i, y_i}"

    @staticmethod
    def forward(
        log_probs: Array, *, targets: Array, weight: Array | None = None, ignore_index: int = -100,
        reduction: str = "mean", axis: int = -1, on_empty: str = "nan",
    ) -> Array:  # fmt: skip
        goal = check_goal(
            "nll_loss", "log_probs", log_probs, targets, weight=weight, ignore_index=ignore_index,
            reduction=reduction, axis=axis, on_empty=on_empty,
        )  # fmt: skip
        assert goal.indices is not None
        picked = np.take_along_axis(log_probs, np.expand_dims(goal.indices, axis), axis)
        losses = 0 - np.squeeze(picked, axis)  # not -picked: a loss is never -0.0
        return np.asarray(_reduce_rows(losses, goal, reduction, on_empty, log_probs.dtype))

    @staticmethod
    def _vjp(
        g: Any, _z: Any, _log_probs: Any, *, targets: Array, weight: Any, ignore_index: int, reduction: str, axis: int,
        on_empty: str,
    ) -> Any:  # fmt: skip
        goal = check_goal("nll_loss", "log_probs", _log_probs, targets, weight=weight, ignore_index=ignore_index,
                          reduction=reduction, axis=axis, on_empty=on_empty)  # fmt: skip
        indices: Any = goal.indices
        if goal.ignored is not None:
            indices = np.where(goal.ignored, -1, indices)  # no class
        g = g * np.asarray(goal.scale(reduction), np.result_type(np.float32, g.dtype))
        return np.where(one_hot(indices, axis, _log_probs.shape), -(np.expand_dims(g, axis) if g.ndim else g), 0)

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

    With a second input, probabilities q, and with smoothing e and class weights w, the targets are
    t_c = w_c ((1 - e) q_c + e / C), the loss is -sum_c t_c log p_c and its gradient p sum(t) - t.

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
        z: Array, q: Array | None = None, *, targets: Array | None = None, weight: Array | None = None,
        ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean", axis: int = -1,
        on_empty: str = "nan", precise: bool = False, gradient: bool = False,
    ) -> tuple[Any, tuple[Any, ...] | None]:  # fmt: skip
        goal = check_goal("softmax_cross_entropy", "logits", z, targets, q, weight=weight, ignore_index=ignore_index,
                          label_smoothing=label_smoothing, reduction=reduction, axis=axis,
                          on_empty=on_empty)  # fmt: skip
        x = z.astype(np.float32) if z.dtype.char == "e" else z
        flat = z.ndim == 2 and axis in (-1, 1)
        rows = x if flat else _rows(x, axis)
        scale = goal.scale(reduction)
        if goal.weights is not None and not flat:
            scale = scale.reshape(-1)
        if goal.indices is None or label_smoothing:
            block = _target_rows(goal, q, weight, label_smoothing, axis, len(rows), rows.shape[1])
            losses, dz = kernels.soft_cross_entropy(rows, block, scale, gradient, precise)
        else:
            indices = goal.indices if flat else goal.indices.reshape(-1)
            losses, dz = kernels.cross_entropy(rows, indices, scale, gradient, precise)
        if not flat:
            moved = np.moveaxis(z, axis, -1).shape
            losses = losses.reshape(moved[:-1])
            dz = None if dz is None else np.moveaxis(dz.reshape(moved), -1, axis)
        loss = _reduce_rows(losses, goal, reduction, on_empty, z.dtype)
        if dz is None:
            return loss, None
        lean = q is None and weight is None and goal.ignored is None and not label_smoothing
        return loss, (dz, losses) if lean else (dz, z, q)

    @staticmethod
    def _vjp_z(
        g: Any, kept: Sequence[Any], _z: Any, _q: Any = None, *, targets: Any, weight: Any, ignore_index: int,
        label_smoothing: float, reduction: str, axis: int, on_empty: str, precise: bool,
    ) -> Any:  # fmt: skip
        dz = kept[0]
        if reduction == "none":
            return dz * np.expand_dims(g, axis)
        return dz if float(g) == 1 else dz * g  # a Python float compares in a third of the time

    @staticmethod
    def _vjp_q(
        g: Any, kept: Sequence[Any], _z: Any, _q: Any, *, weight: Any, label_smoothing: float, reduction: str,
        axis: int, **_: Any,
    ) -> Any:  # fmt: skip
        _, z, q = kept
        log_p = kernels.log_softmax(z.astype(np.float32) if z.dtype.char == "e" else z, axis)
        log_p = _log_or_zero(log_p, effective_targets(q, weight, label_smoothing, None, axis))
        g = np.expand_dims(g, axis) if reduction == "none" else scaled(g, reduction, z.size // z.shape[axis])
        return effective_targets(-log_p * ((1 - label_smoothing) * g), weight, 0.0, None, axis)

    vjps = (_vjp_z, _vjp_q)

    @staticmethod
    def decomposition(
        z: Any, q: Any = None, *, targets: Array | None = None, weight: Array | None = None, ignore_index: int = -100,
        label_smoothing: float = 0.0, reduction: str = "mean", axis: int = -1, on_empty: str = "nan",
        precise: bool = False,
    ) -> Any:  # fmt: skip
        log_p = LogSoftmax(z, axis=axis)
        if q is None and not label_smoothing:
            return NLLLoss(log_p, targets=targets, weight=weight, ignore_index=ignore_index, reduction=reduction,
                           axis=axis, on_empty=on_empty)  # fmt: skip
        goal = check_goal("softmax_cross_entropy", "logits", z, targets, q, weight=weight, ignore_index=ignore_index,
                          label_smoothing=label_smoothing, reduction=reduction, axis=axis,
                          on_empty=on_empty)  # fmt: skip
        if q is None:
            q = one_hot(goal.indices, axis, z.shape).astype(z.dtype)
        t = effective_targets(q, weight, label_smoothing, goal.ignored, axis)
        losses = 0 - np.sum(t * _log_or_zero(log_p, t), axis=axis)
        if reduction == "none":
            return losses
        total = np.sum(losses)
        if reduction == "sum":
            return total
        if goal.divisor:
            return total * (1 / goal.divisor)
        return total * 0 + (0.0 if on_empty == "zero" else np.nan)

    @staticmethod
    def restore(
        kept: Sequence[Any], _z: Any, _q: Any = None, *, targets: Any, reduction: str, axis: int, **_: Any
    ) -> Sequence[Array]:
        """The inputs as they were kept; or, of class indices without more, the logits but for a shift of each row.

        Softmax does not see such a shift, so log p will do, of dz = p / N and l = -log p_y.
        """
        if len(kept) == 3:
            _, z, q = kept
            return [z] if q is None else [z, q]
        dz, losses = kept
        p = dz * np.size(targets) if reduction == "mean" else dz
        hot = one_hot(targets, axis, dz.shape)
        with np.errstate(divide="ignore"):
            log_p = np.where(hot, -np.expand_dims(losses, axis), np.log(np.where(hot, 1, p)))
        return [log_p.astype(_z.dtype, copy=False)]


def _rows(x: Array, axis: int) -> Array:
    """The slices along an axis as rows of a matrix."""
    return np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])


def _target_rows(
    goal: Goal, q: Array | None, weight: Any, label_smoothing: float, axis: int, rows: int, classes: int
) -> Callable[[slice], Array]:
    """The effective targets of some rows, built when they are needed."""
    probabilities = None if q is None else _rows(q, axis)
    indices = np.zeros(rows, np.int64) if goal.indices is None else goal.indices.reshape(-1)
    ignored = None if goal.ignored is None else goal.ignored.reshape(-1)

    def block(part: slice) -> Array:
        own = one_hot(indices[part], -1, (rows, classes)) if probabilities is None else probabilities[part]
        t: Array = effective_targets(
            own.astype(np.float64), weight, label_smoothing, None if ignored is None else ignored[part]
        )
        return t

    return block


def _log_or_zero(log_p: Any, t: Any) -> Any:
    """log_p, but 0 where it is not finite and multiplied by a target of 0."""
    return np.where((t == 0) & ~np.isfinite(log_p), 0, log_p)
