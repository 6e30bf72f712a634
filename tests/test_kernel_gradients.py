"""The gradients of softmax and log-softmax on arrays, over both kinds of kernels."""

import numpy as np
import pytest

from tests.test_kernels import FLOATS, NAN, views
from tinygrad_ce.kernels import rows as row_kernels
from tinygrad_ce.kernels import softmax as numpy_kernels

GRADIENTS = ("softmax_gradient", "log_softmax_gradient")


def problem_of_gradients(name, c, dtype):
    """g with many zeros, the output of the op in rows from even to certain, and dx in extended precision."""
    rng = np.random.default_rng(8)
    g = rng.normal(size=(24, c)).astype(dtype) * (rng.random((24, c)) < 0.5)
    x = rng.normal(size=(24, c))
    x[np.arange(24), np.arange(24) % c] += np.linspace(0, 25, 24)
    exact_z = (x - np.logaddexp.reduce(x, axis=1, keepdims=True)).astype(dtype)
    if name == "softmax_gradient":
        p = np.exp(exact_z)
        wide, w = p.astype(np.longdouble), g.astype(np.longdouble)
        return (
            g,
            p,
            wide * (w - (w * wide).sum(1, keepdims=True)),
            wide * (abs(w) + abs(w * wide).sum(1, keepdims=True)),
        )
    wide, w = exact_z.astype(np.longdouble), g.astype(np.longdouble)
    p, total = np.exp(wide), w.sum(1, keepdims=True)
    others = (abs(w).sum(1, keepdims=True) - abs(w)) * p
    return g, exact_z, -w * np.expm1(wide) - p * (total - w), abs(w * np.expm1(wide)) + others


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("c", [2, 7, 90, 1500])
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_right_to_round_off(kernels, name, c, dtype):
    """Of the size of the terms that make them up; that of a certain row is tiny, and has its digits."""
    g, z, expected, size = problem_of_gradients(name, c, dtype)
    dx = getattr(kernels, name)(g, z)
    assert dx.dtype == dtype
    eps = float(np.finfo(dtype).eps)
    tiny = float(np.finfo(dtype).smallest_subnormal)
    assert (abs(dx - expected) <= 12 * eps * size + tiny).all()


@pytest.mark.parametrize("c", [2, 7, 64])
def test_numpys_gradient_of_log_softmax_in_short_float32_rows_is_rounded_once(c):
    """Each element, also where terms cancel."""
    g, z, expected, _ = problem_of_gradients("log_softmax_gradient", c, np.float32)
    dx = numpy_kernels.log_softmax_gradient(g, z)
    assert (abs(dx - expected) <= 0.51 * np.spacing(abs(dx))).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("c", [7, 90])
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_do_not_depend_on_layout_axis_or_blocks(kernels, name, c, dtype, monkeypatch):
    g, z, *_ = problem_of_gradients(name, c, dtype)
    rule = getattr(kernels, name)
    dx, kept = rule(g, z), (g.copy(), z.copy())
    for other_g, other_z in zip(views(g), views(z), strict=True):
        np.testing.assert_array_equal(rule(other_g, other_z), dx)
        np.testing.assert_array_equal(rule(other_g.T, other_z.T, 0), dx.T)
    np.testing.assert_array_equal(rule(np.broadcast_to(g[:1], g.shape), z)[5], rule(g[:1], z[5:6])[0])
    monkeypatch.setattr(row_kernels, "BLOCK", 3 * c)
    np.testing.assert_array_equal(rule(g, z), dx)
    for array, copy in zip((g, z), kept, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("c", [4, 90])
def test_rows_of_nan_that_no_gradient_reaches_have_none(kernels, c):
    g, z = np.ones((3, c), np.float32), np.full((3, c), NAN, np.float32)
    g[1] = 0
    z[2] = -np.log(c)
    dx = kernels.log_softmax_gradient(g, z)
    assert np.isnan(dx[0]).all()
    assert dx[1].tolist() == [0.0] * c
    np.testing.assert_allclose(dx[2], 0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [5, 50, 90])
def test_a_large_gradient_at_a_certain_class_does_not_hide_those_of_the_others(kernels, dtype, c):
    """Of dx_a = g_a (1 - p_a) - p_a (G - g_a) both terms are tiny beside g_a."""
    rng = np.random.default_rng(c)
    g = (rng.normal(size=(8, c)) * 1e-3).astype(dtype)
    z = rng.normal(size=(8, c))
    z[:, 2] += 22
    z = (z - np.logaddexp.reduce(z, axis=1, keepdims=True)).astype(dtype)
    g[:, 2] = 1e4
    own, others = g[:, 2].astype(np.longdouble), np.delete(g, 2, axis=1).astype(np.longdouble)
    certain = z[:, 2].astype(np.longdouble)
    terms = -own * np.expm1(certain), -np.exp(certain) * others.sum(1)
    dx = kernels.log_softmax_gradient(g, z)
    size = abs(terms[0]) + abs(others).sum(1)
    # float64 adds up g_a with the others, so these are right to its last place of g_a
    assert (abs(dx[:, 2] - sum(terms)) <= 12 * np.finfo(dtype).eps * size + c * np.finfo(float).eps * own).all()
