"""The true loss and gradient, by formulas of their own, in more digits than any chain has.

With a = argmax z, m = z_a, s' = sum over j != a of exp(z_j - m), target weights t and their sum T:

    l = sum_c t_c (m - z_c) + T log1p(s'),   dz_c = T p_c - t_c,   dz_a = (T - t_a) - T s' / (1 + s')

with p_j = exp(z_j - m) / (1 + s'); 0 times infinity is 0.
Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions", 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from tinygrad_ce.compare.problem import Array, Problem
from tinygrad_ce.kernels.accuracy import Wide

Precision: TypeAlias = Literal["auto", "mpmath", "long double"]

MPMATH_LIMIT = 2048  # elements, about a twentieth of a second
MPMATH_BITS = 256


@dataclass(frozen=True)
class Truth:
    """loss (one number, or one a row for reduction "none"), its gradient, and what both are made of.

    sizes   of the terms whose difference an element of the gradient is: what the error of a good algorithm is
            measured by. For index targets nothing need cancel: |gradient|. For soft targets |t| where that is larger
    p       softmax of the rows, (N, C)
    """

    loss: Array = field(repr=False)
    gradient: Array = field(repr=False)
    sizes: Array = field(repr=False)
    p: Array = field(repr=False)
    name: str


def truth(problem: Problem, precision: Precision = "auto") -> Truth:
    """By mpmath if it is installed and the logits are few, else in long double.

    Where long double is no wider than float64 (Windows, ARM Macs), its last digit of float64 logits is in doubt.

    >>> import numpy as np
    >>> found = truth(Problem.of(np.float32([[40.0, 0.0]]), [0]), "long double")
    >>> float(found.loss), float(found.gradient[0, 0])
    (4.248354255291589e-18, -4.248354255291589e-18)
    """
    if precision not in ("auto", "mpmath", "long double"):
        raise ValueError(f'reference={precision!r}; expected "auto", "mpmath" or "long double"')
    small = precision == "mpmath" or (precision == "auto" and problem.logits.size <= MPMATH_LIMIT)
    with np.errstate(all="ignore"):
        mp = _mpmath(needed=precision == "mpmath") if small else None
        if mp is None:
            losses, dz, p = _in_long_double(problem)
            bits = np.finfo(Wide).nmant + 1
            name = f"{'long double' if bits > 53 else 'float64'} ({bits} bits)"
        else:
            losses, dz, p = _in_mpmath(problem, mp)
            name = f"mpmath ({MPMATH_BITS} bits)"
        dz *= problem.scale
        dz[_uncounted(problem)] = 0
        sizes = np.abs(dz)
        if problem.soft:
            sizes = np.maximum(sizes, np.abs(problem.target_weights * problem.scale))
        return Truth(_reduce(losses, problem), problem.unrows(dz), problem.unrows(sizes), p, name)


def _reduce(losses: Array, problem: Problem) -> Array:
    losses = np.where(_uncounted(problem), 0, losses)
    if problem.reduction == "none":
        shape = problem.logits.shape
        return losses.reshape(shape[: problem.axis] + shape[problem.axis + 1 :])
    if not problem.denominator:
        return np.asarray(0 if problem.option("on_empty") == "zero" else np.nan, Wide)
    return np.asarray(losses.sum() / problem.denominator)


def _uncounted(problem: Problem) -> Array:
    """Rows that are ignored or weigh nothing: whatever they hold, they add exactly 0."""
    uncounted: Array = problem.ignored | (problem.target_weights == 0).all(axis=1)
    return uncounted


def _in_long_double(problem: Problem) -> tuple[Array, Array, Array]:
    z = problem.rows(problem.logits).astype(Wide)
    t = problem.target_weights
    each = np.arange(len(z))
    a = z.argmax(axis=1)
    m = z[each, a]
    away = z - m[:, None]
    e = np.exp(away) * (1 + _lost_by_difference(z, m[:, None], away))
    e[each, a] = m - m  # 0, or nan where a row holds nan or +inf, or only -inf
    rest = e.sum(axis=1)
    e[each, a] += 1
    p = e / (1 + rest)[:, None]
    total = t.sum(axis=1)
    losses = np.where(t == 0, 0, t * -away).sum(axis=1) + total * np.log1p(rest)
    dz = p * total[:, None] - t
    others = t.copy()
    others[each, a] = 0
    dz[each, a] = others.sum(axis=1) - total * rest / (1 + rest)
    return losses, dz, p


def _lost_by_difference(x: Array, m: Array, d: Array) -> Array:
    """What x - m loses when it is rounded to d: the TwoSum of Knuth. exp(x - m) = exp(d) (1 + lost)."""
    b = d - x
    lost = (x - (d - b)) - (m + b)
    finite: Array = np.where(np.isfinite(lost), lost, 0)
    return finite


def _mpmath(needed: bool) -> Any:
    try:
        import mpmath  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        if needed:
            raise ImportError('reference="mpmath" needs mpmath: pip install mpmath') from None
        return None
    return mpmath


def _in_mpmath(problem: Problem, mpmath: Any) -> tuple[Array, Array, Array]:
    z, t = problem.rows(problem.logits), problem.target_weights
    losses, dz, p = np.full(len(z), np.nan, Wide), np.full(z.shape, np.nan, Wide), np.full(z.shape, np.nan, Wide)
    with mpmath.workprec(MPMATH_BITS):
        number = mpmath.mpf
        for i, row in enumerate(z):
            a = int(row.argmax())
            if not np.isfinite(row[a]):  # nan, +inf, or only -inf
                continue
            m = number(float(row[a]))
            away = [m - number(float(x)) for x in row]
            e = [mpmath.exp(-x) for x in away]
            rest = mpmath.fsum(x for j, x in enumerate(e) if j != a)
            weights = [_exactly(number, x) for x in t[i]]
            total = mpmath.fsum(weights)
            losses[i] = _rounded(
                mpmath.fsum(w * x for w, x in zip(weights, away, strict=True) if w) + total * mpmath.log1p(rest)
            )
            row_p = [x / (1 + rest) for x in e]
            gradient = [q * total - w for q, w in zip(row_p, weights, strict=True)]
            others = mpmath.fsum(w for j, w in enumerate(weights) if j != a)
            gradient[a] = others - total * rest / (1 + rest)
            p[i] = [_rounded(x) for x in row_p]
            dz[i] = [_rounded(x) for x in gradient]
    return losses, dz, p


def _exactly(number: Any, x: Any) -> Any:
    """A wide number in mpmath: its float64 part and the rest."""
    high = float(x)
    return number(high) + number(float(x - Wide(high)))


def _rounded(x: Any) -> Any:
    """A number of mpmath in the wide type."""
    high = float(x)
    return Wide(high) + Wide(float(x - high)) if np.isfinite(high) else Wide(high)
