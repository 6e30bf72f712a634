"""Functions that draw random numbers, from a generator that the caller hands in."""

from __future__ import annotations

from numbers import Real

import numpy as np

from tinygrad_ce.apply import apply
from tinygrad_ce.functional._public import implements
from tinygrad_ce.ops import random as ops
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor

__all__ = ["dropout"]


@implements(ops.Dropout)
def dropout(x: TensorLike, p: float = 0.5, *, generator: np.random.Generator, training: bool = True) -> Tensor:
    """Each entry becomes 0 with probability p, the others are divided by 1 - p: z = x * keep / (1 - p).

    x          any shape, floating
    p          probability in [0, 1]; 1 gives zeros
    generator  draws which entries are kept: the same seed gives the same entries
    training   False returns x itself, as p = 0 does

    Raises ValueError for p outside [0, 1], TypeError for a generator that is none.
    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> tg.functional.dropout([1.0, 2.0, 3.0, 4.0], 0.5, generator=np.random.default_rng(0))
    Tensor([2., 0., 0., 0.], shape=(4,), dtype=float32)
    """
    if not (isinstance(p, Real) and 0 <= p <= 1):
        raise ValueError(f"dropout: p={p!r}; expected a probability, 0 <= p <= 1")
    if not isinstance(generator, np.random.Generator):
        raise TypeError(
            f"dropout: generator: expected a numpy.random.Generator, found {generator!r}; "
            "write generator=np.random.default_rng(0)"
        )
    x = as_tensor(x)
    if not training or p == 0:
        return x
    return apply(ops.Dropout, (x,), {"keep": generator.random(x.shape) >= p, "p": float(p)})
