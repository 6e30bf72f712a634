"""The fused loss beside the same loss in two and in three ops of this library: time, and peak memory."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import peers
from benchmarks.memory import traced_peak
from benchmarks.suite import Options, Row, case


def measure(options: Options) -> Iterator[Row]:
    for size in options.sizes:
        z, y = peers.problem(size)
        steps = {
            "fused": peers.ours(z, y),
            "log_softmax, nll_loss": peers.our_chain(z, y, separate_log=False),
            "softmax, log, nll_loss": peers.our_chain(z, y, separate_log=True),
        }
        peers.require_equal(steps, z, y)
        yield Row("time", case(size), options.times(steps, rounds=3))
        if options.kernels == "numpy":
            yield Row("memory", case(size), {name: [traced_peak(step)] for name, step in steps.items()}, "B")
