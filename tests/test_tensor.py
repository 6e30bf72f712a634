"""The Tensor as an array: what may be in it, how it converts, computes, is indexed and prints."""

import math
import operator
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tinygrad_ce as tg
from tinygrad_ce import Tensor

FLOATS = [np.float16, np.float32, np.float64]


@contextmanager
def default_dtype(dtype: str) -> Iterator[None]:
    tg.set_default_dtype(dtype)
    try:
        yield
    finally:
        tg.set_default_dtype("float32")


# What may be in it


@pytest.mark.parametrize("data", [[1.0, 2.0], [1, 2], [[1], [2.0]], (), 1.5, [np.float64(1)], [np.zeros(2)]])
def test_lists_and_python_floats_become_the_default_dtype(data):
    assert Tensor(data).dtype == np.float32
    with default_dtype("float64"):
        assert Tensor(data).dtype == np.float64
    with default_dtype("float16"):
        assert Tensor(data).dtype == np.float16


@pytest.mark.parametrize("dtype", [*FLOATS, np.int8, np.int64, np.uint8, np.bool_])
def test_arrays_and_numpy_numbers_keep_their_dtype(dtype):
    with default_dtype("float16"):
        assert Tensor(np.ones(2, dtype)).dtype == dtype
        assert Tensor(dtype(1)).dtype == dtype
        assert Tensor(np.array(1, dtype)).shape == ()


@pytest.mark.parametrize("bad", ["int32", "complex64", "longdouble", bool])
def test_the_default_dtype_is_a_float_and_a_refused_one_changes_nothing(bad):
    with pytest.raises(TypeError, match="float16, float32 or float64"):
        tg.set_default_dtype(bad)
    assert tg.get_default_dtype() == np.float32


@pytest.mark.parametrize(
    "data", ["text", ["a"], None, [1.0, None], 1j, [1j], np.array([1j]), np.longdouble(1), object()]
)
def test_data_that_is_no_real_number_is_a_type_error(data):
    with pytest.raises(TypeError, match="float16, float32, float64, integers or bools"):
        Tensor(data)


def test_a_ragged_list_says_so():
    with pytest.raises(ValueError, match="ragged"):
        Tensor([[1.0], [1.0, 2.0]])


@pytest.mark.parametrize("data", [[True], 3, np.arange(3), np.array([True])])
def test_integers_and_bools_are_data_but_take_no_gradient(data):
    data = np.asarray(data)
    t = Tensor(data)
    assert t.dtype == data.dtype
    for ask in (lambda: Tensor(data, requires_grad=True), t.requires_grad_, lambda: setattr(t, "requires_grad", True)):
        with pytest.raises(TypeError, match=r"dtype=np.float32"):
            ask()
    assert not t.requires_grad
    assert Tensor(data, requires_grad=True, dtype=np.float32).requires_grad


def test_foreign_byte_order_becomes_native():
    t = Tensor(np.array([1.5, 2.5], ">f4"))
    assert t.dtype.isnative
    assert_array_equal(t.data, [1.5, 2.5])


def test_a_leaf_owns_its_memory():
    for source in (np.ones(3), Tensor(np.ones(3)), memoryview(np.ones(3)), _Holder(np.ones(3))):
        leaf = Tensor(source, requires_grad=True)
        leaf.data[:] = 7
        assert_array_equal(np.asarray(source), np.ones(3))
    array = np.ones(3)
    assert Tensor(array).data is array


class _Holder:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype, copy=copy)


def test_a_tracked_tensor_is_not_data():
    x = Tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match="detach"):
        Tensor(x)
    with pytest.raises(TypeError, match="stack"):
        Tensor([x * 2, x * 3])
    with pytest.raises(TypeError, match="stack"):
        Tensor([[x[0]], [x[0]]])
    assert Tensor(x.detach()).node is None


def test_assigning_data_keeps_shape_and_dtype():
    x = Tensor([1.0, 2.0], requires_grad=True)
    x.data = [3, 4]
    assert x.dtype == np.float32
    assert x.requires_grad
    x.data = np.array([5.0, 6.0])
    assert x.dtype == np.float32
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        x.data = [1.0, 2.0, 3.0]
    assert_array_equal(x.data, [5, 6])
    x.data = x.data - 0.5 * Tensor([2.0, 2.0])
    assert_array_equal(x.data, [4, 5])


# Out of it


def test_properties_and_conversions():
    array = np.arange(6.0).reshape(2, 3)
    t = Tensor(array)
    assert (t.shape, t.ndim, t.size, t.dtype, len(t)) == ((2, 3), 2, 6, np.float64, 2)
    assert t.numpy() is t.data is array
    assert t.tolist() == array.tolist()
    assert_array_equal(t.T.data, array.T)
    assert [row.shape for row in t] == [(3,), (3,)]
    assert t.detach().data is array
    assert t.astype(np.float32).dtype == np.float32
    assert t.astype("int64").dtype == np.int64
    with pytest.raises(TypeError, match="complex"):
        t.astype(complex)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
def test_one_element_tensors_are_numbers(shape):
    t = Tensor(np.full(shape, 2.75))
    assert (float(t), int(t), bool(t), t.item()) == (2.75, 2, True, 2.75)
    assert type(t.item()) is float
    assert not Tensor(np.zeros(shape))
    assert math.sqrt(t) == math.sqrt(2.75)


@pytest.mark.parametrize("shape", [(2,), (0,), (1, 2)])
def test_other_tensors_are_no_numbers(shape):
    t = Tensor(np.zeros(shape))
    for convert in (float, int, bool, Tensor.item):
        with pytest.raises(ValueError, match=str(shape[0])):
            convert(t)


def test_zero_d_has_no_length():
    for act in (len, iter, list):
        with pytest.raises(TypeError, match="0-d"):
            act(Tensor(1.0))


def test_unpacking_keeps_the_graph():
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    a, *rest = x
    (a * rest[1]).backward()
    assert_array_equal(x.grad.data, [3, 0, 1])


# Arithmetic: values and dtypes are NumPy's

BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.matmul]
COMPARE = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


@pytest.mark.parametrize("op", BINARY + COMPARE)
@pytest.mark.parametrize("left", [*FLOATS, np.int32])
@pytest.mark.parametrize("right", [*FLOATS, np.int32])
def test_operators_are_numpys(op, left, right):
    a = np.array([[1, 2], [3, 4]], left)
    b = np.array([[2, 2], [1, 3]], right)
    for x, y in ((Tensor(a), Tensor(b)), (Tensor(a), b), (a, Tensor(b))):
        z = op(x, y)
        assert type(z) is Tensor
        assert_array_equal(z.data, op(a, b), strict=True)
    for x, y in ((Tensor(a), b.tolist()), (b.tolist(), Tensor(a))):  # lists have the default dtype
        expected = op(*(np.asarray(v, np.float32 if isinstance(v, list) else None) for v in (x, y)))
        assert_array_equal(op(x, y).data, expected, strict=True)


@pytest.mark.parametrize("op", [*BINARY[:-1], *COMPARE])
@pytest.mark.parametrize("dtype", [*FLOATS, np.int32, np.uint8])
@pytest.mark.parametrize("scalar", [2, 3.0, True, np.float64(2), np.float32(2), np.int64(2)])
def test_scalars_are_as_weak_as_in_numpy(op, dtype, scalar):
    plain = np.power if op is operator.pow else op  # before NumPy 2.2 its ** took np.float64(2) for weak
    for array in (np.array([1, 2, 3], dtype), np.array(3, dtype)):
        for expected, found in (
            (plain(array, scalar), op(Tensor(array), scalar)),
            (plain(scalar, array), op(scalar, Tensor(array))),
        ):
            assert type(found) is Tensor
            assert_array_equal(found.data, expected)
            assert found.dtype == expected.dtype


def test_unary_operators():
    t = Tensor([-1.0, 2.0])
    assert_array_equal((-t).data, [1, -2])
    assert_array_equal((+t).data, [-1, 2])
    assert_array_equal(abs(t).data, [1, 2])
    assert_array_equal((~(t > 0)).data, [True, False])
    assert_array_equal(((t > 0) & (t < 1) | (t == -1)).data, [True, False])


@pytest.mark.parametrize("op", [*BINARY, *COMPARE[2:]])
@pytest.mark.parametrize("other", [None, "text", {}, object()])
def test_foreign_operands_are_type_errors(op, other):
    for args in ((Tensor([1.0]), other), (other, Tensor([1.0]))):
        with pytest.raises(TypeError):
            op(*args)


@pytest.mark.parametrize("op", [operator.add, operator.mul, operator.truediv, operator.eq, operator.lt])
def test_shapes_that_do_not_broadcast_are_named(op):
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        op(Tensor([1.0, 2.0]), Tensor([1.0, 2.0, 3.0]))


def test_comparisons_are_constants():
    x = Tensor([1.0, 2.0], requires_grad=True)
    for op in COMPARE:
        assert not op(x, 1.0).requires_grad
        assert not op(1.0, x).requires_grad
        assert op(x, x).dtype == bool
    for stranger in (None, "text"):
        assert operator.eq(x, stranger) is False
        assert operator.ne(x, stranger) is True


def test_hashing_is_by_identity():
    x, y = Tensor([1.0, 2.0]), Tensor([1.0, 2.0])
    assert len({x, y, x}) == 2
    assert {x: "x"}[x] == "x"
    assert x in [x, y]
    assert Tensor(1.0) in [Tensor(0.0), Tensor(1.0)]
    with pytest.raises(ValueError, match=r"any.*all"):
        assert y in [x]


def test_augmented_assignment_makes_a_new_tensor():
    x = y = Tensor([1.0, 2.0], requires_grad=True)
    y += 1
    y *= x
    assert_array_equal(x.data, [1, 2])
    y.sum().backward()
    assert_array_equal(x.grad.data, [3, 5])


# Indexing

INDICES = [
    0, -1, np.int64(1), (1, 2), slice(None, None, -1), slice(3, 0, -2), ..., None, (None, 1), (..., 0), (0, ..., None),
    [0, 2], [[0, 1], [1, 0]], np.array([1, 1, 0]), ([0, 1], [2, 2]), (slice(None), [0, 0]), ([1], slice(None), None),
    np.array([True, False, True]), (slice(None), np.array([True, False, True, False])),
    np.arange(12).reshape(3, 4) % 2 == 0, True, False, [], (slice(0, 0), 1), (),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_indexing_is_numpys_and_its_gradient_scatters(index):
    array = np.arange(12.0).reshape(3, 4)
    x = Tensor(array, requires_grad=True)
    z = x[index]
    assert_array_equal(z.data, array[index], strict=True)
    g = np.random.default_rng(0).normal(size=z.shape)
    z.backward(g)
    expected = np.zeros_like(array)
    np.add.at(expected, index, g)
    assert_array_equal(x.grad.data, expected)


def test_tensors_are_indices_too():
    x = Tensor(np.arange(4.0), requires_grad=True)
    assert_array_equal(x[x > 1].data, [2, 3])
    z = x[Tensor(np.array([3, 3, 1]))]
    z.backward(np.array([1.0, 10.0, 100.0]))
    assert_array_equal(x.grad.data, [0, 100, 0, 11])


@pytest.mark.parametrize(
    ("index", "message"), [(5, "out of bounds"), ((0, 0, 0), "too many"), ("a", "indices"), (1.0, "indices")]
)
def test_a_wrong_index_names_the_op(index, message):
    with pytest.raises(IndexError, match=f"getitem.*{message}"):
        Tensor(np.ones((3, 4)))[index]


def test_writing_into_a_tensor():
    t = Tensor(np.zeros(4))
    t[1:3] = [1, 2]
    t[t == 0] = Tensor(5.0)
    assert_array_equal(t.data, [5, 1, 2, 5])
    x = Tensor([1.0], requires_grad=True)
    for tensor in (x, x * 2):
        with pytest.raises(RuntimeError, match="where"):
            tensor[0] = 3.0
    assert_array_equal(x.data, [1])


# How it prints


def test_repr_is_plain():
    x = Tensor([1.0, 2.0], requires_grad=True, name="w")
    assert repr(x) == "Tensor([1., 2.], shape=(2,), dtype=float32, name='w', requires_grad=True)"
    assert repr(x * 2) == "Tensor([2., 4.], shape=(2,), dtype=float32, op=mul)"
    assert repr(Tensor(True)) == "Tensor(True, shape=(), dtype=bool)"


@pytest.mark.parametrize(
    "shape", [(), (0,), (3, 0, 2), (10**6,), (1000, 1000), (30,) * 4, (7,) * 6, (2,) * 16, (1,) * 20]
)
@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int64, np.bool_, np.uint8])
def test_repr_is_short_whatever_is_in_it(shape, dtype):
    t = Tensor(np.ones(shape, dtype))
    text = repr(t)
    assert len(text) < 1000
    assert len(text.splitlines()) <= 30
    assert f"shape={shape}" in text
    assert f"dtype={t.dtype}" in text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(), (3,), (9,) * 5])
def test_repr_shows_what_is_not_finite(value, shape):
    assert str(value).strip("-") in repr(Tensor(np.full(shape, value)))


# Attributes and methods


def test_unknown_attributes():
    with pytest.raises(AttributeError, match="flatten_everything"):
        Tensor([1.0]).flatten_everything()
    assert not hasattr(Tensor([1.0]), "_repr_png_")
    assert {"sum", "exp", "backward"} <= set(dir(Tensor([1.0])))


def test_methods_that_give_constants():
    x = Tensor([[3.0, 1.25], [2.0, 5.0]], requires_grad=True)
    assert_array_equal(x.argmax(axis=1).data, [0, 1])
    assert_array_equal(x.argsort().data, [[1, 0], [0, 1]])
    assert (x > 1).all()
    assert not (x > 5).any()
    assert_array_equal(x.round(1).data, np.round(x.data, 1))
    assert not x.argmax().requires_grad
