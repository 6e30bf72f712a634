"""Optimizers, which change parameters in place from their gradients; schedules of the learning rate; clipping."""

from tinygrad_ce.optim.adagrad import Adagrad
from tinygrad_ce.optim.adam import Adam, AdamW
from tinygrad_ce.optim.clip import clip_grad_norm, clip_grad_value
from tinygrad_ce.optim.one_cycle import OneCycleLR
from tinygrad_ce.optim.optimizer import Optimizer
from tinygrad_ce.optim.param_groups import ParamGroup
from tinygrad_ce.optim.plateau import ReduceLROnPlateau
from tinygrad_ce.optim.rmsprop import RMSprop
from tinygrad_ce.optim.scheduler import LRScheduler
from tinygrad_ce.optim.schedules import CosineAnnealingLR, LinearLR, MultiStepLR, StepLR
from tinygrad_ce.optim.sequential import SequentialLR
from tinygrad_ce.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "LRScheduler",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "Optimizer",
    "ParamGroup",
    "RMSprop",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "clip_grad_norm",
    "clip_grad_value",
]
