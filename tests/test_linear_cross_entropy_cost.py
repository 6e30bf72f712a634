"""The last layer and the loss in one op: what it costs, what it keeps, and its module."""

import json
import threading
import tracemalloc
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_ce as tg
from tests.chunked_loss import (
    CLASS_WEIGHT,
    CLASSES,
    FEATURES,
    ROWS,
    fused,
    gradients,
    of_whole_logits,
    problem,
    upstream,
)
from tinygrad_ce import nn
from tinygrad_ce.ops import linear_cross_entropy as ops


def counted(monkeypatch, name="cross_entropy"):
    """The rows of logits that a kernel is given."""
    rows, kernel = [], getattr(ops.kernels, name)

    def count(z, *args, **kwargs):
        rows.append(len(z))
        return kernel(z, *args, **kwargs)

    monkeypatch.setattr(ops.kernels, name, count)
    return rows


@pytest.mark.parametrize(("reduction", "passes"), [("mean", 1), ("sum", 1), ("none", 2)])
@pytest.mark.parametrize("chunk", [1, 3, 100], ids="{} rows".format)
def test_each_logit_is_computed_once_unless_losses_are_apart(reduction, passes, chunk, rng, monkeypatch):
    monkeypatch.setattr(ops, "CHUNK", chunk * CLASSES)
    leaves, targets = problem(rng)
    rows = counted(monkeypatch)
    gradients(fused, leaves, targets, reduction=reduction)
    assert sum(rows) == passes * ROWS


def test_ignored_rows_are_not_computed(rng, monkeypatch):
    leaves, targets = problem(rng)
    targets[[1, 4]] = -100
    rows = counted(monkeypatch)
    gradients(fused, leaves, targets)
    assert sum(rows) == ROWS - 2


@pytest.mark.parametrize("wanted", [p for p in product((False, True), repeat=4) if any(p)], ids=str)
def test_only_the_gradients_that_are_needed_are_computed(wanted, rng):
    leaves, _ = problem(rng, soft=True)
    arrays = [tg.Tensor(a.data, requires_grad=need) for a, need in zip(leaves, wanted, strict=True)]
    x, weight, bias, q = arrays
    value = fused(x, weight, q, bias)
    kept = value.node.output
    assert tuple(one is not None for one in kept) == (*wanted[:3], False)
    found = tg.grad(value, [a for a in arrays if a.requires_grad])
    _, truth = gradients(of_whole_logits, leaves, leaves[3], np.float64(1))
    for a, b in zip(found, [t for t, need in zip(truth, wanted, strict=True) if need], strict=True):
        assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-14)
    assert fused(x, weight, q, bias, reduction="none").node.output == [None] * 4


def test_an_input_said_to_be_frozen_has_its_gradient_all_the_same(rng):
    leaves, targets = problem(rng)
    value = ops.LinearSoftmaxCrossEntropy(*leaves, targets=targets, frozen=("x", "weight"))
    _, truth = gradients(of_whole_logits, leaves, targets, np.float64(1))
    for a, b in zip(tg.grad(value, leaves), truth, strict=True):
        assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-14)


def test_a_graph_that_is_kept_gives_the_same_again(rng):
    leaves, targets = problem(rng)
    value = fused(leaves[0], leaves[1], targets, leaves[2])
    value.backward(retain_graph=True)
    first = [a.grad.data.copy() for a in leaves]
    leaves[1].grad.data[:] = 0  # the leaf's own, not what the graph keeps
    value.backward()
    assert_array_equal(leaves[0].grad.data, 2 * first[0])
    assert_array_equal(leaves[1].grad.data, first[1])


@pytest.mark.parametrize(("reduction", "smoothing"), [("mean", 0.0), ("none", 0.0), ("mean", 0.1)])
def test_memory_is_that_of_a_chunk(reduction, smoothing, rng, monkeypatch):
    """Of 154 MB of logits 16 MB at a time, and what it takes to work on 1 MB of them.

    In a thread of its own, for which the kernels have kept nothing, and without helpers: whether one of those comes in
    time to need memory for itself is chance.
    """
    monkeypatch.setenv("TINYGRAD_CE_NUM_THREADS", "1")
    rows, features, classes = 600, 4, 64_000
    x, weight = (leaf_of(rng, n, features) for n in (rows, classes))
    y = rng.integers(0, classes, rows)

    def step():
        value = fused(x, weight, y, reduction=reduction, label_smoothing=smoothing)
        value.backward(upstream(value))

    first = fused(tg.Tensor(x.data[:1], requires_grad=True), weight.data[:9], [0], label_smoothing=smoothing)
    first.backward()  # the kernels, which are compiled ones maybe, are loaded by now
    thread = threading.Thread(target=step)
    tracemalloc.start()
    thread.start()
    thread.join()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert x.grad.shape == x.shape
    assert 4 * ops.CHUNK <= peak <= 4 * ops.CHUNK + (13e6 if smoothing else 7e6)


def leaf_of(rng, *shape):
    return tg.Tensor(rng.normal(size=shape).astype(np.float32), requires_grad=True)


# The module


def test_the_module_is_its_function(rng):
    module = nn.LinearCrossEntropyLoss(
        FEATURES, CLASSES, out_features=(2,), bias=True, class_weight=CLASS_WEIGHT, label_smoothing=0.1,
        reduction="none", generator=rng,
    )  # fmt: skip
    x, y = rng.normal(size=(3, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, (3, 2))
    weight, bias = module.linear.weight, module.linear.bias
    assert {name: p.shape for name, p in module.state_dict().items()} == {
        "linear.weight": (10, 4),
        "linear.bias": (10,),
    }
    expected = fused(x, weight.data.reshape(5, 2, 4), y, bias.data.reshape(5, 2), class_weight=CLASS_WEIGHT,
                     label_smoothing=0.1, reduction="none")  # fmt: skip
    found = module(x, y)
    assert_array_equal(found.data, expected.data)
    found.sum().backward()
    assert weight.grad.shape == weight.shape
    assert bias.grad.shape == bias.shape


def test_the_module_learns(rng):
    x = rng.normal(size=(200, 6)).astype(np.float32)
    y = (x @ rng.normal(size=(6, 9))).argmax(1)
    loss = nn.LinearCrossEntropyLoss(6, 9, generator=rng)
    optimizer = tg.optim.Adam(loss.parameters(), lr=0.05)
    first = loss(x, y).item()
    for _ in range(100):
        optimizer.zero_grad()
        loss(x, y).backward()
        optimizer.step()
    assert loss(x, y).item() < first / 4
    assert (loss.linear(x).data.argmax(1) == y).mean() > 0.9


def test_the_module_says_what_it_is():
    module = nn.LinearCrossEntropyLoss(4, 5, ignore_index=0, dtype="float64")
    assert repr(module).startswith("LinearCrossEntropyLoss(4, 5, ignore_index=0")
    assert "(linear): Linear(4, 5, bias=False)" in repr(module)
    assert module.linear.weight.dtype == np.float64
    assert json.dumps(module.options())
    for wrong in ({"in_features": 0}, {"num_classes": -1}, {"out_features": (2, 0)}):
        with pytest.raises(ValueError, match=rf"^LinearCrossEntropyLoss: {next(iter(wrong))}=.*expected a positive"):
            nn.LinearCrossEntropyLoss(**{"in_features": 4, "num_classes": 5, **wrong})
