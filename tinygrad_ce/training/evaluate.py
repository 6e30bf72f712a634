"""How good a model is, and what it says: measured and predicted batch by batch, without recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce import functional as F
from tinygrad_ce.mode import no_grad
from tinygrad_ce.nn import Module
from tinygrad_ce.tensor import Tensor
from tinygrad_ce.training.batches import ROWS, batches, check_model, in_mode, input_batches, pair
from tinygrad_ce.training.metrics import Mean, Measure, Measured, Metrics, measure, named
from tinygrad_ce.training.run import Loss

Array = NDArray[Any]


def evaluate(
    model: Any, data: Any, metrics: Metrics = ("accuracy",), loss: Loss | None = None, *, batch_size: int = ROWS
) -> dict[str, float]:
    """Measure a model on data: a dict of the name of each metric to its mean over all rows, with "loss" first if given.

    model       a Module; it runs in evaluation mode, is left in the mode it was found in, and does not change
    data        a DataLoader, an ArrayDataset, a pair of arrays (inputs, targets), or a list of such pairs
    metrics     as for `fit`
    loss        a function of (outputs, targets) that gives a mean over rows, or None
    batch_size  rows at a time, where the data have no batches of their own

    >>> import tinygrad_ce as tg
    >>> _, test = tg.data.digits()
    >>> model = tg.nn.Linear(64, 10)
    >>> sorted(tg.evaluate(model, test, loss=tg.F.softmax_cross_entropy))
    ['accuracy', 'loss']
    """
    check_model("evaluate", model)
    measures = named("evaluate", metrics)
    with in_mode(model, training=False):
        return measured("evaluate", model, batches("evaluate: data", data, batch_size), measures, loss)


def measured(
    caller: str, model: Module, data: Iterable[Any], measures: Mapping[str, Measure], loss: Loss | None
) -> dict[str, float]:
    """The mean of the loss, if there is one, and of every metric over all batches."""
    means = {name: Mean() for name in (*(["loss"] if loss else []), *measures)}
    empty = True
    with no_grad():
        for batch in data:
            x, y = pair(caller, batch)
            outputs = model(x)
            results = measure(caller, measures, outputs, y)
            if loss is not None:
                results.insert(0, Measured(float(loss(outputs, y).item()) * len(y), len(y)))
            for mean, (total, rows) in zip(means.values(), results, strict=True):
                mean.add(total, rows)
            empty = False
    if empty:
        raise ValueError(f"{caller}: there are no rows to measure")
    return {name: mean.value for name, mean in means.items()}


def predict_proba(model: Any, x: Any, *, batch_size: int = ROWS) -> Array:
    """The probability of each class for each row, shape (N, C): they are not negative and each row sums to 1.

    model       a Module whose outputs are logits (N, C), or what Softmax or LogSoftmax made of them; with one output,
                (N, 1) or (N,), it is the logit of class 1 of two. It runs in evaluation mode and does not change
    x           inputs (N, ...): an array, Tensor or list; or an ArrayDataset or DataLoader, whose targets are not
                looked at and whose rows come in the order of the data set
    batch_size  rows at a time

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> model = tg.nn.Linear(64, 10)
    >>> tg.predict_proba(model, np.zeros((3, 64), np.float32)).sum(axis=1).round(5).tolist()
    [1.0, 1.0, 1.0]
    """
    return np.concatenate([_probabilities(outputs) for outputs in _outputs("predict_proba", model, x, batch_size)])


def predict(model: Any, x: Any, *, batch_size: int = ROWS) -> Array:
    """The likeliest class of each row, shape (N,), int64; arguments as for `predict_proba`.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> model = tg.nn.Linear(64, 10)
    >>> tg.predict(model, np.zeros((3, 64), np.float32)).shape
    (3,)
    """
    return np.concatenate([_classes(outputs) for outputs in _outputs("predict", model, x, batch_size)])


def _outputs(caller: str, model: Any, x: Any, batch_size: int) -> list[Tensor]:
    check_model(caller, model)
    if batch_size < 1:
        raise ValueError(f"{caller}: batch_size={batch_size}; expected at least 1")
    with in_mode(model, training=False), no_grad():
        outputs = [model(batch) for batch in input_batches(f"{caller}: x", x, batch_size)]
    if not outputs:
        raise ValueError(f"{caller}: x has no rows")
    for z in outputs:
        if z.ndim not in (1, 2):
            raise ValueError(f"{caller}: the model gives shape {z.shape}; expected (N, C), a score for each class")
    return outputs


def _is_binary(z: Tensor) -> bool:
    return z.ndim == 1 or z.shape[1] == 1


def _classes(z: Tensor) -> Array:
    if _is_binary(z):
        return (z.data.reshape(len(z)) > (0.5 if _are_probabilities(z) else 0.0)).astype(np.int64)
    best: Array = z.data.argmax(axis=1)
    return best


def _probabilities(z: Tensor) -> Array:
    if _is_binary(z):
        one = (z if _are_probabilities(z) else F.sigmoid(z)).data.reshape(len(z))
        return np.stack([1 - one, one], axis=1)
    p: Tensor = z if _are_probabilities(z) else z.exp() if z.meaning == "log-probabilities" else F.softmax(z)
    return p.data


def _are_probabilities(z: Tensor) -> bool:
    """Made by softmax, or each by itself by sigmoid."""
    return z.meaning in ("probabilities", "probability")
