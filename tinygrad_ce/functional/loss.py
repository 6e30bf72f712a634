"""Losses on Tensors, arrays and lists. `reduction` is "mean", "sum" or "none" (one loss for each row or element)."""

from __future__ import annotations

import math
import sys
import warnings
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.apply import apply
from tinygrad_ce.arrays import plain
from tinygrad_ce.functional._public import implements
from tinygrad_ce.ops import cross_entropy
from tinygrad_ce.ops import loss as ops
from tinygrad_ce.ops import targets as checks
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor

__all__ = [
    "binary_cross_entropy", "kl_div", "mse_loss", "nll_loss", "sigmoid_binary_cross_entropy", "softmax_cross_entropy",
]  # fmt: skip

Reduction: TypeAlias = Literal["mean", "sum", "none"]
OnEmpty: TypeAlias = Literal["nan", "zero", "raise"]


@implements(cross_entropy.SoftmaxCrossEntropy)
def softmax_cross_entropy(
    logits: TensorLike,
    targets: Any,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    axis: int = -1,
    on_empty: OnEmpty = "nan",
    precise: bool = False,
) -> Tensor:
    """Cross-entropy of softmax(logits) against targets, fused: l_i = logsumexp(z_i) - z_i[y_i].

    logits           floating, any shape with the classes on `axis`, such as (N, C)
    targets          class indices: integers in [0, C), of the shape of the logits without `axis`, such as (N,);
                     or probabilities: floating, of the shape of the logits, each row with a sum of 1. A Tensor of
                     probabilities may need a gradient
    weight           (C,) numbers: how much each class counts
    ignore_index     rows with this target add nothing and get a gradient of exactly 0, whatever they hold
    label_smoothing  e in [0, 1]: the targets become (1 - e) q + e / C, where q is one-hot for class indices
    reduction        "mean", "sum" or "none". The mean divides by the sum of w[y_i] over the rows that are not ignored
                     (without weights: by their number), and for probabilities by the number of rows
    on_empty         the mean of no rows: "nan", "zero" (the loss is 0) or "raise" (ValueError). Gradients are 0
    precise          compute in higher precision: correctly rounded in float32, a few units in the last place in float64

    With t_c = w_c q_c the loss of a row is -sum_c t_c log p_c and its gradient p sum(t) - t: p - y without options. It
    is exact for confident rows too. A class of probability 0 may have a logit of -inf.

    Returns a Tensor of the dtype of the logits (nats). Float16 is computed in float32, and reduced in float64.
    Raises ValueError for targets of the wrong shape or kind or an option out of range, IndexError for a target outside
    [0, C). Warns (UserWarning) about logits that are probabilities, because softmax made them, and about probability
    targets that do not sum to 1.
    Source: the log-sum-exp trick with the largest entry left out, Blanchard, Higham & Higham 2021; label smoothing,
    Szegedy et al. 2016.

    >>> import tinygrad_ce as tg
    >>> z = tg.Tensor([[2.0, 1.0, 0.1]], requires_grad=True)
    >>> loss = tg.functional.softmax_cross_entropy(z, [0])
    >>> loss.backward()
    >>> loss
    Tensor(0.417, shape=(), dtype=float32, op=softmax_cross_entropy)
    >>> z.grad
    Tensor([[-0.341 ,  0.2424,  0.0986]], shape=(1, 3), dtype=float32)
    """
    if not isinstance(logits, Tensor):
        logits = as_tensor(logits)
    array = targets if type(targets) is np.ndarray else np.asarray(plain(targets))
    soft = array.dtype.kind == "f" and array.ndim == logits.ndim
    inputs: tuple[Any, ...] = (logits,)
    if soft:
        inputs = logits, targets if isinstance(targets, (Tensor, np.ndarray)) else as_tensor(targets)
    loss = apply(
        cross_entropy.SoftmaxCrossEntropy,
        inputs,
        {
            "targets": None if soft else array,
            "weight": None if weight is None else _weights("softmax_cross_entropy", "weight", weight),
            "ignore_index": ignore_index,
            "label_smoothing": label_smoothing,
            "reduction": reduction,
            "axis": axis,
            "on_empty": on_empty,
            "precise": precise,
        },
    )
    if soft:
        message = checks.unnormalized("softmax_cross_entropy", array, axis)
        if message is not None:
            _warn(message)
    if logits._meaning == "probabilities":
        warn_of_probabilities("softmax_cross_entropy", logits.shape[axis])
    return loss


@implements(cross_entropy.NLLLoss)
def nll_loss(
    log_probs: TensorLike,
    targets: Any,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    axis: int = -1,
    on_empty: OnEmpty = "nan",
) -> Tensor:
    """Negative log-likelihood: l_i = -w[y_i] log_probs[i, y_i], for the output of `log_softmax`.

    log_probs     floating, any shape with the classes on `axis`, such as (N, C)
    targets       integer class indices in [0, C), of the shape of log_probs without `axis`, such as (N,)
    weight        (C,) numbers: how much each class counts; 1 without
    ignore_index  rows with this target add nothing and get a gradient of exactly 0
    reduction     "mean", "sum" or "none"; the mean divides by the sum of w[y_i] over the rows that are not ignored
    on_empty      the mean of no rows: "nan", "zero" (the loss is 0) or "raise" (ValueError)

    Raises ValueError for targets of the wrong shape or kind, an option out of range, or log_probs that are
    probabilities because softmax made them; IndexError for a target outside [0, C).

    >>> from tinygrad_ce import functional as F
    >>> F.nll_loss(F.log_softmax([[2.0, 1.0, 0.1]]), [0])
    Tensor(0.417, shape=(), dtype=float32)
    """
    if isinstance(log_probs, Tensor) and log_probs.meaning == "probabilities":
        raise ValueError(
            "nll_loss: log_probs are probabilities, made by softmax; use log_softmax in its place, or "
            "softmax_cross_entropy on the scores that softmax was given"
        )
    return apply(
        cross_entropy.NLLLoss,
        (as_tensor(log_probs),),
        {
            "targets": np.asarray(plain(targets)),
            "weight": None if weight is None else _weights("nll_loss", "weight", weight),
            "ignore_index": ignore_index,
            "reduction": reduction,
            "axis": axis,
            "on_empty": on_empty,
        },
    )


def _weights(op: str, name: str, weight: Any) -> NDArray[Any]:
    """A weight as an array: it is metadata, so no gradient may be wanted of it."""
    if isinstance(weight, Tensor) and weight.requires_grad:
        raise TypeError(f"{op}: no gradient flows through {name}; pass {name}.detach()")
    return np.asarray(plain(weight))


def warn_of_probabilities(op: str, classes: int) -> None:
    """Warn that logits came out of a softmax already."""
    floor = math.log1p((classes - 1) / math.e)
    _warn(
        f"{op}: the logits are probabilities, made by softmax, so softmax is applied twice and the loss can never get "
        f"under log(1 + (C - 1)/e) = {floor:.4f} for C = {classes} classes. Pass the scores that softmax was given"
    )


def _warn(message: str) -> None:
    """Warn about the first line outside this package that led here."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


_PACKAGE = __name__.partition(".")[0]


@implements(ops.BinaryCrossEntropy)
def binary_cross_entropy(p: TensorLike, y: TensorLike, *, reduction: Reduction = "mean") -> Tensor:
    """Binary cross-entropy of probabilities: l = -y log(p) - (1 - y) log(1 - p), with 0 log 0 = 0.

    p, y  floating, of one shape, in [0, 1]. A wrong certainty (p = 0, y > 0) is an infinite loss: on logits,
          `sigmoid_binary_cross_entropy` stays finite.

    Raises ValueError for shapes that differ or values outside [0, 1].

    >>> from tinygrad_ce import functional as F
    >>> F.binary_cross_entropy([0.9, 0.2], [1.0, 0.0])
    Tensor(0.1643, shape=(), dtype=float32)
    """
    return apply(ops.BinaryCrossEntropy, (as_tensor(p), as_tensor(y)), {"reduction": reduction})


@implements(ops.SigmoidBinaryCrossEntropy)
def sigmoid_binary_cross_entropy(
    logits: TensorLike, y: TensorLike, *, weight: Any = None, pos_weight: Any = None, reduction: Reduction = "mean"
) -> Tensor:
    """Binary cross-entropy of sigmoid(logits), fused: l = log(1 + exp(z)) - z y.

    logits      floating, any shape; each element is a yes/no question of its own, so several may be right (multi-label)
    y           floating, of the same shape, in [0, 1]
    weight      numbers that broadcast to the shape of the logits: how much each element counts
    pos_weight  the same: how much more a positive counts; above 1 it raises recall, below 1 precision

    With weights w and v the loss is l = -w (v y log(sigmoid(z)) + (1 - y) log(1 - sigmoid(z))); the mean divides by the
    number of elements. The gradient (sigmoid(z) - y) * g / N keeps its digits for confident elements.
    Raises ValueError for shapes that do not fit or targets outside [0, 1].

    >>> from tinygrad_ce import functional as F
    >>> F.sigmoid_binary_cross_entropy([2.0, -40.0], [1.0, 0.0], reduction="none")
    Tensor([1.2693e-01, 4.2484e-18], shape=(2,), dtype=float32)
    """
    op = "sigmoid_binary_cross_entropy"
    factors = {
        name: None if factor is None else _weights(op, name, factor)
        for name, factor in (("weight", weight), ("pos_weight", pos_weight))
    }
    return apply(ops.SigmoidBinaryCrossEntropy, (as_tensor(logits), as_tensor(y)), {**factors, "reduction": reduction})


@implements(ops.MSELoss)
def mse_loss(x: TensorLike, y: TensorLike, *, reduction: Reduction = "mean") -> Tensor:
    """Squared error: l = (x - y)**2.

    x, y  floating, of one shape (a loss does not broadcast: that hides mistakes)

    Raises ValueError for shapes that differ.

    >>> from tinygrad_ce import functional as F
    >>> F.mse_loss([1.0, 2.0], [0.0, 4.0])
    Tensor(2.5, shape=(), dtype=float32)
    """
    return apply(ops.MSELoss, (as_tensor(x), as_tensor(y)), {"reduction": reduction})


@implements(ops.KLDivLoss)
def kl_div(
    log_q: TensorLike, p: TensorLike, *, reduction: Literal["mean", "batchmean", "sum", "none"] = "mean"
) -> Tensor:
    """Kullback-Leibler divergence KL(p || q) element by element: l = p (log(p) - log_q), with 0 log 0 = 0.

    log_q      floating: logarithms of the approximating probabilities, such as `log_softmax` gives
    p          floating, of the same shape: the true probabilities
    reduction  "batchmean" divides the sum by the length of the first axis (the mean divergence of the rows), "mean" by
               the number of elements

    Raises ValueError for shapes that differ or negative p.

    >>> import numpy as np
    >>> from tinygrad_ce import functional as F
    >>> F.kl_div(np.log([[0.5, 0.5]]), np.array([[0.25, 0.75]]), reduction="batchmean")
    Tensor(0.1308, shape=(), dtype=float64)
    """
    return apply(ops.KLDivLoss, (as_tensor(log_q), as_tensor(p)), {"reduction": reduction})
