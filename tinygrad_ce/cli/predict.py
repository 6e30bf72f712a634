"""`tinygrad-ce predict`: the class of each row, by a model of `tinygrad-ce train`."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tinygrad_ce.cli import sources
from tinygrad_ce.cli.arguments import check_writable
from tinygrad_ce.cli.classifier import Classifier, add_model_and_data, running, written
from tinygrad_ce.cli.terminal import say
from tinygrad_ce.training import files, predict, predict_proba

NAME = "predict"
HELP = "say the class of each row of a file, by a trained model"
DESCRIPTION = f"""\
Say the class of each row, in the order of the rows, by a model that `tinygrad-ce train` wrote.

The data are a table with the columns that the model was trained on, in any order and beside any
others; or an NPZ file with the array inputs, x, X or x_train; or the test part of one of the
sets {", ".join(sources.SETS)}.
Targets are not looked at and may be missing: `tinygrad-ce eval` compares with them.

The output is CSV: the column "predicted", and with --proba one for each class.
"""

EPILOG = """\
examples:
  tinygrad-ce predict m.safetensors iris
  tinygrad-ce predict flowers.safetensors new.csv --proba --out predictions.csv
  tinygrad-ce predict m.safetensors digits | sort | uniq -c

exit status: 0 done, 2 wrong usage, or files that cannot be read or written
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_model_and_data(parser)
    parser.add_argument("--proba", action="store_true", help="add the probability of each class")
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="where to write (default: standard output)")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    check_writable("--out", arguments.out, ".csv")
    classifier = Classifier.load(arguments.model)
    x = classifier.inputs(arguments.data, arguments.download)
    with running(classifier, arguments.data):
        predicted = predict(classifier.model, x)
        probabilities = predict_proba(classifier.model, x)
    names = classifier.class_names(probabilities.shape[1])
    if arguments.proba:
        head, cells = ["predicted", *names], probabilities.astype(str).tolist()
    else:
        head, cells = ["predicted"], [[]] * len(predicted)
    rows = ([names[i], *row] for i, row in zip(predicted, cells, strict=True))
    if arguments.out is None:
        _write(sys.stdout, head, rows)
        return
    text = io.StringIO()
    _write(text, head, rows)
    with written("--out", arguments.out):
        files.write_whole("predict", arguments.out, text.getvalue().encode())
    say(f"Written to {arguments.out}: {len(predicted):,} rows")


def _write(to: Any, head: list[str], rows: Iterable[list[str]]) -> None:
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
