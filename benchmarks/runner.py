"""Runs a group: one process for each number of threads and kind of kernels, one after the other."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.suite import GROUPS, OURS, PACKAGES, Options, Row, Size, installed
from benchmarks.timing import machine, thread_variables

ROOT = Path(__file__).parents[1]
PIP = {"sklearn": "scikit-learn"}  # what pip calls a package, where that is another name


class Failed(Exception):
    """A process ended with an error: contestants that disagree, mostly."""


@dataclass(frozen=True)
class Job:
    """What one process measures."""

    group: str
    options: Options

    def __str__(self) -> str:
        threads = self.options.threads
        return f"{self.group}, {threads} {'thread' if threads == 1 else 'threads'}, {self.options.kernels} kernels"


@dataclass(frozen=True)
class Result:
    """What was found for a group, with where and when."""

    rows: list[Row]
    machine: str
    date: str
    load: str
    missing: list[str]


def takes(group: str, size: Size) -> bool:
    """Whether a group has sizes of this kind: as many numbers."""
    return bool(GROUPS[group].sizes) and len(GROUPS[group].sizes[0]) == len(size)


def jobs(
    name: str, threads: Sequence[int], kernels: Sequence[str], peers: Sequence[str],
    sizes: Sequence[Size] | None = None, quick: bool = False,
) -> list[Job]:  # fmt: skip
    """The processes of a group; one that does not depend on threads or kernels runs once, with the first.

    If quick there is one process a group, and the groups take turns with the threads and the kernels.
    """
    group = GROUPS[name]
    chosen = group.quick if quick else group.sizes
    if sizes is not None:
        chosen = tuple(size for size in sizes if takes(name, size))
    able = tuple(peer for peer in peers if installed(PACKAGES[peer]))
    threads = threads if len(group.threads) > 1 else threads[:1]
    kernels = [each for each in kernels if installed(each)]
    kernels = kernels if len(group.kernels) > 1 else kernels[:1]
    turn = list(GROUPS).index(name)
    turns = (turn,) if quick else range(max(len(threads), len(kernels))) if group.paired else ()
    pairs = [(threads[i % len(threads)], kernels[i % len(kernels)]) for i in turns]
    pairs = pairs or [(count, each) for count in threads for each in kernels]
    return [Job(name, Options(chosen, count, each, able, quick)) for count, each in pairs]


def run(jobs: Sequence[Job], missing: list[str], console: Any) -> Result:
    """Measure, with a line that says how far it has come."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    rows: list[Row] = []
    with console.status("") as status:
        for i, job in enumerate(jobs, 1):
            start = time.monotonic()
            status.update(f"{job} ({i} of {len(jobs)})")
            for row in measured(job):
                rows.append(row)
                status.update(f"{job} ({i} of {len(jobs)}): {row.table}, {row.case}")
            console.print(f"{job}: {time.monotonic() - start:.0f} s")
    known = {"numba": "numba", **PACKAGES}
    packages = [PIP.get(name, name) for name in dict.fromkeys(known.values()) if installed(name)]
    versions = machine(OURS, *sorted(packages))
    return Result(rows, versions, str(datetime.date.today()), load, missing)


def measured(job: Job) -> Iterator[Row]:
    """The rows of a process as they come."""
    environment = {
        **os.environ, **thread_variables(job.options.threads), "TINYGRAD_CE_KERNELS": job.options.kernels,
    }  # fmt: skip
    asked = json.dumps({"group": job.group, "options": asdict(job.options)})
    with tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, "-m", "benchmarks.worker", asked]
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=said, text=True
        ) as process:
            try:
                for line in process.stdout or ():
                    yield Row(**json.loads(line))
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            said.seek(0)
            lines = said.read().strip().splitlines() or [f"exit status {process.returncode}"]
            raise Failed(f"{job}: {lines[-1]}")
