"""Fused against unfused: how far the spellings of the softmax cross-entropy are from the truth, and what they cost.

Every spelling, a *chain*, is run on the same logits. Its loss and gradient are measured against the true ones,
computed in more digits by formulas of their own, so that the fused loss is on trial like the others.
"""

from tinygrad_ce.compare.chains import CHAINS, Chain
from tinygrad_ce.compare.gradients import compare_gradients
from tinygrad_ce.compare.measured import ChainResult, Cost, Error
from tinygrad_ce.compare.models import ModelComparison, compare_models
from tinygrad_ce.compare.result import Comparison
from tinygrad_ce.compare.steps import Steps
from tinygrad_ce.compare.sweep import Sweep, sweep

__all__ = [
    "CHAINS",
    "Chain",
    "ChainResult",
    "Comparison",
    "Cost",
    "Error",
    "ModelComparison",
    "Steps",
    "Sweep",
    "compare_gradients",
    "compare_models",
    "sweep",
]
