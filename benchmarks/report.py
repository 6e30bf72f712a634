"""RESULTS.md of what was measured: tables, where we are slower, what was aimed at. All of it follows from the figures.

`python -m benchmarks.report` writes the page and the plots anew from benchmarks/results.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import goals, plots
from benchmarks.figures import by, figure, mean_ratio, median, others, ours, plural, ratios, significant, spread
from benchmarks.runner import Result
from benchmarks.suite import GROUPS, Row
from benchmarks.timing import exponent
from tinygrad_ce.results import Table

PAGE, FIGURES = "RESULTS.md", "results.json"
SEE_ALSO = {
    "ACCURACY.md": "errors in units of the last place, ours beside those of other libraries",
    "FASHION_MNIST.md": "what small networks learn, and an epoch of training beside torch and scikit-learn",
    "PICTURES.md": "time and size of drawn graphs",
    "FEATURES.md": "what it has beside other frameworks",
}
SLOWER = (
    "Every case in which our figure is above another's, and how many times it is. It follows from the tables below."
)
HEAD = """\
# Benchmarks

`python -m benchmarks --write` makes this page and its plots; `python -m benchmarks GROUP` measures one group, and
`--help` tells the rest. It needs `pip install -e ".[bench,fast]"`; peers that are not installed are left out.

**How.** Every group runs in processes of its own, one for each number of threads (the same for everyone) and each
kind of kernels: `numpy`, which are always there, and `numba`, compiled, of the extra `fast`. Contestants are checked to
agree before they are timed (float32 to 1e-4 of the largest, float64 to 1e-12; training after three steps). Then they
take turns: in each round everyone runs alone for 0.2 s, of which the start, 0.04 s, does not count, after a pause.
Times are medians of three to five rounds. Where the load average at the start is not near 0 the machine had other work,
and figures of several threads mean little.

**How to read it.** A figure such as *0.61 (0.58-0.66)* is our time as times the other's in the same run: median,
smallest and largest of the rounds. **Below 1 we are faster.** A column named after kernels is ours with these kernels;
in a peer's column the ratios stand in brackets after its time.
"""


def tables(result: Result) -> Iterator[tuple[str, Table]]:
    """A group's tables with their titles."""
    for (title,), rows in by(result.rows, "table").items():
        if rows[0].x is not None:
            yield title, growth(rows)
        elif len(others(rows)) == 1 and rows[0].unit == "s":
            yield title, beside_one(rows)
        else:
            for (threads,), part in by(rows, "threads").items():
                several = len(by(rows, "threads")) > 1
                label = len(by(rows, "kernels")) > 1
                yield title + f", {plural(int(threads), 'thread')}" * several, beside_all(part, label)


def beside_one(rows: Sequence[Row]) -> Table:
    """One other: its time, then ours as times that, for each number of threads and kind of kernels."""
    (other,) = others(rows)
    columns = []
    for (threads,), part in by(rows, "threads").items():
        where = f", {plural(int(threads), 'thread')}"
        columns.append([f"{other}{where}", *(_figure(same, other) for same in by(part, "case").values()), ""])
        for (kernels,), same in by(part, "kernels").items():
            cells = [spread(ratios(row)[other]) for row in same]
            name = ours(same[0]) if len(by(rows, "kernels")) == 1 else f"{kernels} kernels"
            columns.append([name + where, *cells, _mean(same, other)])
    cases = [case for (case,) in by(rows, "case")]
    head, *lines = zip(["", *cases, "geometric mean"], *columns, strict=True)
    return Table(head, lines if len(cases) > 2 else lines[:-1])


def beside_all(rows: Sequence[Row], label: bool = False) -> Table:
    """Several others: everyone's figure, and ours as times it for each kind of kernels, which are named if `label`."""
    kernels = by(rows, "kernels")
    first = ours(rows[0])
    head = ["", *(first + f", {name}" * label for (name,) in kernels), *others(rows)]
    lines = []
    for (case,), same in by(rows, "case").items():
        mine = [_figure([row], first) for row in same]
        beside = []
        for other in others(rows):
            times = ", ".join(f"{ratios(row)[other][0]:.2f}" for row in same if other in row.values)
            beside.append(_figure(same, other) + f" ({times})" * (rows[0].unit != "x logits" and bool(times)))
        lines.append([case, *mine, *[""] * (len(kernels) - len(mine)), *beside])
    if len(lines) > 2 and rows[0].unit != "x logits":
        means = [", ".join(_mean(part, other) for part in kernels.values()) for other in others(rows)]
        lines.append(["geometric mean", *[""] * len(kernels), *(f"({cell})" if cell else "" for cell in means)])
    return Table(head, lines)


def growth(rows: Sequence[Row]) -> Table:
    """Figures over x, and the power of x with which they grow."""
    columns = []
    for (kernels,), part in by(rows, "kernels").items():
        for name in part[0].values:
            found = [(row.x or 1, median([row], name) or 0) for row in part]
            power = exponent(found)
            unit = part[0].unit
            label = f", {kernels}" * (len(by(rows, "kernels")) > 1)
            columns.append([name + label, *(figure(y, unit) for _, y in found),
                            "" if power is None else f"{power:.2f}"])  # fmt: skip
    cases = [case for (case,) in by(rows, "case")]
    head, *lines = zip(["", *cases, "grows to the power of"], *columns, strict=True)
    return Table(head, lines)


def _figure(rows: Sequence[Row], name: str) -> str:
    found = median(rows, name)
    return "" if found is None else figure(found, rows[0].unit)


def _mean(rows: Sequence[Row], other: str) -> str:
    found = mean_ratio(rows, other)
    return "" if found is None else f"{found:.2f}"


def losses(results: Mapping[str, Result]) -> list[str]:
    """A line for each table and each contestant that does better than we, with every case and by how much."""
    lines = []
    for name, result in results.items():
        for (table, threads, kernels), rows in by(result.rows, "table", "threads", "kernels").items():
            for other in others(rows):
                worse = [(row.case, ratios(row)[other][0]) for row in rows if other in row.values]
                cases = ", ".join(f"{case} ({significant(found)})" for case, found in worse if found > 1)
                if cases:
                    verb = "slower" if rows[0].unit == "s" else "more memory"
                    where = f"{GROUPS[name].title}, {table}, {kernels} kernels, {plural(int(threads), 'thread')}"
                    lines.append(f"- {where}: {verb} than {other} at {cases}")
    return lines


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; the first column aligned to the left, the others to the right."""
    head = list(head)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page(results: Mapping[str, Result], pictures: Mapping[str, str]) -> str:
    """The whole of RESULTS.md; `pictures` are file names by group."""
    machines = list(dict.fromkeys(result.machine for result in results.values()))
    aims = goals.table({name: result.rows for name, result in results.items()})
    reached = sum(line[-1] == "yes" for line in aims)
    parts = [HEAD, f"Measured on {machines[0]}." if len(machines) == 1 else ""]
    parts += ["## Where we are slower, or need more memory", SLOWER, "\n".join(losses(results)) or "Nowhere."]
    parts += ["## What was aimed at", f"{reached} of {len(aims)} are reached. *Found* is the worst of the cases."]
    parts += [markdown(("aim", "at most", "found", "reached"), aims)]
    for name, result in results.items():
        when = f"Measured on {result.date}, load average {result.load} at the start"
        when += f", {result.machine}" * (len(machines) > 1)
        when += f". Not installed and left out: {', '.join(result.missing)}" * bool(result.missing)
        parts += [f"## {GROUPS[name].title}", GROUPS[name].text, f"{when}."]
        if name in pictures:
            parts.append(f"![{GROUPS[name].title}]({pictures[name]})")
        for title, table in tables(result):
            parts += [f"### {title}", markdown(table.head, table.rows)]
    parts += ["## See also", "\n".join(f"- [{name}]({name}): {what}" for name, what in SEE_ALSO.items())]
    return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


def load(folder: Path) -> dict[str, Result]:
    """What was kept in a folder before, if anything was."""
    path = folder / FIGURES
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return {name: Result(**{**each, "rows": [Row(**row) for row in each["rows"]]}) for name, each in found.items()}


def write(folder: Path, results: Mapping[str, Result]) -> None:
    """The figures, the plots and the page, groups in the order of the suite."""
    ordered = {name: results[name] for name in GROUPS if name in results}
    folder.mkdir(parents=True, exist_ok=True)
    pictures = plots.write(folder, {name: result.rows for name, result in ordered.items()})
    (folder / PAGE).write_text(page(ordered, pictures), encoding="utf-8")
    lines = {name: asdict(result) for name, result in ordered.items()}
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in lines.items())
    (folder / FIGURES).write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parent, load(Path(__file__).parent))
