"""What `fit` and its relatives walk through, and the mode a model is in while they do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_ce.arrays import plain
from tinygrad_ce.data import ArrayDataset, DataLoader
from tinygrad_ce.nn import Module
from tinygrad_ce.tensor import Tensor

TRAINING_ROWS = 64
ROWS = 256  # where nothing is learned, so that it makes no difference but in memory and time

_PAIRS = (
    "expected a DataLoader, an ArrayDataset, a pair of arrays (inputs, targets), or a list of such pairs, one a batch"
)


def training_batches(train: Any) -> Iterable[Any]:
    """What to train on; a data set is shuffled anew in each epoch, in batches of 64."""
    dataset = _dataset("fit: train", train)
    if dataset is None:
        return _repeatable("fit: train", train)
    return DataLoader(dataset, batch_size=TRAINING_ROWS, shuffle=True, generator=np.random.default_rng(0))


def batches(name: str, data: Any, batch_size: int = ROWS) -> Iterable[Any]:
    """Pairs of inputs and targets in their order, that of a DataLoader too: nothing is drawn from its generator."""
    if type(data) is DataLoader and data.shuffle:
        return DataLoader(data.dataset, data.batch_size, drop_last=data.drop_last, collate_fn=data.collate_fn)
    dataset = _dataset(name, data)
    return _repeatable(name, data) if dataset is None else DataLoader(dataset, batch_size=batch_size)


def input_batches(name: str, data: Any, batch_size: int) -> Iterator[Any]:
    """The inputs alone, in the order of the rows even if the DataLoader shuffles."""
    if isinstance(data, DataLoader):
        if data.shuffle or data.drop_last:
            data = DataLoader(data.dataset, data.batch_size, collate_fn=data.collate_fn)
    elif isinstance(data, (Tensor, np.ndarray, list)):
        x = np.asarray(plain(data)) if not isinstance(data, list) else Tensor(data).data
        if not x.ndim:
            raise ValueError(f"{name}: x is one number; expected an array with one row for each example")
        return (x[start : start + batch_size] for start in range(0, len(x), batch_size))
    found = batches(name, data, batch_size)
    return (batch[0] if isinstance(batch, (tuple, list)) else batch for batch in found)


def pair(name: str, batch: Any) -> tuple[Any, Any]:
    """The inputs and targets of a batch."""
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    found = f"{len(batch)} values" if isinstance(batch, (tuple, list)) else type(batch).__name__
    raise TypeError(f"{name}: a batch is {found}; expected a pair (inputs, targets)")


def _dataset(name: str, data: Any) -> Any:
    """The data set that was given, or made of a pair of arrays; None for anything else."""
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(x, (np.ndarray, Tensor)) for x in data):
        inputs, targets = (np.asarray(plain(x)) for x in data)
        if len(inputs) != len(targets):
            raise ValueError(f"{name}: found {len(inputs)} inputs and {len(targets)} targets; expected one for each")
        return ArrayDataset(inputs, targets)
    if isinstance(data, (np.ndarray, Tensor)):
        raise TypeError(f"{name}: found one array of shape {data.shape}; {_PAIRS}")
    is_dataset = hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, (tuple, list, dict))
    return data if is_dataset and not isinstance(data, DataLoader) else None


def _repeatable(name: str, data: Any) -> Iterable[Any]:
    if isinstance(data, Iterator):
        raise TypeError(f"{name}: found a {type(data).__name__}, which runs dry after one epoch; {_PAIRS}")
    if not isinstance(data, Iterable) or isinstance(data, (str, dict)):
        raise TypeError(f"{name}: found {type(data).__name__}; {_PAIRS}")
    return data


def check_model(caller: str, model: Any) -> None:
    """TypeError unless it is a module."""
    if not isinstance(model, Module):
        found = f"the class {model.__name__}" if isinstance(model, type) else repr(model)[:80]
        raise TypeError(f"{caller}: model is {found}; expected a Module, such as nn.MLP([64, 32, 10])")


@contextmanager
def in_mode(model: Module, training: bool) -> Iterator[None]:
    """Every module in training or evaluation mode; afterwards each in the one it was found in."""
    found = [(module, module.training) for _, module in model.named_modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in found:
            module.training = was_training
