"""The page that steps through a graph: one HTML file with everything in it, and no use for a network."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from tinygrad_ce.graph.trouble import troubles
from tinygrad_ce.viz import words
from tinygrad_ce.viz.dot import SHOW
from tinygrad_ce.viz.drawing import Side
from tinygrad_ce.viz.page.nodes import records
from tinygrad_ce.viz.page.timeline import card_of, ticks

SCRIPTS = ("timeline.js", "view.js", "panel.js", "search.js", "main.js")  # in the order they run


def page(svg: str, sides: Sequence[Side], title: str) -> str:
    """A self-contained HTML page that steps through the forward and the backward pass of one graph or two.

    svg    what `digraph` of the sides draws; its ids of nodes and edges tell the page what is what
    sides  the graphs in it
    title  of the page

    It makes no request, and its Content-Security-Policy forbids any. All numbers are written here: the script only
    shows and hides. Steps of the backward pass are those that `Graph.steps` recorded; without them there is only
    the forward pass.

    >>> import tinygrad_ce as tg
    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> picture = tg.draw((x * x).sum(), gradients=True)
    >>> text = page(picture.svg(), picture.drawing.sides, "x squared")
    >>> text.startswith("<!doctype html>"), "http-equiv" in text
    (True, True)
    """
    parts = {
        "title": html.escape(words.ascii_text(title, 80)),
        "style": _file("page.css"),
        "svg": _lean(svg),
        "data": as_json(data(sides, title)),
        "script": "\n".join(map(_file, SCRIPTS)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _file("page.html"))


def data(sides: Sequence[Side], title: str) -> dict[str, Any]:
    """Everything the page's script knows besides the SVG."""
    steps, backward = ticks(sides)
    return {
        "title": words.ascii_text(title, 80),
        "sides": [
            {
                "prefix": side.prefix,
                "title": words.ascii_text(side.title, 60),
                "totals": words.headline(side.full),
                "remarks": words.remarks(side.drawn, SHOW),
                "note": _missing(side),
                "troubles": [
                    [side.prefix + card_of(side)[found.node].id, words.ascii_text(found.text, 400)]
                    for found in troubles(side.full)
                    if found.text
                ],
            }
            for side in sides
        ],
        "nodes": {id: record for side in sides for id, record in records(side).items()},
        "ticks": steps,
        "backward": backward,
    }


def _missing(side: Side) -> str:
    """Why there is no backward pass to step through, and how to get one."""
    if side.full.steps:
        return ""
    if not side.full.recorded:
        return "nothing was recorded, so there is no backward pass"
    held = "; the gradients are those held in .grad" if any(node.gradient for node in side.full.nodes) else ""
    before = " before backward() frees the graph" if side.full.released else ""
    return f"forward only: draw with gradients=True{before} to step backward too{held}"


def as_json(content: Any) -> str:
    """JSON that can stand in a <script>: nothing in it ends the element or opens a comment."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _lean(svg: str) -> str:
    """SVG to stand in the page, a third smaller: no prolog, no tooltips (the panel says more), fonts from the style."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r' xlink:title="[^"]*"| xml:space="preserve"| text-anchor="start"|<!--.*?-->\n?', "", svg, flags=re.DOTALL
    )
    svg = re.sub(r' font-family="Courier[^"]*"', ' class="mono"', svg)
    svg = re.sub(r' font-family="[^"]*"', "", svg)
    return re.sub(_FILL_AND_STROKE, r'<path fill="\1" stroke="\3"\4 d="\2"/>', svg)  # one shape, drawn once


_FILL_AND_STROKE = (
    r'<path fill="([^"]*)" stroke="(?:transparent|none)"[^>]*? d="([^"]*)"/>\s*'
    r'<path fill="none" stroke="([^"]*)"([^>]*?) d="\2"/>'
)


def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text("utf-8")
