"""What was aimed at, and what of it is reached."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.figures import by, figure, mean_ratio, ours, plural, ratios
from benchmarks.suite import GROUPS, OURS, Row

CHAINS = ("log_softmax, nll_loss", "softmax, log, nll_loss")
SMALL_STEPS = ("1 x 4 x 8 x 3", "32 x 64 x 32 x 10")
LARGE_STEPS = ("64 x 784 x 128 x 10", "256 x 784 x 256 x 10")


@dataclass(frozen=True)
class Goal:
    """Our figure in every row that fits is at most `limit` times that of `other`, or `limit` itself without one.

    `mean`: of the geometric mean over the cases instead. `constant`: of the largest as times the smallest.
    """

    group: str
    table: str
    limit: float
    other: str | None = None
    cases: tuple[str, ...] = ()
    kernels: str | None = None
    threads: int | None = None
    mean: bool = False
    constant: bool = False

    def fits(self, row: Row) -> bool:
        return (
            row.table == self.table
            and (not self.cases or row.case in self.cases)
            and self.kernels in (None, row.kernels)
            and self.threads in (None, row.threads)
            and (self.other is None or self.other in row.values)
        )

    def found(self, rows: list[Row]) -> Iterator[tuple[float, str]]:
        """What counts of the rows, with what it is of."""
        for (threads, kernels), part in by(filter(self.fits, rows), "threads", "kernels").items():
            where = f"{kernels}, {plural(int(threads), 'thread')}"
            if self.mean and self.other is not None:
                average = mean_ratio(part, self.other)
                if average is not None:
                    yield average, f"mean, {where}"
            elif self.constant:
                medians = [statistics.median(row.values[ours(row)]) for row in part]
                yield max(medians) / min(medians), where
            else:
                for row in part:
                    value = row.values[ours(row)][0] if self.other is None else ratios(row)[self.other][0]
                    yield value, f"{row.case}, {where}"

    def __str__(self) -> str:
        where = [GROUPS[self.group].title, self.table, *self.cases]
        where += [f"{self.kernels} kernels"] * (self.kernels is not None)
        where += [plural(self.threads, "thread")] if self.threads else []
        where += ["geometric mean"] * self.mean + ["largest to smallest"] * self.constant
        return ", ".join(where) + (f"; times {self.other}" if self.other else "")


def _loss(table: str, limit: float, *cases: str, other: str = "torch", **which: object) -> Goal:
    return Goal("loss", table, limit, other, cases, **which)  # type: ignore[arg-type]


GOALS = (
    _loss("float32", 0.6, "32 x 10", "65536 x 10", kernels="numpy"),
    _loss("float32", 0.25, "1024 x 50257", kernels="numpy"),
    _loss("float32", 1.1, "256 x 1000", "1024 x 1000", "4096 x 1000", kernels="numpy", threads=1),
    _loss("float32", 1.5, "256 x 1000", "1024 x 1000", "4096 x 1000", kernels="numpy", threads=2),
    _loss("float32", 1.7, "128 x 100", "8192 x 100", kernels="numpy"),
    _loss("float32", 0.7, kernels="numpy", mean=True),
    _loss("float32, precise=True", 2, "256 x 1000", "1024 x 1000", "4096 x 1000", kernels="numpy"),
    _loss("float32, precise=True", 1, "32 x 10", "65536 x 10", "1024 x 50257", kernels="numpy"),
    _loss("float32", 1, kernels="numba"),
    _loss("float32", 0.2, "32 x 10", kernels="numba"),
    _loss("float32", 0.3, "65536 x 10", "1024 x 50257", kernels="numba"),
    _loss("float32", 0.45, kernels="numba", mean=True),
    _loss("float32, precise=True", 1.2, kernels="numba"),
    _loss("float64", 1),
    _loss("float32, confident logits", 1.5, other=f"{OURS} on random logits"),
    *(Goal("fused", "time", 1 / 1.5, chain) for chain in CHAINS),
    *(Goal("fused", "memory", 0.5, chain) for chain in CHAINS),
    Goal("training", "step", 1.25, "NumPy by hand", ("1 x 4 x 8 x 3",)),
    Goal("training", "step", 1.15, "NumPy by hand", ("32 x 64 x 32 x 10",)),
    Goal("training", "step", 1.05, "NumPy by hand", ("64 x 784 x 128 x 10",)),
    Goal("training", "step", 1.03, "NumPy by hand", ("256 x 784 x 256 x 10",)),
    Goal("training", "step", 0.5, "torch", SMALL_STEPS),
    Goal("training", "step", 1, "torch", LARGE_STEPS),
    Goal("training", "step", 1, "MyGrad"),
    Goal("training", "step", 1, "autograd"),
    *(
        Goal("softmax", f"{name}, {part}", 1, "torch")
        for name in ("softmax", "log_softmax", "logsumexp")
        for part in ("forward", "forward and backward")
    ),
    Goal("linear", "time", 1, "torch"),
    Goal("linear", "memory", 60e6, cases=("2048 x 256 x 32000",)),
    Goal("memory", "NumPy's arrays", 1.05),
    Goal("memory", "the process", 1.05),
    Goal("import", "import", 1.5, "numpy"),
    *(Goal("chain", part, 1.2, constant=True) for part in ("forward", "backward", "deletion")),
)


def table(results: Mapping[str, list[Row]]) -> list[tuple[str, str, str, str]]:
    """Each goal that something was measured for: what, at most, the worst that was found and where, whether reached."""
    lines = []
    for goal in GOALS:
        found = list(goal.found(results.get(goal.group, [])))
        if found:
            worst, where = max(found, key=lambda pair: pair[0])
            unit = "" if goal.other or goal.constant else next(r.unit for r in results[goal.group] if goal.fits(r))
            reached = "yes" if worst <= goal.limit else "**no**"
            lines.append((str(goal), figure(goal.limit, unit), f"{figure(worst, unit)} ({where})", reached))
    return lines
