"""Softmax cross-entropy of a linear layer, fused."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.apply import apply
from tinygrad_ce.arrays import plain
from tinygrad_ce.functional._public import implements
from tinygrad_ce.functional.loss import OnEmpty, Reduction, _warn, _weights
from tinygrad_ce.ops import linear_cross_entropy as ops
from tinygrad_ce.ops import targets as checks
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor

__all__ = ["linear_softmax_cross_entropy"]

_NAME = "linear_softmax_cross_entropy"


@implements(ops.LinearSoftmaxCrossEntropy)
def linear_softmax_cross_entropy(
    x: TensorLike,
    weight: TensorLike,
    targets: Any,
    bias: TensorLike | None = None,
    *,
    class_weight: Any = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    on_empty: OnEmpty = "nan",
    precise: bool = False,
) -> Tensor:
    """Cross-entropy of softmax(x @ weight.T + bias) against targets, for many classes: the logits need no memory.

    x             floating (..., D): one vector, a batch of them, or any more axes
    weight        floating (C, D), as `linear` has it. Further axes (C, d_1, ..., d_K, D) ask that many questions of C
                  classes each of every vector
    targets       class indices: integers in [0, C), of the shape of x without D and then that of d_1, ..., d_K, such as
                  (N,); or probabilities: floating, of the shape of the logits, (..., C, d_1, ..., d_K), such as (N, C).
                  A Tensor of probabilities may need a gradient
    bias          floating (C,), or (C, d_1, ..., d_K), or None
    class_weight  (C,) numbers: how much each class counts
    ignore_index, label_smoothing, reduction, on_empty, precise
                  as in `softmax_cross_entropy`

    The same as softmax_cross_entropy(linear(x, weight, bias), targets), its decomposition, and no less accurate. But
    rows are taken in chunks of about 4 million logits (16 MB of float32), each of which serves loss and gradient at
    once, in the forward pass. What is kept for the backward pass are the gradients themselves, of the inputs that take
    one: the memory is that of x, of weight and of a chunk or two. With reduction="none" the inputs alone are kept, and
    the backward pass computes the chunks again; so it does for the gradient of probabilities. Rows that are ignored, or
    whose class weighs 0, are left out: they cost nothing and may hold anything.

    Returns a Tensor of the inputs' promoted dtype (nats). float16 is computed in float32. For the same inputs the
    result is the same, up to what the BLAS does with other numbers of threads.
    Raises ValueError for shapes that do not fit, targets of the wrong shape or kind or an option out of range,
    IndexError for a target outside [0, C). Warns (UserWarning) about probability targets that do not sum to 1.
    Source: chunked linear cross-entropy, as in torch.nn.functional.linear_cross_entropy (PyTorch 2.13) and Hsu et al.,
    "Liger Kernel: Efficient Triton Kernels for LLM Training", 2024.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> rng = np.random.default_rng(0)
    >>> words = tg.Tensor(rng.normal(size=(50_000, 8)), requires_grad=True)
    >>> hidden = tg.Tensor(rng.normal(size=(100, 8)), requires_grad=True)
    >>> loss = tg.functional.linear_softmax_cross_entropy(hidden, words, rng.integers(0, 50_000, 100))
    >>> loss.backward()
    >>> loss
    Tensor(14.7873, shape=(), dtype=float64, op=linear_softmax_cross_entropy)
    >>> words.grad.shape, hidden.grad.shape
    ((50000, 8), (100, 8))
    """
    layer = [as_tensor(x), as_tensor(weight), *([] if bias is None else [as_tensor(bias)])]
    array = targets if type(targets) is np.ndarray else np.asarray(plain(targets))
    batch, axes = layer[0].ndim - 1, layer[1].ndim - 1
    soft = array.dtype.kind == "f" and array.ndim == batch + axes
    inputs = layer
    if soft:
        if bias is None:
            layer.append(as_tensor(np.zeros(layer[1].shape[:-1], layer[1].dtype)))
        inputs = [*layer, as_tensor(targets)]
    loss = apply(
        ops.LinearSoftmaxCrossEntropy,
        inputs,
        {
            "targets": None if soft else array,
            "class_weight": None if class_weight is None else _weights(_NAME, "class_weight", class_weight),
            "ignore_index": ignore_index,
            "label_smoothing": label_smoothing,
            "reduction": reduction,
            "on_empty": on_empty,
            "precise": precise,
            "frozen": tuple(
                name for name, one in zip(("x", "weight", "bias"), layer, strict=False) if not one.requires_grad
            ),
        },
    )
    if soft and (message := checks.unnormalized(_NAME, array, batch)) is not None:
        _warn(message)
    return loss
