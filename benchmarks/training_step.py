"""A whole training step of an MLP (forward, backward, SGD) beside hand-written NumPy, torch, MyGrad and autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.peers import require_close
from benchmarks.suite import OURS, Options, Row, Size, case

RATE = 0.01

Weights = list[Any]
Step = Callable[[], Any]


def measure(options: Options) -> Iterator[Row]:
    for size in options.sizes:
        x, y, weights = problem(size)
        made = {OURS: ours(x, y, weights)}
        made |= {name: PEERS[name](x, y, weights) for name in PEERS if name in options.peers}
        require_same_weights({**made, "NumPy by hand": numpy_by_hand(x, y, weights)})
        yield Row("step", case(size), options.times({name: step for name, (step, _) in made.items()}))


def problem(size: Size) -> tuple[Any, Any, Weights]:
    """Inputs, targets, and the weights to start from: two layers, in torch's layout."""
    batch, inputs, hidden, classes = size
    rng = np.random.default_rng(0)
    shapes = ((hidden, inputs), (hidden,), (classes, hidden), (classes,))
    weights = [rng.standard_normal(shape, dtype=np.float32) / np.float32(shape[-1] ** 0.5) for shape in shapes]
    return rng.standard_normal((batch, inputs), dtype=np.float32), rng.integers(0, classes, batch), weights


def require_same_weights(made: dict[str, tuple[Step, Callable[[], Weights]]]) -> None:
    """A few steps from the same weights must lead to the same weights, up to rounding."""
    for step, _ in made.values():
        for _ in range(3):
            step()
    expected = made["NumPy by hand"][1]()
    for name, (_, learned) in made.items():
        for i, (weight, wanted) in enumerate(zip(learned(), expected, strict=True)):
            require_close(f"{name}: weight {i} after three steps", weight, wanted, 1e-5)


def numpy_by_hand(x: Any, y: Any, weights: Weights) -> tuple[Step, Callable[[], Weights]]:
    """What one writes by hand: every formula worked out, nothing general, nothing checked."""
    w1, b1, w2, b2 = mine = [weight.copy() for weight in weights]
    n = len(x)
    rows = np.arange(n)

    def step() -> Any:
        h = np.maximum(x @ w1.T + b1, 0)
        z = h @ w2.T + b2
        z -= z.max(axis=1, keepdims=True)
        e = np.exp(z)
        s = e.sum(axis=1, keepdims=True)
        loss = np.mean(np.log(s[:, 0]) - z[rows, y])
        dz = e / s
        dz[rows, y] -= 1
        dz /= n
        dw2 = dz.T @ h
        db2 = dz.sum(axis=0)
        dh = dz @ w2
        dh *= h > 0
        dw1 = dh.T @ x
        db1 = dh.sum(axis=0)
        for w, dw in ((w1, dw1), (b1, db1), (w2, dw2), (b2, db2)):
            w -= RATE * dw
        return loss

    return step, lambda: mine


def ours(x: Any, y: Any, weights: Weights) -> tuple[Step, Callable[[], Weights]]:
    """As a user writes it, and so for the libraries below."""
    import tinygrad_ce as tg

    model = tg.nn.MLP([x.shape[1], weights[0].shape[0], weights[2].shape[0]])
    for parameter, weight in zip(model.parameters(), weights, strict=True):
        parameter.data = weight.copy()
    optimizer = tg.optim.SGD(model.parameters(), lr=RATE)

    def step() -> Any:
        optimizer.zero_grad()
        loss = tg.F.softmax_cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, lambda: [parameter.data for parameter in model.parameters()]


def torch(x: Any, y: Any, weights: Weights) -> tuple[Step, Callable[[], Weights]]:
    import torch

    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    first = torch.nn.Linear(x.shape[1], weights[0].shape[0])
    second = torch.nn.Linear(weights[0].shape[0], weights[2].shape[0])
    model = torch.nn.Sequential(first, torch.nn.ReLU(), second)
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(weight))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)

    def step() -> Any:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss

    return step, lambda: [parameter.detach().numpy() for parameter in model.parameters()]


def mygrad(x: Any, y: Any, weights: Weights) -> tuple[Step, Callable[[], Weights]]:
    """Without the guards that MyGrad puts on arrays, which its documentation takes away for speed."""
    import mygrad

    w1, b1, w2, b2 = mine = [mygrad.tensor(weight.copy()) for weight in weights]

    def step() -> Any:
        with mygrad.mem_guard_off:
            h = mygrad.nnet.activations.relu(x @ w1.T + b1)
            loss = mygrad.nnet.losses.softmax_crossentropy(h @ w2.T + b2, y)
            loss.backward()
            for w in mine:
                w.data -= np.float32(RATE) * w.grad
                w.null_grad()
        return loss

    return step, lambda: [w.data for w in mine]


def autograd(x: Any, y: Any, weights: Weights) -> tuple[Step, Callable[[], Weights]]:
    import autograd.numpy as anp
    from autograd import value_and_grad
    from autograd.scipy.special import logsumexp

    mine = [weight.copy() for weight in weights]
    rows = np.arange(len(x))

    def loss_of(weights: Weights) -> Any:
        w1, b1, w2, b2 = weights
        z = anp.dot(anp.maximum(anp.dot(x, w1.T) + b1, 0), w2.T) + b2
        return anp.mean(logsumexp(z, axis=1) - z[rows, y])

    both = value_and_grad(loss_of)

    def step() -> Any:
        loss, gradients = both(mine)
        for w, dw in zip(mine, gradients, strict=True):
            w -= RATE * dw
        return loss

    return step, lambda: mine


PEERS = {"NumPy by hand": numpy_by_hand, "torch": torch, "MyGrad": mygrad, "autograd": autograd}
