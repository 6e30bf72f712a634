"""The public functions over the ops, with NumPy's names and signatures: `functional.name(x, ...)`.

Each takes Tensors, arrays, lists and numbers, and returns a Tensor. An op that is registered later, a user's own
say, is found here under its name too.
"""

import sys
from collections.abc import Callable
from typing import Any

from tinygrad_ce.functional._public import function_of
from tinygrad_ce.functional.elementwise import *  # noqa: F403
from tinygrad_ce.functional.embedding import *  # noqa: F403
from tinygrad_ce.functional.explanation import *  # noqa: F403
from tinygrad_ce.functional.linalg import *  # noqa: F403
from tinygrad_ce.functional.linear_cross_entropy import *  # noqa: F403
from tinygrad_ce.functional.loss import *  # noqa: F403
from tinygrad_ce.functional.metrics import *  # noqa: F403
from tinygrad_ce.functional.normalization import *  # noqa: F403
from tinygrad_ce.functional.random import *  # noqa: F403
from tinygrad_ce.functional.reduction import *  # noqa: F403
from tinygrad_ce.functional.shape import *  # noqa: F403
from tinygrad_ce.functional.softmax import *  # noqa: F403
from tinygrad_ce.registry import registry, reserved

_FUNCTIONS = (
    "accuracy", "cross_entropy_between", "embedding", "entropy", "explain", "kl_divergence", "one_hot",
    "top_k_accuracy",
)  # fmt: skip

_PYTORCH = {
    "cross_entropy": "softmax_cross_entropy",
    "binary_cross_entropy_with_logits": "sigmoid_binary_cross_entropy",
}

reserved.update(name for name in globals() if name not in registry)  # an op of such a name could not be reached here


def __getattr__(name: str) -> Callable[..., Any]:
    op = registry.get(name)
    if op is None:
        hint = f"; PyTorch's F.{name} is F.{_PYTORCH[name]} here" if name in _PYTORCH else ""
        what = f"module {__name__!r} has no attribute and no registered op {name!r}{hint}"
        raise AttributeError(what, name=name, obj=sys.modules[__name__])  # Python suggests what is spelled like it
    return function_of(op)


def __dir__() -> list[str]:
    return sorted({*registry, *_FUNCTIONS})
