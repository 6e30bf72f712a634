"""Comparisons among the golden files. A difference of losses is noise: numbers here are exact in binary, or none."""

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce.viz import Picture, draw_comparison

X = np.array([[1.0, -2.0], [0.5, 4.0]])


def _loss(activation: Callable[[Any], Any], skip: bool = False) -> Any:
    w = tg.Tensor(np.array([[1.0, -1.0], [2.0, 0.5]]), requires_grad=True, name="w")
    v = tg.Tensor(np.array([[2.0], [4.0]]), requires_grad=True, name="v")
    hidden = F.matmul(X, w)
    z = activation(hidden)
    loss = F.sum(F.matmul(z + hidden if skip else z, v) * 0.25)
    loss.name = "loss"
    return loss


def _activations() -> Picture:
    return draw_comparison(_loss(F.relu), _loss(F.abs), titles=("relu", "abs"), inputs={"x": X})


def _branches() -> Picture:
    a, b = _loss(F.relu), _loss(F.relu, skip=True)
    return draw_comparison(a, b, titles=("plain", "with a skip"), inputs={"x": X}, direction="LR")


def _losses() -> Picture:
    z = tg.Tensor(np.array([[0.0, 1.0, 2.0], [3.0, 1.0, 0.0]]), requires_grad=True, name="z")
    y = np.array([2, 0], np.int64)
    e = np.exp(z - np.max(z, axis=1, keepdims=True))
    a = F.nll_loss(np.log(e / np.sum(e, axis=1, keepdims=True)), y, reduction="none")
    b = F.softmax_cross_entropy(z, y, reduction="none")
    return draw_comparison(a, b, titles=("unfused", "fused"), inputs={"z": z, "y": y}, gradients=False)


COMPARISONS: dict[str, Callable[[], Picture]] = {
    "comparison_activations": _activations,
    "comparison_branches": _branches,
    "comparison_losses": _losses,
}
