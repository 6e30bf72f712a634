"""softmax, log_softmax and logsumexp along the last axis: forward alone, and forward with backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.suite import OURS, Options, Row, case

NAMES = ("softmax", "log_softmax", "logsumexp")
Call = Callable[[], Any]


def measure(options: Options) -> Iterator[Row]:
    makers: dict[str, Callable[..., tuple[Call, Call | None]]] = {OURS: _ours}
    if "torch" in options.peers:
        makers["torch"] = _torch
    if "SciPy" in options.peers and options.threads == 1:  # it has no more
        makers["SciPy"] = _scipy
    for size in options.sizes:
        z, _ = peers.problem(size)
        rng = np.random.default_rng(0)
        for name in NAMES:
            g = rng.standard_normal(size[:1] if name == "logsumexp" else size, dtype=np.float32)
            pairs = {contestant: make(name, z, g) for contestant, make in makers.items()}
            value, gradient = _truth(name, z.astype(np.float64), g.astype(np.float64))
            for contestant, (forward, both) in pairs.items():
                what = f"{contestant}: {name} of {case(size)}"
                peers.require_close(what, forward(), value, 1e-6)
                if both is not None:
                    peers.require_close(f"{what}, gradient", both(), gradient, 1e-5)
            forwards = {contestant: forward for contestant, (forward, _) in pairs.items()}
            yield Row(f"{name}, forward", case(size), options.times(forwards, rounds=3))
            steps = {contestant: both for contestant, (_, both) in pairs.items() if both is not None}
            yield Row(f"{name}, forward and backward", case(size), options.times(steps, rounds=3))


def _truth(name: str, z: Any, g: Any) -> tuple[Any, Any]:
    m = z.max(axis=1, keepdims=True)
    e = np.exp(z - m)
    s = e.sum(axis=1, keepdims=True)
    p, lse = e / s, m + np.log(s)
    if name == "softmax":
        return p, p * (g - (p * g).sum(axis=1, keepdims=True))
    if name == "log_softmax":
        return z - lse, g - p * g.sum(axis=1, keepdims=True)
    return lse[:, 0], p * g[:, None]


def _ours(name: str, z: Any, g: Any) -> tuple[Call, Call]:
    import tinygrad_ce as tg

    function, leaf = getattr(tg.F, name), tg.Tensor(z, requires_grad=True)

    def forward() -> Any:
        with tg.no_grad():
            return function(leaf, axis=-1)

    def both() -> Any:
        leaf.grad = None
        function(leaf, axis=-1).backward(g)
        return leaf.grad

    return forward, both


def _torch(name: str, z: Any, g: Any) -> tuple[Call, Call]:
    import torch

    function, leaf, upstream = getattr(torch, name), torch.from_numpy(z).requires_grad_(), torch.from_numpy(g)

    def forward() -> Any:
        with torch.no_grad():
            return function(leaf, -1)

    def both() -> Any:
        leaf.grad = None
        function(leaf, -1).backward(upstream)
        return leaf.grad

    return forward, both


def _scipy(name: str, z: Any, _g: Any) -> tuple[Call, None]:
    from scipy import special

    function = getattr(special, name)
    return lambda: function(z, axis=-1), None
