"""A drawn graph: saved, shown in a notebook, printed in a terminal."""

from __future__ import annotations

import base64
import html
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinygrad_ce.graph import Graph
from tinygrad_ce.viz.drawing import Drawing
from tinygrad_ce.viz.page import page
from tinygrad_ce.viz.render import RenderError, render

_REPR_LINES = 60
_INLINE_NODES = 2000  # a notebook is not to choke on what it shows unasked


class Picture:
    """One or several computation graphs that can be drawn in several forms; made by `draw`.

    drawing   what it shows

    In a notebook it shows itself; in a terminal, and as its repr, it is a table. Three hundred cards take Graphviz
    about a second, a thousand a few.

    >>> import tinygrad_ce as tg
    >>> from tinygrad_ce.viz import draw
    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> draw((x * x).sum())
    sum: 2 ops, 0 B kept for backward, sum 5
    id  op         name  inputs  tensor
    n0  parameter  x             (2,) f32
    n1  mul              x, x    (2,) f32
    n2  sum              n1      () f32
    """

    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing

    @property
    def graph(self) -> Graph:
        """The graph as it was captured; the first, if there are several."""
        return self.drawing.sides[0].full

    def digraph(self) -> Any:
        """A `graphviz.Digraph`, to edit or to combine with others."""
        return self.drawing.digraph()

    @property
    def dot(self) -> str:
        """The DOT source; the same program gives the same text, byte for byte."""
        source: str = self.digraph().source
        return source

    def svg(self) -> str:
        """SVG text. Raises RenderError if no program to draw it is installed; so do `png` and `pdf`."""
        return render(self.dot, "svg").decode()

    def png(self, scale: float = 1.0) -> bytes:
        """A PNG; `scale=2` has twice the pixels each way. The ground is transparent."""
        if not (isinstance(scale, (int, float)) and math.isfinite(scale) and scale > 0):
            raise ValueError(f"png: scale: expected a positive number, found {scale!r}")
        return render(self.dot, "png", 96.0 * scale)

    def pdf(self) -> bytes:
        """A PDF, which takes Graphviz itself: graphviz-pure draws none."""
        return render(self.dot, "pdf")

    def text(self) -> str:
        """A table for a terminal: a line for each op and each leaf."""
        return self.drawing.text()

    def html(self) -> str:
        """A page to step through the graph with, in one file that needs no network. Raises what `svg` raises."""
        return page(self.svg(), self.drawing.sides, " | ".join(side.title for side in self.drawing.sides))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file in the form that its suffix names: .svg .png .pdf .html .dot .gv .txt

        Raises ValueError for another suffix, FileNotFoundError if the folder does not exist, and what `svg`
        raises.
        """
        target = Path(path)
        forms: dict[str, Callable[[], str | bytes]] = {
            ".svg": self.svg,
            ".png": self.png,
            ".pdf": self.pdf,
            ".html": self.html,
            ".dot": lambda: self.dot,
            ".gv": lambda: self.dot,
            ".txt": lambda: self.text() + "\n",
        }
        form = forms.get(target.suffix.lower())
        if form is None:
            raise ValueError(f"save: {str(path)!r}: expected a name that ends in {', '.join(forms)}")
        if not target.parent.is_dir():
            raise FileNotFoundError(f"save: {str(path)!r}: the folder {str(target.parent)!r} does not exist")
        content = form()
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    def __repr__(self) -> str:
        return self.drawing.text(_REPR_LINES)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What notebooks show; text alone, with a line that says why, where it cannot be drawn."""
        del include, exclude  # the notebook picks from what it is given
        text = repr(self)
        if sum(len(side.drawn.nodes) for side in self.drawing.sides) > _INLINE_NODES:
            return {"text/plain": f"{text}\n(too large to be drawn unasked; .svg() draws it)"}
        try:
            svg = self.svg()
        except RenderError as error:
            return {"text/plain": f"{text}\n(not drawn: {error})"}
        return {"text/html": _image(svg, text.partition("\n")[0]), "image/svg+xml": svg, "text/plain": text}


def _image(svg: str, words: str) -> str:
    """SVG as an <img>: Jupyter shows that in notebooks that it does not trust too, where it shows no <svg>."""
    lean = re.sub(r' xlink:title="[^"]*"|<!--.*?-->\n?', "", svg, flags=re.DOTALL)  # no tooltips in an image
    source = f"data:image/svg+xml;base64,{base64.b64encode(lean.encode()).decode()}"
    return f'<img src="{source}" alt="{html.escape(words)}" style="max-width:100%;height:auto">'
