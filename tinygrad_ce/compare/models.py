"""Two losses on one model: the gradient of every parameter, held against a float64 run of the same."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

import numpy as np

from tinygrad_ce.autograd import grad
from tinygrad_ce.compare.measured import Error
from tinygrad_ce.compare.problem import Array
from tinygrad_ce.compare.report import format_ulps
from tinygrad_ce.kernels.accuracy import Wide
from tinygrad_ce.mode import enable_grad
from tinygrad_ce.nn.module import Module
from tinygrad_ce.results import Table, strict_json
from tinygrad_ce.tensor import Tensor
from tinygrad_ce.viz import Picture, draw_comparison

Loss = Callable[[Tensor, Any], Tensor]
SAME = 1e-9  # relative difference in float64 up to which two losses are mathematically the same
NOTHING = 1e-13  # absolute difference in float64 that rounding of probabilities near 1 explains


@dataclass(frozen=True)
class ParameterResult:
    """The gradients of one parameter ("" is the loss itself).

    size            the largest element of the second loss's gradient
    between         of the first loss against the second, in the dtype of the model
    first, second   each against its own float64 run; None for a float64 model
    mathematically  the largest difference of the two float64 runs, over the largest element; 0 below 1e-13
    lost            of each: elements that are 0 though their float64 run, rounded to the dtype, is not
    not_finite      of each: elements that are nan or infinite
    """

    name: str
    shape: tuple[int, ...]
    size: float
    between: Error
    first: Error | None
    second: Error | None
    mathematically: float
    lost: tuple[int, int]
    not_finite: tuple[int, int]


@dataclass(frozen=True)
class Trial:
    """What was compared, to be run again: a copy of the model, the batch, the losses."""

    model: Module
    batch: tuple[Any, Any]
    losses: tuple[Loss, Loss]


@dataclass(frozen=True, repr=False)
class ModelComparison:
    """Every parameter of a model under two losses: `print` it, or take `parameters`, `loss` and `to_json()`."""

    loss: ParameterResult
    parameters: tuple[ParameterResult, ...]
    losses: tuple[float, float]
    names: tuple[str, str]
    dtype: str
    trial: Trial = field(compare=False)

    def verdict(self) -> str:
        """Are the two losses the same, and if so, by how much does rounding part them?"""
        everything = (self.loss, *self.parameters)
        apart = max(everything, key=lambda result: result.mathematically)
        if not apart.mathematically <= SAME:
            where = f"the gradient of {apart.name}" if apart is not self.loss else "the loss"
            return f"different losses: in float64, too, {where} differs by {apart.mathematically:.1e} of its size"
        counts = [(sum(r.not_finite[i] for r in everything), sum(r.lost[i] for r in everything)) for i in (0, 1)]
        if any(map(any, counts)):
            (broken, lost), name = max(zip(counts, self.names, strict=True))
            count, what = (broken, "not finite") if broken else (lost, "lost to 0")
            return f"the same loss, but {name} has {count} number{'s' * (count > 1)} {what}"
        worst = max(everything, key=lambda result: result.between.ulps)
        if worst.between.ulps == 0:
            return "the same to the last bit"
        where = f"{worst.name}{list(worst.between.index)}" if worst is not self.loss else "the loss"
        return f"the same loss: they differ by rounding, up to {format_ulps(worst.between.ulps)} ULP at {where}"

    def to_json(self) -> dict[str, Any]:
        """All numbers as a dict that `json.dumps` takes."""
        numbers = {key: getattr(self, key) for key in ("losses", "names", "dtype")}
        results = {"loss": asdict(self.loss), "parameters": [asdict(result) for result in self.parameters]}
        strict: dict[str, Any] = strict_json({**results, **numbers, "verdict": self.verdict()})
        return strict

    def draw(self, **options: Any) -> Picture:
        """The graphs of both losses side by side, each run again on a copy of the model as it was compared.

        options  of `draw_comparison`: show, gradients, direction, depth, expand

        >>> import numpy as np
        >>> import tinygrad_ce as tg
        >>> from tinygrad_ce import functional as F
        >>> model = tg.nn.MLP([4, 8, 3], generator=np.random.default_rng(0))
        >>> def unfused(z, y):
        ...     return F.nll_loss(F.log_softmax(z), y)
        >>> batch = np.ones((2, 4), np.float32), np.array([0, 2])
        >>> text = compare_models(model, batch, unfused, F.softmax_cross_entropy).draw().text()
        >>> [(line[0], line.split()[2]) for line in text.splitlines() if line[0] in "-+"]
        [('-', 'log_softmax'), ('-', 'nll_loss'), ('+', 'softmax_cross_entropy')]
        """
        x, y = self.trial.batch
        copies = [copy.deepcopy(self.trial.model) for _ in self.names]
        with enable_grad(), np.errstate(all="ignore"):
            a, b = (loss(model(x), y) for model, loss in zip(copies, self.trial.losses, strict=True))
        inputs = {name: z for name, z in (("x", x), ("y", y)) if isinstance(z, (Tensor, np.ndarray))}
        return draw_comparison(a, b, titles=self.names, model=(copies[0], copies[1]), inputs=inputs, **options)

    def raise_if_different(self, rtol: float = 1e-5) -> None:
        """AssertionError unless loss and gradients agree: |difference| <= rtol * the largest element of each."""
        for result in (self.loss, *self.parameters):
            if not result.between.absolute <= rtol * result.size:
                raise AssertionError(f"{result.name or 'the loss'}: {self.verdict()}\n\n{self}")

    def table(self) -> Table:
        head = ["", "\nshape", "a - b:\nabsolute", "\nin ULP", "a:\nin ULP", "b:\nin ULP", "\nlost", "not\nfinite"]
        rows = []
        for result in (self.loss, *self.parameters):
            own = ["-" if error is None else format_ulps(error.ulps) for error in (result.first, result.second)]
            pairs = [" ".join(map(str, pair)) if any(pair) else "0" for pair in (result.lost, result.not_finite)]
            rows.append(
                [
                    result.name or "loss",
                    " x ".join(map(str, result.shape)) or "()",
                    f"{result.between.absolute:.1e}",
                    format_ulps(result.between.ulps),
                    *own,
                    *pairs,
                ]
            )
        return Table(head, rows, ("\nlost", "not\nfinite"))

    def title(self) -> str:
        """The two losses and what they came to, in one line."""
        a, b = (f"{name} = {loss:.7g}" for name, loss in zip(self.names, self.losses, strict=True))
        return f"a: {a}, b: {b}; {self.dtype}, each against its own run in float64"

    def __repr__(self) -> str:
        return f"{self.title()}\n\n{self.table()}\n\n{self.verdict()}"

    def _repr_html_(self) -> str:
        return f"<div><p>{escape(self.title())}</p>{self.table().html()}<p>{escape(self.verdict())}</p></div>"


def compare_models(model: Module, batch: tuple[Any, Any], loss_a: Loss, loss_b: Loss) -> ModelComparison:
    """The loss and the gradient of every parameter under two losses, each also against itself in float64.

    model           a module; it is copied, so nothing about it changes, and both losses meet the same random numbers
    batch           (x, y): what the model takes, and the targets
    loss_a, loss_b  functions of (model(x), y) that return a loss of one element

    Raises ValueError for a loss of several elements or a model without parameters.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> from tinygrad_ce import functional as F
    >>> model = tg.nn.MLP([4, 8, 3], generator=np.random.default_rng(0))
    >>> x, y = np.ones((2, 4), np.float32), np.array([0, 2])
    >>> def unfused(z, y):
    ...     return F.nll_loss(F.log_softmax(z), y)
    >>> compare_models(model, (x, y), F.softmax_cross_entropy, unfused).raise_if_different()
    """
    x, y = batch
    names = [getattr(x, "__name__", "") or getattr(x, "name", type(x).__name__) for x in (loss_a, loss_b)]
    if names[0] == names[1] or "<lambda>" in names:
        names = [name if name not in ("<lambda>", names[1 - i]) else "ab"[i] for i, name in enumerate(names)]
    with enable_grad(), np.errstate(all="ignore"):
        own = [_gradients(copy.deepcopy(model), x, y, loss) for loss in (loss_a, loss_b)]
        wide = [_gradients(_in_float64(model), _widened(x), y, loss) for loss in (loss_a, loss_b)]
    results = [_compare(name, own[0][name], own[1][name], wide[0][name], wide[1][name]) for name in own[0]]
    losses = (own[0][""].item(), own[1][""].item())
    trial = Trial(copy.deepcopy(model), (x, y), (loss_a, loss_b))
    return ModelComparison(results[0], tuple(results[1:]), losses, (names[0], names[1]), own[0][""].dtype.name, trial)


def _gradients(model: Module, x: Any, y: Any, loss: Loss) -> dict[str, Array]:
    """The loss under "", and the gradient of each parameter by its path; 0 for those that have no part in it."""
    parameters = dict(model.named_parameters())
    if not parameters:
        raise ValueError(f"compare_models: {type(model).__name__} has no parameters")
    value = loss(model(x), y)
    if not isinstance(value, Tensor) or value.size != 1:
        found = f"one of shape {value.shape}" if isinstance(value, Tensor) else f"{value!r}"
        raise ValueError(f'compare_models: a loss must be a Tensor of one element, found {found}; reduction="mean"?')
    found = grad(value, list(parameters.values()), allow_unused=True)
    arrays = {name: g.data if g is not None else np.zeros_like(parameters[name].data) for name, g in
              zip(parameters, found, strict=True)}  # fmt: skip
    return {"": value.data.reshape(()), **arrays}


def _in_float64(model: Module) -> Module:
    model = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(np.float64)
    return model


def _widened(x: Any) -> Any:
    array = x.data if isinstance(x, Tensor) else np.asarray(x)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _compare(name: str, a: Array, b: Array, wide_a: Array, wide_b: Array) -> ParameterResult:
    is_wide = a.dtype == np.float64
    size = float(np.abs(wide_b).max(initial=0))
    apart = float(np.abs(wide_a - wide_b).max(initial=0))
    if apart <= NOTHING or np.array_equal(wide_a, wide_b, equal_nan=True):
        apart = 0.0
    pairs = ((a, wide_a), (b, wide_b))
    errors = [None if is_wide else Error.of(g, wide.astype(Wide), name) for g, wide in pairs]
    lost = [0 if is_wide else int(((g == 0) & (wide.astype(g.dtype) != 0)).sum()) for g, wide in pairs]
    broken = [int((~np.isfinite(g)).sum()) for g, _ in pairs]
    return ParameterResult(
        name,
        a.shape,
        float(np.abs(b).max(initial=0)),
        Error.of(a, b.astype(Wide), name),
        errors[0],
        errors[1],
        0.0 if apart == 0 else apart / size if size else math.inf,
        (lost[0], lost[1]),
        (broken[0], broken[1]),
    )
