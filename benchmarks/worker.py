"""The process in which one group is measured: told in JSON what to do, it prints each row as a line of JSON."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from dataclasses import asdict, replace

from benchmarks.suite import GROUPS, Options


def main(argument: str) -> None:
    """Measure what the argument asks for."""
    asked = json.loads(argument)
    options = Options.from_json(asked["options"])
    if "torch" in options.peers:
        import torch

        torch.set_num_threads(options.threads)
    lines = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # what a library has to say is no row
        for row in importlib.import_module(GROUPS[asked["group"]].module).measure(options):
            values = {name: [float(f"{x:.4g}") for x in values] for name, values in row.values.items()}
            found = replace(row, values=values, threads=options.threads, kernels=options.kernels)
            print(json.dumps(asdict(found)), file=lines, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
