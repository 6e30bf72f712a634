"""Two graphs in one picture: what is in both side by side, what is in one alone marked, the totals between."""

from tinygrad_ce.viz.compare.drawing import ComparisonDrawing, draw_comparison
from tinygrad_ce.viz.compare.totals import GradientDifference, SideTotals, Totals

__all__ = ["ComparisonDrawing", "GradientDifference", "SideTotals", "Totals", "draw_comparison"]
