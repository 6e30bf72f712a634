"""What `train` trains, with what and on what, made of its options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_ce import optim
from tinygrad_ce.cli import sources
from tinygrad_ce.cli.classifier import Form
from tinygrad_ce.cli.sources import in_words
from tinygrad_ce.cli.terminal import UsageError
from tinygrad_ce.data import ArrayDataset, Standardizer, train_test_split
from tinygrad_ce.nn import MLP, Module
from tinygrad_ce.training import Checkpoint, Run, files
from tinygrad_ce.training.checkpoint import unpacked
from tinygrad_ce.training.saving import CHECKPOINT

ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "softplus", "tanh")
OPTIMIZERS: Mapping[str, tuple[Callable[..., optim.Optimizer], float]] = {  # each with its usual learning rate
    "sgd": (optim.SGD, 0.1),
    "adam": (optim.Adam, 0.005),
    "adamw": (optim.AdamW, 0.005),
    "rmsprop": (optim.RMSprop, 0.002),
    "adagrad": (optim.Adagrad, 0.05),
}
MOMENTUM = {"sgd": 0.9, "rmsprop": 0.0}
HIDDEN = 128
TEST = 0.2

Schedule = Callable[[optim.Optimizer, int], optim.LRScheduler | None]  # made for this number of steps


def _one_cycle(optimizer: optim.Optimizer, steps: int) -> optim.LRScheduler:
    group = optimizer.param_groups[0]
    has_momentum = "betas" in group or bool(group.get("momentum"))
    return optim.OneCycleLR(optimizer, max_lr=group["lr"], total_steps=steps, cycle_momentum=has_momentum)


def _warm_up(optimizer: optim.Optimizer, steps: int) -> optim.LRScheduler:
    first = max(1, steps // 10)
    line = optim.LinearLR(optimizer, start_factor=0.01, total_iters=first, every="step")
    cosine = optim.CosineAnnealingLR(optimizer, T_max=max(1, steps - first), every="step")
    return optim.SequentialLR(optimizer, [line, cosine], milestones=[first])


SCHEDULES: Mapping[str, Schedule] = {
    "none": lambda _optimizer, _steps: None,
    "cosine": lambda optimizer, steps: optim.CosineAnnealingLR(optimizer, T_max=steps, every="step"),
    "one-cycle": _one_cycle,
    "warm-up": _warm_up,
    "step": lambda optimizer, steps: optim.StepLR(optimizer, step_size=max(1, -(-steps // 3)), every="step"),
    "plateau": lambda optimizer, _steps: optim.ReduceLROnPlateau(optimizer, patience=3),
}
ENDLESS = ("none", "plateau")  # schedules that are the same whatever --epochs is


@dataclass(frozen=True)
class Parts:
    """The rows to learn from, to watch the training by, and to test with in the end; the last two may be None."""

    train: ArrayDataset
    valid: ArrayDataset | None
    test: ArrayDataset | None


def data_of(arguments: argparse.Namespace, generator: np.random.Generator) -> tuple[Parts, Form]:
    """The data that were asked for, parted and brought to one scale, and their form."""
    name = arguments.data
    if sources.is_set(name):
        for option in ("target", "test"):
            if getattr(arguments, option) is not None:
                raise UsageError(f"--{option} is for files: leave it out with {name}, which has a test part of its own")
        (train, test), target = sources.of_set(name, arguments.download), ""
        parts = Parts(*_parted(name, train, arguments.valid, "--valid", generator), test)
    else:
        dataset, target = sources.of_file(name, arguments.target)
        _check_classes(name, dataset, target)
        rest, tested = _parted(name, dataset, TEST if arguments.test is None else arguments.test, "--test", generator)
        parts = Parts(*_parted(name, rest, arguments.valid, "--valid", generator), tested)
    inputs = parts.train.inputs
    form = Form(name, inputs[0].size, parts.train.classes, parts.train.features, target)
    if name not in sources.IMAGES:
        # pixels have one scale together: that of a corner, which is almost always 0, would be tiny
        measured = Standardizer.fit(inputs if inputs.ndim == 2 else inputs.reshape(-1, 1))
        form = replace(form, mean=tuple(measured.mean.tolist()), scale=tuple(measured.scale.tolist()))
    others = (part and form.ready(part) for part in (parts.valid, parts.test))
    return Parts(form.ready(parts.train), *others), form


def _parted(
    name: str, dataset: ArrayDataset, part: float, option: str, generator: np.random.Generator
) -> tuple[ArrayDataset, ArrayDataset | None]:
    """The rows without a part of them, and that part; None if it is less than half a row."""
    count = round(part * len(dataset))
    if count == 0:
        return dataset, None
    if count == len(dataset):
        raise UsageError(f"{option} {part:g} of {len(dataset)} rows of {name} leaves none to learn from")
    rest, held_out = train_test_split(dataset, test_size=count, generator=generator, stratify=True)
    return rest, held_out


def _check_classes(name: str, dataset: ArrayDataset, target: str) -> None:
    """UsageError unless the targets are classes that can be learned."""
    column = f"column {target!r}" if target else "the array of targets"
    instead = "name another column by --target" if target else "give class names or whole numbers from 0 on"
    if not dataset.classes or dataset.targets.dtype.kind != "i":
        example = f", such as {np.ravel(dataset.targets)[0]:g}," if dataset.targets.size else ""
        raise UsageError(f"{name}: {column} holds values to regress{example} and train learns classes only: {instead}")
    present = len(np.unique(dataset.targets))
    if present < 2:
        raise UsageError(f"{name}: {column} has one class only, {dataset.classes[dataset.targets[0]]!r}; {instead}")
    if 2 * present > len(dataset):
        raise UsageError(
            f"{name}: {column} has {present} different values in {len(dataset)} rows, too many for classes; {instead}"
        )


def widths_of(arguments: argparse.Namespace, form: Form) -> list[int]:
    """The units of the layers; UsageError if they do not fit the data."""
    outputs = len(form.classes)
    if arguments.model is None:
        return [form.width, HIDDEN, outputs]
    widths: list[int] = arguments.model
    if (widths[0], widths[-1]) != (form.width, outputs):
        right = dashed([form.width, *widths[1:-1], outputs])
        raise UsageError(
            f"--model {dashed(widths)}: {form.data} has rows of {form.width} numbers and {outputs} classes; "
            f"write --model {right}"
        )
    return widths


def dashed(widths: list[int]) -> str:
    """Units of layers, as --model takes them."""
    return "-".join(map(str, widths))


def network(arguments: argparse.Namespace, widths: list[int], generator: np.random.Generator) -> Module:
    """The network, with the weights that training begins with."""
    norm = None if arguments.norm == "none" else arguments.norm
    return MLP(widths, arguments.activation, dropout=arguments.dropout, norm=norm, generator=generator)


def optimizer_of(arguments: argparse.Namespace, model: Module) -> optim.Optimizer:
    """The optimizer of the model's parameters."""
    kind, lr = OPTIMIZERS[arguments.optimizer]
    options = {"lr": arguments.lr or lr}
    if arguments.optimizer in MOMENTUM:
        given = arguments.momentum
        options["momentum"] = MOMENTUM[arguments.optimizer] if given is None else given
    if arguments.weight_decay is not None:
        options["weight_decay"] = arguments.weight_decay
    return kind(model.parameters(), **options)


class State(Checkpoint):
    """The state of a run in a file, with the options it depends on, so that it is resumed with the same."""

    def __init__(self, path: Path, arguments: argparse.Namespace, rows: int, **found: Any) -> None:
        super().__init__(path)
        names = ("data", "target", "test", "valid", "seed", "activation", "dropout", "norm", "schedule", "optimizer")
        self.options = {name: getattr(arguments, name) for name in names} | {"rows to learn from": rows, **found}
        if arguments.schedule in ENDLESS:
            del self.options["epochs"]

    def state_dict(self) -> dict[str, Any]:
        return self.options

    def on_epoch_end(self, run: Run) -> None:
        try:
            super().on_epoch_end(run)
        except OSError as error:
            raise UsageError(f"--checkpoint: cannot write to {self.path}: {error.strerror or error}") from None

    def check_options(self) -> None:
        """UsageError unless the file holds the state of a run with the same options."""
        try:
            arrays, metadata = files.read("resume", self.path)
            if metadata.get("format") != CHECKPOINT:
                raise ValueError(f"{self.path} is not the state of a run, which --checkpoint writes")
            saved = unpacked(json.loads(metadata["state"]), arrays)["callbacks"][type(self).__name__]
        except (OSError, ValueError, LookupError, TypeError) as error:
            said = getattr(error, "strerror", None) or in_words(error)
            if isinstance(error, LookupError):
                said = f"{self.path} is not of a run of `tinygrad-ce train`"
            raise UsageError(f"--resume: {said}") from None
        for name, value in self.options.items():
            if saved.get(name) != value:
                option = name if " " in name else "--" + name.replace("_", "-")
                was, now = ("not given" if x is None else x for x in (saved.get(name), value))
                raise UsageError(
                    f"--resume: in {self.path} {option} was {was}, and now it is {now}; give the same options"
                )
