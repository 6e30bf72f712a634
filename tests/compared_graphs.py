"""Pictures of two graphs, for tests."""

import numpy as np

import tinygrad_ce as tg
from tests.helpers import unfused
from tests.small_graphs import network
from tinygrad_ce import functional as F
from tinygrad_ce import nn
from tinygrad_ce.viz import draw_comparison

X = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)
Y = np.array([0, 2, 1, 1, 0])
IO = {"x": X, "y": Y}


def mlp(seed=0):
    return network((4, 8), nn.ReLU, (8, 3), seed=seed)


def against_fused(**options):
    model = mlp()
    losses = unfused(model(X), Y), F.softmax_cross_entropy(model(X), Y)
    return draw_comparison(*losses, titles=("unfused", "fused"), model=model, inputs=IO, **options)


def activations(**options):
    a = network((4, 8), nn.ReLU, (8, 8), nn.ReLU, (8, 8), nn.ReLU, (8, 3))
    b = network((4, 8), nn.Sigmoid, (8, 8), nn.ReLU, (8, 8), nn.Sigmoid, (8, 3), seed=1)
    losses = (F.softmax_cross_entropy(model(X), Y) for model in (a, b))
    return draw_comparison(*losses, titles=("relu", "sigmoid"), model=(a, b), inputs=IO, **options)


def branches(**options):
    w = [tg.Tensor(np.eye(4) + i, requires_grad=True, name=f"w{i}") for i in range(3)]

    def loss(skip):
        h = F.matmul(X.astype(np.float64), w[0])
        z = F.tanh(F.matmul(h, w[1])) * F.sin(F.matmul(h, w[2]))
        return F.mean((z + h if skip else z) ** 2)

    return draw_comparison(loss(False), loss(True), inputs={"x": X}, **options)


def gradient_of(picture):
    return picture.drawing.totals.gradient
