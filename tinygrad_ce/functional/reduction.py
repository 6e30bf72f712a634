"""Sums, means, extremes and the like over one axis (an int), several (a tuple of ints) or all (None)."""

from __future__ import annotations

import operator
from typing import Any, TypeAlias

import numpy as np

from tinygrad_ce.apply import apply
from tinygrad_ce.functional._public import implements
from tinygrad_ce.ops import reduction as ops
from tinygrad_ce.registry import Op
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor

__all__ = ["cumsum", "logsumexp", "max", "mean", "min", "prod", "std", "sum", "var"]

Axis: TypeAlias = "int | tuple[int, ...] | None"


def check_axis(op: str, axis: Any, ndim: int) -> Any:
    """One axis, several or None, counted from 0. An error names the op, the axis found and the valid range."""
    if isinstance(axis, tuple):
        axes = tuple(check_one_axis(op, i, ndim) for i in axis)
        if len(set(axes)) < len(axes):
            raise ValueError(f"{op}: axis={axis} names an axis twice")
        return axes
    return None if axis is None else check_one_axis(op, axis, ndim, "an int, a tuple of ints or None")


def check_one_axis(op: str, axis: Any, ndim: int, expected: str = "an int") -> int:
    """One axis, counted from 0; errors as `check_axis`."""
    try:
        i = operator.index(axis)
    except TypeError:
        raise TypeError(f"{op}: axis={axis!r}; expected {expected}") from None
    if not -ndim <= i < ndim:
        valid = f"valid are {-ndim} to {ndim - 1}" if ndim else "a 0-d tensor has no axes"
        raise np.exceptions.AxisError(f"{op}: axis {i} is out of range for {ndim} dimensions; {valid}")
    return i % ndim


def _check_reduced(op: str, axis: Any, ndim: int) -> Any:
    """As `check_axis`, but a 0-d tensor takes axis 0 and -1, as in NumPy's reductions."""
    if ndim == 0 and axis is not None:
        check_axis(op, axis, 1)
        return ()
    return check_axis(op, axis, ndim)


def _reduce(op: type[Op], x: TensorLike, axis: Axis, keepdims: bool, **attributes: Any) -> Tensor:
    x = as_tensor(x)
    if not isinstance(keepdims, (bool, np.bool_)):  # NumPy has dtype and out in this place
        several = f"; for several axes write axis=({axis}, {keepdims})" if isinstance(keepdims, int) else ""
        raise TypeError(f"{op.name}: keepdims={keepdims!r}; expected True or False{several}")
    axis = _check_reduced(op.name, axis, x.ndim)
    return apply(op, (x,), {"axis": axis, **attributes, "keepdims": bool(keepdims)})


@implements(ops.Sum)
def sum(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Sum over axes: z = sum_i x_i; of nothing it is 0.

    x         any shape and dtype; float16 adds up in float32
    axis      an int, a tuple of ints, or None for all axes; () for none
    keepdims  keep the reduced axes with length 1

    Raises AxisError (a ValueError and an IndexError) for an axis that x does not have.

    >>> import tinygrad_ce as tg
    >>> tg.functional.sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    Tensor([4., 6.], shape=(2,), dtype=float32)
    """
    return _reduce(ops.Sum, x, axis, keepdims)


@implements(ops.Mean)
def mean(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean over axes: z = sum_i x_i / n; of nothing it is nan.

    x         any shape; float16 adds up in float32, integers give float64
    axis      an int, a tuple of ints, or None for all axes; () for none
    keepdims  keep the reduced axes with length 1

    Raises AxisError (a ValueError and an IndexError) for an axis that x does not have.

    >>> import tinygrad_ce as tg
    >>> tg.functional.mean([[1.0, 2.0], [3.0, 4.0]], axis=0)
    Tensor([2., 3.], shape=(2,), dtype=float32)
    """
    return _reduce(ops.Mean, x, axis, keepdims)


@implements(ops.Var)
def var(x: TensorLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """Variance over axes: z = sum_i (x_i - mean(x))**2 / (n - ddof), by two passes.

    x         any shape; float16 is computed in float32, integers give float64
    axis      an int, a tuple of ints, or None for all axes; () for none
    ddof      delta degrees of freedom: 0, or 1 for the unbiased estimate. The result is nan unless n > ddof
    keepdims  keep the reduced axes with length 1

    Raises AxisError (a ValueError and an IndexError) for an axis that x does not have.

    >>> import tinygrad_ce as tg
    >>> tg.functional.var([1.0, 2.0, 4.0, 5.0])
    Tensor(2.5, shape=(), dtype=float32)
    """
    return _reduce(ops.Var, x, axis, keepdims, ddof=ddof)


@implements(ops.Std)
def std(x: TensorLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """Standard deviation over axes: z = sqrt(sum_i (x_i - mean(x))**2 / (n - ddof)).

    x         any shape; float16 is computed in float32, integers give float64
    axis      an int, a tuple of ints, or None for all axes; () for none
    ddof      delta degrees of freedom: 0, or 1 as is usual for a sample. The result is nan unless n > ddof
    keepdims  keep the reduced axes with length 1

    The gradient is dx = g * (x - mean(x)) / ((n - ddof) * z), and 0 where z = 0, as in PyTorch.
    Raises AxisError (a ValueError and an IndexError) for an axis that x does not have.

    >>> import tinygrad_ce as tg
    >>> tg.functional.std([1.0, 2.0, 3.0], ddof=1)
    Tensor(1., shape=(), dtype=float32)
    """
    return _reduce(ops.Std, x, axis, keepdims, ddof=ddof)


@implements(ops.Max)
def max(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Largest entry over axes: z = max_i x_i; nan if there is one.

    x         any shape and dtype
    axis      an int, a tuple of ints, or None for all axes; () for none
    keepdims  keep the reduced axes with length 1

    Entries that share the maximum share the gradient equally.
    Raises ValueError where there is nothing to choose from, AxisError for an axis that x does not have.

    >>> import tinygrad_ce as tg
    >>> tg.functional.max([[1.0, 2.0], [3.0, 0.0]], axis=1)
    Tensor([2., 3.], shape=(2,), dtype=float32)
    """
    return _reduce(ops.Max, x, axis, keepdims)


@implements(ops.Min)
def min(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Smallest entry over axes: z = min_i x_i; nan if there is one.

    x         any shape and dtype
    axis      an int, a tuple of ints, or None for all axes; () for none
    keepdims  keep the reduced axes with length 1

    Entries that share the minimum share the gradient equally.
    Raises ValueError where there is nothing to choose from, AxisError for an axis that x does not have.

    >>> import tinygrad_ce as tg
    >>> tg.functional.min([[1.0, 2.0], [3.0, 0.0]], axis=1)
    Tensor([1., 0.], shape=(2,), dtype=float32)
    """
    return _reduce(ops.Min, x, axis, keepdims)


@implements(ops.Prod)
def prod(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Product over axes: z = prod_i x_i; of nothing it is 1, beyond the range of the dtype inf.

    x         any shape and dtype; float16 is multiplied in float32
    axis      an int, a tuple of ints, or None for all axes; () for none
    keepdims  keep the reduced axes with length 1

    The gradient, the product of the other entries, is computed without division: zeros do no harm.
    Raises AxisError (a ValueError and an IndexError) for an axis that x does not have.

    >>> import tinygrad_ce as tg
    >>> x = tg.Tensor([2.0, 0.0, 4.0], requires_grad=True)
    >>> tg.functional.prod(x).backward()
    >>> x.grad
    Tensor([0., 8., 0.], shape=(3,), dtype=float32)
    """
    return _reduce(ops.Prod, x, axis, keepdims)


@implements(ops.LogSumExp)
def logsumexp(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Logarithm of a sum of exponentials: z = log(sum_i exp(x_i)), computed without overflow.

    x         any shape, floating; integers give float64
    axis      an int, a tuple of ints, or None for all axes; () for none
    keepdims  keep the reduced axes with length 1

    Where all entries are -inf it is -inf, where one is +inf it is +inf; the gradient is then nan.
    Raises ValueError where there is nothing to add up, AxisError for an axis that x does not have.
    Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions", 2021.

    >>> import tinygrad_ce as tg
    >>> tg.functional.logsumexp([1000.0, 1000.0])
    Tensor(1000.6932, shape=(), dtype=float32)
    """
    return _reduce(ops.LogSumExp, x, axis, keepdims)


@implements(ops.CumSum)
def cumsum(x: TensorLike, axis: int | None = None) -> Tensor:
    """Running sum along an axis: z_i = sum of x_j for j <= i.

    x     any shape and dtype; float16 adds up in float32
    axis  an int, or None for the flattened array, with a result of shape (x.size,)

    Raises AxisError (a ValueError and an IndexError) for an axis that x does not have.

    >>> import tinygrad_ce as tg
    >>> tg.functional.cumsum([1.0, 2.0, 3.0])
    Tensor([1., 3., 6.], shape=(3,), dtype=float32)
    """
    x = as_tensor(x)
    along = None if axis is None else check_one_axis("cumsum", axis, x.ndim or 1, "an int or None")
    return apply(ops.CumSum, (x,), {"axis": along if x.ndim else None})
