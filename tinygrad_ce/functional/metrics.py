"""What people keep writing by hand around a classifier: one-hot targets, entropies, accuracies."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_ce.arrays import plain
from tinygrad_ce.functional.elementwise import log, log1p, where
from tinygrad_ce.functional.reduction import check_one_axis
from tinygrad_ce.functional.reduction import sum as sum_along
from tinygrad_ce.mode import get_default_dtype
from tinygrad_ce.ops import targets as checks
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor

__all__ = ["accuracy", "cross_entropy_between", "entropy", "kl_divergence", "one_hot", "top_k_accuracy"]

Array = NDArray[Any]


def one_hot(targets: Any, num_classes: int | None = None, dtype: DTypeLike | None = None) -> Tensor:
    """Class indices as rows of 0 with a 1 at the class: z[..., j] = 1 if j = targets[...] else 0.

    targets      integers in [0, num_classes), any shape
    num_classes  the length of the new last axis; one more than the largest target if it is not given
    dtype        of the result; the default dtype if it is not given

    Returns a Tensor of the shape of the targets with one axis more. Losses need no one-hot targets: they take the
    indices themselves.
    Raises ValueError for targets that are no integers, and for num_classes below 1 or missing where there are no
    targets; IndexError for a target outside [0, num_classes).

    >>> import tinygrad_ce as tg
    >>> tg.functional.one_hot([0, 2], 3)
    Tensor([[1., 0., 0.], [0., 0., 1.]], shape=(2, 3), dtype=float32)
    """
    indices = np.asarray(plain(targets))
    if indices.dtype.kind not in "iu" and indices.size:
        raise ValueError(
            f"one_hot: targets must be integers, found {indices.dtype}; write np.asarray(targets, dtype=np.int64)"
        )
    if num_classes is None:
        if not indices.size:
            raise ValueError("one_hot: no targets to count the classes of; write one_hot(targets, num_classes)")
        num_classes = int(indices.max()) + 1
    elif num_classes < 1:
        raise ValueError(f"one_hot: num_classes={num_classes}; expected at least 1")
    outside = (indices < 0) | (indices >= num_classes)
    if outside.any():
        position = np.unravel_index(int(np.argmax(outside)), indices.shape)
        raise IndexError(
            f"one_hot: targets{_written(position)} = {int(indices[position])} is not a class; "
            f"valid are 0 to {num_classes - 1}"
        )
    hot = indices[..., None] == np.arange(num_classes)
    return Tensor(hot, dtype=get_default_dtype() if dtype is None else dtype)


def entropy(p: TensorLike, axis: int = -1) -> Tensor:
    """Shannon's entropy H(p) = -sum_j p_j log p_j, in nats; 0 log 0 is 0.

    p     floating, any shape: probabilities, which sum to 1 along `axis`

    Returns a Tensor without that axis, of the dtype of p. Differentiable; at p_j = 0, where the derivative is
    infinite, the gradient is 0, so that a class that is masked out (a logit of -inf) does no harm.
    Raises ValueError for an input that is not floating or is negative; warns of rows that do not sum to 1.
    Source: C. E. Shannon, "A mathematical theory of communication", 1948.

    >>> import tinygrad_ce as tg
    >>> tg.functional.entropy([[0.5, 0.5], [1.0, 0.0]])
    Tensor([0.6931, 0.    ], shape=(2,), dtype=float32)
    """
    p = as_tensor(p)
    axis = _check_probabilities("entropy", axis, p=p)
    return 0.0 - sum_along(p * log(_one_where(p.data == 0, p)), axis)  # not -x: an entropy is never -0.0


def cross_entropy_between(p: TensorLike, q: TensorLike, axis: int = -1) -> Tensor:
    """Cross-entropy of two distributions, H(p, q) = -sum_j p_j log q_j, in nats; 0 log 0 is 0.

    p, q  floating, of one shape: probabilities, which sum to 1 along `axis`; p are the true ones

    Returns a Tensor without that axis: infinite where q_j = 0 for a j with p_j > 0. Differentiable in both; where
    p_j = q_j = 0 the gradient is 0. From logits, `softmax_cross_entropy(logits, p)` keeps more digits and stays finite.
    Raises ValueError for shapes that differ and inputs that are not floating or are negative; warns of rows that do
    not sum to 1.

    >>> import tinygrad_ce as tg
    >>> tg.functional.cross_entropy_between([0.0, 1.0], [0.75, 0.25])
    Tensor(1.3863, shape=(), dtype=float32)
    """
    p, q = as_tensor(p), as_tensor(q)
    axis = _check_probabilities("cross_entropy_between", axis, p=p, q=q)
    with np.errstate(divide="ignore"):  # q = 0 where p > 0: infinite, as it is
        return 0.0 - sum_along(p * log(_one_where((p.data == 0) & (q.data == 0), q)), axis)


def kl_divergence(p: TensorLike, q: TensorLike, axis: int = -1) -> Tensor:
    """Kullback-Leibler divergence KL(p || q) = sum_j p_j log(p_j / q_j) = H(p, q) - H(p), in nats; 0 log 0 is 0.

    p, q  floating, of one shape: probabilities, which sum to 1 along `axis`; p are the true ones

    Returns a Tensor without that axis: infinite where q_j = 0 for a j with p_j > 0. Where p and q are within a factor
    of 2 of each other the logarithm is log1p((p - q) / q), which keeps the digits of distributions that nearly agree.
    Differentiable in both; at p_j = 0, where the derivative is infinite, the gradient is 0.
    Raises ValueError for shapes that differ and inputs that are not floating or are negative; warns of rows that do
    not sum to 1. For logarithms of probabilities, as `log_softmax` gives, there is the loss `kl_div`.
    Source: Kullback & Leibler, "On information and sufficiency", 1951.

    >>> import tinygrad_ce as tg
    >>> tg.functional.kl_divergence([0.25, 0.75], [0.5, 0.5])
    Tensor(0.1308, shape=(), dtype=float32)
    """
    p, q = as_tensor(p), as_tensor(q)
    axis = _check_probabilities("kl_divergence", axis, p=p, q=q)
    near = (p.data > 0) & (q.data > 0) & (q.data / 2 <= p.data) & (p.data / 2 <= q.data)
    done = near | (p.data == 0)
    q_near = _one_where(~near, q)
    with np.errstate(divide="ignore"):  # q = 0 where p > 0: infinite, as it is
        ratio = log1p((_one_where(~near, p) - q_near) / q_near)
        return sum_along(p * (ratio + (log(_one_where(done, p)) - log(_one_where(done, q)))), axis)


def accuracy(scores: TensorLike, targets: Any, axis: int = -1, *, ignore_index: int = -100) -> float:
    """Fraction of the rows whose largest score is that of the target class.

    scores        floating, any shape with the classes on `axis`: logits, probabilities or log-probabilities
    targets       integer class indices in [0, C), of the shape of the scores without `axis`
    ignore_index  rows with this target do not count, as in the losses

    Returns a float; nan if no row counts. Of equal scores the first class wins, as in `np.argmax`; a row that
    holds nan is wrong.
    Raises ValueError for targets of the wrong shape or kind, IndexError for one outside [0, C).

    >>> import tinygrad_ce as tg
    >>> tg.functional.accuracy([[0.1, 2.0], [0.5, 0.5], [3.0, 1.0]], [1, 1, 0])
    0.6666666666666666
    """
    return _hits("accuracy", scores, targets, 1, axis, ignore_index)


def top_k_accuracy(scores: TensorLike, targets: Any, k: int = 5, axis: int = -1, *, ignore_index: int = -100) -> float:
    """Fraction of the rows whose target class is among the k largest scores.

    scores        floating, any shape with the classes on `axis`: logits, probabilities or log-probabilities
    targets       integer class indices in [0, C), of the shape of the scores without `axis`
    k             from 1 to C
    ignore_index  rows with this target do not count, as in the losses

    Returns a float; nan if no row counts. Of equal scores the one of the lower class comes first, so exactly k
    classes are chosen and k = 1 is `accuracy`; a row whose target's score is nan, or that holds k nan, is wrong.
    Raises ValueError for k outside [1, C] and targets of the wrong shape or kind, IndexError for one outside [0, C).

    >>> import tinygrad_ce as tg
    >>> tg.functional.top_k_accuracy([[0.1, 2.0, 1.0], [0.2, 0.3, 0.5]], [2, 0], k=2)
    0.5
    """
    return _hits("top_k_accuracy", scores, targets, k, axis, ignore_index)


def _hits(name: str, scores: TensorLike, targets: Any, k: int, axis: int, ignore_index: int) -> float:
    z = as_tensor(scores).data
    goal = checks.check_goal(name, "scores", z, plain(targets), ignore_index=ignore_index, axis=axis)
    assert goal.indices is not None  # no probabilities were given
    rows = np.moveaxis(z, axis, -1)
    classes = rows.shape[-1]
    if not 1 <= k <= classes:
        raise ValueError(f"{name}: k={k}; expected from 1 to {classes}, the number of classes")
    own = goal.indices[..., None]
    score = np.take_along_axis(rows, own, -1)
    ahead = ~(rows <= score)  # nan is ahead of everything, and everything of nan
    ahead |= (rows == score) & (np.arange(classes) < own)
    hits = np.count_nonzero(ahead, axis=-1) < k
    if goal.ignored is not None:
        hits = hits[~goal.ignored]
    return float(np.mean(hits)) if hits.size else float("nan")


def _check_probabilities(name: str, axis: int, **inputs: Tensor) -> int:
    """The axis counted from 0, once the inputs are known to be probabilities along it, of one shape."""
    (first, p), *others = inputs.items()
    for which, q in others or inputs.items():
        checks.check_same_shape(name, first, p.data, which, q.data)
    axis = check_one_axis(name, axis, p.ndim)
    for which, q in inputs.items():
        if (q.data < 0).any():
            position = np.unravel_index(int(np.nanargmin(q.data)), q.shape)
            hint = f"; are these log-probabilities? write np.exp({which})" if not (q.data > 0).any() else ""
            raise ValueError(
                f"{name}: {which}{_written(position)} = {q.data[position]:.6g} is negative, and no probability{hint}"
            )
        if checks.unnormalized(name, q.data, axis) is not None:
            total = q.data.sum(axis, dtype=np.float64)
            worst = total.flat[int(np.nanargmax(np.abs(total - 1)))]
            warnings.warn(
                f"{name}: {which} does not sum to 1 along axis {axis}; the worst row sums to {worst:.6g}. For logits "
                f"write softmax({which}), for counts {which} / {which}.sum({axis}, keepdims=True)",
                stacklevel=3,
            )
    return axis


def _one_where(condition: Array, x: Tensor) -> Tensor:
    """x with 1 in these places, so that its logarithm is 0 there and no gradient comes back."""
    return where(condition, 1, x)


def _written(position: tuple[Any, ...]) -> str:
    """[0, 2], and nothing for the only element of a 0-d array."""
    return f"[{', '.join(str(int(i)) for i in position)}]" if position else ""
