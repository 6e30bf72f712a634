"""Computation graphs as plain data: read once from live tensors, then independent of them."""

from tinygrad_ce.graph.capture import Model, capture
from tinygrad_ce.graph.data import (
    Edge,
    Excerpt,
    Gradient,
    Graph,
    GraphNode,
    Kept,
    Kind,
    Passed,
    Step,
    Summary,
    Trouble,
)
from tinygrad_ce.graph.gradients import Gradients

__all__ = [
    "Edge",
    "Excerpt",
    "Gradient",
    "Gradients",
    "Graph",
    "GraphNode",
    "Kept",
    "Kind",
    "Model",
    "Passed",
    "Step",
    "Summary",
    "Trouble",
    "capture",
]
