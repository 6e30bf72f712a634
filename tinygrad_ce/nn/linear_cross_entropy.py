"""The last linear layer and the loss as one module, for very many classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_ce import functional as F
from tinygrad_ce.arrays import plain
from tinygrad_ce.functional.loss import OnEmpty, Reduction
from tinygrad_ce.nn.layers import Linear
from tinygrad_ce.nn.options import WithOptions, number, size
from tinygrad_ce.tensor import Tensor, TensorLike


class LinearCrossEntropyLoss(WithOptions):
    """A linear layer to the classes, and the cross-entropy of its softmax: one op whose logits need no memory.

    in_features     size of the last axis of x
    num_classes     C
    out_features    sizes (d_1, ..., d_K) of further axes: that many questions of C classes each of every vector
    bias            whether the layer adds one; it does not if nothing is said, as in PyTorch
    class_weight    (C,) numbers: how much each class counts
    ignore_index, label_smoothing, reduction, on_empty, precise
                    as in `functional.softmax_cross_entropy`
    generator       a numpy.random.Generator that draws the initial weights; a fresh one if None
    dtype           of the parameters; the default dtype if None

    Raises ValueError for a size below 1, class weights of another number than C, or smoothing outside [0, 1].
    `linear` is the layer, with a weight of shape (C d_1 ... d_K, in_features) and a bias of (C d_1 ... d_K,). Called
    alone it gives the logits, for predictions. `functional.linear_softmax_cross_entropy` has the shapes of x and
    targets, and what it costs. In PyTorch `class_weight` is called `weight`.

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> loss = nn.LinearCrossEntropyLoss(4, 1000, generator=np.random.default_rng(0))
    >>> x = np.ones((2, 4), np.float32)
    >>> loss(x, [3, 999])
    Tensor(7.1345, shape=(), dtype=float32, op=linear_softmax_cross_entropy)
    >>> loss.linear
    Linear(4, 1000, bias=False)
    >>> loss.linear(x).shape
    (2, 1000)
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: Sequence[int] = (),
        bias: bool = False,
        class_weight: Any = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
        on_empty: OnEmpty = "nan",
        precise: bool = False,
        generator: np.random.Generator | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        kind = type(self).__name__
        self.num_classes = size(kind, "num_classes", num_classes)
        self.out_features = tuple(size(kind, "out_features", d) for d in out_features)
        lines = math.prod(self.out_features, start=self.num_classes)
        self.linear = Linear(size(kind, "in_features", in_features), lines, bias, generator=generator, dtype=dtype)
        self.class_weight = None if class_weight is None else np.asarray(plain(class_weight))
        if self.class_weight is not None and self.class_weight.shape != (num_classes,):
            raise ValueError(
                f"{kind}: class_weight has shape {self.class_weight.shape}, expected {(num_classes,)}: one number for "
                "each class"
            )
        self.ignore_index = ignore_index
        self.label_smoothing = number(kind, "label_smoothing", label_smoothing, 0, 1)
        self.reduction: Reduction = reduction
        self.on_empty: OnEmpty = on_empty
        self.precise = precise

    def forward(self, x: TensorLike, targets: Any) -> Tensor:
        weight, bias = self.linear.weight, self.linear.bias
        return F.linear_softmax_cross_entropy(
            x,
            self._by_class(weight, weight.shape[1:]),
            targets,
            None if bias is None else self._by_class(bias),
            class_weight=self.class_weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
            on_empty=self.on_empty,
            precise=self.precise,
        )

    def _by_class(self, parameter: Tensor, rest: tuple[int, ...] = ()) -> Tensor:
        if not self.out_features:
            return parameter
        return F.reshape(parameter, (self.num_classes, *self.out_features, *rest))

    def options(self) -> dict[str, Any]:
        layer = self.linear.options()
        own = {"in_features": layer["in_features"], "bias": layer["bias"], "dtype": layer["dtype"]}
        names = (
            "num_classes", "out_features", "class_weight", "ignore_index", "label_smoothing", "reduction", "on_empty",
            "precise",
        )  # fmt: skip
        return {**own, **{name: getattr(self, name) for name in names}}
