"""Optimizers: they change parameters in place, from the gradients a backward pass has left."""

from tinygrad_ce.optim.adam import Adam
from tinygrad_ce.optim.optimizer import Optimizer
from tinygrad_ce.optim.sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer"]
