"""The data sets made from formulas, against the formulas of others."""

import re

import numpy as np
import pytest

from tinygrad_ce.data import blobs, spirals, two_moons, xor

MAKERS = [two_moons, spirals, blobs, xor]


def whole(split):
    train, test = split
    return np.concatenate([train.inputs, test.inputs]), np.concatenate([train.targets, test.targets])


@pytest.mark.parametrize("make", MAKERS)
class TestAll:
    def test_shapes_dtypes_and_shares(self, make):
        train, test = make(503)
        assert (len(train), len(test)) == (402, 101)
        for dataset in (train, test):
            assert dataset.inputs.dtype == np.float32
            assert dataset.inputs.shape == (len(dataset), 2)
            assert dataset.targets.dtype == np.int64
            assert dataset.classes == train.classes
            counts = np.bincount(dataset.targets, minlength=len(dataset.classes))
            assert len(counts) == len(dataset.classes)
            assert counts.max() - counts.min() <= 2
        assert np.any(np.diff(train.targets) < 0)  # shuffled, not class after class

    def test_each_call_gives_the_same_data(self, make):
        for one, other in ((make(), make()), (make(), make(generator=np.random.default_rng(0)))):
            for a, b in zip(one, other, strict=True):
                assert np.array_equal(a.inputs, b.inputs)
                assert np.array_equal(a.targets, b.targets)
        assert not np.array_equal(make()[0].inputs, make(generator=np.random.default_rng(1))[0].inputs)

    def test_noise_has_the_standard_deviation_asked_for(self, make):
        if make is blobs:
            points, targets = whole(blobs(4000, noise=0.5))
            deviations = np.concatenate([points[targets == k] - points[targets == k].mean(axis=0) for k in range(3)])
        else:  # the same draws, once as noise and once not: their order in the split is the same
            exact, _ = whole(make(4000, noise=0))
            deviations = whole(make(4000, noise=0.5))[0] - exact
        assert deviations.std() == pytest.approx(0.5, rel=0.03)
        assert np.abs(deviations.mean(axis=0)).max() < 0.04

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"n": 3}, ValueError, "n must be at least"),
            ({"n": 100.0}, TypeError, "n must be an int, found float 100.0; write 1000"),
            ({"noise": -1}, ValueError, "noise must be a standard deviation of at least 0, found -1; write 0.1"),
            ({"noise": float("nan")}, ValueError, "noise must be a standard deviation of at least 0, found nan"),
            ({"noise": "no"}, ValueError, "noise must be a standard deviation of at least 0, found 'no'"),
            ({"generator": 3}, TypeError, "write np.random.default_rng(0)"),
        ],
    )
    def test_wrong_arguments(self, make, options, error, message):
        with pytest.raises(error, match=f"{make.__name__}: .*{re.escape(message)}"):
            make(**options)


def test_two_moons_are_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets", reason="to compare with: pip install '.[parity]'")
    for n in (10, 500):
        points, targets = datasets.make_moons(n, noise=None, random_state=0)
        expected = sorted((y, *x) for x, y in zip(points.astype(np.float32), targets, strict=True))
        found = sorted((y, *x) for x, y in zip(*whole(two_moons(n, noise=0)), strict=True))
        np.testing.assert_allclose(found, expected, atol=2e-7)  # some coordinates are 0


def test_two_moons_lie_on_their_circles():
    points, targets = whole(two_moons(noise=0))
    upper, lower = points[targets == 0], points[targets == 1]
    np.testing.assert_allclose(np.hypot(*upper.T), 1, rtol=1e-6)
    np.testing.assert_allclose(np.hypot(*(lower - [1, 0.5]).T), 1, rtol=1e-6)
    assert upper[:, 1].min() > -1e-6
    assert lower[:, 1].max() < 0.5 + 1e-6


@pytest.mark.parametrize(("classes", "turns"), [(2, 1.75), (3, 0.75), (5, 0.5)])
def test_spirals_wind_around_the_origin(classes, turns):
    points, targets = whole(spirals(600, classes=classes, turns=turns, noise=0))
    r = np.hypot(*points.T)
    np.testing.assert_allclose([r.min(), r.max()], [0.05, 1], rtol=1e-6)
    angle = np.arctan2(points[:, 1], points[:, 0]) - 2 * np.pi * (turns * r + targets / classes)
    np.testing.assert_allclose(np.cos(angle), 1, rtol=1e-5)  # a whole number of turns apart
    assert np.array_equal(np.unique(targets), np.arange(classes))


def test_blobs_have_centres_in_the_box():
    train, test = blobs(3000, classes=6, features=4, noise=0)
    assert train.inputs.shape[1] == 4
    centres = np.unique(np.concatenate([train.inputs, test.inputs]), axis=0)
    assert centres.shape == (6, 4)
    assert np.abs(centres).max() <= 10
    with pytest.raises(ValueError, match="blobs: features must be at least 1, found 0"):
        blobs(features=0)
    with pytest.raises(ValueError, match="blobs: classes must be at least 2, found 1"):
        blobs(classes=1)


def test_xor_without_noise_is_the_truth_table():
    points, targets = whole(xor(400, noise=0))
    table = sorted({(*map(int, x), int(y)) for x, y in zip(points, targets, strict=True)})
    assert table == [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]
    assert xor()[0].classes == ("same", "different")
