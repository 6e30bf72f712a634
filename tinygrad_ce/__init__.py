"""Reverse-mode automatic differentiation on NumPy, small enough to read in an evening."""

from tinygrad_ce.engine import NotDifferentiable
from tinygrad_ce.mode import enable_grad, get_default_dtype, no_grad, set_default_dtype
from tinygrad_ce.registry import FusedOp, Op, register, registry
from tinygrad_ce.tensor import Tensor, as_tensor, grad

__version__ = "0.1.0"
