"""Softmax cross-entropy and its gradient on plain arrays, for class indices and for probabilities as targets.

Notation for a row z of logits: a = argmax z, m = z_a, y the target, e_j = exp(z_j - m) and s' = sum over j != a
of e_j. The target, or without one the argmax, is left out of every sum, so nothing cancels; `rows` has the reason.

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

        S' = sum over j != y of exp(z_j - z_y)
        loss = log1p(S')
        dz_y = -S' / (1 + S') * scale,   dz_j = exp(z_j - z_y) / (1 + S') * scale

    dz_y is p_y - 1 without cancellation. exp(z_j - z_y) is exp(z_j - r) exp(r - z_y), r the largest of the others.

    `z` is (N, C), of dtype float16, float32 or float64, and is not modified; `targets` (N,) are integers in
    [0, C), which the caller has checked; `scale` is one factor or N of them, in float64: 1/N for a mean.
    The losses are (N,) in float64, neither reduced nor scaled; the gradient, or None, has the shape and dtype
    of `z`. With `precise` float32 is computed in float64 and cast last, and float64 puts back what z_j - r rounds off.

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
    dz = _like(z) if gradient else None
    losses = np.empty(n)
    rows.in_blocks(_index_rows, z, targets, scale, dz, losses, precise)
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
    dz = _like(z) if gradient else None
    losses = np.empty(n)

    def block(part: slice) -> None:
        own = None if dz is None else dz[part]
        losses[part] = _soft_rows(z[part], target_rows(part), _part(scale, part), own, precise)

    rows.for_blocks(block, n, c)
    _drop(dz, scale)
    return losses, dz


def _index_rows(
    z: Array, targets: Indices, scale: float | Floats, dz: Array | None, losses: Floats, precise: bool
) -> None:
    """Losses, and the gradient unless `dz` is None, of one block of rows."""
    row = rows.exp_others(z, targets, dz, wide=precise, compensate=precise and z.dtype == np.float64)
    np.log1p(row.rest, out=losses)
    if row.beyond is not None:
        losses += row.beyond
    if dz is not None:
        e, total = row.e, 1.0 + row.rest
        by_row = row.unit / total * scale
        e *= rows.along(by_row.astype(e.dtype, copy=False), row.axis)
        e.reshape(-1)[row.y] = row.rest / total * -scale
        if e is not dz:
            dz[...] = rows.in_rows(e, row.axis)


def _soft_rows(z: Array, targets: Array, scale: float | Floats, dz: Array | None, precise: bool) -> Floats:
    """The losses of one block of rows with target weights; its gradient goes into `dz`."""
    compensate = precise and z.dtype == np.float64
    sums = rows.exact_row_sums if compensate else rows.row_sums
    row = rows.exp_others(z, wide=True, compensate=compensate)
    e, axis, rest = row.e, row.axis, row.rest + (row.z_y - row.z_y)  # nan at +inf, and where all is -inf
    t, terms = rows.scratch(e.shape, e.dtype, 3), rows.scratch(e.shape, e.dtype, 4)
    rows.in_rows(t, axis)[...] = targets
    rows.in_rows(terms, axis)[...] = z
    np.subtract(rows.along(row.z_y, axis), terms, out=terms)
    terms *= t
    losses = sums(terms, axis)
    masked = np.isnan(losses).nonzero()[0]
    if masked.size:  # 0 * inf, or inf, or a row that is nan: then so is s'
        left = np.where(rows.in_rows(t, axis)[masked] == 0, 0.0, rows.in_rows(terms, axis)[masked])
        plain = rows.row_sums(left)
        losses[masked] = np.where(np.isinf(plain), plain, sums(left))
    flat = t.reshape(-1)
    t_a = flat[row.y]
    flat[row.y] = 0.0
    others = sums(t, axis)
    total = others + t_a
    losses += np.log1p(rest) * total
    if dz is not None:
        p_a_total = total / (1.0 + rest)
        e *= rows.along(row.unit * p_a_total, axis)
        e -= t
        e.reshape(-1)[row.y] = np.where(rest < 1.0, others - p_a_total * rest, p_a_total - t_a)
        e *= rows.along(scale, axis) if isinstance(scale, np.ndarray) else scale
        dz[...] = rows.in_rows(e, axis)
    return losses


def _like(z: Array) -> Array:
    """An array for the gradient of `z`, class by class in memory where it is computed so."""
    return np.empty(z.shape, z.dtype, order="F" if z.shape[1] <= rows.TALL else "C")


def _part(scale: float | Floats, block: slice) -> float | Floats:
    return scale[block] if isinstance(scale, np.ndarray) else scale


def _drop(dz: Array | None, scale: float | Floats) -> None:
    """Make the gradient of rows whose scale is 0 exactly 0, also where 0 times it was nan."""
    if dz is not None and isinstance(scale, np.ndarray):
        dz[scale == 0] = 0
