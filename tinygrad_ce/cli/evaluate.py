"""`tinygrad-ce eval`: how good a model is on rows with targets."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from tinygrad_ce import functional as F
from tinygrad_ce.cli import sources
from tinygrad_ce.cli.classifier import Classifier, add_model_and_data, running
from tinygrad_ce.cli.terminal import say, show
from tinygrad_ce.tensor import Tensor
from tinygrad_ce.training import (
    calibration,
    classification_report,
    confusion_matrix,
    evaluate,
    predict,
    predict_proba,
)

NAME = "eval"
HELP = "measure a trained model: accuracy, loss, each class, calibration"
DESCRIPTION = f"""\
Measure a model that `tinygrad-ce train` wrote on rows with targets: accuracy, loss (the mean
cross-entropy in nats), and precision, recall and F1 of each class.

The data are a table or an NPZ file such as it was trained on, with classes of the same names, or
the test part of one of the sets {", ".join(sources.SETS)}.
"""

EPILOG = """\
examples:
  tinygrad-ce eval m.safetensors digits --confusion
  tinygrad-ce eval flowers.safetensors test.csv --calibration

exit status: 0 done, 2 wrong usage, or files that cannot be read
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_model_and_data(parser)
    parser.add_argument("--target", metavar="COLUMN", help="the column of the classes, if it is called otherwise here")
    parser.add_argument("--confusion", action="store_true", help="show which class was taken for which")
    parser.add_argument("--calibration", action="store_true", help="show if it is right as often as it says")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    classifier = Classifier.load(arguments.model)
    dataset = classifier.labelled(arguments.data, arguments.target, arguments.download)
    model, targets = classifier.model, dataset.targets
    with running(classifier, arguments.data):
        probabilities = predict_proba(model, dataset.inputs)
        names = classifier.class_names(probabilities.shape[1], dataset)
        predicted = predict(model, dataset.inputs)
        loss = evaluate(model, dataset, metrics=(), loss=_loss)["loss"]
    right = int(np.count_nonzero(predicted == targets))
    say(f"accuracy: {right / len(targets):.1%} ({right:,} of {len(targets):,})", "bold green")
    say(f"loss: {loss:.4f}", "bold")
    say()
    show(classification_report(targets, predicted, names))
    if arguments.confusion:
        say()
        show(confusion_matrix(targets, predicted, names))
    if arguments.calibration:
        say()
        show(calibration(probabilities, targets))


def _loss(z: Tensor, y: Any) -> Tensor:
    """The cross-entropy, of what a model gives: scores, or what softmax or log-softmax made of them."""
    if z.meaning == "log-probabilities":
        return F.nll_loss(z, y)
    return F.nll_loss(z.log(), y) if z.meaning == "probabilities" else F.softmax_cross_entropy(z, y)
