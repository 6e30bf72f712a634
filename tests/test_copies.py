"""Copies and pickles of Tensors, of their subclasses and of parameters."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tinygrad_ce as tg
from tinygrad_ce import Tensor


def _leaf():
    x = Tensor([[1.0, 2.0]], requires_grad=True, name="weight", dtype=np.float64)
    (x * x).sum().backward()
    return x


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), copy.copy])
def test_copies_of_leaves_keep_everything(copied):
    x = _leaf()
    y = copied(x)
    assert y is not x
    assert (y.requires_grad, y.name, y.dtype, y.is_leaf) == (True, "weight", np.float64, True)
    assert_array_equal(y.data, x.data)
    assert_array_equal(y.grad.data, [[2, 4]])
    if copied is not copy.copy:
        assert not np.shares_memory(x.data, y.data)
        assert not np.shares_memory(x.grad.data, y.grad.data)
    (y * 3).sum().backward()
    assert_array_equal(y.grad.data, [[5, 7]])
    plain = copied(Tensor(np.arange(3)))
    assert (plain.requires_grad, plain.name, plain.grad) == (False, None, None)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol(protocol):
    assert_array_equal(pickle.loads(pickle.dumps(_leaf(), protocol)).data, [[1, 2]])


def test_a_copied_list_keeps_what_is_shared_in_it():
    x = _leaf()
    a, b = copy.deepcopy([x, x])
    assert a is b


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps])
def test_interior_tensors_are_not_copied(copied):
    with pytest.raises(RuntimeError, match="detach"):
        copied(_leaf() * 2)


def test_a_shallow_copy_of_an_interior_tensor_is_the_same_place_in_the_graph():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = copy.copy(x * 2)
    y.sum().backward()
    assert_array_equal(x.grad.data, [2, 2])


class Scaled(Tensor):
    """A subclass, as a user writes it."""

    def doubled(self):
        return self * 2


def test_subclasses():
    x = Scaled([1.0, 2.0], requires_grad=True, name="s")
    x.note = "kept"
    assert repr(x).startswith("Scaled(")
    z = x.doubled().sum()
    assert type(z) is Tensor
    z.backward()
    assert type(x.grad) is Tensor
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(y) is Scaled
        assert y.note == "kept"
        assert_array_equal(y.grad.data, [2, 2])


def test_parameters_are_tensors():
    w = tg.nn.Parameter([1.0, 2.0], name="w")
    assert w.requires_grad
    (w * 3).sum().backward()
    for y in (copy.deepcopy(w), pickle.loads(pickle.dumps(w))):
        assert type(y) is tg.nn.Parameter
        assert (y.name, y.requires_grad) == ("w", True)
        assert_array_equal(y.data, [1, 2])
        assert_array_equal(y.grad.data, [3, 3])
    assert type(w * 3) is type(w.detach()) is type(w.grad) is Tensor
    assert repr(w).startswith("Parameter(")
