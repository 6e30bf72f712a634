"""What people from other libraries expect, and would not notice if it failed."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tinygrad_ce as tg
from tests.helpers import leaf
from tinygrad_ce import functional as F


def test_a_parameter_updated_in_torchs_way_is_refused_where_nothing_would_happen():
    w = leaf([1.0, 2.0])
    (w * w).sum().backward()
    with tg.no_grad(), pytest.raises(RuntimeError, match=r"x\.data \+= y\.data"):
        w -= 0.1 * w.grad
    w.data -= 0.1 * w.grad
    assert_array_equal(w.data, [1 - 0.1 * 2, 2 - 0.1 * 4])


def test_an_assigned_gradient_is_copied():
    a, b = leaf([1.0]), leaf([2.0])
    (a * b).sum().backward()
    b.grad = a.grad
    (a * b).sum().backward()
    assert (a.grad.item(), b.grad.item()) == (4, 3)


def test_an_infinite_gradient_stops_at_a_dead_relu():
    x = leaf([-1.0, 4.0])
    with np.errstate(divide="ignore"):
        F.sqrt(F.relu(x)).sum().backward()
    assert_array_equal(x.grad.data, [0, 0.25])


def test_mixed_second_derivative_of_a_power_at_exponent_0():
    x, y = leaf(2.0), leaf(0.0)
    dx = tg.grad(x**y, x, create_graph=True)
    dy = tg.grad(x**y, y, create_graph=True)
    assert tg.grad(dx, y).item() == tg.grad(dy, x).item() == 0.5


def test_python_numbers_alone_have_the_default_dtype():
    for z in (F.exp(1.0), F.relu(-2.0), F.where([True], 1.0, 0.0), F.sum(1.0), F.maximum(1.0, 2.0)):
        assert z.dtype == np.float32


def test_methods_have_the_help_of_their_functions():
    x = tg.Tensor([1.0])
    assert x.sum.__doc__ == F.sum.__doc__
    assert x.exp.__doc__.startswith("Exponential")
    assert x.exp.__name__ == "exp"


def test_numpys_keywords_that_are_not_ours_are_named():
    for call in (lambda x: np.sum(x, dtype=np.float64), lambda x: np.mean(x, where=True), lambda x: np.where(x > 0)):
        with pytest.raises(TypeError, match=r"np\.(sum|mean|where): .*on Tensors it is"):
            call(leaf([1.0, 2.0]))


@pytest.mark.usefixtures("own_registry")
def test_a_forward_that_fails_names_the_op():
    @tg.register
    class Careless(tg.Op):
        @staticmethod
        def forward(x):
            return x.no_such_thing

    with pytest.raises(TypeError, match=r"careless.*no_such_thing"):
        Careless(leaf(1.0))


@pytest.mark.usefixtures("own_registry")
def test_a_notebook_cell_may_define_its_op_again():
    for factor in (2, 3):
        forward = staticmethod(lambda x, factor=factor: x * factor)
        tg.register(type("Scaled", (tg.Op,), {"forward": forward, "__module__": "__main__"}))
    assert tg.Tensor([1.0]).scaled().item() == 3
    with pytest.raises(ValueError, match="'scaled' is taken"):
        tg.register(type("Scaled", (tg.Op,), {"forward": forward}))


def test_modules_that_refer_to_each_other_are_walked_once():
    parent = tg.nn.Sequential(tg.nn.Linear(2, 3))
    parent[0].owner = parent
    assert [name for name, _ in parent.named_parameters()] == ["0.weight", "0.bias"]


def test_optimizers_want_a_list_of_parameters():
    model = tg.nn.Linear(2, 3)
    for wrong in (model, model.weight):
        with pytest.raises(TypeError, match=r"model\.parameters\(\)"):
            tg.optim.SGD(wrong, lr=0.1)
    tg.optim.SGD(model.parameters(), lr=np.float32(0.1))


def test_every_op_is_known_to_editors_as_a_method():
    from tinygrad_ce.methods import Methods

    own = {name for name, op in tg.registry.items() if op.__module__.startswith("tinygrad_ce.ops.")}
    assert set(Methods.__annotations__) == own
