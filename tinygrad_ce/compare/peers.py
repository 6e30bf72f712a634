"""Contestants that are no graph of ours: the formula p - y, central differences, and torch where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from tinygrad_ce import functional as F
from tinygrad_ce.compare.chains import CHAINS
from tinygrad_ce.compare.problem import Array, Problem
from tinygrad_ce.kernels.choice import kernels
from tinygrad_ce.mode import no_grad

DIFFERENCES_LIMIT = 1 << 20  # logits times classes, about a tenth of a second


class Contestant(Protocol):
    """What can be compared: `Chain`, and the classes below."""

    @property
    def name(self) -> str: ...
    @property
    def agrees(self) -> bool: ...
    @property
    def note(self) -> str: ...
    def applies(self, problem: Problem) -> bool: ...
    def forward(self, problem: Problem) -> Any: ...
    def backward(self, problem: Problem, state: Any) -> Array: ...
    def loss(self, state: Any) -> Array | None: ...
    def graph(self, state: Any) -> tuple[int | None, int | None]: ...


class PMinusY:
    """The formula that 1/p and the Jacobian of the softmax cancel to: dz = (p T - t) / denominator, as it stands."""

    name, agrees, note = "p - y", False, "the formula as it stands: p - 1 cancels where p is almost 1"

    def applies(self, problem: Problem) -> bool:  # noqa: ARG002
        return True

    def forward(self, problem: Problem) -> None:
        pass

    def backward(self, problem: Problem, state: None) -> Array:  # noqa: ARG002
        dtype = problem.logits.dtype
        p = kernels.softmax(problem.rows(problem.logits))
        t = problem.target_weights.astype(dtype)
        dz = (p * t.sum(axis=1, keepdims=True) - t) * problem.scale.astype(dtype)
        return problem.unrows(dz)

    def loss(self, state: None) -> None:  # noqa: ARG002
        return None

    def graph(self, state: None) -> tuple[None, None]:  # noqa: ARG002
        return None, None


class CentralDifferences:
    """(l(z + h) - l(z - h)) / 2h of the fused loss in float64, one class at a time; every row has its own loss."""

    name, agrees, note = "central differences", False, "an approximation from the loss alone, in float64"

    def applies(self, problem: Problem) -> bool:
        classes = problem.logits.shape[problem.axis]
        return problem.logits.size * classes <= DIFFERENCES_LIMIT and bool(np.isfinite(problem.logits).all())

    def forward(self, problem: Problem) -> None:
        pass

    def backward(self, problem: Problem, state: None) -> Array:  # noqa: ARG002
        z = problem.rows(problem.logits).astype(np.float64)
        soft = problem.targets.dtype.kind == "f"
        targets = problem.rows(problem.targets).astype(np.float64) if soft else problem.targets.reshape(-1)
        step = np.maximum(np.cbrt(np.finfo(np.float64).eps), 64 * np.spacing(np.abs(z)))
        dz = np.empty_like(z)

        def losses(x: Array) -> Array:
            with no_grad():
                return F.softmax_cross_entropy(x, targets, reduction="none", **problem.options).data

        for j in range(z.shape[1]):
            above, below = z.copy(), z.copy()
            above[:, j] += step[:, j]
            below[:, j] -= step[:, j]
            dz[:, j] = (losses(above) - losses(below)) / (above[:, j] - below[:, j])
        return problem.unrows(dz * float(problem.scale)).astype(problem.logits.dtype)

    def loss(self, state: None) -> None:  # noqa: ARG002
        return None

    def graph(self, state: None) -> tuple[None, None]:  # noqa: ARG002
        return None, None


class Torch:
    """torch.nn.functional.cross_entropy on the same numbers, on the CPU."""

    name, agrees, note = "torch", False, "another library"

    def applies(self, problem: Problem) -> bool:  # noqa: ARG002
        return importlib.util.find_spec("torch") is not None

    def forward(self, problem: Problem) -> Any:
        import torch  # type: ignore[import-not-found, unused-ignore]

        kept: dict[int, int] = {}

        def keep(x: Any) -> Any:
            kept.setdefault(x.untyped_storage().data_ptr(), x.untyped_storage().nbytes())
            return x

        z = torch.tensor(problem.rows(problem.logits), requires_grad=True)
        soft = problem.targets.dtype.kind == "f"
        targets = torch.tensor(problem.rows(problem.targets) if soft else problem.targets.reshape(-1).astype(np.int64))
        options = {} if soft else {"ignore_index": problem.option("ignore_index")}
        weight = None if problem.option("weight") is None else torch.tensor(problem.class_weights)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            loss = torch.nn.functional.cross_entropy(
                z, targets.to(z.dtype) if soft else targets, weight=weight,
                label_smoothing=problem.option("label_smoothing"), reduction=problem.reduction, **options,
            )  # fmt: skip
        for leaf in (z, targets, weight):
            if leaf is not None:
                kept.pop(leaf.untyped_storage().data_ptr(), None)
        return z, loss, kept

    def backward(self, problem: Problem, state: Any) -> Array:
        import torch  # type: ignore[import-not-found, unused-ignore]

        z, loss, _ = state
        (dz,) = torch.autograd.grad(loss, z, torch.ones_like(loss), retain_graph=True)
        return problem.unrows(dz.numpy())

    def loss(self, state: Any) -> Array | None:
        found: Array = state[1].detach().numpy()
        return found

    def graph(self, state: Any) -> tuple[int | None, int | None]:
        _, loss, kept = state
        seen, stack = set(), [loss.grad_fn]
        while stack:
            node = stack.pop()
            if node is not None and node not in seen and not type(node).__name__.startswith("AccumulateGrad"):
                seen.add(node)
                stack += [following for following, _ in node.next_functions]
        return len(seen), sum(kept.values())


PEERS: tuple[Contestant, ...] = (PMinusY(), CentralDifferences(), Torch())


def contestants() -> Mapping[str, Contestant]:
    """All by name, the fused chain first."""
    return {**CHAINS, **{peer.name: peer for peer in PEERS}}
