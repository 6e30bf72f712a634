"""Building blocks of networks: modules hold parameters and are called on Tensors."""

from tinygrad_ce.nn.layers import ELU, GELU, MLP, LeakyReLU, Linear, ReLU, Sequential, Sigmoid, SiLU, Softplus, Tanh
from tinygrad_ce.nn.losses import (
    BinaryCrossEntropy,
    KLDivLoss,
    LogSoftmax,
    MSELoss,
    NLLLoss,
    SigmoidBinaryCrossEntropy,
    Softmax,
    SoftmaxCrossEntropy,
)
from tinygrad_ce.nn.module import Module, Parameter

__all__ = [
    "ELU",
    "GELU",
    "MLP",
    "BinaryCrossEntropy",
    "KLDivLoss",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
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
]
