"""How time and peak memory of loss and gradient grow with rows, classes and depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.memory import traced_peak
from benchmarks.suite import OURS, Options, Row

WIDTH = BATCH = 64
ROWS, CLASSES, DEPTHS = (1024, 4096, 16384, 65536), (100, 1000, 10000, 50257), (4, 16, 64, 256)


def measure(options: Options) -> Iterator[Row]:
    kept = 2 if options.quick else None
    for n in ROWS[:kept]:
        yield from _rows("rows, at 100 classes", f"N = {n}", n, _loss(n, 100), options)
    for c in CLASSES[:kept]:
        yield from _rows("classes, at 256 rows", f"C = {c}", c, _loss(256, c), options)
    if options.kernels == "numpy":  # the loss is a small part of it
        for depth in DEPTHS[:kept]:
            yield from _rows("depth of an MLP", f"{depth} layers", depth, _mlp(depth), options)


def _rows(table: str, case: str, x: int, step: Callable[[], Any], options: Options) -> Iterator[Row]:
    yield Row(f"time by {table}", case, options.times({OURS: step}, rounds=3), x=x)
    if options.kernels == "numpy":  # NumPy's arrays are all that is seen
        yield Row(f"memory by {table}", case, {OURS: [traced_peak(step)]}, "B", x=x)


def _loss(n: int, classes: int) -> peers.Step:
    z, y = peers.problem((n, classes))
    step = peers.ours(z, y)
    peers.require_equal({OURS: step}, z, y)
    return step


def _mlp(depth: int) -> Callable[[], Any]:
    """Forward and backward of an MLP with so many linear layers."""
    import tinygrad_ce as tg

    rng = np.random.default_rng(0)
    model = tg.nn.MLP([WIDTH] * (depth + 1), generator=rng)
    x, y = rng.standard_normal((BATCH, WIDTH), dtype=np.float32), rng.integers(0, WIDTH, BATCH)

    def step() -> Any:
        model.zero_grad()
        loss = tg.F.softmax_cross_entropy(model(x), y)
        loss.backward()
        return loss

    return step
