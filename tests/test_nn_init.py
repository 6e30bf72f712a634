"""Initial weights: where they are drawn from, and that they are drawn in place and reproducibly."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import tinygrad_ce as tg
from tinygrad_ce import nn
from tinygrad_ce.nn import init

OUT, IN = 300, 200
RANDOM = {
    # name: options, standard deviation by the paper, is it uniform?
    "kaiming_uniform_": ({"nonlinearity": "relu"}, math.sqrt(2 / IN), True),
    "kaiming_normal_": ({"mode": "fan_out", "a": 1.0}, math.sqrt(1 / OUT), False),
    "xavier_uniform_": ({}, math.sqrt(2 / (IN + OUT)), True),
    "xavier_normal_": ({"gain": 2.0}, 2 * math.sqrt(2 / (IN + OUT)), False),
    "lecun_uniform_": ({}, math.sqrt(1 / IN), True),
    "lecun_normal_": ({}, math.sqrt(1 / IN), False),
    "uniform_": ({"a": -3.0, "b": 3.0}, math.sqrt(3), True),
    "normal_": ({"std": 0.02}, 0.02, False),
    "orthogonal_": ({}, 1 / math.sqrt(OUT), False),
}


def weight(*shape, dtype="float32"):
    return nn.Parameter(np.full(shape or (OUT, IN), 7.0), dtype=dtype)


@pytest.mark.parametrize("name", RANDOM)
def test_distribution(name):
    options, std, uniform = RANDOM[name]
    w = weight()
    data = w.data
    assert getattr(init, name)(w, **options, generator=np.random.default_rng(0)) is w
    assert w.data is data
    n = w.size
    values = w.data.astype(np.float64).ravel()
    # four standard errors: of the mean, and of the variance by its fourth moment
    assert abs(values.mean()) <= 4 * std / math.sqrt(n)
    fourth = 9 / 5 if uniform else 3
    assert abs(values.var() / std**2 - 1) <= 4 * math.sqrt((fourth - 1) / n)
    if uniform:
        bound = math.sqrt(3) * std
        assert bound * (1 - 20 / n) <= np.abs(values).max() <= bound * (1 + 1e-6)
    else:
        within = np.mean(np.abs(values) <= std)
        assert abs(within - 0.6827) <= 4 * math.sqrt(0.6827 * 0.3173 / n)


@pytest.mark.parametrize("name", RANDOM)
def test_the_same_seed_draws_the_same_and_a_generator_is_needed(name):
    function, options = getattr(init, name), RANDOM[name][0]
    first, second = (
        function(weight(5, 4), **options, generator=np.random.default_rng(3)).data.copy() for _ in range(2)
    )
    assert_array_equal(first, second)
    with pytest.raises(TypeError, match="generator"):
        function(weight(5, 4), **options)
    w = weight(5, 4)
    with pytest.raises(TypeError, match=r"^init: generator=0; write generator=numpy\.random\.default_rng\(seed\)"):
        function(w, **options, generator=0)
    assert_array_equal(w.data, 7)
    assert function(weight(2, 0), **options, generator=np.random.default_rng(0)).shape == (2, 0)


@settings(max_examples=40)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4), gain=st.sampled_from([1.0, 0.5, math.sqrt(2)]),
    dtype=st.sampled_from(["float32", "float64"]), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_orthogonal(shape, gain, dtype, seed):
    w = init.orthogonal_(weight(*shape, dtype=dtype), gain, generator=np.random.default_rng(seed))
    matrix = w.data.astype(np.float64).reshape(shape[0], -1)
    gram = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(gram, gain**2 * np.eye(len(gram)), atol=32 * np.finfo(dtype).eps)


def test_orthogonal_matrices_of_both_orientations_are_drawn():
    """Without the correction of the signs, QR would favour some."""
    rng = np.random.default_rng(0)
    drawn = np.array([init.orthogonal_(weight(2, 2), generator=rng).data for _ in range(2000)], np.float64)
    for entries in (np.linalg.det(drawn), np.sign(drawn[:, 0, 0]), np.sign(drawn[:, 1, 1])):
        assert abs(entries.mean()) <= 4 / math.sqrt(2000)


def test_constants():
    w = weight(2, 3)
    assert_array_equal(init.zeros_(w).data, 0)
    assert_array_equal(init.ones_(w).data, 1)
    assert_array_equal(init.constant_(w, 0.25).data, 0.25)
    assert_array_equal(init.zeros_(nn.Buffer([1.0])).data, 0)


def test_gains():
    found = [init.calculate_gain(name) for name in ("linear", "sigmoid", "tanh", "relu", "selu")]
    assert found == [1, 1, 5 / 3, math.sqrt(2), 0.75]
    assert init.calculate_gain("leaky_relu", 0.2) == math.sqrt(2 / 1.04)
    with pytest.raises(ValueError, match=r"^calculate_gain: nonlinearity='gelu'; expected one of linear, "):
        init.calculate_gain("gelu")


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda g: init.xavier_normal_(nn.Parameter([1.0]), generator=g), ValueError, r"shape \(1,\), expected a"),
        (lambda g: init.orthogonal_(nn.Parameter([1.0]), generator=g), ValueError, r"shape \(1,\), expected a weight"),
        (lambda g: init.kaiming_normal_(weight(2, 2), mode="fan", generator=g), ValueError, "mode='fan'; expected"),
        (lambda _: init.zeros_(np.ones(3)), TypeError, r"expected a parameter, such as layer\.weight, found array"),
        (lambda _: init.zeros_(weight(2, 2) * 2), TypeError, "expected a parameter"),
        (lambda _: init.ones_(tg.Tensor(np.arange(3))), TypeError, "expected a parameter"),
        (lambda g: init.normal_(nn.Linear(2, 2), generator=g), TypeError, r"found Linear\(2, 2\)"),
    ],
)  # fmt: skip
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call(np.random.default_rng(0))
