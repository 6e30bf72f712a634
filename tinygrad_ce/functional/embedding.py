"""Vectors looked up by integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_ce.apply import apply
from tinygrad_ce.arrays import plain
from tinygrad_ce.ops import elementwise, shape
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor

__all__ = ["embedding"]


def embedding(indices: Any, weight: TensorLike, padding_idx: int | None = None) -> Tensor:
    """Rows of a table: z[..., :] = weight[indices[...], :]. The gradient of a row is the sum over all its uses.

    indices      integers of any shape (...)
    weight       (num_embeddings, embedding_dim)
    padding_idx  a row that takes no gradient, or None; may be negative, from the end

    Returns (..., embedding_dim). Raises IndexError, with position, value and range, for an index that is negative or
    too large; TypeError for indices that are no integers; ValueError for a weight that is no table.

    >>> import tinygrad_ce as tg
    >>> weight = tg.Tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> z = tg.functional.embedding([2, 1, 2], weight)
    >>> z.numpy()
    array([[3., 4.],
           [1., 2.],
           [3., 4.]], dtype=float32)
    >>> z.sum().backward()
    >>> weight.grad.numpy()
    array([[0., 0.],
           [1., 1.],
           [2., 2.]], dtype=float32)
    """
    weight = as_tensor(weight)
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight has shape {weight.shape}, expected (num_embeddings, embedding_dim)")
    index = np.asarray(plain(indices))
    if index.dtype.kind not in "iu" and index.size:
        raise TypeError(f"embedding: indices have dtype {index.dtype}; expected integers, such as indices.astype(int)")
    n = len(weight)
    if index.size and not (index.min() >= 0 and index.max() < n):
        place = tuple(np.argwhere((index < 0) | (index >= n))[0].tolist())
        raise IndexError(
            f"embedding: indices{list(place) if place else ''} is {index[place]}, expected 0 <= index < {n}"
        )
    index = index.astype(np.intp)  # a copy: the backward pass needs it as it is now
    z = apply(shape.GetItem, (weight,), {"index": index})
    if padding_idx is None or not z.requires_grad:
        return z
    used = np.expand_dims(index != padding_index("embedding", padding_idx, n), -1)
    return apply(elementwise.Where, (used, z, z.detach()))


def padding_index(caller: str, padding_idx: Any, n: int) -> int:
    """The index counted from the front; ValueError unless it is one of n."""
    if not isinstance(padding_idx, (int, np.integer)) or isinstance(padding_idx, bool) or not -n <= padding_idx < n:
        raise ValueError(f"{caller}: padding_idx={padding_idx!r}; expected None or an integer from {-n} to {n - 1}")
    return int(padding_idx) % n
