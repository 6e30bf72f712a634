"""The testers are tested: whatever is wrong with a rule, `gradcheck`, `gradgradcheck` or `check_op` says so."""

import functools
import math
import re
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import mpmath
import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce.engine import NotDifferentiable
from tinygrad_ce.registry import registry
from tinygrad_ce.testing import GradientError, OpError, check_op, exact, gradcheck, gradgradcheck
from tinygrad_ce.testing.database import database

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])
Y = np.array([2.0, -0.5, 1.0])


def square_op(rule: Callable[..., Any], **members: Any) -> type[tg.Op]:
    """z = x ** 2 with a given rule; not registered under a name of the library's."""
    return tg.register(
        type("Quadrat", (tg.Op,), {"forward": staticmethod(lambda x: x * x), "vjps": (rule,), **members})
    )


# gradcheck


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


# check_op


def test_check_op_on_the_database_and_on_inputs() -> None:
    assert check_op("exp") is None
    assert check_op(registry["exp"], X) is None
    assert check_op("sum", X, axis=0) is None
    assert check_op("mul", X, 2.0) is None
    assert check_op("linear", X, np.ones((2, 3))) is None


def test_check_op_refuses_calls_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="no op 'expp' is registered; did you mean 'exp'"):
        check_op("expp", X)
    with pytest.raises(TypeError, match="expected an op or its name"):
        check_op(np.exp, X)
    with pytest.raises(ValueError, match=r"Unlisted is not registered; write @tg\.register"):
        check_op(type("Unlisted", (tg.Op,), {}), X)
    with pytest.raises(TypeError, match=r"^exp.*found 2 positional"):
        check_op("exp", X, X)
    with pytest.raises(TypeError, match="'axes' is unknown"):
        check_op("sum", X, axes=0)
    with pytest.raises(TypeError, match=r"metadata \(axis\) without inputs"):
        check_op("sum", axis=0)
    with pytest.raises(ValueError, match="orders=3"):
        check_op("exp", X, orders=3)


@pytest.mark.usefixtures("own_registry")
class TestCheckOpOnAUsersOp:
    def test_right(self) -> None:
        op = square_op(lambda g, _z, x: g * 2 * x)
        assert check_op(op, X) is None
        assert check_op("quadrat", tg.Tensor(X, dtype="float32")) is None
        assert check_op("quadrat", X.astype(np.float16)) is None
        with pytest.raises(TypeError, match=r"no entry for 'quadrat'.*tg.check_op\('quadrat', x\)"):
            check_op(op)

    def test_wrong_rule(self) -> None:
        square_op(lambda g, _z, x: g * 2.002 * x)
        with pytest.raises(GradientError, match=r"check_op of quadrat: the gradient of input 0 \('x'\)"):
            check_op("quadrat", X)

    def test_wrong_second_derivative(self) -> None:
        square_op(lambda g, _z, x: g * (x + (x.detach() if isinstance(x, tg.Tensor) else x)))
        assert check_op("quadrat", X, orders=1) is None
        with pytest.raises(GradientError, match="check_op of quadrat, second order: the gradient of input 0"):
            check_op("quadrat", X)

    def test_missing_rule(self) -> None:
        square_op(None, vjps=())
        assert check_op("quadrat", X, orders=0) is None
        with pytest.raises(NotDifferentiable, match=r"quadrat: there is no rule for the gradient of input 0 \('x'\)"):
            check_op("quadrat", X)

    def test_rule_declared_none_is_left_out(self) -> None:
        square_op(None)
        assert check_op("quadrat", X) is None

    @pytest.mark.parametrize(
        ("rule", "problem"),
        [
            (lambda g, _z, _x: (g, g), r"input 0 \('x'\) returned 2 gradients where one is expected"),
            (lambda _g, _z, _x: "g", r"rule of input 0 \('x'\) failed: TypeError"),
            (lambda _g, _z, _x: None, r"there is no rule for the gradient of input 0 \('x'\)"),
            (
                lambda g, _z, _x: g.sum(),
                r"quadrat: the vjp of input 'x' \(position 0\) returned a gradient of shape \(\)",
            ),
            (lambda g, _z, x: (g * 2 * x)[None], r"returned a gradient of shape \(1, 2, 3\)"),
            (lambda g, _z, _x: g > 0, r"rule of input 0 \('x'\) failed: TypeError: it returned bool"),
        ],
        ids=["two", "word", "None", "scalar", "axis", "bool"],
    )
    def test_wrong_number_kind_or_shape(self, rule: Callable[..., Any], problem: str) -> None:
        square_op(rule)
        with pytest.raises((OpError, NotDifferentiable, ValueError), match=problem):
            check_op("quadrat", X)

    def test_wrong_number_from_a_joint_vjp(self) -> None:
        @tg.register
        class Total(tg.Op):
            vjp = lambda g, _z, *_xs, needs: [g]  # noqa: ARG005, E731

            @staticmethod
            def forward(*xs: Any) -> Any:
                return sum(xs[1:], xs[0] * 1.0)

        with pytest.raises(OpError, match="total: vjp returned 1 gradients for 2 inputs"):
            check_op(Total, X, X)
        Total.vjp = lambda g, _z, *_xs, needs: [g if n else None for n in needs]
        assert check_op(Total, X, X) is None

    def test_underscore_that_is_not_honest(self) -> None:
        square_op(lambda g, _z, _x: g * 2 * _x)
        with pytest.raises(OpError, match=r"the rule of input 0 \('x'\) uses the numbers of a parameter .* underscore"):
            check_op("quadrat", X)

    def test_underscore_of_the_output_that_is_not_honest(self) -> None:
        @tg.register
        class Power(tg.Op):
            vjps = (lambda g, _z, _x: g * _z * np.log(2.0),)

            @staticmethod
            def forward(x: Any) -> Any:
                return np.exp2(x)

        with pytest.raises(OpError, match="underscore"):
            check_op(Power, X)

    def test_forward_that_writes_into_its_input(self) -> None:
        def forward(x: Any) -> Any:
            x *= x
            return x

        square_op(lambda g, _z, x: g * 2 * x, forward=staticmethod(forward))
        with pytest.raises(OpError, match="forward writes into its inputs"):
            check_op("quadrat", X)

    def test_rule_that_writes_into_the_upstream_gradient(self) -> None:
        def rule(g: Any, _z: Any, x: Any) -> Any:
            g *= 2 * x
            return g

        square_op(rule)
        with pytest.raises(OpError, match=r"the rule of input 0 \('x'\) writes into what it was given"):
            check_op("quadrat", X)

    def test_memory_that_is_handed_out_twice(self) -> None:
        cache = np.empty(X.shape)

        def rule(g: Any, _z: Any, x: Any) -> Any:
            return np.multiply(g, 2 * x, out=cache) if type(x) is np.ndarray else g * 2 * x

        square_op(rule)
        with pytest.raises(OpError, match=r"two calls of the rule of input 0 \('x'\) returned the same memory"):
            check_op("quadrat", X)

        @tg.register
        class Cached(tg.Op):
            vjps = (lambda g, _z, x: g * 2 * x,)

            @staticmethod
            def forward(x: Any) -> Any:
                return np.multiply(x, x, out=cache)

        with pytest.raises(OpError, match="two calls of forward returned the same memory"):
            check_op(Cached, X)

    def test_views_of_inputs_and_of_the_upstream_gradient_are_fine(self) -> None:
        @tg.register
        class Turned(tg.Op):
            vjps = (lambda g, _z, _x: g.T,)

            @staticmethod
            def forward(x: Any) -> Any:
                return x.T

        assert check_op(Turned, X) is None

    def test_dtype_that_changes(self) -> None:
        square_op(lambda g, _z, x: g * 2 * x, forward=staticmethod(lambda x: x * x * np.float64(1)))
        with pytest.raises(OpError, match="forward turned float32 into float64, expected float32"):
            check_op("quadrat", X)

    def test_forward_that_is_not_deterministic(self, rng: np.random.Generator) -> None:
        square_op(lambda g, _z, x: g * 2 * x, forward=staticmethod(lambda x: (x * x * rng.random()).astype(x.dtype)))
        with pytest.raises(OpError, match="forward gave two different results"):
            check_op("quadrat", X)

    def test_taken_name(self) -> None:
        op = square_op(lambda g, _z, x: g * 2 * x)
        with pytest.raises(ValueError, match="the name 'quadrat' is taken"):
            square_op(lambda g, _z, x: g * 2 * x)
        assert registry["quadrat"] is op

    def test_number_of_rules(self) -> None:
        with pytest.raises(TypeError, match=r"2 vjps for the inputs \(x\)"):
            square_op(None, vjps=(None, None))
        assert "quadrat" not in registry

    def test_missing_decomposition(self) -> None:
        with pytest.raises(TypeError, match=r"the fused op Fused has no decomposition"):
            tg.register(type("Fused", (tg.FusedOp,), {"forward": staticmethod(lambda x: x)}))
        assert "fused" not in registry

    @pytest.mark.parametrize(
        ("decomposition", "problem"),
        [
            (lambda x: x * x * 1.001, "the value, fused and not, is"),
            (lambda x: np.sum(x * x), r"the value, fused and not, has shapes \(2, 3\) and \(\)"),
            (lambda x: x * (x.detach() if isinstance(x, tg.Tensor) else x), r"gradient of input 0 \('x'\)"),
            (lambda x: x * x, None),
        ],
        ids=["value", "shape", "gradient", "right"],
    )
    def test_fused_op_and_its_decomposition(self, decomposition: Callable[..., Any], problem: str | None) -> None:
        members = {"forward": lambda x: x * x, "decomposition": decomposition}
        Fused = type("Fused", (tg.FusedOp,), {
            "vjps": (lambda g, _z, x: g * 2 * x,), **{key: staticmethod(f) for key, f in members.items()}
        })  # fmt: skip
        tg.register(Fused)
        if problem is None:
            assert check_op(Fused, X) is None
        else:
            with pytest.raises(OpError, match=f"^fused: .*{problem}"):
                check_op(Fused, X)

    def test_fused_op_that_loses_what_it_kept(self) -> None:
        """restore() gives back wrong inputs, so that only gradients of gradients are wrong."""

        class Kept(tg.FusedOp):
            residual = True
            vjps = (lambda g, residual, _x: g * 2 * residual,)

            @staticmethod
            def forward(x: Any, *, gradient: bool = False) -> Any:
                return x * x, x.copy() if gradient else None

            @staticmethod
            def decomposition(x: Any) -> Any:
                return x * x

            @staticmethod
            def restore(residual: Any, _x: Any) -> Any:
                return [residual * 1.001]

        tg.register(Kept)
        with pytest.raises(OpError, match="with and without create_graph"):
            check_op(Kept, X)
        Kept.restore = staticmethod(lambda residual, _x: [residual])
        assert check_op(Kept, X) is None


RULES = [
    pytest.param(op, i, id=f"{name}-{(*op.inputs, op.inputs[-1])[i]}")
    for name, op in registry.items()
    if name in database
    for i in (range(1) if op.vjp is not None else range(len(op.vjps)))
    if op.vjp is not None or op.vjps[i] is not None
]


@pytest.mark.parametrize("everywhere", [True, False], ids=["factor", "element"])
@pytest.mark.parametrize(("op", "i"), RULES)
def test_every_rule_of_the_library_is_watched(
    op: type[tg.Op], i: int, everywhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.1 % off, everywhere or in the last element alone: the database has a sample that shows it."""

    def off(gradient: Any) -> Any:
        factors = np.ones(gradient.shape, gradient.dtype)
        factors.reshape(-1)[slice(None) if everywhere else slice(-1, None)] = 1.001
        return gradient * factors

    right = op.vjp if op.vjp is not None else op.vjps[i]

    @functools.wraps(right)  # keeps the signature, which says what the rule needs
    def wrong(*args: Any, **kwargs: Any) -> Any:
        result = right(*args, **kwargs)
        if op.vjp is None:
            return off(result)
        return [gradient if gradient is None or k != i else off(gradient) for k, gradient in enumerate(result)]

    monkeypatch.setattr(op, "_plans", {})
    if op.vjp is not None:
        monkeypatch.setattr(op, "vjp", wrong)
    else:
        monkeypatch.setattr(op, "vjps", (*op.vjps[:i], wrong, *op.vjps[i + 1 :]))
    with pytest.raises(AssertionError, match=op.name):
        check_op(op)


def test_sealed_registry() -> None:
    assert "quadrat" not in registry
    assert "fused" not in registry


# The references of the database


@pytest.mark.parametrize("name", ["expm1", "log1p", "sin", "cos", "tanh", "erf", "erfc"])
def test_decimal_functions_agree_with_mpmath(name: str) -> None:
    points = (-5, -2, -0.3, -1e-9, 1e-9, 5e-3, 0.3, 0.9, 1.5, 1.99, 2, 2.5, 3.1, 7, 20, 25)
    with localcontext(exact.CONTEXT), mpmath.workdps(90):
        for x in points:
            if name == "log1p" and x <= -1:
                continue
            expected = getattr(mpmath, name)(mpmath.mpf(x))
            found = mpmath.mpf(str(getattr(exact, name)(Decimal(x))))
            assert abs(found / expected - 1) < mpmath.mpf("1e-50"), x


def test_ulps() -> None:
    one = np.array([1.0], np.float32)
    assert exact.ulps(np.nextafter(one, 2), exact.decimals(one)) == 1
    assert exact.ulps(one, exact.build((1,), lambda _: Decimal("1.00000005960464477539"))) == pytest.approx(0.5)
    assert exact.ulps(np.array([math.inf, math.nan, math.inf, 1.0, -math.inf, math.nan]),
                      exact.decimals([math.inf, math.nan, math.nan, math.inf, math.inf, 1.0])).tolist() == [
        0, 0, math.inf, math.inf, math.inf, math.inf]  # fmt: skip
    assert exact.ulps(np.array([math.inf, math.inf], np.float16), exact.decimals([65520.0, 65519.0])).tolist() == [
        0,
        math.inf,
    ]
    with pytest.raises(ValueError, match=r"expected shape \(1,\), found \(\)"):
        exact.ulps(np.float64(1.0), exact.decimals([1.0]))


@pytest.mark.parametrize("name", database)
def test_a_reference_sees_an_error_of_a_few_units(name: str) -> None:
    """The tolerance is tight: the op's own float64 result, a relative 1e-14 off, is refused."""
    info = database[name]
    sample = next(s for s in info.samples(np.random.default_rng(0)) if s.inputs[0].size > 1)
    op = registry[name]
    z = np.asarray(op(*sample.inputs, **{**op.defaults, **sample.attributes}))
    assert exact.ulps(z, info.exact(sample), info.magnitude(sample)).max() <= info.ulps
    wrong = exact.ulps(z * (1 + 2e-14), info.exact(sample), info.magnitude(sample)).max()
    assert wrong > info.ulps
