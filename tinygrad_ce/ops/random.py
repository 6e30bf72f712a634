"""Ops with randomness. The numbers are drawn by the public function and handed to the op, which stays a pure rule."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from tinygrad_ce.registry import Op, register

Array = NDArray[Any]


def _scale(p: float) -> float:
    return 1 / (1 - p) if p < 1 else 0.0


@register
class Dropout(Op):
    """Each entry is 0 with probability p, else divided by 1 - p, so that the expected value stays the same.

    `keep` says which entries are not dropped. Source: Srivastava et al., 2014.
    """

    formula = "z = x * keep / (1 - p)"
    vjp_formula = "dx = g * keep / (1 - p)"
    latex = r"z = \frac{k \odot x}{1 - p}"
    vjps = (lambda g, _z, _x, *, keep, p: g * keep * _scale(p),)

    @staticmethod
    def forward(x: Array, *, keep: Array, p: float) -> Any:
        return x * keep * _scale(p)
