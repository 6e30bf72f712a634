"""Building blocks of networks: modules hold parameters and are called on Tensors."""

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
            "CrossEntropyLoss": "SoftmaxCrossEntropy",
            "BCEWithLogitsLoss": "SigmoidBinaryCrossEntropy",
            "BCELoss": "BinaryCrossEntropy",
        }
        hint = f"; PyTorch's nn.{name} is nn.{here[name]} here" if name in here else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
