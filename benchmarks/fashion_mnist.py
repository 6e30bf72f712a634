"""Fashion-MNIST: what small networks of this library learn, and how long an epoch takes beside its peers.

    python -m benchmarks.fashion_mnist [accuracy] [epoch] [--seeds 5] [--threads 1] [--rounds 5] [--quick] [--write]

`accuracy` trains some models from several seeds; `epoch` times an epoch of 784-256-10 at batch 256 through
`DataLoader` and `fit` beside torch with its own DataLoader, scikit-learn's MLPClassifier and a loop written by hand in
NumPy, in turns, after checking that all four learn alike. `--quick` trains one seed, where there is an aim, and times
nothing. Either way the exit status is 1 if an accuracy is below its aim. `--write` keeps the tables in
benchmarks/FASHION_MNIST.md.

The four files come from Debian's package dataset-fashion-mnist, from $TINYGRAD_CE_DATA, or see `data.fashion_mnist`.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.timing import machine, set_threads

BATCH, RATE = 256, 0.1
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Task:
    """A model, how it is trained, and what it is to reach, where somebody has set a mark."""

    name: str
    sizes: tuple[int, ...]
    how: str
    epochs: int
    standardized: bool = False
    aim: float | None = None
    why: str = ""


SMALL, LARGE = (784, 256, 10), (784, 256, 128, 100, 10)
TASKS = (
    Task("softmax regression", (784, 10), "SGD 0.1", 10, aim=0.83, why="Dive into Deep Learning, softmax regression"),
    Task("MLP 784-256-10", SMALL, "SGD 0.1", 10),
    Task("MLP 784-256-10", SMALL, "SGD 0.1", 10, True, 0.855, "Dive into Deep Learning, multilayer perceptrons"),
    Task("MLP 256-128-100", LARGE, "AdamW, one-cycle", 20, False, 0.8833, "Fashion-MNIST's own table, MLPClassifier"),
)


def standardized(data: tuple[Any, Any]) -> list[Any]:
    """All pixels on one scale, of mean 0 and standard deviation 1 over the training images."""
    import tinygrad_ce as tg

    mean, scale = data[0].inputs.mean(), data[0].inputs.std()
    return [tg.data.ArrayDataset((part.inputs - mean) / scale, part.targets, part.classes) for part in data]


def train(task: Task, seed: int, data: tuple[Any, Any]) -> tuple[float, float]:
    """Test accuracy and seconds of training."""
    import numpy as np

    import tinygrad_ce as tg

    generator = np.random.default_rng(seed)
    fitting, test = standardized(data) if task.standardized else data
    loader = tg.data.DataLoader(fitting, BATCH, shuffle=True, generator=generator)
    schedule = None
    if task.how.startswith("SGD"):
        model = tg.nn.MLP(task.sizes, generator=generator)
        optimizer: Any = tg.optim.SGD(model.parameters(), lr=RATE)
    else:
        model = tg.nn.MLP(task.sizes, generator=generator, dropout=0.2)
        optimizer = tg.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02)
        schedule = tg.optim.OneCycleLR(optimizer, max_lr=3e-3, total_steps=task.epochs * len(loader))
    start = time.perf_counter()
    tg.fit(
        model, loader, loss=tg.F.softmax_cross_entropy, optimizer=optimizer, schedule=schedule, epochs=task.epochs,
        metrics=(), progress=False,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    return tg.evaluate(model, test)["accuracy"], seconds


def accuracies(tasks: Sequence[Task], seeds: int, data: tuple[Any, Any]) -> tuple[list[str], bool]:
    """The table, and whether every aim is reached on average; a single seed may be a point below."""
    lines = [
        "| model | pixels | training | epochs | test accuracy, mean | smallest | largest | aim | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    reached = True
    for task in tasks:
        found, seconds = zip(*(train(task, seed, data) for seed in range(seeds)), strict=True)
        mean = statistics.mean(found)
        reached &= task.aim is None or mean >= task.aim - 0.01 * (seeds == 1)
        aim = "" if task.aim is None else f"{task.aim:.2%} ({task.why})"
        lines.append(
            f"| {task.name} | {'standardized' if task.standardized else '0 to 1'} | {task.how} | {task.epochs} "
            f"| {mean:.2%} | {min(found):.2%} | {max(found):.2%} | {aim} | {statistics.median(seconds):.1f} |"
        )
        print(lines[-1], flush=True)
    return lines, reached


def numpy_epoch(x: Any, y: Any, weights: list[Any], seed: int) -> Iterator[float]:
    """Epochs of the same network and loss, every formula worked out by hand; gives the mean loss of each."""
    import numpy as np

    w1, b1, w2, b2 = weights
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(len(x))
        total = 0.0
        for start in range(0, len(x), BATCH):
            chosen = order[start : start + BATCH]
            inputs, targets = x[chosen], y[chosen]
            n = len(chosen)
            rows = np.arange(n)
            h = np.maximum(inputs @ w1.T + b1, 0)
            z = h @ w2.T + b2
            z -= z.max(axis=1, keepdims=True)
            e = np.exp(z)
            s = e.sum(axis=1, keepdims=True)
            total += float(np.sum(np.log(s[:, 0]) - z[rows, targets]))
            dz = e / s
            dz[rows, targets] -= 1
            dz /= n
            dw2, db2 = dz.T @ h, dz.sum(axis=0)
            dh = dz @ w2
            dh *= h > 0
            dw1, db1 = dh.T @ inputs, dh.sum(axis=0)
            for w, dw in ((w1, dw1), (b1, db1), (w2, dw2), (b2, db2)):
                w -= RATE * dw
        yield total / len(x)


def our_epoch(x: Any, y: Any, weights: list[Any], seed: int) -> Iterator[float]:
    """Epochs through DataLoader and fit."""
    import numpy as np

    import tinygrad_ce as tg

    model = tg.nn.MLP([784, 256, 10])
    for parameter, weight in zip(model.parameters(), weights, strict=True):
        parameter.data = weight.copy()
    optimizer = tg.optim.SGD(model.parameters(), lr=RATE)
    dataset = tg.data.ArrayDataset(x, y)
    loader = tg.data.DataLoader(dataset, BATCH, shuffle=True, generator=np.random.default_rng(seed))
    while True:
        history = tg.fit(
            model, loader, loss=tg.F.softmax_cross_entropy, optimizer=optimizer, epochs=1, metrics=(), progress=False
        )
        yield history["loss"][-1]


def torch_epoch(x: Any, y: Any, weights: list[Any], seed: int, threads: int) -> Iterator[float]:
    """Epochs of torch, written as its tutorials write them."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    first, second = torch.nn.Linear(784, 256), torch.nn.Linear(256, 10)
    model = torch.nn.Sequential(first, torch.nn.ReLU(), second)
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(weight))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True)
    while True:
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        yield total / len(x)


def sklearn_epoch(x: Any, y: Any, weights: list[Any], seed: int) -> Iterator[float]:
    """Epochs of scikit-learn's MLPClassifier by partial_fit, from weights of its own, without its L2 penalty."""
    from sklearn.neural_network import MLPClassifier

    del weights
    model = MLPClassifier(
        (256,), solver="sgd", alpha=0.0, batch_size=BATCH, learning_rate_init=RATE, momentum=0.0, shuffle=True,
        random_state=seed,
    )  # fmt: skip
    while True:
        model.partial_fit(x, y, classes=range(10))
        yield float(model.loss_)


def epochs(threads: int, rounds: int, data: tuple[Any, Any]) -> list[str]:
    """Times of an epoch, the contestants in turns."""
    import numpy as np

    fitting, _ = data
    x, y = fitting.inputs, fitting.targets
    generator = np.random.default_rng(0)
    weights = [
        generator.uniform(-1, 1, shape).astype(np.float32) / np.float32(inputs**0.5)
        for shape, inputs in (((256, 784), 784), ((256,), 784), ((10, 256), 256), ((10,), 256))
    ]
    running: dict[str, Iterator[float]] = {"tinygrad_ce": our_epoch(x, y, [w.copy() for w in weights], 0)}
    running["NumPy by hand"] = numpy_epoch(x, y, [w.copy() for w in weights], 0)
    if importlib.util.find_spec("torch"):
        running["torch"] = torch_epoch(x, y, weights, 0, threads)
    if importlib.util.find_spec("sklearn"):
        running["scikit-learn"] = sklearn_epoch(x, y, weights, 0)

    losses = {name: [next(each), next(each)] for name, each in running.items()}  # warm, and alike
    ours, by_hand = losses["tinygrad_ce"], losses["NumPy by hand"]
    if not np.allclose(ours, by_hand, rtol=1e-3):
        raise SystemExit(f"fashion_mnist: from the same start the losses are {ours}, by hand {by_hand}")
    for name, found in losses.items():
        if not abs(found[-1] - by_hand[-1]) < 0.05:
            raise SystemExit(
                f"fashion_mnist: {name} has the loss {found[-1]:.4f} after two epochs, not {by_hand[-1]:.4f}"
            )

    times: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(rounds):
        for name, each in running.items():
            time.sleep(0.1)  # for the idle threads of whoever came before
            start = time.perf_counter()
            next(each)
            times[name].append(time.perf_counter() - start)
    lines = ["| contestant | seconds an epoch | tinygrad_ce's time as times this |", "|---|---|---|"]
    for name, found in times.items():
        ratios = [a / b for a, b in zip(times["tinygrad_ce"], found, strict=True)]
        spread = (
            "" if name == "tinygrad_ce" else f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        )
        lines.append(f"| {name} | {statistics.median(found):.3f} | {spread} |")
    print("\n".join(lines))
    return lines


def main() -> int:
    """Print what was asked for; with --write keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="accuracy|epoch", help="both if none is named")
    parser.add_argument("--seeds", type=int, default=5, help="models trained of each kind (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="threads for every library (default 1)")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each contestant (default 5)")
    parser.add_argument("--quick", action="store_true", help="one seed, and no times")
    parser.add_argument("--write", action="store_true", help="keep the tables in benchmarks/FASHION_MNIST.md")
    options = parser.parse_args()
    if not set(options.parts) <= {"accuracy", "epoch"}:
        parser.error(f"expected accuracy or epoch, found {' '.join(options.parts)}")
    set_threads(options.threads)
    from tinygrad_ce.data import fashion_mnist

    data = fashion_mnist()
    parts: dict[str, Callable[[], list[str]]] = {}
    reached = True

    def trained() -> list[str]:
        nonlocal reached
        tasks = [task for task in TASKS if task.aim is not None] if options.quick else TASKS
        lines, reached = accuracies(tasks, 1 if options.quick else options.seeds, data)
        return lines

    parts["accuracy"] = trained
    if not options.quick:
        parts["epoch"] = lambda: epochs(options.threads, options.rounds, data)
    heads = {
        "accuracy": f"Test accuracy at the end of training, batch {BATCH}, over {options.seeds} seeds.",
        "epoch": f"An epoch of 784-256-10 at batch {BATCH}, SGD, {options.threads} thread(s), {options.rounds} rounds.",
    }
    text = ["# Fashion-MNIST", "", "`python -m benchmarks.fashion_mnist --write` makes this file.", ""]
    for name, run in parts.items():
        if not options.parts or name in options.parts:
            text += [f"## {name.capitalize()}", "", heads[name], "", *run(), ""]
    packages = [
        name
        for name in ("numpy", "torch", "scikit-learn")
        if importlib.util.find_spec(name.replace("scikit-learn", "sklearn"))
    ]
    text.append(f"{datetime.date.today()}, {machine(*packages)}")
    if options.write:
        (HERE / "FASHION_MNIST.md").write_text("\n".join(text) + "\n")
    if not reached:
        print("fashion_mnist: an accuracy is below its aim", file=sys.stderr)
    return int(not reached)


if __name__ == "__main__":
    sys.exit(main())
