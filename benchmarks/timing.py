"""Ratios of times that can be trusted: contestants take turns in phases, in one run on one machine."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path


def thread_variables(count: int) -> dict[str, str]:
    """The environment that gives every library this many threads, if it is there before the library is loaded."""
    libraries = ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMBA", "TINYGRAD_CE")
    return {f"{library}_NUM_THREADS": str(count) for library in libraries}


def set_threads(count: int) -> None:
    """Give every library this many threads. To be called before NumPy or torch is imported."""
    os.environ.update(thread_variables(count))


def alternate(
    contestants: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 7,
    phase: float = 0.25,
    pause: float = 0.05,
    limit: float = math.inf,
) -> dict[str, list[float]]:
    """Seconds per call of each contestant, one figure a round; after `limit` seconds three rounds are enough.

    In each round every contestant runs alone for a phase. A pause goes before it and its first fifth is dropped,
    because a library's idle threads may spin on for milliseconds and take a core from whoever comes next. One whose
    single call outlasts a phase drops its start in the first round only: there milliseconds are nothing.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    start = time.perf_counter()
    for i in range(rounds):
        if i >= 3 and time.perf_counter() - start > limit:
            break
        for name, call in contestants.items():
            time.sleep(pause)
            if not times[name] or times[name][-1] < phase:
                _run_for(call, phase / 5)
            seconds, calls = _run_for(call, phase * 4 / 5)
            times[name].append(seconds / calls)
    return times


def _run_for(call: Callable[[], object], seconds: float) -> tuple[float, int]:
    calls, batch = 0, 1
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for _ in range(batch):
            call()
        calls += batch
        batch = max(1, calls // 20)
    return elapsed, calls


def ratio(times: Mapping[str, list[float]], name: str, base: str) -> tuple[float, float, float]:
    """Median, smallest and largest of the ratios of the rounds."""
    ratios = sorted(a / b for a, b in zip(times[name], times[base], strict=True))
    return statistics.median(ratios), ratios[0], ratios[-1]


def exponent(points: Iterable[tuple[float, float]]) -> float | None:
    """The slope of log y over log x by least squares: y grows like x to the power of it. None for fewer than two x."""
    logs = [(math.log(x), math.log(y)) for x, y in points]
    if len({x for x, _ in logs}) < 2:
        return None
    return statistics.linear_regression(*zip(*logs, strict=True)).slope


def machine(*packages: str) -> str:
    """What the figures were measured on, in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {versions}"
