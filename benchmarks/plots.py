"""The plots of RESULTS.md: ratios per size as dots on a logarithmic scale, 1 being a tie."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import by, others, plural, ratios
from benchmarks.suite import Row

COLORS = {"numpy": "#0072b2", "numba": "#d55e00"}
MARKERS = ("o", "s", "^", "D", "v")
INK, GRID, FASTER = "#222222", "#dddddd", "#eef6ee"


def write(folder: Path, results: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    """Draw what there are figures for; the names of the files by group."""
    written = {}
    for group, draw in PLOTS.items():
        figure = draw(results.get(group, ()))
        if figure is not None:
            written[group] = f"{group}.png"
            figure.savefig(folder / written[group], dpi=110, metadata={"Software": None})
    return written


def loss(rows: Sequence[Row]) -> Any:
    """Our time to torch's at each size: a panel for each number of threads, colours for kernels, hollow for precise."""
    rows = [row for row in rows if row.table in ("float32", "float32, precise=True") and "torch" in row.values]
    panels = by(rows, "threads")
    if not panels:
        return None
    figure, axes = _figure(len(panels), rows)
    for axis, ((threads,), part) in zip(axes, panels.items(), strict=True):
        for (kernels, table), same in by(part, "kernels", "table").items():
            precise = table != "float32"
            label = f"{kernels} kernels" + ", precise=True" * precise
            _dots(axis, rows, same, "torch", label, COLORS.get(kernels, INK), "o", hollow=precise)
        axis.set_title(plural(int(threads), "thread"), fontsize=10)
    _finish(
        figure,
        axes,
        "Softmax cross-entropy, loss and gradient, float32",
        "time as times torch's (below 1 we are faster)",
    )
    return figure


def fused(rows: Sequence[Row]) -> Any:
    """The fused op to the unfused chains: time in one panel, memory in the other."""
    panels = by(rows, "table")
    if not panels:
        return None
    figure, axes = _figure(len(panels), rows)
    for axis, ((table,), part) in zip(axes, panels.items(), strict=True):
        for (kernels,), same in by(part, "kernels").items():
            for marker, other in zip(MARKERS, others(part), strict=False):
                _dots(axis, rows, same, other, f"{kernels} kernels, against {other}", COLORS.get(kernels, INK), marker)
        axis.set_title(table, fontsize=10)
    _finish(figure, axes, "Fused against our own unfused chains", "the fused op's figure as times the chain's")
    return figure


PLOTS: dict[str, Callable[[Sequence[Row]], Any]] = {"loss": loss, "fused": fused}


def _figure(panels: int, rows: Sequence[Row]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    cases = [case for (case,) in by(rows, "case")]
    figure = Figure(figsize=(4.6 + 4.4 * (panels - 1), 1.5 + 0.36 * len(cases)), layout="constrained")
    axes = figure.subplots(1, panels, sharey=True, sharex=True, squeeze=False)[0]
    for axis in axes:
        axis.set(xscale="log", yticks=range(len(cases)), yticklabels=cases, ylim=(len(cases) - 0.5, -0.5))
    return figure, axes


def _dots(
    axis: Any, rows: Sequence[Row], same: Sequence[Row], other: str, label: str, color: str, marker: str,
    hollow: bool = False,
) -> None:  # fmt: skip
    """The medians of one contestant's ratios, with lines from the smallest to the largest."""
    places = {case: i for i, (case,) in enumerate(by(rows, "case"))}
    found = [(places[row.case], *ratios(row)[other]) for row in same if other in row.values]
    if not found:
        return
    y, middle, low, high = zip(*found, strict=True)
    axis.hlines(y, low, high, color=color, linewidth=1, alpha=0.5)
    axis.plot(middle, y, marker, color=color, label=label, markersize=6, markerfacecolor="white" if hollow else color)


def _finish(figure: Any, axes: Any, title: str, label: str) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = axes[0].get_xlim()
    low, high = min(low, 0.19), max(high, 2.2)
    ticks = [x for x in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if low <= x <= high]
    for axis in axes:
        axis.set_xlim(low, high)
        axis.axvspan(low, 1, color=FASTER, zorder=0)
        axis.axvline(1, color=INK, linewidth=1, zorder=1)
        axis.xaxis.set_major_locator(FixedLocator(ticks))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axis.grid(axis="x", color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
        axis.tick_params(length=0, labelsize=9)
        axis.set_xlabel(label, fontsize=9)
        axis.spines[["top", "right", "left"]].set_visible(False)
    handles = {text: handle for axis in axes for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=2 if len(axes) > 1 else 1,
                  fontsize=8, frameon=False)  # fmt: skip
    figure.suptitle(title, fontsize=11, color=INK)
