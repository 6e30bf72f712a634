"""The data that the commands work on: a data set by its name, or a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tinygrad_ce.cli.terminal import UsageError
from tinygrad_ce.data import (
    ArrayDataset,
    blobs,
    digits,
    fashion_mnist,
    iris,
    mnist,
    read_csv,
    read_inputs,
    read_npz,
    spirals,
    two_moons,
    xor,
)  # fmt: skip
from tinygrad_ce.data.archives import read_npz_inputs
from tinygrad_ce.data.tables import CsvFile

Array = NDArray[Any]
Split = tuple[ArrayDataset, ArrayDataset]

SETS: Mapping[str, Callable[..., Split]] = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "mnist": mnist,
    "iris": iris,
    "moons": two_moons,
    "spirals": spirals,
    "blobs": blobs,
    "xor": xor,
}
IMAGES = ("digits", "fashion-mnist", "mnist")  # whose inputs have one scale already
DOWNLOADED = ("fashion-mnist", "mnist")
TABLES = (".csv", ".tsv", ".txt")
NPZ = ".npz"


def is_set(data: str) -> bool:
    """Whether it is a data set of the package; UsageError if it is no file of a known kind either."""
    if data in SETS:
        return True
    if Path(data).suffix.lower() not in (*TABLES, NPZ):
        raise UsageError(
            f"there are no data {data!r}; expected {', '.join(SETS)}, or a file that ends in {', '.join(TABLES)} "
            f"or {NPZ}"
        )
    return False


def is_table(data: str) -> bool:
    """Whether it is a file with columns."""
    return data not in SETS and Path(data).suffix.lower() in TABLES


def add_download(parser: Any) -> None:
    """Add the option that allows a download."""
    parser.add_argument(
        "--download", action="store_true", help=f"fetch {' or '.join(DOWNLOADED)} if they are not on this machine"
    )


def of_set(name: str, download: bool) -> Split:
    """A data set of the package: what to train on, and what to test with."""
    with _explained(name):
        return SETS[name](download=download) if name in DOWNLOADED else SETS[name]()


def of_file(
    path: str,
    target: str | None = None,
    features: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[ArrayDataset, str]:
    """The data set in a file, and the name of its target column, "" for an NPZ file, which has none."""
    with _explained(path):
        if is_table(path):
            if features is not None:
                _check_columns(path, features)
            known = [] if target is None else [target]
            column = CsvFile.open(path, "read_csv", *known, *(features or ())).target(target)
            return read_csv(path, column, features=features, classes=classes), column
        if target is not None:
            raise UsageError(f"--target is for tables with columns: leave it out with {path}")
        return read_npz(path), ""


def inputs_of_file(path: str, features: Sequence[str]) -> Array:
    """The inputs in a file, which need not hold targets; of a table these columns."""
    with _explained(path):
        if is_table(path):
            _check_columns(path, features)
            return read_inputs(path, features)
        return read_npz_inputs(path)


def lacking(missing: Sequence[str], features: Sequence[str], columns: Sequence[str]) -> str:
    """What is wrong with data that have not all columns that a model was trained on."""
    return (
        f"it lacks {_listed(missing)} of the {len(features)} columns that the model was trained on; "
        f"it has {_listed(columns)}"
    )


def _check_columns(path: str, features: Sequence[str]) -> None:
    """UsageError that names all columns which a table lacks."""
    table = CsvFile.open(path, "read_csv", *features)
    missing = [name for name in features if name not in table.columns]
    if missing:
        kind = "" if table.has_header else ", as its first line is not a header"
        raise UsageError(f"{path}: {lacking(missing, features, list(table.columns))}{kind}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


@contextmanager
def _explained(data: str) -> Iterator[None]:
    """Errors of the data in one line, in the words of the command line."""
    try:
        yield
    except MemoryError:
        raise UsageError(f"{data}: not enough memory") from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise UsageError(f"cannot read {error.filename or data}: {error.strerror}") from None
        raise UsageError(in_words(error)) from None


def in_words(error: BaseException) -> str:
    """The message of an error of the library on one line: without the function, with options for arguments."""
    head, *rest = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
    text = re.sub(r"^([a-z_]+: )+", "", " ".join([head, "; ".join(rest)]).strip())
    text = re.sub(r"write [a-z_]+\(download=True\)", "add --download", text)
    return re.sub(r"\btarget=", "--target ", text)
