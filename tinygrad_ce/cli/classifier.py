"""A model with what is known of the data it takes, in one safetensors file: written by `train`, read by the others."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.cli import sources
from tinygrad_ce.cli.sources import in_words
from tinygrad_ce.cli.terminal import UsageError
from tinygrad_ce.data import ArrayDataset, Standardizer
from tinygrad_ce.nn import Module
from tinygrad_ce.training import files, load_model
from tinygrad_ce.training.saving import CHECKPOINT, FORMAT, description

Array = NDArray[Any]
KEY = "classifier"  # of the metadata


def add_model_and_data(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which model is run, and on what."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file of `tinygrad-ce train --out`")
    parser.add_argument("data", metavar="DATA", help="a .csv, .tsv, .txt or .npz file, or a set's name")
    sources.add_download(parser)


@dataclass(frozen=True)
class Form:
    """The form of the data that a model was trained on.

    data      their name
    width     numbers in a row
    classes   the class names, in the order of the model's scores
    features  the names of the columns; empty if they have none
    target    the name of the target column, empty if there is none
    mean, scale  of each number, or one of all; empty if they are taken as they are
    """

    data: str
    width: int
    classes: tuple[str, ...]
    features: tuple[str, ...] = ()
    target: str = ""
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def ready(self, dataset: ArrayDataset) -> ArrayDataset:
        """Rows of numbers on the scale of those that were learned from."""
        dataset = replace(dataset, inputs=dataset.inputs.reshape(len(dataset), -1))
        if not self.mean:
            return dataset
        mean, scale = (np.broadcast_to(np.array(x), self.width) for x in (self.mean, self.scale))
        return Standardizer(mean, scale)(dataset)

    def check(self) -> None:
        """ValueError or TypeError for what cannot be the form of any data."""
        names = (self.data, self.target, *self.classes, *self.features)
        if not all(isinstance(name, str) for name in names) or len(self.classes) < 2:
            raise ValueError("names that are none")
        if len(self.features) not in (0, self.width) or len(self.mean) not in (0, 1, self.width):
            raise ValueError("columns that do not fit together")
        if len(self.scale) != len(self.mean) or not np.isfinite([*self.mean, *self.scale]).all() or 0 in self.scale:
            raise ValueError("a scale that is none")


@dataclass(frozen=True)
class Classifier:
    """A model, and the form of its data; of a file of `tinygrad_ce.save`, which does not tell it, that is None."""

    path: Path
    model: Module
    form: Form | None

    @staticmethod
    def load(path: Path) -> Classifier:
        """Read a model; UsageError for anything else."""
        try:
            _, metadata = files.read("load_model", path)
            model = load_model(path)
            if metadata.get("format") == CHECKPOINT:
                raise ValueError(f"{path} is the state of a training run; give the model, which train --out writes")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None)
            raise UsageError(f"cannot read {path}: {reason}" if reason else in_words(error)) from None
        return Classifier(path, model, _form(path, metadata[KEY]) if KEY in metadata else None)

    def save(self) -> None:
        """Write the model; its weights have PyTorch's names, and everything else is text in the metadata."""
        form = {} if self.form is None else {KEY: json.dumps(vars(self.form))}
        with written("--out", self.path):
            files.write("save", self.path, self.model.state_dict(), {**description(self.model, FORMAT), **form})

    def inputs(self, data: str, download: bool) -> Array:
        """Rows for the model, of a data set's test part or a file with or without targets."""
        if sources.is_set(data):
            return self._ready(data, sources.of_set(data, download)[1]).inputs
        inputs = sources.inputs_of_file(data, self._features(data))
        return self._ready(data, ArrayDataset(inputs, np.zeros(len(inputs)))).inputs

    def labelled(self, data: str, target: str | None, download: bool) -> ArrayDataset:
        """Rows and targets for the model, of a data set's test part or a file."""
        if sources.is_set(data):
            if target is not None:
                raise UsageError(f"--target is for tables with columns: leave it out with {data}")
            return self._ready(data, sources.of_set(data, download)[1], with_targets=True)
        known = () if self.form is None else self.form.classes
        if sources.is_table(data):
            features = self._features(data)
            target = target or (self.form.target if self.form else "") or None
            return self._ready(data, sources.of_file(data, target, features, known)[0], with_targets=True)
        return self._ready(data, sources.of_file(data, target)[0], with_targets=True)

    def class_names(self, count: int, dataset: ArrayDataset | None = None) -> tuple[str, ...]:
        """The names of the model's classes, of which there are `count`; numbers, if nothing tells them."""
        if self.form is not None:
            names = self.form.classes
        else:
            names = dataset.classes if dataset is not None else tuple(map(str, range(count)))
        if len(names) != count:
            raise UsageError(f"{self.path} has scores for {count} classes, but there are {len(names)}: {few(names)}")
        return names

    def _features(self, data: str) -> Sequence[str]:
        """The columns to read; none for files without columns."""
        features = () if self.form is None else self.form.features
        if sources.is_table(data) and not features:
            why = "does not say which columns it takes" if self.form is None else "takes rows without column names"
            raise UsageError(f"{data} cannot be used: {self.path} {why}; give an NPZ file")
        return features

    def _ready(self, data: str, dataset: ArrayDataset, with_targets: bool = False) -> ArrayDataset:
        """In the order and on the scale of the data that the model was trained on."""
        form = self.form
        if with_targets and not dataset.classes:
            raise UsageError(f"{data}: the targets are values to regress, and the model tells classes")
        if form is None:
            return dataset
        if form.features and dataset.features:
            missing = [name for name in form.features if name not in dataset.features]
            if missing:
                raise UsageError(f"{data}: {sources.lacking(missing, form.features, dataset.features)}")
            order = [dataset.features.index(name) for name in form.features]
            dataset = replace(dataset, inputs=dataset.inputs[:, order], features=form.features)
        width = dataset.inputs[0].size
        if width != form.width:
            raise UsageError(
                f"{data} has rows of {width} numbers; {self.path} was trained on {form.data}, with rows of {form.width}"
            )
        if with_targets:
            dataset = replace(dataset, targets=self._targets(data, dataset, form.classes), classes=form.classes)
        return form.ready(dataset)

    def _targets(self, data: str, dataset: ArrayDataset, classes: tuple[str, ...]) -> Array:
        """The targets as indices of the model's classes, which are found by their names."""
        present = [dataset.classes[i] for i in np.unique(dataset.targets)]
        unknown = [name for name in present if name not in classes]
        if unknown:
            raise UsageError(
                f"{data}: {few(unknown)} {'is none' if len(unknown) == 1 else 'are none'} of the classes that "
                f"{self.path} knows: {few(classes)}"
            )
        places = {name: i for i, name in enumerate(classes)}
        targets: Array = np.array([places.get(name, -1) for name in dataset.classes])[dataset.targets]
        return targets


def _form(path: Path, text: str) -> Form:
    try:
        found: dict[str, Any] = json.loads(text)
        found |= {name: tuple(value) for name, value in found.items() if isinstance(value, list)}
        form = Form(**found)
        form.check()
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: what it says of its data is damaged: {in_words(error)}; train it again") from None
    return form


def few(names: Sequence[str]) -> str:
    """At most twelve names."""
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


@contextmanager
def written(option: str, path: Path) -> Iterator[None]:
    """A file is being written; UsageError if it cannot be."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{option}: cannot write to {path}: {error.strerror or in_words(error)}") from None


@contextmanager
def running(classifier: Classifier, data: str) -> Iterator[None]:
    """The model is run on the data; UsageError if they do not fit together."""
    try:
        yield
    except MemoryError:
        raise UsageError(f"{data}: not enough memory") from None
    except (ValueError, TypeError, IndexError) as error:
        raise UsageError(f"{classifier.path} cannot be run on {data}: {in_words(error)}") from None
