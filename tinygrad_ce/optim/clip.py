"""Clipping of gradients, between the backward pass and the step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.tensor import Tensor

_BLOCK = 1 << 14  # elements that are converted to float64 at a time


def clip_grad_norm(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> float:
    """Scale all gradients together so that their norm is at most `max_norm`; returns the norm before.

        total = (sum |g|**norm_type) ** (1 / norm_type) over all elements of all gradients
        g = g * min(1, max_norm / (total + 1e-6))

    parameters          a tensor or several; those whose gradient is None do not count
    max_norm            from 0; infinity only measures
    norm_type           above 0; infinity for the largest absolute value
    error_if_nonfinite  raise if the norm is nan or infinite

    The norm is a float, added up in float64 after scaling by a power of two, so no square overflows or vanishes. There
    is no factor that would mend a norm of nan or infinity: the gradients are left as they are then, and the caller sees
    it in what is returned.

    Raises TypeError for parameters that are no tensors, ValueError for numbers out of range, RuntimeError if asked to.
    No gradient has changed then. Source: Pascanu, Mikolov & Bengio 2013.

    >>> import tinygrad_ce as tg
    >>> p = tg.Tensor([3.0, 4.0], requires_grad=True)
    >>> (0.5 * p * p).sum().backward()
    >>> tg.optim.clip_grad_norm([p], max_norm=1.0)
    5.0
    >>> p.grad
    Tensor([0.6, 0.8], shape=(2,), dtype=float32)
    """
    found = _with_gradients("clip_grad_norm", parameters)
    _check("clip_grad_norm", "max_norm", max_norm)
    _check("clip_grad_norm", "norm_type", norm_type)
    if norm_type == 0:
        raise ValueError("clip_grad_norm: norm_type=0; expected a number above 0, such as 2.0 or math.inf")
    total = _norm([p._grad._data for p in found if p._grad is not None], float(norm_type))
    if not math.isfinite(total):
        if error_if_nonfinite:
            raise RuntimeError(
                f"clip_grad_norm: the norm of the gradients is {total}, so they cannot be scaled to max_norm={max_norm}"
            )
        return total
    factor = max_norm / (total + 1e-6)
    if factor < 1:
        for p in found:
            # a factor that the dtype would hold with fewer digits is applied in float64
            exact = factor == 0 or factor >= np.finfo(p.dtype).tiny
            _write(p, np.multiply, np.array(factor, p.dtype if exact else np.float64))
    return total


def clip_grad_value(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clip every element of every gradient to between -clip_value and clip_value; nan stays nan.

    parameters  a tensor or several; those whose gradient is None are passed over
    clip_value  from 0

    Raises TypeError for parameters that are no tensors, ValueError for a number out of range. No gradient has changed
    then.

    >>> import tinygrad_ce as tg
    >>> p = tg.Tensor([3.0, -4.0], requires_grad=True)
    >>> (0.5 * p * p).sum().backward()
    >>> tg.optim.clip_grad_value([p], 3.5)
    >>> p.grad
    Tensor([ 3. , -3.5], shape=(2,), dtype=float32)
    """
    found = _with_gradients("clip_grad_value", parameters)
    _check("clip_grad_value", "clip_value", clip_value)
    for p in found:
        with np.errstate(over="ignore"):  # above the largest number there is no bound
            bound = np.array(float(clip_value)).astype(p.dtype)
        _write(p, np.clip, -bound, bound)


def _with_gradients(kind: str, parameters: Any) -> list[Tensor]:
    """The parameters that have a gradient, each once."""
    if hasattr(parameters, "parameters") or not isinstance(parameters, (Tensor, Iterable)):
        raise TypeError(f"{kind}: parameters is {type(parameters).__name__}; write model.parameters(), or [tensor]")
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for i, p in enumerate(given):
        if not isinstance(p, Tensor):
            raise TypeError(f"{kind}: parameters[{i}] is {p!r}; expected a Tensor, as in model.parameters()")
    return list({id(p): p for p in given if p._grad is not None}.values())


def _check(kind: str, name: str, value: Any) -> None:
    if not isinstance(value, Real) or isinstance(value, bool) or not float(value) >= 0:
        raise ValueError(f"{kind}: {name}={value!r}; expected a number from 0")


def _write(p: Tensor, change: Any, *numbers: Any) -> None:
    """Change a gradient in place, or, where its memory is not its own, put a changed copy in its place."""
    assert p._grad is not None
    array = p._grad._data
    if p._grad.requires_grad or not array.flags.writeable:
        p.grad = array  # which copies
        array = p._grad._data
    change(array, *numbers, out=array, casting="same_kind")


def _norm(arrays: list[NDArray[Any]], p: float) -> float:
    """(sum |x|**p) ** (1 / p) in float64 over all elements."""
    largest = 0.0
    for x in arrays:
        if x.size:
            top = float(max(np.max(x), -np.min(x)))
            if math.isnan(top):
                return top
            largest = max(largest, top)
    if p == math.inf or largest == 0 or math.isinf(largest):
        return largest
    exponent = max(math.frexp(largest)[1], -1000)
    scale = math.ldexp(1.0, -exponent)  # afterwards all are below 1
    total = 0.0
    for x in arrays:
        flat = x.reshape(-1)
        for i in range(0, flat.size, _BLOCK):
            y = np.multiply(flat[i : i + _BLOCK], scale, dtype=np.float64)
            total += float(y @ y) if p == 2 else float(np.sum(np.abs(y) ** p))
    try:
        return math.ldexp(math.sqrt(total) if p == 2 else total ** (1 / p), exponent)
    except OverflowError:
        return math.inf
