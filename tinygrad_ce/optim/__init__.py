"""Optimizers, which change parameters in place from their gradients; schedules of the learning rate; clipping."""

import sys
from typing import TYPE_CHECKING, NoReturn

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

if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        here = {
            "lr_scheduler": "the schedules are in optim itself, such as optim.StepLR",
            "clip_grad_norm_": "write optim.clip_grad_norm",
            "clip_grad_value_": "write optim.clip_grad_value",
        }
        hint = f"; {here[name]}" if name in here else ""
        what = f"module {__name__!r} has no attribute {name!r}{hint}"
        raise AttributeError(what, name=name, obj=sys.modules[__name__])  # Python suggests what is spelled like it
