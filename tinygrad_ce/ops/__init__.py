"""The ops, one file a family; importing this registers them all."""

from tinygrad_ce.ops import activation, elementwise, linalg, loss, normalization, random, reduction, shape, softmax

__all__ = ["activation", "elementwise", "linalg", "loss", "normalization", "random", "reduction", "shape", "softmax"]
