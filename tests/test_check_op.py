"""The testers are tested: whatever is wrong with an op, a user's or one of the library's, `check_op` says so."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.helpers import square_op
from tinygrad_ce.engine import NotDifferentiable
from tinygrad_ce.registry import registry
from tinygrad_ce.testing import GradientError, OpError, check_op
from tinygrad_ce.testing.database import database

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])


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

    def test_a_gradient_that_is_nan_may_be_at_a_kink(self) -> None:
        square_op(lambda g, _z, x: g * x / (x * x) ** 0.5, forward=staticmethod(np.abs))
        with (
            np.errstate(invalid="ignore"),
            pytest.raises(OpError, match=r"quadrat: the gradient of input 0 \('x'\) is nan at index \[1\]: a kink"),
        ):
            check_op("quadrat", np.array([1.0, 0.0]))

    def test_numbers_are_plain(self) -> None:
        square_op(lambda g, _z, x: g * (2 * x if isinstance(x, tg.Tensor) else 2.5 * x))
        with pytest.raises(OpError, match=r"create_graph, is -?\d+\.\d+ and -?\d+\.\d+ at index \[0, 0\]\n"):
            check_op("quadrat", X)

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
