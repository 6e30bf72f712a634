"""Softmax cross-entropy, loss and gradient, by this library and by its peers, each as its users write it.

A function takes logits and targets, prepares what is prepared once, and returns the step to be timed. Each call of a
step makes the loss and the gradient anew and returns them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.suite import Size

TOLERANCE = {"float32": 1e-4, "float64": 1e-12}  # of the largest; torch needs it at 50257. Digits: ACCURACY.md

MANY = 10_000_000

Step = Callable[[], tuple[Any, Any]]


def ours(z: Any, y: Any, **options: Any) -> Step:
    import tinygrad_ce as tg

    leaf = tg.Tensor(z, requires_grad=True)

    def step() -> tuple[Any, Any]:
        leaf.grad = None
        loss = tg.F.softmax_cross_entropy(leaf, y, **options)
        loss.backward()
        return loss, leaf.grad

    return step


def our_chain(z: Any, y: Any, *, separate_log: bool) -> Step:
    """Unfused, in two ops or in three."""
    import tinygrad_ce as tg

    leaf = tg.Tensor(z, requires_grad=True)

    def step() -> tuple[Any, Any]:
        leaf.grad = None
        log_p = tg.F.log(tg.F.softmax(leaf)) if separate_log else tg.F.log_softmax(leaf)
        loss = tg.F.nll_loss(log_p, y)
        loss.backward()
        return loss, leaf.grad

    return step


def torch(z: Any, y: Any) -> Step:
    import torch

    leaf, targets = torch.from_numpy(z).requires_grad_(), torch.from_numpy(y)

    def step() -> tuple[Any, Any]:
        leaf.grad = None
        loss = torch.nn.functional.cross_entropy(leaf, targets)
        loss.backward()
        return loss, leaf.grad

    return step


def numpy_by_hand(z: Any, y: Any) -> Step:
    """Stable, and no more than that: the largest subtracted, exp, sum, log."""
    rows = np.arange(len(y))

    def step() -> tuple[Any, Any]:
        shifted = z - z.max(axis=1, keepdims=True)
        p = np.exp(shifted)
        s = p.sum(axis=1, keepdims=True)
        loss = np.mean(np.log(s[:, 0]) - shifted[rows, y])
        p /= s
        p[rows, y] -= 1
        p /= len(y)
        return loss, p

    return step


def scikit_learn(z: Any, y: Any, threads: int) -> Step:
    """What is inside LogisticRegression."""
    from sklearn._loss.loss import HalfMultinomialLoss

    targets = y.astype(z.dtype)
    multinomial = HalfMultinomialLoss(n_classes=z.shape[1])

    def step() -> tuple[Any, Any]:
        losses, gradient = multinomial.loss_gradient(targets, z, n_threads=threads)
        gradient /= len(y)
        return losses.mean(), gradient

    return step


def mygrad(z: Any, y: Any) -> Step:
    import mygrad

    leaf = mygrad.tensor(z, copy=False)

    def step() -> tuple[Any, Any]:
        leaf.null_grad()
        loss = mygrad.nnet.losses.softmax_crossentropy(leaf, y)
        loss.backward()
        return loss, leaf.grad

    return step


def autograd(z: Any, y: Any) -> Step:
    import autograd.numpy as anp
    from autograd import value_and_grad
    from autograd.scipy.special import logsumexp

    rows = np.arange(len(y))
    both = value_and_grad(lambda x: anp.mean(logsumexp(x, axis=1) - x[rows, y]))
    return lambda: both(z)


def our_forward(z: Any, y: Any) -> Callable[[], Any]:
    import tinygrad_ce as tg

    leaf = tg.Tensor(z, requires_grad=True)

    def forward() -> Any:
        with tg.no_grad():
            return tg.F.softmax_cross_entropy(leaf, y)

    return forward


def torch_forward(z: Any, y: Any) -> Callable[[], Any]:
    import torch

    leaf, targets = torch.from_numpy(z).requires_grad_(), torch.from_numpy(y)

    def forward() -> Any:
        with torch.no_grad():
            return torch.nn.functional.cross_entropy(leaf, targets)

    return forward


def rivals(names: tuple[str, ...], z: Any, y: Any, threads: int) -> dict[str, Step]:
    """Those of the peers that can do it: on several threads if they have them, on many logits within a second or so."""
    known: dict[str, Callable[[], Step]] = {
        "torch": lambda: torch(z, y),
        "scikit-learn": lambda: scikit_learn(z, y, threads),
        "NumPy by hand": lambda: numpy_by_hand(z, y),
        "MyGrad": lambda: mygrad(z, y),
        "autograd": lambda: autograd(z, y),
    }
    able = tuple(known) if threads == 1 else ("torch", "scikit-learn")
    slow = ("autograd",) if z.size > MANY else ()
    return {name: known[name]() for name in able if name in names and name not in slow}


def problem(size: Size, dtype: str = "float32", confident: bool = False) -> tuple[Any, Any]:
    """Normal logits of N x C and targets; confident: in 95 of 100 rows the target's logit stands out by 15."""
    n, classes = size
    rng = np.random.default_rng(n + classes)
    z, y = rng.standard_normal((n, classes), dtype=np.float32), rng.integers(0, classes, n)
    if confident:
        sure = np.flatnonzero(rng.random(n) < 0.95)
        z[sure, y[sure]] = z[sure].max(axis=1) + 15
    return z.astype(dtype, copy=False), y


def truth(z: Any, y: Any) -> tuple[float, Any]:
    """Loss and gradient in float64, a few rows at a time."""
    gradient, loss = np.empty(z.shape), 0.0
    step = max(1, 1_000_000 // z.shape[1])
    for i in range(0, len(y), step):
        found, gradient[i : i + step] = numpy_by_hand(z[i : i + step].astype(np.float64), y[i : i + step])()
        count = len(y[i : i + step])
        loss += float(found) * count
        gradient[i : i + step] *= count / len(y)
    return loss / len(y), gradient


def as_array(x: Any) -> Any:
    """Of a Tensor of any library, or an array."""
    if hasattr(x, "detach"):
        x = x.detach().numpy()
    return np.asarray(x if isinstance(x, (np.ndarray, np.generic, float)) else x.data)


def require_equal(steps: Mapping[str, Step], z: Any, y: Any, expected: tuple[float, Any] | None = None) -> None:
    """Each step's loss and gradient must be the true ones, up to what the dtype's rounding makes of them."""
    expected = expected or truth(z, y)
    for name, step in steps.items():
        for what, found, true in zip(("loss", "gradient"), step(), expected, strict=True):
            require_close(f"{name}: {what} of {z.shape[0]} x {z.shape[1]}", found, true, TOLERANCE[str(z.dtype)])


def require_close(what: str, found: Any, expected: Any, tolerance: float) -> None:
    """Up to `tolerance` times the largest of what is expected; else the end, with a message."""
    found, expected = as_array(found), as_array(expected)
    if found.shape != expected.shape:
        raise SystemExit(f"{what}: the shape is {found.shape}, expected {expected.shape}")
    error = np.abs(found - expected).max() / np.abs(expected).max()
    if not error <= tolerance:
        raise SystemExit(f"{what}: differs from what it should be by {error:.1e} of the largest, allowed {tolerance:g}")
