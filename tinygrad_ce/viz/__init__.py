"""Pictures of computation graphs: SVG, PNG and PDF, DOT source, and text for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tinygrad_ce.graph import Gradients, Model, capture
from tinygrad_ce.graph.fold import fold
from tinygrad_ce.registry import FusedOp, Op, registry
from tinygrad_ce.tensor import Tensor
from tinygrad_ce.viz.compare import draw_comparison
from tinygrad_ce.viz.dot import SHOW, Direction
from tinygrad_ce.viz.drawing import GraphDrawing
from tinygrad_ce.viz.picture import Picture
from tinygrad_ce.viz.render import RenderError

__all__ = ["Picture", "RenderError", "draw", "draw_comparison"]


def draw(
    output: Tensor | Sequence[Tensor],
    *,
    model: Model | None = None,
    inputs: Mapping[str, Any] | None = None,
    show: Collection[str] = SHOW,
    gradients: Gradients = "auto",
    depth: float | None = None,
    expand: str | Collection[str] = (),
    direction: Direction = "TB",
) -> Picture:
    """Draw the graph that made a tensor, or several: one card for each op, with the tensor it makes.

    output      a Tensor or a sequence of Tensors
    model       names the parameters by their path, and puts the ops of each module in a box
    inputs      names for what was put in: `{"x": x, "y": y}`
    show        what a card tells besides its name: any of "shape", "grad" (the RMS of the gradient), "kept"
                (the bytes held for the backward pass)
    gradients   "auto": what is held in `.grad`; True: what a backward pass would bring to every card,
                found without changing any `.grad`; False: none
    depth       how many levels of modules are looked into: 1 draws the outermost ones as a card each, and so on. None
                draws up to 40 cards as they are; in larger graphs modules close, and past 150 cards blocks that
                repeat along a chain are drawn once
    expand      what is to be seen inside: names of fused ops, such as "softmax_cross_entropy", which are drawn as
                their decompositions, and paths of modules, which stay open
    direction   "TB", from top to bottom, or "LR", from left to right

    A graph can be drawn after `backward()` too: the arrays are gone then, the structure is not.
    Raises TypeError and RuntimeError as `capture` does, ValueError for an unknown `show`, `direction`,
    `depth` or name in `expand`.

    >>> import tinygrad_ce as tg
    >>> x = tg.Tensor([3.0, 4.0], requires_grad=True, name="x")
    >>> picture = draw((x * x).sum(), gradients=True)
    >>> picture.save("graph.svg")  # doctest: +SKIP
    >>> print(picture.text())
    sum: 2 ops, 0 B kept for backward, sum 25
    id  op         name  inputs  tensor    gradient
    n0  parameter  x             (2,) f32  7.1e+00
    n1  mul              x, x    (2,) f32  1.0e+00
    n2  sum              n1      () f32    1.0e+00
    """
    if isinstance(show, str) or not set(show) <= set(SHOW):
        raise ValueError(f"draw: show: expected a tuple of any of {SHOW}, found {show!r}")
    if direction not in ("TB", "LR"):
        raise ValueError(f'draw: direction: expected "TB" or "LR", found {direction!r}')
    if hasattr(output, "named_parameters"):
        kind = type(output).__name__
        raise TypeError(f"draw: output: {kind} is a model, which has a graph when it is called; write draw(model(x))")
    names = (expand,) if isinstance(expand, str) else tuple(expand)
    fused = [name for name in names if issubclass(registry.get(name, Op), FusedOp)]
    graph = capture(output, model=model, inputs=inputs, gradients=gradients, expand=fused)
    return Picture(GraphDrawing(fold(graph, depth, names), frozenset(show), direction))
