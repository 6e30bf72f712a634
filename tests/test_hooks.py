"""Hooks: what they see and replace, when they run, and what a failing one leaves alone."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.helpers import leaf
from tinygrad_ce import Tensor


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
