"""The backward pass of the unfused chain in one row, step by step: 1/p appears, meets the Jacobian, and is gone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from html import escape

import numpy as np

from tinygrad_ce import functional as F
from tinygrad_ce.autograd import grad
from tinygrad_ce.compare.problem import Array, Problem
from tinygrad_ce.compare.reference import Truth
from tinygrad_ce.results import Table
from tinygrad_ce.tensor import Tensor

SHOWN = 12  # classes in the table
JACOBIAN_SHOWN = 6  # and in the matrix


@dataclass(frozen=True, repr=False)
class Steps:
    """One row of softmax, log, pick, and the gradients that arrive at each of its values. All are (C,) arrays.

    z, p, log_p   the row's logits, softmax and its logarithm
    dlog_p        -t / denominator, with t the targets' weights
    dp            dlog_p / p
    dz            dp through the Jacobian of the softmax, p (dp - dp . p), as the chain computes it
    single        (p T - t) / denominator: what the three come to
    exact         the true gradient
    """

    row: int
    z: Array
    p: Array
    log_p: Array
    dlog_p: Array
    dp: Array
    dz: Array
    single: Array
    exact: Array

    @staticmethod
    def of(problem: Problem, truth: Truth, row: int) -> Steps:
        count = problem.ignored.size
        if not -count <= row < count:
            raise IndexError(f"steps: row {row} is not one of the {count} rows; valid are 0 to {count - 1}")
        row %= count
        dtype = problem.logits.dtype
        t = (problem.target_weights[row] * problem.scale).astype(dtype)
        with np.errstate(all="ignore"):
            z = Tensor(problem.rows(problem.logits)[row], requires_grad=True)
            p = F.softmax(z)
            log_p = F.log(p)
            loss = -F.sum(F.where(t == 0, 0.0, log_p) * t)
            dlog_p, dp, dz = (g.data for g in grad(loss, [log_p, p, z]))
            single = p.data * t.sum() - t
        exact = problem.rows(truth.gradient)[row]
        return Steps(row, z.data, p.data, log_p.data, dlog_p, dp, dz, single, exact)

    @cached_property
    def jacobian(self) -> Array:
        """dp/dz = diag(p) - p p^T, (C, C) and symmetric: dz = jacobian @ dp, in which p meets 1/p."""
        product: Array = np.diag(self.p) - np.outer(self.p, self.p)
        return product

    def table(self) -> Table:
        """The classes of the largest gradients, a line each."""
        order = np.argsort(-np.nan_to_num(np.abs(self.exact).astype(np.float64)), kind="stable")[:SHOWN]
        head = ("class", "z", "p", "dlog p", "dp", "dz", "p - y", "exact")
        columns = (self.z, self.p, self.dlog_p, self.dp, self.dz, self.single, self.exact)
        return Table(head, [[str(j), *(f"{float(column[j]):z.4g}" for column in columns)] for j in sorted(order)])

    def title(self) -> str:
        """What the steps are, in one line."""
        return f"row {self.row}: dlog p = -t, dp = dlog p / p, dz = (diag(p) - p p^T) dp; they come to p - y"

    def _below(self) -> str:
        """What follows the table: the Jacobian of a few classes, how many of many are left out."""
        if len(self.z) <= JACOBIAN_SHOWN:
            return f"diag(p) - p p^T\n{np.array2string(self.jacobian, precision=3, max_line_width=100)}"
        left_out = len(self.z) - SHOWN
        return f"({left_out} classes with smaller gradients)" if left_out > 0 else ""

    def __repr__(self) -> str:
        return f"{self.title()}\n\n{self.table()}\n\n{self._below()}".rstrip()

    def _repr_html_(self) -> str:
        below = f"<pre>{escape(self._below())}</pre>" if self._below() else ""
        return f"<div><p>{escape(self.title())}</p>{self.table().html()}{below}</div>"
