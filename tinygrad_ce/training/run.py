"""A training run: what is trained, how far it is, its whole state, which a checkpoint keeps, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_ce.nn import Module
from tinygrad_ce.training.history import History
from tinygrad_ce.training.metrics import Mean

Loss = Callable[[Any, Any], Any]


class Run:
    """A training run as callbacks see it.

    model, loss, optimizer, train, valid   as given to `fit`, the data as batches
    schedules  of the learning rate
    history    what was measured so far
    epoch      the number of the epoch that is running, from 1; of the last one once it is over
    epochs     how many there shall be
    step       how many steps of this epoch are done
    rows       how many rows of this epoch the model has seen
    means      the loss and metrics of this epoch so far
    callbacks  all of them, in the order they are called
    """

    def __init__(
        self,
        model: Module,
        train: Iterable[Any],
        valid: Iterable[Any] | None,
        loss: Loss,
        optimizer: Any,
        schedules: Sequence[Any],
        epochs: int,
        history: History,
    ) -> None:
        self.model = model
        self.train = train
        self.valid = valid
        self.loss = loss
        self.optimizer = optimizer
        self.schedules = schedules
        self.epochs = epochs
        self.history = history
        self.callbacks: list[Callback] = []
        self.epoch = self.step = self.rows = 0
        self.means: dict[str, Mean] = {}

    @property
    def latest(self) -> dict[str, float]:
        """The loss and metrics of this epoch so far, means over the rows."""
        return {name: mean.value for name, mean in self.means.items()}

    @property
    def steps(self) -> int | None:
        """How many steps an epoch has; None if the data do not say."""
        try:
            return len(self.train)  # type: ignore[arg-type]
        except TypeError:
            return None

    def stop(self, reason: str) -> None:
        """End the run after this step, or after this epoch if it is over; `history.stopped` will say why."""
        self.history.stopped = reason

    @property
    def stopped(self) -> bool:
        """Whether the run is about to end early."""
        return self.history.stopped is not None

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the run depends on: numbers, text and arrays in dicts and lists."""
        return {name: part.state_dict() for name, part in self._parts()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to where a run was; whatever is wrong with the state, nothing has changed after the error."""
        parts = dict(self._parts())
        before = self.state_dict()
        if set(state) != set(parts):
            raise ValueError(f"it holds {', '.join(state)}; expected {', '.join(parts)}")
        try:
            for name, part in parts.items():
                part.load_state_dict(state[name])
        except Exception:
            for name, part in parts.items():
                part.load_state_dict(before[name])
            raise

    def _parts(self) -> Iterator[tuple[str, Any]]:
        """What has a state, each under its name; order and names are those of the checkpoint."""
        yield "history", self.history
        yield "model", self.model
        yield "generators", Generators(self.model)
        yield "optimizer", self.optimizer
        for i, schedule in enumerate(self.schedules):
            yield f"schedule {i}", schedule
        for name, data in (("train", self.train), ("valid", self.valid)):
            if hasattr(data, "state_dict"):
                yield name, data
        yield "callbacks", Callbacks(self.callbacks)


class Callback:
    """Base class of what `fit` calls on the way; override what you need. Each is given the `Run`.

    >>> import tinygrad_ce as tg
    >>> class Mine(tg.training.Callback):
    ...     def on_backward_end(self, run):
    ...         tg.optim.clip_grad_norm(run.model.parameters(), 1.0)
    ...
    ...     def on_epoch_end(self, run):
    ...         if run.history["accuracy"][-1] > 0.5:
    ...             run.stop("good enough")
    >>> train, _ = tg.data.digits()
    >>> model = tg.nn.Linear(64, 10)
    >>> history = tg.fit(model, train, loss=tg.F.softmax_cross_entropy, epochs=50, callbacks=[Mine()],
    ...                  optimizer=tg.optim.SGD(model.parameters(), lr=0.5), progress=False)
    >>> history.stopped
    'good enough'
    """

    def check(self, run: Run) -> None:
        """Before anything happens: raise an error if this callback cannot do its work in this run."""

    def on_fit_begin(self, run: Run) -> None:
        """Before the first epoch; what `resume` brings back is there."""

    def on_epoch_begin(self, run: Run) -> None:
        """Before the first step of an epoch."""

    def on_backward_end(self, run: Run) -> None:
        """In each step when the gradients are there, before the optimizer uses them: the place to clip them."""

    def on_step_end(self, run: Run) -> None:
        """After each step; keep it quick."""

    def on_epoch_end(self, run: Run) -> None:
        """After an epoch has been validated, recorded in `run.history`, and the schedule has stepped."""

    def on_fit_end(self, run: Run) -> None:
        """After the last epoch, and also when the run was stopped, was interrupted or met a loss of nan."""

    def on_error(self, run: Run) -> None:
        """In place of that, before any other error leaves `fit`."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint is to keep of this callback: numbers, text, arrays, in dicts and lists."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""


class Generators:
    """The random generators that modules hold, those of dropout say."""

    def __init__(self, model: Module) -> None:
        self.generators = {
            f"{path}.{name}" if path else name: value
            for path, module in model.named_modules()
            for name, value in vars(module).items()
            if isinstance(value, np.random.Generator)
        }

    def state_dict(self) -> dict[str, Any]:
        return {name: generator.bit_generator.state for name, generator in self.generators.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if set(state) != set(self.generators):
            raise ValueError(f"it has generators of {sorted(state)}, expected {sorted(self.generators)}")
        for name, generator in self.generators.items():
            generator.bit_generator.state = state[name]


class Callbacks:
    """The callbacks that have a state, by class name; one that is new to the run starts afresh."""

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self.callbacks: dict[str, Callback] = {}
        for callback in callbacks:
            name, n = type(callback).__name__, 2
            while name in self.callbacks:
                name, n = f"{type(callback).__name__} {n}", n + 1
            self.callbacks[name] = callback

    def state_dict(self) -> dict[str, Any]:
        return {name: callback.state_dict() for name, callback in self.callbacks.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, callback in self.callbacks.items():
            if name in state:
                callback.load_state_dict(state[name])
