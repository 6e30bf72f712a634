"""The last layer and the loss in one op: the same as of whole logits, for every option, and no less accurate."""

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_ce as tg
from tests.chunked_loss import (
    CLASS_WEIGHT,
    CLASSES,
    FEATURES,
    ROWS,
    fused,
    gradients,
    of_whole_logits,
    problem,
    upstream,
)
from tests.helpers import leaf
from tinygrad_ce.kernels.accuracy import ulp_difference
from tinygrad_ce.ops import linear_cross_entropy as ops

INF, NAN = np.inf, np.nan


@pytest.fixture(params=[1, 2, 3, 100], ids="{} rows".format)
def chunks(request, monkeypatch):
    """Chunks of so many rows, and products of the weight's gradient in blocks of three classes."""
    monkeypatch.setattr(ops, "CHUNK", request.param * CLASSES)
    monkeypatch.setattr(ops, "BLOCK", 3 * FEATURES)
    return request.param


# The same as of whole logits

SHAPES = [((), (ROWS,)), ((), (2, 3)), ((), ()), ((2,), (3,)), ((2, 3), (4,))]
OPTIONS = [
    {}, {"class_weight": CLASS_WEIGHT}, {"label_smoothing": 0.1},
    {"class_weight": CLASS_WEIGHT, "label_smoothing": 0.1},
    {"precise": True},
]  # fmt: skip


@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
@pytest.mark.parametrize(("positions", "batch"), SHAPES, ids=str)
@pytest.mark.usefixtures("chunks")
def test_equals_linear_and_the_loss(positions, batch, options, reduction, soft, rng):
    leaves, targets = problem(rng, soft, positions, batch)
    value, found = gradients(fused, leaves, targets, reduction=reduction, **options)
    expected, truth = gradients(of_whole_logits, leaves, targets, reduction=reduction, **options)
    assert value.shape == expected.shape
    assert_allclose(value.data, expected.data, rtol=1e-13)
    for a, b in zip(found, truth, strict=True):
        assert a.shape == b.shape
        assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("positions", [(), (2,)], ids=str)
@pytest.mark.usefixtures("chunks")
def test_second_derivatives(positions, reduction, soft, rng):
    leaves, targets = problem(rng, soft, positions)
    options = {"reduction": reduction, "label_smoothing": 0.1, "class_weight": CLASS_WEIGHT}
    results = []
    for loss in (fused, of_whole_logits):
        _, first = gradients(loss, leaves, targets, create_graph=True, **options)
        results.append([*first, *tg.grad(first, leaves, [upstream(dx) for dx in first])])
    for a, b in zip(*results, strict=True):
        assert_allclose(a.data, b.data, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("ignored", [[], [0], [2, 3, 6], [0, 1, 2, 3, 4, 5], list(range(ROWS))], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", OPTIONS[:4], ids=lambda options: "-".join(options) or "plain")
@pytest.mark.usefixtures("chunks")
def test_ignored_rows_may_hold_anything(options, reduction, ignored, rng):
    leaves, targets = problem(rng)
    expected, truth = gradients(of_whole_logits, leaves, np.where(np.isin(range(ROWS), ignored), -1, targets),
                                ignore_index=-1, reduction=reduction, **options)  # fmt: skip
    leaves[0].data[ignored] = np.resize([NAN, INF, -INF, 7.0], (len(ignored), FEATURES))
    targets[ignored] = -1
    value, found = gradients(fused, leaves, targets, ignore_index=-1, reduction=reduction, **options)
    assert_allclose(value.data, expected.data, rtol=1e-13)
    for a, b in zip(found, truth, strict=True):
        assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-14)
    assert_array_equal(found[0].data[ignored], 0)
    if reduction == "none":
        assert_array_equal(value.data[ignored], 0)
        assert not np.signbit(value.data[ignored]).any()


def test_a_row_with_one_ignored_question_of_two():
    x, weight = leaf([[1.0, 2.0]]), leaf(np.arange(12.0).reshape(3, 2, 2))
    value = fused(x, weight, [[2, -100]], reduction="none")
    value.backward(np.array([[2.0, 3.0]]))
    assert value.data[0, 1] == 0
    assert_array_equal(weight.grad.data[:, 1], 0)
    assert (weight.grad.data[:, 0] != 0).all()


# What the loss means


def by_identity(z, targets, *, weight=None, **options):
    """The loss of given logits: those of an identity for a layer."""
    return fused(z, np.eye(np.shape(z)[-1], dtype=np.asarray(z).dtype), targets, class_weight=weight, **options)


X = np.array([[1.0, 2.0, 3.0], [1.0, 5.0, 0.5]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_worked_example(dtype):
    x, y, w = X.astype(dtype), [2, 0], [1, 2, 3]
    for options, expected in (
        ({"reduction": "none"}, [0.4076, 4.0290]), ({}, 2.2183), ({"reduction": "sum"}, 4.4366),
        ({"weight": w, "reduction": "none"}, [1.2228, 4.0290]), ({"weight": w}, 1.3130),
        ({"weight": w, "reduction": "sum"}, 5.2518), ({"weight": w, "label_smoothing": 0.1}, 1.38266),
    ):  # fmt: skip
        assert_allclose(by_identity(x, y, **options).data, expected, rtol=0, atol=5.1e-5)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("rows", [X, np.full((2, 3), NAN), np.zeros((0, 3))], ids=["ignored", "ignored nan", "empty"])
def test_nothing_to_average(rows, dtype):
    targets, weight = np.full(len(rows), -100), tg.Tensor(np.ones((3, 3), dtype), requires_grad=True)
    for options, expected in (
        ({}, NAN), ({"on_empty": "zero"}, 0.0), ({"reduction": "sum"}, 0.0), ({"class_weight": [1, 2, 3]}, NAN),
        ({"reduction": "none"}, np.zeros(len(rows))),
    ):  # fmt: skip
        x = tg.Tensor(rows.astype(dtype), requires_grad=True)
        value = fused(x, weight, targets, **options)
        dx, dw = tg.grad([value], [x, weight], [upstream(value)])
        assert_array_equal(value.data, np.asarray(expected, dtype))
        assert not np.signbit(value.data[~np.isnan(value.data)]).any()
        assert_array_equal(dx.data, np.zeros_like(rows))
        assert_array_equal(dw.data, np.zeros((3, 3)))


def test_weights_that_sum_to_zero():
    x = leaf(X)
    value = fused(x, np.eye(3), [0, 0], class_weight=[0.0, 1.0, 1.0])
    value.backward()
    assert np.isnan(value.item())
    assert_array_equal(x.grad.data, 0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_class_masked_out_by_its_bias(dtype):
    """-inf at a class is a probability and a gradient of exactly 0; at the target an infinite loss."""
    x, weight = np.array([[1.0, 7.0, 2.0]] * 2, dtype), np.eye(3, dtype=dtype)
    z, bias = tg.Tensor(x, requires_grad=True), tg.Tensor(np.array([0, -INF, 0], dtype), requires_grad=True)
    losses = fused(z, weight, [0, 1], bias, reduction="none")
    dz, db = tg.grad([losses], [z, bias], [upstream(losses)])
    assert_allclose(losses.data[0], np.log1p(np.e), rtol=2 * np.finfo(dtype).eps)
    assert losses.data[1] == INF
    assert np.isfinite(dz.data).all()
    assert dz.data[0, 1] == 0
    assert np.isfinite(db.data).all()
    impossible = fused(z, weight, np.array([[0.5, 0.0, 0.5]] * 2, dtype), bias)
    assert np.isfinite(impossible.item())


@pytest.mark.parametrize("row", [[-INF, 0, 0], [INF, 0, 0], [NAN, 0, 0]])
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_a_row_without_a_softmax_is_nan_alone(row, reduction):
    x = leaf([X[0], row, X[1]])
    losses = fused(x, np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 0.5]]), [1, 0, 1], reduction=reduction)
    losses.backward(upstream(losses))
    if reduction == "none":
        assert np.isnan(losses.data).tolist() == [False, True, False]
    assert np.isnan(x.grad.data).all(axis=1).tolist() == [False, True, False]
    assert np.isfinite(x.grad.data[[0, 2]]).all()


def test_any_integer_is_an_index_and_may_be_the_ignored_one():
    truth = fused(X[:1], np.eye(3), [2]).item()
    for kind in ("uint8", "int16", "uint64"):
        assert fused(X, np.eye(3), np.array([2, 99], kind), ignore_index=99).item() == truth


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_no_loss_is_minus_zero(reduction):
    value = by_identity([[1e4, -1e4], [-1e4, 1e4]], [0, 1], reduction=reduction).data
    assert_array_equal(value, 0)
    assert not np.signbit(value).any()


def test_probabilities_that_do_not_sum_to_1_are_warned_of():
    with pytest.warns(UserWarning, match="^linear_softmax_cross_entropy: the targets are probabilities but do not sum"):
        fused(X, np.eye(3), np.full((2, 3), 0.5))


def test_class_weights_take_no_gradient():
    with pytest.raises(TypeError, match=r"no gradient flows through class_weight; pass class_weight.detach\(\)"):
        fused(X, np.eye(3), [0, 1], class_weight=leaf([1.0, 2.0, 3.0]))


def test_spellings():
    x, weight, bias = leaf(X), leaf(np.eye(3)), leaf([0.0, 1.0, 2.0])
    expected = fused(x, weight, [0, 1], bias).item()
    assert x.linear_softmax_cross_entropy(weight, [0, 1], bias).item() == expected
    assert fused(X.tolist(), np.eye(3).tolist(), [0, 1], [0, 1.0, 2]).dtype == np.float32
    assert fused(X.tolist(), np.eye(3).tolist(), [0, 1], [0, 1.0, 2]).item() == pytest.approx(expected, rel=1e-6)
    assert fused(x, weight.data.astype(np.float32), [0, 1]).dtype == np.float64
    with pytest.raises(TypeError, match="unexpected keyword argument 'axis'"):
        fused(x, weight, [0, 1], axis=1)


# Numbers


def exact_loss(z, y):
    with mpmath.workprec(200):
        row = [mpmath.mpf(float(v)) for v in z]
        m = max(row)
        return mpmath.log(mpmath.fsum(mpmath.exp(v - m) for v in row)) + m - row[y]


@pytest.mark.parametrize(("precise", "ulps"), [(False, 2.0), (True, 0.51)])
@pytest.mark.parametrize("margin", [0, 5, 17, 40])
def test_losses_of_given_logits_are_those_of_the_fused_loss(margin, precise, ulps, rng):
    """Logits that no rounding touches, sums of a few eighths: what is left is the loss's own error."""
    x = np.rint(rng.normal(size=(12, 3)) * 8) / 8
    weight = np.rint(rng.normal(size=(100, 3)) * 8) / 8
    weight[17] = 0
    bias = np.zeros(100)
    bias[17] = margin + 20
    y = np.where(np.arange(12) % 3, 17, rng.integers(0, 100, 12))
    losses = fused(*(a.astype(np.float32) for a in (x, weight)), y, bias.astype(np.float32), reduction="none",
                   precise=precise)  # fmt: skip
    z = (x @ weight.T + bias).astype(np.float32)
    assert_array_equal(z, x @ weight.T + bias)
    truth = np.array([float(exact_loss(row, target)) for row, target in zip(z, y, strict=True)])
    assert ulp_difference(losses.data, truth).max() <= ulps


def test_confident_rows_keep_their_gradient():
    x, weight = leaf([[1.0]]), leaf([[50.0], [0.0], [0.0]])
    value = fused(x, weight, [0])
    value.backward()
    rest = 2 * np.exp(-50.0)
    assert value.item() == pytest.approx(rest, rel=1e-13)
    assert weight.grad.data[0, 0] == pytest.approx(-rest, rel=1e-13)
    assert x.grad.item() == pytest.approx(-50 * rest, rel=1e-13)


@pytest.mark.parametrize(("rows", "features", "classes", "chunk"), [(300, 16, 500, 8), (4000, 8, 10, 64)])
def test_gradients_in_float32_against_float64(rows, features, classes, chunk, rng, monkeypatch):
    """Sums over chunks and classes lose little: relative to the largest entry, and to the terms of each."""
    monkeypatch.setattr(ops, "CHUNK", chunk * classes)
    x, weight, bias = rng.normal(size=(rows, features)), rng.normal(size=(classes, features)), rng.normal(size=classes)
    arrays = [a.astype(np.float32) for a in (x, weight, bias)]
    y = rng.integers(0, classes, rows)
    leaves, wide = ([tg.Tensor(a.astype(d), requires_grad=True) for a in arrays] for d in ("float32", "float64"))
    value, found = gradients(fused, leaves, y)
    expected, truth = gradients(of_whole_logits, wide, y)
    assert value.item() == pytest.approx(expected.item(), rel=2e-7)
    for a, b in zip(found, truth, strict=True):
        assert np.abs(a.data - b.data).max() <= 1e-6 * np.abs(b.data).max()


def test_float16_is_computed_in_float32(rng):
    """Logits are not rounded to float16 on the way, and a scaled loss saves gradients that are too small for it."""
    leaves, targets = problem(rng, batch=(3000,), dtype="float16")
    g = np.float16(32768)
    value, found = gradients(fused, leaves, targets, g)
    wide = [tg.Tensor(a.data.astype(np.float64), requires_grad=True) for a in leaves]
    expected, truth = gradients(of_whole_logits, wide, targets, np.float64(g))
    assert value.dtype == np.float16
    assert abs(value.item() - expected.item()) <= np.spacing(np.float16(expected.item())) / 2
    for a, b in zip(found, truth, strict=True):
        assert a.dtype == np.float16
        assert_allclose(a.data, b.data, rtol=2.0**-11 + 1e-4, atol=np.abs(b.data).max() * 1e-5)


def test_float16_targets_take_a_gradient(rng):
    leaves, targets = problem(rng, soft=True, dtype="float16")
    leaves[-1].data[:] = rng.multinomial(64, np.ones(CLASSES) / CLASSES, ROWS) / 64
    _, found = gradients(fused, leaves, targets)
    wide = [tg.Tensor(a.data.astype(np.float64), requires_grad=True) for a in leaves]
    _, truth = gradients(of_whole_logits, wide, wide[-1], np.float64(upstream(np.zeros((), np.float16))))
    for a, b in zip(found, truth, strict=True):
        assert a.dtype == np.float16
        assert_allclose(a.data, b.data, rtol=2e-3, atol=np.abs(b.data).max() * 1e-3)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_the_same_again_with_any_number_of_threads(reduction, rng, monkeypatch):
    x, weight = rng.normal(size=(150, 4)).astype("f4"), rng.normal(size=(30_000, 4)).astype("f4")
    y = rng.integers(0, 30_000, 150)
    results = []
    for count in ("1", "2", "3", "1"):
        monkeypatch.setenv("TINYGRAD_CE_NUM_THREADS", count)
        leaves = [tg.Tensor(a, requires_grad=True) for a in (x, weight)]
        value = fused(*leaves, y, reduction=reduction)
        results.append([value, *tg.grad([value], leaves, [upstream(value)])])
    for other in results[1:]:
        assert all(a.data.tobytes() == b.data.tobytes() for a, b in zip(results[0], other, strict=True))
