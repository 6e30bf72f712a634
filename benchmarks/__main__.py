"""The benchmark suite: this library beside its peers, on this machine.

Contestants are checked to agree, then take turns in phases; what counts is the ratio of their times within one run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from benchmarks import report, runner
from benchmarks.suite import GROUPS, KERNELS, PACKAGES, PEERS, Size, case, installed

EXAMPLES = """\
examples:
  python -m benchmarks --write                 everything, kept in benchmarks/RESULTS.md (about a quarter of an hour)
  python -m benchmarks --quick --out results   everything at small sizes, to see that it works; kept in a folder
  python -m benchmarks loss --sizes 64x10,512x100 --threads 1 --kernels numpy --peers torch
"""
T = TypeVar("T")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and keep what was found if asked to; returns the exit status."""
    options = arguments(argv)
    if options.list:
        for name, group in GROUPS.items():
            print(f"{name:10}{group.title}" + f": {', '.join(case(size, 'x') for size in group.sizes)}".rstrip(": "))
        return 0
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    missing = [name for name in options.peers if not installed(PACKAGES[name])]
    missing += [f"the {name} kernels" for name in options.kernels if not installed(name)]
    if missing:
        console.print(f"Not installed and left out: {', '.join(missing)}.")
    try:
        measure(options, missing, console)
    except runner.Failed as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        return 130
    return 0


def measure(options: argparse.Namespace, missing: list[str], console: Any) -> None:
    """Group after group; each is printed and kept as soon as it is there."""
    kept = report.load(options.out) if options.out else {}
    results = {}
    for name in options.groups:
        jobs = runner.jobs(name, options.threads, options.kernels, options.peers, options.sizes, options.quick)
        results[name] = runner.run(jobs, missing, console)
        for title, table in report.tables(results[name]):
            console.print(f"\n{GROUPS[name].title}: {title}", style="bold")
            console.print(table.rich() if console.is_terminal else str(table))
        console.print()
        if options.out:
            report.write(options.out, {**kept, **results})
    console.print("Where we are slower, or need more memory", style="bold")
    console.print("\n".join(report.losses(results)) or "Nowhere.", markup=False)
    if options.out:
        console.print(f"\nKept in {options.out / report.PAGE}")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, read and checked; what is wrong is told in one line, with exit status 2."""
    parser = _Parser(prog="python -m benchmarks", description=__doc__, epilog=EXAMPLES,
                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add = parser.add_argument
    add("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all if none is named")
    add("--list", action="store_true", help="name the groups and their sizes, and measure nothing")
    add("--sizes", type=listed(size), help="in place of the groups' own, such as 256x1000,32x64x32x10: each group "
        "takes those with as many numbers as it has")  # fmt: skip
    add("--threads", type=listed(threads), default=[1, 2], help="for every library (default 1,2)")
    add("--kernels", type=listed(one_of(KERNELS)), default=list(KERNELS), help=f"default {','.join(KERNELS)}")
    add("--peers", type=listed(one_of(PEERS)), default=list(PEERS), help=f"default '{','.join(PEERS)}'")
    add("--quick", action="store_true", help="small sizes for milliseconds: the figures mean nothing")
    add("--out", type=Path, metavar="DIR", help="keep page, plots and figures in a folder, beside what is there")
    add("--write", action="store_true", help="keep them in benchmarks/; takes whole groups only")
    options = parser.parse_args(argv)
    unknown = [name for name in options.groups if name not in GROUPS]
    if unknown:
        parser.error(f"expected groups of {', '.join(GROUPS)}, found {unknown[0]!r}")
    options.groups = [name for name in GROUPS if name in options.groups or not options.groups]
    partial = [name for name in ("sizes", "threads", "kernels", "peers", "quick", "out")
               if getattr(options, name) != parser.get_default(name)]  # fmt: skip
    if options.write and partial:
        parser.error(f"--write keeps whole groups in benchmarks/, without --{partial[0]}; use --out DIR instead")
    if not any(map(installed, options.kernels)):
        parser.error('--kernels numba: numba is not installed; pip install "tinygrad_ce[fast]"')
    for one in options.sizes or ():
        if not any(runner.takes(name, one) for name in options.groups):
            parser.error(f"--sizes: no chosen group takes {case(one, 'x')}; --list shows what they take")
    if options.sizes is not None:
        options.groups = [name for name in options.groups if any(runner.takes(name, one) for one in options.sizes)]
    if options.out and options.out.exists() and not options.out.is_dir():
        parser.error(f"--out: {options.out} is a file, expected a folder")
    if options.write:
        options.out = Path(__file__).parent
    return options


def listed(read: Callable[[str], T]) -> Callable[[str], list[T]]:
    """A type for argparse: values between commas, each once."""

    def read_all(text: str) -> list[T]:
        return list(dict.fromkeys(read(part.strip()) for part in text.split(",")))

    return read_all


def one_of(names: Sequence[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(names)}, found {text!r}")
        return text

    return read


def threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected whole numbers of at least 1, found {text!r}")
    return int(text)


def size(text: str) -> Size:
    parts = text.split("x")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"expected sizes such as 256x1000, found {text!r}")
    return tuple(map(int, parts))


if __name__ == "__main__":
    sys.exit(main())
