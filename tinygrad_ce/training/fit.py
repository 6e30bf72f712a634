"""fit: the training loop, with what people keep adding to it by hand."""

from __future__ import annotations

import inspect
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np

from tinygrad_ce.optim import Optimizer
from tinygrad_ce.tensor import Tensor
from tinygrad_ce.training.batches import batches, check_model, in_mode, pair, training_batches
from tinygrad_ce.training.callbacks import Checkpoint
from tinygrad_ce.training.checkpoint import restore
from tinygrad_ce.training.evaluate import measured
from tinygrad_ce.training.history import History
from tinygrad_ce.training.metrics import Mean, Measure, Metrics, measure, named
from tinygrad_ce.training.nonfinite import SMALLER, NonFiniteLoss, first_nonfinite
from tinygrad_ce.training.progress import progress_display
from tinygrad_ce.training.run import Callback, Loss, Run


def fit(
    model: Any,
    train: Any,
    valid: Any = None,
    *,
    loss: Loss,
    optimizer: Any,
    epochs: int,
    schedule: Any = None,
    metrics: Metrics = ("accuracy",),
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    resume: str | os.PathLike[str] | None = None,
) -> History:
    """Train a model, and measure it as it learns.

    model      a Module; called on the inputs of a batch. It is in training mode while it learns, in evaluation mode
               while it is validated, and afterwards in the mode it was found in
    train      a DataLoader, or any list of batches, which are pairs (inputs, targets). An ArrayDataset or a pair of
               arrays is shuffled in each epoch, by default_rng(0), in batches of 64
    valid      the same, in its order in batches of 256, or None: measured after each epoch, never learned from
    loss       a function of (outputs, targets) that gives one number, such as F.softmax_cross_entropy or an nn loss
    optimizer  of tinygrad_ce.optim, over the model's parameters
    epochs     how many times to go through the data; with `resume`, those of before included
    schedule   of the learning rate, of tinygrad_ce.optim, or a list of several; one that watches a number, such as
               ReduceLROnPlateau, is given the validation loss; without validation data, or at each step, the loss
    metrics    "accuracy", "top_5_accuracy" (or any other number), "binary_accuracy", functions of (outputs, targets)
               that give a mean over the rows, or {"name": function}. () for a regression
    callbacks  what else to do on the way: `EarlyStopping`, `Checkpoint`, your own `Callback`
    progress   show a live line in a terminal or notebook, a line for each epoch elsewhere; False: print nothing
    resume     a file of `Checkpoint`, to go on from there. With the same data, generators and options the run is then
               bit for bit the one that was not interrupted

    Ctrl-C ends the run after the step it is at: the History so far is returned, and says so in `stopped`.
    Raises NonFiniteLoss, which holds the History, when the loss is nan or infinite: before that step changes the model,
    naming the step, the op that first made it and what it was made of. TypeError and ValueError for arguments that do
    not fit together, before anything has changed.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> train, test = tg.data.digits()
    >>> model = tg.nn.MLP([64, 32, 10], generator=np.random.default_rng(0))
    >>> history = tg.fit(model, train, test, loss=tg.F.softmax_cross_entropy,
    ...                  optimizer=tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), epochs=5, progress=False)
    >>> history["valid_accuracy"][-1] > 0.9
    True
    """
    run, measures = _check(model, train, valid, loss, optimizer, epochs, schedule, metrics)
    run.callbacks = _callbacks(callbacks, progress)
    for callback in run.callbacks:
        callback.check(run)
    if resume is not None:
        restore(run, resume)
    with in_mode(model, training=True):
        try:
            failure = _epochs(run, measures)
        except BaseException:
            for callback in run.callbacks:
                callback.on_error(run)
            raise
    if failure is not None:
        raise failure
    return run.history


INTERRUPTED = "interrupted"


def _epochs(run: Run, measures: Mapping[str, Measure]) -> NonFiniteLoss | None:
    """All epochs, or as many as it comes to; an error of the loss is held back until the callbacks know of the end."""
    failure = None
    for callback in run.callbacks:
        callback.on_fit_begin(run)
    try:
        with _ctrl_c(run):
            while len(run.history) < run.epochs and not run.stopped:
                _epoch(run, measures)
    except KeyboardInterrupt:
        run.stop(INTERRUPTED)
        run.history.complete()
    except NonFiniteLoss as error:
        failure = error
        run.stop("the loss is not finite")
    for callback in run.callbacks:
        callback.on_fit_end(run)
    return failure


def _epoch(run: Run, measures: Mapping[str, Measure]) -> None:
    """Learn once from all the data; a run that is stopped on the way leaves its steps, but no epoch, in the history."""
    model, optimizer, loss, history, callbacks = run.model, run.optimizer, run.loss, run.history, run.callbacks
    each_step, each_epoch = ([_stepper(s) for s in run.schedules if s.every == every] for every in ("step", "epoch"))
    group = optimizer.param_groups[0]
    run.epoch, run.step, run.rows = len(history) + 1, 0, 0
    run.means = {name: Mean() for name in ("loss", *measures)}
    means = list(run.means.values())
    columns = [column.append for column in history.steps.values()]
    for callback in callbacks:
        callback.on_epoch_begin(run)
    began = then = perf_counter()
    lr = group["lr"]
    for batch in run.train:
        x, y = pair("fit: train", batch)
        optimizer.zero_grad()
        outputs = model(x)
        value = loss(outputs, y)
        number = _number(value, model)
        if not math.isfinite(number):
            raise _failure(run, value, x, y, number)
        results = measure("fit", measures, outputs.detach(), y) if measures else ()
        value.backward()
        for callback in callbacks:
            callback.on_backward_end(run)
        lr = group["lr"]
        optimizer.step()
        for step_schedule in each_step:
            step_schedule(number)
        rows = len(y)
        run.step += 1
        run.rows += rows
        for mean, (total, count) in zip(means, ((number * rows, rows), *results), strict=True):
            mean.add(total, count)
        now = perf_counter()
        of_batch = (total / count if count else math.nan for total, count in results)
        for append, item in zip(columns, (run.epoch, number, *of_batch, lr, now - then), strict=True):
            append(item)
        then = now
        for callback in callbacks:
            callback.on_step_end(run)
        if run.stopped:
            return
    if not run.step:
        raise ValueError("fit: train has no batches; expected at least one pair (inputs, targets)")
    _check_weights(run)
    record = run.latest
    if run.valid is not None:
        with in_mode(model, training=False):
            found = measured("fit: valid", model, run.valid, measures, loss)
        record |= {f"valid_{name}": value for name, value in found.items()}
    record |= {"epoch": run.epoch, "lr": lr, "seconds": perf_counter() - began}
    for name, column in history.epochs.items():
        column.append(record[name])
    for step_schedule in each_epoch:
        step_schedule(record.get("valid_loss", record["loss"]))
    for callback in callbacks:
        callback.on_epoch_end(run)


def _number(value: Any, model: Any) -> float:
    """The loss of a batch."""
    if not isinstance(value, Tensor):
        raise TypeError(f"fit: loss returned {type(value).__name__}; expected a Tensor of one number")
    if value.size != 1:
        raise ValueError(f'fit: loss returned shape {value.shape}; expected one number, so reduction="mean"')
    if value.node is None:
        raise ValueError(
            f"fit: the loss does not depend on any parameter of {type(model).__name__} that requires a gradient"
        )
    return float(value.item())


def _stepper(schedule: Any) -> Callable[[float], None]:
    """How to step a schedule, given a loss, which only one that watches a number takes."""
    if any(p.default is p.empty for p in inspect.signature(schedule.step).parameters.values()):
        watches: Callable[[float], None] = schedule.step
        return watches
    return lambda _loss: schedule.step()


def _failure(run: Run, value: Tensor, x: Any, y: Any, number: float) -> NonFiniteLoss:
    found = first_nonfinite(value, run.model, inputs=x, targets=y)
    where = f"fit: the loss is {number} at step {run.step + 1} of epoch {run.epoch}"
    return NonFiniteLoss(f"{where}; {found}" if found else where, run.history)


def _check_weights(run: Run) -> None:
    """The last step of an epoch may have broken the weights, and nothing else would notice at the end of a run."""
    for name, parameter in run.model.named_parameters():
        if not np.isfinite(parameter.data).all():
            raise NonFiniteLoss(
                f"fit: the update of step {run.step} of epoch {run.epoch} left nan or infinity in {name}; {SMALLER}",
                run.history,
            )


def _check(
    model: Any, train: Any, valid: Any, loss: Any, optimizer: Any, epochs: Any, schedule: Any, metrics: Any
) -> tuple[Run, dict[str, Measure]]:
    """The run, once its parts are known to fit together."""
    check_model("fit", model)
    if not callable(loss) or isinstance(loss, type):
        hint = f"{loss.__name__}()" if isinstance(loss, type) else "F.softmax_cross_entropy"
        raise TypeError(f"fit: loss={loss!r}; expected a function of (outputs, targets), such as {hint}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"fit: optimizer={optimizer!r}; expected an optimizer, such as optim.SGD(model.parameters(), lr=0.1)"
        )
    if isinstance(epochs, bool) or not isinstance(epochs, (int, np.integer)) or epochs < 1:
        raise ValueError(f"fit: epochs={epochs!r}; expected a whole number of at least 1")
    schedules = [] if schedule is None else list(schedule) if isinstance(schedule, (list, tuple)) else [schedule]
    for each in schedules:
        if not (hasattr(each, "step") and getattr(each, "every", None) in ("epoch", "step")):
            raise TypeError(f"fit: schedule={each!r}; expected a schedule such as optim.StepLR(optimizer, step_size=3)")
        if each.optimizer is not optimizer:
            raise ValueError(f"fit: schedule={each!r} belongs to another optimizer; make it for the one that is given")
    of_model = {id(parameter) for parameter in model.parameters()}
    learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not any(id(parameter) in of_model for parameter in learned):
        raise ValueError(
            "fit: the optimizer has none of the model's parameters; make it anew, of model.parameters() of this model"
        )
    measures = named("fit", metrics)
    history = History(list(measures), valid is not None)
    validation = None if valid is None else batches("fit: valid", valid)
    run = Run(model, training_batches(train), validation, loss, optimizer, schedules, int(epochs), history)
    return run, measures


def _callbacks(callbacks: Sequence[Callback], progress: bool) -> list[Callback]:
    """In the order given, but checkpoints after all others, whose state they keep, and the display last."""
    if not isinstance(callbacks, Sequence):
        raise TypeError(f"fit: callbacks={callbacks!r}; expected a list, such as [EarlyStopping(patience=3)]")
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(
                f"fit: callbacks holds {callback!r}; expected a Callback, such as EarlyStopping(patience=3)"
            )
    ordered = sorted(callbacks, key=lambda callback: isinstance(callback, Checkpoint))
    return [*ordered, progress_display()] if progress else ordered


@contextmanager
def _ctrl_c(run: Run) -> Iterator[None]:
    """The first Ctrl-C stops the run after its step, a second one at once."""

    def note(_signal: int, _frame: Any) -> None:
        if run.stopped:
            raise KeyboardInterrupt
        run.stop(INTERRUPTED)

    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
