"""`tinygrad-ce quickstart`: train a small network, compare the spellings of its loss, draw its graph."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce import __version__, nn, optim
from tinygrad_ce import functional as F
from tinygrad_ce.cli.arguments import at_least
from tinygrad_ce.cli.terminal import Table, UsageError, console, say, sentences, show
from tinygrad_ce.compare import CHAINS, Comparison, compare_gradients
from tinygrad_ce.data import ArrayDataset, DataLoader, digits
from tinygrad_ce.mode import no_grad
from tinygrad_ce.results import strict_json
from tinygrad_ce.viz import Picture, RenderError, draw

SIZES = [64, 32, 10]
LEARNING_RATE, MOMENTUM = 0.2, 0.9
SUREST = 5  # test images in the second table
SPELLINGS = ("fused", "log-softmax + NLL", "softmax, log, pick")

NAME = "quickstart"
HELP = "train on handwritten digits, compare fused and unfused gradients, draw the graph"
DESCRIPTION = f"""\
Train a small network on real data, compare the fused softmax cross-entropy with its unfused
spellings, and draw the computation graph. It takes a few seconds and no internet: the 1,797
handwritten digits come with the package.

  1. An MLP of {"-".join(map(str, SIZES))} units learns to tell the digits apart, with the fused loss and SGD
     (learning rate {LEARNING_RATE}, momentum {MOMENTUM}). Its accuracy is measured on 360 images it has not seen.
  2. On a batch of these, the loss and its gradients are computed by the fused op, by
     log-softmax + NLL, and by softmax, log, pick. Each is held against the truth, in
     absolute terms and in ULP (units in the last place). Then the same for the images that
     the network is surest of: there the spellings part.
  3. What came out is written to a folder.
"""

EPILOG = """\
files written:
  graph.svg, .png           the network with the fused loss: ops, gradients, bytes kept
  graph-unfused.svg, .png   the same with the loss in small steps
  loss.png                  the loss curve (needs: pip install "tinygrad_ce[plot]")
  weights.safetensors       the trained weights
  report.json               every number of the run

On the same machine with the same versions, the same --seed gives the same files.

examples:
  tinygrad-ce quickstart
  tinygrad-ce quickstart --seed 7 --epochs 10 --out run7
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="of the random numbers (default: %(default)s)"
    )
    parser.add_argument(
        "--epochs", type=at_least(1), default=30, metavar="N",
        help="how often to go through the training images (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--batch", type=at_least(1), default=64, metavar="N",
        help="images in a batch, for training and for the comparison (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=_folder, default=Path("tinygrad-ce-out"), metavar="FOLDER",
        help="where to write; made if need be (default: %(default)s)",
    )  # fmt: skip


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("expected the name of a folder, found ''")
    return Path(text)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    folder: Path = arguments.out
    _check_writable(folder)
    generator = np.random.default_rng(arguments.seed)
    train_set, test_set = digits()
    model = nn.MLP(SIZES, activation="relu", generator=generator)

    say("1. Training with the fused softmax cross-entropy", "bold")
    say(f"   {len(train_set):,} handwritten digits of 8 x 8 pixels to learn from, {len(test_set)} more to test")
    say(f"   MLP {'-'.join(map(str, SIZES))}, relu: {model.num_parameters():,} parameters")
    curve = train(model, train_set, test_set, arguments.epochs, arguments.batch, generator)
    logits = _logits(model, test_set.inputs)
    correct = int((logits.argmax(axis=1) == test_set.targets).sum())
    accuracy = correct / len(test_set)
    say(f"   test accuracy: {accuracy:.1%} ({correct} of {len(test_set)})", "bold green")

    say()
    x, y = next(iter(DataLoader(test_set, arguments.batch, shuffle=True, generator=generator)))
    say(f"2. The loss of {len(x)} test images and its gradients, spelled in {len(SPELLINGS)} ways", "bold")
    say()
    comparison = compare_gradients(
        model(x), y, parameters=dict(model.named_parameters()), chains=SPELLINGS, measure=False
    )
    show(comparison)
    say()
    sentences(*comparison.in_words())
    say()
    surest = Surest.find(logits, test_set.targets)
    surest.show()

    say()
    say(f"3. Written to {folder}", "bold")
    report = {
        "tinygrad_ce": __version__,
        "numpy": np.__version__,
        "seed": arguments.seed,
        "epochs": arguments.epochs,
        "batch": arguments.batch,
        "sizes": SIZES,
        "optimizer": {"name": "SGD", "lr": LEARNING_RATE, "momentum": MOMENTUM},
        "training": {"loss": curve.epochs, "test_loss": curve.test},
        "test_accuracy": accuracy,
        "comparison": comparison.to_json(),
        "surest": surest.to_json(),
    }
    try:
        _write(folder, model, x, y, curve, report)
    except OSError as error:
        raise UsageError(f"--out: cannot write to {folder}: {error.strerror or error}") from None


def _check_writable(folder: Path) -> None:
    """Make the folder, and find out before any work is done whether it takes files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise UsageError(f"--out: {folder} is a file; name a folder") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"--out: cannot write to {folder}: {reason}") from None


@dataclass
class Curve:
    """How training went: the loss of every step, and after every epoch its mean and the test loss."""

    steps: list[float] = field(default_factory=list)
    epochs: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)


def train(
    model: nn.Module,
    train_set: ArrayDataset,
    test_set: ArrayDataset,
    epochs: int,
    batch_size: int,
    generator: np.random.Generator,
) -> Curve:
    """Train with the fused loss and SGD, showing the progress."""
    optimizer = optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    batches = DataLoader(train_set, batch_size, shuffle=True, generator=generator)
    curve = Curve()
    with _progress(epochs) as advance:
        for _ in range(epochs):
            total = 0.0
            for x, y in batches:
                loss = F.softmax_cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.steps.append(loss.item())
                total += loss.item() * len(x)
            curve.epochs.append(total / len(train_set))
            curve.test.append(F.softmax_cross_entropy(_logits(model, test_set.inputs), test_set.targets).item())
            advance(curve)
    return curve


@contextmanager
def _progress(epochs: int) -> Iterator[Any]:
    """A function to call after each epoch: it moves a bar in a terminal and prints about ten lines elsewhere."""
    screen = console()
    if not screen.is_terminal:

        def line(curve: Curve) -> None:
            epoch = len(curve.epochs)
            if epoch in (1, epochs) or epoch % max(1, epochs // 8) == 0:
                print(f"   epoch {epoch:>{len(str(epochs))}} of {epochs}: {_losses(curve)}", flush=True)

        yield line
        return

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("   epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[losses]}"))
    with Progress(*columns, console=screen) as progress:
        task = progress.add_task("", total=epochs, losses="")
        yield lambda curve: progress.update(task, advance=1, losses=_losses(curve))


def _losses(curve: Curve) -> str:
    return f"loss {curve.epochs[-1]:.4f}, test loss {curve.test[-1]:.4f}"


def _logits(model: nn.Module, x: NDArray[Any]) -> NDArray[Any]:
    with no_grad():  # by a few rows: a BLAS splits what is larger among its threads, and rounds by their number
        return np.concatenate([model(rows).numpy() for rows in DataLoader(x, 64)])


@dataclass(frozen=True)
class Surest:
    """The rightly classified images with the largest margin, and what the spellings make of their gradients.

    rows        positions in the test set
    targets     their digits
    margins     by how much the target's logit exceeds the next
    comparison  of these rows, summed, so that a row's gradient at its target is p - 1
    """

    rows: NDArray[Any]
    targets: NDArray[Any]
    margins: NDArray[Any]
    comparison: Comparison

    @staticmethod
    def find(logits: NDArray[Any], targets: NDArray[Any]) -> Surest:
        each = np.arange(len(logits))
        others = logits.copy()
        others[each, targets] = -np.inf
        margins = logits[each, targets] - others.max(axis=1)
        rows = np.argsort(-margins, kind="stable")[:SUREST]
        comparison = compare_gradients(logits[rows], targets[rows], reduction="sum", chains=SPELLINGS, measure=False)
        return Surest(rows, targets[rows], margins[rows], comparison)

    def at_targets(self, gradient: NDArray[Any]) -> list[float]:
        return [float(gradient[i, y]) for i, y in enumerate(self.targets)]

    def show(self) -> None:
        truth = self.at_targets(self.comparison.gradient)
        columns = [self.at_targets(chain.gradient) for chain in self.comparison.chains]
        rows = [
            [str(row), str(digit), f"{margin:.1f}", f"{exact:.3e}", *(_or_lost(x, exact) for x in found)]
            for row, digit, margin, exact, *found in zip(
                self.rows, self.targets, self.margins, truth, *columns, strict=True
            )
        ]
        head = ["image", "digit", "margin", "exact", *("\n".join(wrap(c.name, 11)) for c in self.comparison.chains)]
        say(f"   The {len(rows)} test images it is surest of: the gradient at the right logit, p - 1", "bold")
        say()
        show(Table(head, rows, right=range(len(head))))
        say()
        lost = [(chain.name, chain.lost) for chain in self.comparison.chains if chain.lost]
        if lost:
            sentences(*(f"{name}: {n} of these {len(rows)} gradients are lost: p rounds to 1." for name, n in lost))
        else:
            sentences("No spelling loses a gradient here: the network is not sure enough for p to round to 1.")

    def to_json(self) -> dict[str, Any]:
        return {
            "test_images": self.rows.tolist(),
            "targets": self.targets.tolist(),
            "margins": self.margins.tolist(),
            "exact": self.at_targets(self.comparison.gradient),
            **{chain.name: self.at_targets(chain.gradient) for chain in self.comparison.chains},
        }


def _or_lost(x: float, exact: float) -> str:
    return "0 (lost)" if x == 0 and exact != 0 else f"{x:.3e}"


def _write(
    folder: Path, model: nn.Module, x: NDArray[Any], y: NDArray[Any], curve: Curve, report: dict[str, Any]
) -> None:
    from safetensors.numpy import save

    pictures = {}
    for name, chain in (("graph", "fused"), ("graph-unfused", SPELLINGS[-1])):
        loss = CHAINS[chain](model(x), y)
        loss.name = "loss"
        pictures[folder / name] = draw(loss, model=model, inputs={"x": x, "y": y}, gradients=True)
    _draw(pictures)
    _plot(curve, folder / "loss.png")
    (folder / "weights.safetensors").write_bytes(save(model.state_dict()))
    _wrote(folder / "weights.safetensors", "the trained weights")
    text = json.dumps(strict_json(report), indent=1, allow_nan=False) + "\n"
    (folder / "report.json").write_text(text, encoding="utf-8")
    _wrote(folder / "report.json", "every number of this run")


def _draw(pictures: Mapping[Path, Picture]) -> None:
    """SVG and PNG; where nothing can draw them, their source and their text form."""
    try:
        _save(pictures, ".svg", ".png")
    except RenderError as error:
        say(f"   SVG and PNG left out: {error}")
        _save(pictures, ".dot", ".txt")


def _save(pictures: Mapping[Path, Picture], *suffixes: str) -> None:
    for path, picture in pictures.items():
        for suffix in suffixes:
            picture.save(path.with_suffix(suffix))
            how = "in small steps" if path.stem.endswith("unfused") else "fused"
            _wrote(path.with_suffix(suffix), f"the network with the loss {how}")


def _plot(curve: Curve, path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        say('   loss curve left out: pip install "tinygrad_ce[plot]"')
        return
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    epochs = np.arange(1, len(curve.epochs) + 1)
    steps = np.arange(1, len(curve.steps) + 1) * len(epochs) / len(curve.steps)
    axes.semilogy(steps, curve.steps, color="#c9d1d9", linewidth=0.8, label="batch")
    axes.semilogy(epochs, curve.epochs, color="#0072b2", marker=".", label="training, mean of the epoch")
    axes.semilogy(epochs, curve.test, color="#b8400e", marker=".", label="test")
    axes.set(xlabel="epoch", ylabel="cross-entropy [nats]", title="MLP 64-32-10 on handwritten digits")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right")  # the best place takes matplotlib a search, of which it warns on slow machines
    figure.savefig(path, dpi=150, metadata={"Software": None})
    _wrote(path, "the loss curve")


def _wrote(path: Path, what: str) -> None:
    say(f"   {path!s:<{len(str(path.parent)) + 21}} {what}")
