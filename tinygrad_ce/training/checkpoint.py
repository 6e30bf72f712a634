"""The state of a training run as a file, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_ce.training import files
from tinygrad_ce.training.files import Array, PathLike
from tinygrad_ce.training.run import Run
from tinygrad_ce.training.saving import CHECKPOINT, description


def write(run: Run, path: PathLike) -> None:
    """Keep all that the rest of a run depends on: arrays as tensors, everything else as JSON in the metadata."""
    arrays: dict[str, Array] = {}
    state = packed(run.state_dict(), "", arrays)
    files.write("Checkpoint", path, arrays, {**description(run.model, CHECKPOINT), "state": json.dumps(state)})


def restore(run: Run, path: PathLike) -> None:
    """Put a run where the file says it was; one clear error, and nothing changed, if that cannot be."""
    arrays, metadata = files.read("fit: resume", path)
    if metadata.get("format") != CHECKPOINT:
        hint = "; for the weights alone write load(model, path)" if arrays else ""
        raise ValueError(f"fit: resume: {str(path)!r} is no checkpoint of a training run, as Checkpoint writes{hint}")
    try:
        run.load_state_dict(unpacked(json.loads(metadata["state"]), arrays))
    except Exception as error:
        said = error.args[0] if error.args else error
        raise ValueError(f"fit: resume: {str(path)!r} does not fit this run: {said}") from error


def packed(value: Any, path: str, arrays: dict[str, Array]) -> Any:
    """A state as JSON: its arrays are put into `arrays` under their path, and what JSON has not is spelled out."""
    if isinstance(value, np.ndarray):
        while path in arrays:  # a.b of {"a": {"b": x}, "a.b": y}
            path += "_"
        arrays[path] = value
        return {"array": path}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        inner = [[key, packed(item, f"{path}.{key}" if path else str(key), arrays)] for key, item in value.items()]
        return {"dict": inner}
    if isinstance(value, (list, tuple)):
        inner = [packed(item, f"{path}.{i}", arrays) for i, item in enumerate(value)]
        return {"tuple": inner} if isinstance(value, tuple) else inner
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"Checkpoint: {path} is {value!r}; expected numbers, text, arrays, lists and dicts in a state_dict")


def unpacked(value: Any, arrays: Mapping[str, Array]) -> Any:
    """The state that `packed` was given."""
    if isinstance(value, list):
        return [unpacked(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "array":
        return arrays[inner]
    if kind == "float":
        return float(inner)
    items = unpacked(inner, arrays)
    return dict(items) if kind == "dict" else tuple(items)
