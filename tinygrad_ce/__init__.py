"""Reverse-mode automatic differentiation on NumPy, small enough to read in an evening.

>>> import tinygrad_ce as tg
>>> x = tg.Tensor([[1.0, 2.0, 3.0]], requires_grad=True)
>>> loss = tg.functional.softmax_cross_entropy(x, [2])
>>> loss.backward()
>>> x.grad
Tensor([[ 0.09  ,  0.2447, -0.3348]], shape=(1, 3), dtype=float32)

Tensors, ops and gradients are loaded at once; every other room when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from tinygrad_ce import functional
from tinygrad_ce import functional as F
from tinygrad_ce.autograd import grad
from tinygrad_ce.engine import NotDifferentiable
from tinygrad_ce.kernels.threads import get_num_threads, set_num_threads
from tinygrad_ce.mode import enable_grad, get_default_dtype, no_grad, set_default_dtype
from tinygrad_ce.registry import FusedOp, Op, register, registry
from tinygrad_ce.tensor import Tensor

if TYPE_CHECKING:  # for type checkers and editors what `_WHEN_USED` says
    from tinygrad_ce import compare, data, graph, nn, optim, testing, training, viz
    from tinygrad_ce.anomaly import AnomalyError, detect_anomaly
    from tinygrad_ce.compare import compare_gradients, compare_models
    from tinygrad_ce.testing.gradcheck import gradcheck, gradgradcheck
    from tinygrad_ce.testing.opcheck import check_op
    from tinygrad_ce.training.calibration import calibration
    from tinygrad_ce.training.confusion import confusion_matrix
    from tinygrad_ce.training.evaluate import evaluate, predict, predict_proba
    from tinygrad_ce.training.export import export_onnx
    from tinygrad_ce.training.fit import fit
    from tinygrad_ce.training.report import classification_report
    from tinygrad_ce.training.saving import load, load_model, save
    from tinygrad_ce.viz import draw, draw_comparison

__version__ = "0.1.0"

_WHEN_USED = {
    "": ("compare", "data", "graph", "nn", "optim", "testing", "training", "viz"),
    ".anomaly": ("AnomalyError", "detect_anomaly"),
    ".compare": ("compare_gradients", "compare_models"),
    ".testing": ("check_op", "gradcheck", "gradgradcheck"),
    ".training": (
        "calibration", "classification_report", "confusion_matrix", "evaluate", "export_onnx", "fit", "load",
        "load_model", "predict", "predict_proba", "save",
    ),
    ".viz": ("draw", "draw_comparison"),
}  # fmt: skip
_room = {name: room for room, names in _WHEN_USED.items() for name in names}
_PYTORCH = {
    "tensor": "write tg.Tensor(data)",
    "manual_seed": "randomness comes from numpy.random.default_rng(seed), given as generator=",
    "from_numpy": "write tg.Tensor(array)",
    "float32": "write numpy.float32",
    "float64": "write numpy.float64",
    "zeros": "write tg.Tensor(np.zeros(shape))",
    "ones": "write tg.Tensor(np.ones(shape))",
    "arange": "write tg.Tensor(np.arange(n))",
    "rand": "write tg.Tensor(np.random.default_rng(seed).random(shape))",
    "randn": "write tg.Tensor(np.random.default_rng(seed).normal(size=shape))",
}

if not TYPE_CHECKING:
    del globals()["tensor"]  # the module, which is imported all the same: so that tg.tensor(...) is told what to write

    def __getattr__(name: str) -> Any:
        room = _room.get(name)
        if room is None:
            here = f"write tg.functional.{name}" if name in dir(functional) else _PYTORCH.get(name)
            what = f"module {__name__!r} has no attribute {name!r}{f'; {here}' if here else ''}"
            raise AttributeError(what, name=name, obj=sys.modules[__name__])  # Python suggests what is spelled like it
        if not room:
            return importlib.import_module(f"{__name__}.{name}")
        value = globals()[name] = getattr(importlib.import_module(__name__ + room), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_room})


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
    "get_num_threads",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "graph",
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
    "set_num_threads",
    "testing",
    "training",
    "viz",
]
