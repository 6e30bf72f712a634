"""Types of arguments that several commands take, and files to write that are checked before any work is done."""

from __future__ import annotations

import argparse
import math
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tinygrad_ce.cli.terminal import UsageError


def alternatives(choices: Sequence[str]) -> str:
    """`a, b or c`."""
    return ", ".join(choices[:-1]) + " or " * (len(choices) > 1) + choices[-1]


def one_of(*choices: str) -> Callable[[str], str]:
    """An argument type: one of these words."""

    def choice(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"expected {alternatives(choices)}, found {text!r}")
        return text

    return choice


def sizes(text: str) -> list[int]:
    """An argument type: the units of layers, such as 784-256-10."""
    if not re.fullmatch(r"[1-9][0-9]{0,8}(-[1-9][0-9]{0,8})+", text):
        raise argparse.ArgumentTypeError(f"expected whole numbers with hyphens, such as 784-256-10, found {text!r}")
    return [int(part) for part in text.split("-")]


def at_least(lowest: int) -> Callable[[str], int]:
    """An argument type: whole numbers from `lowest` on."""

    def whole_number(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if number < lowest:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {lowest}, found {text!r}")
        return number

    return whole_number


def positive(text: str) -> float:
    """An argument type: finite numbers above 0."""
    return _number(text, lambda x: 0 < x < math.inf, "a finite number above 0")


def from_zero(text: str) -> float:
    """An argument type: finite numbers from 0 on."""
    return _number(text, lambda x: 0 <= x < math.inf, "a finite number of at least 0")


def fraction(text: str) -> float:
    """An argument type: from 0 to below 1."""
    return _number(text, lambda x: 0 <= x < 1, "a number from 0 to below 1, such as 0.1")


def _number(text: str, valid: Callable[[float], bool], expected: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not valid(number):
        raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")
    return number


def check_writable(option: str, path: Path | None, *suffixes: str) -> None:
    """UsageError unless a file of this name, which ends in one of these, can be written."""
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"{option}: {path} is a folder; name a file in it")
    if path.suffix not in suffixes:
        raise UsageError(f"{option}: {path}: expected a name that ends in {alternatives(suffixes)}")
    if not path.parent.is_dir():
        raise UsageError(f"{option}: cannot write to {path}: there is no folder {path.parent}")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except (OSError, ValueError) as error:
        raise UsageError(f"{option}: cannot write to {path}: {getattr(error, 'strerror', None) or error}") from None
