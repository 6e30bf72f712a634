"""The command line, `tinygrad-ce`. A command is a module: `add_arguments` declares its arguments, `run` runs it."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from tinygrad_ce import __version__
from tinygrad_ce.cli import compare, draw, evaluate, ops, predict, quickstart, train
from tinygrad_ce.cli.terminal import UsageError

__all__ = ["main"]

COMMANDS = (quickstart, train, predict, evaluate, compare, draw, ops)

EPILOG = """\
examples:
  tinygrad-ce quickstart                  see it all: train, compare, draw (a few seconds)
  tinygrad-ce train --data digits         a network for a data set, a CSV or an NPZ file
  tinygrad-ce predict m.safetensors x.csv the classes of new rows, by a trained network
  tinygrad-ce compare --preset confident  the loss in several spellings, against the truth
  tinygrad-ce draw --model 64-32-10       the ops of a network, with gradients and bytes
  tinygrad-ce draw train.py:loss          what a script computes
  tinygrad-ce ops                         what can be differentiated
  tinygrad-ce ops softmax_cross_entropy   one op: formula, derivation, example

`tinygrad-ce COMMAND --help` tells more; `python -m tinygrad_ce` is the same program.
In a terminal the output has colours; in a pipe or a file it is plain text.

exit status: 0 done, 1 `compare` found what should agree in disagreement or `train` a loss of nan,
2 wrong usage or files that cannot be read or written, 130 interrupted (Ctrl-C), 141 the reader of a
pipe stopped reading
"""


class _Parser(argparse.ArgumentParser):
    """One that refuses in one line, and knows what was meant."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message.removeprefix('argument ')}; see {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what is unknown here: a command would leave it to the parser above, which has none of its options."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = difflib.get_close_matches(unknown[0].partition("=")[0], self._option_string_actions)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return found, unknown


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with these arguments, by default the program's own; returns the exit status.

    >>> main(["ops", "no_such_op"])
    2
    """
    try:
        arguments = _parser().parse_args(argv)
        if arguments.command is None:
            _parser().print_help(sys.stderr)
            return 2
        if sys.stdout is None:
            raise UsageError("standard output is closed; give it somewhere to go")
        status: int = arguments.run(arguments) or 0
        sys.stdout.flush()
    except UsageError as error:
        print(f"tinygrad-ce: {error}", file=sys.stderr)
        return 2
    except MemoryError:
        print("tinygrad-ce: not enough memory", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tinygrad-ce: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough, and the command did not finish
        _discard_output()
        return 141
    except UnicodeEncodeError as error:
        said = f"{error.encoding} has no {error.object[error.start]!r}; set PYTHONIOENCODING=utf-8"
        print(f"tinygrad-ce: cannot write the output: {said}", file=sys.stderr)
        return 2
    except OSError as error:
        _discard_output()
        print(f"tinygrad-ce: cannot write the output: {error.strerror}", file=sys.stderr)
        return 2
    return status


def _discard_output() -> None:
    """Send what is left to nowhere, or the interpreter's last flush fails too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> _Parser:
    parser = _Parser(
        prog="tinygrad-ce",
        description="Reverse-mode automatic differentiation on NumPy, with an exact softmax cross-entropy.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"tinygrad-ce {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command")
    for command in COMMANDS:
        its = commands.add_parser(
            command.NAME, help=command.HELP, description=command.DESCRIPTION, epilog=command.EPILOG
        )
        its.set_defaults(run=command.run)
        command.add_arguments(its)
    return parser
