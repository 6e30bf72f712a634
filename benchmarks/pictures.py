"""Time and size of every form of a picture, from 10 to 10,000 ops, and how they grow.

    python -m benchmarks.pictures [--limit 60] [--rounds 5] [--write]

Two kinds of graph: an MLP (its modules named, a fused loss at the end) and a raw chain of one op. Of each graph, before
anything is timed, every form is checked to show what there is: ops, edges, cards, lines, steps. What takes longer than
`--limit` seconds is given up, at that size and above. `--write` keeps the tables in benchmarks/PICTURES.md.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import math
import os
import pickle
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.timing import machine, set_threads

set_threads(1)

import numpy as np  # noqa: E402

import tinygrad_ce as tg  # noqa: E402
from tinygrad_ce.graph import Graph, capture  # noqa: E402
from tinygrad_ce.viz import Picture, draw  # noqa: E402
from tinygrad_ce.viz.dot import digraph  # noqa: E402
from tinygrad_ce.viz.drawing import GraphDrawing  # noqa: E402
from tinygrad_ce.viz.page import page  # noqa: E402
from tinygrad_ce.viz.render import find_program  # noqa: E402
from tinygrad_ce.viz.text import to_text  # noqa: E402

SIZES = (10, 100, 1_000, 10_000)
LINEAR = 1.2  # the largest exponent that is still called linear: what outgrows the processor's caches is slower


class TooLong(Exception):
    """A program was stopped at the limit."""


@dataclass(frozen=True)
class Case:
    """A recorded loss, with what `draw` is told of it, and how many cards and edges it has."""

    loss: Any
    names: dict[str, Any]
    nodes: int
    edges: int


def mlp(ops: int) -> Case:
    """Linear and ReLU in turn, and the fused loss: half as many layers as ops."""
    layers = ops // 2
    rng = np.random.default_rng(0)
    model = tg.nn.MLP([8] * (layers + 1), generator=rng)
    x, y = rng.standard_normal((4, 8), dtype=np.float32), rng.integers(0, 8, 4)
    loss = tg.F.softmax_cross_entropy(model(x), y)
    # two parameters a layer, x and y; an edge for each of these, and one from each op but the last
    return Case(loss, {"model": model, "inputs": {"x": x, "y": y}}, ops + ops + 2, ops - 1 + ops + 2)


def chain(ops: int) -> Case:
    """One leaf, and a function of it of a function of it."""
    y = x = tg.Tensor(np.linspace(0.1, 1, 8), requires_grad=True, name="x")
    for _ in range(ops - 1):
        y = tg.F.sin(y)
    del x
    return Case(y.sum(), {}, ops + 1, ops)


CASES: dict[str, Callable[[int], Case]] = {"MLP": mlp, "chain": chain}


def svg_of(dot: str, limit: float) -> str:
    """What `Picture.svg` runs, with a limit."""
    try:
        done = subprocess.run([find_program(), "-Tsvg"], input=dot.encode(), capture_output=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise TooLong from None
    if done.returncode or done.stderr or not done.stdout:
        raise SystemExit(f"not drawn: {done.stderr.decode(errors='replace')[:500]}")
    return done.stdout.decode()


class Forms:
    """The forms of one case, each made from those before it; `check` holds each against the counts."""

    def __init__(self, case: Case, ops: int, limit: float) -> None:
        self.case, self.ops, self.limit = case, ops, limit
        self.made: dict[str, Any] = {}

    def stages(self) -> dict[str, Callable[[], Any]]:
        """How each form is made; in this order."""
        loss, names, made = self.case.loss, self.case.names, self.made
        return {
            "capture": lambda: capture(loss, gradients=False, **names),
            "capture with gradients": lambda: capture(loss, gradients=True, **names),
            "text": lambda: to_text(made["capture with gradients"]),
            "DOT": lambda: digraph(made["capture with gradients"]).source,
            "SVG": lambda: svg_of(made["DOT"], self.limit),
            "page": lambda: self.page(made["SVG"], GraphDrawing(made["capture with gradients"])),
            "folded: capture and fold": lambda: draw(loss, gradients=True, **names),
            "folded: text": lambda: made["folded: capture and fold"].text(),
            "folded: DOT": lambda: made["folded: capture and fold"].dot,
            "folded: SVG": lambda: svg_of(made["folded: DOT"], self.limit),
            "folded: page": lambda: self.page(made["folded: SVG"], made["folded: capture and fold"].drawing),
        }

    def page(self, svg: str, drawing: Any) -> str:
        return page(svg, drawing.sides, drawing.sides[0].title)

    def check(self, name: str, found: Any) -> None:
        case, ops = self.case, self.ops
        if isinstance(found, Graph):
            self.expect(name, ops=(found.ops, ops), nodes=(len(found.nodes), case.nodes))
            self.expect(name, edges=(len(found.edges), case.edges))
            self.expect(name, steps=(len(found.steps), ops if name.endswith("gradients") else 0))
        elif isinstance(found, Picture):
            (side,) = found.drawing.sides
            self.expect(name, ops=(side.full.ops, ops), members=(_stood_for(side.drawn), case.nodes))
        elif name == "text":
            self.expect(name, lines=(len(re.findall(r"^n\d+ ", found, re.MULTILINE)), case.nodes))
        elif name == "DOT":
            cards = len(re.findall(r'\bid="?n[0-9]', found))
            self.expect(name, cards=(cards, case.nodes), arrows=(found.count(" -> "), case.edges))
        elif name == "SVG":
            self.expect(name, cards=(found.count('class="node '), case.nodes))
            self.expect(name, edges=(found.count('class="edge '), case.edges))
        elif name == "page":
            missing = [node.id for node in self.made["capture"].nodes if f'id="{node.id}"' not in found]
            self.expect(name, missing=(len(missing), 0))
        elif not found:
            raise SystemExit(f"{name}: empty")

    def expect(self, name: str, **pairs: tuple[int, int]) -> None:
        for what, (found, expected) in pairs.items():
            if found != expected:
                raise SystemExit(f"{name} of {self.ops} ops: {found} {what}, expected {expected}")


def _stood_for(graph: Graph) -> int:
    """How many captured nodes the cards of a graph stand for."""
    return sum(len(node.members) or 1 for node in graph.nodes)


def clock() -> float:
    """Processor seconds of this process and of the programs it ran: what else the machine does is not in them."""
    return time.process_time() + sum(os.times()[2:4])


def measure(make: Callable[[], Any], rounds: int) -> tuple[Any, float]:
    """What is made, and the median of the seconds it takes."""
    gc.collect()
    gc.disable()  # as timeit does
    try:
        start, before = time.perf_counter(), clock()
        made = make()
        first = clock() - before
        calls = max(1, math.ceil(0.3 / (time.perf_counter() - start)))  # the clock of programs ticks every hundredth
        times = [first] if calls == 1 else []
        for _ in range(rounds - len(times) if first < 10 else 1):
            before = clock()
            for _ in range(calls):
                make()
            times.append((clock() - before) / calls)
    finally:
        gc.enable()
    return made, statistics.median(times)


def size_of(made: Any) -> int:
    """Bytes of a file in UTF-8; of a graph, which is plain data, pickled."""
    if isinstance(made, Picture):
        made = made.drawing.sides[0].drawn
    return len(made.encode() if isinstance(made, str) else pickle.dumps(made))


def run(kind: str, limit: float, rounds: int) -> dict[str, dict[int, tuple[float, int]]]:
    """Seconds and bytes of each form at each size that stays below the limit."""
    found: dict[str, dict[int, tuple[float, int]]] = {}
    given_up: set[str] = set()
    for ops in SIZES:
        forms = Forms(CASES[kind](ops), ops, limit)
        for name, make in forms.stages().items():
            found.setdefault(name, {})
            start = time.perf_counter()
            if name in given_up or (name == "page" and "SVG" not in forms.made):
                continue
            try:
                forms.made[name], seconds = measure(make, rounds)
            except TooLong:
                given_up.add(name)
                continue
            if seconds > limit:
                given_up.add(name)
            forms.check(name, forms.made[name])
            found[name][ops] = seconds, size_of(forms.made[name])
            print(f"{kind}, {ops} ops, {name}: {seconds:.4g} s "
                  f"({time.perf_counter() - start:.0f} s)", file=sys.stderr, flush=True)  # fmt: skip
    return found


def exponent(points: dict[int, float]) -> float | None:
    """The slope of log(value) over log(ops), least squares, from 100 ops on."""
    pairs = [(math.log(n), math.log(value)) for n, value in points.items() if n >= 100]
    if len(pairs) < 2:
        return None
    return float(np.polyfit(*np.array(pairs).T, 1)[0])


def table(found: dict[str, dict[int, tuple[float, int]]], limit: float) -> list[str]:
    head = ["", *(f"{n:,} ops" for n in SIZES), "time grows with ops to the", "size to the"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, points in found.items():
        cells = [name, *(_cell(points.get(n), limit) for n in SIZES)]
        for i in (0, 1):
            power = exponent({n: point[i] for n, point in points.items()})
            cells.append("" if power is None else f"{power:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _cell(point: tuple[float, int] | None, limit: float) -> str:
    return f"over {limit:g} s" if point is None else f"{_seconds(point[0])}, {_bytes(point[1])}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def _bytes(n: float) -> str:
    return f"{n / 1024:,.3g} KiB" if n < 1024**2 else f"{n / 1024**2:,.3g} MiB"


def verdict(kind: str, found: dict[str, dict[int, tuple[float, int]]]) -> list[str]:
    """Which forms, of those that must, do not grow linearly."""
    slow = []
    for name in ("capture", "capture with gradients", "text", "DOT"):
        power = exponent({n: point[0] for n, point in found[name].items()})
        if power is None or len(found[name]) < len(SIZES) or power > LINEAR:
            slow.append(f"{name} ({'not measured' if power is None else f'{power:.2f}'})")
    return [f"{kind}: {', '.join(slow) + ' not' if slow else 'all'} linear up to DOT."]


def main() -> None:
    """Print the tables; with --write keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=60, help="seconds after which a form is given up (default 60)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to take the median of (default 5)")
    parser.add_argument("--write", action="store_true", help="keep the tables in benchmarks/PICTURES.md")
    options = parser.parse_args()
    version = subprocess.run([find_program(), "-V"], capture_output=True, text=True).stderr.strip()
    lines = [
        "# Pictures: time and size",
        "",
        f"Processor time of one thread, medians of {options.rounds} rounds (of two above 10 s).",
        "`python -m benchmarks.pictures --write` makes this file. Each row is the time of that step alone: DOT is made",
        "of a captured graph, SVG of DOT, the page of the SVG and the graph. The size is that of the file, or, of a",
        "captured graph, pickled. The upper rows draw every op; rows *folded* draw what `draw` draws unless told",
        "otherwise: large graphs by module, repeats once. Above 2,000 ops nodes carry no excerpts of their numbers.",
        "Exponents are fitted from 100 ops on; 1 is linear.",
        "",
        machine("tinygrad_ce", "numpy", "graphviz") + f", {version}, {datetime.date.today()}",
    ]
    print("\n".join(lines), flush=True)
    verdicts = []
    for kind in CASES:
        found = run(kind, options.limit, options.rounds)
        part = ["", f"## {kind}", "", *table(found, options.limit)]
        print("\n".join(part), flush=True)
        lines += part
        verdicts += verdict(kind, found)
    lines += ["", "## Growth", "", *(f"- {line}" for line in verdicts)]
    print("\n".join(lines[-len(verdicts) :]), flush=True)
    if options.write:
        Path(__file__).with_name("PICTURES.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
