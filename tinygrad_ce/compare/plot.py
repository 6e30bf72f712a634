"""Plots of matplotlib, which is imported when one is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_ce.compare.measured import Results
from tinygrad_ce.compare.problem import Array
from tinygrad_ce.results import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = ("#0072b2", "#009e73", "#d55e00", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000")
MARKERS = "o^sDvPX*"
MOST = 2000  # points of a chain
BROKEN = 10.0  # where nan and infinite elements are drawn: beyond losing all


def plot_comparison(comparison: Results) -> Figure:
    """Relative errors of the gradient's elements against the size of the truth; and the times, if measured."""
    timed = [chain for chain in comparison.chains if chain.cost is not None]
    figure = new_figure(11 if timed else 7, 5)
    axes: Any = figure.subplots(1, 2, width_ratios=(3, 2)) if timed else [figure.subplots()]
    bits = np.finfo(comparison.dtype).nmant + 1
    floor = 2.0 ** -(bits + 4)
    truth = np.abs(comparison.gradient)
    for i, chain in enumerate(comparison.chains):
        size, error = _relative_errors(chain.gradient, comparison.gradient, truth, floor)
        axes[0].plot(
            size, error, MARKERS[i % len(MARKERS)], color=COLORS[i % len(COLORS)], markersize=5,
            markerfacecolor="none" if i else None, label=chain.name, alpha=0.8,
        )  # fmt: skip
    for level, words in ((2.0**-bits, "half an ULP"), (1, "all lost"), (BROKEN, "nan or infinite")):
        _name_level(axes[0], level, words)
    axes[0].set(
        xscale="log", yscale="log", xlabel="size of the true gradient", ylabel="relative error",
        title=f"{comparison.dtype} gradients of the logits, {' x '.join(map(str, comparison.shape))}",
        ylim=(floor / 3, _top(floor)),
    )  # fmt: skip
    _legend_below(axes[0], 4)
    if timed:
        _plot_times(axes[1], timed)
    return figure


def _name_level(axes: Any, level: float, words: str) -> None:
    """A line at one height, with words above it that the markers on it do not cover."""
    axes.axhline(level, color="#999999", linewidth=0.7, zorder=0)
    axes.annotate(
        words, (0.01, level), (0, 3), xycoords=("axes fraction", "data"), textcoords="offset points", va="bottom",
        fontsize=8, color="#666666",
    )  # fmt: skip


def _legend_below(axes: Any, columns: int) -> None:
    """Outside the axes, where markers are anywhere; to look for the best place inside takes long of many markers."""
    axes.legend(fontsize=8, frameon=False, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.13))


def _top(floor: float) -> float:
    """The upper end of the errors' axis: a sixth of its height is above BROKEN, so that its name has room."""
    return float(BROKEN * (BROKEN / floor) ** 0.2)


def _relative_errors(gradient: Array, exact: Array, size: Array, floor: float) -> tuple[Array, Array]:
    """Sizes and errors of at most MOST elements whose truth is finite and a normal number, the worst among them."""
    with np.errstate(all="ignore"):
        error = np.abs(gradient - exact) / size
        broken = ~np.isfinite(gradient)
        error = np.where(broken, BROKEN, np.clip(error, floor, BROKEN)).astype(np.float64)
        chosen = np.isfinite(size) & (size >= np.finfo(gradient.dtype).smallest_subnormal)
    error, size = error[chosen], size[chosen].astype(np.float64)
    if error.size > MOST:
        worst = np.argsort(error)[-MOST // 2 :]
        spread = np.linspace(0, error.size - 1, MOST // 2).astype(int)
        keep = np.union1d(worst, spread)
        error, size = error[keep], size[keep]
    return size, error


def _plot_times(axes: Any, timed: Sequence[Any]) -> None:
    names = [chain.name for chain in timed]
    places = np.arange(len(names))
    forward = [1e6 * (chain.cost.forward or np.nan) for chain in timed]
    axes.plot(forward, places, "o", color="#0072b2", label="forward")
    axes.plot([1e6 * chain.cost.backward for chain in timed], places, "s", color="#e69f00", label="backward")
    axes.grid(axis="x", alpha=0.3)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="microseconds", title="time of one run")
    _legend_below(axes, 2)


def plot_sweep(title: str, what: str, panels: Sequence[tuple[str, str, dict[str, tuple[list[float], list[float]]]]],
               log_x: bool) -> Figure:  # fmt: skip
    """A panel for each (name, dtype, {chain: (values, relative errors)})."""
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure = new_figure(6 * columns + 1, 3.6 * lines + 0.6)
    figure.suptitle(title)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (name, dtype, series) in zip(grid.flat, panels, strict=False):
        floor = 2.0 ** -(np.finfo(dtype).nmant + 5)
        for i, (chain, (values, errors)) in enumerate(series.items()):
            shown = np.clip(np.where(np.isfinite(errors), errors, BROKEN), floor, BROKEN)
            shown[np.equal(errors, 0)] = np.nan  # the truth is below the normal numbers of the dtype
            axes.plot(
                values, shown, MARKERS[i % len(MARKERS)] + "-", color=COLORS[i % len(COLORS)], label=chain,
                markersize=4, linewidth=1, markerfacecolor="none" if i else None,
            )  # fmt: skip
        axes.axhline(1, color="#999999", linewidth=0.7, zorder=0)
        axes.set(yscale="log", xlabel=what, ylabel="relative error of the gradient", title=name,
                 ylim=(floor / 3, _top(floor)), **({"xscale": "log"} if log_x else {}))  # fmt: skip
        _name_level(axes, BROKEN, "nan or infinite")
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, fontsize=8, frameon=False, ncols=4, loc="outside lower center")
    return figure
