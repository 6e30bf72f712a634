"""Peak memory of loss and gradient: NumPy's arrays by tracemalloc, any library by the peak of a fresh process.

`python -m benchmarks.memory TABLE CONTESTANT N C` is such a process: it prints the bytes that one step needed.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.runner import ROOT
from benchmarks.suite import OURS, Options, Row, case

PROCESSES: dict[str, dict[str, Callable[[Any, Any], Callable[[], Any]]]] = {
    "the process": {
        OURS: peers.ours,
        "torch": peers.torch,
        "scikit-learn": lambda z, y: peers.scikit_learn(z, y, 1),
    },
    "the process, forward only": {OURS: peers.our_forward, "torch": peers.torch_forward},
}
COARSE = 2**21  # bytes: below it, pages and the allocator's own needs blur the peak of a process
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def measure(options: Options) -> Iterator[Row]:
    for n, classes in options.sizes:
        logits = n * classes * 4
        if options.kernels == "numpy":
            z, y = peers.problem((n, classes))
            numpy_based = tuple(name for name in options.peers if name not in ("torch", "scikit-learn"))
            steps = {OURS: peers.ours(z, y), **peers.rivals(numpy_based, z, y, options.threads)}
            peers.require_equal(steps, z, y)
            found = {name: [traced_peak(step) / logits] for name, step in steps.items()}
            yield Row("NumPy's arrays", case((n, classes)), found, "x logits")
            found = {OURS: [traced_peak(peers.our_forward(z, y)) / logits]}
            yield Row("NumPy's arrays, forward only", case((n, classes)), found, "x logits")
        if logits >= COARSE and RESET.exists():
            for table, contestants in list(PROCESSES.items())[: 1 if options.quick else None]:
                names = [name for name in contestants if name == OURS or name in options.peers]
                peaks = {name: [process_peak(table, name, n, classes) / logits] for name in names}
                yield Row(table, case((n, classes)), peaks, "x logits")


def traced_peak(call: Callable[[], Any]) -> int:
    """Bytes in use at the most during a call, beyond those before it; what the call leaves behind is counted."""
    call()  # caches and threads are made once
    call()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def process_peak(table: str, contestant: str, n: int, classes: int) -> int:
    """Bytes that one step adds to the peak of a fresh process."""
    # a fixed threshold: every array of 64 KiB or more is given back to the system as soon as it is freed
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**16), "MALLOC_TRIM_THRESHOLD_": str(2**16)}
    command = [sys.executable, "-m", "benchmarks.memory", table, contestant, str(n), str(classes)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{table}, {contestant}, {n} x {classes}: {done.stderr.strip()[-500:]}")
    return int(done.stdout)


def kilobytes(field: str) -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1])


def main(table: str, contestant: str, n: str, classes: str) -> None:
    """Print the bytes of memory that a step needs at its peak, which the kernel is told to forget before it."""
    z, y = peers.problem((int(n), int(classes)))
    make = PROCESSES[table][contestant]
    make(z[:64], y[:64])()  # modules, threads and compiled code are loaded once
    step = make(z, y)
    gc.collect()
    before = kilobytes("VmRSS")
    RESET.write_text("5")
    step()
    print(1024 * (kilobytes("VmHWM") - before))


if __name__ == "__main__":
    main(*sys.argv[1:])
