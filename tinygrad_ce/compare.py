"""Fused against unfused: how far several spellings of the softmax cross-entropy are from the truth, and what they cost.

Every spelling, a *chain*, is run on the same logits. Its loss and gradient are measured against the exact ones, computed
here in a wider floating-point type by formulas of their own, so that the fused loss is on trial like the others.
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
from tinygrad_ce.graph import capture
from tinygrad_ce.mode import enable_grad
from tinygrad_ce.ops.targets import check_targets
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor, grad

if TYPE_CHECKING:
    from rich.table import Table

Array: TypeAlias = NDArray[Any]
Reduction: TypeAlias = Literal["mean", "sum"]
Chain: TypeAlias = Callable[[Tensor, Array, int, Reduction], Tensor]

Wide = np.longdouble  # 64 bits of significand on x86, 113 on other Linux, 53 (no wider than float64) elsewhere


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
class Difference:
    """How far an array is from the truth, at its worst element.

    absolute    the largest absolute difference
    ulps        the largest difference in ULP: units in the last place of the true value, rounded to the dtype
    index       the element with the most ULP; () for a single number
    name        the parameter it belongs to, where there are several arrays
    """

    absolute: float
    ulps: float
    index: tuple[int, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class ChainResult:
    """What one chain computed and what it took.

    loss                its value
    gradient            of the loss with respect to the logits
    loss_error          against the truth
    gradient_error      against the truth, over the elements of the logits' gradient
    parameter_error     against the truth, over the gradients of all parameters; None if none were given
    lost                elements of the logits' gradient that are exactly 0 though the truth, rounded to the dtype, is not
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
        """What the numbers say, a sentence each: gradients that are lost, how exact the fused loss is, what it saves."""
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

    def __rich__(self) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        head, rows = _cells(self)
        table = Table(title=_title(self), box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
        table.add_column("")
        for name in head[1:]:
            table.add_column("\n".join(name), justify="right")
        for row in rows:
            # whoever is far off, or loses something, is meant to be seen
            bad = "elements" in row[0]
            cells = [Text(cell, style="bold red" if bad and cell != "0" else "") for cell in row[1:]]
            table.add_row(Text(row[0], style="dim" if row[0].startswith(" ") else ""), *cells)
        return table


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

    The truth is computed in long double, where that is wider than float64, else in float64, with the argmax left out of
    every sum and differences of logits compensated (TwoSum), so that nothing cancels. Differences are given in
    absolute terms and in ULP of the logits' dtype; half a ULP is the best that the dtype can do.

    Raises TypeError for logits that are not floating or parameters that are no Tensors with a gradient, ValueError for an
    empty batch, another reduction, or targets of the wrong shape or kind, IndexError for a target outside [0, C).
    Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions", 2021; Knuth's TwoSum.

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
        loss, gradient = _exact(source.data, indices, axis, reduction)
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


def _exact(logits: Array, targets: Array, axis: int, reduction: Reduction) -> tuple[Any, Array]:
    """The loss and its gradient in the wide type, where nothing cancels.

    With a = argmax z, m = z_a and s' = sum over j != a of exp(z_j - m):

        l = log1p(s') + (m - z_y),   p_j = exp(z_j - m) / (1 + s'),   dz_y = -s' / (1 + s') if y = a, else p_y - 1
    """
    rows = np.moveaxis(logits, axis, -1)
    z = rows.reshape(-1, rows.shape[-1]).astype(Wide)
    y = targets.reshape(-1)
    each = np.arange(len(z))
    a = z.argmax(axis=1)
    m = z[each, a]
    e = _exp_of_difference(z, m[:, None])
    e[each, a] = m - m  # 0, or nan where a row holds nan or +inf, or only -inf
    rest = e.sum(axis=1)
    losses = np.log1p(rest) + (m - z[each, y])
    e[each, a] += 1
    dz = e / (1 + rest)[:, None]
    dz[each, y] = np.where(y == a, -rest / (1 + rest), dz[each, y] - 1)
    count = len(z) if reduction == "mean" else 1
    return losses.sum() / count, np.moveaxis((dz / count).reshape(rows.shape), -1, axis)


def _exp_of_difference(x: Array, m: Array) -> Array:
    """exp(x - m) with the round-off of the difference put back: TwoSum, then exp(d + dd) = exp(d) (1 + dd)."""
    d = x - m
    b = d - x
    dd = (x - (d - b)) - (m + b)
    result: Array = np.exp(d) * (1 + np.where(np.isfinite(dd), dd, 0))
    return result


def ulp_difference(actual: Array, exact: Array) -> Array:
    """|actual - exact| in units of the last place of the exact value, rounded to the dtype of `actual`.

    Around 0 the unit is the smallest subnormal number, beyond the largest number that number's. nan is right only where
    nan is the truth, an infinity where the truth is that infinity or overflows the dtype; else they are infinitely wrong.

    >>> ulp_difference(np.float32([1.0, 0.0]), np.longdouble([1.0 + 2.0**-24, 1e-45])).round(2).tolist()
    [0.5, 0.71]
    """
    with np.errstate(all="ignore"):
        actual, exact = np.asarray(actual), np.asarray(exact)
        rounded = exact.astype(actual.dtype)
        largest = np.nextafter(np.finfo(actual.dtype).max, 0, dtype=actual.dtype)
        unit = np.spacing(np.minimum(np.abs(rounded), largest)).astype(Wide)
        result = (np.abs(actual.astype(Wide) - exact) / unit).astype(np.float64)
        right = (actual == rounded) & ~np.isfinite(rounded) | np.isnan(actual) & np.isnan(exact)
        return np.where(right, 0.0, np.where(np.isnan(result), np.inf, result))


def difference(actual: Array, exact: Array, name: str = "") -> Difference:
    """The largest differences between an array and the truth."""
    ulps = ulp_difference(actual, exact)
    if ulps.size == 0:
        return Difference(0.0, 0.0, (), name)
    apart = np.abs(np.where(ulps > 0, np.asarray(actual, Wide) - exact, 0))
    index = np.unravel_index(int(ulps.argmax()), ulps.shape)
    largest = np.where(np.isnan(apart), np.inf, apart).max()
    return Difference(float(largest), float(ulps.max()), tuple(int(i) for i in index), name)


# The same numbers for people


def _title(comparison: Comparison) -> str:
    shape = " x ".join(map(str, comparison.shape))
    return f"{shape} logits in {comparison.dtype}, {comparison.reduction} over the rows, against {comparison.reference}"


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
    lines = []
    for chain in comparison.chains:
        of_all = f"of the {chain.gradient.size} elements of the logits' gradient"
        if chain.lost:
            lines.append(
                f"{chain.name}: {chain.lost} {of_all} {'is' if chain.lost == 1 else 'are'} exactly 0, although "
                f"{comparison.dtype} can hold the truth (up to {chain.largest_lost:.1e})."
            )
        if chain.not_finite:
            lines.append(f"{chain.name}: {chain.not_finite} {of_all} {'is' if chain.not_finite == 1 else 'are'} not finite.")
        if chain.gradient_error.ulps >= 2.0 ** np.finfo(comparison.dtype).nmant and not (chain.lost or chain.not_finite):
            lines.append(f"{chain.name}: the worst {of_all} has no digit right.")
    fused = comparison.chains[0]
    worst = max(fused.loss_error.ulps, fused.gradient_error.ulps)
    lines.append(f"fused: loss and gradient are within {worst:.2f} ULP of the truth; 0.5 is the best that rounding can do.")
    most = max(comparison.chains, key=lambda chain: chain.kept_bytes)
    if most.kept_bytes > fused.kept_bytes:
        lines.append(
            f"fused: {fused.ops} op where {most.name} takes {most.ops}, and {fused.kept_bytes:,} bytes kept for the "
            f"backward pass where it keeps {most.kept_bytes:,}."
        )
    return lines


def strict_json(value: Any) -> Any:
    """The same without nan and infinity, which JSON has not: they become strings."""
    if isinstance(value, dict):
        return {key: strict_json(x) for key, x in value.items()}
    if isinstance(value, (tuple, list)):
        return [strict_json(x) for x in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
