"""Building blocks of networks: modules hold parameters and are called on Tensors."""

import sys
from typing import TYPE_CHECKING, NoReturn

from tinygrad_ce.nn import architecture, init
from tinygrad_ce.nn.activations import (
    ELU,
    GELU,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from tinygrad_ce.nn.containers import MLP, ModuleList, Sequential
from tinygrad_ce.nn.layers import Dropout, Embedding, Flatten, Identity, Linear
from tinygrad_ce.nn.linear_cross_entropy import LinearCrossEntropyLoss
from tinygrad_ce.nn.losses import (
    BinaryCrossEntropy,
    KLDivLoss,
    MSELoss,
    NLLLoss,
    SigmoidBinaryCrossEntropy,
    SoftmaxCrossEntropy,
)
from tinygrad_ce.nn.module import Module
from tinygrad_ce.nn.normalization import BatchNorm1d, LayerNorm
from tinygrad_ce.nn.parameter import Buffer, Parameter

__all__ = [
    "ELU",
    "GELU",
    "MLP",
    "BatchNorm1d",
    "BinaryCrossEntropy",
    "Buffer",
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "KLDivLoss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LinearCrossEntropyLoss",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SigmoidBinaryCrossEntropy",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Softplus",
    "Tanh",
    "architecture",
    "init",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        here = {
            "CrossEntropyLoss": "nn.SoftmaxCrossEntropy",
            "BCEWithLogitsLoss": "nn.SigmoidBinaryCrossEntropy",
            "BCELoss": "nn.BinaryCrossEntropy",
            "functional": "tinygrad_ce.functional",
            "utils": "optim.clip_grad_norm and optim.clip_grad_value",
        }
        hint = f"; PyTorch's nn.{name} is {here[name]} here" if name in here else ""
        what = f"module {__name__!r} has no attribute {name!r}{hint}"
        raise AttributeError(what, name=name, obj=sys.modules[__name__])  # Python suggests what is spelled like it
