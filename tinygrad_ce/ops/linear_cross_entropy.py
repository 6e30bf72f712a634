"""The last linear layer and softmax cross-entropy in one op: logits are made, used and forgotten a chunk at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.kernels import threads
from tinygrad_ce.kernels.choice import kernels
from tinygrad_ce.ops.cross_entropy import SoftmaxCrossEntropy, _log_or_zero, _reduce_rows, _target_rows
from tinygrad_ce.ops.linalg import Linear
from tinygrad_ce.ops.targets import Goal, check_goal, effective_targets
from tinygrad_ce.registry import FusedOp, register

Array = NDArray[Any]

CHUNK = 4_000_000  # logits alive at a time: 16 MB of float32
BLOCK = 1 << 18  # entries of what is needed beside a chunk: its gradient, shares of the weight's; a part for a thread
_NAME = "linear_softmax_cross_entropy"


@register
class LinearSoftmaxCrossEntropy(FusedOp):
    """Softmax cross-entropy of logits z = x W^T + b that are never whole in memory.

    Rows of x are taken in chunks: logits, losses, dz in place of the logits, and its shares of the gradients

        dx = dz W,   dW = dz^T x,   db = sum of the rows of dz

    of which those of W and b add up over the chunks. This is done in the forward pass where a gradient is wanted, so
    that every logit is computed once; `frozen` names the inputs that take none. With reduction="none" each loss has an
    upstream gradient of its own, so the chunks are computed again in the backward pass, and nothing is kept for it but
    the inputs. The same goes for the gradient of probabilities q. Ignored rows are left out altogether.

    >>> import tinygrad_ce as tg
    >>> x, weight = [[1.0, 2.0]], [[1.0, 0.5], [0.0, 0.5], [-0.4, 0.25]]
    >>> tg.functional.linear_softmax_cross_entropy(x, weight, [0])
    Tensor(0.417, shape=(), dtype=float32)
    """

    formula = "l = mean(logsumexp(z) - z[y]), z = x @ weight^T + bias"
    vjp_formula = "dx = dz @ weight, dweight = dz^T @ x, dbias = sum of dz; dz = (softmax(z) - onehot(y)) * g / N"
    latex = r"\ell = \frac{1}{N} \sum_i \Big( \ln \sum_k e^{z_{ik}} - z_{i, y_i} \Big), \quad z = x W^\top + b"
    residual = True

    @staticmethod
    def forward(
        x: Array, weight: Array, bias: Array | None = None, q: Array | None = None, *, targets: Array | None = None,
        class_weight: Array | None = None, ignore_index: int = -100, label_smoothing: float = 0.0,
        reduction: str = "mean", on_empty: str = "nan", precise: bool = False, frozen: Sequence[str] = (),
        gradient: bool = False,
    ) -> tuple[Any, Sequence[Array | None] | None]:  # fmt: skip
        goal = _goal(x, weight, bias, q, targets=targets, class_weight=class_weight, ignore_index=ignore_index,
                     label_smoothing=label_smoothing, reduction=reduction, on_empty=on_empty)  # fmt: skip
        ahead = gradient and reduction != "none"
        losses, gradients = _sweep(
            x, weight, bias, q, goal, [ahead and name not in frozen for name in ("x", "weight", "bias")],
            class_weight=class_weight, label_smoothing=label_smoothing, reduction=reduction, precise=precise,
        )  # fmt: skip
        dtype = np.result_type(*(a for a in (x, weight, bias) if a is not None))
        return _reduce_rows(losses, goal, reduction, on_empty, dtype), gradients if gradient else None

    @staticmethod
    def vjp(
        g: Any, kept: Sequence[Array | None], x: Array, weight: Array, bias: Array | None = None,
        q: Array | None = None, *, needs: Sequence[bool], targets: Any, class_weight: Any, ignore_index: int,
        label_smoothing: float, reduction: str, on_empty: str, precise: bool, frozen: Any,
    ) -> list[Any]:  # fmt: skip
        late = [need and one is None for need, one in zip(needs, kept, strict=False)]
        again: Sequence[Array | None] = [None] * 4
        if any(late):
            goal = _goal(x, weight, bias, q, targets=targets, class_weight=class_weight, ignore_index=ignore_index,
                         label_smoothing=label_smoothing, reduction=reduction, on_empty=on_empty)  # fmt: skip
            _, again = _sweep(
                x, weight, bias, q, goal, late, g, class_weight=class_weight, label_smoothing=label_smoothing,
                reduction=reduction, precise=precise,
            )  # fmt: skip
        return [
            None if not need else new if one is None else one if g == 1 else one * g
            for need, one, new in zip(needs, kept, again, strict=False)
        ]

    @staticmethod
    def decomposition(
        x: Any, weight: Any, bias: Any = None, q: Any = None, *, targets: Array | None = None,
        class_weight: Array | None = None, frozen: Sequence[str] = (), **options: Any,
    ) -> Any:  # fmt: skip
        layer = [weight] if bias is None else [weight, bias]
        if len(weight.shape) == 2:
            z = Linear(x, *layer)
        else:
            lines = math.prod(weight.shape[:-1])
            layer = [a.reshape((lines, *a.shape[len(weight.shape) - 1 :])) for a in layer]
            z = Linear(x, *layer).reshape((*x.shape[:-1], *weight.shape[:-1]))
        return SoftmaxCrossEntropy(
            *([z] if q is None else [z, q]), targets=targets, weight=class_weight, axis=len(x.shape) - 1, **options
        )


def _goal(
    x: Array, weight: Array, bias: Array | None, q: Array | None, *, targets: Any, class_weight: Any, **options: Any
) -> Goal:
    """Check everything; what the targets and options come to."""
    for name, array in (("x", x), ("weight", weight), ("bias", bias)):
        if array is not None and array.dtype.kind != "f":
            raise ValueError(f"{_NAME}: {name} must be floating, found {array.dtype}; write {name}.astype(np.float32)")
    if weight.ndim < 2 or x.ndim == 0 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"{_NAME}: x has shape {x.shape} and weight {weight.shape}; expected x (..., D) and weight (C, D), one row "
            "for each class"
        )
    if bias is not None and bias.shape != weight.shape[:-1]:
        raise ValueError(f"{_NAME}: bias has shape {bias.shape}, expected {weight.shape[:-1]}, as weight without D")
    classes = weight.shape[0]
    if not classes:
        raise ValueError(f"{_NAME}: weight of shape {weight.shape} has no classes on axis 0")
    if class_weight is not None:
        if np.shape(class_weight) != (classes,):
            raise ValueError(
                f"{_NAME}: class_weight has shape {np.shape(class_weight)}, expected {(classes,)}: one number for each "
                f"class of weight, whose shape is {weight.shape}"
            )
        if np.asarray(class_weight).dtype.kind not in "fiu":
            raise ValueError(f"{_NAME}: class_weight must be numbers, found {np.asarray(class_weight).dtype}")
    batch, after = x.shape[:-1], weight.shape[1:-1]
    found, expected = np.shape(targets), (*batch, *after)
    if q is None and targets is not None and len(found) == len(expected) and found != expected:
        raise ValueError(
            f"{_NAME}: targets have shape {found}, expected {expected}: one class index for each row of x, whose shape "
            f"is {x.shape}" + (f", and for each of {after} in weight, whose shape is {weight.shape}" if after else "")
        )
    logits = np.broadcast_to(x.dtype.type(0), (*batch, classes, *after))  # of which only shape and dtype are asked
    return check_goal(_NAME, "logits", logits, targets, q, weight=class_weight, axis=len(batch), **options)


def _sweep(
    x: Array, weight: Array, bias: Array | None, q: Array | None, goal: Goal, wanted: Sequence[bool], g: Any = None,
    **options: Any,
) -> tuple[Array, Sequence[Array | None]]:  # fmt: skip
    """The loss of every row, and those gradients of x, weight, bias and q that are wanted: times g, if that is given.

    N rows of x and K positions in the weight, 1 if it has two axes, make N K rows of C logits each.
    """
    dtype = np.result_type(np.float32, *(a for a in (x, weight, bias) if a is not None))
    classes, positions, features = weight.shape[0], weight.shape[1:-1], weight.shape[-1]
    n, k, width = math.prod(x.shape[:-1]), math.prod(positions), math.prod(weight.shape[:-1])
    vectors = x.reshape(n, features).astype(dtype, copy=False)
    w = np.moveaxis(weight, 0, -2).reshape(width, features).astype(dtype, copy=False)
    b = None if bias is None else np.moveaxis(bias, 0, -1).reshape(width).astype(dtype, copy=False)
    probabilities = None if q is None else np.moveaxis(q, x.ndim - 1, -1).reshape(n, k, classes)
    upstream = None if g is None else np.broadcast_to(np.asarray(g, dtype), x.shape[:-1] + positions)
    need_x, need_w, need_b, need_q = (*wanted, False, False)[:4]
    dx = np.zeros(x.shape, dtype) if need_x else None
    dw = np.zeros((width, features), dtype) if need_w else None
    db = np.zeros(width) if need_b else None
    dq = np.zeros((n, k, classes), dtype) if need_q else None
    losses = np.zeros((n, k))
    by_row: list[Any] = [None if a is None else a.reshape(n, k) for a in (*goal[:3], upstream)]
    counted = None if goal.weights is None else (goal.weights.reshape(n, k) != 0).any(1).nonzero()[0]
    count = n if counted is None else len(counted)
    step = max(1, CHUNK // width)
    room = np.empty((min(step, count), width), dtype)

    def finish(start: int, block: slice) -> None:
        """Losses of some rows of the chunk that begins at `start`; the gradient of their logits, in place of these."""
        rows = block if counted is None else counted[block]
        z = room[block.start - start : block.stop - start]
        if b is not None:
            z += b
        z = z.reshape(-1, classes)
        indices, ignored, weights, own_g = (None if a is None else a[rows].reshape(-1) for a in by_row)
        own_q = None if probabilities is None else probabilities[rows].reshape(-1, classes)
        own = _Rows(z, Goal(indices, ignored, weights, goal.divisor), own_q, own_g, **options)
        if dq is not None:
            dq[rows] = own.gradient_of_targets().reshape(-1, k, classes)
        losses[rows] = own.losses(need_x or need_w or need_b).reshape(-1, k)

    for start in range(0, count, step):
        stop = min(start + step, count)
        rows: Any = slice(start, stop) if counted is None else counted[start:stop]
        part, z = vectors[rows], room[: stop - start]
        np.matmul(part, w.T, out=z)
        threads.run(partial(finish, start), _blocks(start, stop, width))
        if dx is not None:
            dx.reshape(n, features)[rows] = z @ w  # z is dz by now
        if dw is not None:
            for block in _blocks(0, width, features):  # the product itself then needs little memory
                dw[block] += z.T[block] @ part
        if db is not None:
            db += np.add.reduce(z, 0, np.float64)

    if len(positions):  # back to the order of the inputs' axes
        dw = None if dw is None else np.moveaxis(dw.reshape(*positions, classes, features), -2, 0)
        db = None if db is None else np.moveaxis(db.reshape(*positions, classes), -1, 0)
    if dq is not None:
        dq = np.moveaxis(dq.reshape(*x.shape[:-1], *positions, classes), -1, x.ndim - 1)
    return losses.reshape(x.shape[:-1] + positions), [dx, dw, None if db is None else db.astype(dtype), dq]


@dataclass
class _Rows:
    """Rows of logits, what is asked of them, and the upstream gradient of each loss if there is one."""

    z: Array
    goal: Goal
    q: Array | None
    g: Array | None
    class_weight: Array | None
    label_smoothing: float
    reduction: str
    precise: bool

    def losses(self, gradient: bool) -> Array:
        """The losses of the rows, not scaled; if `gradient` is true their gradient takes the place of the logits."""
        z, goal, scale = self.z, self.goal, self.goal.scale(self.reduction)
        if self.q is None and not self.label_smoothing:
            assert goal.indices is not None
            losses, dz = kernels.cross_entropy(z, goal.indices, scale, gradient, self.precise)
        else:
            weights = _target_rows(goal, self.q, self.class_weight, self.label_smoothing, -1, *z.shape)
            losses, dz = kernels.soft_cross_entropy(z, weights, scale, gradient, self.precise)
        if dz is not None:
            if self.g is not None:
                dz *= self.g[:, None]
            z[...] = dz
        return losses

    def gradient_of_targets(self) -> Array:
        """That of the probabilities q, of the losses scaled as they are put together."""
        assert self.q is not None
        assert self.g is not None
        t = effective_targets(self.q, self.class_weight, self.label_smoothing, None)
        factor = (1 - self.label_smoothing) * self.goal.scale(self.reduction) * self.g[:, None]
        share = -_log_or_zero(kernels.log_softmax(self.z), t) * factor
        dq: Array = effective_targets(share, self.class_weight, 0.0, None)
        return dq


def _blocks(start: int, stop: int, width: int) -> Iterator[slice]:
    step = max(1, BLOCK // max(1, width))
    return (slice(i, min(i + step, stop)) for i in range(start, stop, step))
