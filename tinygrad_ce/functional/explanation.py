"""What a call of the softmax cross-entropy computed, in words and in a table."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.arrays import plain
from tinygrad_ce.functional.loss import OnEmpty, Reduction, softmax_cross_entropy
from tinygrad_ce.functional.softmax import softmax
from tinygrad_ce.mode import no_grad
from tinygrad_ce.ops import targets as checks
from tinygrad_ce.tensor import TensorLike, as_tensor

if TYPE_CHECKING:
    from rich.console import Group

__all__ = ["Explanation", "explain"]

Array = NDArray[Any]


@dataclass(frozen=True, repr=False)
class Explanation:
    """What a loss call computed: `print` it, show it in a notebook, or take the numbers.

    loss           what the call returns; None for reduction "none"
    losses         the loss of each row, class weights included, 0 where it is ignored
    denominator    what the mean divides by; None for another reduction
    row_weights    what each row adds to the denominator: the weight of its target class, 0 if it is ignored, and 1
                   for a row of probabilities
    ignored        whether each row is ignored
    targets        the effective target distribution of each row, after smoothing: of the shape of the logits, 0 in
                   ignored rows
    probabilities  softmax of the logits
    indices        the target class of each row; None if the targets are probabilities
    """

    loss: float | None
    losses: Array
    denominator: float | None
    row_weights: Array
    ignored: Array
    targets: Array
    probabilities: Array
    indices: Array | None
    axis: int
    reduction: str
    weight: Array | None
    ignore_index: int
    label_smoothing: float
    on_empty: str
    rows: int  # how many of the worst and of the most confident rows are shown

    def worst(self) -> list[tuple[int, ...]]:
        """Positions of the rows with the largest losses that count, the worst first."""
        return self._first(-np.where(np.isnan(self.losses), np.inf, self.losses))

    def most_confident(self) -> list[tuple[int, ...]]:
        """Positions of the rows that count with the largest probability of any class, the most confident first."""
        return self._first(-np.where(np.isnan(self._confidence()), -np.inf, self._confidence()))

    def in_words(self) -> list[str]:
        """What was computed, a sentence each: targets, weights, ignored rows, the sum and what divides it."""
        return [*_about_targets(self), *_about_rows(self), _about_loss(self), *_about_hits(self)]

    def _confidence(self) -> Array:
        confidence: Array = np.max(self.probabilities, axis=self.axis)
        return confidence

    def _first(self, order: Array) -> list[tuple[int, ...]]:
        """Positions of the first of the rows that count; of equal ones the earlier."""
        flat = np.argsort(order, axis=None, kind="stable")
        counted = flat[~self.ignored.reshape(-1)[flat]][: self.rows]
        return [_position(self, int(i)) for i in counted]

    def __repr__(self) -> str:
        head, *body = [cells for _, cells in _lines(self)]
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        lines = [_title(self), *(f"- {sentence}" for sentence in self.in_words()), ""]
        for name, cells in _lines(self):
            if name:
                lines.append(f"{name}:")
            lines.append("  ".join(cell.ljust(n) for cell, n in zip(cells, widths, strict=True)).rstrip())
        return "\n".join(lines)

    def __rich__(self) -> Group:
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        (_, head), *body = _lines(self)
        table = Table(*head, box=box.SIMPLE_HEAD, show_edge=False)
        for name, cells in body:
            if name:
                table.add_row(Text(name, style="bold"))
            table.add_row(*map(Text, cells))
        words = (Text(f"- {sentence}") for sentence in self.in_words())
        return Group(Text(_title(self), style="bold"), *words, Text(), table)

    def _repr_html_(self) -> str:
        from html import escape

        (_, head), *body = _lines(self)
        parts = [f"<p><b>{escape(_title(self))}</b></p><ul>"]
        parts += [f"<li>{escape(sentence)}</li>" for sentence in self.in_words()]
        parts += ["</ul><table><tr>", *(f"<th>{escape(cell)}</th>" for cell in head), "</tr>"]
        for name, cells in body:
            if name:
                parts.append(f'<tr><th colspan="{len(head)}">{escape(name)}</th></tr>')
            parts += ["<tr>", *(f"<td>{escape(cell)}</td>" for cell in cells), "</tr>"]
        return "".join([*parts, "</table>"])


def explain(
    logits: TensorLike,
    targets: Any,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    axis: int = -1,
    on_empty: OnEmpty = "nan",
    precise: bool = False,
    rows: int = 3,
) -> Explanation:
    """Say what `softmax_cross_entropy` computes from these arguments, which are the same.

    rows  how many of the worst and of the most confident rows the table shows; a batch of no more than twice as many
          is shown whole

    The numbers are those of the loss itself and its errors and warnings too; nothing is recorded for a gradient.
    Raises as `softmax_cross_entropy` does, and ValueError for rows below 1.

    >>> import tinygrad_ce as tg
    >>> print(tg.functional.explain([[2.0, 1.0, 0.1], [0.0, 4.0, 0.0], [1.0, 1.0, 1.0]], [0, 2, -100]))
    softmax_cross_entropy of 3 rows of 3 classes (float32 logits of shape (3, 3), classes on axis 1)
    - The targets are class indices.
    - 1 of 3 rows is ignored because its target is -100: it adds nothing to the loss, the denominator or the gradient.
    - The losses of the rows add up to 4.453; the mean divides it by 2, the number of rows that are not ignored: 2.227.
    - The likeliest class is the target in 1 of 2 rows that are not ignored. Guessing evenly costs ln 3 = 1.099 a row.
    <BLANKLINE>
    row  target  likeliest class  p(target)  weight  loss
    0    0       0 (p = 0.659)    0.659      1       0.417
    1    2       1 (p = 0.9647)   0.01767    1       4.036
    2    -100    0 (p = 0.3333)   -          0       ignored
    """
    if rows < 1:
        raise ValueError(f"explain: rows={rows}; expected at least 1")
    z = as_tensor(logits)
    options: dict[str, Any] = {
        "weight": weight, "ignore_index": ignore_index, "label_smoothing": label_smoothing, "axis": axis,
        "on_empty": on_empty,
    }  # fmt: skip
    with no_grad(), warnings.catch_warnings():
        loss = softmax_cross_entropy(z, targets, reduction=reduction, precise=precise, **options)
        warnings.simplefilter("ignore")  # it has warned
        losses = softmax_cross_entropy(z, targets, reduction="none", precise=precise, **options).data
        probabilities = softmax(z, axis).data
    array = np.asarray(plain(targets))
    q = array if array.dtype.kind == "f" and array.ndim == z.ndim else None
    options["weight"] = by_class = None if weight is None else np.asarray(plain(weight))
    goal = checks.check_goal(
        "explain", "logits", z.data, None if q is not None else array, q, reduction=reduction, **options
    )
    row_weights = np.ones(losses.shape)
    if goal.indices is not None:
        q = checks.one_hot(goal.indices, axis, z.shape)
        if by_class is not None:
            row_weights = by_class.astype(np.float64)[goal.indices]
    ignored = np.zeros(losses.shape, bool) if goal.ignored is None else goal.ignored
    return Explanation(
        loss=None if reduction == "none" else loss.item(),
        losses=losses,
        denominator=float(goal.divisor) if reduction == "mean" else None,
        row_weights=np.where(ignored, 0.0, row_weights),
        ignored=ignored,
        targets=checks.effective_targets(np.asarray(q, z.dtype), None, label_smoothing, goal.ignored, axis),
        probabilities=probabilities,
        indices=None if goal.indices is None else array,
        axis=axis % z.ndim,
        reduction=reduction,
        weight=by_class,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        on_empty=on_empty,
        rows=rows,
    )


# The same numbers for people


def _title(e: Explanation) -> str:
    shape = e.probabilities.shape
    return (
        f"softmax_cross_entropy of {_count(e.losses.size, 'row')} of {_count(shape[e.axis], 'class')} "
        f"({e.probabilities.dtype} logits of shape {shape}, classes on axis {e.axis})"
    )


def _about_targets(e: Explanation) -> list[str]:
    classes, smoothing = e.probabilities.shape[e.axis], e.label_smoothing
    lines = [f"The targets are {'probabilities' if e.indices is None else 'class indices'}."]
    if smoothing:
        rest = smoothing / classes
        what = (
            f"a probability q becomes {1 - smoothing:.4g} q + {rest:.4g}"
            if e.indices is None
            else f"the target class gets {1 - smoothing + rest:.4g}, every other class {rest:.4g}"
        )
        lines.append(f"label_smoothing={smoothing:g} spreads that share of a target evenly over all classes: {what}.")
    if e.weight is not None:
        lines.append(f"The terms of class c are multiplied by weight[c], which is {_weights(e.weight)}.")
    return lines


def _about_rows(e: Explanation) -> list[str]:
    count = int(e.ignored.sum())
    if not count:
        return []
    verb, whose, it = ("is", "its target is", "it adds") if count == 1 else ("are", "their target is", "they add")
    return [
        f"{count} of {_count(e.losses.size, 'row')} {verb} ignored because {whose} {e.ignore_index}: {it} nothing to "
        "the loss, the denominator or the gradient."
    ]


def _about_loss(e: Explanation) -> str:
    total = float(np.sum(e.losses, dtype=np.float64))
    if e.reduction == "none":
        return f'reduction "none": the loss is that of each row; together they are {total:.4g}.'
    if e.reduction == "sum":
        return f"The losses of the rows add up to {e.loss:.4g}, which is the loss."
    if not e.denominator:
        return f'There is nothing to average, so the loss is {e.loss:g} (on_empty="{e.on_empty}"), its gradient 0.'
    what = "the number of rows" + (" that are not ignored" if e.ignored.any() else "")
    if e.weight is not None and e.indices is not None:
        what = "the sum of the weights of the target classes"
    return (
        f"The losses of the rows add up to {total:.4g}; the mean divides it by {e.denominator:.6g}, {what}: "
        f"{e.loss:.4g}."
    )


def _about_hits(e: Explanation) -> list[str]:
    counted = int((~e.ignored).sum())
    if not counted:
        return []
    right = np.argmax(e.probabilities, e.axis) == np.argmax(e.targets, e.axis)
    hits, classes = int((right & ~e.ignored).sum()), e.probabilities.shape[e.axis]
    what = "the target" if e.indices is not None else "that of the target too"
    rest = " that are not ignored" if e.ignored.any() else ""
    words = f"The likeliest class is {what} in {hits} of {_count(counted, 'row')}{rest}."
    if e.weight is None:
        words += f" Guessing evenly costs ln {classes} = {math.log(classes):.4g} a row."
    return [words]


def _lines(e: Explanation) -> list[tuple[str, Sequence[str]]]:
    """The head of the table and its rows, each with the name of a section where one begins."""
    head = ["row", "target", "likeliest class", "p(target)", "weight", "loss"]
    if e.indices is None:
        head.remove("p(target)")
    lines: list[tuple[str, Sequence[str]]] = [("", head)]
    if e.losses.size <= 2 * e.rows:
        return lines + [("", _cells(e, _position(e, i))) for i in range(e.losses.size)]
    for name, positions in (("worst", e.worst()), ("most confident", e.most_confident())):
        lines += [("" if i else name, _cells(e, position)) for i, position in enumerate(positions)]
    return lines


def _cells(e: Explanation, position: tuple[int, ...]) -> list[str]:
    p = np.moveaxis(e.probabilities, e.axis, -1)[position]
    q = np.moveaxis(e.targets, e.axis, -1)[position]
    likeliest, ignored = int(np.argmax(p)), bool(e.ignored[position])
    cells = [", ".join(map(str, position)) or "-", _distribution(q), f"{likeliest} (p = {p[likeliest]:.4g})"]
    if e.indices is not None:
        y = int(e.indices[position])
        if ignored or not e.label_smoothing:
            cells[1] = str(y)
        cells.append("-" if ignored else f"{p[y]:.4g}")
    return [*cells, f"{e.row_weights[position]:.4g}", "ignored" if ignored else f"{e.losses[position]:.4g}"]


def _distribution(q: Array) -> str:
    """The largest entries of a distribution: 2: 0.9333, 0: 0.03333, ..."""
    largest = np.argsort(-q, kind="stable")[:3]
    text = ", ".join(f"{j}: {q[j]:.4g}" for j in largest)
    return text + (", ..." if len(q) > len(largest) else "")


def _position(e: Explanation, i: int) -> tuple[int, ...]:
    return tuple(int(j) for j in np.unravel_index(i, e.losses.shape))


def _weights(weight: Array) -> str:
    if len(weight) > 6:
        return f"between {weight.min():.4g} and {weight.max():.4g}"
    return "[" + ", ".join(f"{w:.4g}" for w in weight) + "]"


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}{'es' if what.endswith('s') else 's'}"
