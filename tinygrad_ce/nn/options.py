"""Modules that are known by the arguments they were made with, and checks of such arguments."""

from __future__ import annotations

import inspect
from numbers import Real
from typing import Any

import numpy as np

from tinygrad_ce.nn.module import Module


class WithOptions(Module):
    """A module whose constructor's arguments are its attributes, under the same names.

    The repr shows those that have no default, and those that are not the default. This is what `nn.architecture` saves.
    """

    def options(self) -> dict[str, Any]:
        """The arguments that make another module like this one, without its generator."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters if name != "generator"}

    def describe(self) -> str:
        options = self.options()
        parts = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            if name in ("generator", "dtype"):
                continue
            if parameter.default is inspect.Parameter.empty:
                parts.append(_short(options[name]))
            elif not _is(options[name], parameter.default):
                parts.append(f"{name}={_short(options[name])}")
        return ", ".join(parts)


def _is(value: Any, default: Any) -> bool:
    return value is default or (not isinstance(value, np.ndarray) and bool(value == default))


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return np.array2string(value, separator=", ", threshold=6, edgeitems=2).replace("\n", "")
    return repr(value)


def size(kind: str, name: str, value: Any) -> int:
    """A positive integer, or ValueError."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{kind}: {name}={value!r}; expected a positive integer")
    return int(value)


def number(kind: str, name: str, value: Any, low: float, high: float) -> float:
    """A number with low <= value <= high, or ValueError."""
    if not isinstance(value, Real) or isinstance(value, bool) or not low <= float(value) <= high:
        raise ValueError(f"{kind}: {name}={value!r}; expected a number from {low:g} to {high:g}")
    return float(value)


def random(kind: str, generator: np.random.Generator | None) -> np.random.Generator:
    """The generator given, or a fresh one for None; TypeError for anything else."""
    if generator is None:
        return np.random.default_rng()
    if not isinstance(generator, np.random.Generator):
        raise TypeError(f"{kind}: generator={generator!r}; write generator=numpy.random.default_rng(seed)")
    return generator
