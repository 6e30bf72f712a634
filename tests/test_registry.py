"""Ops of the user's own: ten lines, at once callable, differentiable and listed; and the names they may have."""

import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_ce as tg
from tests.helpers import leaf, make
from tinygrad_ce import Tensor
from tinygrad_ce.registry import by_numpy

pytestmark = pytest.mark.usefixtures("own_registry")


@pytest.fixture
def cube():
    @tg.register
    class Cube(tg.Op):
        """z = x ** 3"""

        formula = "z = x ** 3"
        vjps = (lambda g, _z, x: 3 * x**2 * g,)

        @staticmethod
        def forward(x):
            return x**3

    return Cube


# An op that is right


def test_ten_lines_are_callable_everywhere(cube):
    x = leaf([1.0, 2.0])
    for call in (cube, lambda t: t.cube(), tg.functional.cube, lambda t: tg.registry["cube"](t)):
        z = call(x)
        assert type(z) is Tensor
        assert_array_equal(z.data, [1, 8])
        x.grad = None
        z.backward(np.array([1.0, 10.0]))
        assert_array_equal(x.grad.data, [3, 120])
        assert z.node.op is cube


def test_op_classes_on_arrays_give_arrays(cube):
    z = cube(np.array([1.0, 2.0]))
    assert type(z) is np.ndarray
    assert_array_equal(z, [1, 8])
    assert type(tg.functional.cube(np.array([1.0]))) is Tensor


def test_derivatives_of_every_order(cube):
    x = leaf([1.0, 2.0])
    d1 = tg.grad(cube(x), x, np.ones(2), create_graph=True)
    d2 = tg.grad(d1, x, np.ones(2), create_graph=True)
    d3 = tg.grad(d2, x, np.ones(2), create_graph=True)
    for d, exact in ((d1, [3, 12]), (d2, [6, 12]), (d3, [6, 6])):
        assert_array_equal(d.data, exact)


def test_it_is_checkable_and_listed(cube):
    tg.check_op("cube", Tensor([1.0, 2.0], requires_grad=True))
    assert tg.registry["cube"] is cube
    assert "cube" in dir(Tensor([1.0]))
    assert "cube" in dir(tg.functional)
    assert tg.functional.cube.__doc__ == "z = x ** 3"
    assert tg.functional.cube.__name__ == "cube"


def test_the_registry_is_read_only(cube):
    with pytest.raises(TypeError):
        tg.registry["cube"] = cube
    with pytest.raises(TypeError):
        del tg.registry["cube"]
    assert not hasattr(tg.registry, "pop")


def test_rules_may_use_the_public_functions():
    @tg.register
    class Sine(tg.Op):
        vjps = (lambda g, _z, x: g * tg.functional.cos(x),)
        forward = staticmethod(np.sin)

    x = leaf([0.3, 1.2])
    d = tg.grad(x.sine(), x, np.ones(2), create_graph=True)
    dd = tg.grad(d, x, np.ones(2))
    assert_allclose(dd.data, -np.sin(x.data), rtol=1e-15)
    x.sine().sum().backward()
    assert_allclose(x.grad.data, np.cos(x.data), rtol=1e-15)


def test_a_ufunc_as_forward_answers_numpy():
    @tg.register
    class Arctan(tg.Op):
        forward = np.arctan
        vjps = (lambda g, _z, x: g / (1 + x * x),)

    x = leaf([0.5, 2.0])
    z = np.arctan(x)
    assert z.node.op is Arctan
    z.sum().backward()
    assert_array_equal(x.grad.data, [0.8, 0.2])


def test_metadata():
    @tg.register
    class Affine(tg.Op):
        vjps = (lambda g, _z, _x, *, scale, **_: g * scale,)

        @staticmethod
        def forward(x, *, scale, shift=0.0):
            return scale * x + shift

    x = leaf([1.0, 2.0])
    affine = tg.functional.affine
    for z in (x.affine(3.0, 1.0), x.affine(3.0, shift=1.0), affine(x, 3.0, shift=1.0), Affine(x, scale=3.0, shift=1.0)):
        assert_array_equal(z.data, [4, 7])
        assert dict(z.node.attributes) == {"scale": 3.0, "shift": 1.0}
        x.grad = None
        z.sum().backward()
        assert_array_equal(x.grad.data, [3, 3])
    assert str(inspect.signature(tg.functional.affine)) == "(x, *, scale, shift=0.0)"
    for act, message in (
        (lambda: x.affine(), r"affine.*'scale' is missing"),
        (lambda: x.affine(1.0, 2.0, 3.0), r"affine.*4 positional"),
        (lambda: x.affine(1.0, scale=2.0), r"affine.*'scale' is given twice"),
        (lambda: x.affine(1.0, sift=2.0), r"affine.*'sift' is unknown"),
        (lambda: Affine(x, scale=1.0, sift=2.0), r"(?i)affine.*'sift'"),
        (lambda: Affine(x), r"(?i)affine.*'scale'"),
        (lambda: Affine(x.data), r"(?i)affine.*'scale'"),
        (lambda: Affine(x, x, scale=1.0), r"(?i)affine.*positional"),
        (lambda: Affine(scale=1.0), r"(?i)affine"),
        (lambda: tg.functional.affine(), r"affine"),
        (lambda: tg.functional.affine(scale=1.0), r"affine"),
    ):
        with pytest.raises(TypeError, match=message):
            act()


@pytest.mark.parametrize("name", ["add", "exp", "relu", "astype", "getitem", "where", "matmul", "maximum"])
def test_a_signature_that_is_shown_can_be_called(name):
    function = getattr(tg.functional, name)
    parameters = inspect.signature(function).parameters.values()
    values = {"x": [0.5, 1.0], "y": [2.0, 3.0], "condition": [True, False], "dtype": "float64", "index": 0}
    by_name = {p.name: values[p.name] for p in parameters if p.kind is not p.POSITIONAL_ONLY}
    positional = [values[p.name] for p in parameters if p.kind is p.POSITIONAL_ONLY]
    assert type(function(*positional, **by_name)) is Tensor


def test_an_input_that_may_be_left_out():
    @tg.register
    class Shift(tg.Op):
        broadcasts = True
        vjps = (lambda g, _z, _x, *_by: g, lambda g, _z, _x, _by: g)

        @staticmethod
        def forward(x, by=None):
            return x.copy() if by is None else x + by

    x, by = leaf([1.0, 2.0]), leaf(3.0)
    assert_array_equal(x.shift().data, [1, 2])
    (x.shift().sum() + x.shift(by).sum()).backward()
    assert_array_equal(x.grad.data, [2, 2])
    assert by.grad.item() == 2


def test_any_number_of_inputs():
    @tg.register
    class Total(tg.Op):
        @staticmethod
        def vjp(g, _z, *xs, needs, power):
            return [g * power * x ** (power - 1) if need else None for x, need in zip(xs, needs, strict=True)]

        @staticmethod
        def forward(*xs, power=1):
            return sum(x**power for x in xs)

    a, b = leaf([1.0, 2.0]), leaf([3.0, 5.0])
    z = Total(a, np.ones(2), b, power=2)
    assert_array_equal(z.data, [11, 30])
    ga, gb = tg.grad(z, [a, b], np.ones(2), create_graph=True)
    assert_array_equal(ga.data, [2, 4])
    assert_array_equal(gb.data, [6, 10])
    assert_array_equal(tg.grad(ga, a, np.ones(2)).data, [2, 2])


def test_a_subclass_of_an_op_is_its_own_op():
    clip = tg.registry["clip"]

    @tg.register
    class Doubled(clip):
        @staticmethod
        def forward(x, *, a_min=None, a_max=None):
            return 2 * np.clip(x, a_min, a_max)

    assert_array_equal(leaf([1.0, 5.0]).doubled(0.0, 3.0).data, [2, 6])
    assert np.clip(leaf([1.0]), 0, 3).node.op is clip


def test_a_fused_op():
    @tg.register
    class SinSquared(tg.FusedOp):
        vjps = (lambda g, _z, x: g * np.sin(2 * x),)

        @staticmethod
        def forward(x):
            s = np.sin(x)
            s *= s
            return s

        @staticmethod
        def decomposition(x):
            return np.square(np.sin(x))

    x = leaf([0.4, 1.3])
    d = tg.grad(x.sin_squared(), x, np.ones(2), create_graph=True)
    assert_allclose(d.data, np.sin(2 * x.data), rtol=1e-15)
    assert_allclose(tg.grad(d, x, np.ones(2)).data, 2 * np.cos(2 * x.data), rtol=1e-15)
    x.sin_squared().sum().backward()
    assert_allclose(x.grad.data, np.sin(2 * x.data), rtol=1e-15)
    assert type(SinSquared(x.data)) is np.ndarray


def test_memory_is_kept_only_where_a_rule_asks(cube):
    x, y = leaf([1.0]), leaf([2.0])
    op = make(vjps=(lambda g, _z, _x, y: g * y, lambda g, _z, x, _y: g * x))
    node = op(x, y).node
    assert node.output is None
    assert [a is t.data for a, t in zip(node.saved, (x, y), strict=True)] == [True, True]
    node = op(x, y.detach()).node
    assert (node.saved[0].shape, node.saved[0].dtype) == (x.shape, x.dtype)  # and no numbers
    assert_array_equal(node.saved[1], [2])
    assert cube(x).node.output is None


def test_gradients_come_back_in_the_inputs_dtype():
    op = make(vjps=(lambda g, _z, _x, y: np.float64(1) * g * y, lambda g, _z, x, _y: g * x))
    x = Tensor(np.ones(2, np.float16), requires_grad=True)
    y = Tensor(np.ones(2, np.float64), requires_grad=True)
    op(x, y).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float16, np.float64)


def test_a_rule_may_return_python_numbers_for_0_d():
    op = make(vjps=(lambda _g, _z, _x, _y: 3.0, lambda _g, _z, _x, _y: 4))
    for create_graph in (False, True):
        x, y = leaf(1.0), leaf(2.0)
        op(x, y).backward(create_graph=create_graph)
        assert (x.grad.item(), y.grad.item()) == (3, 4)
        assert y.grad.dtype == np.float64


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("held", ["input", "metadata"])
def test_a_rule_may_return_an_array_that_someone_holds(held, create_graph):
    mine = np.array([3.0, 4.0])
    rule = {
        "input": lambda _g, _z, _x, y, **_: y,
        "metadata": lambda _g, _z, _x, _y, *, w: w,
    }[held]
    op = make(vjps=(rule, None), forward=staticmethod(lambda x, y, *, w: (x * y + 0 * w).sum()))
    x = leaf([1.0, 2.0])
    for _ in range(2):
        op(x, mine, w=mine).backward(create_graph=create_graph)
    assert_array_equal(x.grad.data, [6, 8])
    g = tg.grad(op(x, mine, w=mine), x, create_graph=create_graph)
    for found in (g, x.grad):
        found.data[:] = 0
    assert_array_equal(mine, [3, 4])


# Names


@pytest.mark.parametrize(
    ("class_name", "name"),
    [("Square2D", "square2_d"), ("MyOp", "my_op"), ("HTTPThing", "http_thing"), ("Foo", "foo"), ("L2Norm", "l2_norm")],
)
def test_names_are_snake_case(class_name, name):
    op = tg.register(type(class_name, (tg.Op,), {"forward": staticmethod(lambda x: x)}))
    assert op.name == name
    assert tg.registry[name] is op


def test_a_name_may_be_given():
    assert make(name="other", vjps=(None, None)).name == "other"
    assert "broken" not in tg.registry


def test_a_taken_name(cube):
    with pytest.raises(ValueError, match=r"'cube' is taken by .*Cube.*name ="):
        make(name="cube")
    assert tg.registry["cube"] is cube
    with pytest.raises(ValueError, match="'cube' is taken"):
        tg.register(cube)


@pytest.mark.parametrize("name", ["backward", "grad", "shape", "data", "T", "node", "__len__"])
def test_a_name_that_tensors_use_is_taken(name):
    with pytest.raises(ValueError, match=name):
        make(name=name)
    assert name not in tg.registry


@pytest.mark.parametrize("name", ["two words", "1st", "a-b", "lambda", "None"])
def test_a_name_nobody_can_write(name):
    with pytest.raises(ValueError, match=name):
        make(name=name)


def test_a_cell_that_is_run_again_takes_numpy_from_no_other_op():
    """An op replaces itself, with NumPy's function if that was its own; a second op on that function leaves it."""

    def cell(name):
        rules = (lambda g, _z, x, y: g * x / np.hypot(x, y), None)
        return tg.register(type(name, (tg.Op,), {"__module__": "__main__", "forward": np.hypot, "vjps": rules}))

    first = cell("Length")
    assert by_numpy[np.hypot] is first
    cell("OtherLength")
    cell("OtherLength")
    assert by_numpy[np.hypot] is first
    again = cell("Length")
    assert by_numpy[np.hypot] is again is tg.registry["length"]
