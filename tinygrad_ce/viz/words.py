"""How numbers and names are written in every form of a picture: short, ASCII, the same everywhere."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tinygrad_ce.graph import Gradient, Graph, GraphNode, Summary, Trouble
from tinygrad_ce.graph.fold import Folded, levels, whole
from tinygrad_ce.graph.repeats import GradientRange

_LISTED = 6  # troubles under the header
_OUTPUTS = 4  # whose values are in it


def ascii_text(text: str, limit: int = 40) -> str:
    """Printable ASCII: everything else escaped as in Python, the middle of a long text left out."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= limit else f"{text[: limit * 2 // 3]}...{text[-(limit // 3 - 3) :]}"


def tensor_type(node: GraphNode) -> str:
    """Shape and dtype: (16, 4) f32."""
    return f"{node.shape} {ascii_text(short_dtype(node.dtype), 20)}"


def short_dtype(name: str) -> str:
    """float32 as f32, and so on."""
    for long, short in (("float", "f"), ("uint", "u"), ("int", "i")):
        if name.startswith(long):
            return short + name.removeprefix(long)
    return name


def byte_count(n: int) -> str:
    """832 B, 1.1 KiB, 3.0 GiB."""
    if n < 1024:
        return f"{n} B"
    power = min((n.bit_length() - 1) // 10, 4)
    return f"{n / 1024**power:.1f} {'KMGT'[power - 1]}iB"


def gradient_text(gradient: Gradient) -> str:
    """The RMS in two digits, or the smallest and the largest of several; what is no number on that scale in words."""
    if isinstance(gradient, GradientRange):
        low, high = (gradient_text(Gradient(g.rms, g.max_abs)) for g in (gradient, gradient.largest))
        return low if low == high else f"{low} to {high}"
    if gradient.rms is None:
        return "no gradient"
    if gradient.max_abs == 0:
        return "exactly 0"
    return f"{gradient.rms:.1e}"


def largest(gradient: Gradient) -> float:
    """The largest magnitude in a gradient, or in any of several."""
    return max(g.max_abs or 0.0 for g in (gradient, getattr(gradient, "largest", gradient)))


def summary_text(summary: Summary) -> list[str]:
    """What the numbers of a tensor are like, in a line or two."""
    lines = []
    if summary.low is not None:
        lines.append(f"values from {summary.low:.4g} to {summary.high:.4g}, RMS {summary.rms:.4g}")
    odd = [f"{n} {what}" for n, what in ((summary.nan, "nan"), (summary.infinite, "infinite")) if n]
    odd += [f"{summary.zeros} of {summary.size} exactly 0"] if summary.zeros else []
    odd += [f"{summary.dead} of {summary.units} units 0 in every row"] if summary.dead else []
    return [*lines, ", ".join(odd)] if odd else lines


def value_text(value: float) -> str:
    """The value of an output: seven digits, about what float32 holds."""
    return f"{value:.7g}"


def kept_text(node: GraphNode) -> str:
    """What an op holds for the backward pass, leaves aside, each buffer once: keeps x 512 B, shares z 192 B."""
    kept = [k for k in node.kept if not k.leaf]
    if node.members:
        size = sum({k.buffer: k.nbytes for k in kept if not k.shared}.values())
        return f"keeps {byte_count(size)}{' in all' * (node.count > 1)}" if size else ""
    parts = []
    for verb, shared in (("keeps", False), ("shares", True)):
        group = [k for k in kept if k.shared == shared]
        if group:
            size = sum({k.buffer: k.nbytes for k in group}.values())
            parts.append(f"{verb} {', '.join(dict.fromkeys(ascii_text(k.what, 24) for k in group))} {byte_count(size)}")
    return ", ".join(parts)


def attributes_text(node: GraphNode) -> str:
    """Metadata: axis=1, keepdims=True; of a module: 2 ops, 40 parameters."""
    if node.kind == "module":
        return ", ".join(
            f"{value} {key if value != '1' else key[:-1]}" for key, value in node.attributes if key != "module"
        )
    return ", ".join(f"{ascii_text(key, 24)}={ascii_text(value, 32)}" for key, value in node.attributes)


def headline(graph: Graph) -> list[str]:
    """The totals, and the outputs of one element."""
    if not graph.recorded:
        words = ["nothing recorded: a leaf, or made under no_grad() or from tensors that take no gradient"]
    else:
        kept = f"{byte_count(graph.kept_bytes)} kept for backward"
        words = [f"{graph.ops} op{'s' * (graph.ops != 1)}", "arrays freed by backward" if graph.released else kept]
    outputs = set(whole(graph).outputs)
    values = [
        f"{ascii_text(node.name or node.op, 24)} {value_text(node.value)}"
        for node in whole(graph).nodes
        if node.id in outputs and node.value is not None
    ]
    more = len(values) - _OUTPUTS
    return [*words, *values] if more <= 0 else [*words, *values[:_OUTPUTS], f"and {more} more outputs"]


def remarks(graph: Graph, show: Collection[str]) -> list[str]:
    """What is not in the picture, and how to get it."""
    lines = []
    if isinstance(graph, Folded):
        closed = sum(node.count for node in graph.nodes if node.kind == "module")
        boxes = len({node.module for node in graph.nodes if node.count > 1})
        what = ["a module is one card" if closed == 1 else f"{closed} modules are one card each"] if closed else []
        what += [f"{'a repeat is' if boxes == 1 else f'{boxes} repeats are'} drawn once"] if boxes else []
        more = [f"depth={levels(graph.whole) + 1} draws all {len(graph.whole.nodes)} cards"]
        name = next((node.name for node in graph.nodes if node.kind == "module" and node.count == 1), None)
        more += [f"expand={ascii_text(name)!r} opens one"] if name else []
        lines.append(f"folded: {' and '.join(what)}; {', '.join(more)}")
    if "grad" in show and graph.recorded and not graph.released and not any(node.gradient for node in graph.nodes):
        lines.append("no gradients yet: call backward(), or draw(..., gradients=True) before it")
    return lines


def alerts(found: Sequence[Trouble]) -> list[str]:
    """What is wrong, a line each; of many, the first ones."""
    lines = [ascii_text(trouble.text, 160) for trouble in found if trouble.text]
    more = len(lines) - _LISTED
    return lines if more <= 0 else [*lines[:_LISTED], f"and {more} more"]


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
