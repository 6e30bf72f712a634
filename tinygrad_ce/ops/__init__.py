"""The ops, one file a family; importing this registers them all."""

from tinygrad_ce.ops import (
    activation,
    elementwise,
    linalg,
    linear_cross_entropy,
    loss,
    normalization,
    random,
    reduction,
    shape,
    softmax,
)

__all__ = [
    "activation", "elementwise", "linalg", "linear_cross_entropy", "loss", "normalization", "random", "reduction",
    "shape", "softmax",
]  # fmt: skip
