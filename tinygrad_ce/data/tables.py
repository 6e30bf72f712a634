"""Tables in CSV files: numbers in columns, and a column of targets."""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.data.dataset import ArrayDataset

TARGET_NAMES = ("target", "label", "class", "species")
SEPARATORS = ("\t", ";", ",")
SHOWN = 10  # bad rows in an error


def read_csv(
    path: str | os.PathLike[str],
    target: str | None = None,
    *,
    features: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> ArrayDataset:
    """A CSV file as a data set: a column of targets, and numbers in all other columns.

    The file is UTF-8 text with a row on each line, separated by commas, semicolons or tabs, whichever its first row
    has most of; fields may be in double quotes, and empty lines are left out. The first line is a header if none of
    its cells is a number, if it has the target's name beside whole numbers, or if it just counts the columns
    (0, 1, 2, ...); without a header the columns are called "column 1", "column 2", ...

    The targets tell what they are. Text: class names, in alphabetical order. Whole numbers: class names too, in the
    order of their values. Other numbers: values to regress, float32, and `classes` is empty.

    Args:
        path: the file.
        target: the name of the target column; by default the one called "target", "label", "class" or "species" (in
            upper or lower case), else the last.
        features: the columns to read as inputs, in this order; by default all but the target. Give those of the
            training set when you read a test set.
        classes: the class names, in the order of their indices; by default those in the file. Give those of the
            training set when you read a test set. Empty, the targets are values to regress even if they are whole.

    Inputs are float32 of shape (N, D), class indices int64 of shape (N,).

    Raises:
        OSError: the file cannot be read.
        ValueError: no such column; a column of text among the inputs; or bad rows, with the line and what is wrong with
            each (of the first ten): fields missing or too many, empty, not a number, nan or infinite, no known class.

    >>> import pathlib, tempfile
    >>> import tinygrad_ce as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "pets.csv")
    ...     _ = path.write_text("weight,height,species\\n4.5,25,cat\\n30,60,dog\\n5,24,cat\\n")
    ...     pets = tg.data.read_csv(path)
    >>> pets
    ArrayDataset(3 rows: inputs float32 (3, 2), targets int64 (3,), 2 classes)
    >>> pets.features, pets.classes, pets.targets.tolist()
    (('weight', 'height'), ('cat', 'dog'), [0, 1, 0])
    """
    table = CsvFile.open(path, "read_csv", *([] if target is None else [target]), *(features or ()))
    column = table.target(target)
    if features is None:
        features = [name for name in table.columns if name != column]
    if not features:
        raise ValueError(
            f"read_csv: {path}: the only column is {column!r}, and there are none to learn from; "
            "separate columns by commas, semicolons or tabs"
        )
    inputs, cells = table.read(features, column)
    targets, names = table.targets(column, cells, classes)
    table.check()
    return ArrayDataset(inputs, targets, names, tuple(features))


def read_inputs(path: str | os.PathLike[str], features: Sequence[str]) -> NDArray[Any]:
    """These columns of a CSV file as float32 of shape (N, D), in this order: new data, with or without targets.

    Args:
        path: the file, in the form that `read_csv` takes.
        features: the names of the columns, as the training set has them in `features`; other columns are not looked at.

    Raises:
        OSError: the file cannot be read.
        ValueError: no such column, or bad rows, as in `read_csv`.

    >>> import pathlib, tempfile
    >>> import tinygrad_ce as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "new.csv")
    ...     _ = path.write_text("name,height,weight\\nTom,25,4.5\\nRex,60,30\\n")
    ...     tg.data.read_inputs(path, ["weight", "height"])
    array([[ 4.5, 25. ],
           [30. , 60. ]], dtype=float32)
    """
    table = CsvFile.open(path, "read_inputs", *features)
    inputs, _ = table.read(features, None)
    table.check()
    return inputs


@dataclass
class CsvFile:
    """A CSV file being read: its columns, its rows with the line each starts on, and what is wrong with them."""

    path: Path
    where: str
    columns: dict[str, int]  # the place of each in a row
    has_header: bool
    rows: Iterator[tuple[int, list[str]]]
    lines: list[int] = field(default_factory=list)  # of the rows that were good
    problems: list[tuple[int, str]] = field(default_factory=list)

    @staticmethod
    def open(path: str | os.PathLike[str], where: str, *known: str) -> CsvFile:
        """Find the separator and the header; `known` are names of columns, if there is a header."""
        path = Path(path)
        text = _decode(path, where)
        separator = max(SEPARATORS, key=lambda one: _fields(text, one))
        rows = _rows(text, separator, path, where)
        line, first = next(rows, (1, []))
        cells = [cell.strip() for cell in first]
        if not cells:
            raise ValueError(f"{where}: {path}: the file is empty; expected a header and rows of numbers")
        names = {*TARGET_NAMES, *(name.casefold() for name in known)}
        numbers = [number for cell in cells if (number := _number(cell)) is not None]
        named = not names.isdisjoint(cell.casefold() for cell in cells)
        header = (
            not numbers
            or (named and all(number.is_integer() for number in numbers))  # columns may be called by their number
            or cells == [str(i) for i in range(len(cells))]
        )
        if header:
            _check_header(f"{where}: {path}: line {line}: ", cells)
        else:
            cells = [f"column {i + 1}" for i in range(len(cells))]
            rows = chain([(line, first)], rows)
        return CsvFile(path, where, {name: i for i, name in enumerate(cells)}, header, rows)

    def target(self, name: str | None) -> str:
        """The name of the target column."""
        if name is not None:
            self._place(name)
            return name
        likely = [column for column in self.columns if column.casefold() in TARGET_NAMES]
        if len(likely) > 1:
            raise ValueError(
                f"{self.where}: {self.path}: the target may be any of {_list(likely)}; write target={likely[-1]!r}"
            )
        return likely[0] if likely else list(self.columns)[-1]

    def _place(self, name: str) -> int:
        if name not in self.columns:
            kind = "" if self.has_header else ", as its first line is not a header"
            known = _list(list(self.columns))
            raise ValueError(f"{self.where}: {self.path}: there is no column {name!r}; the columns are {known}{kind}")
        return self.columns[name]

    def read(self, features: Sequence[str], target: str | None) -> tuple[NDArray[Any], list[str]]:
        """The numbers of the feature columns, and the cells of the target column; bad rows are left out and noted."""
        places = [self._place(name) for name in features]
        goal = None if target is None else self._place(target)
        texts = dict.fromkeys(features, 0)  # how many cells of each column are no numbers
        examples: dict[str, str] = {}
        inputs, targets, total = [], [], 0
        with np.errstate(over="ignore"):
            for line, cells in self.rows:
                if len(cells) != len(self.columns):
                    self.problems.append((line, f"{len(cells)} fields, expected {len(self.columns)}"))
                    continue
                total += 1
                try:
                    numbers = np.array([float(cells[place]) for place in places], dtype=np.float32)
                except ValueError:
                    numbers = None
                if numbers is not None and np.isfinite(numbers).all():
                    inputs.append(numbers)
                    targets.append("" if goal is None else cells[goal].strip())
                    self.lines.append(line)
                    continue
                wrong = {name: cells[place].strip() for name, place in zip(features, places, strict=True)}
                self.problems.append(
                    (line, ", ".join(_wrong(name, cell) for name, cell in wrong.items() if _bad(cell)))
                )
                for name, cell in wrong.items():
                    if _number(cell) is None:
                        texts[name] += 1
                        examples.setdefault(name, cell)
        if total == 0 and not self.problems:
            raise ValueError(f"{self.where}: {self.path}: there are no rows but the header; give each example a line")
        columns = [name for name, count in texts.items() if total and count == total and examples[name]]
        if columns:
            found = ", ".join(f"{name!r} (such as {examples[name]!r})" for name in columns)
            raise ValueError(
                f"{self.where}: {self.path}: text in the columns {found}; inputs must be numbers. Leave these columns "
                "out, or put a column of 0 and 1 for each of their values; a target is named by target="
            )
        return np.array(inputs, dtype=np.float32).reshape(len(inputs), len(places)), targets

    def targets(
        self, name: str, cells: Sequence[str], classes: Sequence[str] | None
    ) -> tuple[NDArray[Any], tuple[str, ...]]:
        """The target of each row, and the class names; `classes` empty asks for values, None for what there is."""
        numbers = [_number(cell) for cell in cells]
        whole = all(number is not None and number.is_integer() for number in numbers)
        if (not whole and None not in numbers) if classes is None else not classes:
            self.problems += [(line, _wrong(name, cell)) for line, cell in self._with_lines(cells) if _bad(cell)]
            return np.array([number or 0 for number in numbers], dtype=np.float32), ()
        if whole:  # 3, 3.0 and 03 are one class
            cells = [str(int(number or 0)) for number in numbers]
        names = tuple(classes or (sorted(set(cells), key=float) if whole else sorted(set(cells))))
        index = {each: i for i, each in enumerate(names)}
        for line, cell in self._with_lines(cells):
            if cell == "" or not math.isfinite(_number(cell) or 0):
                self.problems.append((line, _wrong(name, cell)))
            elif cell not in index:
                self.problems.append((line, f"{name!r} is {cell!r}, which is none of the classes {_list(names)}"))
        return np.array([index.get(cell, -1) for cell in cells], dtype=np.int64), names

    def _with_lines(self, cells: Sequence[str]) -> Iterator[tuple[int, str]]:
        return zip(self.lines, cells, strict=True)

    def check(self) -> None:
        """ValueError if there were bad rows."""
        if not self.problems:
            return
        count = len(self.problems)
        shown = [f"line {line}: {what}" for line, what in sorted(self.problems)[:SHOWN]]
        rest = [f"and {count - SHOWN} more"] if count > SHOWN else []
        head = f"{count} bad rows; mend them or take them out" if count > 1 else "1 bad row; mend it or take it out"
        raise ValueError("\n  ".join([f"{self.where}: {self.path}: {head}:", *shown, *rest]))


def _check_header(where: str, names: Sequence[str]) -> None:
    if "" in names:
        raise ValueError(
            f"{where}column {names.index('') + 1} of the header has no name; "
            "a column that only counts the rows must be left out (in pandas: to_csv(path, index=False))"
        )
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"{where}the header has {_list(twice)} more than once; give each column a name of its own")


def _decode(path: Path, where: str) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{where}: {path}: line {line} is not UTF-8 text (byte 0x{data[error.start]:02x}); "
            "save the file as UTF-8 CSV"
        ) from None


def _rows(text: str, separator: str, path: Path, where: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the line it starts on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    line = 1
    try:
        for cells in reader:
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{where}: {path}: line {line} is no row of a CSV file: {error}; look at its quotes") from None


def _fields(text: str, separator: str) -> int:
    """The number of cells in the first row, if this is the separator."""
    try:
        return len(next(_rows(text, separator, Path(), ""), (1, []))[1])
    except ValueError:
        return 0


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _bad(cell: str) -> bool:
    number = _number(cell)
    return number is None or not abs(number) <= np.finfo(np.float32).max


def _wrong(name: str, cell: str) -> str:
    number = _number(cell)
    if cell == "":
        return f"{name!r} is empty"
    if number is None:
        return f"{name!r} is {cell!r:.40}, not a number"
    return f"{name!r} is {cell}, " + ("too large for float32" if math.isfinite(number) else "not a finite number")


def _list(names: Sequence[str]) -> str:
    """At most twelve names, each in quotes."""
    shown = ", ".join(map(repr, names[:12]))
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")
