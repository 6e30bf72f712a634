"""Training, measuring and saving: what stands between a model with an optimizer and a model that is done."""

from tinygrad_ce.training.calibration import Calibration, calibration
from tinygrad_ce.training.callbacks import Checkpoint, EarlyStopping
from tinygrad_ce.training.confusion import ConfusionMatrix, confusion_matrix
from tinygrad_ce.training.evaluate import evaluate, predict, predict_proba
from tinygrad_ce.training.export import export_onnx
from tinygrad_ce.training.fit import fit
from tinygrad_ce.training.history import History
from tinygrad_ce.training.nonfinite import NonFiniteLoss
from tinygrad_ce.training.report import ClassificationReport, classification_report
from tinygrad_ce.training.run import Callback, Run
from tinygrad_ce.training.saving import load, load_model, save

__all__ = [
    "Calibration",
    "Callback",
    "Checkpoint",
    "ClassificationReport",
    "ConfusionMatrix",
    "EarlyStopping",
    "History",
    "NonFiniteLoss",
    "Run",
    "calibration",
    "classification_report",
    "confusion_matrix",
    "evaluate",
    "export_onnx",
    "fit",
    "load",
    "load_model",
    "predict",
    "predict_proba",
    "save",
]
