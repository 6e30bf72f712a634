"""Softmax, log-softmax and log-sum-exp on plain arrays, without cancellation; the cross-entropies are here by name.

Notation for a row z of logits: a = argmax z, m = z_a and s' = sum over j != a of exp(z_j - m). The argmax is left out
of every sum, so nothing cancels; `rows` has the reason.

Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions",
IMA Journal of Numerical Analysis 41(4), 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_ce.kernels.cross_entropy import cross_entropy, soft_cross_entropy
from tinygrad_ce.kernels.rows import Array, exp_but_max, refine, require_classes, row_blocks, work

__all__ = ["cross_entropy", "log_softmax", "logsumexp", "soft_cross_entropy", "softmax"]


def softmax(x: Array, axis: int = -1) -> Array:
    """Probabilities p_j = exp(x_j - m) / (1 + s') along `axis`, and p_a = 1 / (1 + s').

    Shape and dtype (float16, float32 or float64) are those of `x`, which is not modified. An entry of -inf
    has probability 0; a slice that holds nan or +inf, or only -inf, is nan. A slice of length 0 is an error
    (ValueError). Source: Blanchard, Higham & Higham (2021).

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.softmax import softmax
    >>> softmax(np.array([1.0, 2.0, 3.0])).round(4).tolist()
    [0.09, 0.2447, 0.6652]
    """
    return _map_rows(_softmax_rows, x, axis)


def log_softmax(x: Array, axis: int = -1) -> Array:
    """Log-probabilities (x_j - m) - log1p(s') along `axis`, and -log1p(s') at the argmax.

    The value at the argmax is not 0 on confident rows: it is about -s', however small.
    Shape and dtype are those of `x`, which is not modified. A slice that holds nan or +inf, or only -inf,
    is nan. A slice of length 0 is a ValueError. Source: Blanchard, Higham & Higham (2021).

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.softmax import log_softmax
    >>> log_softmax(np.array([50.0, 0.0]))
    array([-1.92874985e-22, -5.00000000e+01])
    """
    return _map_rows(_log_softmax_rows, x, axis)


@np.errstate(all="ignore")
def logsumexp(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """log(sum(exp(x))) = m + log1p(s') over `axis`: one axis, several, or all of them (None).

    The dtype is that of `x`, which is not modified; the work is done in float64. Only -inf gives -inf, any
    +inf gives +inf, any nan gives nan. Nothing to sum is a ValueError.
    Source: Blanchard, Higham & Higham (2021).

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.softmax import logsumexp
    >>> logsumexp(np.array([[1e4, 1e4], [0.0, -np.inf]]), axis=1)
    array([10000.69314718,     0.        ])
    """
    axes = tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim)
    c = require_classes(math.prod(x.shape[i] for i in axes))
    rows = np.moveaxis(x, axes, range(-len(axes), 0)).reshape(x.size // c, c)
    out = np.empty(len(rows), x.dtype)
    for block in row_blocks(*rows.shape):
        e = rows[block].astype(np.float64, order="C")
        _, m, rest = exp_but_max(e, e)
        out[block] = np.where(np.isinf(m), m, m + np.log1p(rest))
    return out.reshape([1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes])


def _softmax_rows(x: Array, out: Array) -> None:
    x, e = work(x, out)
    top, _, rest = exp_but_max(x, e)
    e.ravel()[top] = 1.0
    np.divide(e, (1.0 + rest)[:, None], out=out)


def _log_softmax_rows(x: Array, out: Array) -> None:
    x, e = work(x, out)
    if e is x:
        e = np.empty_like(x)
    top, m, rest = exp_but_max(x, e)
    log_sum = np.log1p(refine(rest, x))
    np.subtract(x, m[:, None], out=e)
    e -= log_sum.astype(e.dtype)[:, None]
    e.ravel()[top] = 0.0 - log_sum
    if e is not out:
        out[...] = e


@np.errstate(all="ignore")
def _map_rows(rule: Callable[[Array, Array], None], x: Array, axis: int) -> Array:
    """Apply `rule(rows, out)` to blocks of the slices of `x` along `axis`."""
    last = x.swapaxes(axis, -1)
    rows = last.reshape(x.size // require_classes(last.shape[-1]), last.shape[-1])
    out = np.empty(rows.shape, x.dtype)
    for block in row_blocks(*rows.shape):
        rule(rows[block], out[block])
    return out.reshape(last.shape).swapaxes(axis, -1)
