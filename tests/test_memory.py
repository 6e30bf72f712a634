"""Memory: gradients that share none, and activations, graphs and gradients that are freed when they can be."""

import weakref
from contextlib import suppress

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_ce as tg
from tests.helpers import leaf
from tinygrad_ce import Tensor

rng = np.random.default_rng(20)


# Who owns a gradient


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    "join",
    [
        lambda a, b: a + b,
        lambda a, b: a.reshape(4) + b.reshape(4),
        lambda a, b: a.T + b.T,
        lambda a, b: a[:] + b[::-1],
        lambda a, b: (a + b) * (a + b),
        lambda a, b: np.maximum(a, a) + b,
        lambda a, b: a.sum() + b.sum(),
    ],
)
def test_gradients_share_no_memory(join, create_graph):
    a, b = leaf(np.ones((2, 2))), leaf(np.full((2, 2), 3.0))
    z = join(a, b)
    g = np.full(z.shape, 2.0)
    z.backward(g, create_graph=create_graph)
    before = b.grad.data.copy()
    assert a.grad is not b.grad
    a.grad.data[:] = 0
    assert_array_equal(b.grad.data, before)
    assert_array_equal(g, np.full(z.shape, 2.0))
    assert not np.shares_memory(b.grad.data, g)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("kind", [np.asarray, Tensor])
def test_the_users_gradient_is_neither_kept_nor_changed(kind, create_graph):
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    for z in (x, x + 0.0, x.reshape(4), x.T):
        g = np.random.default_rng(1).normal(size=z.shape)
        given_, original = kind(g), g.copy()
        x.grad = None
        for _ in range(3):
            z.backward(given_, retain_graph=True, create_graph=create_graph)
        x.grad.data[:] = 0
        assert_array_equal(g, original)
        (found,) = tg.grad(z, [x], given_, create_graph=create_graph, retain_graph=True)
        assert not np.shares_memory(found.data, g)


def test_an_assigned_gradient_is_not_changed_by_a_backward_pass():
    x = leaf([1.0, 2.0])
    mine = np.array([10.0, 20.0])
    x.grad = mine
    (x * 2).sum().backward()
    assert_array_equal(x.grad.data, [12, 22])
    assert_array_equal(mine, [10, 20])


def test_a_stride_0_or_read_only_gradient_becomes_writable():
    x = leaf(np.ones((3, 2)))
    x.sum().backward()
    x.grad[0] = 5.0
    assert_array_equal(x.grad.data, [[5, 5], [1, 1], [1, 1]])
    frozen = np.ones((3, 2))
    frozen.flags.writeable = False
    x.grad = None
    x.backward(frozen)
    x.grad[:] = 0
    x.backward(np.broadcast_to(2.0, (3, 2)))
    assert_array_equal(x.grad.data, np.full((3, 2), 2.0))


def test_accumulation_is_in_place_in_the_leafs_dtype():
    x = Tensor(np.ones((2, 3), np.float16), requires_grad=True)
    w = Tensor(np.ones(3, np.float64), requires_grad=True)
    b = Tensor(np.ones((), np.float32), requires_grad=True)
    (x * w + b).backward(np.full((2, 3), 2.0))
    buffers = [t.grad.data for t in (x, w, b)]
    (x * w + b).backward(np.full((2, 3), 1.0))
    for t, buffer, value in zip((x, w, b), buffers, (3, 6, 18), strict=True):
        assert t.grad.data is buffer
        assert (t.grad.dtype, t.grad.shape, t.grad.requires_grad) == (t.dtype, t.shape, False)
        assert_array_equal(t.grad.data, np.full(t.shape, value))


def test_summing_back_float16_does_not_stall():
    b = Tensor(np.float16(0), requires_grad=True)
    (Tensor(np.zeros(4096, np.float16)) + b).backward(np.ones(4096))
    assert b.grad.item() == 4096


@pytest.mark.parametrize("create_graph", [False, True])
def test_zero_d_stays_an_array(create_graph):
    x = leaf(2.0)
    for z in (x, x + x, x * x, x[...], -x):
        (g,) = tg.grad([z, z], [x], create_graph=create_graph, retain_graph=True)
        assert type(g) is Tensor
        assert type(g.data) is np.ndarray
        x.grad = None
        z.backward(retain_graph=True, create_graph=create_graph)
        z.backward(retain_graph=True, create_graph=create_graph)
        assert type(x.grad.data) is np.ndarray
        assert x.grad.shape == ()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("create_graph", [False, True])
def test_scalars_do_not_promote_gradients(dtype, create_graph):
    x = Tensor(np.array([1.0, 4.0], dtype), requires_grad=True)
    z = 2.0 * x - x / 3 + x**2 + 2**x + 1 / x
    assert z.dtype == dtype
    z.sum().backward(create_graph=create_graph)
    assert x.grad.dtype == dtype
    exact = 2 - 1 / 3 + 2 * x.data.astype(float) + np.log(2) * 2.0**x.data - 1 / x.data.astype(float) ** 2
    assert_allclose(x.grad.data, exact, rtol=4 * np.finfo(dtype).eps)


# Freeing


@pytest.mark.usefixtures("no_collector")
def test_reference_counts_alone_free_everything():
    w, x = leaf(rng.normal(size=(3, 4))), Tensor(rng.normal(size=(5, 3)))
    hidden = np.exp(x @ w)
    loss = tg.functional.softmax_cross_entropy(hidden, np.zeros(5, int))
    hidden.retain_grad()
    nodes = [weakref.ref(hidden.node), weakref.ref(loss.node)]
    arrays = [weakref.ref(hidden.data), weakref.ref(loss.data), weakref.ref(x.data)]
    tensor = weakref.ref(hidden)
    loss.backward()
    grad = weakref.ref(hidden.grad.data)
    del loss, hidden, x
    assert [r() for r in (*nodes, *arrays, tensor, grad)] == [None] * 7


@pytest.mark.usefixtures("no_collector")
def test_hooks_make_no_cycle():
    x = leaf([1.0, 2.0])
    y = x * 2
    handles = [t.register_hook(lambda _g: None) for t in (x, y)]
    y.sum().backward()
    refs = [weakref.ref(x), weakref.ref(y)]
    del x, y
    assert [r() for r in refs] == [None] * 2
    for handle in handles:
        handle.remove()


@pytest.mark.usefixtures("no_collector")
def test_never_walked_graphs_are_freed_too():
    x = leaf([1.0, 2.0])
    loss = np.exp(x * x).sum()
    array = weakref.ref(loss.node.inputs[0].output)
    assert array() is not None
    del loss
    assert array() is None


@pytest.mark.usefixtures("no_collector")
def test_backward_releases_activations_and_constants_while_the_loss_lives():
    w = leaf(rng.normal(size=(3, 4)))
    x = Tensor(rng.normal(size=(5, 3)))
    mask = rng.normal(size=(5, 4))
    index = np.array([0, 0, 1])
    hidden = np.exp(x @ w) * mask
    loss = hidden[index].sum()
    refs = [weakref.ref(a) for a in (x.data, mask, hidden.data, hidden.node.inputs[0].output, index)]
    del x, mask, hidden, index
    assert refs[0]() is not None
    loss.backward()
    assert [r() for r in refs] == [None] * 5
    assert loss.node.op.name == "sum"
    assert loss.node.inputs[0].op.name == "getitem"


@pytest.mark.usefixtures("no_collector")
def test_what_no_rule_needs_is_not_kept():
    x = leaf([1.0, 2.0])
    constant = np.array([3.0, 4.0])
    y = np.exp(x)
    z = (y + constant) - 1.0
    refs = [weakref.ref(constant), weakref.ref(z.data)]
    loss = z.sum()
    del constant, y, z
    assert [r() for r in refs] == [None] * 2
    loss.backward()
    assert_array_equal(x.grad.data, np.exp(x.data))


@pytest.mark.usefixtures("no_collector")
def test_nothing_is_kept_without_recording():
    x = leaf([1.0, 2.0])
    with tg.no_grad():
        y = np.exp(x)
        array = weakref.ref(y.data)
        z = y * y
    del y
    assert array() is None
    assert z.node is None


@pytest.mark.usefixtures("no_collector")
def test_an_error_leaves_no_cycle():
    x = leaf([1.0, 2.0])
    y = x * 2
    array = weakref.ref(y.data)
    with suppress(ValueError):
        y + np.ones(3)
    with suppress(RuntimeError):
        y.backward()
    del y
    assert array() is None
