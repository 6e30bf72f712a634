"""The spellings of one loss. Each is run, timed and held against the truth in the same way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_ce import functional as F
from tinygrad_ce.autograd import grad
from tinygrad_ce.compare.problem import Array, Problem
from tinygrad_ce.graph import capture
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor

CLIP = 1e-7  # what textbooks add before the logarithm


@dataclass(frozen=True)
class Chain:
    """A spelling made of this package's ops: one of `CHAINS`, or one of your own to be compared with them.

    build   makes the loss of logits for a problem, which has targets, axis, reduction and options
    agrees  it is meant to agree with the truth everywhere; where it does not, something is broken
    note    what is to be known of it

    >>> import tinygrad_ce as tg
    >>> from tinygrad_ce import functional as F
    >>> def build(z, problem):
    ...     picked = F.take_along_axis(z, problem.targets[:, None], 1)
    ...     return F.mean(F.logsumexp(z, 1, keepdims=True) - picked)
    >>> mine = Chain("logsumexp - z", build)
    >>> found = tg.compare_gradients([[2.0, 1.0], [0.0, 30.0]], [0, 1], chains=["fused", mine], measure=False)
    >>> print(found.verdicts()["logsumexp - z"])
    1 of the 4 elements of the gradient is exactly 0, although float32 can hold the truth (up to 4.7e-14)
    """

    name: str
    build: Callable[[Tensor, Problem], Tensor]
    agrees: bool = False
    note: str = ""

    def __call__(self, logits: TensorLike, targets: Any, **options: Any) -> Tensor:
        """The loss, recorded: for drawing the chain, or training with it."""
        logits = as_tensor(logits)
        return self.build(logits, Problem.of(logits.data, targets, **options))

    def applies(self, problem: Problem) -> bool:  # noqa: ARG002
        return True

    def forward(self, problem: Problem) -> tuple[Tensor, Tensor]:
        leaf = Tensor(problem.logits, requires_grad=True)
        loss = self.build(leaf, problem)
        size = problem.ignored.size if problem.reduction == "none" else 1
        if not isinstance(loss, Tensor) or loss.size != size:
            found = f"one of shape {loss.shape}" if isinstance(loss, Tensor) else repr(loss)
            raise ValueError(
                f"chain {self.name!r}: build must return a Tensor of {size} element{'s' * (size > 1)}, which "
                f'reduction="{problem.reduction}" asks for, found {found}'
            )
        return leaf, loss

    def backward(self, problem: Problem, state: tuple[Tensor, Tensor]) -> Array:  # noqa: ARG002
        leaf, loss = state
        gradient: Array = grad(loss, leaf, np.ones_like(loss.data)).data
        return gradient

    def loss(self, state: tuple[Tensor, Tensor]) -> Array | None:
        return state[1].data

    def graph(self, state: tuple[Tensor, Tensor]) -> tuple[int | None, int | None]:
        """How many ops, and the bytes that they keep for the backward pass."""
        graph = capture(state[1], gradients=False)
        return graph.ops, graph.kept_bytes


def _fused(logits: Tensor, problem: Problem) -> Tensor:
    return F.softmax_cross_entropy(
        logits, problem.targets, axis=problem.axis, reduction=problem.reduction, **problem.options
    )


def _log_softmax_nll(logits: Tensor, problem: Problem) -> Tensor:
    log_p = F.log_softmax(logits, problem.axis)
    if problem.soft:
        return _pick(log_p, problem)
    options = {key: x for key, x in problem.options.items() if key in ("weight", "ignore_index", "on_empty")}
    return F.nll_loss(log_p, problem.targets, axis=problem.axis, reduction=problem.reduction, **options)


def _softmax_log_pick(logits: Tensor, problem: Problem) -> Tensor:
    return _pick(F.log(F.softmax(logits, problem.axis)), problem)


def _clipped(logits: Tensor, problem: Problem) -> Tensor:
    return _pick(F.log(F.softmax(logits, problem.axis) + CLIP), problem)


def _naive(logits: Tensor, problem: Problem) -> Tensor:
    e = F.exp(logits)
    return _pick(F.log(e / F.sum(e, axis=problem.axis, keepdims=True)), problem)


def _pick(log_p: Tensor, problem: Problem) -> Tensor:
    """Minus the log-probabilities of the targets, put together as the loss options say."""
    axis, kept = problem.axis, problem.reduction == "none"
    if problem.soft:
        t = problem.unrows(problem.target_weights.astype(log_p.dtype))
        picked = F.sum(F.where(t == 0, 0.0, log_p) * t, axis=axis)
    else:
        picked = F.take_along_axis(log_p, problem.unrows(problem.indices[:, None]), axis)
        if not problem.uniform:
            picked = picked * problem.unrows(problem.row_weights[:, None])
        picked = F.squeeze(picked, axis) if kept else picked
    if kept:
        return -picked
    if problem.reduction == "mean" and not (problem.uniform and not problem.soft):
        return -(F.sum(picked) / float(problem.denominator))
    return -(F.mean(picked) if problem.reduction == "mean" else F.sum(picked))


CHAINS: dict[str, Chain] = {
    chain.name: chain
    for chain in (
        Chain("fused", _fused, agrees=True),
        Chain("log-softmax + NLL", _log_softmax_nll, agrees=True),
        Chain("softmax, log, pick", _softmax_log_pick, note="log p of a rounded p: 1/p and p - 1 lose digits"),
        Chain("clipped", _clipped, note="goes wrong: log(p + 1e-7), whose gradient vanishes where p does"),
        Chain("naive", _naive, note="goes wrong: exp(z) / sum exp(z) without the shift by the largest logit"),
    )
}
"""Spellings made of ops, the fused one first."""
