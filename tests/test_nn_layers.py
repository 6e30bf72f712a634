"""What each layer computes, its gradients, and what comes out for every dtype and shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn


def test_embedding_looks_up_and_adds_up(rng):
    layer = nn.Embedding(6, 3, generator=rng, dtype="float64")
    x = np.array([[1, 5, 1], [1, 0, 5]])
    z = layer(x)
    assert_array_equal(z.data, layer.weight.data[x])
    g = rng.normal(size=z.shape)
    z.backward(g)
    expected = np.zeros((6, 3))
    for place in np.ndindex(x.shape):
        expected[x[place]] += g[place]
    assert_array_equal(layer.weight.grad.data, expected)
    assert layer(4).shape == (3,)
    assert layer(np.zeros((0, 2), int)).shape == (0, 2, 3)
    assert layer([]).shape == (0, 3)
    assert layer(tg.Tensor(np.uint8([1]))).shape == (1, 3)


def test_embedding_remembers_the_indices_as_they_were(rng):
    layer, x = nn.Embedding(4, 2, generator=rng), np.array([0, 1])
    z = layer(x)
    x[...] = 3
    F.sum(z).backward()
    assert_array_equal(layer.weight.grad.data[:, 0], [1, 1, 0, 0])


def test_padding_takes_no_gradient(rng):
    layer = nn.Embedding(4, 2, padding_idx=-3, generator=rng)
    assert layer.padding_idx == 1
    assert_array_equal(layer.weight.data[1], 0)
    layer.weight.data[1] = 7
    z = layer([1, 2, 1])
    assert_array_equal(z.data[0], 7)
    z.backward(np.full((3, 2), 2.0))
    assert_array_equal(layer.weight.grad.data, [[0, 0], [0, 0], [2, 2], [0, 0]])


@pytest.mark.parametrize(
    ("indices", "error", "match"),
    [
        ([[0, 1], [4, 9]], IndexError, r"^embedding: indices\[1, 0\] is 4, expected 0 <= index < 4"),
        ([0, -1], IndexError, r"^embedding: indices\[1\] is -1, expected 0 <= index < 4"),
        (7, IndexError, r"^embedding: indices is 7, expected 0 <= index < 4"),
        (np.uint64([2**64 - 1]), IndexError, r"^embedding: indices\[0\] is 18446744073709551615, expected"),
        ([0.0, 1.0], TypeError, r"^embedding: indices have dtype float64; expected integers"),
        ([True], TypeError, r"^embedding: indices have dtype bool"),
    ],
)
def test_embedding_refuses(indices, error, match):
    with pytest.raises(error, match=match):
        nn.Embedding(4, 2)(indices)


def test_the_table_of_an_embedding_has_two_axes():
    with pytest.raises(ValueError, match=r"^embedding: weight has shape \(3,\), expected"):
        F.embedding([0], np.ones(3))


def test_dropout_in_training_and_evaluation():
    layer = nn.Dropout(0.25, generator=np.random.default_rng(1))
    x = tg.Tensor(np.ones((400, 50)), requires_grad=True)
    z = layer(x)
    kept = z.data != 0
    assert_array_equal(z.data[kept], 1 / 0.75)
    assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.25 * 0.75 / x.size)
    F.sum(z).backward()
    assert_array_equal(x.grad.data, z.data)
    assert_array_equal(nn.Dropout(0.25, generator=np.random.default_rng(1))(x).data, z.data)
    assert layer.eval()(x) is x
    assert_array_equal(nn.Dropout(1)(x).data, 0)


def test_batch_norm_leaves_its_statistics_alone_when_it_raises_or_is_not_training():
    layer = nn.BatchNorm1d(3)
    before = layer.state_dict()
    for bad in (np.ones((1, 3)), np.ones((2, 2))):
        with pytest.raises(ValueError):  # noqa: PT011
            layer(bad)
    layer.eval()(np.ones((1, 3)))
    layer.train()(np.ones((0, 3)))
    assert all(np.array_equal(layer.state_dict()[name], value) for name, value in before.items())
    assert layer.num_batches_tracked.item() == 0


def test_batch_norm_with_a_gradient_frozen_or_unrecorded(rng):
    x = rng.normal(size=(4, 3)).astype(np.float32)
    free, frozen = nn.BatchNorm1d(3), nn.BatchNorm1d(3).requires_grad_(False)
    with tg.no_grad():
        a = free(x)
    assert_array_equal(a.data, frozen(x).data)
    assert_array_equal(free.running_var.data, frozen.running_var.data)
    assert frozen(tg.Tensor(x, requires_grad=True)).requires_grad


def test_flatten_and_identity():
    x = np.arange(24.0).reshape(2, 3, 4)
    for (start, end), shape in {
        (1, -1): (2, 12), (0, -1): (24,), (0, 1): (6, 4), (-2, -1): (2, 12), (1, 1): (2, 3, 4),
    }.items():  # fmt: skip
        assert_array_equal(nn.Flatten(start, end)(x).data, x.reshape(shape))
    assert nn.Flatten()(np.ones((2, 0, 3))).shape == (2, 0)
    assert nn.Flatten(0)(5.0).shape == (1,)
    z = tg.Tensor(x, requires_grad=True) * 2
    assert nn.Identity()(z) is z


# Gradients, dtypes, shapes


def gradcheck(model, x):
    """Every element of the gradients of x and of all parameters, at the parameters as they are."""
    places = []
    for module in model.modules():
        places += [(vars(module), name) for name, value in vars(module).items() if isinstance(value, nn.Parameter)]

    def function(x, *parameters):
        old = [held[name] for held, name in places]
        try:
            for (held, name), parameter in zip(places, parameters, strict=True):
                held[name] = parameter
            return model(x)
        finally:
            for (held, name), value in zip(places, old, strict=True):
                held[name] = value

    return tg.gradcheck(function, [x, *(held[name].data for held, name in places)])


def randomized(model, rng):
    """The model with parameters away from 0 and 1, in float64."""
    for parameter in model.parameters():
        parameter.data = rng.uniform(0.5, 1.5, parameter.shape) * rng.choice([-1, 1], parameter.shape)
    return model


LAYERS = {
    "Linear": (lambda: nn.Linear(4, 3, dtype="float64"), (5, 4)),
    "Linear-3d": (lambda: nn.Linear(4, 3, bias=False, dtype="float64"), (2, 3, 4)),
    "LayerNorm": (lambda: nn.LayerNorm(4, dtype="float64"), (3, 4)),
    "LayerNorm-2d": (lambda: nn.LayerNorm((3, 4), bias=False, dtype="float64"), (2, 3, 4)),
    "LayerNorm-plain": (lambda: nn.LayerNorm(4, elementwise_affine=False), (3, 4)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(3, track_running_stats=False, dtype="float64"), (4, 3)),
    "BatchNorm1d-3d": (lambda: nn.BatchNorm1d(3, affine=False, track_running_stats=False), (2, 3, 2)),
    "BatchNorm1d-eval": (lambda: nn.BatchNorm1d(3, dtype="float64").eval(), (4, 3)),
    "BatchNorm1d-3d-eval": (lambda: nn.BatchNorm1d(3, dtype="float64").eval(), (4, 3, 2)),
    "Flatten": (nn.Flatten, (2, 2, 3)),
    "Identity": (nn.Identity, (2, 3)),
    "Dropout-eval": (lambda: nn.Dropout().eval(), (2, 3)),
    "Softmax": (lambda: nn.Softmax(0, 2.0), (4, 3)),
    "LogSoftmax": (nn.LogSoftmax, (4, 3)),
    **{kind.__name__: (kind, (4, 3)) for kind in (
        nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Tanh)},
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_every_layer(name, rng):
    make, shape = LAYERS[name]
    x = rng.uniform(0.2, 2, shape) * rng.choice([-1, 1], shape)
    assert gradcheck(randomized(make(), rng), x)


def test_gradients_of_batch_norm_while_it_tracks(rng):
    """Its running statistics move with every call, the output does not depend on them."""
    assert gradcheck(randomized(nn.BatchNorm1d(3, dtype="float64"), rng), rng.normal(size=(4, 3)))


def test_gradient_of_an_embedding(rng):
    for padding_idx in (None, 2):
        layer = randomized(nn.Embedding(4, 3, padding_idx, dtype="float64"), rng)
        indices = np.array([[0, 1, 0], [3, 3, 1]])
        assert tg.gradcheck(lambda w, layer=layer, i=indices: F.embedding(i, w, layer.padding_idx), [layer.weight])


def test_gradient_of_dropout(rng):
    x = rng.normal(size=(4, 5))
    assert tg.gradcheck(lambda x: nn.Dropout(0.5, generator=np.random.default_rng(3))(x), [x])


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    activation=st.sampled_from(["leaky_relu", "elu", "gelu", "silu", "sigmoid", "softplus", "tanh"]),
    norm=st.sampled_from([None, "layer", "batch"]),
    rows=st.integers(2, 4),
    training=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_gradients_of_random_mlps(sizes, activation, norm, rows, training, seed):
    rng = np.random.default_rng(seed)
    model = randomized(nn.MLP(sizes, activation, norm=norm, generator=rng, dtype="float64"), rng)
    for module in model:
        if isinstance(module, (nn.BatchNorm1d, nn.LayerNorm)):
            module.eps = 0.1  # a row that is nearly constant is steep: no step of a difference is small enough
    assert gradcheck(model.train(training), rng.uniform(-1, 1, (rows, sizes[0])))


LIMITS = {"float16": 2e-2, "float32": 2e-5, "float64": 1e-13}


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    activation=st.sampled_from(["relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "softplus", "tanh"]),
    norm=st.sampled_from([None, "layer"]),
    rows=st.one_of(st.just(()), st.tuples(st.integers(0, 5)), st.tuples(st.integers(1, 3), st.integers(1, 3))),
    dtype=st.sampled_from(list(LIMITS)),
    seed=st.integers(0, 2**32 - 1),
)
def test_dtype_and_shape_are_kept(sizes, activation, norm, rows, dtype, seed):
    rng = np.random.default_rng(seed)
    model = nn.MLP(sizes, activation, norm=norm, generator=rng, dtype=dtype)
    exact = nn.MLP(sizes, activation, norm=norm, dtype="float64")
    exact.load_state_dict(model.state_dict())
    for module in (*model, *exact):
        if isinstance(module, nn.LayerNorm):
            module.eps = 0.1
    x = rng.normal(size=(*rows, sizes[0])).astype(dtype)
    z = model(x)
    assert z.dtype == np.dtype(dtype)
    assert z.shape == (*rows, sizes[-1])
    expected = exact(x.astype(np.float64)).data
    assert np.all(np.abs(z.data - expected) <= LIMITS[dtype] * (np.max(np.abs(expected), initial=0) + 1))
    z.backward(rng.normal(size=z.shape).astype(dtype))
    assert all(p.grad.dtype == p.dtype == np.dtype(dtype) for p in model.parameters())


@settings(max_examples=40)
@given(
    n=st.integers(2, 40), c=st.integers(1, 5), length=st.sampled_from([None, 1, 3]),
    dtype=st.sampled_from(["float16", "float32", "float64"]), shift=st.sampled_from([0.0, 8.0]),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_batch_norm_brings_every_feature_to_mean_0_and_variance_1(n, c, length, dtype, shift, seed):
    x = (np.random.default_rng(seed).normal(shift, 2, (n, c) if length is None else (n, c, length))).astype(dtype)
    layer = nn.BatchNorm1d(c, dtype=dtype, momentum=1.0)
    z = layer(x)
    assert z.dtype == x.dtype
    wide, axes = z.data.astype(np.float64), (0, 2)[: x.ndim - 1]
    var = x.astype(np.float64).var(axes)
    unit = np.finfo(dtype).eps * (1 + (shift + 8) / np.sqrt(var + 1e-5))
    assert np.all(np.abs(wide.mean(axes)) <= 8 * unit)
    assert np.all(np.abs(wide.var(axes) - var / (var + 1e-5)) <= 16 * unit)
    running = x.astype(np.float64)
    for buffer, expected in (
        (layer.running_mean, running.mean(axes)), (layer.running_var, running.var(axes, ddof=1)),
    ):  # fmt: skip
        assert buffer.dtype == x.dtype
        assert np.all(np.abs(buffer.data - expected) <= 8 * np.finfo(dtype).eps * (shift + 16) ** 2)
