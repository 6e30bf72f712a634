"""Losses on Tensors, arrays and lists. `reduction` is "mean", "sum" or "none" (one loss for each row or element)."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from tinygrad_ce.arrays import plain
from tinygrad_ce.functional._public import implements
from tinygrad_ce.ops import loss as ops
from tinygrad_ce.tensor import Tensor, TensorLike, apply

Reduction: TypeAlias = Literal["mean", "sum", "none"]


@implements(ops.SoftmaxCrossEntropy)
def softmax_cross_entropy(logits: TensorLike, targets: Any, *, axis: int = -1, reduction: Reduction = "mean") -> Tensor:
    """Cross-entropy of softmax(logits) against target classes, fused: l_i = logsumexp(z_i) - z_i[y_i].

    logits     floating, any shape with the classes on `axis`, such as (N, C)
    targets    integer class indices in [0, C), of the shape of the logits without `axis`, such as (N,)
    reduction  "mean" over the rows, "sum", or "none"

    Returns a Tensor of the dtype of the logits (nats). Its gradient is (softmax(z) - onehot(y)) * g / N, exact for
    confident rows too; an empty batch has the mean nan.
    Raises ValueError for targets of the wrong shape or kind, IndexError for one outside [0, C).
    Source: the log-sum-exp trick with the largest entry left out, Blanchard, Higham & Higham 2021.

    >>> import tinygrad_ce as tg
    >>> z = tg.Tensor([[2.0, 1.0, 0.1]], requires_grad=True)
    >>> loss = tg.functional.softmax_cross_entropy(z, [0])
    >>> loss.backward()
    >>> loss
    Tensor(0.417, shape=(), dtype=float32, op=softmax_cross_entropy)
    >>> z.grad
    Tensor([[-0.341 ,  0.2424,  0.0986]], shape=(1, 3), dtype=float32)
    """
    return apply(
        ops.SoftmaxCrossEntropy,
        (logits,),
        {"targets": np.asarray(plain(targets)), "axis": axis, "reduction": reduction},
    )


@implements(ops.NLLLoss)
def nll_loss(log_probs: TensorLike, targets: Any, *, axis: int = -1, reduction: Reduction = "mean") -> Tensor:
    """Negative log-likelihood: l_i = -log_probs[i, y_i], for the output of `log_softmax`.

    log_probs  floating, any shape with the classes on `axis`, such as (N, C)
    targets    integer class indices in [0, C), of the shape of log_probs without `axis`, such as (N,)
    reduction  "mean" over the rows, "sum", or "none"

    Raises ValueError for targets of the wrong shape or kind, IndexError for one outside [0, C).

    >>> from tinygrad_ce import functional as F
    >>> F.nll_loss(F.log_softmax([[2.0, 1.0, 0.1]]), [0])
    Tensor(0.417, shape=(), dtype=float32)
    """
    return apply(
        ops.NLLLoss,
        (log_probs,),
        {"targets": np.asarray(plain(targets)), "axis": axis, "reduction": reduction},
    )


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
    return apply(ops.BinaryCrossEntropy, (p, y), {"reduction": reduction})


@implements(ops.SigmoidBinaryCrossEntropy)
def sigmoid_binary_cross_entropy(logits: TensorLike, y: TensorLike, *, reduction: Reduction = "mean") -> Tensor:
    """Binary cross-entropy of sigmoid(logits), fused: l = log(1 + exp(z)) - z y.

    logits  floating, any shape; each element is a yes/no question of its own, so several may be right (multi-label)
    y       floating, of the same shape, in [0, 1]

    Its gradient (sigmoid(z) - y) * g / N keeps its digits for confident elements.
    Raises ValueError for shapes that differ or targets outside [0, 1].

    >>> from tinygrad_ce import functional as F
    >>> F.sigmoid_binary_cross_entropy([2.0, -40.0], [1.0, 0.0], reduction="none")
    Tensor([1.2693e-01, 4.2484e-18], shape=(2,), dtype=float32)
    """
    return apply(ops.SigmoidBinaryCrossEntropy, (logits, y), {"reduction": reduction})


@implements(ops.MSELoss)
def mse_loss(x: TensorLike, y: TensorLike, *, reduction: Reduction = "mean") -> Tensor:
    """Squared error: l = (x - y)**2.

    x, y  floating, of one shape (a loss does not broadcast: that hides mistakes)

    Raises ValueError for shapes that differ.

    >>> from tinygrad_ce import functional as F
    >>> F.mse_loss([1.0, 2.0], [0.0, 4.0])
    Tensor(2.5, shape=(), dtype=float32)
    """
    return apply(ops.MSELoss, (x, y), {"reduction": reduction})


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
    return apply(ops.KLDivLoss, (log_q, p), {"reduction": reduction})
