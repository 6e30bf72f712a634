"""Ops that are wrong: a declaration is refused, a rule's or a forward's result is an error that names the op."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tinygrad_ce as tg
from tests.helpers import leaf, make

pytestmark = pytest.mark.usefixtures("own_registry")


# Declarations that are wrong


@pytest.mark.parametrize("count", [1, 3])
def test_the_wrong_number_of_rules(count):
    with pytest.raises(TypeError, match=rf"Broken.*{count} vjps.*\(x, y\)"):
        make(vjps=(lambda g, _z, _x, _y: g,) * count)
    assert "broken" not in tg.registry


@pytest.mark.parametrize(
    "rule", [lambda g, _x: g, lambda g: g, lambda g, _z, _x: g, lambda g, _z, _x, _y, _w: g, lambda: 0]
)
def test_a_rule_with_the_wrong_parameters(rule):
    """The commonest mistake of all: a forgotten z."""
    with pytest.raises(TypeError, match=r"(?i)broken.*x"):
        make(vjps=(rule, None))(leaf([1.0]), 2.0).backward()


def test_a_rule_that_does_not_take_the_metadata():
    def forward(x, *, axis=0):
        return x.sum(axis)

    with pytest.raises(TypeError, match=r"(?i)broken.*axis"):
        make(vjps=(lambda g, _z, _x: g,), forward=staticmethod(forward))(leaf([1.0])).backward()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"forward": None}, r"Broken.*forward"),
        ({"forward": staticmethod(lambda: 0)}, r"Broken.*no array"),
        ({"forward": staticmethod(lambda *, k: k)}, r"Broken.*no array"),
        ({"vjps": ("no", None)}, r"Broken.*'no'"),
        ({"vjps": (None, 1.0)}, r"Broken.*1\.0"),
        ({"vjp": "no"}, r"Broken.*'no'"),
        ({"vjps": lambda g, _z, _x, y: g * y}, r"Broken.*vjps"),
        (
            {"vjps": (None, None), "vjp": lambda g, _z, _x, _y, *, needs: [g if n else None for n in needs]},
            r"Broken.*vjp",
        ),
    ],
)
def test_other_wrong_declarations(members, message):
    with pytest.raises(TypeError, match=message):
        make(**members)
    assert "broken" not in tg.registry


@pytest.mark.parametrize("thing", [3, dict, tg.Op, lambda x: x, "cube"])
def test_only_ops_are_registered(thing):
    with pytest.raises(TypeError, match="register"):
        tg.register(thing)


def test_a_fused_op_needs_its_decomposition():
    with pytest.raises(TypeError, match=r"Lonely.*decomposition"):
        tg.register(type("Lonely", (tg.FusedOp,), {"forward": staticmethod(lambda x: x)}))


def test_an_op_that_was_never_registered_says_so():
    class Forgotten(tg.Op):
        @staticmethod
        def forward(x):
            return x

    for x in (leaf([1.0]), np.ones(1)):
        with pytest.raises((TypeError, RuntimeError), match=r"Forgotten.*register"):
            Forgotten(x)


# Rules that are wrong

RETURNS = [
    (lambda g, _z, _x, _y: (g, g), r"2 gradients"),
    (lambda g, _z, _x, _y: [g], r"1 gradient"),
    (lambda _g, _z, _x, _y: None, r"broken"),
    (lambda _g, _z, _x, _y: "abc", r"'abc'"),
    (lambda g, _z, _x, _y: g[:1], r"shape \(1,\).*\(2,\)"),
    (lambda g, _z, _x, _y: g.sum(), r"shape \(\).*\(2,\)"),
    (lambda g, _z, x, _y: g.reshape(2, 1) * x, r"shape \(2, 2\).*\(2,\)"),
    (lambda _g, _z, _x, _y: 1j * np.ones(2), r"1\.j|complex"),
    (lambda _g, _z, _x, _y: object(), r"object"),
    (lambda g, _z, _x, _y: {"x": g}, r"'x'"),
]


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize(("rule", "message"), RETURNS)
def test_a_wrong_result_names_the_op_and_the_input(rule, message, position, create_graph):
    right = [lambda g, _z, _x, y: g * y, lambda g, _z, x, _y: g * x]
    right[position] = rule
    op = make(vjps=right)
    a, b, c = leaf([1.0, 2.0]), leaf([3.0, 4.0]), leaf([5.0, 6.0])
    inner = (b * 1.0).retain_grad()
    z = op(a, inner) + c
    with pytest.raises((TypeError, ValueError), match=message) as error:
        z.backward(np.array([1.0, 2.0]), create_graph=create_graph)
    assert "broken" in str(error.value)
    assert f"'{'xy'[position]}'" in str(error.value)
    assert (a.grad, b.grad, c.grad, inner.grad) == (None,) * 4


def test_too_wide_a_gradient_is_no_broadcasting_unless_declared():
    op = make(vjps=(lambda g, _z, _x, y: g * y, lambda g, _z, x, _y: g * x))
    x = leaf([1.0])
    with pytest.raises(ValueError, match=r"broken.*'x'.*broadcasts = True"):
        op(x, np.ones(3)).sum().backward()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda g: [g], r"1 gradient.*2 inputs"),
        (lambda g: [g, g, g], r"3 gradients.*2 inputs"),
        (lambda g: g, r"ndarray|Tensor"),
        (lambda _g: None, r"NoneType.*2 inputs"),
        (lambda g: [None, g], r"'x'"),
        (lambda g: [g, None], r"'y'"),
        (lambda g: [g, g[:1]], r"'y'.*shape \(1,\)"),
    ],
)
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_joint_rule_with_a_wrong_result(result, message, create_graph):
    op = make(vjp=staticmethod(lambda g, _z, _x, _y, *, needs: result(g) if needs else None))
    x, y = leaf([1.0, 2.0]), leaf([1.0, 2.0])
    with pytest.raises((TypeError, ValueError), match=rf"broken.*{message}"):
        op(x, y).backward(np.ones(2), create_graph=create_graph)
    assert x.grad is y.grad is None


def test_a_missing_rule_matters_only_where_a_gradient_is_needed():
    op = make(vjps=(lambda g, _z, _x, y: g * y, None))
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    op(x, y.detach()).sum().backward()
    assert_array_equal(x.grad.data, [3, 4])
    assert_array_equal(op(x, y).data, [3, 8])
    assert_array_equal(tg.grad(op(x, y), x, np.ones(2)).data, [3, 4])
    for act in (lambda: op(x, y).sum().backward(), lambda: tg.grad(op(x, y), y, np.ones(2))):
        with pytest.raises(tg.NotDifferentiable, match=r"broken.*'y'.*Broken\.vjps.*detach"):
            act()
    assert y.grad is None
    assert_array_equal(x.grad.data, [3, 4])


@pytest.mark.parametrize("members", [{}, {"vjps": ()}, {"vjps": (None, None)}])
def test_an_op_without_rules_is_still_an_op(members):
    op = make(**members)
    x = leaf([1.0])
    assert op(x, 2.0).item() == 2
    with pytest.raises(tg.NotDifferentiable, match=r"broken.*'x'"):
        op(x, 2.0).backward()


def test_the_missing_rule_of_one_of_many_inputs_is_counted():
    op = make(
        vjp=staticmethod(lambda g, _z, *_xs, needs: [g, None, g][: len(needs)]),
        forward=staticmethod(lambda *xs: sum(xs)),
    )
    with pytest.raises(tg.NotDifferentiable, match=r"broken.*xs\[1\]"):
        op(leaf(1.0), leaf(2.0), leaf(3.0)).backward()


def test_an_error_in_forward_names_the_op():
    op = make(forward=staticmethod(lambda x, y: x @ y))
    with pytest.raises(ValueError, match=r"broken of \(2,\), \(3,\)"):
        op(leaf([1.0, 2.0]), leaf([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("value", [None, "text", {}, 1j, np.array([None])])
def test_a_forward_that_returns_no_numbers_names_the_op(value):
    op = make(forward=staticmethod(lambda _x, _y: value))
    with pytest.raises(TypeError, match="broken"):
        op(leaf([1.0]), 2.0)


def test_check_op_finds_a_forward_that_changes_its_input():
    def forward(x):
        x += 1
        return x

    make(forward=staticmethod(forward), vjps=(lambda g, _z, _x: g,))
    with pytest.raises((AssertionError, ValueError), match="broken"):
        tg.check_op("broken", leaf([1.0, 2.0]))


def test_check_op_finds_a_rule_that_is_slightly_wrong():
    make(vjps=(lambda g, _z, _x, y: 1.001 * g * y, lambda g, _z, x, _y: g * x))
    with pytest.raises((AssertionError, ValueError), match=r"broken[\s\S]*x"):
        tg.check_op("broken", leaf([1.0, 2.0]), leaf([3.0, 4.0]))


def test_a_rule_that_uses_the_numbers_it_said_it_does_not_need():
    op = make(vjps=(lambda g, _z, _x, _y: g * _y, None))
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    for other in (y * 1.0, y, np.ones(2)):
        with pytest.raises((TypeError, AttributeError), match=r"broken.*_y|broken.*underscore"):
            tg.grad(op(x, other), x, np.ones(2))


def test_metadata_takes_no_gradient():
    op = make(forward=staticmethod(lambda x, *, w: x * w), vjps=(lambda g, _z, _x, *, w: g * w,))
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    with pytest.raises(TypeError, match=r"broken.*'?w'?.*gradient"):
        op(x, w=w)
