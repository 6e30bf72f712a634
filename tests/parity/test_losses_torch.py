"""The losses over classes against PyTorch, where PyTorch is right: every combination of options on random batches."""

from itertools import product
from typing import Any

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import functional as F

torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install -e '.[parity]'")
nnf = torch.nn.functional

SHAPES = {"(N, C)": ((7, 5), 1), "(C,)": ((5,), 0), "(N, C, H, W)": ((2, 5, 3, 2), 1)}
OPTIONS = list(product(SHAPES, ("mean", "sum", "none"), (False, True), (0.0, 0.25), ("float32", "float64")))


def close(ours: np.ndarray, theirs: Any) -> None:
    expected = theirs.detach().numpy()
    assert ours.shape == expected.shape
    assert ours.dtype == expected.dtype
    size = np.max(np.abs(expected), initial=0.0)
    assert np.all(np.abs(ours - expected) <= 16 * np.finfo(ours.dtype).eps * size)


@pytest.mark.parametrize("targets", ["indices", "ignored", "ignored class", "probabilities"])
@pytest.mark.parametrize(("shape", "reduction", "weighted", "smoothing", "dtype"), OPTIONS)
def test_cross_entropy(
    shape: str, reduction: str, weighted: bool, smoothing: float, dtype: str, targets: str, rng: np.random.Generator
) -> None:
    size, axis = SHAPES[shape]
    z = (rng.normal(size=size) * 3).astype(dtype)
    rows = tuple(np.delete(size, axis).tolist())
    y = np.asarray(rng.integers(0, 5, rows))
    ignore_index = -100
    if targets == "ignored":
        y = np.where(rng.random(rows) < 0.4, -100, y) if rows else y
    elif targets == "ignored class":
        ignore_index = (int(y.flat[0]) + (0 if rows else 1)) % 5  # of a single row, another one's
    elif targets == "probabilities":
        q = rng.dirichlet(np.ones(5), rows).astype(dtype)
        y = np.moveaxis(q, -1, axis)
    weight = rng.uniform(0.5, 2, 5).astype(dtype) if weighted else None
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": ignore_index}
    ours, theirs = tg.Tensor(z, requires_grad=True), torch.tensor(z, requires_grad=True)
    soft = targets == "probabilities"
    target = tg.Tensor(y, requires_grad=True) if soft else y
    their_target = torch.tensor(y, requires_grad=soft)
    loss = F.softmax_cross_entropy(ours, target, weight=weight, axis=axis, **options)
    expected = nnf.cross_entropy(
        theirs, their_target, weight=None if weight is None else torch.tensor(weight), **options
    )
    close(loss.data, expected)
    g = np.asarray(rng.uniform(0.5, 1.5, loss.shape), dtype)
    loss.backward(g)
    expected.backward(torch.tensor(g))
    close(ours.grad.data, theirs.grad)
    if soft:
        close(target.grad.data, their_target.grad)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("weighted", "ignored", "reduction"), list(product((0, 1), (0, 1), ("mean", "sum", "none"))))
def test_nll_loss(weighted: int, ignored: int, reduction: str, dtype: str, rng: np.random.Generator) -> None:
    z = -rng.exponential(size=(6, 4, 2)).astype(dtype)
    y = rng.integers(0, 4, (6, 2))
    if ignored:
        y[::2, 0] = 255
    weight = rng.uniform(0.5, 2, 4).astype(dtype) if weighted else None
    ours, theirs = tg.Tensor(z, requires_grad=True), torch.tensor(z, requires_grad=True)
    loss = F.nll_loss(ours, y, weight=weight, ignore_index=255, reduction=reduction, axis=1)
    their_weight = None if weight is None else torch.tensor(weight)
    expected = nnf.nll_loss(theirs, torch.tensor(y), weight=their_weight, ignore_index=255, reduction=reduction)
    close(loss.data, expected)
    g = np.asarray(rng.uniform(0.5, 1.5, loss.shape), dtype)
    loss.backward(g)
    expected.backward(torch.tensor(g))
    close(ours.grad.data, theirs.grad)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("weight", "pos_weight"), [(None, (3,)), ((4, 1), None), ((4, 3), (3,)), ((3,), ())])
def test_sigmoid_binary_cross_entropy(
    weight: tuple[int, ...] | None, pos_weight: tuple[int, ...] | None, reduction: str, dtype: str,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    z, y = (rng.normal(size=(4, 3)) * 3).astype(dtype), rng.random((4, 3)).astype(dtype)
    factors = {
        name: np.asarray(rng.uniform(0.5, 2, shape), dtype)
        for name, shape in (("weight", weight), ("pos_weight", pos_weight))
        if shape is not None
    }
    ours, theirs = ([make(a, requires_grad=True) for a in (z, y)] for make in (tg.Tensor, torch.tensor))
    loss = F.sigmoid_binary_cross_entropy(*ours, reduction=reduction, **factors)
    expected = nnf.binary_cross_entropy_with_logits(
        *theirs, reduction=reduction, **{name: torch.tensor(w) for name, w in factors.items()}
    )
    close(loss.data, expected)
    g = np.asarray(rng.uniform(0.5, 1.5, loss.shape), dtype)
    loss.backward(g)
    expected.backward(torch.tensor(g))
    for mine, other in zip(ours, theirs, strict=True):
        close(mine.grad.data, other.grad)
