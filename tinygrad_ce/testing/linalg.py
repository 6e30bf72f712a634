"""Database entries of ops/linalg.py and ops/random.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import product
from typing import Any

import numpy as np

from tinygrad_ce.testing import exact
from tinygrad_ce.testing.exact import ONE, ZERO
from tinygrad_ce.testing.opinfo import NUMBERS, Array, ErrorCase, OpInfo, Sample, Samples, uniform

Shape = tuple[int, ...]


def _of(*cases: tuple[Shape, ...]) -> Samples:
    """One sample for each tuple of the inputs' shapes."""
    return lambda generator: [Sample(tuple(uniform(generator, shape) for shape in shapes)) for shapes in cases]


def _absolute(reference: Callable[..., Array]) -> Callable[..., Array]:
    """The same on magnitudes: what the rounding errors of a sum of products are relative to."""
    return lambda *inputs, **attributes: reference(*map(np.abs, inputs), **attributes)


def _matmul(x: Array, y: Array) -> Array:
    a, b = exact.decimals(x), exact.decimals(y)
    a = a.reshape(1, -1) if x.ndim == 1 else a
    b = b.reshape(-1, 1) if y.ndim == 1 else b
    batch = exact.broadcast_shape(a.shape[:-2], b.shape[:-2])

    def entry(array: Array, place: Shape, i: int, j: int) -> Any:
        own = place[len(place) - array.ndim + 2 :]
        return array[(*(0 if n == 1 else k for k, n in zip(own, array.shape[:-2], strict=True)), i, j)]

    def element(*index: int) -> Decimal:
        *place, i, j = index
        return exact.total(entry(a, tuple(place), i, k) * entry(b, tuple(place), k, j) for k in range(a.shape[-1]))

    z = exact.build((*batch, a.shape[-2], b.shape[-1]), element)
    rows, columns = (z.shape[-2],) * (x.ndim > 1), (z.shape[-1],) * (y.ndim > 1)
    return z.reshape((*batch, *rows, *columns))


def _outer(x: Array, y: Array) -> Array:
    a, b = [*exact.decimals(x).flat], [*exact.decimals(y).flat]
    return exact.build((len(a), len(b)), lambda i, j: a[i] * b[j])


def _linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    a, w = exact.decimals(x), exact.decimals(weight)
    b = exact.full(weight.shape[:1]) if bias is None else exact.decimals(bias)

    def element(*index: int) -> Decimal:
        *row, j = index
        return exact.total([b[j], *(a[(*row, k)] * w[j, k] for k in range(weight.shape[1]))])

    return exact.build((*x.shape[:-1], weight.shape[0]), element)


def _einsum(*operands: Array, subscripts: str) -> Array:
    """The definition: for each assignment of numbers to the labels a product, added to the output's place."""
    left, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow:
        letters = left.replace(".", "").replace(",", "")
        output = "..." + "".join(sorted({c for c in letters if letters.count(c) == 1}))
    extra = [x.ndim - len(term.replace("...", "")) for x, term in zip(operands, terms, strict=True)]
    digits = "0123456789"[: max(extra)]  # labels of the axes under "...", from the right
    terms = [term.replace("...", digits[len(digits) - n :]) for term, n in zip(terms, extra, strict=True)]
    output = output.replace("...", digits)
    sizes: dict[str, int] = {}
    for x, term in zip(operands, terms, strict=True):
        for label, n in zip(term, x.shape, strict=True):
            sizes[label] = n if sizes.get(label, 1) == 1 else sizes[label]
    arrays = [exact.decimals(x) for x in operands]
    summed = [label for label in sizes if label not in output]

    def element(*index: int) -> Decimal:
        place = dict(zip(output, index, strict=True))
        products = []
        for rest in product(*(range(sizes[label]) for label in summed)):
            at = {**place, **dict(zip(summed, rest, strict=True))}
            term_product = ONE
            for array, term in zip(arrays, terms, strict=True):
                entry = tuple(0 if n == 1 else at[label] for label, n in zip(term, array.shape, strict=True))
                term_product *= array[entry]
            products.append(term_product)
        return exact.total(products)

    return exact.build([sizes[label] for label in output], element)


_EINSUMS: tuple[tuple[str, tuple[Shape, ...]], ...] = (
    ("ij,jk->ik", ((2, 3), (3, 2))), ("ij,jk", ((2, 3), (3, 2))), ("i,i->", ((3,), (3,))), ("i,j->ij", ((2,), (3,))),
    ("ij->ji", ((2, 3),)), ("ij->", ((2, 3),)), ("ij->j", ((2, 3),)), ("ii->i", ((3, 3),)), ("ii->", ((3, 3),)),
    ("ii", ((2, 2),)), ("ij,ij->ij", ((2, 3), (2, 3))), ("ij,ij->ij", ((2, 1), (1, 3))),
    ("bij,bjk->bik", ((2, 1, 3), (2, 3, 2))), ("...ij,...jk->...ik", ((2, 1, 2), (3, 2, 2, 1))),
    ("...i,i->...", ((2, 3), (3,))), ("...", ((2, 2),)), ("ij,jk,kl->il", ((2, 2), (2, 3), (3, 2))),
    ("i,ij,j->", ((2,), (2, 3), (3,))), ("iij->j", ((2, 2, 3),)), ("ij,ii->j", ((2, 3), (2, 2))),
    ("ij,kl->il", ((2, 2), (2, 2))), ("ij,j->i", ((0, 2), (2,))), ("ij,j->i", ((2, 0), (0,))), (",i->i", ((), (3,))),
    ("ba , b -> a", ((2, 3), (2,))),
)  # fmt: skip


def _einsum_samples(generator: np.random.Generator) -> list[Sample]:
    return [
        Sample(tuple(uniform(generator, shape) for shape in shapes), {"subscripts": subscripts})
        for subscripts, shapes in _EINSUMS
    ]


def _subscripts_first(function: Callable[..., Any], inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    return function(attributes["subscripts"], *inputs)


_SEED = 7


def _keep(shape: Shape, p: float) -> Array:
    """Which entries dropout keeps: those whose number, drawn from a generator of that seed, is not below p."""
    return np.asarray(np.random.default_rng(_SEED).random(shape) >= p)


def _dropout_samples(generator: np.random.Generator) -> list[Sample]:
    cases = (((), 0.5), ((5,), 0.5), ((3, 4), 0.25), ((3, 4), 0.9), ((2, 1, 3), 0.1), ((4,), 1.0), ((0,), 0.5))
    return [Sample((uniform(generator, shape),), {"keep": _keep(shape, p), "p": p}) for shape, p in cases]


def _dropout(x: Array, *, keep: Array, p: float) -> Array:
    array = exact.decimals(x)
    return exact.build(x.shape, lambda *i: array[i] / (1 - Decimal(p)) if keep[i] else ZERO)


def _draw(function: Callable[..., Any], inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    return function(*inputs, attributes["p"], generator=np.random.default_rng(_SEED))


_X = np.ones((2, 3))

ENTRIES = (
    OpInfo("matmul", _matmul,
           _of(((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((1, 1), (1, 1)), ((2, 2, 3), (2, 3, 2)),
               ((2, 1, 2, 3), (3, 3, 1)), ((2, 3), (2, 3, 2)), ((2, 2, 3), (3, 2)), ((2, 2, 3), (3,)), ((3,),
               (2, 3, 2)),
               ((2, 0), (0, 3)), ((0, 3), (3, 2))),
           errors=(ErrorCase((_X, _X), ValueError, r"^matmul: x has shape \(2, 3\) and y \(2, 3\); expected"),
                   ErrorCase((_X, 2.0), ValueError, r"^matmul: x has shape \(2, 3\) and y \(\)")),
           size=_absolute(_matmul), dtypes=NUMBERS),
    OpInfo("outer", _outer, _of(((2,), (3,)), ((1,), (1,)), ((2, 2), (3,)), ((), (2,)), ((0,), (2,))),
           errors=(ErrorCase(([1j], _X), TypeError, "found dtype complex128"),), ulps=0.5, size=_absolute(_outer),
           dtypes=NUMBERS),
    OpInfo("linear", _linear,
           _of(((2, 3), (4, 3), (4,)), ((2, 3), (4, 3)), ((3,), (2, 3), (2,)), ((2, 2, 3), (1, 3), (1,)),
               ((2, 1, 3), (2, 3)), ((1, 1), (1, 1), (1,)), ((0, 3), (2, 3), (2,)), ((2, 0), (3, 0), (3,))),
           errors=(ErrorCase((_X, _X.T), ValueError, r"^linear: x has shape \(2, 3\) and weight \(3, 2\); expected"),
                   ErrorCase((_X, _X, np.ones(3)), ValueError, r"^linear: bias has shape \(3,\), expected")),
           size=_absolute(_linear)),
    OpInfo("einsum", _einsum, _einsum_samples,
           errors=(ErrorCase(("ij,jk->ik", _X, _X), ValueError, r"^einsum of .*label 'j' has the lengths 3 and 2"),
                   ErrorCase(("ij->k", _X), ValueError, "label 'k' is in the output but in no operand"),
                   ErrorCase(("ij,jk", _X), ValueError, "describes 2 operands, found 1"),
                   ErrorCase(("i->i", _X), ValueError, r"'i' does not fit an operand of shape \(2, 3\)"),
                   ErrorCase(("i-j", _X), ValueError, "not made of letters"),
                   ErrorCase((_X, [0, 1]), TypeError, "^einsum: subscripts: expected a string")),
           size=_absolute(_einsum), dtypes=NUMBERS, call=_subscripts_first, method=False),
    OpInfo("dropout", _dropout, _dropout_samples,
           errors=(ErrorCase((_X, 1.5), ValueError, "^dropout: p=1.5; expected a probability",
                             {"generator": np.random.default_rng(0)}),
                   ErrorCase((_X, 0.5), TypeError, "^dropout: generator: expected a numpy.random.Generator, found 0",
                             {"generator": 0})),
           ulps=1.5, call=_draw),
)  # fmt: skip
