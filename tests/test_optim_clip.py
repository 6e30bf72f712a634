"""Clipping gradients: norms without overflow, held against 50 digits; what is changed and what is refused."""

import math
from typing import Any

import mpmath
import numpy as np
import pytest

import tinygrad_ce as tg
from tests.helpers import leaf
from tinygrad_ce import nn, optim


def with_gradients(*gradients: Any) -> list[tg.Tensor]:
    parameters = []
    for g in gradients:
        p = tg.Tensor(np.zeros(np.shape(g), g.dtype), requires_grad=True)
        p.grad = g
        parameters.append(p)
    return parameters


def exact(gradients: list[Any], norm_type: float) -> float:
    """The norm in 50 digits."""
    with mpmath.workdps(50):
        sizes = [abs(mpmath.mpf(float(x))) for g in gradients for x in np.ravel(g)]
        if norm_type == math.inf:
            return float(max(sizes, default=0))
        return float(mpmath.fsum(x**norm_type for x in sizes) ** (1 / mpmath.mpf(norm_type)))


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 0.5, 3.0, 17.0, math.inf])
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        ("float16", 1.0),
        ("float16", 2e4),  # whose squares are above the largest float16
        ("float16", 1e-7),
        ("float32", 1e30),
        ("float32", 1e-30),
        ("float32", 1e-44),  # subnormal
        ("float64", 1.0),
        ("float64", 1e200),
        ("float64", 1e-200),
        ("float64", 1e307),
        ("float64", 1e-320),
    ],
)
def test_the_norm_to_fifty_digits(dtype: str, scale: float, norm_type: float, rng: np.random.Generator) -> None:
    shapes = ((3, 4), (), (0,), (7,))
    gradients = [(rng.normal(size=shape) * scale).astype(dtype) for shape in shapes]
    parameters = with_gradients(*gradients)
    total = optim.clip_grad_norm(parameters, math.inf, norm_type)
    assert type(total) is float
    expected = exact(gradients, norm_type)
    assert total == pytest.approx(expected, rel=1e-14, abs=5e-324)
    for p, g in zip(parameters, gradients, strict=True):
        assert p.grad is not None
        assert np.array_equal(p.grad.data, g)


def test_the_norm_of_many_numbers(rng: np.random.Generator) -> None:
    g = rng.normal(size=(300, 1000)).astype(np.float32)
    (p,) = with_gradients(g.T)
    total = optim.clip_grad_norm([p], 1.0)
    assert total == pytest.approx(math.sqrt(math.fsum((g.astype(float) ** 2).ravel())), rel=1e-14)
    assert p.grad is not None
    np.testing.assert_allclose(p.grad.data, g.T / total, rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "scale"), [("float16", 3e4), ("float32", 1e38), ("float32", 1.0), ("float64", 1e300)]
)
@pytest.mark.parametrize("max_norm", [1.0, 1e-3, 100.0])
def test_what_comes_out_has_the_norm_asked_for(
    dtype: str, scale: float, max_norm: float, rng: np.random.Generator
) -> None:
    gradients = [(rng.uniform(-1, 1, size) * scale).astype(dtype) for size in (5, 8)]
    parameters = with_gradients(*gradients)
    before = [p.grad for p in parameters]
    total = optim.clip_grad_norm(parameters, max_norm)
    factor = min(1.0, max_norm / (total + 1e-6))
    for p, g, kept in zip(parameters, gradients, before, strict=True):
        assert p.grad is kept
        expected = (g.astype(float) * factor).astype(dtype)
        tiny = np.finfo(dtype).smallest_subnormal
        assert np.all(np.abs(p.grad.data - expected) <= np.maximum(2 * np.spacing(np.abs(expected)), tiny))


@pytest.mark.parametrize(("dtype", "scale", "norm_type"), [("float64", 1.5e308, 2.0), ("float32", 1.0, 0.001)])
def test_a_norm_above_the_largest_number_is_infinite(dtype: str, scale: float, norm_type: float) -> None:
    (p,) = with_gradients(np.full(9, scale, dtype))
    assert optim.clip_grad_norm([p], 1.0, norm_type) == math.inf
    assert p.grad is not None
    assert np.array_equal(p.grad.data, np.full(9, scale, dtype))


def test_a_norm_below_the_limit_changes_nothing() -> None:
    (p,) = with_gradients(np.array([3.0, 4.0]))
    assert optim.clip_grad_norm(p, 5.1) == 5.0
    assert p.grad is not None
    assert p.grad.data.tolist() == [3.0, 4.0]
    assert optim.clip_grad_norm((x for x in [p]), 0) == 5.0
    assert p.grad.data.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("norm_type", [2.0, math.inf])
def test_no_factor_mends_what_is_not_finite(bad: float, norm_type: float) -> None:
    parameters = with_gradients(np.array([3.0, 4.0]), np.array([1.0, bad]))
    total = optim.clip_grad_norm(parameters, 1.0, norm_type)
    assert math.isnan(total) if math.isnan(bad) else total == math.inf
    with pytest.raises(RuntimeError, match=r"clip_grad_norm: the norm of the gradients is (nan|inf), so they cannot"):
        optim.clip_grad_norm(parameters, 1.0, norm_type, error_if_nonfinite=True)
    first, second = (p.grad for p in parameters)
    assert first is not None
    assert second is not None
    assert first.data.tolist() == [3.0, 4.0]
    np.testing.assert_array_equal(second.data, [1.0, bad])


def test_parameters_without_a_gradient_and_parameters_given_twice() -> None:
    (p,), none = with_gradients(np.array([3.0, 4.0])), leaf([1.0])
    assert optim.clip_grad_norm([none], 1.0) == 0.0
    assert optim.clip_grad_norm([], 1.0) == 0.0
    optim.clip_grad_value([none], 1.0)
    assert none.grad is None
    assert optim.clip_grad_norm([p, none, p], 1.0) == 5.0
    assert p.grad is not None
    np.testing.assert_allclose(p.grad.data, [0.6, 0.8], rtol=1e-6)


def test_values() -> None:
    parameters = with_gradients(np.float32([-3.0, 0.25, np.nan, np.inf]), np.array(-1e300))
    optim.clip_grad_value(parameters, 0.5)
    np.testing.assert_array_equal(parameters[0].grad.data, np.float32([-0.5, 0.25, np.nan, 0.5]))  # type: ignore[union-attr]
    np.testing.assert_array_equal(parameters[1].grad.data, -0.5)  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("value", [0.0, 1e-7, 1e-40, 1e5, 1e300, math.inf])
def test_values_that_the_dtype_cannot_hold(dtype: str, value: float) -> None:
    g = np.array([-3.0, 0.25, 6e4, -np.inf], dtype)
    (p,) = with_gradients(g)
    optim.clip_grad_value([p], value)
    assert p.grad is not None
    assert p.grad.dtype == dtype
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(p.grad.data, np.clip(g.astype(float), -value, value).astype(dtype))


def test_gradients_whose_memory_is_not_their_own() -> None:
    for clip in (lambda p: optim.clip_grad_norm([p], 1.0), lambda p: optim.clip_grad_value([p], 0.5)):
        p = leaf([3.0, 4.0])
        (p * p * 0.5).sum().backward(create_graph=True)
        recorded = p.grad
        clip(p)
        assert recorded.data.tolist() == [3.0, 4.0]
        assert not p.grad.requires_grad
        assert np.max(p.grad.data) < 1
        q = leaf([3.0, 4.0])
        q.grad = np.array([3.0, 4.0])
        kept = q.grad.data
        kept.flags.writeable = False
        clip(q)
        assert kept.tolist() == [3.0, 4.0]
        assert np.max(q.grad.data) < 1


def test_clipping_within_training(rng: np.random.Generator) -> None:
    model = nn.MLP([3, 4, 2], generator=rng)
    loss = (model(rng.normal(size=(5, 3)).astype(np.float32)) * 1e6).sum()
    loss.backward()
    before = [p.grad.data.copy() for p in model.parameters()]
    total = optim.clip_grad_norm(model.parameters(), 2.0)
    assert total == pytest.approx(exact(before, 2.0), rel=1e-14)
    assert exact([p.grad.data for p in model.parameters()], 2.0) == pytest.approx(2.0, rel=1e-6)


def test_what_is_refused() -> None:
    (p,) = with_gradients(np.array([3.0, 4.0]))
    for clip in (optim.clip_grad_norm, optim.clip_grad_value):
        with pytest.raises(TypeError, match=rf"{clip.__name__}: parameters is Linear; write model.parameters\(\)"):
            clip(nn.Linear(2, 2), 1.0)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="parameters is NoneType"):
            clip(None, 1.0)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"parameters\[1\] is array"):
            clip([p, np.ones(2)], 1.0)  # type: ignore[list-item]
        for wrong in (-1.0, math.nan, "1", True, None):
            with pytest.raises(
                ValueError, match=rf"{clip.__name__}: (max_norm|clip_value)=.*; expected a number from 0"
            ):
                clip([p], wrong)  # type: ignore[arg-type]
    for wrong in (-1.0, 0, math.nan, "fro"):
        with pytest.raises(ValueError, match="norm_type="):
            optim.clip_grad_norm([p], 1.0, wrong)  # type: ignore[arg-type]
    assert p.grad is not None
    assert p.grad.data.tolist() == [3.0, 4.0]
