"""Checking gradients and ops; the database of samples and references that the checks and tests run over."""

from tinygrad_ce.testing.gradcheck import GradientError, gradcheck, gradgradcheck
from tinygrad_ce.testing.opcheck import OpError, check_op

__all__ = ["GradientError", "OpError", "check_op", "gradcheck", "gradgradcheck"]
