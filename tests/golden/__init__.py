"""The graphs whose DOT source is kept here, byte for byte; `python -m tests.golden` writes the files anew.

All data is float64 and fixed, and the numbers on a picture have so few digits that no platform changes them.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn
from tinygrad_ce.viz import Picture, draw

HERE = Path(__file__).parent
X = np.array([[1.0, -2.0, 0.5, 3.0], [0.25, 1.5, -1.0, 2.0], [-0.5, 1.0, 2.0, -1.5]])
Y = np.array([2, 0, 1], np.int64)


def _mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (n, m) in enumerate(itertools.pairwise(sizes)):
        layer = nn.Linear(n, m, dtype=np.float64)
        layer.weight.data[...] = np.cos(np.arange(n * m).reshape(m, n) + i) / 2
        layer.bias.data[...] = np.sin(np.arange(m) + i) / 4
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _step(model: Any, loss: Callable[..., Any] = F.softmax_cross_entropy, **options: Any) -> Picture:
    value = loss(model(X), Y)
    value.name = "loss"
    return draw(value, model=model, inputs={"x": X, "y": Y}, **{"gradients": True, **options})


def _unfused(z: Any, y: Any) -> Any:
    """Without subtracting the maximum, whose gradient is rounding errors and not the same everywhere."""
    e = np.exp(z)
    return F.nll_loss(np.log(e / np.sum(e, axis=1, keepdims=True)), y)


def _after_backward() -> Picture:
    model = _mlp(4, 6, 3)
    loss = F.softmax_cross_entropy(model(X), Y)
    loss.backward()
    return draw(loss, model=model, inputs={"x": X, "y": Y})


def _folded() -> Picture:
    model = _mlp(4, *[3] * 60)
    for _, parameter in model.named_parameters():
        if parameter.ndim == 2 and parameter.shape[1] == 3:
            parameter.data[...] = np.eye(3) * 0.9375
    return _step(model)


def _troubled() -> Picture:
    model = _mlp(4, 6, 8, 3)
    model[0].weight.data[...] = -X[0]
    model[0].weight.data[0] *= -1
    model[2].bias.data[...] = -1000
    with np.errstate(divide="ignore", invalid="ignore"):
        return _step(model, lambda z, y: F.nll_loss(np.log(F.relu(z)), y))


def _detached() -> Picture:
    class Forgotten(nn.Module):
        def __init__(self) -> None:
            self.used, self.unused = _mlp(4, 3), _mlp(4, 3)

        def forward(self, x: Any) -> Any:
            return self.used(x)

    return _step(Forgotten())


def _no_grad() -> Picture:
    with tg.no_grad():
        return _step(_mlp(4, 3), gradients="auto")


def _two_outputs() -> Picture:
    model = _mlp(4, 6, 3)
    loss, penalty = F.softmax_cross_entropy(model(X), Y), (model[0].weight ** 2).sum()
    loss.name, penalty.name = "loss", "penalty"
    return draw([loss, penalty], model=model, inputs={"x": X, "y": Y})


def _operand_twice() -> Picture:
    y = tg.Tensor([0.5, 2.0], dtype="float64", requires_grad=True, name="x")
    for _ in range(5):
        y = y + y
    return draw((y * y).sum(), gradients=True)


PICTURES: dict[str, Callable[[], Picture]] = {
    "fused": lambda: _step(_mlp(4, 6, 3)),
    "unfused": lambda: _step(_mlp(4, 6, 3), _unfused),
    "before_backward": lambda: _step(_mlp(4, 6, 3), gradients="auto"),
    "after_backward": _after_backward,
    "left_to_right": lambda: _step(_mlp(4, 6, 3), direction="LR"),
    "expanded": lambda: _step(_mlp(4, 6, 3), expand=["softmax_cross_entropy", "linear"]),
    "collapsed": lambda: _step(_mlp(4, 6, 5, 3), depth=1),
    "folded": _folded,
    "troubled": _troubled,
    "detached": _detached,
    "no_grad": _no_grad,
    "two_outputs": _two_outputs,
    "operand_twice": _operand_twice,
}


def path(name: str) -> Path:
    """Where the DOT source of a picture is kept."""
    return HERE / f"{name}.dot"
