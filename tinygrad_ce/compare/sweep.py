"""Where each chain starts to fail, as margins or scales of the logits grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_ce.compare.chains import Chain
from tinygrad_ce.compare.gradients import compare_gradients
from tinygrad_ce.compare.plot import plot_sweep
from tinygrad_ce.compare.problem import Array
from tinygrad_ce.compare.report import verdict
from tinygrad_ce.results import Table, strict_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Group

MARGINS = (1, 2, 3, 5, 7, 10, 12, 15, 17, 20, 25, 30, 35, 40, 50, 60, 75, 87, 90, 100, 105, 125, 150)
SCALES = (1e-3, 1e-2, 1e-1, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4)
CHAINS = ("fused", "log-softmax + NLL", "softmax, log, pick", "clipped", "naive", "p - y")
ALL_LOST = 1.0  # relative error


@dataclass(frozen=True)
class Point:
    """One chain at one value: how wrong its gradient is, and what the verdict says.

    target      "likeliest" or "another": is the target the class with the largest logit; "random" for scales
    relative    the largest relative error of an element of the gradient; infinite if one is nan or infinite
    beyond      by what factor loss or gradient exceed the tolerance; above 1 the chain fails
    """

    chain: str
    dtype: str
    target: str
    value: float
    relative: float
    ulps: float
    lost: int
    not_finite: int
    beyond: float
    verdict: str

    @property
    def fails(self) -> bool:
        """Beyond what rounding adds up to."""
        return not self.beyond <= 1

    @property
    def all_lost(self) -> bool:
        """An element has no digit right, or is nan or infinite."""
        return self.not_finite > 0 or self.lost > 0 or not self.relative < ALL_LOST


@dataclass(frozen=True, repr=False)
class Sweep:
    """The points of a sweep: `print` it for the values where each chain starts to fail, or `plot()` it."""

    what: str
    values: tuple[float, ...]
    points: tuple[Point, ...]

    def first(self, chain: str, dtype: str, target: str, all_lost: bool = False) -> float | None:
        """The smallest value from which the chain fails (or has lost all digits of an element); None if none."""
        wrong = [
            point.value
            for point in self.points
            if (point.chain, point.dtype, point.target) == (chain, dtype, target)
            and (point.all_lost if all_lost else point.fails)
        ]
        return min(wrong, default=None)

    def groups(self) -> list[tuple[str, str]]:
        """Pairs of dtype and target that were tried."""
        return list(dict.fromkeys((point.dtype, point.target) for point in self.points))

    def table(self) -> Table:
        """From which value on each chain fails, and loses all."""
        rows = []
        for dtype, target in self.groups():
            for chain in dict.fromkeys(point.chain for point in self.points):
                found = [self.first(chain, dtype, target, all_lost) for all_lost in (False, True)]
                worst = max(
                    (p for p in self.points if (p.chain, p.dtype, p.target) == (chain, dtype, target)),
                    key=lambda point: point.relative,
                )
                first = next((p for p in self.points if p.value == found[0] and p.chain == chain and p.dtype == dtype
                              and p.target == target), worst)  # fmt: skip
                cells = ["never" if x is None else f"{x:g}" for x in found]
                rows.append([chain, dtype, target, *cells, f"{worst.relative:.1e}", _kind(first)])
        head = ["", "\ndtype", "the target\nis", f"fails from\n{self.what}", f"all lost\nfrom {self.what}"]
        return Table([*head, "worst relative\nerror", "how it\nfails first"], rows)

    def plot(self) -> Figure:
        """The relative error of the gradient against the value, a panel for each dtype and target."""
        panels = []
        for dtype, target in self.groups():
            series: dict[str, tuple[list[float], list[float]]] = {}
            for point in self.points:
                if (point.dtype, point.target) == (dtype, target):
                    values, errors = series.setdefault(point.chain, ([], []))
                    values.append(point.value)
                    errors.append(point.relative)
            panels.append((f"{dtype}, the target is {_article(target)}", dtype, series))
        return plot_sweep(
            f"Where the chains fail, by {self.what} of the logits", self.what, panels, self.what == "scale"
        )

    def to_json(self) -> dict[str, Any]:
        """All points as a dict that `json.dumps` takes."""
        strict: dict[str, Any] = strict_json(
            {"what": self.what, "values": self.values, "points": [asdict(point) for point in self.points]}
        )
        return strict

    def title(self) -> str:
        """What was tried, in one line."""
        return f"{len(self.values)} {self.what}s of random logits, from {self.values[0]:g} to {self.values[-1]:g}"

    def __repr__(self) -> str:
        return f"{self.title()}\n\n{self.table()}"

    def __rich__(self) -> Group:
        from rich.console import Group

        return Group(self.title(), "", self.table().rich())

    def _repr_html_(self) -> str:
        return f"<div><p>{self.title()}</p>{self.table().html()}</div>"


def sweep(
    *,
    margins: Sequence[float] | None = None,
    scales: Sequence[float] | None = None,
    dtypes: Sequence[str] = ("float32",),
    chains: Sequence[str | Chain] = CHAINS,
    rows: int = 8,
    classes: int = 10,
    seed: int = 0,
) -> Sweep:
    """Run the chains on random logits of growing margin or scale, and find where each starts to fail.

    margins  by how much the largest logit of a row exceeds the next; the others are normally distributed. Each is
             tried with the likeliest class as the target (confident and right) and with another (confident and wrong)
    scales   standard deviation of normally distributed logits, with random targets; give margins or scales, not both;
             with neither a range of margins is tried
    dtypes   "float16", "float32" or "float64"
    chains   names or chains of your own, as in `compare_gradients`, of which reduction="sum" is asked

    Raises ValueError for both or for values that are not finite.

    >>> found = sweep(margins=[5, 20, 40], chains=["fused", "softmax, log, pick"])
    >>> found.first("fused", "float32", "likeliest"), found.first("softmax, log, pick", "float32", "likeliest", True)
    (None, 20.0)
    """
    if margins is not None and scales is not None:
        raise ValueError("sweep: give margins or scales, not both")
    what, values = ("scale", scales) if scales is not None else ("margin", MARGINS if margins is None else margins)
    values = tuple(sorted(map(float, values)))
    if not values or not np.isfinite(values).all() or values[0] < 0:
        raise ValueError(f"sweep: {what}s must be finite and not negative, at least one; found {list(values)}")
    points = []
    for dtype in dtypes:
        for value in values:
            for target in ("random",) if what == "scale" else ("likeliest", "another"):
                rng = np.random.default_rng(seed)
                z = rng.normal(size=(rows, classes))
                y = rng.integers(0, classes, rows)
                z = z * value if what == "scale" else with_margin(z, y, value, right=target == "likeliest")
                z = z.astype(dtype)
                if not np.isfinite(z).all():
                    continue
                found = compare_gradients(z, y, reduction="sum", chains=chains, measure=False)
                points += [
                    Point(
                        chain.name, found.dtype, target, value, chain.gradient_error.relative,
                        chain.gradient_error.ulps, chain.lost, chain.not_finite, chain.beyond,
                        verdict(chain, found.dtype),
                    )
                    for chain in found.chains
                ]  # fmt: skip
    return Sweep(what, values, tuple(points))


def with_margin(z: Array, y: Array, margin: float, right: bool = True) -> Array:
    """Logits whose largest entry exceeds the next by `margin`: that of the target, or of the class after it."""
    each = np.arange(len(z))
    top = y if right else (y + 1) % z.shape[1]
    others = z.copy()
    others[each, top] = -np.inf
    result = z.copy()
    result[each, top] = others.max(axis=1) + margin
    return result


def _article(target: str) -> str:
    return {"likeliest": "the likeliest class", "another": "another class", "random": "random"}[target]


def _kind(point: Point) -> str:
    if point.not_finite:
        return "nan or infinite"
    if not point.fails:
        return "-"
    return "lost to 0" if point.lost else "digits cancel"
