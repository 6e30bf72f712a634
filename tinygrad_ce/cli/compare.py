"""`tinygrad-ce compare`: the fused softmax cross-entropy against its other spellings, on any logits."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.cli.arguments import alternatives, at_least, check_writable, from_zero, one_of
from tinygrad_ce.cli.terminal import UsageError, one_line, say, sentences, show, warnings_in_a_line
from tinygrad_ce.compare import Comparison, Sweep, compare_gradients, sweep
from tinygrad_ce.compare.sweep import MARGINS, SCALES, with_margin

Array = NDArray[Any]

NAME = "compare"
HELP = "hold the fused loss and its other spellings against the truth"
DESCRIPTION = """\
Compute the softmax cross-entropy and its gradient in several ways on the same logits, and hold
each against the truth, computed in more digits: the fused op, log-softmax + NLL, the chain of
softmax, log and pick, two spellings that go wrong (clipped and naive), the formula p - y,
central differences, and torch if it is installed. For each: loss, errors (absolute, relative,
in ULP), elements lost to 0, nan or infinite, ops, bytes kept, time and memory, and a verdict.

The logits come from a file, from a preset, or from random numbers.
"""


@dataclass(frozen=True)
class Preset:
    """Logits known for the trouble they make."""

    what: str
    make: Callable[[np.random.Generator], tuple[Array, Array]]


def _overflow(rng: np.random.Generator) -> tuple[Array, Array]:
    return (rng.normal(size=(8, 5)) * 1000).astype(np.float32), np.arange(8) % 5


def _absorption(rng: np.random.Generator) -> tuple[Array, Array]:
    z = np.repeat(10.0 ** np.arange(4, 9), 2)[:, None] + rng.integers(-1, 1, (10, 4)) * 8
    return z.astype(np.float32), np.arange(10) % 4


def _masked(rng: np.random.Generator) -> tuple[Array, Array]:
    z = rng.normal(size=(8, 6)).astype(np.float32)
    z[:, 4:] = -np.inf
    return z, np.arange(8) % 4


def _confident(rng: np.random.Generator) -> tuple[Array, Array]:
    y = rng.integers(0, 10, 8)
    return with_margin(rng.normal(size=(8, 10)), y, 20).astype(np.float32), y


def _all_ignored(rng: np.random.Generator) -> tuple[Array, Array]:
    return rng.normal(size=(4, 5)).astype(np.float32), np.full(4, -100)


def _half(rng: np.random.Generator) -> tuple[Array, Array]:
    return rng.normal(size=(70_000, 2)).astype(np.float16), rng.integers(0, 2, 70_000)


PRESETS: Mapping[str, Preset] = {
    "overflow": Preset("logits of size 1000: exp overflows", _overflow),
    "absorption": Preset("logits near 1e4 to 1e8, some equal: log(2) vanishes beside them", _absorption),
    "masked": Preset("classes ruled out by -inf: log(0) and 0/0", _masked),
    "confident": Preset("margins of 20, right: p rounds to 1", _confident),
    "all-ignored": Preset("every target is ignore_index: nothing to average", _all_ignored),
    "half": Preset("70,000 rows in float16: their sum overflows float16", _half),
}

_LISTED = "\n".join(f"  {name:<13} {preset.what}" for name, preset in PRESETS.items())

EPILOG = f"""\
presets:
{_LISTED}

files:
  logits.npy    floating, (N, C) or any shape with the classes on the last axis
  targets.npy   class indices (N,), or probabilities of the shape of the logits

examples:
  tinygrad-ce compare                                    32 x 10 random logits
  tinygrad-ce compare --margin 25                        confident and right
  tinygrad-ce compare --preset overflow
  tinygrad-ce compare --logits z.npy --targets y.npy --json > report.json
  tinygrad-ce compare --sweep --plot sweep.png           where does each chain start to fail?

exit status: 0 the fused op, and log-softmax + NLL, agree with the truth; 1 one of them does not;
2 wrong usage or bad input
"""

DTYPES = ("float16", "float32", "float64")
RANDOM: Mapping[str, Any] = {"batch": 32, "classes": 10, "scale": 1.0, "margin": None, "dtype": "float32"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    files = parser.add_argument_group("logits from files")
    files.add_argument("--logits", type=Path, metavar="FILE.npy", help="of numpy.save")
    files.add_argument("--targets", type=Path, metavar="FILE.npy", help="of numpy.save")
    parser.add_argument_group("logits from a preset").add_argument(
        "--preset", type=one_of(*PRESETS), metavar="NAME", help="see below"
    )
    random = parser.add_argument_group("random logits")
    random.add_argument("--batch", type=at_least(1), metavar="N", help="rows (default: 32; 8 for --sweep)")
    random.add_argument("--classes", type=at_least(2), metavar="N", help="columns (default: 10)")
    random.add_argument("--scale", type=from_zero, metavar="X", help="their standard deviation (default: 1)")
    random.add_argument(
        "--margin", type=from_zero, metavar="X", help="raise each target's logit this far above the next (default: not)"
    )
    random.add_argument(
        "--dtype", type=one_of(*DTYPES), metavar="NAME", help="float16, float32 or float64 (default: float32)"
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="of the random numbers (default: %(default)s)"
    )
    parser.add_argument(
        "--sweep", type=one_of("margins", "scales"), nargs="?", const="margins", metavar="WHAT",
        help="run a range of margins (or `--sweep scales`) and tell from where on each chain fails",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the errors too; .png, .svg or .pdf")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; 0 if what should agree with the truth does, else 1."""
    _check_plot(arguments.plot)
    _check_sources(arguments)
    with warnings_in_a_line():
        found = _found(arguments)
    if isinstance(found, Sweep):
        failing = sorted({p.chain for p in found.points if p.fails and p.chain in ("fused", "log-softmax + NLL")})
    else:
        failing = [chain.name for chain in found.chains if chain.agrees and not chain.beyond <= 1]
    if arguments.json:
        print(json.dumps({**found.to_json(), "failing": failing}, indent=1, allow_nan=False))
    else:
        show(found)
        if isinstance(found, Comparison):
            say()
            sentences(*found.in_words())
        say()
        if failing:
            say(f"Not in agreement with the truth: {', '.join(failing)}", "bold red")
        else:
            say("The fused op and log-softmax + NLL agree with the truth.", "bold green")
    if arguments.plot is not None:
        _save_plot(found, arguments.plot, quiet=arguments.json)
    return 1 if failing else 0


def _found(arguments: argparse.Namespace) -> Comparison | Sweep:
    try:
        if arguments.sweep is not None:
            return _sweep(arguments)
        return compare_gradients(*_input(arguments))
    except MemoryError:
        raise UsageError("not enough memory; take fewer rows or classes") from None
    except (ValueError, TypeError, IndexError) as error:
        said = re.sub(r"write ignore_index=-?\d+", "write -100 in their place", one_line(error))
        raise UsageError(said) from None


def _sweep(arguments: argparse.Namespace) -> Sweep:
    values: dict[str, Any] = {"margins": MARGINS} if arguments.sweep == "margins" else {"scales": SCALES}
    return sweep(
        **values, dtypes=[arguments.dtype or RANDOM["dtype"]], rows=arguments.batch or 8,
        classes=arguments.classes or RANDOM["classes"], seed=arguments.seed,
    )  # fmt: skip


def _check_sources(arguments: argparse.Namespace) -> None:
    """One source of logits, and no option that it would leave unheeded."""
    given = [f"--{name}" for name in RANDOM if getattr(arguments, name) is not None]
    files = arguments.logits is not None or arguments.targets is not None
    if arguments.sweep is not None:
        given = [name for name in given if name in ("--scale", "--margin")]
        others = [*["--logits and --targets"] * files, *["--preset"] * (arguments.preset is not None), *given]
        if others:
            raise UsageError(f"--sweep makes its own logits: leave out {others[0]}")
        return
    if files and arguments.preset is not None:
        raise UsageError("give --logits and --targets, or --preset, not both")
    if files and (arguments.logits is None or arguments.targets is None):
        missing = "--targets" if arguments.targets is None else "--logits"
        raise UsageError(f"{missing} is missing: --logits and --targets go together")
    if given and (files or arguments.preset is not None):
        raise UsageError(f"{given[0]} is for random logits: leave it out with {'--logits' if files else '--preset'}")


def _input(arguments: argparse.Namespace) -> tuple[Array, Array]:
    rng = np.random.default_rng(arguments.seed)
    if arguments.logits is not None:
        return _logits_from(arguments.logits), _load("--targets", arguments.targets)
    if arguments.preset is not None:
        return PRESETS[arguments.preset].make(rng)
    chosen = {name: default if (x := getattr(arguments, name)) is None else x for name, default in RANDOM.items()}
    z = rng.normal(size=(chosen["batch"], chosen["classes"])) * chosen["scale"]
    y = rng.integers(0, chosen["classes"], chosen["batch"])
    z = z if chosen["margin"] is None else with_margin(z, y, chosen["margin"])
    with np.errstate(over="ignore"):
        z = z.astype(chosen["dtype"])
    if not np.isfinite(z).all():
        given = [f"--{name} {x:g}" for name in ("scale", "margin") if (x := getattr(arguments, name)) is not None]
        raise UsageError(f"{' and '.join(given)}: the logits overflow {chosen['dtype']}; take less")
    return z, y


def _logits_from(path: Path) -> Array:
    z = _load("--logits", path)
    if z.dtype.kind != "f" or z.dtype.itemsize > 8:
        raise UsageError(f"--logits: {path} holds {z.dtype}, expected {alternatives(DTYPES)}")
    z = z.astype(z.dtype.newbyteorder("="), copy=False)
    for kind, wrong in (("nan", np.isnan(z)), ("inf", np.isposinf(z))):
        if wrong.any():
            index = [int(i) for i in np.argwhere(wrong)[0]]
            raise UsageError(f"--logits: {path} holds {kind} at {index} ({int(wrong.sum())} in all)")
    return z


def _load(option: str, path: Path) -> Array:
    try:
        with path.open("rb") as file:
            if not file.read(6).startswith((np.lib.format.MAGIC_PREFIX, b"PK")):  # else numpy takes it for a pickle
                raise UsageError(f"{option}: {path} is no .npy file; write one with numpy.save")
            file.seek(0)
            found = np.load(file, allow_pickle=False)
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"{option}: cannot read {path}: {error.strerror or 'no .npy file of numpy.save'}") from None
    except Exception as error:  # damaged files raise what numpy, zipfile and zlib think fit
        raise UsageError(f"{option}: {path} cannot be read: {one_line(error)}") from None
    if not isinstance(found, np.ndarray):
        raise UsageError(f"{option}: {path} holds several arrays; save one with numpy.save")
    if found.dtype.kind not in "fiu":
        raise UsageError(f"{option}: {path} holds {found.dtype}, expected numbers")
    if found.dtype.kind == "f" and option == "--targets" and np.isnan(found).any():
        raise UsageError(f"{option}: {path} holds nan")
    return found


def _check_plot(path: Path | None) -> None:
    """Find out before any work is done whether the plot can be drawn and written."""
    if path is None:
        return
    check_writable("--plot", path, ".png", ".svg", ".pdf")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise UsageError('--plot needs matplotlib: pip install "tinygrad_ce[plot]"') from None


def _save_plot(found: Comparison | Sweep, path: Path, quiet: bool) -> None:
    try:
        found.plot().savefig(path, dpi=150)
    except OSError as error:
        raise UsageError(f"--plot: cannot write to {path}: {error.strerror or error}") from None
    if not quiet:
        say(f"Plot written to {path}")
