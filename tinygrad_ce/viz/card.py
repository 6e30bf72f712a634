"""The cards, chips and labels of a picture, as Graphviz's HTML-like labels. All text is escaped here."""

from __future__ import annotations

import html
import itertools
import math
import re
import textwrap
from collections.abc import Collection, Mapping, Sequence

from tinygrad_ce.graph import Gradient, Graph, GraphNode
from tinygrad_ce.viz import colors, words

MONO = "Courier New"
_CHIP_SIZE = 9
_LINE = 44  # characters of a formula or a list of metadata before it goes on in the next line


def font(text: str, size: int, color: str, face: str = "", bold: bool = False) -> str:
    """A run of text; spaces are kept as they are."""
    if not text:
        return ""  # an empty <font> is a syntax error to Graphviz
    content = html.escape(text.replace("\\", "\\\\"))  # a single backslash starts an escape of Graphviz's
    content = f"<b>{content}</b>" if bold else content
    named = f'face="{face}" ' if face else ""
    return f'<font {named}point-size="{size}" color="{color}">{content}</font>'


def table(*rows: str, **attributes: object) -> str:
    """An HTML-like table of rows."""
    given = {"border": 0, "cellborder": 0, "cellspacing": 0, "cellpadding": 2, **attributes}
    return f"<table{_written(given)}>{''.join(rows)}</table>"


def _written(attributes: Mapping[str, object]) -> str:
    return "".join(f' {key}="{value}"' for key, value in attributes.items())


def row(content: str) -> str:
    """A row of one cell."""
    return f'<tr><td align="left">{content}</td></tr>'


def edges(left: str, right: str, valign: str = "middle") -> str:
    """A row with something at both edges, of a width of its own: it does not line up with other rows."""
    cells = f'<td align="left">{left}</td><td align="right" valign="{valign}">{right}</td>'
    return row(table(f"<tr>{cells}</tr>", cellpadding=0))


def chip(gradient: Gradient) -> str:
    """The gradient's RMS on its colour; an outline for one that is missing or 0; a warning for nan and inf."""
    text, style, ground, border = words.gradient_text(gradient), "rounded", colors.CHIP, colors.SECONDARY
    if gradient.rms is None:
        style = "rounded,dashed"
    else:
        text = f"g {text}"
        if not math.isfinite(gradient.rms):
            ground = border = colors.NOT_FINITE
        elif gradient.rms > 0:
            ground = border = colors.of_gradient(gradient.rms)
    width = round(0.62 * _CHIP_SIZE * len(text)) + 8  # letters of this face are 0.6 of its size wide
    content = font(text, _CHIP_SIZE, colors.ink_on(ground), MONO)
    return _pills([_pill(content, width, 14, border=1, color=border, bgcolor=ground, style=style)], width, 14, 1)


def _pill(content: str, width: int, height: int, **attributes: object) -> str:
    given = {**attributes, "fixedsize": "true", "width": width, "height": height}
    return f"<td{_written(given)}>{content}</td>"


def _pills(cells: Sequence[str], width: int, height: int, spacing: int) -> str:
    """Pills in a row. A table is stretched to the width of what is around it, unless its size is fixed."""
    width += spacing * (len(cells) + 1)
    return table(
        "<tr>", *cells, "</tr>",
        cellpadding=0, cellspacing=spacing, align="left", fixedsize="true", width=width, height=height + 2 * spacing,
    )  # fmt: skip


def card(node: GraphNode, show: Collection[str]) -> str:
    """One op with the tensor it makes, or one leaf."""
    shape = font(f"  {words.tensor_type(node)}", 10, colors.SECONDARY, MONO) if "shape" in show else ""
    rows = [edges(_name(node), shape, "top"), *_details(node, show)]
    if node.fused:
        rows += [row(line) for line in (*_formula("value", node.formula), *_formula("vjp", node.vjp_formula))]
    frame = _frame(node.kind)
    if not node.fused:
        return table(*rows, **frame, border=1, cellspacing=2)
    return table(row(table(*rows, **frame, border=2, cellspacing=2)), **frame, border=1, cellspacing=1, cellpadding=1)


def _frame(kind: str) -> dict[str, str]:
    border, ground = colors.CARDS[kind]
    return {"color": border, "bgcolor": ground, "style": "rounded,dashed" if kind in colors.DASHED else "rounded"}


def _name(node: GraphNode) -> str:
    title = font(words.ascii_text(node.op or node.name), 12, colors.INK, bold=True)
    name = words.ascii_text(node.name) if node.op else ""
    if node.value is None:
        return title + (font(f"  {name}", 10, colors.SECONDARY) if name else "")
    return title + font(f"  {name} = {words.value_text(node.value)}".replace("   ", "  "), 10, colors.INK)


def _details(node: GraphNode, show: Collection[str]) -> list[str]:
    """The rows below the name: the gradient on the left, metadata and what is kept on the right."""
    left = chip(node.gradient) if "grad" in show and node.gradient is not None else ""
    kept = words.kept_text(node) if "kept" in show else ""
    right = [text for text in (words.attributes_text(node), kept) if text]
    if sum(map(len, right)) <= _LINE - 14:
        right = [", ".join(right)]
    lines = [line for text in right for line in textwrap.wrap(text, _LINE)]
    if not left:
        return [row(font(line, 9, colors.SECONDARY)) for line in lines]
    texts = [font(f"  {line}", 9, colors.SECONDARY) for line in lines] or [""]
    return [edges(left, texts[0]), *(edges("", text) for text in texts[1:])]


def _formula(what: str, formula: str) -> list[str]:
    """The formula in lines that end, where possible, between the gradients of two inputs."""
    lines: list[str] = []
    for part in re.split(r"(?<=,) (?=d\w+ =)", words.ascii_text(formula, 400)):
        if lines and len(lines[-1]) + len(part) < _LINE:
            lines[-1] += f" {part}"
        else:
            lines += textwrap.wrap(part, _LINE)
    return [
        font(f"{what if i == 0 else '':7}", 9, colors.SECONDARY, MONO) + font(line, 9, colors.INK, MONO)
        for i, line in enumerate(lines)
    ]


def header(graph: Graph) -> str:
    """What the picture is of, and the totals."""
    title = font(words.ascii_text(graph.title), 15, colors.MUTED, bold=True)
    totals = font("    ".join(words.headline(graph)), 10, colors.MUTED)
    return table(row(title), row(totals), cellpadding=1)


def module(path: str, shown: str) -> str:
    """The title of a module's box: fc1  Linear(4, 8)."""
    if shown.partition("(")[0] == path.partition(" ")[0]:  # outside the model, it goes by its class
        return font(words.ascii_text(shown), 10, colors.MUTED)
    name = font(words.ascii_text(path), 11, colors.MUTED, bold=True)
    return name + font(f"   {words.ascii_text(shown)}", 10, colors.MUTED)


def legend(graph: Graph, show: Collection[str]) -> str:
    """The kinds of cards there are, and the scale of the gradients."""
    kinds = {(node.kind, node.fused) for node in graph.nodes}
    samples, width = [], 0
    for kind, fused in itertools.product(colors.CARDS, (False, True)):
        if (kind, fused) in kinds:
            name = f"fused {kind}" if fused else kind
            text, frame, wide = font(name, 10, colors.INK), _frame(kind), 6 * len(name) + 16
            if fused:
                text = table(f"<tr><td>{text}</td></tr>", **frame, border=2)
            samples.append(_pill(text, wide, 22, **frame, border=1))
            width += wide
    rows = [row(_pills(samples, width, 22, 3))]
    if "grad" in show and any(node.gradient for node in graph.nodes):
        meaning = font("  RMS of the gradient that reached the tensor", 10, colors.MUTED)
        rows += [row(font("g", 10, colors.MUTED, MONO, bold=True) + meaning), row(_scale())]
    if "kept" in show and any(k.shared and not k.leaf for node in graph.nodes for k in node.kept):
        rows.append(row(font("shares: an earlier op keeps it, and it is counted there", 10, colors.MUTED)))
    return table(*rows, cellspacing=2)


def _scale() -> str:
    low, high = colors.SCALE
    ticks = []
    for power in range(low, high + 1):
        ground = colors.of_gradient(10.0**power)
        text = font(f"1e{power}", 8, colors.ink_on(ground), MONO)
        ticks.append(f'<td bgcolor="{ground}" width="34" height="14">{text}</td>')
    return table("<tr>", *ticks, "</tr>", cellpadding=1)


def tooltip(node: GraphNode) -> list[str]:
    """Lines that say everything there is to say about a node."""
    lines = [" ".join(filter(None, (node.id, node.op or node.kind, words.ascii_text(node.name, 200))))]
    lines += [words.tensor_type(node), *(f"{key}={words.ascii_text(value, 200)}" for key, value in node.attributes)]
    lines += [words.ascii_text(text, 400) for text in (node.formula, node.vjp_formula) if text]
    if node.gradient is not None and node.gradient.rms is not None:
        lines.append(f"gradient: RMS {node.gradient.rms:.6g}, largest {node.gradient.max_abs:.6g}")
    for k in node.kept:
        note = " (a leaf's own)" if k.leaf else " (an earlier op keeps it too)" if k.shared else ""
        lines.append(f"keeps {k.what}, {words.byte_count(k.nbytes)}{note}")
    return lines
