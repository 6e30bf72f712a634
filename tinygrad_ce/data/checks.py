"""What several functions of this package ask of their arguments."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_count(where: str, name: str, value: Any, lowest: int = 1, example: int = 32) -> int:
    """The value as an int of at least `lowest`, or an error that says what to write."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{where}: {name} must be an int, found {type(value).__name__} {value!r}; write {example}")
    if value < lowest:
        raise ValueError(f"{where}: {name} must be at least {lowest}, found {value}; write {example}")
    return int(value)


def check_generator(where: str, generator: Any) -> None:
    """TypeError unless it is a generator or None."""
    if generator is not None and not isinstance(generator, np.random.Generator):
        raise TypeError(
            f"{where}: generator must be a numpy.random.Generator or None, found {type(generator).__name__} "
            f"{generator!r}; write np.random.default_rng(0)"
        )
