"""Softmax cross-entropy and its gradient on plain arrays, for class indices and for probabilities as targets.

Notation for a row z of logits: a = argmax z, m = z_a, y the target, e_j = exp(z_j - m) and s' = sum over j != a
of e_j. The argmax is left out of every sum, so nothing cancels; `rows` has the reason.

Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions",
IMA Journal of Numerical Analysis 41(4), 2021.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinygrad_ce.kernels import rows
from tinygrad_ce.kernels.rows import Array, Floats, Indices


@np.errstate(all="ignore")
def cross_entropy(
    z: Array, targets: Array, scale: float | Floats, gradient: bool, precise: bool = False
) -> tuple[Floats, Array | None]:
    """Losses of the rows of `z`, and, if `gradient` is true, their derivatives times `scale`.

        loss = log1p(s') + (m - z_y)
        dz_y = -(s' + (1 - e_y)) / (1 + s') * scale,   dz_j = e_j / (1 + s') * scale,   e_j = exp(z_j - m)

    dz_y is p_y - 1 without cancellation: -s' / (1 + s') if the target is the argmax, where e_y = 1.

    `z` is (N, C), of dtype float16, float32 or float64, and is not modified; `targets` (N,) are integers in
    [0, C), which the caller has checked; `scale` is one factor or N of them, in float64: 1/N for a mean.
    The losses are (N,) in float64, neither reduced nor scaled; the gradient, or None, has the shape and dtype
    of `z`. With `precise` float32 is computed in float64 and cast last, and float64 puts back what z_j - m rounds off.

    A target at -inf has loss inf and a finite gradient; a row that holds nan or +inf, or only -inf, is nan in its
    loss and gradient. Where an array `scale` is 0 the gradient is 0, whatever the row holds. C = 0 is a ValueError.
    Source: Blanchard, Higham & Higham (2021).

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.softmax import cross_entropy
    >>> losses, dz = cross_entropy(np.array([[1.0, 2.0, 3.0], [1.0, 5.0, 0.5]]), np.array([2, 0]), 0.5, True)
    >>> losses.round(4), dz.round(4)
    (array([0.4076, 4.029 ]), array([[ 0.045 ,  0.1224, -0.1674],
           [-0.4911,  0.4857,  0.0054]]))
    """
    n, c = z.shape
    rows.require_classes(c)
    targets = targets.astype(np.intp, copy=False)
    dz = np.empty((n, c), z.dtype) if gradient else None
    if z.size <= rows.BLOCK:
        losses = _index_rows(z, targets, scale, dz, precise)
    else:
        losses = np.empty(n)
        for block in rows.row_blocks(n, c):
            losses[block] = _index_rows(
                z[block], targets[block], _part(scale, block), None if dz is None else dz[block], precise
            )
    _drop(dz, scale)
    return losses, dz


@np.errstate(all="ignore")
def soft_cross_entropy(
    z: Array, target_rows: Callable[[slice], Array], scale: float | Floats, gradient: bool, precise: bool = False
) -> tuple[Floats, Array | None]:
    """As `cross_entropy`, for rows t of target weights: probabilities, smoothed or weighted ones; T = sum_c t_c.

        loss = sum_c t_c (m - z_c) + log1p(s') T
        dz_j = (p_j T - t_j) * scale,   dz_a = (sum_{c != a} t_c - T s' / (1 + s')) * scale,   p_j = e_j / (1 + s')

    dz_a is p_a T - t_a without cancellation where p_a is almost 1; below 1/2 it is computed as that.

    `target_rows(rows)` returns the weights (n, C) of a slice of rows, in float64 or the dtype of `z`: built block by
    block, they need no memory of the size of the logits. All of it is computed in float64 and cast last; with
    `precise` float64 puts back what z_j - m rounds off. A weight of 0 at a logit of -inf adds 0 to the loss.
    Everything else is as for `cross_entropy`.

    >>> import numpy as np
    >>> from tinygrad_ce.kernels.softmax import soft_cross_entropy
    >>> q = np.array([[0.1, 0.2, 0.7]])
    >>> losses, dz = soft_cross_entropy(np.array([[1.0, 2.0, 3.0]]), lambda rows: q[rows], 1.0, True)
    >>> losses.round(4), dz.round(4)
    (array([0.8076]), array([[-0.01  ,  0.0447, -0.0348]]))
    """
    n, c = z.shape
    rows.require_classes(c)
    dz = np.empty((n, c), z.dtype) if gradient else None
    losses = np.empty(n)
    for block in rows.row_blocks(n, c):
        losses[block] = _soft_rows(
            z[block], target_rows(block), _part(scale, block), None if dz is None else dz[block], precise
        )
    _drop(dz, scale)
    return losses, dz


def _index_rows(z: Array, targets: Indices, scale: float | Floats, dz: Array | None, precise: bool) -> Floats:
    """The losses of one block of rows; its gradient goes into `dz`."""
    x, e = rows.work(z, dz, precise)
    target = rows.row_starts(*x.shape) + targets
    z_y = x.ravel()[target]
    top, m, rest = rows.exp_but_max(x, e, precise and x is not e)
    if x is not e:
        rest, m = rows.refine(rest, x, precise), m.astype(np.float64, copy=False)
    losses: Floats = np.log1p(rest)
    losses += m - z_y
    if dz is not None:
        flat = e.ravel()
        flat[top] = 1.0
        factor = scale / (1.0 + rest)
        dz_y = (flat[target] - 1.0 - rest) * factor
        e *= rows.beside(factor.astype(e.dtype, copy=False), x.shape[1])
        flat[target] = dz_y
        if e is not dz:
            dz[...] = e
    return losses


def _soft_rows(z: Array, targets: Array, scale: float | Floats, dz: Array | None, precise: bool) -> Floats:
    """The losses of one block of rows with target weights; its gradient goes into `dz`."""
    x, t, e = np.empty((3, *z.shape))
    x[...], t[...] = z, targets
    compensate = precise and z.dtype == np.float64
    sums = rows.exact_row_sums if compensate else rows.row_sums
    top, m, rest = rows.exp_but_max(x, e, compensate)
    if z.dtype == np.float64:
        rest = rows.refine(rest, x, compensate)
    terms = np.subtract(rows.beside(m, x.shape[1]), x, out=x)
    terms *= t
    losses = sums(terms)
    masked = np.isnan(losses).nonzero()[0]
    if masked.size:  # 0 * inf, or inf, or a row that is nan: then so is s'
        left = np.where(t[masked] == 0, 0.0, terms[masked])
        plain = rows.row_sums(left)
        losses[masked] = np.where(np.isinf(plain), plain, sums(left))
    t_a = t.ravel()[top]
    t.ravel()[top] = 0.0
    others = sums(t)
    total = others + t_a
    losses += np.log1p(rest) * total
    if dz is not None:
        p_a_total = total / (1.0 + rest)
        e *= rows.beside(p_a_total, x.shape[1])
        e -= t
        e.ravel()[top] = np.where(rest < 1.0, others - p_a_total * rest, p_a_total - t_a)
        np.multiply(e, scale[:, None] if isinstance(scale, np.ndarray) else scale, out=dz, casting="same_kind")
    return losses


def _part(scale: float | Floats, block: slice) -> float | Floats:
    return scale[block] if isinstance(scale, np.ndarray) else scale


def _drop(dz: Array | None, scale: float | Floats) -> None:
    """Make the gradient of rows whose scale is 0 exactly 0, also where 0 times it was nan."""
    if dz is not None and isinstance(scale, np.ndarray):
        dz[scale == 0] = 0
