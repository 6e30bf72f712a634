"""Fused against unfused: how far the spellings of the softmax cross-entropy are from the truth, and what they cost.

Every spelling, a *chain*, is run on the same logits. Its loss and gradient are measured against the true ones,
computed in a wider floating-point type by formulas of their own, so that the fused loss is on trial like the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce import functional as F
from tinygrad_ce.arrays import plain
from tinygrad_ce.autograd import grad
from tinygrad_ce.graph import capture
from tinygrad_ce.kernels.accuracy import Difference, Wide, difference, true_cross_entropy
from tinygrad_ce.mode import enable_grad
from tinygrad_ce.ops.targets import check_targets
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor

if TYPE_CHECKING:
    from rich.console import Group

Array: TypeAlias = NDArray[Any]
Reduction: TypeAlias = Literal["mean", "sum"]
Chain: TypeAlias = Callable[[Tensor, Array, int, Reduction], Tensor]


def _fused(logits: Tensor, targets: Array, axis: int, reduction: Reduction) -> Tensor:
    return F.softmax_cross_entropy(logits, targets, axis=axis, reduction=reduction)


def _log_softmax_nll(logits: Tensor, targets: Array, axis: int, reduction: Reduction) -> Tensor:
    return F.nll_loss(F.log_softmax(logits, axis), targets, axis=axis, reduction=reduction)


def _softmax_log_pick(logits: Tensor, targets: Array, axis: int, reduction: Reduction) -> Tensor:
    log_probs = F.log(F.softmax(logits, axis))
    picked = F.take_along_axis(log_probs, np.expand_dims(targets, axis), axis)
    return -(F.mean(picked) if reduction == "mean" else F.sum(picked))


CHAINS: Mapping[str, Chain] = {
    "fused": _fused,
    "log-softmax + NLL": _log_softmax_nll,
    "softmax, log, pick, mean": _softmax_log_pick,
}
"""Spellings of one loss, the fused one first: functions of (logits, targets, axis, reduction)."""


@dataclass(frozen=True)
class ChainResult:
    """What one chain computed and what it took.

    loss                its value
    gradient            of the loss with respect to the logits
    loss_error          against the truth
    gradient_error      against the truth, over the elements of the logits' gradient
    parameter_error     against the truth, over the gradients of all parameters; None if none were given
    lost                elements of the logits' gradient that are 0 though the truth, rounded to the dtype, is not
    largest_lost        the largest true magnitude among them; 0.0 if there are none
    not_finite          elements of the logits' gradient that are nan or infinite though the truth is finite
    ops                 ops from the logits to the loss
    kept_bytes          bytes held for the backward pass: each buffer once, those of leaves not at all
    """

    name: str
    loss: float
    gradient: Array = field(repr=False, compare=False)
    loss_error: Difference
    gradient_error: Difference
    parameter_error: Difference | None
    lost: int
    largest_lost: float
    not_finite: int
    ops: int
    kept_bytes: int


@dataclass(frozen=True)
class Comparison:
    """The chains side by side: `print` it, show it with rich, or take the numbers from `chains` and `to_json()`.

    chains      one result each, the fused one first
    loss        the true loss
    gradient    the true gradient of the loss with respect to the logits, in the wide type
    shape, dtype, axis, reduction   of the logits and of the loss
    reference   which type the truth was computed in
    """

    chains: tuple[ChainResult, ...]
    loss: float
    gradient: Array = field(repr=False, compare=False)
    shape: tuple[int, ...]
    dtype: str
    axis: int
    reduction: str
    reference: str

    def to_json(self) -> dict[str, Any]:
        """All numbers as a dict that `json.dumps` takes; the gradients are left out; nan and infinity are strings."""
        result: dict[str, Any] = asdict(self)
        for part in (result, *result["chains"]):
            del part["gradient"]
        strict: dict[str, Any] = strict_json(result)
        return strict

    def in_words(self) -> list[str]:
        """What the numbers say, a sentence each: what is lost, how exact the fused loss is, what each takes."""
        return _in_words(self)

    def __str__(self) -> str:
        head, rows = _cells(self)
        width = max(len(row[0]) for row in rows)
        columns = [max(map(len, (*head[i], *(row[i] for row in rows)))) for i in range(1, len(head))]
        lines = [_title(self), ""]
        for line in range(max(map(len, head))):
            words = [name[line] if line < len(name) else "" for name in head]
            lines.append(_aligned(words, width, columns))
        lines.append("-" * (width + sum(2 + n for n in columns)))
        lines += [_aligned(row, width, columns) for row in rows]
        return "\n".join(line.rstrip() for line in lines)

    def __rich__(self) -> Group:
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        head, rows = _cells(self)
        table = Table(box=box.SIMPLE_HEAD, show_edge=False)
        table.add_column("")
        for name in head[1:]:
            table.add_column("\n".join(name), justify="right")
        for row in rows:
            bad = "elements" in row[0]  # lost or not finite: meant to be seen
            cells = [Text(cell, style="bold red" if bad and cell != "0" else "") for cell in row[1:]]
            table.add_row(Text(row[0], style="dim" if row[0].startswith(" ") else ""), *cells)
        return Group(_title(self), "", table)


def compare_gradients(
    logits: TensorLike,
    targets: Any,
    *,
    axis: int = -1,
    reduction: Reduction = "mean",
    parameters: Mapping[str, Tensor] | None = None,
) -> Comparison:
    """Compare the fused softmax cross-entropy with its unfused spellings: loss, gradients, ops and memory.

        fused                       softmax_cross_entropy
        log-softmax + NLL           log_softmax, nll_loss
        softmax, log, pick, mean    softmax, log, take_along_axis, mean, neg

    logits      floating, any shape with the classes on `axis`, such as (N, C); nothing about it is changed
    targets     integer class indices, of the shape of the logits without `axis`, such as (N,)
    reduction   "mean" over the rows, or "sum"
    parameters  named tensors that the logits were computed from, such as `dict(model.named_parameters())`: each chain's
                gradient of the logits is pulled back to them through the logits' graph, which is retained, and so is
                the true one, rounded to the dtype: what is measured is the loss and not the network

    The truth is computed in long double, where that is wider than float64, else in float64 (the last ULP of float64
    logits is in doubt then). Differences are given in absolute terms and in ULP of the logits' dtype; half a ULP is
    the best that the dtype can do.

    Raises TypeError for logits that are not floating or parameters that take no gradient, ValueError for an empty
    batch, another reduction, or targets of the wrong shape or kind, IndexError for a target outside [0, C).
    Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions", 2021.

    >>> import tinygrad_ce as tg
    >>> comparison = compare_gradients([[2.0, 1.0, 0.1], [0.0, 40.0, 0.0]], [0, 1])
    >>> [(chain.name, chain.ops, chain.lost) for chain in comparison.chains]
    [('fused', 1, 0), ('log-softmax + NLL', 2, 0), ('softmax, log, pick, mean', 5, 1)]
    """
    source = as_tensor(logits)
    if source.dtype.kind != "f":
        raise TypeError(
            f"compare_gradients: logits must be floating, found {source.dtype}; write logits.astype(np.float32)"
        )
    if reduction not in ("mean", "sum"):
        raise ValueError(f'compare_gradients: reduction={reduction!r}; expected "mean" or "sum"')
    indices = check_targets("compare_gradients", "logits", source.data, plain(targets), axis)
    if source.size == 0:
        raise ValueError(f"compare_gradients: logits of shape {source.shape} have no rows to compare")
    axis %= source.ndim
    with enable_grad(), np.errstate(all="ignore"):
        loss, gradient = true_cross_entropy(source.data, indices, axis, reduction)
        back = _PullBack(source, parameters or {}, gradient)
        chains = tuple(
            _run(name, chain, Tensor(source.data, requires_grad=True), indices, axis, reduction, loss, gradient, back)
            for name, chain in CHAINS.items()
        )
    bits = np.finfo(Wide).nmant + 1
    return Comparison(
        chains=chains,
        loss=float(loss),
        gradient=gradient,
        shape=source.shape,
        dtype=source.dtype.name,
        axis=axis,
        reduction=reduction,
        reference=f"{'long double' if bits > 53 else 'float64'} ({bits} bits)",
    )


def _run(
    name: str,
    chain: Chain,
    leaf: Tensor,
    targets: Array,
    axis: int,
    reduction: Reduction,
    true_loss: Any,
    truth: Array,
    back: _PullBack,
) -> ChainResult:
    loss = chain(leaf, targets, axis, reduction)
    graph = capture(loss, gradients=False)
    gradient = grad(loss, leaf).data
    lost = (gradient == 0) & (truth.astype(gradient.dtype) != 0)
    return ChainResult(
        name=name,
        loss=loss.item(),
        gradient=gradient,
        loss_error=difference(loss.data, true_loss),
        gradient_error=difference(gradient, truth),
        parameter_error=back.difference(gradient),
        lost=int(lost.sum()),
        largest_lost=float(np.abs(truth[lost]).max(initial=0.0)),
        not_finite=int((~np.isfinite(gradient) & np.isfinite(truth)).sum()),
        ops=graph.ops,
        kept_bytes=graph.kept_bytes,
    )


class _PullBack:
    """From gradients of the logits to gradients of the parameters, compared with those that the true one brings."""

    def __init__(self, logits: Tensor, parameters: Mapping[str, Tensor], truth: Array) -> None:
        for name, parameter in parameters.items():
            if not isinstance(parameter, Tensor) or not parameter.requires_grad:
                raise TypeError(f"compare_gradients: parameters[{name!r}] is {parameter!r}, which takes no gradient")
        if parameters and not logits.requires_grad:
            raise TypeError(
                "compare_gradients: the logits have no graph that leads to the parameters; pass model(x) itself, "
                "computed outside no_grad()"
            )
        self.logits, self.parameters = logits, parameters
        self.truth = self.pull(truth.astype(logits.dtype))

    def pull(self, gradient: Array) -> list[Array]:
        if not self.parameters:
            return []
        found = grad(self.logits, list(self.parameters.values()), gradient, retain_graph=True)
        return [g.data for g in found]

    def difference(self, gradient: Array) -> Difference | None:
        pulled = zip(self.parameters, self.pull(gradient), self.truth, strict=True)
        found = [difference(g, truth, name) for name, g, truth in pulled]
        if not found:
            return None
        worst = max(found, key=lambda d: d.ulps)
        return Difference(max(d.absolute for d in found), worst.ulps, worst.index, worst.name)


# The same numbers for people


def _title(comparison: Comparison) -> str:
    shape = " x ".join(map(str, comparison.shape))
    return f"{shape} {comparison.dtype} logits, {comparison.reduction} over the rows; truth: {comparison.reference}"


def _cells(comparison: Comparison) -> tuple[list[list[str]], list[list[str]]]:
    """The chains' names, broken into lines, and the rows of the table."""
    chains = comparison.chains
    head = [[""], *(wrap(chain.name, 14) for chain in chains)]
    rows = [["loss", *(f"{chain.loss:.7g}" for chain in chains)]]
    rows += _difference_rows([chain.loss_error for chain in chains])
    rows += [["gradient of the logits", *[""] * len(chains)]]
    rows += _difference_rows([chain.gradient_error for chain in chains])
    rows += [["  elements lost to 0", *(str(chain.lost) for chain in chains)]]
    if any(chain.not_finite for chain in chains):
        rows += [["  elements nan or infinite", *(str(chain.not_finite) for chain in chains)]]
    errors = [chain.parameter_error for chain in chains if chain.parameter_error is not None]
    if errors:
        rows += [["gradients of the parameters", *[""] * len(chains)], *_difference_rows(errors)]
    rows += [["ops in the graph", *(str(chain.ops) for chain in chains)]]
    rows += [["bytes kept for backward", *(f"{chain.kept_bytes:,}" for chain in chains)]]
    return head, rows


def _difference_rows(differences: Sequence[Difference]) -> list[list[str]]:
    return [
        ["  largest difference", *("0" if d.absolute == 0 else f"{d.absolute:.1e}" for d in differences)],
        ["  in ULP", *(_ulps(d.ulps) for d in differences)],
    ]


def _ulps(x: float) -> str:
    if x == 0 or math.isinf(x):
        return f"{x:.0f}"
    if x < 0.005:
        return "<0.01"
    return f"{x:.2f}" if x < 10 else f"{x:,.0f}" if x < 1e5 else f"{x:.1e}"


def _aligned(row: Sequence[str], width: int, columns: Sequence[int]) -> str:
    return row[0].ljust(width) + "".join("  " + cell.rjust(n) for cell, n in zip(row[1:], columns, strict=True))


def _in_words(comparison: Comparison) -> list[str]:
    fused = comparison.chains[0]
    lines = []
    for chain in comparison.chains:
        of_all = f"of the {chain.gradient.size} elements of the logits' gradient"
        worst, pulled = chain.gradient_error, chain.parameter_error
        if chain.lost:
            lines.append(
                f"{chain.name}: {chain.lost} {of_all} {'is' if chain.lost == 1 else 'are'} exactly 0, although "
                f"{comparison.dtype} can hold the truth (up to {chain.largest_lost:.1e})."
            )
        if chain.not_finite:
            are = "is" if chain.not_finite == 1 else "are"
            lines.append(f"{chain.name}: {chain.not_finite} {of_all} {are} not finite.")
        if not chain.lost and not chain.not_finite and worst.ulps >= 2.0 ** np.finfo(comparison.dtype).nmant:
            lines.append(f"{chain.name}: the worst {of_all} has no digit right.")
        if pulled is not None and pulled.ulps > worst.ulps:
            where = f"{pulled.name}[{', '.join(map(str, pulled.index))}]"
            lines.append(
                f"{chain.name}: the gradients of the parameters are sums whose terms may cancel, which magnifies "
                f"what is wrong with the terms: up to {_ulps(pulled.ulps)} ULP, at {where}."
            )
    ulps = max(fused.loss_error.ulps, fused.gradient_error.ulps)
    lines.append(
        f"fused: loss and gradient are within {ulps:.2f} ULP of the truth; 0.5 is the best that rounding can do."
    )
    most = max(comparison.chains, key=lambda chain: chain.ops)
    lines.append(
        f"fused: {fused.ops} op that keeps {fused.kept_bytes:,} bytes for the backward pass; "
        f"{most.name}: {most.ops} ops that keep {most.kept_bytes:,}."
    )
    return lines


def strict_json(value: Any) -> Any:
    """The same without nan and infinity, which JSON has not: they become strings."""
    if isinstance(value, dict):
        return {key: strict_json(x) for key, x in value.items()}
    if isinstance(value, (tuple, list)):
        return [strict_json(x) for x in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
