"""Time per op of chains of small ops: recording, the backward pass, deletion. Whatever the length, it should not grow.

    python -m benchmarks.chain [--quick]

prints what a backward pass of each kind of small op costs beyond NumPy's own calls in its rule. The chains by length
are the group "chain" of `python -m benchmarks`.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.suite import OURS, Options, Row
from benchmarks.timing import machine

PARTS = ("forward", "backward", "deletion")
LEAST = 20_000  # ops a round: a short chain is made many times over
AT = 1_000  # the length at which the kinds of ops are compared
GOAL = 1.5e-6, 0.4e-6  # seconds beyond NumPy's calls, on a machine where np.add takes that


def measure(options: Options) -> Iterator[Row]:
    rounds = 2 if options.quick else 7
    chains = {size[0]: _chain("add", size[0]) for size in options.sizes}
    times: dict[int, list[tuple[float, ...]]] = {ops: [] for ops in chains}
    for _ in range(rounds):
        for ops, run in chains.items():  # in turns
            least = ops if options.quick else LEAST
            times[ops].append(_per_op(run, ops, least))
    for i, part in enumerate(PARTS):
        for ops in chains:
            yield Row(part, f"{ops:,} ops", {OURS: [each[i] for each in times[ops]]}, x=ops)


def kinds() -> dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]:
    """Small ops by name: one that is applied to the last result, and the NumPy calls that its rule makes of g."""
    import tinygrad_ce as tg

    constant, array, zero = tg.Tensor(np.float32([1.0])), np.float32([1.0]), np.zeros((), np.float32)
    return {
        "add": (lambda t: t + constant, lambda g: g),
        "sub": (lambda t: constant - t, lambda g: -g),
        "neg": (lambda t: -t, lambda g: -g),
        "mul": (lambda t: t * constant, lambda g: g * array),
        "mul by a number": (lambda t: t * 1.0, lambda g: g * 1.0),
        "relu": (tg.F.relu, lambda g: (g.view(np.int32) * (array > zero)).view(np.float32)),
        "reshape": (lambda t: t.reshape((1,)), lambda g: g.reshape((1,))),
        "sum": (lambda t: t.sum(axis=0, keepdims=True), lambda g: np.broadcast_to(g, (1,))),
    }


def _chain(kind: str, ops: int) -> Callable[[], tuple[float, ...]]:
    """Seconds of the parts, for so many ops in a row on one number."""
    import tinygrad_ce as tg

    op = kinds()[kind][0]
    x, g = tg.Tensor(np.float32([1.0]), requires_grad=True), np.ones(1, np.float32)

    def run() -> tuple[float, ...]:
        start = time.perf_counter()
        t = x
        for _ in range(ops):
            t = op(t)
        made = time.perf_counter()
        t.backward(g)
        pulled = time.perf_counter()
        del t
        deleted = time.perf_counter()
        x.grad = None
        return made - start, pulled - made, deleted - pulled

    return run


def _per_op(run: Callable[[], tuple[float, ...]], ops: int, least: int) -> tuple[float, ...]:
    """Medians of the parts, per op, over chains of `least` ops in all."""
    gc.collect()
    runs = [run() for _ in range(max(1, least // ops))]
    return tuple(statistics.median(part) / ops for part in zip(*runs, strict=True))


def _calls(function: Callable[[Any], Any], count: int) -> float:
    """Seconds of one call."""
    g = np.ones(1, np.float32)
    start = time.perf_counter()
    for _ in range(count):
        function(g)
    return (time.perf_counter() - start) / count


def main() -> None:
    """Print the cost per op, a line for each kind of op."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short look, whose figures mean little")
    quick = parser.parse_args().quick
    rounds, least = (2, AT) if quick else (9, LEAST)

    one = np.ones(1, np.float32)
    goal, unit = GOAL
    print(f"{machine('numpy')}\n")
    print("| op | forward us | backward us | NumPy's calls us | deletion us | beyond NumPy, at .4 us an np.add |")
    print("|---|---|---|---|---|---|")
    for kind, (_, rule) in kinds().items():
        run, found, adds, calls = _chain(kind, AT), [], [], []
        for _ in range(rounds):
            adds.append(_calls(lambda _: np.add(one, one), AT))
            calls.append(_calls(rule, AT))
            found.append(_per_op(run, AT, least))
        made, pulled, deleted = (statistics.median(part) for part in zip(*found, strict=True))
        beyond = statistics.median((f[1] - c) * unit / a for f, c, a in zip(found, calls, adds, strict=True))
        cells = (made, pulled, statistics.median(calls), deleted)
        word = "" if beyond <= goal else " (over)"
        print(f"| {kind} | " + " | ".join(f"{1e6 * cell:.2f}" for cell in cells) + f" | {1e6 * beyond:.2f}{word} |")


if __name__ == "__main__":
    sys.exit(main())
