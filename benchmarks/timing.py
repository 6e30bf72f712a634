"""Ratios of times that can be trusted: contestants take turns in phases, in one run on one machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path


def set_threads(count: int) -> None:
    """Give every library this many threads. To be called before NumPy or torch is imported."""
    for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM"):
        os.environ[f"{library}_NUM_THREADS"] = str(count)


def alternate(
    contestants: Mapping[str, Callable[[], object]], *, rounds: int = 7, phase: float = 0.25, pause: float = 0.05
) -> dict[str, list[float]]:
    """Seconds per call of each contestant, one figure a round.

    In each round every contestant runs alone for a phase. A pause goes before it and its first quarter is dropped,
    because a library's idle threads may spin on for milliseconds and take a core from whoever comes next.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            time.sleep(pause)
            _run_for(call, phase / 4)
            seconds, calls = _run_for(call, phase)
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


def machine(*packages: str) -> str:
    """What the figures were measured on, in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {versions}"
