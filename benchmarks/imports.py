"""Import time of this package beside NumPy alone: whole processes, and the statement inside them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping

from benchmarks.runner import ROOT
from benchmarks.suite import OURS, Options, Row


def measure(options: Options) -> Iterator[Row]:
    processes: dict[str, list[float]] = {OURS: [], "numpy": []}
    statements: dict[str, list[float]] = {OURS: [], "numpy": []}
    with tempfile.TemporaryDirectory() as cache:  # compiled modules are kept, whatever the user's settings say
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        for i in range(2 if options.quick else 21):
            for name in processes:
                whole, inside = import_time(name, environment)
                if i:  # the first writes and warms the caches
                    processes[name].append(whole)
                    statements[name].append(inside)
    yield Row("import", "whole process", processes)
    yield Row("import", "the statement", statements)


def import_time(package: str, environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds of a process that imports a package and ends, and of the import in it."""
    code = f"import time; start = time.perf_counter(); import {package}; print(time.perf_counter() - start)"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"import {package}: {done.stderr.strip()[-500:]}")
    return seconds, float(done.stdout)
