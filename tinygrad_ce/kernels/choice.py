"""Which kernels compute: those of `softmax`, on NumPy, or the same functions in `compiled`, where numba is installed.

The environment variable TINYGRAD_CE_KERNELS, "numpy" or "numba", has the last word. It is read, and numba loaded, when
the first kernel is asked for.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tinygrad_ce.kernels import softmax

VARIABLE = "TINYGRAD_CE_KERNELS"
MODULES = {"numpy": "tinygrad_ce.kernels.softmax", "numba": "tinygrad_ce.kernels.compiled"}


class _Chosen:
    """Has the functions that `softmax` has: none at first, and all of them from when one is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name not in softmax.__all__:
            raise AttributeError(f"there is no kernel {name!r}")
        module = _choose()
        vars(self).update({each: getattr(module, each) for each in softmax.__all__})
        return vars(self)[name]


def _choose() -> ModuleType:
    wanted = os.environ.get(VARIABLE) or None
    if wanted not in (None, *MODULES):
        raise ValueError(f"the environment variable {VARIABLE}: expected 'numpy' or 'numba', found {wanted!r}")
    try:
        return importlib.import_module(MODULES[wanted or "numba"])
    except Exception as error:  # numba is not there, or does not take this NumPy or this machine
        if wanted:
            raise ImportError(
                f"{VARIABLE}={wanted} needs numba, which cannot be loaded: {error}; "
                'pip install "tinygrad_ce[fast]", or leave the variable out'
            ) from None
    return softmax


if TYPE_CHECKING:
    kernels = softmax
else:
    kernels = _Chosen()
