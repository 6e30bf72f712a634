"""How numbers and names are written in every form of a picture: short, ASCII, the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_ce.graph import Gradient, Graph, GraphNode


def ascii_text(text: str, limit: int = 40) -> str:
    """Printable ASCII: everything else escaped as in Python, the middle of a long text left out."""
    text = "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= limit else f"{text[: limit * 2 // 3]}...{text[-(limit // 3 - 3) :]}"


def tensor_type(node: GraphNode) -> str:
    """Shape and dtype: (16, 4) f32."""
    return f"{node.shape} {short_dtype(node.dtype)}"


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
    """The RMS in two digits; what is no number on a logarithmic scale in words."""
    if gradient.rms is None:
        return "no gradient"
    if gradient.max_abs == 0:
        return "exactly 0"
    return f"{gradient.rms:.1e}"


def value_text(value: float) -> str:
    """The value of an output: seven digits, about what float32 holds."""
    return f"{value:.7g}"


def kept_text(node: GraphNode) -> str:
    """What an op holds for the backward pass, leaves aside, each buffer once: keeps x 512 B, shares z 192 B."""
    kept = [k for k in node.kept if not k.leaf]
    parts = []
    for verb, shared in (("keeps", False), ("shares", True)):
        group = [k for k in kept if k.shared == shared]
        if group:
            size = sum({k.buffer: k.nbytes for k in group}.values())
            parts.append(f"{verb} {', '.join(dict.fromkeys(k.what for k in group))} {byte_count(size)}")
    return ", ".join(parts)


def attributes_text(node: GraphNode) -> str:
    """Metadata: axis=1, keepdims=True."""
    return ", ".join(f"{key}={ascii_text(value, 32)}" for key, value in node.attributes)


def headline(graph: Graph) -> list[str]:
    """The totals, and the outputs of one element."""
    if not graph.recorded:
        words = ["nothing recorded: a leaf, or made under no_grad() or from tensors that take no gradient"]
    else:
        kept = f"{byte_count(graph.kept_bytes)} kept for backward"
        words = [f"{graph.ops} op{'s' * (graph.ops != 1)}", "arrays freed by backward" if graph.released else kept]
    outputs = set(graph.outputs)
    words += [
        f"{ascii_text(node.name or node.op, 24)} {value_text(node.value)}"
        for node in graph.nodes
        if node.id in outputs and node.value is not None
    ]
    return words


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
