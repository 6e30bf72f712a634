"""The backward pass and what is asked of it: graphs of every shape, second passes, `.grad`, `tg.grad`."""

import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_ce as tg
from tests.helpers import leaf
from tinygrad_ce import Tensor

rng = np.random.default_rng(20)


# The shape of the graph


def test_diamond():
    a = leaf(3.0)
    b = a + a
    c = b + b
    c.backward()
    assert a.grad.item() == 4


def test_fan_out_and_mixed_depth():
    x = leaf([1.0, -2.0, 3.0])
    (x * x + x).backward(np.array([1.0, 10.0, 100.0]))
    assert_array_equal(x.grad.data, [3, -30, 700])

    y = leaf(0.5)
    z, expected = y, 1.0
    for k in range(2, 12):
        z = z * y  # short and long ways to the same leaf
        expected = k * 0.5 ** (k - 1)
    z.backward()
    assert_allclose(y.grad.item(), expected, rtol=1e-15)


def test_micrograds_expression():
    # the worked example of micrograd's README, with its printed numbers
    a, b = leaf(-4.0), leaf(2.0)
    c = a + b
    d = a * b + b**3
    c = c + c + 1
    c = c + 1 + c + (-a)
    d = d + d * 2 + (b + a).relu()
    d = d + 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g = g + 10.0 / f
    g.backward()
    assert (f"{g.item():.4f}", f"{a.grad.item():.4f}", f"{b.grad.item():.4f}") == ("24.7041", "138.8338", "645.5773")


@pytest.mark.usefixtures("no_collector")
def test_a_hundred_thousand_ops_deep():
    x = leaf([1.0, 2.0])
    y = x
    for _ in range(100_000):
        y = y + x
    assert_array_equal(y.data, [100_001, 200_002])
    first = weakref.ref(y.node.inputs[0])
    y.backward(np.array([1.0, 0.5]), retain_graph=True)
    assert_array_equal(x.grad.data, [100_001, 50_000.5])
    (dx,) = tg.grad(y, [x], np.ones(2), create_graph=True)
    assert_array_equal(dx.data, [100_001, 100_001])
    del dx, y
    assert first() is None


def test_thirty_doublings():
    x = leaf(1.0)
    y = x
    for _ in range(30):
        y = y + y
    assert y.item() == 2.0**30
    y.backward(create_graph=True)
    assert x.grad.item() == 2.0**30


def test_a_wide_graph():
    x = leaf([1.0])
    z = np.concatenate([x * k for k in range(3000)])
    z.backward(np.arange(3000.0))
    assert x.grad.item() == sum(k * k for k in range(3000))


@given(st.data())
@settings(max_examples=150)
def test_every_pair_that_broadcasts(data):
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=3, max_dims=4))
    (first, second), whole = shapes.input_shapes, shapes.result_shape
    x, y, g = (np.random.default_rng(3).normal(size=s) + 2 for s in (first, second, whole))
    a, b = leaf(x), leaf(y)
    (a * b).backward(g)
    for found, factor, shape in ((a.grad, y, first), (b.grad, x, second)):
        full = np.broadcast_to(g * factor, whole)
        # the transpose of broadcasting, written as a matrix: entry i of the input went to these entries of the output
        origin = np.broadcast_to(np.arange(int(np.prod(shape))).reshape(shape), whole).ravel()
        expected = np.bincount(origin, full.ravel(), minlength=int(np.prod(shape))).reshape(shape)
        assert_allclose(found.data, expected, rtol=1e-13)
        assert found.shape == shape


# A second pass


def test_a_second_backward_says_what_to_do():
    a = leaf(2.0)
    c = 3 * a * a
    c.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True, or run the forward again"):
        c.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True, or run the forward again"):
        tg.grad(c, a)
    assert a.grad.item() == 12


def test_retain_graph_accumulates():
    a = leaf(2.0)
    c = 3 * a * a
    c.backward(retain_graph=True)
    c.backward()
    assert a.grad.item() == 24


def test_two_losses_on_the_same_logits():
    w, x, y = leaf(rng.normal(size=(3, 4))), rng.normal(size=(5, 3)), np.array([0, 1, 2, 3, 0])
    bias = leaf(np.zeros(4))

    def losses():
        logits = x @ w
        return tg.functional.softmax_cross_entropy(logits, y), (logits * logits + bias).sum()

    first, second = losses()
    first.backward(retain_graph=True)
    only_first = w.grad.data.copy()
    second.backward()
    both = w.grad.data.copy()

    w.grad = bias.grad = None
    first, second = losses()
    first.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        second.backward()
    assert_array_equal(w.grad.data, only_first)  # not half of the second
    assert bias.grad is None

    first, second = losses()
    w.grad = None
    (first + second).backward()
    assert_allclose(w.grad.data, both, rtol=1e-14)


# What backward() is given


def test_a_gradient_may_be_anything_of_the_right_shape():
    for g in ([1, 2], (1.0, 2.0), np.array([1.0, 2.0], np.float16), Tensor([1.0, 2.0]), np.array([1, 2])):
        x = leaf([1.0, 1.0])
        (x * 3).backward(g)
        assert_array_equal(x.grad.data, [3, 6])
        assert x.grad.dtype == np.float64
    x = leaf(1.0)
    for g in (2, 2.0, np.float32(2)):
        x.grad = None
        (x * 3).backward(g)
        assert x.grad.item() == 6


@pytest.mark.parametrize("g", [1.0, [1.0], [[1.0, 2.0]], [1.0, 2.0, 3.0], np.ones((2, 1))])
def test_a_gradient_of_the_wrong_shape(g):
    x = leaf([1.0, 1.0])
    for act in (lambda: (x * 3).backward(g), lambda: tg.grad(x * 3, x, g)):
        with pytest.raises(ValueError, match=r"\(2,\)"):
            act()
    assert x.grad is None


@pytest.mark.parametrize("g", ["ab", [1j, 2j], [None, None]])
def test_a_gradient_that_is_no_number(g):
    with pytest.raises(TypeError):
        (leaf([1.0, 1.0]) * 3).backward(g)


@pytest.mark.parametrize("shape", [(2,), (0,), (1, 2)])
def test_a_non_scalar_without_a_gradient(shape):
    with pytest.raises(RuntimeError, match=r"\.sum\(\).*\.mean\(\).*gradient"):
        (leaf(np.ones(shape)) * 2).backward()


def test_one_element_of_any_shape_needs_no_gradient():
    x = leaf(np.ones((1, 1)))
    (x * 2).backward()
    assert_array_equal(x.grad.data, [[2]])


def test_nothing_to_differentiate():
    x = leaf([1.0])
    with tg.no_grad():
        made = x * 2
    for t in (Tensor([1.0]), made, x.detach() * 2, x > 0, x.astype(np.int64)):
        with pytest.raises(RuntimeError, match=r"requires_grad=True.*no_grad"):
            t.backward()


def test_leaves_take_their_own_gradient():
    x = leaf([1.0, 2.0])
    x.backward(np.array([3.0, 4.0]))
    x.backward(np.array([3.0, 4.0]))
    assert_array_equal(x.grad.data, [6, 8])


# .grad


def test_grad_of_an_interior_tensor_explains_itself():
    x = leaf(2.0)
    y = x * x
    z = y * 3
    with pytest.warns(UserWarning, match="retain_grad"):
        assert y.grad is None
    y.retain_grad()
    assert y.grad is None
    z.backward(retain_graph=True)
    assert y.grad.item() == 3
    z.backward()
    assert y.grad.item() == 6
    assert x.grad.item() == 24


def test_retain_grad_on_other_tensors():
    x = leaf(2.0)
    assert x.retain_grad() is x
    with pytest.raises(RuntimeError, match="require"):
        Tensor(1.0).retain_grad()


def test_grad_can_be_assigned():
    x = Tensor([1.0, 2.0], requires_grad=True)
    (x * 2).sum().backward()
    x.grad[0] = 7.0
    x.grad += 1
    x.grad *= 0.5
    assert_array_equal(x.grad.data, [4, 1.5])
    x.grad = [1, 2]
    assert (x.grad.dtype, type(x.grad)) == (np.float32, Tensor)
    for bad in ([1.0], 0.0, Tensor(np.ones(2)), Tensor([[1.0, 2.0]])):
        with pytest.raises(ValueError, match=r"\(2,\).*float32"):
            x.grad = bad
    assert_array_equal(x.grad.data, [1, 2])
    x.grad = None
    assert x.grad is None


# tg.grad


def test_grad_gives_back_the_structure_it_was_given():
    a, b = leaf(2.0), leaf(3.0)
    z = a * a * b
    assert tg.grad(z, a, retain_graph=True).item() == 12
    for inputs in ([a, b], (a, b), iter([a, b])):
        found = tg.grad(z, inputs, retain_graph=True)
        assert type(found) is tuple
        assert [g.item() for g in found] == [12, 4]
    assert tg.grad(z, [], retain_graph=True) == ()
    assert a.grad is b.grad is None


def test_grad_of_interior_inputs_that_depend_on_each_other():
    x = leaf(2.0)
    y = x * x
    z = y * x
    for create_graph in (True, False):
        gz, gy, gx, again = tg.grad(z, [z, y, x, y], create_graph=create_graph)
        assert (gz.item(), gy.item(), gx.item(), again.item()) == (1, 2, 12, 2)
        again.data[...] = 0
        assert gy.item() == 2


def test_grad_of_several_outputs():
    x = leaf([1.0, 2.0])
    y, z = x * 2, x * x
    (g,) = tg.grad([y, z, y], [x], [[1.0, 1.0], np.array([1.0, 10.0]), [1.0, 0.0]], retain_graph=True)
    assert_array_equal(g.data, [6, 42])
    (g,) = tg.grad([y.sum(), z.sum()], [x], [None, 2.0])
    assert_array_equal(g.data, [6, 10])
    with pytest.raises(ValueError, match=r"2 outputs.*1 grad_outputs"):
        tg.grad([x * 1, x * 2], x, [np.ones(2)])


def test_unused_inputs():
    a, b = leaf(2.0), leaf(3.0)
    z = a * a
    with pytest.raises(RuntimeError, match=r"inputs\[1\].*allow_unused=True"):
        tg.grad(z, [a, b], retain_graph=True)
    ga, gb = tg.grad(z, [a, b], allow_unused=True)
    assert (ga.item(), gb) == (4, None)
    for bad in (Tensor(1.0), 1.0, "a"):
        with pytest.raises(RuntimeError, match=r"inputs\[0\].*does not require"):
            tg.grad(a * a, [bad])


@pytest.mark.parametrize("bad", [None, 3.0, "x", [None]])
def test_grad_of_what_is_no_tensor(bad):
    x = leaf(2.0)
    for act in (lambda: tg.grad(bad, x), lambda: tg.grad(x * 2, bad)):
        with pytest.raises((TypeError, RuntimeError), match=r"^grad: .*(Tensor|require)"):
            act()


def test_grad_touches_no_grad():
    x = leaf(2.0)
    y = (x * x).retain_grad()
    z = y * 3
    for create_graph in (True, False):
        assert tg.grad(z, x, retain_graph=True, create_graph=create_graph).item() == 12
    assert x.grad is None
    assert y.grad is None


def test_grad_only_walks_where_it_must():
    a, b = leaf(2.0), leaf(3.0)
    seen = []
    side = np.exp(b)
    side.register_hook(lambda _g: seen.append("gradient"))
    z = a * a + side
    z2 = z * 1.0
    assert tg.grad(z2, a, create_graph=True).item() == 4
    assert b.grad is None
