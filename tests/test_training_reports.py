"""Confusion matrices, reports and calibration against loops, and History's forms."""

import csv
import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_ce as tg
from tinygrad_ce.training import History
from tinygrad_ce.training.plots import plot_history


@st.composite
def pairs(draw):
    classes = draw(st.integers(1, 6))
    rows = draw(st.integers(1, 40))
    numbers = st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)
    return draw(numbers), draw(numbers), [f"c{i}" for i in range(classes)]


@settings(max_examples=60)
@given(pairs())
def test_confusion_matrix_is_what_counting_gives(data):
    y, said, classes = data
    matrix = tg.confusion_matrix(y, np.array(said, np.int32), classes)
    for i in range(len(classes)):
        for j in range(len(classes)):
            assert matrix.array[i, j] == sum(a == i and b == j for a, b in zip(y, said, strict=True))
    assert matrix.accuracy == np.mean(np.array(y) == said)
    assert np.asarray(matrix).sum() == len(y)
    report = tg.classification_report(y, said, classes)
    for i in range(len(classes)):
        hits = sum(a == b == i for a, b in zip(y, said, strict=True))
        p = hits / said.count(i) if i in said else 0
        r = hits / y.count(i) if i in y else 0
        assert report.precision[i] == p
        assert report.recall[i] == r
        assert report.f1[i] == pytest.approx(2 * p * r / (p + r) if p + r else 0, rel=1e-15)
    assert report.support.tolist() == [y.count(i) for i in range(len(classes))]
    p, _, f = report.average(weighted=True)
    assert f == pytest.approx(sum(f * n for f, n in zip(report.f1, report.support, strict=True)) / len(y), rel=1e-14)
    assert report.average()[0] == pytest.approx(np.mean(report.precision), rel=1e-15)


def test_tables_have_the_names():
    matrix = tg.confusion_matrix([0, 1, 1], [0, 1, 0], ["cat", "dog"])
    assert repr(matrix).splitlines()[0].split() == ["true", "\\", "predicted", "cat", "dog"]
    assert "<td" in matrix._repr_html_()
    assert tg.confusion_matrix([0, 3], [1, 1]).classes == ("0", "1", "2", "3")
    report = tg.classification_report(tg.Tensor(np.array([0, 1])), np.array([0, 1]))
    assert "weighted average" in str(report)
    assert "<td" in report._repr_html_()


def test_mistakes_are_the_largest_counts_off_the_diagonal():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 6, 400)
    said = np.where(rng.random(400) < 0.7, y, rng.integers(0, 6, 400))
    found = tg.confusion_matrix(y, said, list("abcdef")).mistakes(n=1000)
    counts = Counter((a, b) for a, b in zip(y.tolist(), said.tolist(), strict=True) if a != b)
    assert {("abcdef".index(m.true), "abcdef".index(m.predicted)): m.rows for m in found} == counts
    assert found == sorted(found, key=lambda m: (-m.rows, m.true, m.predicted))
    assert tg.confusion_matrix(y, said, list("abcdef")).mistakes() == found[:5]


def test_no_mistakes():
    matrix = tg.confusion_matrix([0, 1], [0, 1])
    assert matrix.mistakes() == []
    with pytest.raises(ValueError, match="mistakes: n=0; expected at least 1"):
        matrix.mistakes(0)


@pytest.mark.parametrize("make", [tg.confusion_matrix, tg.classification_report])
@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (([0, 1], [0]), ValueError, "found 2 targets and 1 predicted classes"),
        (([0.5, 1], [0, 1]), ValueError, r"targets must be class indices, integers of shape \(N,\), found float64"),
        (([0, 1], [[0.1, 0.9], [0.5, 0.5]]), ValueError, r"write predicted.argmax\(axis=1\)"),
        (([], []), ValueError, "targets must be class indices"),
        (([0, -1], [0, 1]), IndexError, r"targets\[1\] = -1 is not a class; valid are 0 to 1"),
        (([0, 1], [0, 2], ["a", "b"]), IndexError, r"predicted\[1\] = 2 is not a class; valid are 0 to 1"),
    ],
)
def test_class_indices_that_are_refused(make, args, error, message):
    with pytest.raises(error, match=message):
        make(*args)


@settings(max_examples=60)
@given(st.integers(1, 50), st.integers(2, 5), st.integers(1, 20), st.integers(0, 1000))
def test_calibration_is_what_counting_gives(rows, classes, bins, seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.5), rows)
    p[0] = np.eye(classes)[0]  # certain: in the last bin
    y = rng.integers(0, classes, rows)
    found = tg.calibration(p, y, bins)
    error = 0.0
    for i in range(bins):
        low, high = i / bins, (i + 1) / bins
        inside = [r for r in range(rows) if low < max(p[r]) <= high]
        # edges such as 0.1 * 3 are rounded: no row here is on one but the certain ones
        assert found.count[i] == len(inside)
        if not inside:
            assert math.isnan(found.accuracy[i])
            assert math.isnan(found.confidence[i])
            continue
        accuracy = np.mean([p[r].argmax() == y[r] for r in inside])
        confidence = np.mean([max(p[r]) for r in inside])
        assert found.accuracy[i] == pytest.approx(accuracy, rel=1e-14)
        assert found.confidence[i] == pytest.approx(confidence, rel=1e-14)
        error += len(inside) / rows * abs(accuracy - confidence)
    assert found.expected_error == pytest.approx(error, rel=1e-12, abs=1e-16)
    assert found.largest_error >= found.expected_error * (1 - 1e-12)


def test_a_calibrated_classifier_has_no_error():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 200_000)
    y = (rng.random((len(p), 1)) > p.cumsum(axis=1)).sum(axis=1)
    assert tg.calibration(p, y).expected_error < 0.005
    wrong = p**3 / (p**3).sum(axis=1, keepdims=True)  # too sure of itself
    assert tg.calibration(wrong, y).expected_error > 0.1


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (([[2.0, -1.0]], [0]), ValueError, r"sum to 1 in each row; of logits write F.softmax\(logits\)"),
        (([[0.5, 0.6]], [0]), ValueError, "sum to 1 in each row"),
        (([[np.nan, 0.6]], [0]), ValueError, "sum to 1 in each row"),
        (([0.5, 0.5], [0]), ValueError, r"floating of shape \(N, C\), found float64 of shape \(2,\)"),
        (([[0.5, 0.5]], [0, 1]), ValueError, r"targets must be integers of shape \(1,\)"),
        (([[0.5, 0.5]], [2]), IndexError, r"targets\[0\] = 2 is not a class; valid are 0 to 1"),
        (([[0.5, 0.5]], [1], 0), ValueError, "bins=0; expected a whole number of at least 1"),
    ],
)
def test_calibration_refuses(args, error, message):
    with pytest.raises(error, match=message):
        tg.calibration(*args)


def made(epochs=3, steps=4, valid=True, stopped=None):
    history = History(["accuracy"], valid)
    for epoch in range(1, epochs + 1):
        for step in range(steps):
            for name, value in zip(history.steps, (epoch, 1 / (epoch + step / steps), 0.5, 0.1, 0.01), strict=True):
                history.steps[name].append(value)
        for name, column in history.epochs.items():
            column.append(epoch if name == "epoch" else 1 / epoch)
    history.stopped = stopped
    return history


def test_history_as_csv_and_json(tmp_path):
    history = made()
    history.epochs["valid_loss"][1] = math.nan
    history.to_csv(tmp_path / "epochs.csv")
    history.to_csv(tmp_path / "steps.csv", each="step")
    for name, columns in (("epochs", history.epochs), ("steps", history.steps)):
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for key, column in columns.items():
            np.testing.assert_array_equal([float(row[key]) for row in rows], column)
    found = json.loads(json.dumps(history.to_json(), allow_nan=False))
    assert found["epochs"]["valid_loss"] == [1.0, "nan", 1 / 3]
    assert found["steps"] == history.steps
    with pytest.raises(ValueError, match='to_csv: each=\'batch\'; expected "epoch" or "step"'):
        history.to_csv(tmp_path / "x.csv", each="batch")


def test_history_in_words():
    history = made()
    assert repr(history).splitlines()[:2] == [
        "3 epochs, 12 steps, 1.8 s",
        "epoch    loss  accuracy  valid_loss  valid_accuracy     lr  seconds",
    ]
    assert "<td" in history._repr_html_()
    assert history["loss"] == [1.0, 0.5, 1 / 3]
    with pytest.raises(KeyError, match=r"'f1' was not measured; there are epoch, loss, accuracy"):
        history["f1"]
    assert repr(History()) == "0 epochs, 0 steps, 0.0 s"
    assert len(repr(made(100)).splitlines()) == 1 + 2 + 41
    assert "1 epoch, 1 step" in repr(made(1, 1))


def test_plots_are_figures():
    figure = made(stopped="interrupted").plot()
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy"]
    loss = figure.axes[0].lines
    np.testing.assert_allclose(loss[0].get_xdata(), np.arange(1, 13) / 4)  # each step at its place in its epoch
    assert loss[1].get_label() == "training"
    assert loss[2].get_label() == "validation"
    assert len(made(0).plot().axes) == 2  # nothing yet
    unfinished = made()
    unfinished.steps["epoch"] += [4, 4]
    for name in ("loss", "accuracy", "lr", "seconds"):
        unfinished.steps[name] += [0.1, 0.1]
    x = plot_history(unfinished.epochs, unfinished.steps).axes[0].lines[0].get_xdata()
    np.testing.assert_allclose(x[-2:], [3.25, 3.5])
    y, said = [0, 1, 2, 2], [0, 1, 1, 2]
    matrix = tg.confusion_matrix(y, said, ["a", "b", "c"]).plot()
    assert [t.get_text() for t in matrix.axes[0].texts] == ["1", "1", "1", "1"]
    report = tg.classification_report(y, said, ["a", "b", "c"]).plot()
    assert [t.get_text() for t in report.axes[0].get_yticklabels()] == ["a (1)", "b (1)", "c (2)"]
    found = tg.calibration(np.array([[0.9, 0.1], [0.4, 0.6]]), [0, 0]).plot()
    assert "expected calibration error" in found.axes[0].get_title()
