"""Products of vectors and matrices."""

from __future__ import annotations

from tinygrad_ce.apply import apply
from tinygrad_ce.functional._public import implements
from tinygrad_ce.ops import linalg as ops
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor

__all__ = ["einsum", "linear", "matmul", "outer"]


@implements(ops.Matmul)
def matmul(x: TensorLike, y: TensorLike) -> Tensor:
    """Matrix product: z[..., i, j] = sum_k x[..., i, k] * y[..., k, j]. The same as x @ y.

    x, y  (..., n, k) and (..., k, m) give (..., n, m): axes before the last two are batches and broadcast. A 1-D input
          is a vector: (k,) in place of (n, k) or (k, m), and its axis is missing from the result. dtypes are promoted

    Raises ValueError for a 0-d input or lengths k that differ.

    >>> import tinygrad_ce as tg
    >>> tg.functional.matmul([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0])
    Tensor([3., 7.], shape=(2,), dtype=float32)
    """
    return apply(ops.Matmul, (x, y))


@implements(ops.Einsum)
def einsum(subscripts: str, *operands: TensorLike) -> Tensor:
    """Einstein summation: the product of the operands, summed over every label that the output does not name.

    subscripts  a letter for each axis of each operand, such as "ij,jk->ik". Without "->" the output has the labels that
                occur once, in alphabetical order. A label twice in one operand takes the diagonal; "..." stands for
                any further axes, which broadcast
    operands    Tensors or arrays; dtypes are promoted, float16 is computed in float32

    Raises ValueError for subscripts that are malformed or do not fit the operands; TypeError for the form
    einsum(operand, [0, 1], ...), which is not supported.

    >>> import tinygrad_ce as tg
    >>> tg.functional.einsum("ij,j->i", [[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0])
    Tensor([3., 7.], shape=(2,), dtype=float32)
    """
    if not isinstance(subscripts, str):
        raise TypeError(
            f"einsum: subscripts: expected a string such as 'ij,jk->ik', found {type(subscripts).__name__}; "
            "operands with lists of axis numbers are not supported"
        )
    return apply(ops.Einsum, [as_tensor(x) for x in operands], {"subscripts": subscripts})


@implements(ops.Linear)
def linear(x: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """Affine map of the last axis, fused: z = x @ weight.T + bias.

    x       (..., in): one vector, a batch of them, or any more axes
    weight  (out, in)
    bias    (out,), or None

    Returns (..., out); dtypes are promoted. Raises ValueError for shapes that do not fit.

    >>> import tinygrad_ce as tg
    >>> tg.functional.linear([[1.0, 2.0]], weight=[[1.0, 1.0], [0.0, 3.0]], bias=[0.5, 0.0])
    Tensor([[3.5, 6. ]], shape=(1, 2), dtype=float32)
    """
    inputs = (x, weight) if bias is None else (x, weight, bias)
    try:
        return apply(ops.Linear, inputs)
    except TypeError:  # a number has no shape; the error shall say so of a 0-d array
        return apply(ops.Linear, [as_tensor(a) for a in inputs])


@implements(ops.Outer)
def outer(x: TensorLike, y: TensorLike) -> Tensor:
    """Outer product: z[i, j] = x[i] * y[j].

    x, y  any shape, flattened; the result is (x.size, y.size), dtypes are promoted

    >>> import tinygrad_ce as tg
    >>> tg.functional.outer([1.0, 2.0], [3.0, 4.0])
    Tensor([[3., 4.], [6., 8.]], shape=(2, 2), dtype=float32)
    """
    return apply(ops.Outer, (as_tensor(x), as_tensor(y)))
