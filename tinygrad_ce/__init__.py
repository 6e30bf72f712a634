"""Reverse-mode automatic differentiation on NumPy, small enough to read in an evening.

>>> import tinygrad_ce as tg
>>> x = tg.Tensor([[1.0, 2.0, 3.0]], requires_grad=True)
>>> loss = tg.functional.softmax_cross_entropy(x, [2])
>>> loss.backward()
>>> x.grad
Tensor([[ 0.09  ,  0.2447, -0.3348]], shape=(1, 3), dtype=float32)
"""

from tinygrad_ce import compare, data, functional, nn, optim, training
from tinygrad_ce import functional as F
from tinygrad_ce.anomaly import AnomalyError, detect_anomaly
from tinygrad_ce.autograd import grad
from tinygrad_ce.compare import compare_gradients, compare_models
from tinygrad_ce.engine import NotDifferentiable
from tinygrad_ce.mode import enable_grad, get_default_dtype, no_grad, set_default_dtype
from tinygrad_ce.registry import FusedOp, Op, register, registry
from tinygrad_ce.tensor import Tensor
from tinygrad_ce.testing import check_op, gradcheck, gradgradcheck
from tinygrad_ce.training import (
    calibration,
    classification_report,
    confusion_matrix,
    evaluate,
    export_onnx,
    fit,
    load,
    load_model,
    predict,
    predict_proba,
    save,
)
from tinygrad_ce.viz import draw, draw_comparison

__version__ = "0.1.0"

__all__ = [
    "AnomalyError",
    "F",
    "FusedOp",
    "NotDifferentiable",
    "Op",
    "Tensor",
    "calibration",
    "check_op",
    "classification_report",
    "compare",
    "compare_gradients",
    "compare_models",
    "confusion_matrix",
    "data",
    "detect_anomaly",
    "draw",
    "draw_comparison",
    "enable_grad",
    "evaluate",
    "export_onnx",
    "fit",
    "functional",
    "get_default_dtype",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "load",
    "load_model",
    "nn",
    "no_grad",
    "optim",
    "predict",
    "predict_proba",
    "register",
    "registry",
    "save",
    "set_default_dtype",
    "training",
]
