"""The backward pass and its classic traps: sharing, aliasing, depth, freeing, hooks, second passes, higher orders."""

import gc
import itertools
import threading
import weakref
from contextlib import suppress

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_ce as tg
from tinygrad_ce import Tensor

rng = np.random.default_rng(20)


def leaf(data, **kwargs):
    return Tensor(np.asarray(data, float), requires_grad=True, **kwargs)


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


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
@settings(deadline=None, max_examples=150)
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


# Memory: who owns a gradient


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


# Hooks


def test_hooks_see_and_replace():
    x = leaf([1.0, 2.0])
    y = x * 2
    seen = []
    x.register_hook(lambda g: seen.append(("leaf", g.data.copy())))
    double = y.register_hook(lambda g: g * 2)
    y.register_hook(lambda g: seen.append(("interior", g.data.copy())))
    x.register_hook(lambda g: [g.data[0], 100.0])
    (y * 3).sum().backward(retain_graph=True)
    assert [kind for kind, _ in seen] == ["interior", "leaf"]
    assert_array_equal(seen[0][1], [6, 6])
    assert_array_equal(seen[1][1], [12, 12])
    assert_array_equal(x.grad.data, [12, 100])
    double.remove()
    double.remove()
    x.grad = None
    (y * 3).sum().backward()
    assert_array_equal(x.grad.data, [6, 100])


def test_a_hook_runs_once_when_all_of_the_gradient_is_there():
    x = leaf(2.0)
    y = x * x
    calls = []
    for t in (x, y):
        t.register_hook(lambda g: calls.append(g.item()))
    (y * y + y + x).backward()
    assert calls == [9, 37]


def test_what_a_hook_saw_does_not_change_later():
    x = leaf([1.0, 2.0])
    seen = []
    x.register_hook(seen.append)
    for _ in range(3):
        (x * x).sum().backward()
    for g in seen:
        assert_array_equal(g.data, [2, 4])


def test_what_a_hook_returns_is_not_changed_later():
    x = leaf([1.0, 2.0])
    mine = Tensor(np.array([1.0, 1.0]))
    x.register_hook(lambda _g: mine)
    for _ in range(3):
        (x * x).sum().backward()
    assert_array_equal(x.grad.data, [3, 3])
    assert_array_equal(mine.data, [1, 1])


def test_a_hook_that_writes_into_its_gradient_changes_no_other():
    a, b = leaf([1.0, 2.0]), leaf([1.0, 2.0])

    def wipe(g):
        g.data[:] = 0

    a.register_hook(wipe)
    g = np.array([1.0, 1.0])
    try:
        (a + b).backward(g)
    except ValueError:  # a read-only gradient is an answer too
        b.grad = np.ones(2)
    assert_array_equal(b.grad.data, [1, 1])
    assert_array_equal(g, [1, 1])


def test_hooks_and_retain_grad_keep_the_final_gradient():
    x = leaf(2.0)
    y = (x * x).retain_grad()
    y.register_hook(lambda g: g * 10)
    (y * 1.0).backward()
    assert y.grad.item() == 10
    assert x.grad.item() == 40


def test_hooks_may_be_removed_while_they_run():
    x = leaf(2.0)
    calls = []
    handles = []

    def once(g):
        calls.append(g.item())
        handles[0].remove()

    handles.append(x.register_hook(once))
    for _ in range(2):
        (x * 3).backward()
    assert calls == [3]


@pytest.mark.parametrize("failing", [lambda _g: 1 / 0, lambda _g: Tensor([1.0, 2.0, 3.0]), lambda _g: "text"])
@pytest.mark.parametrize("where", ["first leaf", "second leaf", "interior"])
def test_a_failing_hook_leaves_every_grad_unchanged(failing, where):
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    late = (a * 1.0).retain_grad()
    inner = (late * b).retain_grad()
    z = (inner * inner).sum()
    {"first leaf": a, "second leaf": b, "interior": late}[where].register_hook(failing)
    with pytest.raises((ZeroDivisionError, ValueError, TypeError)):
        z.backward()
    assert (a.grad, b.grad, late.grad, inner.grad) == (None,) * 4


def test_a_hook_of_the_wrong_shape_says_so():
    x = leaf([1.0, 2.0])
    x.register_hook(lambda g: g.sum())
    with pytest.raises(ValueError, match=r"hook.*\(2,\).*\(\)"):
        (x * 2).sum().backward()


@pytest.mark.parametrize("hook", [None, 3, "print"])
def test_a_hook_is_a_function(hook):
    with pytest.raises(TypeError, match="register_hook"):
        leaf(1.0).register_hook(hook)


def test_no_hook_where_no_gradient_arrives():
    with pytest.raises(RuntimeError, match="require"):
        Tensor(1.0).register_hook(print)


# Threads


def test_threads_build_and_walk_their_own_graphs():
    w = rng.normal(size=(20, 20))
    results = {}

    def work(k):
        x = leaf(w)
        for _ in range(20):
            with tg.no_grad() if k % 2 else tg.enable_grad():
                z = (np.tanh(x @ x) * (k + 1)).sum()
            if z.requires_grad:
                z.backward()
        results[k] = x.grad

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [results[k] is None for k in range(8)] == [False, True] * 4
    for k in (2, 4, 6):
        assert_allclose(results[k].data, results[0].data * (k + 1), rtol=1e-12)


# Higher orders

X = np.array([0.3, 1.2, 2.5])
SERIES = [
    ("x**4", lambda x: x**4, lambda x: x**4),
    ("1/x", lambda x: 1 / x, lambda x: 1 / x),
    ("2**x", lambda x: 2.0**x, lambda x: mpmath.mpf(2) ** x),
    ("x**x", lambda x: x**x, lambda x: x**x),
    ("exp(sin x)", lambda x: np.exp(np.sin(x)), lambda x: mpmath.exp(mpmath.sin(x))),
    ("log(1+x)/sqrt x", lambda x: np.log1p(x) / np.sqrt(x), lambda x: mpmath.log1p(x) / mpmath.sqrt(x)),
    ("tanh", np.tanh, mpmath.tanh),
    ("sigmoid", lambda x: x.sigmoid(), lambda x: 1 / (1 + mpmath.exp(-x))),
    ("gelu", lambda x: x.gelu(), lambda x: x * mpmath.ncdf(x)),
    ("softplus", lambda x: x.softplus(), lambda x: mpmath.log1p(mpmath.exp(x))),
    ("x*cos(x*x)", lambda x: x * np.cos(x * x), lambda x: x * mpmath.cos(x * x)),
]


@pytest.mark.parametrize(("function", "exact"), [s[1:] for s in SERIES], ids=[s[0] for s in SERIES])
def test_derivatives_to_the_fourth_order(function, exact):
    x = leaf(X)
    d = function(x)
    for order in range(1, 5):
        d = tg.grad(d, x, np.ones(3), create_graph=True)
        with mpmath.workdps(60):
            expected = [float(mpmath.diff(exact, mpmath.mpf(v), order)) for v in X]
        assert_allclose(d.data, expected, rtol=1e-12)


def test_backward_with_create_graph_gives_a_gradient_with_a_graph():
    x = leaf(3.0)
    (x**3).backward(create_graph=True)
    assert x.grad.requires_grad
    assert x.grad.item() == 27
    (penalty,) = tg.grad(x.grad**2, [x])
    assert penalty.item() == 2 * 27 * 18
    x.grad = None
    with tg.no_grad():
        pass
    y = x**3
    y.backward(retain_graph=True)
    assert not x.grad.requires_grad


def test_create_graph_records_inside_no_grad():
    x = leaf(3.0)
    y = x**3
    with tg.no_grad():
        assert tg.grad(y, x, create_graph=True).requires_grad
        y.backward(create_graph=True)
        y.backward(create_graph=True)
    assert tg.grad(x.grad, x).item() == 36


def test_create_graph_through_a_given_gradient():
    x, v = leaf([1.0, 2.0]), leaf([3.0, 5.0])
    (g,) = tg.grad(x * x, [x], v, create_graph=True)
    g.sum().backward()
    assert_array_equal(v.grad.data, [2, 4])
    assert_array_equal(x.grad.data, [6, 10])


def test_a_hook_is_recorded_under_create_graph():
    x = leaf(2.0)
    x.register_hook(lambda g: g * x)
    g = tg.grad(x * x, x, create_graph=True)
    assert g.item() == 8
    x2 = leaf(2.0)
    y = x2 * x2
    y.register_hook(lambda g: g * x2)
    g = tg.grad(y * 1.0, x2, create_graph=True)
    assert g.item() == 8
    assert tg.grad(g, x2).item() == 8


ROWS = {
    "even": [0.1, -0.2, 0.3],
    "confident and right": [30.0, 0.0, -2.0],
    "confident and wrong": [0.0, 30.0, -2.0],
    "hopeless": [0.0, 60.0, 2.0],
    "underflow": [900.0, 0.0, 1.0],
    "overflow": [0.0, 900.0, 1.0],
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("fused", [True, False])
def test_hessian_of_the_cross_entropy(row, fused):
    logits = leaf([ROWS[row], [0.5, 0.25, -1.0]])
    y = np.array([0, 2])
    if fused:
        loss = tg.functional.softmax_cross_entropy(logits, y)
    else:
        loss = tg.functional.nll_loss(tg.functional.log_softmax(logits), y)
    gradient = tg.grad(loss, logits, create_graph=True)
    with mpmath.workdps(900):
        p = [[mpmath.exp(v) / mpmath.fsum(map(mpmath.exp, r)) for v in r] for r in logits.data.tolist()]
        for i, j in itertools.product(range(2), range(3)):
            pick = np.zeros((2, 3))
            pick[i, j] = 1
            found = tg.grad(gradient, logits, pick, retain_graph=True)
            expected = np.zeros((2, 3))
            expected[i] = [float(((p[i][j] if k == j else 0) - p[i][j] * p[i][k]) / 2) for k in range(3)]
            # relative to each entry: the small ones are what a confident row is about
            assert_allclose(found.data, expected, rtol=1e-12, atol=np.finfo(float).tiny)


LOSSES = {
    "mean": lambda z: z,
    "none": lambda z: np.sum(z * np.array([2.0, 5.0])),
    "sum": np.square,
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_fused_loss_to_the_fourth_order(name):
    x = np.array([[0.3, -0.7, 1.1], [2.0, 0.1, -0.4]])
    v = np.array([[1.0, -0.5, 0.25], [0.3, 0.9, -1.2]])

    def exact(t):
        rows = [
            [mpmath.mpf(a) + t * mpmath.mpf(b) for a, b in zip(*row, strict=True)] for row in zip(x, v, strict=True)
        ]
        l0, l1 = (mpmath.log(mpmath.fsum(map(mpmath.exp, r))) - r[k] for r, k in zip(rows, (2, 0), strict=True))
        return {"mean": (l0 + l1) / 2, "none": 2 * l0 + 5 * l1, "sum": (l0 + l1) ** 2}[name]

    z = leaf(x)
    d = LOSSES[name](tg.functional.softmax_cross_entropy(z, np.array([2, 0]), reduction=name))
    with mpmath.workdps(60):
        expected = [float(mpmath.diff(exact, 0, order)) for order in range(5)]
    assert_allclose(d.item(), expected[0], rtol=1e-15)
    for order in range(1, 5):
        d = np.sum(tg.grad(d, z, create_graph=True) * v)
        assert_allclose(d.item(), expected[order], rtol=1e-12)


# Random programs against Cauchy's formula

SHAPES = [(3, 2), (1, 2), (3, 1), (2,), (1,), ()]
UNARY = {
    "sin": np.sin,
    "exp": lambda v: np.exp(0.5 * v),
    "square": lambda v: v * v,
    "neg": lambda v: -v,
    "sum": np.sum,
    "sum0": lambda v: np.sum(v, axis=0) if v.ndim else v,
    "sum-1": lambda v: np.sum(v, axis=-1, keepdims=True) if v.ndim else v,
    "flat": lambda v: v.reshape(-1),
    "T": lambda v: v.T,
    "flip": lambda v: v[::-1] if v.ndim else v,
    "rows": lambda v: v[np.array([0, -1, 0])] if v.ndim else v[None],
    "new": lambda v: v[..., None],
    "scale": lambda v: 0.75 * v - 0.5,
}
JOIN = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


@st.composite
def programs(draw):
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
    values = [np.zeros(s) for s in shapes]
    steps = []
    for _ in range(draw(st.integers(1, 10))):
        i = draw(st.integers(0, len(values) - 1))
        if draw(st.booleans()):
            name, j = draw(st.sampled_from(sorted(UNARY))), None
            value = UNARY[name](values[i])
        else:
            fits = [j for j, v in enumerate(values) if _fit(v.shape, values[i].shape)]
            name, j = draw(st.sampled_from(sorted(JOIN))), draw(st.sampled_from(fits))
            value = JOIN[name](values[i], values[j])
        value = np.asarray(value)
        if value.ndim > 4 or value.size > 200:
            continue
        values.append(value)
        steps.append((name, i, j))
    return shapes, steps, draw(st.integers(0, 2**32 - 1))


def _fit(a, b):
    return all(1 in (m, n) or m == n for m, n in zip(a[::-1], b[::-1], strict=False))


def run(steps, leaves):
    values = list(leaves)
    for name, i, j in steps:
        values.append(UNARY[name](values[i]) if j is None else JOIN[name](values[i], values[j]))
    return sum(np.sum(np.cos(v)) for v in values[-3:])


@given(programs())
@settings(deadline=None, max_examples=300)
def test_random_programs_to_the_third_order(program):
    """f(x + t v) is analytic in t: its Taylor coefficients are Fourier coefficients on a circle around 0."""
    shapes, steps, seed = program
    random = np.random.default_rng(seed)
    x = [random.uniform(-1, 1, s) for s in shapes]
    v = [random.uniform(-1, 1, s) for s in shapes]
    points, radius = 32, 0.1
    circle = radius * np.exp(2j * np.pi * np.arange(points) / points)
    with np.errstate(all="ignore"):
        around = np.array([run(steps, [a + t * b for a, b in zip(x, v, strict=True)]) for t in circle])
    assume(np.isfinite(around).all() and np.abs(around).max() < 1e3)
    taylor = np.fft.fft(around) / points / radius ** np.arange(points)
    accuracy = 1e-13 * np.abs(around).max() / radius ** np.arange(points)
    assume(abs(taylor[points // 2]) * radius ** (points // 2) < 1e-14)  # the circle is inside the radius of convergence

    leaves = [leaf(a) for a in x]
    z = run(steps, leaves)
    run(steps, leaves).backward()
    directional = sum(np.sum(t.grad.data * b) for t, b in zip(leaves, v, strict=True) if t.grad is not None)
    assert_allclose(directional, taylor[1].real, rtol=1e-11, atol=accuracy[1])
    for order in (1, 2, 3):
        if not z.requires_grad:
            break
        gradients = tg.grad(z, leaves, create_graph=True, allow_unused=True)
        z = sum(np.sum(g * b) for g, b in zip(gradients, v, strict=True) if g is not None)
        expected = taylor[order].real * [1, 1, 2, 6][order]
        found = z.item() if isinstance(z, Tensor) else z
        assert_allclose(found, expected, rtol=1e-10, atol=6 * accuracy[order])
