"""NumPy's functions and operators on Tensors: a Tensor with a graph, NumPy's own answer, or an error with a name."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal

from tinygrad_ce import Tensor

rng = np.random.default_rng(4)
A = rng.uniform(0.2, 0.9, size=(2, 3))
B = rng.uniform(0.2, 0.9, size=(2, 3))


def numeric(function, array, g):
    """Pull g back through a real analytic function by complex steps: exact to rounding, one entry at a time."""
    out = np.zeros_like(array)
    for i in np.ndindex(array.shape):
        z = array.astype(complex)
        z[i] += 1e-100j
        out[i] = np.sum(g * function(z).imag) / 1e-100
    return out


ANALYTIC = {
    "exp": np.exp, "log": np.log, "log1p": np.log1p, "expm1": np.expm1, "sqrt": np.sqrt, "square": np.square,
    "negative": np.negative, "reciprocal": np.reciprocal, "sin": np.sin, "cos": np.cos, "tanh": np.tanh,
    "add": lambda x: np.add(x, B), "subtract": lambda x: np.subtract(B, x), "multiply": lambda x: np.multiply(B, x),
    "divide": lambda x: np.divide(B, x), "true_divide": lambda x: np.true_divide(x, B),
    "power": lambda x: np.power(x, 3),
    "sum": np.sum, "sum axis": lambda x: np.sum(x, axis=0), "sum positional": lambda x: np.sum(x, 1),
    "sum keepdims": lambda x: np.sum(x, axis=(0, 1), keepdims=True), "mean": lambda x: np.mean(x, axis=-1),
    "prod": lambda x: np.prod(x, axis=0), "cumsum": lambda x: np.cumsum(x, axis=1), "flat cumsum": np.cumsum,
    "reshape": lambda x: np.reshape(x, (3, 2)), "reshape -1": lambda x: np.reshape(x, -1),
    "transpose": np.transpose, "transpose axes": lambda x: np.transpose(x, (1, 0)),
    "swapaxes": lambda x: np.swapaxes(x, 0, 1), "squeeze": lambda x: np.squeeze(x[:, None], axis=1),
    "squeeze all": lambda x: np.squeeze(x[None]), "expand_dims": lambda x: np.expand_dims(x, 1),
    "broadcast_to": lambda x: np.broadcast_to(x, (4, 2, 3)), "flip": lambda x: np.flip(x, axis=1), "flip all": np.flip,
    "concatenate": lambda x: np.concatenate([x, B, x * x]),
    "concatenate axis": lambda x: np.concatenate((B, x), axis=1),
    "stack": lambda x: np.stack([x, x * 2], axis=-1), "pad": lambda x: np.pad(x, ((1, 0), (0, 2))),
    "take_along_axis": lambda x: np.take_along_axis(x, np.array([[0, 0], [2, 1]]), axis=1),
    "where": lambda x: np.where(B > 0.5, x, x * x), "matmul": lambda x: np.matmul(x, B.T),
    "matmul left": lambda x: B.T @ x,
    "outer": lambda x: np.outer(x[0], B[0]), "einsum": lambda x: np.einsum("ij,kj->ik", x, B),
    "trace": lambda x: np.einsum("ii", x[:, :2]),
}  # fmt: skip


@pytest.mark.parametrize("name", ANALYTIC)
def test_functions_give_tensors_with_a_graph(name):
    function = ANALYTIC[name]
    x = Tensor(A, requires_grad=True)
    z = function(x)
    assert type(z) is Tensor
    assert_allclose(z.data, function(A), rtol=1e-15)
    assert z.shape == np.shape(function(A))
    g = rng.normal(size=z.shape)
    z.backward(g)
    assert_allclose(x.grad.data, numeric(function, A, g), rtol=1e-13)


PIECEWISE = {
    "abs": np.abs, "absolute": np.absolute, "maximum": lambda x: np.maximum(x, 0.1),
    "minimum": lambda x: np.minimum(0.1, x),
    "clip": lambda x: np.clip(x, -0.3, 0.4), "clip keyword": lambda x: np.clip(x, a_min=None, a_max=0.2),
    "max": lambda x: np.max(x, axis=1), "amin": lambda x: np.amin(x, axis=0, keepdims=True), "min": np.min,
    "var": lambda x: np.var(x, axis=0), "std": lambda x: np.std(x, axis=1, ddof=1),
}  # fmt: skip


@pytest.mark.parametrize("name", PIECEWISE)
def test_piecewise_functions(name):
    function = PIECEWISE[name]
    array = A - 0.5
    x = Tensor(array, requires_grad=True)
    z = function(x)
    assert type(z) is Tensor
    assert_allclose(z.data, function(array), rtol=1e-15)
    g = rng.normal(size=z.shape)
    z.backward(g)
    h = 1e-6
    for i in np.ndindex(array.shape):
        step = np.zeros_like(array)
        step[i] = h
        slope = np.sum(g * (function(array + step) - function(array - step))) / (2 * h)
        assert_allclose(x.grad.data[i], slope, rtol=1e-8, atol=1e-9)


OPERATORS = ["add", "subtract", "multiply", "divide", "power", "matmul"]


@pytest.mark.parametrize("name", OPERATORS)
def test_arrays_on_either_side(name):
    ufunc = getattr(np, name)
    array, other = A[:, :2], B[:, :2]
    symbol = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**", "matmul": "@"}[name]
    for left in (True, False):
        t = Tensor(array, requires_grad=True)
        x, y = (t, other) if left else (other, t)
        for z in (eval(f"x {symbol} y"), ufunc(x, y)):
            t.grad = None
            assert type(z) is Tensor
            assert_array_equal(z.data, ufunc(array, other) if left else ufunc(other, array))
            z.backward(B[:, :2])
            exact = numeric((lambda v: ufunc(v, other)) if left else (lambda v: ufunc(other, v)), array, B[:, :2])
            assert_allclose(t.grad.data, exact, rtol=1e-13)


@pytest.mark.parametrize("scalar", [np.float64(2), np.float32(2), np.int64(2), np.array(2.0), 2, 2.0])
def test_numpy_numbers_on_the_left(scalar):
    x = Tensor(A, requires_grad=True)
    z = scalar * x
    assert type(z) is Tensor
    z.backward(B)
    assert_array_equal(x.grad.data, 2 * B)
    assert (scalar**x).requires_grad
    assert (scalar - x).requires_grad
    assert (scalar / x).requires_grad


CONSTANT = {
    "argmax": lambda x: np.argmax(x, axis=1), "argmin": np.argmin, "argsort": np.argsort, "sign": np.sign,
    "floor": np.floor,
    "isnan": np.isnan, "isfinite": np.isfinite, "greater": lambda x: np.greater(x, 0.5),
    "equal": lambda x: np.equal(x, x),
    "any": lambda x: np.any(x > 0.5, axis=0), "all": np.all, "isclose": lambda x: np.isclose(x, A),
    "round": lambda x: np.round(x, 1),
    "zeros_like": np.zeros_like, "ones_like": np.ones_like, "logical_not": np.logical_not, "rint": np.rint,
}  # fmt: skip


@pytest.mark.parametrize("name", CONSTANT)
def test_what_has_no_slope_is_a_constant_tensor(name):
    z = CONSTANT[name](Tensor(A, requires_grad=True))
    assert type(z) is Tensor
    assert not z.requires_grad
    assert_array_equal(z.data, CONSTANT[name](A), strict=True)


def test_questions_are_answered_by_numpy():
    x = Tensor(A, requires_grad=True)
    assert (np.shape(x), np.ndim(x), np.size(x)) == ((2, 3), 2, 6)
    assert np.allclose(x, A) is True
    assert np.array_equal(x, A) is True
    assert_array_equal(np.nonzero(x > 0.5), np.nonzero(A > 0.5))
    assert np.result_type(x, np.float32) == np.float64
    assert np.isscalar(x) is False
    assert np.array_str(x) == np.array_str(A)


UNSUPPORTED = {
    r"linalg\.norm": np.linalg.norm,
    r"linalg\.inv": lambda x: np.linalg.inv(x[:, :2]),
    r"fft\.fft\b": np.fft.fft,
    r"add\.reduce": np.add.reduce,
    r"add\.accumulate": np.add.accumulate,
    r"multiply\.outer": lambda x: np.multiply.outer(x, x),
    r"add\.at": lambda x: np.add.at(np.zeros(3), [0], x[0, :1]),
    r"arctan2": lambda x: np.arctan2(x, 1.0),
    r"median": np.median,
    r"convolve": lambda x: np.convolve(x[0], x[0]),
    r"modf": np.modf,
    r"exp\b.*out=": lambda x: np.exp(x, out=np.zeros((2, 3))),
    r"exp\b.*where=": lambda x: np.exp(x, where=np.ones((2, 3), bool)),
    r"exp\b.*dtype=": lambda x: np.exp(x, dtype=np.float32),
    r"sum\b.*out": lambda x: np.sum(x, axis=0, out=np.zeros(3)),
    r"sum\b.*where": lambda x: np.sum(x, where=np.ones((2, 3), bool)),
    r"mean\b.*dtype": lambda x: np.mean(x, dtype=np.float32),
    r"max\b.*initial": lambda x: np.max(x, initial=2.0),
    r"where\b": lambda x: np.where(x),
    r"concatenate\b.*out": lambda x: np.concatenate([x, x], out=np.zeros((4, 3))),
    r"greater\b.*out": lambda x: np.greater(x, 0.5, out=np.zeros((2, 3), bool)),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_says_so_by_name(name):
    with pytest.raises(TypeError, match=name):
        UNSUPPORTED[name](Tensor(A, requires_grad=True))


def test_writing_a_tracked_tensor_into_an_array_is_refused_by_name():
    x = Tensor(A, requires_grad=True)
    array = np.zeros((2, 3))
    with pytest.raises(TypeError, match=r"add.*out="):
        array += x
    with pytest.raises(TypeError, match=r"multiply.*out="):
        array *= x * 2
    assert_array_equal(array, np.zeros((2, 3)))


def test_copyto_does_not_write_into_a_tracked_tensor():
    x = Tensor(A, requires_grad=True)
    before = x.data.copy()
    with pytest.raises((TypeError, RuntimeError), match=r"copyto|writing"):
        np.copyto(x, 0.0)
    assert_array_equal(x.data, before)
    array = np.zeros((2, 3))
    np.copyto(array, x)
    assert_array_equal(array, A)


def test_asarray():
    x = Tensor(A)
    assert np.asarray(x) is A
    assert np.asarray(x, dtype=np.float32).dtype == np.float32
    assert np.asarray(x, copy=True) is not A
    assert np.array(x) is not A
    assert not np.shares_memory(np.array(x), A)
    with pytest.raises(ValueError, match="copy"):
        np.asarray(x, dtype=np.float32, copy=False)
    assert_array_equal(np.array([Tensor(1.0), Tensor(2.0)]), [1, 2])
    assert np.zeros(3)[Tensor(np.array([0, 1]))].shape == (2,)


def test_numpys_own_assertions():
    x = Tensor(A, requires_grad=True)
    np.testing.assert_allclose(x, A)
    np.testing.assert_array_equal(x, A)
    np.testing.assert_allclose(A, x * 1.0, rtol=1e-15)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(x, A + 1e-3)


def test_matplotlib_draws_tensors():
    x = Tensor(A[0], requires_grad=True)
    (line,) = Figure().subplots().plot(x, x * 2)
    assert_array_equal(line.get_xydata(), np.stack([A[0], 2 * A[0]], axis=1))


def test_ways_to_lose_numpys_masks_and_matrices():
    x = Tensor([1.0, 2.0], requires_grad=True)
    z = x * np.ma.masked_array([1.0, 2.0], mask=[False, False])
    assert type(z) is Tensor
    assert type(z.data) is np.ndarray


@pytest.mark.parametrize("array", [np.ones(2, complex), np.ones(2, np.longdouble), np.array([1.0, 2.0], object)])
def test_arrays_that_no_tensor_holds_are_refused(array):
    x = Tensor([1.0, 2.0], requires_grad=True)
    for act in (lambda: x * array, lambda: array * x, lambda: np.stack([x, array]), lambda: np.where(x > 0, x, array)):
        with pytest.raises(TypeError, match=r"float16, float32, float64, integers or bools"):
            act()


def test_the_protocol_keeps_weak_scalars_and_float32():
    x = Tensor(np.float32([0.5, 2.0]), requires_grad=True)
    for z in (np.multiply(x, 2.0), np.power(x, 2), np.maximum(x, 1.0), np.where(x > 1, x, 0.0), np.clip(x, 0.0, 1.0),
              np.mean(x), np.var(x), np.add(1, x)):  # fmt: skip
        assert z.dtype == np.float32
        assert z.requires_grad


def test_lists_with_tensors_in_them():
    x = Tensor([1.0, 2.0], requires_grad=True)
    z = np.stack([x, [3.0, 4.0], np.ones(2, np.float32)])
    z.backward(np.arange(6.0).reshape(3, 2))
    assert_array_equal(x.grad.data, [0, 1])
    with pytest.raises(TypeError, match="stack"):
        Tensor([x, x])


def test_functions_of_int_tensors():
    t = Tensor(np.arange(6).reshape(2, 3))
    for found, expected in ((np.sum(t), 15), (np.mean(t, axis=0), [1.5, 2.5, 3.5]), (np.max(t, axis=1), [2, 5])):
        assert_array_equal(found.data, expected)
    assert np.sum(t).dtype == np.int64
    assert_allclose(np.exp(t).data, np.exp(t.data), rtol=1e-15)
