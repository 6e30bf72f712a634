"""A whole training step of an MLP (forward, backward, SGD) beside hand-written NumPy and torch eager.

    python -m benchmarks.training_step [--threads 1] [--rounds 7] [--write]

Prints times and ratios of one run; `--write` also keeps them in benchmarks/training_step.md. Before anything is
timed, all contestants are checked to learn the same weights from the same start. Without torch its columns stay empty.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.timing import alternate, machine, ratio, set_threads

SIZES = ((1, 4, 8, 3), (32, 64, 32, 10), (64, 784, 128, 10), (256, 784, 256, 10))
RATE = 0.01


def numpy_step(x: Any, y: Any, weights: list[Any]) -> Callable[[], Any]:
    """What one writes by hand: every formula worked out, nothing general."""
    import numpy as np

    w1, b1, w2, b2 = weights
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

    return step


def our_step(x: Any, y: Any, weights: list[Any]) -> tuple[Callable[[], Any], list[Any]]:
    """The same with this library, as a user writes it."""
    import tinygrad_ce as tg
    from tinygrad_ce import functional as F

    model = tg.nn.MLP([x.shape[1], weights[0].shape[0], weights[2].shape[0]])
    for parameter, weight in zip(model.parameters(), weights, strict=True):
        parameter.data = weight.copy()
    optimizer = tg.optim.SGD(model.parameters(), lr=RATE)

    def step() -> Any:
        optimizer.zero_grad()
        loss = F.softmax_cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, [parameter.data for parameter in model.parameters()]


def torch_step(x: Any, y: Any, weights: list[Any], threads: int) -> tuple[Callable[[], Any], list[Any]]:
    """The same with torch eager, as a user writes it."""
    import torch

    torch.set_num_threads(threads)
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

    return step, [parameter.detach().numpy() for parameter in model.parameters()]


def check_equal(contestants: dict[str, Callable[[], Any]], learned: dict[str, list[Any]]) -> None:
    """A few steps from the same weights must lead to the same weights, up to rounding."""
    import numpy as np

    for step in contestants.values():
        for _ in range(3):
            step()
    for name, weights in learned.items():
        for i, (weight, expected) in enumerate(zip(weights, learned["numpy"], strict=True)):
            error = np.abs(weight - expected).max() / np.abs(expected).max()
            if not error < 1e-5:
                raise SystemExit(f"{name}: weight {i} differs from NumPy's by {error:.1e} after three steps")


def measure(size: tuple[int, int, int, int], threads: int, rounds: int, with_torch: bool) -> str:
    """One line of the table."""
    import numpy as np

    batch, inputs, hidden, classes = size
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, inputs), dtype=np.float32)
    y = rng.integers(0, classes, batch)
    shapes = ((hidden, inputs), (hidden,), (classes, hidden), (classes,))
    weights = [rng.standard_normal(shape, dtype=np.float32) / np.float32(shape[-1] ** 0.5) for shape in shapes]

    by_hand = [weight.copy() for weight in weights]
    contestants: dict[str, Callable[[], Any]] = {"numpy": numpy_step(x, y, by_hand)}
    learned = {"numpy": by_hand}
    contestants["tinygrad_ce"], learned["tinygrad_ce"] = our_step(x, y, weights)
    if with_torch:
        contestants["torch"], learned["torch"] = torch_step(x, y, weights, threads)
    check_equal(contestants, learned)

    times = alternate(contestants, rounds=rounds)
    cells = [str(size)]
    cells += [f"{1e6 * statistics.median(times[name]):.1f}" if name in times else "" for name in NAMES]
    for base in ("numpy", "torch"):
        cells.append("{:.2f} ({:.2f}-{:.2f})".format(*ratio(times, "tinygrad_ce", base)) if base in times else "")
    return "| " + " | ".join(cells) + " |"


NAMES = ("tinygrad_ce", "numpy", "torch")


def main() -> None:
    """Print the table; with --write keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads for every library (default 1)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of alternating phases (default 7)")
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/training_step.md")
    options = parser.parse_args()
    set_threads(options.threads)

    with_torch = importlib.util.find_spec("torch") is not None
    lines = [
        "# A training step: forward, backward, SGD",
        "",
        f"float32, {options.threads} thread(s), medians of {options.rounds} rounds; ratios with the smallest and the",
        "largest of the rounds. Below 1 we are faster. `python -m benchmarks.training_step --write` makes this file.",
        "",
        machine("numpy", *(["torch"] if with_torch else [])) + f", {datetime.date.today()}",
        "",
        "| batch, inputs, hidden, classes | tinygrad_ce us | NumPy by hand us | torch us | to NumPy | to torch |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for size in SIZES:
        lines.append(measure(size, options.threads, options.rounds, with_torch))
        print(lines[-1], flush=True)
    if options.write:
        Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
