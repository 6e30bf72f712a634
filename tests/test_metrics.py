"""One-hot targets, entropies and accuracies."""

import itertools
import math
import warnings

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_ce as tg
from tests.helpers import leaf
from tinygrad_ce import functional as F
from tinygrad_ce.mode import set_default_dtype
from tinygrad_ce.testing import gradcheck

MEASURES = [F.entropy, F.cross_entropy_between, F.kl_divergence]


def simplex(rng, *shape, axis=-1, dtype="float64"):
    e = rng.exponential(size=shape)
    return (e / e.sum(axis, keepdims=True)).astype(dtype)


def call(measure, p, q, **options):
    return measure(p, **options) if measure is F.entropy else measure(p, q, **options)


# One-hot


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_one_hot(rng, shape, dtype):
    targets = rng.integers(0, 5, shape).astype(dtype)
    z = F.one_hot(targets, 5)
    assert z.dtype == np.float32
    np.testing.assert_array_equal(z.data, np.eye(5)[targets])


def test_one_hot_counts_classes_and_takes_a_dtype():
    assert F.one_hot([0, 3, 1]).shape == (3, 4)
    assert F.one_hot([0, 3, 1], dtype=np.int64).dtype == np.int64
    assert F.one_hot(tg.Tensor([1, 0], dtype=np.int64)).data.tolist() == [[0, 1], [1, 0]]
    set_default_dtype("float64")
    try:
        assert F.one_hot([0]).dtype == np.float64
    finally:
        set_default_dtype("float32")


def test_one_hot_is_what_the_loss_understands(rng):
    z, y = rng.normal(size=(5, 4)), rng.integers(0, 4, 5)
    soft = F.softmax_cross_entropy(z, F.one_hot(y, 4, dtype=np.float64), reduction="none")
    np.testing.assert_allclose(soft.data, F.softmax_cross_entropy(z, y, reduction="none").data, rtol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ([0.5, 1.0],),
            ValueError,
            r"targets must be integers, found float64; write np.asarray\(targets, dtype=np.int64\)",
        ),
        (([True, False],), ValueError, "targets must be integers, found bool"),
        (([0, 3], 3), IndexError, r"targets\[1\] = 3 is not a class; valid are 0 to 2"),
        (([[0, -1]],), IndexError, r"targets\[0, 1\] = -1 is not a class; valid are 0 to 0"),
        ((2, 2), IndexError, r"one_hot: targets = 2 is not a class; valid are 0 to 1"),
        (([0], 0), ValueError, "num_classes=0; expected at least 1"),
        (([],), ValueError, r"no targets to count the classes of; write one_hot\(targets, num_classes\)"),
    ],
)
def test_one_hot_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        F.one_hot(*arguments)


# Entropies


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_measures_agree_with_exact_sums(rng, dtype, axis):
    p, q = (simplex(rng, 3, 4, 5, axis=axis, dtype=dtype) for _ in range(2))
    p[0, 0, 0] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [call(measure, p, q, axis=axis) for measure in MEASURES]
    rows = [np.moveaxis(x, axis, -1) for x in (p, q)]
    for position in np.ndindex(*rows[0].shape[:-1]):
        pairs = [
            (mpmath.mpf(float(a)), mpmath.mpf(float(b))) for a, b in zip(*(x[position] for x in rows), strict=True)
        ]
        exact = [
            [-a * mpmath.log(a) for a, _ in pairs if a],
            [-a * mpmath.log(b) for a, b in pairs if a],
            [a * mpmath.log(a / b) for a, b in pairs if a],
        ]
        for z, terms in zip(found, exact, strict=True):
            assert z.dtype == dtype
            size = float(sum(map(abs, terms)))  # the terms of a divergence have both signs
            assert abs(z.data[position] - float(sum(terms))) <= 4 * np.finfo(dtype).eps * size


@pytest.mark.parametrize(
    ("predictions", "loss"),
    [
        ([[0.3, 0.3, 0.4], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7]], 1.3783888522474517),
        ([[0.1, 0.2, 0.7], [0.1, 0.7, 0.2], [0.3, 0.4, 0.3]], 0.6391075640678003),
    ],
)
def test_the_worked_example_of_scikit_learn(predictions, loss):
    targets = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
    p = np.array(predictions)
    assert F.mean(F.cross_entropy_between(targets, p)).item() == pytest.approx(loss, rel=1e-15)
    # the same from log-probabilities, and from logits, of which they are an example
    assert F.nll_loss(np.log(p), targets.argmax(1)).item() == pytest.approx(loss, rel=1e-15)
    assert F.softmax_cross_entropy(np.log(p), targets.argmax(1)).item() == pytest.approx(loss, rel=1e-15)
    assert F.softmax_cross_entropy(np.log(p), targets).item() == pytest.approx(loss, rel=1e-15)


@pytest.mark.parametrize("measure", MEASURES)
def test_measures_are_differentiable(rng, measure):
    p, q = (leaf(simplex(rng, 3, 4)) for _ in range(2))
    x, y = (leaf(rng.normal(size=(3, 4))) for _ in range(2))
    if measure is F.entropy:
        assert gradcheck(measure, [p])
        assert gradcheck(lambda x: measure(F.softmax(x)), [x])
    else:
        assert gradcheck(measure, [p, q])
        assert gradcheck(lambda x, y: measure(F.softmax(x), F.softmax(y)), [x, y])


def test_divergence_of_near_and_far_elements():
    p = np.array([0.3, 0.001, 0.599, 0.1])
    q = leaf([0.31, 0.1, 0.58, 0.01])
    assert gradcheck(F.kl_divergence, [leaf(p), q])
    z = F.kl_divergence(p, q)
    (dq,) = tg.grad([z], [q], create_graph=True)
    np.testing.assert_allclose(dq.data, -p / q.data, rtol=1e-14)
    (second,) = tg.grad([F.sum(dq)], [q])
    np.testing.assert_allclose(second.data, p / q.data**2, rtol=1e-14)


def test_divergence_keeps_the_digits_of_distributions_that_nearly_agree():
    p = np.array([0.3, 0.2, 0.5], np.float32)
    q = p + np.array([2**-12, -(2**-12), 0], np.float32)
    exact = sum(
        mpmath.mpf(float(a)) * mpmath.log(mpmath.mpf(float(a)) / mpmath.mpf(float(b)))
        for a, b in zip(p, q, strict=True)
    )
    assert F.kl_divergence(p, q).item() == pytest.approx(float(exact), rel=1e-3)
    direct = float(np.sum(p * (np.log(p) - np.log(q))))
    assert abs(direct / exact - 1) > 0.01  # what it is better than
    assert F.kl_divergence(p, p).item() == 0


@pytest.mark.parametrize("tiny", [5e-324, 1e-310, 2.2e-308])
def test_divergence_of_the_smallest_numbers(tiny):
    with np.errstate(over="raise", invalid="raise"):
        p = np.array([tiny, 1.0])
        assert F.kl_divergence(p, [0.0, 1.0]).item() == math.inf
        assert F.kl_divergence(np.array([0.0, 1.0]), p).item() == 0
        assert F.kl_divergence(np.array([0.5, 0.5]), p).item() == pytest.approx(
            float(mpmath.log("0.5") - mpmath.log(tiny) / 2), rel=1e-15
        )


def test_zero_probabilities():
    p = leaf([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    q = np.array([[0.25, 0.75, 0.0], [0.0, 0.5, 0.5]])
    h, ce, kl = F.entropy(p), F.cross_entropy_between(p, q), F.kl_divergence(p, q)
    np.testing.assert_allclose(h.data, [math.log(2), 0], rtol=1e-15)
    assert math.copysign(1, h.data[1]) == 1
    np.testing.assert_allclose(ce.data, [-0.5 * math.log(0.25 * 0.75), math.inf], rtol=1e-15)
    np.testing.assert_allclose(kl.data, [0.5 * math.log(4 / 3), math.inf], rtol=1e-14)
    np.testing.assert_allclose(tg.grad(h, p, [1.0, 2.0]).data, [[math.log(2) - 1] * 2 + [0], [-2, 0, 0]], rtol=1e-15)
    log2 = math.log(2)
    np.testing.assert_allclose(
        tg.grad(ce, p, [1.0, 2.0]).data, [[2 * log2, -math.log(0.75), 0], [math.inf, 2 * log2, 2 * log2]], rtol=1e-15
    )
    np.testing.assert_allclose(tg.grad(kl, p, [1.0, 2.0]).data[0], [1 + log2, 1 - math.log(1.5), 0], rtol=1e-14)


def test_masked_classes_do_no_harm():
    z = leaf([[1.0, 2.0, -np.inf]])
    for measure in MEASURES:
        gradient = tg.grad(call(measure, F.softmax(z), [[0.5, 0.5, 0.0]]), z).data
        two = leaf([[1.0, 2.0]])
        expected = tg.grad(call(measure, F.softmax(two), [[0.5, 0.5]]), two).data
        np.testing.assert_allclose(gradient, [[*expected[0], 0]], rtol=1e-12)


def test_nan_stays_in_its_row():
    p = np.array([[0.5, 0.5], [np.nan, 0.5]])
    for measure in MEASURES:
        z = call(measure, p, np.full((2, 2), 0.5)).data
        assert np.isfinite(z[0])
        assert np.isnan(z[1])


@pytest.mark.parametrize("measure", MEASURES)
def test_measures_refuse_what_is_no_probability(measure):
    name = measure.__name__
    good = np.array([[0.5, 0.5]])
    with pytest.raises(ValueError, match=rf"{name}: p must be floating, found int64; write p.astype\(np.float32\)"):
        call(measure, np.array([[0, 1]]), good)
    with pytest.raises(ValueError, match=rf"{name}: p\[0, 1\] = -0.5 is negative, and no probability$"):
        call(measure, np.array([[1.5, -0.5]]), good)
    with pytest.raises(ValueError, match=r"p\[0, 0\] = -1.38629 .*are these log-probabilities\? write np.exp\(p\)"):
        call(measure, np.log([[0.25, 0.75]]), good)
    with pytest.raises(np.exceptions.AxisError, match=f"{name}: axis 2 is out of range for 2 dimensions"):
        call(measure, good, good, axis=2)
    with pytest.warns(UserWarning, match=rf"{name}: p does not sum to 1 along axis 1; the worst row sums to 3\. ") as w:
        call(measure, np.array([[0.5, 0.5], [1.0, 2.0], [0.5, 0.6]]), np.full((3, 2), 0.5))
    assert w[0].filename == __file__


@pytest.mark.parametrize("measure", MEASURES[1:])
def test_measures_refuse_a_second_input(measure):
    p = np.array([[0.5, 0.5]])
    with pytest.raises(ValueError, match=r"p has shape \(1, 2\) but q has shape \(2,\); they must be equal"):
        measure(p, p[0])
    with pytest.raises(ValueError, match="q must be floating, found bool"):
        measure(p, np.array([[True, False]]))
    with pytest.raises(ValueError, match=r"q\[0, 0\] = -1 is negative"):
        measure(p, np.array([[-1.0, 2.0]]))
    with pytest.warns(UserWarning, match="q does not sum to 1"):
        measure(p, 2 * p)


def test_float16_and_inputs_are_left_alone(rng):
    p = simplex(rng, 3, 4, dtype="float16")
    p.flags.writeable = False
    for measure in MEASURES:
        z = call(measure, p, p[::-1])
        assert z.dtype == np.float16
        wide = call(measure, p.astype("float32"), p[::-1].astype("float32")).data
        np.testing.assert_allclose(z.data, wide, rtol=4e-3, atol=4e-4)


# Accuracies


def ranked(scores):
    """The classes of a row, the best first: by falling score, of equal scores the lower class."""
    return sorted(range(len(scores)), key=lambda j: (-scores[j], j))


@given(st.data())
def test_accuracy_is_what_sorting_says(data):
    rows, classes = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    few = st.sampled_from([-1.0, 0.0, 0.5, 2.0, math.inf, -math.inf])  # so that there are ties
    scores = data.draw(st.lists(st.lists(few, min_size=classes, max_size=classes), min_size=rows, max_size=rows))
    targets = data.draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    for k in range(1, classes + 1):
        hits = [y in ranked(row)[:k] for row, y in zip(scores, targets, strict=True)]
        assert F.top_k_accuracy(scores, targets, k) == sum(hits) / rows
    assert F.accuracy(scores, targets) == np.mean(np.argmax(scores, 1) == targets)
    assert F.top_k_accuracy(scores, targets, classes) == 1


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_accuracy_along_an_axis(rng, axis):
    scores = rng.normal(size=(4, 5, 6)).astype(np.float32)
    rows = np.moveaxis(scores, axis, -1)
    targets = rng.integers(0, rows.shape[-1], rows.shape[:-1])
    assert F.accuracy(tg.Tensor(scores, requires_grad=True), targets, axis) == np.mean(rows.argmax(-1) == targets)
    expected = np.mean([y in ranked(rows[i])[:3] for i, y in np.ndenumerate(targets)])
    assert F.top_k_accuracy(scores, targets, 3, axis=axis) == expected


def test_accuracy_of_equal_scores_and_nan():
    tie = [[1.0, 1.0, 1.0]]
    assert [F.accuracy(tie, [y]) for y in range(3)] == [1, 0, 0]
    assert [F.top_k_accuracy(tie, [y], 2) for y in range(3)] == [1, 1, 0]
    for row, y in itertools.product(([np.nan, 1.0, 0.0], [1.0, np.nan, 0.0], [np.nan] * 3), range(3)):
        assert F.accuracy([row], [y]) == 0
    assert F.top_k_accuracy([[np.nan, 1.0, 0.0]], [1], 2) == 1  # behind one nan
    assert F.top_k_accuracy([[1.0, np.nan]], [1], 2) == 0


def test_accuracy_of_rows_that_count():
    scores = [[2.0, 1.0], [2.0, 1.0], [2.0, 1.0]]
    assert F.accuracy(scores, [0, 1, -100]) == 0.5
    assert F.accuracy(scores, [0, 1, 1], ignore_index=1) == 1
    assert math.isnan(F.accuracy(scores, [-100] * 3))
    assert math.isnan(F.accuracy(np.zeros((0, 3)), []))
    assert type(F.accuracy(scores, [0, 1, 1])) is float
    assert type(F.top_k_accuracy(scores, [0, 1, 1], 2)) is float
    assert F.accuracy([1.0, 3.0], 1) == 1  # a single row


def test_accuracy_errors():
    scores = np.zeros((2, 3))
    with pytest.raises(ValueError, match="top_k_accuracy: k=5; expected from 1 to 3, the number of classes"):
        F.top_k_accuracy(scores, [0, 1])
    with pytest.raises(ValueError, match="k=0; expected from 1 to 3"):
        F.top_k_accuracy(scores, [0, 1], 0)
    with pytest.raises(IndexError, match=r"accuracy: targets\[1\] = 3 is not a class; valid are 0 to 2"):
        F.accuracy(scores, [0, 3])
    with pytest.raises(ValueError, match=r"accuracy: targets have shape \(3,\), expected \(2,\)"):
        F.accuracy(scores, [0, 1, 2])
    with pytest.raises(ValueError, match="accuracy: scores must be floating, found int64"):
        F.accuracy(scores.astype(int), [0, 1])
