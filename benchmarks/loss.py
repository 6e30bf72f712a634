"""The fused loss and its gradient beside its peers: float32, precise, float64, confident logits, forward only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks import peers
from benchmarks.suite import OURS, Options, Row, Size, case

RANDOM = f"{OURS} on random logits"


def measure(options: Options) -> Iterator[Row]:
    for size in options.sizes:
        expected = peers.truth(*peers.problem(size))
        yield from _gradients(size, options, expected)
        yield from _variants(size, options, expected)


def _gradients(size: Size, options: Options, expected: tuple[float, Any]) -> Iterator[Row]:
    """Everyone in one run: a row for torch, one for `precise`, one for the others."""
    z, y = peers.problem(size)
    steps = {OURS: peers.ours(z, y), "precise": peers.ours(z, y, precise=True)}
    steps.update(peers.rivals(options.peers, z, y, options.threads))
    peers.require_equal(steps, z, y, expected)
    times = options.times(steps)
    mine, precise = times.pop(OURS), times.pop("precise")
    beside = {"torch": times.pop("torch")} if "torch" in times else {}
    yield Row("float32", case(size), {OURS: mine, **beside})
    yield Row("float32, precise=True", case(size), {OURS: precise, **beside})
    if times:
        yield Row("float32, other peers", case(size), {OURS: mine, **times})


def _variants(size: Size, options: Options, expected: tuple[float, Any]) -> Iterator[Row]:
    random, sure, wide = peers.problem(size), peers.problem(size, confident=True), peers.problem(size, "float64")
    doubles, confident = {OURS: peers.ours(*wide)}, {OURS: peers.ours(*sure)}
    forwards = {OURS: peers.our_forward(*random)}
    if "torch" in options.peers:
        doubles["torch"], confident["torch"] = peers.torch(*wide), peers.torch(*sure)
        forwards["torch"] = peers.torch_forward(*random)
    peers.require_equal(doubles, *wide, expected)
    peers.require_equal(confident, *sure)
    for name, forward in forwards.items():
        peers.require_close(f"{name}: loss without a gradient", forward(), expected[0], peers.TOLERANCE["float32"])
    yield Row("float64", case(size), options.times(doubles, rounds=3))
    contestants = {OURS: confident.pop(OURS), RANDOM: peers.ours(*random), **confident}
    yield Row("float32, confident logits", case(size), options.times(contestants, rounds=3))
    yield Row("float32, forward only", case(size), options.times(forwards, rounds=3))
