"""Softmax cross-entropy against mpmath, ours beside what else is installed.

    python -m benchmarks.accuracy [--quick] [--write]

For each of float32, float64 and float16 a grid of 765 cases of one row: 51 rows at each of five numbers of classes,
from 2 to 50257, and for each row three targets: the likeliest class, the next, and the least likely that is possible.
`--quick` stops at 100 classes. `--write` keeps the tables in benchmarks/ACCURACY.md and the plot in accuracy.png.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpmath
import numpy as np

from benchmarks.timing import machine
from tinygrad_ce import Tensor
from tinygrad_ce import functional as F
from tinygrad_ce.kernels.accuracy import ulp_difference

CLASSES = (2, 10, 100, 1000, 50257)
SCALES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1e3, 1e4)
MARGINS = (1, 2, 5, 8, 10, 12, 15, 17, 20, 25, 30, 40, 60, 80, 100)
SHIFTS = {"float16": 1e4, "float32": 1e6, "float64": 1e6}
DTYPES = ("float32", "float64", "float16")
BITS = 160
GONE = 800  # exp of less than minus this is 0 in every dtype
GOALS = {
    "tinygrad_ce": "float32: no gradient lost, loss and target gradient within 1e-5, loss within 2 ULP unless it is "
    "subnormal; float64: loss within 80 ULP, gradient within 520",
    "tinygrad_ce, precise": "float32: loss and gradient within 0.51 ULP; float64: within 2 and 4",
}

Loss = Callable[[Any, int], tuple[Any, Any]]


def rows(classes: int, dtype: str) -> Iterator[tuple[str, Any]]:
    """51 rows of logits, with what they are."""
    rng = np.random.default_rng(classes)
    for scale in SCALES:
        for i in range(3):
            yield f"scale {scale:g}, {i}", rng.normal(size=classes) * scale
    for margin in MARGINS:
        z = rng.normal(size=classes)
        top = rng.integers(classes)
        z[top] = np.delete(z, top).max() + margin
        yield f"margin {margin}", z
    yield "all equal", np.zeros(classes)
    yield "all equal and large", np.full(classes, SHIFTS[dtype])
    for ties in (2, max(2, classes // 2)):
        z = rng.normal(size=classes)
        z[:ties] = z.max() + 3
        yield f"{ties} equal largest", rng.permutation(z)
    for sign in (1, -1):
        for scale in (1.0, 10.0):
            yield (
                f"shift {sign * SHIFTS[dtype]:g}, scale {scale:g}",
                rng.normal(size=classes) * scale + sign * SHIFTS[dtype],
            )
    for share in (0.25, 0.5):
        for margin in (0, 20):
            z = rng.normal(size=classes)
            top = rng.integers(classes)
            z[top] = z.max() + margin
            out = rng.permutation(np.delete(np.arange(classes), [top, (top + 1) % classes]))[: int(share * classes)]
            z[out] = -np.inf
            yield f"{len(out)} of -inf, margin {margin}", z


@dataclass(frozen=True)
class Case:
    """One row and one target, with the true loss and gradient in long double."""

    name: str
    z: Any
    y: int
    confident: bool  # the target is the likeliest class
    margin: float
    loss: Any
    gradient: Any


def cases(dtype: str, classes: int) -> Iterator[Case]:
    """The rows at one number of classes, each with its three targets."""
    for name, wide in rows(classes, dtype):
        z = wide.astype(dtype)
        losses, p, below_one = oracle(z)
        order = np.argsort(-z, kind="stable")
        possible = order[np.isfinite(z[order])]
        margin = float(z[order[0]]) - float(z[order[1]])
        for i, y in enumerate((order[0], order[1] if np.isfinite(z[order[1]]) else order[0], possible[-1])):
            gradient = p.copy()
            gradient[y] = below_one if y == order[0] else p[y] - 1
            yield Case(f"{name}, C = {classes}, target {i}", z, int(y), y == order[0], margin, losses[y], gradient)


def oracle(z: Any) -> tuple[Any, Any, Any]:
    """By mpmath, rounded to long double: the loss of every target, the probabilities, and p_a - 1 of the likeliest."""
    a = int(np.argsort(-z, kind="stable")[0])
    with mpmath.workprec(BITS):
        m = mpmath.mpf(float(z[a]))
        away = [m - mpmath.mpf(x) for x in z.tolist()]
        e = [mpmath.exp(-d) if d < GONE else mpmath.mpf(0) for d in away]
        rest = mpmath.fsum(x for j, x in enumerate(e) if j != a)
        log_sum = mpmath.log1p(rest)
        whole = 1 / (1 + rest)
        losses = np.array([wide(d + log_sum) for d in away])
        return losses, np.array([wide(x * whole) if x else np.longdouble(0) for x in e]), wide(-rest * whole)


def wide(x: Any) -> Any:
    high = float(x)
    return np.longdouble(high) + np.longdouble(float(x - high)) if np.isfinite(high) else np.longdouble(high)


# Contestants: the loss of one row and its gradient, in the dtype of the row


def ours(**options: Any) -> Loss:
    def run(z: Any, y: int) -> tuple[Any, Any]:
        leaf = Tensor(z[None], requires_grad=True)
        loss = F.softmax_cross_entropy(leaf, [y], **options)
        loss.backward()
        assert leaf.grad is not None
        return loss.data, leaf.grad.data[0]

    return run


def torch_loss(z: Any, y: int) -> tuple[Any, Any]:
    import torch

    leaf = torch.tensor(z[None], requires_grad=True)
    loss = torch.nn.functional.cross_entropy(leaf, torch.tensor([y]))
    loss.backward()
    return loss.detach().numpy(), leaf.grad.numpy()[0]


def scipy_loss(z: Any, y: int) -> tuple[Any, Any]:
    from scipy import special

    gradient = special.softmax(z)
    gradient[y] -= 1
    return -special.log_softmax(z)[y], gradient


def mygrad_loss(z: Any, y: int) -> tuple[Any, Any]:
    import mygrad

    leaf = mygrad.tensor(z[None])
    loss = mygrad.nnet.losses.softmax_crossentropy(leaf, np.array([y]))
    loss.backward()
    return loss.data, leaf.grad[0]


def autograd_loss(z: Any, y: int) -> tuple[Any, Any]:
    from autograd import value_and_grad
    from autograd.scipy.special import logsumexp

    loss, gradient = value_and_grad(lambda x: logsumexp(x) - x[y])(z)
    return z.dtype.type(loss), gradient


def contestants() -> dict[str, Loss]:
    """Ours, and those that are installed."""
    peers = {"torch": torch_loss, "scipy": scipy_loss, "mygrad": mygrad_loss, "autograd": autograd_loss}
    installed = {name: run for name, run in peers.items() if importlib.util.find_spec(name) is not None}
    return {"tinygrad_ce": ours(), "tinygrad_ce, precise": ours(precise=True), **installed}


@dataclass
class Score:
    """The worst of a contestant. ULP of the truth; relative errors where the truth is a normal number of the dtype."""

    loss_confident: float = 0.0
    loss_other: float = 0.0
    loss_relative: float = 0.0
    gradient: float = 0.0
    target_relative: float = 0.0
    lost: int = 0
    losable: int = 0
    normal_loss: float = 0.0
    worst: str = ""

    def add(self, case: Case, loss: Any, gradient: Any) -> float | None:
        """Take in a result; returns the relative error of the target's gradient, None if the truth is subnormal."""
        ulps = float(ulp_difference(loss, case.loss))
        if case.confident:
            self.loss_confident = max(self.loss_confident, ulps)
        else:
            self.loss_other = max(self.loss_other, ulps)
        elements = float(ulp_difference(gradient, case.gradient).max())
        if elements > self.gradient:
            self.gradient, self.worst = elements, case.name
        smallest = np.finfo(case.z.dtype).smallest_normal
        if smallest <= case.loss and np.isfinite(case.loss.astype(case.z.dtype)):
            self.normal_loss = max(self.normal_loss, ulps)
            self.loss_relative = max(self.loss_relative, _relative(loss, case.loss))
        truth, found = case.gradient[case.y], gradient[case.y]
        if truth.astype(case.z.dtype) != 0:
            self.losable += 1
            self.lost += int(found == 0)
        if abs(truth) < smallest:
            return None
        relative = _relative(found, truth)
        self.target_relative = max(self.target_relative, relative)
        return relative

    def cells(self) -> list[str]:
        numbers = (self.loss_confident, self.loss_other, self.loss_relative, self.gradient, self.target_relative)
        return [*(f"{x:.2g}" if x < 1000 else f"{x:.1e}" for x in numbers), f"{self.lost} of {self.losable}"]


def _relative(found: Any, truth: Any) -> float:
    with np.errstate(all="ignore"):
        error = float(abs(np.longdouble(found) - truth) / abs(truth))
    return error if np.isfinite(error) else float("inf")


HEAD = ("", "loss ULP, y = a", "loss ULP, y != a", "loss relative", "gradient ULP", "target gradient relative", "lost")


def table(scores: dict[str, Score]) -> list[str]:
    """Markdown whose columns are aligned, for the terminal too."""
    lines = [HEAD, *([name, *score.cells()] for name, score in scores.items())]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    shown = ["| " + " | ".join(cell.ljust(n) if not i else cell.rjust(n) for i, (cell, n) in
             enumerate(zip(line, widths, strict=True))) + " |" for line in lines]  # fmt: skip
    return [
        shown[0],
        "|" + "|".join("-" * (n + 1) + (":" if i else "-") for i, n in enumerate(widths)) + "|",
        *shown[1:],
    ]


def run_grid(
    dtype: str, classes: tuple[int, ...]
) -> tuple[dict[str, Score], dict[str, list[tuple[float, float]]], int]:
    """Scores by contestant, relative errors of confident targets by margin, and how many cases there were."""
    scores: dict[str, Score] = {}
    points: dict[str, list[tuple[float, float]]] = {}
    unable: set[str] = set()
    count = 0
    for number in classes:
        for case in cases(dtype, number):
            count += 1
            for name, run in contestants().items():
                if name in unable:
                    continue
                try:
                    with warnings.catch_warnings(), np.errstate(all="ignore"):
                        warnings.simplefilter("ignore")
                        loss, gradient = run(case.z, case.y)
                except (TypeError, RuntimeError, NotImplementedError):
                    unable.add(name)
                    continue
                loss, gradient = np.asarray(loss).reshape(()), np.asarray(gradient)
                if gradient.dtype != case.z.dtype or loss.dtype != case.z.dtype:
                    loss, gradient = loss.astype(case.z.dtype), gradient.astype(case.z.dtype)
                relative = scores.setdefault(name, Score()).add(case, loss, gradient)
                if relative is not None and case.confident and case.name.startswith(("margin", "scale")):
                    points.setdefault(name, []).append((case.margin, relative))
    return scores, points, count


def half_mean() -> list[str]:
    """The mean over 300,000 x 2 logits in float16, whose sum overflows float16."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(300_000, 2)).astype(np.float16), rng.integers(0, 2, 300_000)
    x = z.astype(np.longdouble)
    away = x[np.arange(len(y)), 1 - y] - x[np.arange(len(y)), y]
    truth = np.logaddexp(0, away).mean()
    lines = ["| | mean | ULP |", "|---|---|---|"]
    found = {"tinygrad_ce": F.softmax_cross_entropy(z, y).data}
    if importlib.util.find_spec("torch") is not None:
        import torch

        found["torch"] = torch.nn.functional.cross_entropy(torch.tensor(z), torch.tensor(y)).numpy()
    for name, loss in found.items():
        lines.append(f"| {name} | {float(loss):.5g} | {float(ulp_difference(loss, truth)):.2g} |")
    return [f"The mean of 300,000 rows of 2 classes in float16; the truth is {float(truth):.7g}.", "", *lines]


def misses(dtype: str, scores: dict[str, Score]) -> list[str]:
    """The goals that ours do not reach."""
    default, precise = scores["tinygrad_ce"], scores["tinygrad_ce, precise"]
    goals = {
        "float32": [
            ("target gradients lost", default.lost, 0), ("relative error of the loss", default.loss_relative, 1e-5),
            ("relative error of the target gradient", default.target_relative, 1e-5),
            ("ULP of the loss", default.normal_loss, 2), ("ULP of the loss, precise", precise.normal_loss, 0.51),
            ("ULP of the gradient, precise", precise.gradient, 0.51),
        ],
        "float64": [
            ("ULP of the loss", max(default.loss_confident, default.loss_other), 80),
            ("ULP of the gradient", default.gradient, 520),
            ("ULP of the loss, precise", max(precise.loss_confident, precise.loss_other), 2),
            ("ULP of the gradient, precise", precise.gradient, 4),
        ],
    }  # fmt: skip
    return [f"{what}: {found:.3g}, goal {goal:g}" for what, found, goal in goals.get(dtype, []) if not found <= goal]


def plot(points: dict[str, dict[str, list[tuple[float, float]]]], path: Path) -> None:
    """Relative error of the target's gradient against the margin, for right and confident rows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.4), layout="constrained")
    panels = figure.subplots(1, len(points), squeeze=False)[0]
    looks = {"tinygrad_ce": ("o", "#0072b2"), "tinygrad_ce, precise": ("*", "#000000"), "torch": ("^", "#d55e00"),
             "scipy": ("s", "#e69f00"), "mygrad": ("v", "#cc79a7"), "autograd": ("x", "#009e73")}  # fmt: skip
    for axes, (dtype, series) in zip(panels, points.items(), strict=True):
        floor = 2.0 ** -(np.finfo(dtype).nmant + 6)
        for name, pairs in series.items():
            marker, color = looks[name]
            margins, errors = np.array([pair for pair in pairs if 0.5 <= pair[0] <= 110]).reshape(-1, 2).T
            axes.plot(margins, np.clip(errors, floor, 2), marker, color=color, label=name, markersize=6,
                      markerfacecolor=color if marker in "o*x" else "none", alpha=0.8)  # fmt: skip
        axes.set(xscale="log", yscale="log", title=dtype, xlabel="margin of the target over the next logit",
                 ylabel="relative error of its gradient", ylim=(floor / 2, 5))  # fmt: skip
        axes.set_xticks((1, 2, 5, 10, 20, 50, 100), ("1", "2", "5", "10", "20", "50", "100"))
        axes.axhline(1, color="#999999", linewidth=0.7, zorder=0)
        axes.grid(alpha=0.25)
    panels[0].annotate("all lost", (0.02, 1.15), xycoords=("axes fraction", "data"), fontsize=8, color="#666666")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(looks), fontsize=9)
    figure.suptitle("The gradient at the target of confident, right rows: p - 1")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    """Print the tables; with --write keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="up to 100 classes only")
    parser.add_argument("--write", action="store_true", help="keep the report and the plot in benchmarks/")
    options = parser.parse_args()
    classes = CLASSES[:3] if options.quick else CLASSES
    installed = [name for name in ("torch", "scipy", "mygrad", "autograd") if importlib.util.find_spec(name)]
    lines = [
        "# Softmax cross-entropy against mpmath",
        "",
        "`python -m benchmarks.accuracy --write` makes this file. ULP are units in the last place of the truth,",
        "rounded to the dtype; half a ULP is the best there is. y is the target, a the likeliest class; a target's",
        "gradient is *lost* if it is 0 though the dtype can hold the truth. Every figure is the worst of the grid;",
        f"relative errors are over truths that are normal numbers. Classes: {', '.join(map(str, classes))};",
        "scales 1e-3 to 1e4; margins 1 to 100; ties; shifts of +-1e6 (1e4 in float16); a quarter and a half of the",
        "classes at -inf.",
        "",
        machine("tinygrad_ce", "numpy", "mpmath", *installed) + f", {datetime.date.today()}",
    ]
    print("\n".join(lines), flush=True)
    points, missed = {}, []
    for dtype in DTYPES:
        start = time.perf_counter()
        scores, points[dtype], count = run_grid(dtype, classes)
        part = ["", f"## {dtype}: {count} cases", "", *table(scores), ""]
        part += [f"Worst gradient of {name}: {score.worst}." for name, score in scores.items() if name in GOALS]
        missed += [f"{dtype}, {line}" for line in misses(dtype, scores)]
        lines += part
        print("\n".join(part), f"\n({time.perf_counter() - start:.0f} s)", flush=True)
    ends = ["", "## The mean in float16", "", *half_mean(), "", "## Goals", ""]
    ends += [f"- {name}: {goal}." for name, goal in GOALS.items()]
    ends += ["", "All are reached." if not missed else "Not reached:", *(f"- {line}" for line in missed)]
    print("\n".join(ends), flush=True)
    if options.write:
        plot(points, Path(__file__).with_suffix(".png"))
        lines += [*ends, "", "![relative error against margin](accuracy.png)"]
        Path(__file__).with_name("ACCURACY.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
