"""What a loss over classes means, row by row of one table, spelled three ways: fused, as its decomposition, by NLL."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_ce as tg
from tinygrad_ce import functional as F

INF, NAN = np.inf, np.nan
X = np.array([[1.0, 2.0, 3.0], [1.0, 5.0, 0.5]])
Y = np.array([2, 0])
W = np.array([1.0, 2.0, 3.0])
FLOATS = ("float16", "float32", "float64")


def decomposed(z, targets, **options):
    """The ops that softmax_cross_entropy stands for."""
    op = tg.registry["softmax_cross_entropy"]
    if np.asarray(targets).dtype.kind == "f":
        return op.decomposition(z, targets, **options)
    return op.decomposition(z, targets=np.asarray(targets), **options)


def by_nll(z, targets, *, axis=-1, **options):
    return F.nll_loss(F.log_softmax(z, axis), targets, axis=axis, **options)


SPELLINGS = {"fused": F.softmax_cross_entropy, "decomposed": decomposed, "nll_loss": by_nll}
each_spelling = pytest.mark.parametrize("loss", SPELLINGS.values(), ids=SPELLINGS)
# nll_loss knows class indices alone
each_full_spelling = pytest.mark.parametrize("loss", [F.softmax_cross_entropy, decomposed], ids=["fused", "decomposed"])
each_reduction = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


def leaf(data, dtype="float64"):
    return tg.Tensor(np.asarray(data, dtype), requires_grad=True)


def upstream(z):
    return np.asarray(np.random.default_rng(5).uniform(0.5, 1.5, z.shape), z.dtype)


def value_and_gradient(loss, z, targets, **options):
    x = leaf(z, np.asarray(z).dtype)
    value = loss(x, targets, **options)
    value.backward(upstream(value))
    return value.data, x.grad.data


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# Worked numbers


@each_spelling
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_worked_example(loss, dtype):
    x = X.astype(dtype)
    for options, expected in (
        ({"reduction": "none"}, [0.4076, 4.0290]),
        ({}, 2.2183),
        ({"reduction": "sum"}, 4.4366),
        ({"weight": W, "reduction": "none"}, [1.2228, 4.0290]),
        ({"weight": W}, 1.3130),
        ({"weight": W, "reduction": "sum"}, 5.2518),
    ):
        assert_allclose(loss(x, Y, **options).data, expected, rtol=0, atol=5.1e-5)


@each_full_spelling
def test_worked_example_with_smoothing(loss):
    assert loss(X, Y, weight=W, label_smoothing=0.1).item() == pytest.approx(1.38266, abs=5e-6)


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        ([[0.3, 0.3, 0.4], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7]], 1.3783888522474517),
        ([[0.1, 0.2, 0.7], [0.1, 0.7, 0.2], [0.3, 0.4, 0.3]], 0.6391075640678003),
    ],
)
def test_the_example_of_log_loss(predictions, expected):
    log_p, one_hot = np.log(predictions), np.eye(3)[::-1]
    assert F.nll_loss(log_p, one_hot.argmax(1)).item() == pytest.approx(expected, rel=1e-15)
    assert F.softmax_cross_entropy(log_p, one_hot.argmax(1)).item() == pytest.approx(expected, rel=1e-15)
    assert F.softmax_cross_entropy(log_p, one_hot).item() == pytest.approx(expected, rel=1e-15)


@each_full_spelling
@each_reduction
def test_one_hot_probabilities_are_indices(loss, reduction):
    q = np.eye(3)[Y]
    for options in ({}, {"label_smoothing": 0.2}):
        by_index = value_and_gradient(loss, X, Y, reduction=reduction, **options)
        by_probability = value_and_gradient(loss, X, q, reduction=reduction, **options)
        for a, b in zip(by_index, by_probability, strict=True):
            assert_allclose(a, b, rtol=1e-14, atol=1e-16)


@each_full_spelling
def test_weights_of_probabilities(loss):
    """The mean divides by the number of rows; the gradient is p sum(w q) - w q."""
    q = np.array([[0.25, 0.25, 0.5], [0.5, 0.0, 0.5]])
    value, dz = value_and_gradient(loss, X, q, weight=W, label_smoothing=0.1)
    t = W * (0.9 * q + 0.1 / 3)
    log_p = np.log(softmax(X))
    assert_allclose(value, -(t * log_p).sum() / 2, rtol=1e-14)
    assert_allclose(dz, (softmax(X) * t.sum(1, keepdims=True) - t) / 2 * upstream(value), rtol=1e-12)


@each_full_spelling
@each_reduction
def test_probabilities_take_a_gradient(loss, reduction):
    q = leaf([[0.25, 0.25, 0.5], [0.5, 0.0, 0.5]])
    z = leaf(X)
    value = loss(z, q, weight=W, label_smoothing=0.1, reduction=reduction)
    g = upstream(value)
    value.backward(g)
    scale = g[:, None] if reduction == "none" else g / (2 if reduction == "mean" else 1)
    assert_allclose(q.grad.data, -np.log(softmax(X)) * W * 0.9 * scale, rtol=1e-14)
    assert z.grad is not None


@each_full_spelling
def test_probabilities_alone_may_take_a_gradient(loss):
    q = leaf([[0.25, 0.25, 0.5], [0.5, 0.0, 0.5]])
    dq = tg.grad(loss(X, q), q, create_graph=True)
    assert_allclose(dq.data, -np.log(softmax(X)) / 2, rtol=1e-14)


def test_logits_may_be_their_own_targets():
    """Of -sum p log softmax(p) the gradient is softmax(p) - p - log softmax(p), for p that sums to 1."""
    p = leaf([[0.2, 0.3, 0.5]])
    loss = F.softmax_cross_entropy(p, p)
    loss.backward()
    q = softmax(p.data)
    assert_allclose(p.grad.data, q - p.data - np.log(q), rtol=1e-14)


@each_spelling
def test_one_row_without_a_batch(loss):
    for reduction in ("mean", "sum", "none"):
        value, dz = value_and_gradient(loss, X[0], np.array(2), reduction=reduction)
        assert_allclose(value, 0.407605964444, rtol=1e-11)
        assert_allclose(dz, (softmax(X[0]) - [0, 0, 1]) * upstream(value), rtol=1e-12)
        value, dz = value_and_gradient(loss, X[0], np.array(-100), reduction=reduction, on_empty="zero")
        assert_array_equal(value, 0)
        assert_array_equal(dz, np.zeros(3))


# Nothing to average


@each_spelling
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("rows", [X, np.full((2, 3), NAN), np.zeros((0, 3))], ids=["ignored", "ignored nan", "empty"])
def test_nothing_to_average(loss, rows, dtype):
    rows, targets = rows.astype(dtype), np.full(len(rows), -100)
    for options, expected in (
        ({}, NAN), ({"on_empty": "zero"}, 0.0), ({"reduction": "sum"}, 0.0), ({"weight": W}, NAN),
        ({"reduction": "none"}, np.zeros(len(rows))), ({"reduction": "sum", "on_empty": "raise"}, 0.0),
    ):  # fmt: skip
        value, dz = value_and_gradient(loss, rows, targets, **options)
        assert_array_equal(value, np.asarray(expected, dtype))
        assert not np.signbit(value[~np.isnan(value)]).any()
        assert_array_equal(dz, np.zeros_like(rows))
    with pytest.raises(ValueError, match=r"the batch is empty|all 2 rows are ignored"):
        loss(rows, targets, on_empty="raise")


@each_spelling
def test_weights_that_sum_to_zero(loss):
    value, dz = value_and_gradient(loss, X, [0, 0], weight=[0.0, 1.0, 1.0])
    assert np.isnan(value)
    assert_array_equal(dz, np.zeros_like(X))
    with pytest.raises(ValueError, match="the weights of the target classes sum to 0"):
        loss(X, [0, 0], weight=[0.0, 1.0, 1.0], on_empty="raise")


@each_full_spelling
def test_weights_that_sum_to_zero_under_smoothing(loss):
    """Smoothed rows do hold something, but there is nothing to divide it by."""
    value, dz = value_and_gradient(loss, X, [0, 0], weight=[0.0, 1.0, 1.0], label_smoothing=0.1)
    assert np.isnan(value)
    assert_array_equal(dz, np.zeros_like(X))


@each_full_spelling
def test_an_empty_batch_of_probabilities(loss):
    nothing = np.zeros((0, 3))
    assert np.isnan(loss(nothing, nothing).item())
    assert loss(nothing, nothing, on_empty="zero").item() == 0
    with pytest.raises(ValueError, match="the batch is empty"):
        loss(nothing, nothing, on_empty="raise")


# Ignored rows


@each_spelling
@each_reduction
@pytest.mark.parametrize("held", [NAN, INF, -INF, 7.0])
@pytest.mark.parametrize("options", [{}, {"weight": W}, {"label_smoothing": 0.1}], ids=["plain", "weighted", "smooth"])
def test_an_ignored_row_counts_nothing(loss, reduction, held, options):
    if loss is by_nll and "label_smoothing" in options:
        options = {"weight": np.array([3, 1, 2])}
    rows = np.concatenate([X, np.full((1, 3), held)])[[0, 2, 1]]
    value, dz = value_and_gradient(loss, rows, [2, -1, 0], ignore_index=-1, reduction=reduction, **options)
    alone = loss(X, Y, reduction=reduction, **options).data
    assert_allclose(value[[0, 2]] if reduction == "none" else value, alone, rtol=1e-15)
    if reduction == "none":
        assert value[1] == 0
        assert not np.signbit(value[1])
    assert_array_equal(dz[1], 0)
    assert np.isfinite(dz).all()
    assert (dz[[0, 2]] != 0).all()


@each_spelling
def test_an_ignored_row_is_ignored_by_the_second_derivative(loss):
    z = leaf([[1.0, 2.0, 3.0], [NAN, INF, 0.0]])
    dz = tg.grad(loss(z, [2, -100]), z, create_graph=True)
    curvature = tg.grad(dz, z, np.arange(6.0).reshape(2, 3))
    p = softmax(X[0])
    v = np.arange(3.0)
    assert_allclose(curvature.data[0], p * v - p * (p @ v), rtol=1e-12)
    assert_array_equal(curvature.data[1], 0)


@each_spelling
@pytest.mark.parametrize(
    ("targets", "ignore_index"),
    [
        (np.array([2, 255], np.uint8), 255), (np.array([2, -1]), -1), (np.array([2, 1]), 1),
        (np.array([2, -100], np.int8), -100), (np.array([2, 1000]), 1000),
    ],
)  # fmt: skip
def test_any_integer_may_mark_ignored_rows(loss, targets, ignore_index):
    assert loss(X, targets, ignore_index=ignore_index).item() == pytest.approx(0.407605964444)


# Extreme logits


@each_spelling
@pytest.mark.parametrize("dtype", FLOATS)
def test_minus_infinity(loss, dtype):
    z = np.array([[1.0, -INF, 2.0]] * 2, dtype)
    losses, dz = value_and_gradient(loss, z, [0, 1], reduction="none")
    assert_allclose(losses[0], np.log1p(np.e), rtol=2 * np.finfo(dtype).eps)
    assert losses[1] == INF
    assert np.isfinite(dz).all()
    assert dz[0, 1] == 0


@each_full_spelling
@pytest.mark.parametrize("weighted", [False, True])
def test_an_impossible_class_of_probability_zero(loss, weighted):
    """0 times the logarithm of 0 is 0, in the loss and in both gradients, whether q or w is 0."""
    z, q = leaf([[1.0, -INF, 2.0]]), leaf([[0.5, 0.25 * weighted, 0.5 - 0.25 * weighted]])
    value = loss(z, q, weight=[1.0, 0.0, 1.0] if weighted else None)
    value.backward()
    p = softmax(np.array([1.0, 2.0]))
    t = q.data[0, [0, 2]]
    assert_allclose(value.item(), -(t * np.log(p)).sum(), rtol=1e-14)
    assert_allclose(z.grad.data, [[p[0] * t.sum() - t[0], 0, p[1] * t.sum() - t[1]]], rtol=1e-12)
    assert_allclose(q.grad.data, [[-np.log(p[0]), 0, -np.log(p[1])]], rtol=1e-14)


@each_spelling
@pytest.mark.parametrize("row", [[-INF] * 3, [INF, 0.0, 1.0], [NAN, 0.0, 1.0]])
def test_a_row_without_a_softmax_is_nan_alone(loss, row):
    losses, dz = value_and_gradient(loss, np.array([X[0], row, X[1]]), [2, 1, 0], reduction="none")
    assert np.isnan(losses).tolist() == [False, True, False]
    assert np.isnan(dz).tolist() == [[False] * 3, [True] * 3, [False] * 3]


@each_spelling
@pytest.mark.parametrize("weight", [None, [2.0, 0.0]])
def test_no_loss_is_minus_zero(loss, weight):
    z = np.array([[1e4, -1e4], [-1e4, 1e4]])
    for reduction in ("mean", "sum", "none"):
        value = np.asarray(loss(z, [0, 1], reduction=reduction, weight=weight))
        assert_array_equal(value, 0 * value)
        assert not np.signbit(value).any()


# Float16


@each_spelling
def test_float16_means_of_many_rows(loss):
    n = 300_000
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, 2)).astype(np.float16)
    y = rng.integers(0, 2, n)
    x = leaf(z, np.float16)
    value = loss(x, y)
    wide = F.softmax_cross_entropy(z.astype(np.float64), y).item()
    assert value.dtype == np.float16
    # log-probabilities of the chain are rounded one by one
    assert abs(value.item() - wide) <= np.spacing(np.float16(wide)) * (0.5 if loss is F.softmax_cross_entropy else 1)
    value.backward(np.float16(32768))
    true = (softmax(z.astype(float)) - np.eye(2)[y]) * 32768 / n
    assert x.grad.dtype == np.float16
    if loss is F.softmax_cross_entropy:
        units = np.abs(x.grad.data - true) / np.spacing(np.abs(true).astype(np.float16))
        assert units.max() <= 0.501
    else:
        assert_allclose(x.grad.data, true, rtol=3e-3)


@each_spelling
def test_float16_sums_that_do_not_fit_are_inf(loss):
    z = np.zeros((200_000, 2), np.float16)
    assert loss(z, np.zeros(len(z), int), reduction="sum").item() == INF


# Bitwise the same


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "options",
    [{}, {"weight": W}, {"label_smoothing": 0.1}, {"ignore_index": 1}, {"precise": True}, {"soft": True}],
    ids=str,
)
def test_shifts_and_layouts_change_nothing(options, dtype):
    rng = np.random.default_rng(1)
    z = np.rint(rng.normal(size=(5, 3, 4)) * 8).astype(dtype) / 8
    options = dict(options)
    targets = rng.integers(0, 3, (5, 4))
    if options.pop("soft", False):
        targets = (np.abs(z) + 1) / (np.abs(z) + 1).sum(1, keepdims=True)
    kept = z.copy()
    expected = value_and_gradient(F.softmax_cross_entropy, z, targets, axis=1, **options)
    padded = np.repeat(z, 2, axis=0)[::2]
    for view in (z + 64, z - 96, np.asfortranarray(z), padded, z[::-1][::-1], z.transpose(2, 0, 1).transpose(1, 2, 0)):
        x = leaf(z, dtype)
        x.data = view
        value = F.softmax_cross_entropy(x, targets, axis=1, **options)
        value.backward(upstream(value))
        assert value.data.tobytes() == expected[0].tobytes()
        assert_array_equal(x.grad.data, expected[1])
    assert_array_equal(z, kept)


# Second derivatives


OPTIONS = [
    {"weight": weight, "label_smoothing": smoothing, "reduction": reduction, "precise": precise}
    for weight, smoothing, reduction, precise in product(
        (None, W), (0.0, 0.1, 1.0), ("mean", "sum", "none"), (False, True)
    )
]


@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_second_derivative(options, soft):
    """H v = T (p v - p (p . v)) times the scale of the row, and the mixed one with q is -w (1 - e) dlog p."""
    rng = np.random.default_rng(2)
    rows, e = rng.normal(size=(4, 3)) * 2, options["label_smoothing"]
    w = np.ones(3) if options["weight"] is None else options["weight"]
    y = np.array([2, 0, -100, 1])
    counted = np.ones(4) if soft else (y >= 0) * 1.0
    q = rng.dirichlet([1, 2, 3], 4) if soft else np.eye(3)[y % 3]
    t = w * ((1 - e) * q + e / 3) * counted[:, None]
    z, targets = leaf(rows), leaf(q) if soft else y
    loss = F.softmax_cross_entropy(z, targets, **options)
    g = upstream(loss)
    divisor = 1.0 if options["reduction"] != "mean" else 4.0 if soft else (w[y % 3] * counted).sum()
    scale = np.broadcast_to(g / divisor, 4)[:, None]
    dz = tg.grad([loss], [z], [g], create_graph=True)[0]
    p, v = softmax(rows), rng.normal(size=(4, 3))
    assert_allclose(dz.data, (p * t.sum(1, keepdims=True) - t) * scale, rtol=1e-12, atol=1e-15)
    curvature = tg.grad([dz], [z, targets] if soft else [z], [v])
    bent = p * v - p * (p * v).sum(1, keepdims=True)
    assert_allclose(curvature[0].data, t.sum(1, keepdims=True) * bent * scale, rtol=1e-12, atol=1e-15)
    if soft:
        mixed = (1 - e) * w * ((p * v).sum(1, keepdims=True) - v) * scale
        assert_allclose(curvature[1].data, mixed, rtol=1e-12, atol=1e-15)
