"""A comparison for people: sentences worked out from the numbers, and tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_ce.compare.measured import ChainResult, Error, Results
from tinygrad_ce.results import Table

if TYPE_CHECKING:
    from rich.console import Group

ROUNDING = 8  # ULP up to which an error is called plain rounding


def verdict(chain: ChainResult, dtype: str) -> str:
    """What the numbers say of a chain: what it lost and why, or how far from the truth it is."""
    worst, size = chain.gradient_error, chain.gradient.size
    because = f": {chain.why}" if chain.why else ""
    if chain.not_finite:
        kinds = [f"{n} {kind}" for n, kind in ((chain.nan, "nan"), (chain.infinite, "infinite")) if n]
        return f"{_of(chain.not_finite, size)} not finite ({', '.join(kinds)}){because}"
    if chain.lost_rows:
        rows = f"{chain.lost_rows} row{'s' * (chain.lost_rows > 1)}"
        return (
            f"the gradient is exactly 0 in {rows}{because}, although {dtype} can hold the truth "
            f"(up to {chain.largest_lost:.1e})"
        )
    if chain.lost:
        return (
            f"{_of(chain.lost, size)} exactly 0{because}, although {dtype} can hold the truth "
            f"(up to {chain.largest_lost:.1e})"
        )
    errors = [("gradient", worst), *([("loss", chain.loss_error)] if chain.loss_error else [])]
    what, error = max(errors, key=lambda pair: pair[1].ulps)
    return _distance(what, error, chain.beyond, dtype)


def verdicts(comparison: Results) -> dict[str, str]:
    """The verdict on each chain by its name."""
    return {chain.name: verdict(chain, comparison.dtype) for chain in comparison.chains}


def _distance(what: str, error: Error, beyond: float, dtype: str) -> str:
    ulps = error.ulps
    if ulps == 0:
        return "agrees with the truth to the last bit"
    if ulps <= 0.501:
        return f"within {format_ulps(ulps)} ULP: rounded once, the best there is"
    if ulps <= ROUNDING:
        return f"differs by {format_ulps(ulps)} ULP: rounding"
    digits = {"float16": 5, "float32": 9, "float64": 17}[dtype]  # enough to tell any two numbers apart
    values = f"is {error.actual:.{digits}g}, the truth {error.exact:.{digits}g}"
    where = f"{what}{list(error.index) if error.index else ''} {values}"
    if math.isinf(ulps):
        return f"the {where}"
    if beyond <= 1:
        return f"differs by up to {format_ulps(ulps)} ULP: rounding that adds up ({where})"
    in_all = np.finfo(dtype).nmant * math.log10(2)
    right = max(0, math.floor(in_all - math.log10(ulps)))
    share = f"{right} of {in_all:.0f} digits right" if right else "no digit right"
    return f"differs by up to {format_ulps(ulps)} ULP: the worst element has {share} ({where})"


def _of(count: int, size: int) -> str:
    return f"{count} of the {size} elements of the gradient {'is' if count == 1 else 'are'}"


def in_words(comparison: Results) -> list[str]:
    """A sentence for each chain, one on the gradients of the parameters, one on the cost."""
    lines = [f"{name}: {words}." for name, words in verdicts(comparison).items()]
    for chain in comparison.chains:
        pulled = chain.parameter_error
        if pulled is not None and pulled.ulps > chain.gradient_error.ulps:
            lines.append(
                f"{chain.name}: the gradients of the parameters are sums whose terms may cancel, which magnifies "
                f"what is wrong with the terms: up to {format_ulps(pulled.ulps)} ULP, at "
                f"{pulled.name}[{', '.join(map(str, pulled.index))}]."
            )
    ours = [chain for chain in comparison.chains if chain.ops is not None and chain.name != "torch"]
    if len(ours) > 1:
        few, *_, many = sorted(ours, key=lambda chain: (chain.ops, chain.kept_bytes))
        lines.append(
            f"{few.name}: {few.ops} op{'s' * (few.ops != 1)} keeping {few.kept_bytes:,} bytes for the backward pass; "
            f"{many.name}: {many.ops} ops keeping {many.kept_bytes:,}."
        )
    return lines


def title(comparison: Results) -> str:
    shape = " x ".join(map(str, comparison.shape))
    how = {"mean": "mean over the rows", "sum": "sum over the rows", "none": "one loss a row"}[comparison.reduction]
    options = [key if isinstance(x, np.ndarray) else f"{key}={x}" for key, x in comparison.options.items()]
    with_options = f", {', '.join(options)}" if options else ""
    return f"{shape} {comparison.dtype} logits, {how}{with_options}; truth: {comparison.reference}"


def tables(comparison: Results) -> list[Table]:
    """How far each chain is from the truth; the same for the parameters; what it takes."""
    chains = comparison.chains
    broken = any(chain.not_finite for chain in chains)
    head = ["", "loss", "\nin ULP", "gradient:\nabsolute", "\nrelative", "\nin ULP", "\nlost"]
    rows = []
    for chain in chains:
        loss = ["-", "-"] if chain.loss_error is None else [f"{chain.loss:.7g}", format_ulps(chain.loss_error.ulps)]
        row = [chain.name, *loss, *_error(chain.gradient_error), str(chain.lost)]
        rows.append([*row, str(chain.nan), str(chain.infinite)] if broken else row)
    found = [Table([*head, "\nnan", "\ninf"] if broken else head, rows, ("\nlost", "\nnan", "\ninf"))]
    pulled = [
        [chain.name, *_error(error), f"{error.name}[{', '.join(map(str, error.index))}]"]
        for chain in chains
        if (error := chain.parameter_error) is not None
    ]
    if pulled:
        head = ["", "gradients of the\nparameters: absolute", "\nrelative", "\nin ULP", "\nworst"]
        found.append(Table(head, pulled))
    measured = any(chain.cost is not None for chain in chains)
    head = ["", "ops in\nthe graph", "bytes kept\nfor backward"]
    head += ["forward\nus", "backward\nus", "peak of\nmemory"] if measured else []
    rows = []
    for chain in chains:
        row = [chain.name, _count(chain.ops), _count(chain.kept_bytes)]
        cost = chain.cost
        row += [_microseconds(cost.forward), _microseconds(cost.backward), _count(cost.peak_bytes)] if cost else []
        if row[1:].count("-") < len(row) - 1:
            rows.append(row)
    return [*found, Table(head, rows)] if rows else found


def notes(comparison: Results) -> list[str]:
    """What is to be known of the chains that are not meant to be right."""
    return [f"{chain.name}: {chain.note}" for chain in comparison.chains if chain.note]


def text(comparison: Results) -> str:
    """Plain text, for print."""
    return "\n\n".join([title(comparison), *map(str, tables(comparison)), "\n".join(notes(comparison))]).rstrip()


def rich(comparison: Results) -> Group:
    """For a terminal."""
    from rich.console import Group

    parts = [part for table in tables(comparison) for part in ("", table.rich())]
    remarks = notes(comparison)
    return Group(title(comparison), *parts, *(["", "\n".join(remarks)] if remarks else []))


def html(comparison: Results) -> str:
    """For a notebook: tables and sentences."""
    from html import escape

    words = "".join(f"<li>{escape(line)}</li>" for line in in_words(comparison))
    found = "".join(table.html() for table in tables(comparison))
    return f"<div><p>{escape(title(comparison))}</p>{found}<ul>{words}</ul></div>"


def format_ulps(x: float) -> str:
    """ULP with the digits that matter."""
    if x == 0 or math.isinf(x):
        return f"{x:.0f}"
    if x < 0.005:
        return "<0.01"
    return f"{x:.2f}" if x < 10 else f"{x:,.0f}" if x < 1e5 else f"{x:.1e}"


def _error(error: Error) -> list[str]:
    return [_short(error.absolute), _short(error.relative), format_ulps(error.ulps)]


def _short(x: float) -> str:
    return "0" if x == 0 else f"{x:.1e}"


def _count(x: int | None) -> str:
    return "-" if x is None else f"{x:,}"


def _microseconds(x: float | None) -> str:
    return "-" if x is None else f"{1e6 * x:,.0f}"
