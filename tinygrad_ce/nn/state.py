"""Loading a state: all of it, or nothing and one error that says everything that does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.tensor import Tensor

Array = NDArray[Any]


def load(kind: str, targets: Mapping[str, Tensor], state: Any) -> None:
    """Write the arrays of a state into the tensors of the same names; ValueError, and nothing written, if they differ.

    kind  what is loaded into, for the message
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"load_state_dict: expected a mapping of names to arrays, found {type(state).__name__}")
    arrays: dict[str, Array] = {}
    wrong: list[str] = []
    for name, target in targets.items():
        if name in state:
            try:
                arrays[name] = _fitting(state[name], target)
            except ValueError as error:
                wrong.append(f"{name} {error}")
    first: dict[int, str] = {}
    for name, array in arrays.items():
        other = first.setdefault(id(targets[name]), name)
        if other != name and not np.array_equal(arrays[other], array, equal_nan=True):
            wrong.append(f"{other} and {name} differ, but are one tensor here")
    missing = [name for name in targets if name not in state]
    unexpected = [str(name) for name in state if name not in targets]
    problems = [f"missing {', '.join(missing)}"] * bool(missing)
    problems += [f"unexpected {', '.join(unexpected)}"] * bool(unexpected)
    problems += wrong
    if problems:
        raise ValueError(
            f"load_state_dict: the state does not fit this {kind}, which is unchanged: {'; '.join(problems)}"
        )
    for name, array in arrays.items():
        targets[name].data[...] = array


def _fitting(value: Any, target: Tensor) -> Array:
    """A copy of the value in the target's dtype; ValueError unless it has its shape and can be converted."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"is a {type(value).__name__}, which is no array ({error})") from None
    if array.shape != target.shape:
        raise ValueError(f"has shape {array.shape}, expected {target.shape}")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"has dtype {array.dtype}, expected {target.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        found = array.astype(target.dtype)
    exact = target.dtype.kind != "f"  # integers are counts, floats may be rounded
    lost = found != array if exact else np.isfinite(array) & ~np.isfinite(found)
    if lost.any():
        raise ValueError(f"holds {array[lost][0]}, which {target.dtype} cannot hold")
    return found
