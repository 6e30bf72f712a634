"""Products of vectors and matrices."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.registry import FusedOp, Op, register

Array = NDArray[Any]


def _matmul_dx(g: Any, _z: Any, _x: Any, y: Any) -> Any:
    if len(y.shape) == 1:
        return np.expand_dims(g, -1) * y
    if len(_x.shape) == 1:
        return (y @ np.expand_dims(g, -1))[..., 0]
    return g @ y.swapaxes(-1, -2)


def _matmul_dy(g: Any, _z: Any, x: Any, _y: Any) -> Any:
    if len(x.shape) == 1:
        return x * g if len(_y.shape) == 1 else np.expand_dims(x, -1) * np.expand_dims(g, -2)
    if len(_y.shape) > 2:
        return x.swapaxes(-1, -2) @ g
    # y has no batch axes: one product over all rows of x, not one for each batch and a sum of them
    rows = math.prod(x.shape[:-1])
    return x.reshape((rows, x.shape[-1])).T @ g.reshape((rows, *_y.shape[1:]))


@register
class Matmul(Op):
    """Matrix product; 1-D inputs are vectors, and axes before the last two are batches, which broadcast."""

    formula = "z = x @ y"
    vjp_formula = "dx = g @ y^T, dy = x^T @ g"
    latex = r"z = x y"
    numpy = (np.matmul,)
    vjps = (_matmul_dx, _matmul_dy)
    broadcasts = True

    @staticmethod
    def forward(x: Array, y: Array) -> Any:
        try:
            return np.matmul(x, y)
        except ValueError:
            raise ValueError(
                f"matmul: x has shape {np.shape(x)} and y {np.shape(y)}; expected x (..., n, k) or (k,) and "
                "y (..., k, m) or (k,), with axes before the last two that broadcast"
            ) from None


@register
class Outer(Op):
    """Every entry of x times every entry of y; both are flattened."""

    formula = "z[i, j] = x[i] * y[j]"
    vjp_formula = "dx = g @ y, dy = x @ g"
    latex = r"z = x y^\top"
    numpy = (np.outer,)
    vjps = (
        lambda g, _z, _x, y: (g @ y.reshape((-1,))).reshape(_x.shape),
        lambda g, _z, x, _y: (x.reshape((-1,)) @ g).reshape(_y.shape),
    )

    @staticmethod
    def forward(x: Array, y: Array) -> Array:
        return np.outer(x, y)


# The method dot is BLAS behind half as many checks as matmul; of more than two axes it would be slow.


def _linear_dx(g: Array, _z: Any, _x: Any, weight: Array, _bias: Any = None) -> Any:
    return g.dot(weight) if g.ndim == 2 else np.matmul(g, weight)


def _linear_dweight(g: Array, _z: Any, x: Array, _weight: Any, _bias: Any = None) -> Any:
    if x.ndim != 2:
        rows = math.prod(x.shape[:-1])
        g, x = g.reshape((rows, g.shape[-1])), x.reshape((rows, x.shape[-1]))
    return g.T.dot(x)


def _linear_dbias(g: Array, _z: Any, _x: Any, _weight: Any, _bias: Any) -> Any:
    if g.ndim == 2 and g.dtype.char != "e":
        return np.add.reduce(g, 0)
    return np.add.reduce(g, tuple(range(g.ndim - 1)), dtype=np.result_type(g, np.float32))


@register
class Linear(FusedOp):
    """Affine map of the last axis: a product with the transposed weight, and a bias added in place."""

    formula = "z = x @ weight^T + bias"
    vjp_formula = "dx = g @ weight, dweight = g^T @ x, dbias = sum of the rows of g"
    latex = r"z = x W^\top + b"
    vjps = (_linear_dx, _linear_dweight, _linear_dbias)

    @staticmethod
    def forward(x: Array, weight: Array, bias: Array | None = None) -> Array:
        if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
            expected = f"(..., {weight.shape[1]})" if weight.ndim == 2 else "(..., in) and weight (out, in)"
            raise ValueError(f"linear: x has shape {x.shape} and weight {weight.shape}; expected x {expected}")
        z: Array = x.dot(weight.T) if x.ndim == 2 else np.matmul(x, weight.T)
        if bias is None:
            return z
        if bias.ndim != 1 or len(bias) != len(weight):
            raise ValueError(f"linear: bias has shape {bias.shape}, expected (out,) = {weight.shape[:1]}")
        if bias.dtype is not z.dtype:
            return z + bias
        z += bias
        return z

    @staticmethod
    def decomposition(x: Any, weight: Any, bias: Any = None) -> Any:
        z = np.matmul(x, weight.T)
        return z if bias is None else np.add(z, bias)


_TERM = re.compile(r"[A-Za-z]*(\.\.\.[A-Za-z]*)?")


def _spell_out(subscripts: str, shapes: Sequence[tuple[int, ...]]) -> tuple[list[str], str, dict[str, int]]:
    """The labels of each operand and of the output, "..." replaced by unused letters; the length of each label."""
    text = "".join(subscripts.split())
    left, arrow, output = text.partition("->")
    terms = left.split(",")
    for term in (*terms, output):
        if not _TERM.fullmatch(term):
            raise ValueError(f"{subscripts!r}: {term!r} is not made of letters and at most one '...'")
    if len(terms) != len(shapes):
        raise ValueError(f"{subscripts!r} describes {len(terms)} operands, found {len(shapes)}")
    batch_ndims = []
    for term, shape in zip(terms, shapes, strict=True):
        batch_ndims.append(len(shape) - len(term.replace("...", "")))
        if batch_ndims[-1] < 0 or (batch_ndims[-1] and "..." not in term):
            raise ValueError(f"{subscripts!r}: {term!r} does not fit an operand of shape {shape}")
    batch = "".join(_unused(text))[: max(batch_ndims)]
    if not arrow:
        letters = left.replace("...", "").replace(",", "")
        output = "..." + "".join(sorted(label for label in set(letters) if letters.count(label) == 1))
    elif batch and "..." not in output:
        raise ValueError(f"{subscripts!r}: the operands have axes under '...', so the output needs '...' too")
    terms = [term.replace("...", batch[len(batch) - n :]) for term, n in zip(terms, batch_ndims, strict=True)]
    output = output.replace("...", batch)
    sizes = _sizes(subscripts, terms, shapes)
    for label in output:
        if output.count(label) > 1 or label not in sizes:
            found = "twice in the output" if label in sizes else "in the output but in no operand"
            raise ValueError(f"{subscripts!r}: label {label!r} is {found}")
    return terms, output, sizes


def _sizes(subscripts: str, terms: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        own: dict[str, int] = {}
        for label, n in zip(term, shape, strict=True):
            expected = own.setdefault(label, n)
            if n == expected and sizes.get(label, 1) != 1:
                expected = n if n == 1 else sizes[label]  # lengths of 1 broadcast
            if n != expected:
                raise ValueError(f"{subscripts!r}: label {label!r} has the lengths {expected} and {n}")
            if sizes.get(label, 1) == 1:
                sizes[label] = n
    return sizes


def _unused(labels: str) -> list[str]:
    return [letter for letter in string.ascii_letters if letter not in labels]


def _einsum_vjp(g: Any, _z: Any, *operands: Any, needs: Sequence[bool], subscripts: str) -> list[Any]:
    terms, output, sizes = _spell_out(subscripts, [x.shape for x in operands])
    gradients: list[Any] = []
    for k, (x, term) in enumerate(zip(operands, terms, strict=True)):
        if not needs[k]:
            gradients.append(None)
            continue
        inputs = [output, *terms[:k], *terms[k + 1 :]]
        arrays = [g, *operands[:k], *operands[k + 1 :]]
        unused = _unused("".join(sizes))
        own = ""
        for label, n in zip(term, x.shape, strict=True):
            if label in own:  # a diagonal: the second axis gets a label of its own, tied to the first by an identity
                inputs.append(label + unused[0])
                arrays.append(np.eye(n, dtype=x.dtype))
                label = unused.pop(0)
            own += label
        # an axis that was summed on its own, or that was broadcast, is not in this product: it is put back after it
        known = set("".join(inputs))
        kept = [label in known and sizes.get(label, n) == n for label, n in zip(own, x.shape, strict=True)]
        target = "".join(label for label, keep in zip(own, kept, strict=True) if keep)
        dx = Einsum(*arrays, subscripts=f"{','.join(inputs)}->{target}")
        lengths = iter(dx.shape)
        dx = dx.reshape(tuple(next(lengths) if keep else 1 for keep in kept))
        gradients.append(np.broadcast_to(dx, x.shape))
    return gradients


@register
class Einsum(Op):
    """Einstein summation: products of the operands' entries, summed over the labels that the output does not name."""

    formula = "z = einsum(subscripts, x_1, x_2, ...)"
    vjp_formula = "dx_k = einsum over g and the other operands"
    latex = r"z_o = \sum \prod_k (x_k)_{i_k}"
    numpy = (np.einsum,)
    vjp = _einsum_vjp

    @classmethod
    def _keeps(cls, needs: tuple[int, ...], count: int) -> tuple[bool, tuple[bool, ...]]:
        # the gradient of one operand takes the numbers of all others, not its own
        return False, tuple(any(k != i for k in needs) for i in range(count))

    @staticmethod
    def forward(*operands: Array, subscripts: str) -> Array:
        terms, output, _ = _spell_out(subscripts, [x.shape for x in operands])
        explicit = f"{','.join(terms)}->{output}"
        dtype = np.result_type(*operands)
        if dtype == np.float16:
            operands = tuple(x.astype(np.float32) for x in operands)
        return np.asarray(np.einsum(explicit, *operands, optimize=len(operands) > 1), dtype)
