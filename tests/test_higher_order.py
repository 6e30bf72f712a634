"""Gradients of gradients: `create_graph`, Hessians, and random programs, against exact derivatives."""

import itertools

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_ce as tg
from tests.helpers import leaf
from tinygrad_ce import Tensor

X = np.array([0.3, 1.2, 2.5])
SERIES = [
    ("x**4", lambda x: x**4, lambda x: x**4),
    ("1/x", lambda x: 1 / x, lambda x: 1 / x),
    ("2**x", lambda x: 2.0**x, lambda x: mpmath.mpf(2) ** x),
    ("x**x", lambda x: x**x, lambda x: x**x),
    ("exp(sin x)", lambda x: np.exp(np.sin(x)), lambda x: mpmath.exp(mpmath.sin(x))),
    ("log(1+x)/sqrt x", lambda x: np.log1p(x) / np.sqrt(x), lambda x: mpmath.log1p(x) / mpmath.sqrt(x)),
    ("tanh", np.tanh, mpmath.tanh),
    ("sigmoid", lambda x: x.sigmoid(), lambda x: 1 / (1 + mpmath.exp(-x))),
    ("gelu", lambda x: x.gelu(), lambda x: x * mpmath.ncdf(x)),
    ("softplus", lambda x: x.softplus(), lambda x: mpmath.log1p(mpmath.exp(x))),
    ("x*cos(x*x)", lambda x: x * np.cos(x * x), lambda x: x * mpmath.cos(x * x)),
]


@pytest.mark.parametrize(("function", "exact"), [s[1:] for s in SERIES], ids=[s[0] for s in SERIES])
def test_derivatives_to_the_fourth_order(function, exact):
    x = leaf(X)
    d = function(x)
    for order in range(1, 5):
        d = tg.grad(d, x, np.ones(3), create_graph=True)
        with mpmath.workdps(60):
            expected = [float(mpmath.diff(exact, mpmath.mpf(v), order)) for v in X]
        assert_allclose(d.data, expected, rtol=1e-12)


def test_backward_with_create_graph_gives_a_gradient_with_a_graph():
    x = leaf(3.0)
    (x**3).backward(create_graph=True)
    assert x.grad.requires_grad
    assert x.grad.item() == 27
    (penalty,) = tg.grad(x.grad**2, [x])
    assert penalty.item() == 2 * 27 * 18
    x.grad = None
    with tg.no_grad():
        pass
    y = x**3
    y.backward(retain_graph=True)
    assert not x.grad.requires_grad


def test_create_graph_records_inside_no_grad():
    x = leaf(3.0)
    y = x**3
    with tg.no_grad():
        assert tg.grad(y, x, create_graph=True).requires_grad
        y.backward(create_graph=True)
        y.backward(create_graph=True)
    assert tg.grad(x.grad, x).item() == 36


def test_create_graph_through_a_given_gradient():
    x, v = leaf([1.0, 2.0]), leaf([3.0, 5.0])
    (g,) = tg.grad(x * x, [x], v, create_graph=True)
    g.sum().backward()
    assert_array_equal(v.grad.data, [2, 4])
    assert_array_equal(x.grad.data, [6, 10])


def test_a_hook_is_recorded_under_create_graph():
    x = leaf(2.0)
    x.register_hook(lambda g: g * x)
    g = tg.grad(x * x, x, create_graph=True)
    assert g.item() == 8
    x2 = leaf(2.0)
    y = x2 * x2
    y.register_hook(lambda g: g * x2)
    g = tg.grad(y * 1.0, x2, create_graph=True)
    assert g.item() == 8
    assert tg.grad(g, x2).item() == 8


ROWS = {
    "even": [0.1, -0.2, 0.3],
    "confident and right": [30.0, 0.0, -2.0],
    "confident and wrong": [0.0, 30.0, -2.0],
    "hopeless": [0.0, 60.0, 2.0],
    "underflow": [900.0, 0.0, 1.0],
    "overflow": [0.0, 900.0, 1.0],
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("fused", [True, False])
def test_hessian_of_the_cross_entropy(row, fused):
    logits = leaf([ROWS[row], [0.5, 0.25, -1.0]])
    y = np.array([0, 2])
    if fused:
        loss = tg.functional.softmax_cross_entropy(logits, y)
    else:
        loss = tg.functional.nll_loss(tg.functional.log_softmax(logits), y)
    gradient = tg.grad(loss, logits, create_graph=True)
    with mpmath.workdps(900):
        p = [[mpmath.exp(v) / mpmath.fsum(map(mpmath.exp, r)) for v in r] for r in logits.data.tolist()]
        for i, j in itertools.product(range(2), range(3)):
            pick = np.zeros((2, 3))
            pick[i, j] = 1
            found = tg.grad(gradient, logits, pick, retain_graph=True)
            expected = np.zeros((2, 3))
            expected[i] = [float(((p[i][j] if k == j else 0) - p[i][j] * p[i][k]) / 2) for k in range(3)]
            # relative to each entry: the small ones are what a confident row is about
            assert_allclose(found.data, expected, rtol=1e-12, atol=np.finfo(float).tiny)


LOSSES = {
    "mean": lambda z: z,
    "none": lambda z: np.sum(z * np.array([2.0, 5.0])),
    "sum": np.square,
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_fused_loss_to_the_fourth_order(name):
    x = np.array([[0.3, -0.7, 1.1], [2.0, 0.1, -0.4]])
    v = np.array([[1.0, -0.5, 0.25], [0.3, 0.9, -1.2]])

    def exact(t):
        rows = [
            [mpmath.mpf(a) + t * mpmath.mpf(b) for a, b in zip(*row, strict=True)] for row in zip(x, v, strict=True)
        ]
        l0, l1 = (mpmath.log(mpmath.fsum(map(mpmath.exp, r))) - r[k] for r, k in zip(rows, (2, 0), strict=True))
        return {"mean": (l0 + l1) / 2, "none": 2 * l0 + 5 * l1, "sum": (l0 + l1) ** 2}[name]

    z = leaf(x)
    d = LOSSES[name](tg.functional.softmax_cross_entropy(z, np.array([2, 0]), reduction=name))
    with mpmath.workdps(60):
        expected = [float(mpmath.diff(exact, 0, order)) for order in range(5)]
    assert_allclose(d.item(), expected[0], rtol=1e-15)
    for order in range(1, 5):
        d = np.sum(tg.grad(d, z, create_graph=True) * v)
        assert_allclose(d.item(), expected[order], rtol=1e-12)


# Random programs against Cauchy's formula

SHAPES = [(3, 2), (1, 2), (3, 1), (2,), (1,), ()]
UNARY = {
    "sin": np.sin,
    "exp": lambda v: np.exp(0.5 * v),
    "square": lambda v: v * v,
    "neg": lambda v: -v,
    "sum": np.sum,
    "sum0": lambda v: np.sum(v, axis=0) if v.ndim else v,
    "sum-1": lambda v: np.sum(v, axis=-1, keepdims=True) if v.ndim else v,
    "flat": lambda v: v.reshape(-1),
    "T": lambda v: v.T,
    "flip": lambda v: v[::-1] if v.ndim else v,
    "rows": lambda v: v[np.array([0, -1, 0])] if v.ndim else v[None],
    "new": lambda v: v[..., None],
    "scale": lambda v: 0.75 * v - 0.5,
}
JOIN = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


@st.composite
def programs(draw):
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
    values = [np.zeros(s) for s in shapes]
    steps = []
    for _ in range(draw(st.integers(1, 10))):
        i = draw(st.integers(0, len(values) - 1))
        if draw(st.booleans()):
            name, j = draw(st.sampled_from(sorted(UNARY))), None
            value = UNARY[name](values[i])
        else:
            fits = [j for j, v in enumerate(values) if _fit(v.shape, values[i].shape)]
            name, j = draw(st.sampled_from(sorted(JOIN))), draw(st.sampled_from(fits))
            value = JOIN[name](values[i], values[j])
        value = np.asarray(value)
        if value.ndim > 4 or value.size > 200:
            continue
        values.append(value)
        steps.append((name, i, j))
    return shapes, steps, draw(st.integers(0, 2**32 - 1))


def _fit(a, b):
    return all(1 in (m, n) or m == n for m, n in zip(a[::-1], b[::-1], strict=False))


def run(steps, leaves):
    values = list(leaves)
    for name, i, j in steps:
        values.append(UNARY[name](values[i]) if j is None else JOIN[name](values[i], values[j]))
    return sum(np.sum(np.cos(v)) for v in values[-3:])


@given(programs())
@settings(max_examples=300)
def test_random_programs_to_the_third_order(program):
    """f(x + t v) is analytic in t: its Taylor coefficients are Fourier coefficients on a circle around 0."""
    shapes, steps, seed = program
    random = np.random.default_rng(seed)
    x = [random.uniform(-1, 1, s) for s in shapes]
    v = [random.uniform(-1, 1, s) for s in shapes]
    points, radius = 32, 0.1
    circle = radius * np.exp(2j * np.pi * np.arange(points) / points)
    with np.errstate(all="ignore"):
        around = np.array([run(steps, [a + t * b for a, b in zip(x, v, strict=True)]) for t in circle])
    assume(np.isfinite(around).all() and np.abs(around).max() < 1e3)
    taylor = np.fft.fft(around) / points / radius ** np.arange(points)
    accuracy = 1e-13 * np.abs(around).max() / radius ** np.arange(points)
    assume(abs(taylor[points // 2]) * radius ** (points // 2) < 1e-14)  # the circle is inside the radius of convergence

    leaves = [leaf(a) for a in x]
    z = run(steps, leaves)
    run(steps, leaves).backward()
    directional = sum(np.sum(t.grad.data * b) for t, b in zip(leaves, v, strict=True) if t.grad is not None)
    assert_allclose(directional, taylor[1].real, rtol=1e-11, atol=accuracy[1])
    for order in (1, 2, 3):
        if not z.requires_grad:
            break
        gradients = tg.grad(z, leaves, create_graph=True, allow_unused=True)
        z = sum(np.sum(g * b) for g, b in zip(gradients, v, strict=True) if g is not None)
        expected = taylor[order].real * [1, 1, 2, 6][order]
        found = z.item() if isinstance(z, Tensor) else z
        assert_allclose(found, expected, rtol=1e-10, atol=6 * accuracy[order])
