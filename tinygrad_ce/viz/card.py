"""The cards, chips and labels of a picture, as Graphviz's HTML-like labels. All text is escaped here."""

from __future__ import annotations

import html
import math
import re
import textwrap
from collections.abc import Collection, Mapping, Sequence

from tinygrad_ce.graph import Gradient, Graph, GraphNode, Trouble
from tinygrad_ce.graph.repeats import GradientRange
from tinygrad_ce.viz import colors, words

MONO = "Courier New"
_CHIP_SIZE = 9
_TOOLTIP = 20  # lines
_WIDE = 76  # characters of a line under the header
_LINE = 44  # characters of a formula or a list of metadata before it goes on in the next line


def font(text: str, size: int, color: str, face: str = "", bold: bool = False) -> str:
    """A run of text; spaces are kept as they are."""
    if not text:
        return ""  # an empty <font> is a syntax error to Graphviz
    # a single backslash starts an escape of Graphviz's, and it stumbles over a text of nothing but "]"
    content = html.escape(text.replace("\\", "\\\\")).replace("]", "&#93;")
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
    """The gradient's RMS on its colour; an outline for one that is missing or 0; a warning for nan and inf.

    Of repeated nodes, the smallest and the largest.
    """
    ends = [Gradient(gradient.rms, gradient.max_abs)]
    if isinstance(gradient, GradientRange) and words.gradient_text(gradient) != words.gradient_text(ends[0]):
        ends.append(gradient.largest)
    cells, width = [], 0
    for i, end in enumerate(ends):
        text, (border, ground), style = words.gradient_text(end), (colors.SECONDARY, colors.CHIP), "rounded"
        if end.rms is None:
            style = "rounded,dashed"
        else:
            text = f"{'to' if i else 'g'} {text}"
            if not math.isfinite(end.rms):
                border = ground = colors.NOT_FINITE
            elif end.rms > 0:
                border = ground = colors.of_gradient(end.rms)
        wide = round(0.62 * _CHIP_SIZE * len(text)) + 8  # letters of this face are 0.6 of its size wide
        content = font(text, _CHIP_SIZE, colors.ink_on(ground), MONO)
        cells.append(pill(content, wide, 14, border=1, color=border, bgcolor=ground, style=style))
        width += wide
    return pills(cells, width, 14, 1)


def alerts(warnings: Sequence[str]) -> str:
    """Words of warning, in frames with a sign that needs no colour."""
    border, ground = colors.ALERT
    cells, width = [], 0
    for text in (f"! {word}" for word in warnings):
        wide = round(0.6 * _CHIP_SIZE * len(text)) + 10
        cells.append(pill(font(text, _CHIP_SIZE, border, bold=True), wide, 15, border=1, color=border, bgcolor=ground))
        width += wide
    return pills(cells, width, 15, 1)


def pill(content: str, width: int, height: int, **attributes: object) -> str:
    """A cell of a size of its own."""
    given = {**attributes, "fixedsize": "true", "width": width, "height": height}
    return f"<td{_written(given)}>{content}</td>"


def pills(cells: Sequence[str], width: int, height: int, spacing: int) -> str:
    """Pills in a row. A table is stretched to the width of what is around it, unless its size is fixed."""
    width += spacing * (len(cells) + 1)
    return table(
        "<tr>", *cells, "</tr>",
        cellpadding=0, cellspacing=spacing, align="left", fixedsize="true", width=width, height=height + 2 * spacing,
    )  # fmt: skip


def card(
    node: GraphNode, show: Collection[str], accent: colors.Pair | None = None, warnings: Sequence[str] = ()
) -> str:
    """One op with the tensor it makes, a leaf, or a module; marked by the accent's border and ground."""
    rows = [*_head(node, show), *_details(node, show), *([row(alerts(warnings))] if warnings else [])]
    if node.fused:
        rows += [row(line) for line in (*_formula("value", node.formula), *_formula("vjp", node.vjp_formula))]
    framed = frame(node.kind, accent)
    if not (node.fused or node.kind == "module"):
        return table(*rows, **framed, border=2 if accent else 1, cellspacing=2)
    return table(row(table(*rows, **framed, border=2, cellspacing=2)), **framed, border=1, cellspacing=1, cellpadding=1)


def frame(kind: str, accent: colors.Pair | None = None) -> dict[str, str]:
    """The outline and ground of a card."""
    border, ground = accent or colors.CARDS[kind]
    return {"color": border, "bgcolor": ground, "style": "rounded,dashed" if kind in colors.DASHED else "rounded"}


def _head(node: GraphNode, show: Collection[str]) -> list[str]:
    """Name and type in one row, or in two where they are long."""
    title = words.ascii_text(node.op or node.name)
    beside = words.ascii_text(node.name) if node.op else words.ascii_text(dict(node.attributes).get("module", ""))
    color = colors.SECONDARY
    if node.value is not None:
        beside, color = f"{beside} = {words.value_text(node.value)}".strip(), colors.INK
    shape = words.tensor_type(node) if "shape" in show else ""
    rows, name = [], font(title, 12, colors.INK, bold=True)
    if len(title) + len(beside) > _LINE - 4:
        rows, name, title = [row(name)], font(beside, 10, color), ""
    else:
        name += font(f"  {beside}" if beside else "", 10, color)
    if len(title) + len(beside) + len(shape) > _LINE:
        rows, name = [*rows, row(name)], ""
    typed = font(f"  {shape}" if shape else "", 10, colors.SECONDARY, MONO)
    return [*rows, edges(name, typed, "top")] if name or typed else rows


def _details(node: GraphNode, show: Collection[str]) -> list[str]:
    """The rows below the name: the gradient on the left, metadata and what is kept on the right."""
    left = chip(node.gradient) if "grad" in show and node.gradient is not None else ""
    kept = words.kept_text(node) if "kept" in show else ""
    right = [text for text in (words.attributes_text(node), kept) if text]
    if sum(map(len, right)) <= _LINE - 8:
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
        font(f"{what if i == 0 else '':7}", 9, colors.SECONDARY, MONO) + font(f"{line} ", 9, colors.INK, MONO)
        for i, line in enumerate(lines)
    ]


def header(
    graph: Graph, show: Collection[str], title: str | None = None, accent: colors.Pair | None = None,
    found: Sequence[Trouble] = (),
) -> str:  # fmt: skip
    """What the picture is of, the totals, what is not shown, and what is wrong."""
    shown = font(words.ascii_text(title or graph.title), 15, accent[0] if accent else colors.MUTED, bold=True)
    lines = ["    ".join(words.headline(graph)), *words.remarks(graph, show)]
    rows = [
        font(part, 10, colors.MUTED) for line in lines for part in textwrap.wrap(line, _WIDE, replace_whitespace=False)
    ]
    lines = words.alerts(found)
    rows += [_troubles(lines)] if lines else []
    return table(row(shown), *map(row, rows), cellpadding=1)


def _troubles(lines: Sequence[str]) -> str:
    """What is wrong, on a ground of its own, to be read on light and dark pages."""
    border, ground = colors.ALERT
    rows = []
    for line in lines:
        parts = textwrap.wrap(line, _WIDE - 2)
        rows += [row(font(f"{'   ' if i else '!  '}{part}   ", 10, border)) for i, part in enumerate(parts)]
    framed = table(*rows, border=1, color=border, bgcolor=ground, cellpadding=1, cellspacing=3, align="left")
    return table(row(framed), cellpadding=3, align="left")


def module(path: str, shown: str) -> str:
    """The title of a module's box: fc1  Linear(4, 8); of repeats: 22 times  2 to 44."""
    name, rest = (path, shown) if path != shown else (path.partition(": ")[0], path.partition(": ")[2])
    if shown.partition("(")[0] == path.partition(" ")[0]:  # outside the model, it goes by its class
        return font(words.ascii_text(shown), 10, colors.MUTED)
    title = font(words.ascii_text(name), 11, colors.MUTED, bold=True)
    return title + font(f"   {words.ascii_text(rest)}", 10, colors.MUTED)


def detached() -> str:
    """The title of the box of what the outputs were not made from."""
    return font("not connected to the output", 11, colors.MUTED, bold=True)


def tooltip(node: GraphNode) -> list[str]:
    """Lines that say everything there is to say about a node."""
    kind = words.ascii_text(node.op or node.kind, 80)
    lines = [" ".join(filter(None, (node.id, kind, words.ascii_text(node.name, 200)))), words.tensor_type(node)]
    lines += [f"{words.ascii_text(key)}={words.ascii_text(value, 200)}" for key, value in node.attributes]
    lines += [words.ascii_text(text, 400) for text in (node.formula, node.vjp_formula) if text]
    if node.summary is not None:
        lines += words.summary_text(node.summary)
    if node.gradient is not None and node.gradient.rms is not None:
        size = words.gradient_text(node.gradient) if node.count > 1 else f"{node.gradient.rms:.6g}"
        lines.append(f"gradient: RMS {size}, largest {words.largest(node.gradient):.6g}")
    for k in node.kept:
        note = " (a leaf's own)" if k.leaf else " (an earlier op keeps it too)" if k.shared else ""
        lines.append(f"keeps {words.ascii_text(k.what)}, {words.byte_count(k.nbytes)}{note}")
    if node.members:
        lines.append(f"stands for {len(node.members)} cards")
    return lines[:_TOOLTIP] + ["..."] * (len(lines) > _TOOLTIP)
