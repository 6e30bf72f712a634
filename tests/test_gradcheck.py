"""The testers are tested: whatever is wrong with a gradient, `gradcheck` or `gradgradcheck` says so."""

import math
import re
from typing import Any

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.helpers import square_op
from tinygrad_ce import functional as F
from tinygrad_ce.testing import GradientError, check_op, gradcheck, gradgradcheck

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])
Y = np.array([2.0, -0.5, 1.0])


def test_right_gradients_pass() -> None:
    assert gradcheck(lambda x, y: (x * y).sum(axis=0), [X, Y]) is True
    assert gradgradcheck(lambda x, y: x * y, [X, Y]) is True
    assert gradcheck(F.exp, X)
    assert gradcheck(F.exp, tg.Tensor(X, dtype="float32"))
    assert gradcheck(lambda x: (x.sum(), x * 2, x > 0), [X])


@pytest.mark.parametrize("factor", [1.001, 0.999, 0.0, -1.0, math.nan, math.inf])
@pytest.mark.usefixtures("own_registry")
def test_a_wrong_factor_fails(factor: float) -> None:
    op = square_op(lambda g, _z, x: g * 2 * x * factor)
    with pytest.raises(GradientError, match="the gradient of input 0"):
        gradcheck(lambda x: op(x), [X])


@pytest.mark.usefixtures("own_registry")
def test_a_wrong_factor_in_one_element_fails() -> None:
    factors = np.ones(X.shape)
    factors[1, 0] = 1.001
    op = square_op(lambda g, _z, x: g * 2 * x * factors)
    with pytest.raises(GradientError, match=r"wrong at 1 of 6 elements.\nWorst is element \[1, 0\] of shape \(2, 3\)"):
        gradcheck(lambda x: op(x), [X])


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e9])
@pytest.mark.parametrize("lost", [0, 5])
@pytest.mark.usefixtures("own_registry")
def test_a_lost_element_fails_at_any_scale(lost: int, size: float) -> None:
    kept = np.arange(6).reshape(2, 3) != lost
    op = square_op(lambda g, _z, x: g * 2 * x * kept)
    with pytest.raises(GradientError, match="wrong at 1 of 6"):
        gradcheck(lambda x: op(x) * size, [X])


@pytest.mark.usefixtures("own_registry")
def test_a_small_gradient_beside_large_ones_is_not_hidden() -> None:
    """The criterion is each element's own: 1e-4 lost beside 1e4 is found."""
    scale = np.array([1e4, 1e-4])
    op = square_op(lambda g, _z, x: g * 2 * x * np.array([1.0, 0.0]))
    with pytest.raises(GradientError, match=r"element \[1\]"):
        gradcheck(lambda x: op(x) * scale, [np.array([1.5, 0.75])])


@pytest.mark.usefixtures("own_registry")
def test_right_for_uniform_but_wrong_for_other_upstream_gradients_fails() -> None:
    """The rule applies the Jacobian, not its transpose; rows and columns add up to 3, so a uniform g does not tell."""
    matrix = np.array([[0.0, 1.0, 2.0], [2.0, 0.0, 1.0], [1.0, 2.0, 0.0]])

    @tg.register
    class Rotated(tg.Op):
        vjps = (lambda g, _z, _x: matrix @ g,)

        @staticmethod
        def forward(x: Any) -> Any:
            return matrix @ x

    with pytest.raises(GradientError):
        gradcheck(lambda x: Rotated(x), [Y])

    @tg.register
    class MeanOfG(tg.Op):
        vjps = (lambda g, _z, _x: np.broadcast_to(np.mean(g), _x.shape),)

        @staticmethod
        def forward(x: Any) -> Any:
            return 1.0 * x

    with pytest.raises(GradientError):
        gradcheck(lambda x: MeanOfG(x), [Y])


@pytest.mark.usefixtures("own_registry")
def test_only_the_second_derivative_wrong() -> None:
    """A rule that is right on arrays and hides from the recording half of the dependence on x."""
    op = square_op(lambda g, _z, x: g * (x + (x.detach() if isinstance(x, tg.Tensor) else x)))
    assert gradcheck(lambda x: op(x), [X])
    with pytest.raises(GradientError, match=r"gradgradcheck of <lambda>: the gradient of input 0 \('x'\)"):
        gradgradcheck(lambda x: op(x), [X])


@pytest.mark.usefixtures("own_registry")
def test_second_derivative_wrong_with_respect_to_the_upstream_gradient() -> None:
    op = square_op(lambda g, _z, x: (g.detach() if isinstance(g, tg.Tensor) else g) * 2 * x)
    assert gradcheck(lambda x: op(x), [X])
    with pytest.raises(GradientError, match="the gradient of upstream gradient 0"):
        gradgradcheck(lambda x: op(x), [X])


def test_a_gradient_cut_off_fails() -> None:
    with pytest.raises(GradientError):
        gradcheck(lambda x: x * x.detach(), [X])
    with pytest.raises(GradientError):
        gradcheck(lambda x: x.detach() * 2, [X])
    with pytest.raises(GradientError, match=r"input 1 \('y'\)"):
        gradcheck(lambda x, y: x * y.detach(), [X, Y])


def test_message() -> None:
    with pytest.raises(GradientError) as caught:
        gradcheck(lambda x, w: x * w.detach(), [X, tg.Tensor(Y, name="weight")], seed=3)
    message = str(caught.value)
    assert re.search(
        r"gradcheck of <lambda>: the gradient of input 1 \('weight'\) is wrong at 3 of 3 elements", message
    )
    assert re.search(
        r"Worst is element \[\d\] of shape \(3,\): the rules give 0.0, central differences -?\d\.\d+", message
    )
    assert "relative difference 1.00e+00, allowed 1.00e-05" in message
    assert "seed=3" in message
    assert isinstance(caught.value, AssertionError)


def test_functions_that_are_not_deterministic_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="two runs on the same inputs gave different results"):
        gradcheck(lambda x: F.dropout(x, generator=rng), [np.ones(20)])
    with pytest.raises(ValueError, match="different results"):
        gradgradcheck(lambda x: x * rng.random(), [X])
    assert gradcheck(lambda x: F.dropout(x, generator=np.random.default_rng(0)), [np.ones(20)])


@pytest.mark.usefixtures("own_registry")
def test_a_rule_that_is_not_deterministic_is_refused(rng: np.random.Generator) -> None:
    op = square_op(lambda g, _z, x: g * 2 * x * (1 + 1e-12 * rng.random()))
    with pytest.raises(ValueError, match="different gradients"):
        gradcheck(lambda x: op(x), [X])


def test_inputs_without_floats_are_refused() -> None:
    with pytest.raises(TypeError, match="no floating-point input to check, found int64"):
        gradcheck(lambda x: x * 2.0, [np.arange(3)])
    with pytest.raises(TypeError, match="no inputs at all"):
        gradcheck(lambda: tg.Tensor(1.0), [])
    with pytest.raises(TypeError, match="expected a sequence of arrays, found int"):
        gradcheck(F.exp, 1)
    with pytest.raises(TypeError, match="returned no floating-point Tensor"):
        gradcheck(lambda x: x > 0, [X])
    with pytest.raises(TypeError, match="a Tensor or a tuple of Tensors, found ndarray"):
        gradcheck(lambda x: x.numpy(), [X])


def test_integers_bools_and_objects_are_handed_on() -> None:
    seen: list[Any] = []

    def function(x: tg.Tensor, index: Any, mask: Any, word: str) -> tg.Tensor:
        seen.append((index, mask, word))
        return F.where(mask, x[index], 1.0)

    index, mask = np.array([1, 1]), np.array([True, False])
    assert gradcheck(function, [Y, index, mask, "word"])
    assert all(i is index and m is mask and w == "word" for i, m, w in seen)
    assert gradcheck(lambda x, n: x**n, [2.0, 3])


def test_no_side_effects() -> None:
    x = tg.Tensor(X, requires_grad=True, name="x")
    (x * x).sum().backward()
    gradient, bits, y = x.grad, X.tobytes(), Y.copy()
    state = np.random.get_state()[1].tobytes()  # noqa: NPY002
    with tg.no_grad():
        assert gradcheck(F.mul, [x, y])
        assert gradgradcheck(F.mul, [x, y])
        check_op("mul", x, y)
        assert not (x * 2).requires_grad
    assert x.grad is gradient
    assert x.requires_grad
    assert x.is_leaf
    assert X.tobytes() == x.data.tobytes() == bits
    assert x.data.flags.writeable
    assert y.flags.writeable
    assert np.array_equal(y, Y)
    assert np.random.get_state()[1].tobytes() == state  # noqa: NPY002
    frozen = X.copy()
    frozen.flags.writeable = False
    assert gradcheck(F.exp, [frozen])


def test_a_function_that_writes_into_its_input_is_refused() -> None:
    def function(x: tg.Tensor) -> tg.Tensor:
        x.data[...] = 1.0
        return x * 2

    with pytest.raises(ValueError, match="read-only"):
        gradcheck(function, [X])


def test_noise_and_kinks() -> None:
    assert gradcheck(F.abs, [np.array([0.1, -3.0, 1e5, -1e-3])])
    assert gradcheck(lambda x: x * 1e-8 + 1.0, [X])
    assert gradcheck(F.tanh, [np.array([0.0, 9.0, 15.0, 30.0])])
    assert gradcheck(F.sin, [np.array([math.pi / 2, 0.0, 100.0])])
    with pytest.raises(GradientError):
        gradcheck(F.relu, [np.array([0.0])])
    with pytest.raises(GradientError):
        gradcheck(lambda x: (x + 1e8) - 1e8, [2.0])
    assert gradcheck(lambda x: (x + 1e8) - 1e8, [2.0], atol=0.1)


def test_empty_and_0d_inputs_pass() -> None:
    assert gradcheck(F.exp, [np.zeros((2, 0))])
    assert gradgradcheck(F.exp, [np.array(0.5)])
    assert gradcheck(lambda x: x.sum(), [np.zeros(0)])


def test_gradient_penalty() -> None:
    """A function that itself takes a gradient, also where nothing is recorded around it."""

    def penalty(x: tg.Tensor) -> tg.Tensor:
        return (tg.grad((x**3).sum(), x, create_graph=True) ** 2).sum()

    with tg.no_grad():
        assert gradcheck(penalty, [X])
        assert gradgradcheck(penalty, [X])
