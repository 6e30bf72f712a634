"""What `explain` says of a loss call is what the call computed."""

import io
import itertools
import math
import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

import tinygrad_ce as tg
from tests.helpers import leaf
from tinygrad_ce import functional as F

WEIGHT = np.array([1.0, 2.0, 0.5, 3.0])
OPTIONS = [
    {"weight": weight, "label_smoothing": smoothing, "reduction": reduction}
    for weight, smoothing, reduction in itertools.product([None, WEIGHT], [0.0, 0.1, 1.0], ["mean", "sum", "none"])
]


def log_softmax(z, axis):
    z = z - z.max(axis, keepdims=True)
    return z - np.log(np.exp(z).sum(axis, keepdims=True))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("soft", [False, True])
def test_the_numbers_give_the_loss(rng, options, soft):
    z = rng.normal(size=(3, 4, 5))
    y = rng.integers(0, 4, (3, 5))
    q = rng.dirichlet(np.ones(4), (3, 5)).transpose(0, 2, 1)
    if not soft:
        y[1, 2] = y[0, 4] = -100
        q = np.moveaxis(np.eye(4)[np.maximum(y, 0)] * (y != -100)[..., None], -1, 1)
    e = F.explain(z, q if soft else y, axis=1, **options)
    expected = F.softmax_cross_entropy(z, q if soft else y, axis=1, **options)

    smoothing = options["label_smoothing"]
    ignored = np.zeros((3, 5), bool) if soft else y == -100
    t = np.where(ignored[:, None], 0, (1 - smoothing) * q + smoothing / 4)
    np.testing.assert_allclose(e.targets, t, rtol=1e-15)
    np.testing.assert_array_equal(e.ignored, ignored)
    w = np.ones(4) if options["weight"] is None else WEIGHT
    losses = -(w[:, None] * t * log_softmax(z, 1)).sum(1)
    np.testing.assert_allclose(e.losses, losses, rtol=1e-13)
    np.testing.assert_allclose(e.probabilities, np.exp(log_softmax(z, 1)), rtol=1e-13)
    np.testing.assert_array_equal(e.row_weights, np.where(ignored, 0, 1 if soft else w[np.maximum(y, 0)]))
    assert e.reduction == options["reduction"]
    if e.reduction == "none":
        assert e.loss is None
        assert e.denominator is None
        np.testing.assert_array_equal(e.losses, expected.data)
    elif e.reduction == "sum":
        assert e.denominator is None
        assert e.loss == expected.item() == pytest.approx(e.losses.sum(), rel=1e-14)
    else:
        assert e.denominator == e.row_weights.sum()
        assert e.loss == expected.item() == pytest.approx(e.losses.sum() / e.row_weights.sum(), rel=1e-14)


def test_it_says_in_words_what_happened():
    z = [[2.0, 1.0, 0.1], [0.0, 4.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 3.0]]
    e = F.explain(z, [0, 2, 9, 2], weight=[1, 2, 3], label_smoothing=0.3, ignore_index=9)
    total, loss = float(np.sum(e.losses)), e.loss
    assert e.in_words() == [
        "The targets are class indices.",
        "label_smoothing=0.3 spreads that share of a target evenly over all classes: the target class gets 0.8, "
        "every other class 0.1.",
        "The terms of class c are multiplied by weight[c], which is [1, 2, 3].",
        "1 of 4 rows is ignored because its target is 9: it adds nothing to the loss, the denominator or the gradient.",
        f"The losses of the rows add up to {total:.4g}; the mean divides it by 7, the sum of the weights of the "
        f"target classes: {loss:.4g}.",
        "The likeliest class is the target in 2 of 3 rows that are not ignored.",
    ]
    lines = str(e).splitlines()
    assert lines[0] == (
        "softmax_cross_entropy of 4 rows of 3 classes (float32 logits of shape (4, 3), classes on axis 1)"
    )
    assert lines[1:7] == [f"- {sentence}" for sentence in e.in_words()]
    table = [re.split(r"  +", line) for line in lines[8:]]
    assert table[0] == ["row", "target", "likeliest class", "p(target)", "weight", "loss"]
    assert table[1][:5] == ["0", "0: 0.8, 1: 0.1, 2: 0.1", "0 (p = 0.659)", "0.659", "1"]
    assert table[2][:5] == ["1", "2: 0.8, 0: 0.1, 1: 0.1", "1 (p = 0.9647)", "0.01767", "3"]
    assert table[3] == ["2", "9", "0 (p = 0.3333)", "-", "0", "ignored"]
    assert [row[-1] for i, row in enumerate(table[1:]) if i != 2] == [f"{e.losses[i]:.4g}" for i in (0, 1, 3)]


@pytest.mark.parametrize(
    ("targets", "options", "sentence"),
    [
        ([[0.5, 0.5], [0, 1]], {"label_smoothing": 0.1}, "a probability q becomes 0.9 q + 0.05."),
        ([[0.5, 0.5], [0, 1]], {}, "the mean divides it by 2, the number of rows: "),
        ([[0.4, 0.6], [0, 1]], {}, "The likeliest class is that of the target too in 1 of 2 rows."),
        ([1, 1], {}, "The likeliest class is the target in 1 of 2 rows. Guessing evenly costs ln 2 = 0.6931 a row."),
        ([0, 1], {}, "the mean divides it by 2, the number of rows: "),
        ([0, -100], {}, "the mean divides it by 1, the number of rows that are not ignored: "),
        ([0, 1], {"reduction": "sum"}, "The losses of the rows add up to TOTAL, which is the loss."),
        ([0, 1], {"reduction": "none"}, 'reduction "none": the loss is that of each row; together they are TOTAL.'),
        ([-100, -100], {}, 'There is nothing to average, so the loss is nan (on_empty="nan"), its gradient 0.'),
        ([-100, -100], {"on_empty": "zero"}, 'so the loss is 0 (on_empty="zero")'),
        ([-100, -100], {"on_empty": "raise", "reduction": "sum"}, "they add nothing to the loss"),
        ([0, 1], {"weight": [0, 0]}, "There is nothing to average"),
    ],
)
def test_other_words(targets, options, sentence):
    e = F.explain([[1.0, 0.0], [0.0, 0.5]], targets if isinstance(targets[0], int) else np.array(targets), **options)
    assert sentence.replace("TOTAL", f"{np.sum(e.losses, dtype=float):.4g}") in " ".join(e.in_words())


def test_a_few_rows_of_many_are_shown(rng):
    z, y = rng.normal(size=(40, 10, 7)), rng.integers(0, 10, (40, 7))
    z[3, 5, 6], y[3, 6] = 30, -100  # confident, but ignored
    z[7, 2, 1], y[7, 1] = np.nan, 0
    e = F.explain(z, y, axis=1, rows=4)
    losses = F.softmax_cross_entropy(z, y, axis=1, reduction="none").data
    worst, confident = e.worst(), e.most_confident()
    assert len(worst) == len(confident) == 4
    assert worst[0] == (7, 1)
    assert [losses[i] for i in worst[1:]] == sorted(losses[~np.isnan(losses)], reverse=True)[:3]
    top = np.where(e.ignored | np.isnan(losses), -1, e.probabilities.max(1))
    assert [top[i] for i in confident] == sorted(top.reshape(-1), reverse=True)[:4]
    lines = str(e).splitlines()
    start = lines.index("worst:")
    assert [line.split("  ")[0] for line in lines[start + 1 : start + 5]] == [f"{i}, {j}" for i, j in worst]
    assert lines[start + 5] == "most confident:"
    assert [line.split("  ")[0] for line in lines[start + 6 :]] == [f"{i}, {j}" for i, j in confident]


@pytest.mark.parametrize(("z", "y"), [([1.0, 2.0], 1), (np.zeros((0, 3)), []), (np.zeros((2, 1)), [0, 0])])
def test_smallest_batches(z, y):
    e = F.explain(z, y)
    assert str(e).splitlines()[0].startswith("softmax_cross_entropy of ")
    assert e.loss == F.softmax_cross_entropy(z, y).item() or math.isnan(e.loss)


class Cells(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.cells = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):  # noqa: ARG002
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.cells.append(data)


def test_in_a_notebook_and_a_terminal(rng):
    e = F.explain(rng.normal(size=(9, 4)), rng.integers(0, 4, 9), rows=2)
    plain = str(e)
    assert repr(e) == plain
    shown = Cells(e._repr_html_()).cells
    terminal = io.StringIO()
    Console(width=150, file=terminal).print(e)
    printed = terminal.getvalue()
    for sentence in e.in_words():
        assert sentence in plain
        assert sentence in shown
        assert sentence in printed
    for position in (*e.worst(), *e.most_confident()):
        loss = f"{e.losses[position]:.4g}"
        assert loss in plain
        assert loss in shown
        assert loss in printed


def test_nothing_is_recorded_and_nothing_changes(rng):
    z, q = leaf(rng.normal(size=(3, 4))), leaf(rng.dirichlet(np.ones(4), 3))
    before = z.data.copy(), q.data.copy()
    e = F.explain(z, q)
    assert z.grad is None
    assert tg.mode.mode.recording
    np.testing.assert_array_equal(z.data, before[0])
    np.testing.assert_array_equal(q.data, before[1])
    assert not any(isinstance(value, tg.Tensor) for value in vars(e).values())


def test_errors_and_warnings_are_those_of_the_loss():
    z = np.zeros((2, 3))
    for targets, options in (
        ([0, 3], {}),
        ([0], {}),
        (np.eye(3, dtype=int)[:2], {}),
        ([0, 1], {"weight": [1, 2]}),
        ([0, 1], {"label_smoothing": -0.1}),
        ([0, 1], {"reduction": "average"}),
        ([-100, -100], {"on_empty": "raise"}),
    ):
        with pytest.raises(Exception, match="softmax_cross_entropy") as ours:
            F.explain(z, targets, **options)
        with pytest.raises(type(ours.value), match="^" + re.escape(str(ours.value)) + "$"):
            F.softmax_cross_entropy(z, targets, **options)
    with pytest.raises(ValueError, match="explain: rows=0; expected at least 1"):
        F.explain(z, [0, 1], rows=0)
    for targets, what in ((np.full((2, 3), 0.5), "do not sum to 1"), ([0, 1], "softmax is applied twice")):
        with pytest.warns(UserWarning, match=what) as caught:
            F.explain(F.softmax(z), targets) if "twice" in what else F.explain(z, targets)
        assert len(caught) == 1
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.explain(z, [0, 1])
