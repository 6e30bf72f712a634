"""Layers: linear maps, tables of vectors, dropout, and those that only hand on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_ce import functional as F
from tinygrad_ce.functional.embedding import padding_index
from tinygrad_ce.mode import get_default_dtype
from tinygrad_ce.nn.options import WithOptions, number, random, size
from tinygrad_ce.nn.parameter import Parameter
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor


class Linear(WithOptions):
    """z = x W^T + b, as one fused op.

    in_features, out_features   sizes of the last axis of x and of z
    bias                        whether to add b
    generator                   a numpy.random.Generator that draws the initial weights; a fresh one if None
    dtype                       of the parameters; the default dtype if None

    `weight` has shape (out_features, in_features) and `bias` (out_features,), as in PyTorch, both drawn from
    U(-1/sqrt(in_features), 1/sqrt(in_features)); `nn.init` has others.

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> layer = nn.Linear(4, 3, generator=np.random.default_rng(0))
    >>> layer(np.ones((2, 4), np.float32)).shape
    (2, 3)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        generator: np.random.Generator | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.in_features = size("Linear", "in_features", in_features)
        self.out_features = size("Linear", "out_features", out_features)
        generator = random("Linear", generator)
        dtype = get_default_dtype() if dtype is None else np.dtype(dtype)
        bound = 1 / math.sqrt(in_features)
        self.weight = Parameter(generator.uniform(-bound, bound, (out_features, in_features)), dtype=dtype)
        self.bias = Parameter(generator.uniform(-bound, bound, out_features), dtype=dtype) if bias else None

    def forward(self, x: TensorLike) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def options(self) -> dict[str, Any]:
        return {
            "in_features": self.in_features, "out_features": self.out_features, "bias": self.bias is not None,
            "dtype": self.weight.dtype.name,
        }  # fmt: skip


class Embedding(WithOptions):
    """A table of vectors, looked up by integers: z[..., :] = weight[x[...], :], see `functional.embedding`.

    num_embeddings  how many vectors there are: indices are 0 <= x < num_embeddings
    embedding_dim   their length
    padding_idx     an index whose vector is 0 at first and takes no gradient; may be negative, from the end
    generator       draws the initial vectors from N(0, 1); a fresh one if None
    dtype           of the parameters; the default dtype if None

    `weight` has shape (num_embeddings, embedding_dim). Integers of any shape (...) give (..., embedding_dim).
    Raises IndexError for an index out of range, TypeError for indices that are no integers.

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> words = nn.Embedding(10, 3, generator=np.random.default_rng(0))
    >>> words([[1, 2, 1, 9]]).shape
    (1, 4, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        generator: np.random.Generator | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.num_embeddings = size("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = size("Embedding", "embedding_dim", embedding_dim)
        if padding_idx is not None:
            padding_idx = padding_index("Embedding", padding_idx, num_embeddings)
        self.padding_idx = padding_idx
        vectors = random("Embedding", generator).normal(size=(num_embeddings, embedding_dim))
        if padding_idx is not None:
            vectors[padding_idx] = 0
        self.weight = Parameter(vectors, dtype=get_default_dtype() if dtype is None else dtype)

    def forward(self, x: Any) -> Tensor:
        return F.embedding(x, self.weight, self.padding_idx)

    def options(self) -> dict[str, Any]:
        return {
            "num_embeddings": self.num_embeddings, "embedding_dim": self.embedding_dim,
            "padding_idx": self.padding_idx, "dtype": self.weight.dtype.name,
        }  # fmt: skip


class Dropout(WithOptions):
    """In training each entry becomes 0 with probability p, the others are divided by 1 - p; see `functional.dropout`.

    p          probability in [0, 1]
    generator  draws which entries are dropped; a fresh one if None

    In evaluation mode x itself.

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> layer = nn.Dropout(0.5, generator=np.random.default_rng(0))
    >>> layer([1.0, 2.0, 3.0, 4.0])
    Tensor([2., 0., 0., 0.], shape=(4,), dtype=float32)
    >>> layer.eval()([1.0, 2.0, 3.0, 4.0])
    Tensor([1., 2., 3., 4.], shape=(4,), dtype=float32)
    """

    def __init__(self, p: float = 0.5, *, generator: np.random.Generator | None = None) -> None:
        self.p = number("Dropout", "p", p, 0, 1)
        self.generator = random("Dropout", generator)

    def forward(self, x: TensorLike) -> Tensor:
        return F.dropout(x, self.p, generator=self.generator, training=self.training)

    def describe(self) -> str:
        return f"p={self.p}"


class Flatten(WithOptions):
    """The axes from start_dim to end_dim, both included, as one; all but the first, the batch, if nothing is said.

    Raises ValueError for axes that x does not have.

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> nn.Flatten()(np.zeros((32, 28, 28))).shape
    (32, 784)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: TensorLike) -> Tensor:
        x = as_tensor(x)
        ndim = max(x.ndim, 1)  # a number is flattened to a vector
        first, last = (k + ndim if k < 0 else k for k in (self.start_dim, self.end_dim))
        if not 0 <= first <= last < ndim:
            raise ValueError(
                f"Flatten: start_dim={self.start_dim}, end_dim={self.end_dim} do not fit x of shape {x.shape}"
            )
        return F.reshape(x, (*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))


class Identity(WithOptions):
    """x itself: stands where a layer may be left out.

    >>> from tinygrad_ce import nn
    >>> nn.Identity()([1.0, 2.0])
    Tensor([1., 2.], shape=(2,), dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        return as_tensor(x)
