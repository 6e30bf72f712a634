"""Recording on and off: `no_grad` and `enable_grad`, their nesting, decorators and threads."""

import asyncio
import inspect
import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_ce as tg
from tests.helpers import leaf
from tinygrad_ce import Tensor

rng = np.random.default_rng(20)


def recorded():
    return (Tensor([1.0], requires_grad=True) * 2).requires_grad


def test_modes_nest_and_come_back():
    with tg.no_grad():
        assert not recorded()
        with tg.enable_grad():
            assert recorded()
            with tg.no_grad():
                assert not recorded()
            assert recorded()
        assert not recorded()
    assert recorded()


def test_modes_come_back_after_an_error():
    with pytest.raises(KeyError), tg.no_grad():
        raise KeyError
    assert recorded()

    @tg.no_grad()
    def fail():
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert recorded()


def test_one_mode_object_can_be_entered_again():
    off = tg.no_grad()
    with off:
        with off, tg.enable_grad():
            assert recorded()
        assert not recorded()
    assert recorded()


def test_as_decorators():
    @tg.no_grad()
    def depth(n):
        """How deep."""
        return [recorded()] + (depth(n - 1) if n else [])

    assert depth(3) == [False] * 4
    assert recorded()
    assert (depth.__name__, depth.__doc__) == ("depth", "How deep.")
    assert tg.no_grad()(tg.enable_grad()(recorded))()
    assert list(inspect.signature(depth).parameters) == ["n"]


def test_generators_and_coroutines_are_refused():
    def generator():
        yield

    async def coroutine():
        await asyncio.sleep(0)

    async def stream():
        yield

    for function in (generator, coroutine, stream):
        for mode in (tg.no_grad, tg.enable_grad):
            with pytest.raises(TypeError, match=rf"{mode.__name__}.*{function.__name__}.*with {mode.__name__}\(\)"):
                mode()(function)


def test_forgotten_parentheses_are_explained():
    with pytest.raises(TypeError, match=r"@no_grad\(\)"):
        tg.no_grad(recorded)


def test_modes_belong_to_their_thread():
    shared = tg.no_grad()
    inside, leave = threading.Event(), threading.Event()
    seen = {}

    def other():
        seen["start"] = recorded()
        with shared:
            inside.set()
            leave.wait(10)
            seen["inside"] = recorded()
        seen["end"] = recorded()

    with tg.no_grad():
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
        with shared:  # entered last here, left last there
            leave.set()
            thread.join()
            assert not recorded()
        assert not recorded()
    assert recorded()
    assert seen == {"start": True, "inside": False, "end": True}


def test_leaves_made_without_recording_still_are_leaves():
    with tg.no_grad():
        x = Tensor([2.0], requires_grad=True)
        assert x.requires_grad
        assert not (x * x).requires_grad
    (x * x).backward()
    assert_array_equal(x.grad.data, [4])


def test_requires_grad_is_settable_on_leaves_only():
    x = Tensor([1.0])
    assert x.requires_grad_() is x
    y = x * 2
    assert y.requires_grad_() is y
    with pytest.raises(RuntimeError, match="detach"):
        y.requires_grad_(False)
    x.requires_grad = False
    assert not (x * 2).requires_grad


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
