"""The last linear layer and the loss in one op, beside torch's chunked op and beside whole logits.

    python -m benchmarks.linear_cross_entropy [--threads 1] [--kernels numpy] [--quick]

Loss and the gradients of features, weight and bias, float32: time, and how much more memory than before a call is in
use at its peak, of a fresh process each. The contestants are checked to agree before anything is timed. NumPy is
imported in the functions, after `set_threads`.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.suite import GROUPS, KERNELS, OURS, PEERS, Options, Row, case, installed
from benchmarks.timing import machine, ratio, set_threads

WHOLE = "linear, softmax_cross_entropy"
TORCH_WHOLE = "torch, whole logits"
Step = Callable[[], list[Any]]


def problem(n: int, features: int, classes: int) -> list[Any]:
    """x, weight and bias, such that a logit is about as large as the bias, and targets."""
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, features), dtype=np.float32)
    weight = rng.standard_normal((classes, features), dtype=np.float32) / np.float32(features**0.5)
    return [x, weight, rng.standard_normal(classes, dtype=np.float32), rng.integers(0, classes, n)]


def ours(x: Any, weight: Any, bias: Any, targets: Any, whole: bool = False) -> Step:
    """The loss and its three gradients by this library; `whole` makes the logits whole."""
    import tinygrad_ce as tg
    from tinygrad_ce import functional as F

    leaves = [tg.Tensor(a, requires_grad=True) for a in (x, weight, bias)]

    def step() -> list[Any]:
        z, w, b = leaves
        if whole:
            loss = F.softmax_cross_entropy(F.linear(z, w, b), targets)
        else:
            loss = F.linear_softmax_cross_entropy(z, w, targets, b)
        loss.backward()
        gradients = [leaf.grad.data for leaf in leaves if leaf.grad is not None]
        for leaf in leaves:
            leaf.grad = None
        return [loss.data, *gradients]

    return step


def torch(x: Any, weight: Any, bias: Any, targets: Any, whole: bool = False) -> Step:
    """The same by torch: in chunks of the size that it picks itself, or with whole logits."""
    import torch as framework

    framework.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    leaves = [framework.from_numpy(a).requires_grad_() for a in (x, weight, bias)]
    y = framework.from_numpy(targets)
    chunking = None if whole else framework.nn.LinearCrossEntropyOptions()

    def step() -> list[Any]:
        for leaf in leaves:
            leaf.grad = None
        z, w, b = leaves
        loss = framework.nn.functional.linear_cross_entropy(z, w, y, linear_bias=b, options=chunking)
        loss.backward()
        found = [loss.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves if leaf.grad is not None)]
        for leaf in leaves:
            leaf.grad = None
        return found

    return step


MAKERS: dict[str, Callable[..., Step]] = {
    OURS: ours,
    WHOLE: lambda *arrays: ours(*arrays, whole=True),
    "torch": torch,
    TORCH_WHOLE: lambda *arrays: torch(*arrays, whole=True),
}


def measure(options: Options) -> Iterator[Row]:
    """Two rows for each size N x D x V: time, and memory at its peak where the system tells it."""
    from benchmarks.memory import RESET

    names = [name for name in MAKERS if "torch" in options.peers or "torch" not in name]
    for size in options.sizes:
        arrays = problem(*size)
        steps = {name: MAKERS[name](*arrays) for name in names}
        require_equal(steps)
        yield Row("time", case(size), options.times(steps, 3), "s")
        if RESET.exists():
            yield Row("memory", case(size), {name: [process_peak(name, size)] for name in names}, "B")


def require_equal(steps: dict[str, Step]) -> None:
    """Loss and gradients agree with ours of whole logits, but for rounding: relative to the largest entry."""
    import numpy as np

    expected = steps[WHOLE]()
    for name, step in steps.items():
        for what, found, truth in zip(("loss", "dx", "dweight", "dbias"), step(), expected, strict=True):
            error = np.abs(found - truth).max() / np.abs(truth).max()
            if not error < 1e-5:
                raise SystemExit(f"{name}: {what} differs from that of whole logits by {error:.1e}")


def traced(size: tuple[int, ...]) -> int:
    """Bytes that NumPy has in use at the most for our op, beyond the inputs; without what kernels keep."""
    from benchmarks.memory import traced_peak

    return traced_peak(ours(*problem(*size)))


def process_peak(name: str, size: tuple[int, ...]) -> int:
    """Bytes that one step adds to the peak of a fresh process that has its inputs."""
    from benchmarks.memory import ROOT

    # a fixed threshold: every array of 64 KiB or more is given back to the system as soon as it is freed
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**16), "MALLOC_TRIM_THRESHOLD_": str(2**16)}
    command = [sys.executable, "-m", "benchmarks.linear_cross_entropy", "--peak", name, *map(str, size)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}, {case(size)}: {done.stderr.strip()[-500:]}")
    return int(done.stdout)


def print_peak(name: str, *size: str) -> None:
    """In that process: print the bytes that a step needs at its peak, which the system is told to forget before it."""
    from benchmarks.memory import RESET, kilobytes

    x, weight, bias, targets = problem(*map(int, size))
    few = min(64, len(weight))
    MAKERS[name](x[:64], weight[:few], bias[:few], targets[:64] % few)()  # modules, threads and code are loaded once
    step = MAKERS[name](x, weight, bias, targets)
    gc.collect()
    before = kilobytes("VmRSS")
    RESET.write_text("5")
    step()
    print(1024 * (kilobytes("VmHWM") - before))


def main(argv: list[str] | None = None) -> None:
    """Print the tables of one number of threads and one kind of kernels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads for every library (default 1)")
    parser.add_argument("--kernels", choices=KERNELS, default=KERNELS[0], help="of this library (default numpy)")
    parser.add_argument("--quick", action="store_true", help="a small size for milliseconds: the figures mean nothing")
    parser.add_argument("--peak", nargs=4, metavar=("NAME", "N", "D", "V"), help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.peak:
        print_peak(*given.peak)
        return
    set_threads(given.threads)
    os.environ["TINYGRAD_CE_KERNELS"] = given.kernels
    group = GROUPS["linear"]
    peers = tuple(name for name in PEERS if installed(name))
    options = Options(group.quick if given.quick else group.sizes, given.threads, given.kernels, peers, given.quick)
    packages = [name for name in ("numpy", "numba", "torch") if installed(name)]
    print(f"{machine(*packages)}; {given.threads} thread(s), {given.kernels} kernels")
    for row in measure(options):
        print(f"\n{row.case}: {row.table}", flush=True)
        for name, values in row.values.items():
            median, low, high = ratio(row.values, name, OURS)
            figure = f"{sorted(values)[len(values) // 2]:8.4f} s" if row.unit == "s" else f"{values[0] / 1e6:8.1f} MB"
            print(f"  {name:30} {figure}  {median:.2f} ({low:.2f}-{high:.2f}) times ours")
    size = options.sizes[-1]
    print(f"\n{case(size)}: NumPy's arrays at the peak of our op, by tracemalloc: {traced(size) / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
