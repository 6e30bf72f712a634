"""The losses as modules, under the names the field gives them: each holds the options of its function."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce import functional as F
from tinygrad_ce.arrays import plain
from tinygrad_ce.functional.loss import OnEmpty, Reduction
from tinygrad_ce.nn.options import WithOptions
from tinygrad_ce.tensor import Tensor, TensorLike

Array = NDArray[Any]


def _array(weight: Any) -> Array | None:
    return None if weight is None else np.asarray(plain(weight))


class SoftmaxCrossEntropy(WithOptions):
    """Cross-entropy of logits against classes or probabilities, see `functional.softmax_cross_entropy`.

    >>> from tinygrad_ce import nn
    >>> loss = nn.SoftmaxCrossEntropy(label_smoothing=0.1)
    >>> loss
    SoftmaxCrossEntropy(label_smoothing=0.1)
    >>> loss([[2.0, 1.0, 0.1]], [0])
    Tensor(0.5137, shape=(), dtype=float32)
    """

    def __init__(
        self,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
        axis: int = -1,
        on_empty: OnEmpty = "nan",
        precise: bool = False,
    ) -> None:
        self.weight = _array(weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.reduction: Reduction = reduction
        self.axis = axis
        self.on_empty: OnEmpty = on_empty
        self.precise = precise

    def forward(self, logits: TensorLike, targets: Any) -> Tensor:
        return F.softmax_cross_entropy(
            logits,
            targets,
            weight=self.weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
            axis=self.axis,
            on_empty=self.on_empty,
            precise=self.precise,
        )


class NLLLoss(WithOptions):
    """Negative log-likelihood of log-probabilities, see `functional.nll_loss`.

    >>> from tinygrad_ce import nn
    >>> nn.NLLLoss(weight=[1.0, 3.0])([[-0.5, -1.0], [-0.25, -2.0]], [0, 1])
    Tensor(1.625, shape=(), dtype=float32)
    """

    def __init__(
        self,
        *,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        axis: int = -1,
        on_empty: OnEmpty = "nan",
    ) -> None:
        self.weight = _array(weight)
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction
        self.axis = axis
        self.on_empty: OnEmpty = on_empty

    def forward(self, log_probs: TensorLike, targets: Any) -> Tensor:
        return F.nll_loss(
            log_probs,
            targets,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            axis=self.axis,
            on_empty=self.on_empty,
        )


class SigmoidBinaryCrossEntropy(WithOptions):
    """Binary cross-entropy of logits, multi-label targets too, see `functional.sigmoid_binary_cross_entropy`.

    >>> from tinygrad_ce import nn
    >>> nn.SigmoidBinaryCrossEntropy(pos_weight=[2.0, 1.0])([1.0, -1.0], [1.0, 0.0])
    Tensor(0.4699, shape=(), dtype=float32)
    """

    def __init__(self, *, weight: Any = None, pos_weight: Any = None, reduction: Reduction = "mean") -> None:
        self.weight = _array(weight)
        self.pos_weight = _array(pos_weight)
        self.reduction: Reduction = reduction

    def forward(self, logits: TensorLike, y: TensorLike) -> Tensor:
        return F.sigmoid_binary_cross_entropy(
            logits, y, weight=self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class BinaryCrossEntropy(WithOptions):
    """Binary cross-entropy of probabilities, see `functional.binary_cross_entropy`.

    >>> from tinygrad_ce import nn
    >>> nn.BinaryCrossEntropy(reduction="none")([0.9, 0.2], [1.0, 0.0])
    Tensor([0.1054, 0.2231], shape=(2,), dtype=float32)
    """

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        self.reduction: Reduction = reduction

    def forward(self, p: TensorLike, y: TensorLike) -> Tensor:
        return F.binary_cross_entropy(p, y, reduction=self.reduction)


class MSELoss(WithOptions):
    """Mean squared error, see `functional.mse_loss`.

    >>> from tinygrad_ce import nn
    >>> nn.MSELoss()([1.0, 2.0], [0.0, 4.0])
    Tensor(2.5, shape=(), dtype=float32)
    """

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        self.reduction: Reduction = reduction

    def forward(self, x: TensorLike, y: TensorLike) -> Tensor:
        return F.mse_loss(x, y, reduction=self.reduction)


class KLDivLoss(WithOptions):
    """Kullback-Leibler divergence of p from exp(log_q), see `functional.kl_div`.

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> nn.KLDivLoss(reduction="batchmean")(np.log([[0.5, 0.5]]), np.array([[0.25, 0.75]]))
    Tensor(0.1308, shape=(), dtype=float64)
    """

    def __init__(self, *, reduction: Literal["mean", "batchmean", "sum", "none"] = "mean") -> None:
        self.reduction: Literal["mean", "batchmean", "sum", "none"] = reduction

    def forward(self, log_q: TensorLike, p: TensorLike) -> Tensor:
        return F.kl_div(log_q, p, reduction=self.reduction)
