"""Plots of matplotlib: the curves of a run, and how good a classifier is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.results import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]
Columns = Mapping[str, Sequence[Any]]

TRAIN, VALID, THIRD, GREY = "#0072b2", "#d55e00", "#009e73", "#999999"  # they stay apart for colour-blind readers


def plot_history(epochs: Columns, each_step: Columns) -> Figure:
    """The loss with that of each step behind, then every metric."""
    metrics = [name for name in each_step if name not in ("epoch", "loss", "lr", "seconds")]
    figure = new_figure(5.2 * (1 + bool(metrics)), 3.8)
    grid = figure.subplots(1, 1 + bool(metrics), squeeze=False)[0]
    steps = np.array(each_step["loss"])
    if len(steps):
        of_step = np.array(each_step["epoch"])
        within = np.arange(len(steps)) - np.searchsorted(of_step, of_step)
        length = np.bincount(of_step)[of_step]
        length[of_step > len(epochs["epoch"])] = length.max()  # an epoch that was not finished
        grid[0].plot(of_step - 1 + (within + 1) / length, steps, color=TRAIN, alpha=0.25, linewidth=0.8, zorder=1,
                     label="each step")  # fmt: skip
        high = np.quantile(steps, 0.99)
        finite = np.isfinite(high) and np.quantile(steps, 0.5) > 0
        if finite:
            grid[0].set_ylim(0, 1.1 * max([high, *epochs["loss"], *epochs.get("valid_loss", ())]))
    _curves(grid[0], epochs, "loss")
    grid[0].set(xlabel="epoch", title="loss")
    if metrics:
        for name, style in zip(metrics, ("-", "--", ":", "-.") * len(metrics), strict=False):
            _curves(grid[1], epochs, name, style, many=len(metrics) > 1)
        grid[1].set(xlabel="epoch", title=metrics[0] if len(metrics) == 1 else "metrics")
    for axes in grid:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if axes.get_legend_handles_labels()[0]:
            # below, where no curve is; to look for the best place inside takes long of many steps
            axes.legend(fontsize=9, frameon=False, ncols=2 + (axes is grid[0]), loc="upper center",
                        bbox_to_anchor=(0.5, -0.15))  # fmt: skip
    return figure


def _curves(axes: Any, epochs: Columns, name: str, style: str = "-", many: bool = False) -> None:
    numbers = epochs["epoch"]
    marker = "o" if len(numbers) <= 30 else ""
    for column, words, color in ((name, "training", TRAIN), (f"valid_{name}", "validation", VALID)):
        if column in epochs and numbers:
            label = f"{words} {name}" if many else words
            axes.plot(numbers, epochs[column], style, marker=marker, markersize=3.5, color=color, label=label)


def plot_confusion(counts: Array, classes: Sequence[str]) -> Figure:
    """Shades are fractions of each row, numbers the counts."""
    n = len(classes)
    size = max(3.6, 0.5 * n + 1.6)
    figure = new_figure(size + 0.6, size)
    axes: Any = figure.subplots()
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    shown = axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)  # sqrt: a mistake in 100 is to be seen
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            if count:
                ink = "white" if share[i, j] > 0.3 else "#333333"
                axes.text(j, i, f"{count}", ha="center", va="center", fontsize=9 if n <= 20 else 6, color=ink)
    long = max(map(len, classes)) > 3
    axes.set_xticks(range(n), classes, rotation=45 if long else 0, ha="right" if long else "center",
                    rotation_mode="anchor" if long else None)  # fmt: skip
    axes.set_yticks(range(n), classes)
    axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {np.trace(counts) / counts.sum():.4f}")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    bar = figure.colorbar(shown, ax=axes, fraction=0.046, label="fraction of the true class")
    marks = (0, 0.01, 0.1, 0.25, 0.5, 1)
    bar.set_ticks(np.sqrt(marks).tolist(), labels=[f"{mark:g}" for mark in marks])
    bar.outline.set_visible(False)
    return figure


def plot_report(classes: Sequence[str], scores: Mapping[str, Array], support: Array, accuracy: float) -> Figure:
    """A line for each class with its three scores."""
    n = len(classes)
    figure = new_figure(6.4, max(2.6, 0.32 * n + 1.4))
    axes: Any = figure.subplots()
    places = np.arange(n)
    low, high = (reduce(list(scores.values()), axis=0) for reduce in (np.min, np.max))
    axes.hlines(places, low, high, color=GREY, linewidth=1, zorder=1)
    for (label, values), marker, color in zip(scores.items(), "osD", (TRAIN, VALID, THIRD), strict=True):
        axes.scatter(values, places, marker=marker, color=color, label=label, s=28, zorder=2)
    axes.axvline(accuracy, color=GREY, linestyle=":", linewidth=1, label=f"accuracy {accuracy:.4f}")
    axes.set_yticks(places, [f"{name} ({count:,})" for name, count in zip(classes, support, strict=True)])
    axes.invert_yaxis()
    left = min(float(low.min()), accuracy)
    axes.set_xlim(max(0.0, left - 0.05 * (1.05 - left) - 0.01), 1.01)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.legend(fontsize=9, frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def plot_calibration(edges: Array, count: Array, confidence: Array, accuracy: Array, error: float) -> Figure:
    """A reliability diagram with a dot for each bin, as large as it has rows; below it how many those are."""
    figure = new_figure(4.6, 5.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    filled = count > 0
    left, width, share = edges[:-1][filled], np.diff(edges)[filled], count[filled] / count.sum()
    said, right = confidence[filled], accuracy[filled]
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="as certain as right", zorder=1)
    upper.vlines(said, said, right, color=VALID, linewidth=1.5, label="gap", zorder=2)
    upper.scatter(said, right, s=14 + 250 * share, color=TRAIN, label="bin", zorder=3, clip_on=False)
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    upper.set_title(f"expected calibration error {error:.4f}", fontsize=11)
    for handle in upper.legend(fontsize=9, frameon=False, loc="upper left").legend_handles:
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([30])
    lower.bar(left, share, width, align="edge", color=GREY, edgecolor="white", linewidth=0.8)
    lower.set(xlabel="confidence", ylabel="fraction of rows")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    return figure
