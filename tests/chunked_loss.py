"""The last layer and the loss, in one op and in two with whole logits: problems for both, and all their gradients."""

import numpy as np

import tinygrad_ce as tg
from tinygrad_ce import functional as F

ROWS, FEATURES, CLASSES = 7, 4, 5
CLASS_WEIGHT = np.array([1.0, 2.0, 0.5, 0.25, 3.0])
fused = F.linear_softmax_cross_entropy


def of_whole_logits(x, weight, targets, bias=None, *, class_weight=None, **options):
    """The same by two ops, the logits whole."""
    x, weight = tg.Tensor(x) if not isinstance(x, tg.Tensor) else x, weight
    layer = [weight.reshape((-1, weight.shape[-1])), None if bias is None else bias.reshape(-1)]
    z = F.linear(x, *layer).reshape((*x.shape[:-1], *weight.shape[:-1]))
    return F.softmax_cross_entropy(z, targets, weight=class_weight, axis=x.ndim - 1, **options)


def upstream(z):
    return np.asarray(np.random.default_rng(5).uniform(0.5, 1.5, z.shape), z.dtype)


def problem(rng, soft=False, positions=(), batch=(ROWS,), dtype="float64"):
    """x, weight and bias as leaves, and targets: class indices, or probabilities that are a leaf too."""
    x, weight = rng.normal(size=(*batch, FEATURES)), rng.normal(size=(CLASSES, *positions, FEATURES))
    bias = rng.normal(size=(CLASSES, *positions))
    leaves = [tg.Tensor(a.astype(dtype), requires_grad=True) for a in (x, weight, bias)]
    if not soft:
        return leaves, rng.integers(0, CLASSES, (*batch, *positions))
    q = np.moveaxis(rng.dirichlet(np.ones(CLASSES), (*batch, *positions)), -1, len(batch))
    q = tg.Tensor(q.astype(dtype), requires_grad=True)
    return [*leaves, q], q


def gradients(loss, leaves, targets, g=None, *, create_graph=False, **options):
    x, weight, bias, *_ = leaves
    value = loss(x, weight, targets, bias, **options)
    return value, tg.grad([value], leaves, [upstream(value) if g is None else g], create_graph=create_graph)
