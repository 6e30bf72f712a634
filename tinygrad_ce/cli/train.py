"""`tinygrad-ce train`: a multi-layer perceptron on a data set or a file, saved with all that `predict` needs."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import numpy as np

from tinygrad_ce.cli import sources
from tinygrad_ce.cli.arguments import at_least, check_writable, fraction, from_zero, one_of, positive, sizes
from tinygrad_ce.cli.classifier import Classifier, Form, few
from tinygrad_ce.cli.recipe import (
    ACTIVATIONS,
    HIDDEN,
    MOMENTUM,
    OPTIMIZERS,
    SCHEDULES,
    Parts,
    State,
    dashed,
    data_of,
    network,
    optimizer_of,
    widths_of,
)
from tinygrad_ce.cli.sources import in_words
from tinygrad_ce.cli.terminal import UsageError, say, show
from tinygrad_ce.data import DataLoader
from tinygrad_ce.functional import softmax_cross_entropy
from tinygrad_ce.nn import Module
from tinygrad_ce.training import (
    Callback,
    EarlyStopping,
    History,
    NonFiniteLoss,
    classification_report,
    fit,
    predict,
)

MANY = 10_000  # rows, from which on batches are larger and epochs fewer

NAME = "train"
HELP = "train a network on a data set, a CSV or an NPZ file"
DESCRIPTION = f"""\
Train a multi-layer perceptron that tells classes, test it on rows it has not seen, and write it
to a file with everything that `predict` and `eval` need: scale and names of the columns, classes.

The data are one of the sets {", ".join(sources.SETS)},
or a file:

  .csv, .tsv, .txt  a line for each row: numbers, and a column of targets, which is the one
                    called target, label, class or species, or else the last. Its texts or
                    whole numbers are the classes. Columns are brought to mean 0 and scale 1
  .npz              of numpy.savez: inputs (N, ...), targets (N,), and classes if they have names

Of a file a part is kept for the test; the sets have a test part of their own.
"""

EPILOG = """\
schedules of the learning rate:
  none       it stays (default)
  cosine     half a cosine down to 0
  one-cycle  up to --lr and down again, the momentum against it
  warm-up    a line up to --lr in the first tenth of the steps, then a cosine
  step       a tenth of it after each third of the steps
  plateau    a tenth of it when the validation loss has not fallen for more than 3 epochs

examples:
  tinygrad-ce train --data iris --out m.safetensors
  tinygrad-ce train --data digits --model 64-32-10 --optimizer sgd --epochs 40
  tinygrad-ce train --data flowers.csv --target species --patience 5 --out flowers.safetensors
  tinygrad-ce train --data fashion-mnist --dropout 0.2 --schedule one-cycle \\
    --checkpoint run.safetensors --out m.safetensors    later on: the same, and --resume

The same options and --seed give the same model. Ctrl-C ends the training and keeps what there is.

exit status: 0 done, 1 the loss became nan or infinite, 2 wrong usage, or files that cannot be read
or written, 130 interrupted (Ctrl-C)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--data", required=True, metavar="DATA", help="a set's name, or a file")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the model; ends in .safetensors")
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="of all random numbers (default: %(default)s)"
    )
    data = parser.add_argument_group("data")
    data.add_argument("--target", metavar="COLUMN", help="the column of the classes in a table")
    data.add_argument("--test", type=fraction, metavar="FRACTION",
                      help="part of a file's rows to test with in the end (default: 0.2)")  # fmt: skip
    data.add_argument("--valid", type=fraction, default=0.1, metavar="FRACTION",
                      help="part of the other rows to watch the training by (default: %(default)s)")  # fmt: skip
    sources.add_download(data)
    network = parser.add_argument_group("network")
    network.add_argument("--model", type=sizes, metavar="SIZES",
                         help=f"units of its layers, such as 64-32-10 (default: {HIDDEN} hidden ones)")  # fmt: skip
    network.add_argument("--activation", type=one_of(*ACTIVATIONS), default="relu", metavar="NAME",
                         help=f"{', '.join(ACTIVATIONS)} (default: %(default)s)")  # fmt: skip
    network.add_argument("--dropout", type=fraction, default=0.0, metavar="P",
                         help="probability of dropping a hidden unit in training (default: 0)")  # fmt: skip
    network.add_argument("--norm", type=one_of("none", "batch", "layer"), default="none", metavar="NAME",
                         help="none, batch or layer, after each hidden layer (default: %(default)s)")  # fmt: skip
    learning = parser.add_argument_group("learning")
    learning.add_argument("--epochs", type=at_least(1), metavar="N",
                          help=f"times through the data (default: 30; 10 from {MANY:,} rows on)")  # fmt: skip
    learning.add_argument("--batch", type=at_least(1), metavar="N",
                          help=f"rows in a step (default: 32; 128 from {MANY:,} rows on)")  # fmt: skip
    learning.add_argument("--optimizer", type=one_of(*OPTIMIZERS), default="adam", metavar="NAME",
                          help=f"{', '.join(OPTIMIZERS)} (default: %(default)s)")  # fmt: skip
    rates = ", ".join(f"{name} {lr:g}" for name, (_, lr) in OPTIMIZERS.items())
    learning.add_argument("--lr", type=positive, metavar="X", help=f"learning rate (default: {rates})")
    learning.add_argument("--momentum", type=fraction, metavar="X", help="of sgd (default: 0.9) and rmsprop (0)")
    learning.add_argument("--weight-decay", type=from_zero, metavar="X", help="(default: 0; adamw 0.01)")
    learning.add_argument("--schedule", type=one_of(*SCHEDULES), default="none", metavar="NAME", help="see below")
    learning.add_argument(
        "--patience", type=at_least(1), metavar="N",
        help="stop when the validation loss has not fallen for N epochs, and keep the best weights",
    )  # fmt: skip
    state = parser.add_argument_group("to go on later")
    state.add_argument("--checkpoint", type=Path, metavar="FILE",
                       help="keep the state of the run in this file after each epoch")  # fmt: skip
    state.add_argument("--resume", action="store_true", help="go on from the state in --checkpoint")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    _check(arguments)
    for_parts, for_weights, for_order = np.random.default_rng(arguments.seed).spawn(3)
    parts, form = data_of(arguments, for_parts)
    widths = widths_of(arguments, form)
    many = len(parts.train) >= MANY
    epochs = arguments.epochs or (10 if many else 30)
    batch = arguments.batch or (128 if many else 32)
    try:
        model = network(arguments, widths, for_weights)
        optimizer = optimizer_of(arguments, model)
    except MemoryError:
        raise UsageError(f"--model {dashed(widths)}: not enough memory") from None
    settings = optimizer.param_groups[0].options()  # before the schedule changes them
    # the variance of a last batch of one row is 0
    single = arguments.norm == "batch" and len(parts.train) % batch == 1
    batches = DataLoader(parts.train, batch, shuffle=True, generator=for_order, drop_last=single)
    if not len(batches):
        raise UsageError("--norm batch needs two rows or more to learn from, found one")
    schedule = SCHEDULES[arguments.schedule](optimizer, epochs * len(batches))

    callbacks: list[Callback] = []
    if arguments.patience is not None:
        if parts.valid is None:
            raise UsageError(f"--patience watches the validation loss: --valid {arguments.valid:g} has no rows for it")
        callbacks.append(EarlyStopping(patience=arguments.patience))
    if arguments.checkpoint is not None:
        state = State(
            arguments.checkpoint, arguments, len(parts.train), model=dashed(widths), batch=batch, epochs=epochs,
            **settings,
        )  # fmt: skip
        callbacks.append(state)
        if arguments.resume:
            state.check_options()

    _announce(arguments, parts, form, model)
    lr = settings["lr"]
    say(f"{arguments.optimizer}, lr {lr:g}, batches of {batch}, {_count(epochs, 'epoch')}, seed {arguments.seed}")
    say()
    try:
        with np.errstate(all="ignore"):  # fit finds nan and infinity itself
            history = fit(
                model, batches, parts.valid, loss=softmax_cross_entropy, optimizer=optimizer, epochs=epochs,
                schedule=schedule, callbacks=callbacks, resume=arguments.checkpoint if arguments.resume else None,
            )  # fmt: skip
    except NonFiniteLoss as error:
        print(f"tinygrad-ce: {in_words(error)}; no model is written; try --lr {lr / 10:g}", file=sys.stderr)
        return 1
    except MemoryError:
        raise UsageError("not enough memory; try a smaller --batch or --model") from None
    except ValueError as error:
        raise UsageError(("--resume: " if arguments.resume else "") + in_words(error)) from None
    classifier = Classifier(arguments.out or Path(), model, form)
    if history.stopped == "interrupted":
        return _interrupted(arguments, classifier, history, epochs)
    if arguments.out is not None:
        classifier.save()
    _report(model, parts, form)
    _hints(arguments.out, form)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """What can be refused before the data are read."""
    check_writable("--out", arguments.out, ".safetensors")
    check_writable("--checkpoint", arguments.checkpoint, ".safetensors")
    if arguments.resume and arguments.checkpoint is None:
        raise UsageError("--resume goes on from the state in --checkpoint: give that too")
    if arguments.checkpoint and arguments.out and arguments.checkpoint.resolve() == arguments.out.resolve():
        raise UsageError("--out and --checkpoint are the same file; give each a name of its own")
    if arguments.momentum is not None and arguments.optimizer not in MOMENTUM:
        raise UsageError(f"--momentum is for {' and '.join(MOMENTUM)}: leave it out with {arguments.optimizer}")
    if arguments.norm == "batch" and arguments.batch == 1:
        raise UsageError("--norm batch needs two rows or more in a batch, found --batch 1")


def _announce(arguments: argparse.Namespace, parts: Parts, form: Form, model: Module) -> None:
    """What is trained, and on what."""
    counts = [f"{len(parts.train):,} rows to learn from"]
    counts += [f"{len(parts.valid):,} to validate"] if parts.valid else []
    counts += [f"{len(parts.test):,} to test" if parts.test else "none to test"]
    say(f"{form.data}: {', '.join(counts)}", "bold")
    numbers = f"{form.width} numbers a row"
    if form.features:
        numbers = f"{_count(form.width, 'column')}: {few(form.features)}"
    say(numbers)
    said = f"target {form.target!r}, " if form.target else ""
    say(f"{said}{len(form.classes)} classes: {few(form.classes)}")
    extras = [f"dropout {arguments.dropout:g}"] if arguments.dropout else []
    extras += [f"{arguments.norm} norm"] if arguments.norm != "none" else []
    shape = dashed(widths_of(arguments, form))
    say(f"MLP {', '.join([shape, arguments.activation, *extras])}: {model.num_parameters():,} parameters")


def _report(model: Module, parts: Parts, form: Form) -> None:
    """How good the model is on rows that it has not learned from, or else on the ones it has."""
    name, part = "test", parts.test
    if part is None:
        name, part = ("training", parts.train) if parts.valid is None else ("validation", parts.valid)
    predicted = predict(model, part.inputs)
    right = int(np.count_nonzero(predicted == part.targets))
    say()
    say(f"{name} accuracy: {right / len(part):.1%} ({right:,} of {len(part):,})", "bold green")
    say()
    show(classification_report(part.targets, predicted, form.classes))


def _hints(out: Path | None, form: Form) -> None:
    """What was written, and what to do with it."""
    say()
    if out is None:
        say("The model is not kept: give --out m.safetensors to write it to a file")
        return
    say(f"Written to {out}. Use it:", "bold")
    for command, name in (("predict", "new"), ("eval", "test")):
        data = form.data if form.data in sources.SETS else name + Path(form.data).suffix
        say(f"  tinygrad-ce {command} {shlex.quote(str(out))} {data}")


def _interrupted(arguments: argparse.Namespace, classifier: Classifier, history: History, epochs: int) -> int:
    """Keep what there is; the exit status."""
    message = "interrupted before the first step; nothing was written"
    if history.steps["epoch"]:
        message = f"interrupted in epoch {history.steps['epoch'][-1]} of {epochs}"
        if arguments.out is not None:
            classifier.save()
            message += f"; the model as it is was written to {arguments.out}"
        if arguments.checkpoint is not None and len(history):
            message += f"; the same with --resume goes on after epoch {len(history)}"
    print(f"tinygrad-ce: {message}", file=sys.stderr)
    return 130


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" + "s" * (n != 1)
