"""detect_anomaly: the op that made the first nan or infinity, and arrays changed between forward and backward."""

import re
from pathlib import Path

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.helpers import leaf, square_op
from tinygrad_ce import nn
from tinygrad_ce.mode import mode

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's own, of what is made on purpose


def found(run):
    with pytest.raises(tg.AnomalyError) as caught, tg.detect_anomaly():
        run()
    assert mode.watcher is None
    return str(caught.value)


def test_forward_names_op_inputs_range_and_line():
    p = leaf([[0.5, 0.0, 0.25], [0.0, 0.125, 1.0]], name="p")

    def run():
        scaled = p * 2
        picked = np.log(scaled)  # this line
        return picked.sum()

    here = Path(__file__).read_text().splitlines()
    line = next(i for i, text in enumerate(here, 1) if text.endswith("# this line"))
    assert found(run) == (
        "log made infinity in 2 of 6 elements, first at [0, 1], from x: (2, 3) float64, 0 to 2; "
        f"called at {__file__}, line {line}: picked = np.log(scaled)  # this line"
    )


def test_nan_and_infinity_are_told_apart():
    x = leaf([np.inf, 1.0])
    assert found(lambda: x - x).startswith(
        "sub made nan in 1 of 2 elements, first at [0], from x: (2,) float64, all 1, 1"
    )
    assert found(lambda: np.exp(leaf(1000.0))).startswith("exp made infinity, from x: () float64, all 1000; called at")
    with tg.detect_anomaly():  # infinity that was put in, as in a mask, and passed on
        masked = np.where([True, False], leaf([1.0, 2.0]), -np.inf)
        tg.F.log_softmax(masked)


def test_nan_that_was_put_in_is_named():
    x = np.array([[1.0, np.nan], [2.0, 3.0]])
    model = nn.MLP([2, 3, 2], generator=np.random.default_rng(0), dtype="float64")
    message = found(lambda: model(tg.Tensor(x, name="pixels")))
    assert message.startswith(
        "linear was given nan in 1 of 4 elements, first at [0, 1] in pixels: (2, 2) float64, 1 to 3, 1 nan; "
        "in 0, Linear(2, 3); called at"
    )


def test_the_module_is_named_by_its_path():
    class Block(nn.Module):
        def __init__(self):
            self.first = nn.Linear(2, 2, generator=np.random.default_rng(0))
            self.log = Log()

        def forward(self, x):
            return self.log(self.first(x) * 0)

    class Log(nn.Module):
        def forward(self, x):
            return np.log(x)

    assert "; in log, Log(); called at" in found(lambda: Block()(np.ones((1, 2), np.float32)))


def test_under_no_grad_too():
    def run():
        with tg.no_grad():
            np.log(leaf([0.0]))

    assert found(run).startswith("log made infinity in 1 of 1 elements")


def test_backward_names_the_rule():
    x = leaf([4.0, 0.0], name="x")
    message = found(lambda: np.sqrt(x).sum().backward())
    assert message.startswith(
        "sqrt: the gradient of x has infinity in 1 of 2 elements, first at [1], from g: (2,) float64, all 1"
    )
    assert re.search(r"called at .*test_anomaly.py, line \d+: message = found", message)
    assert x.grad is None


@pytest.mark.usefixtures("own_registry")
def test_backward_of_a_rule_that_makes_nan():
    op = square_op(lambda g, _z, x: g * np.where(x > 0, 2 * x, np.nan))
    x = leaf([1.0, -1.0])
    tg.F.sum(op(x)).backward()  # unwatched
    assert np.isnan(x.grad.data[1])
    assert found(lambda: op(leaf([1.0, -1.0])).sum().backward()).startswith(
        "quadrat: the gradient of x has nan in 1 of 2"
    )


def test_gradients_that_overflow_when_added_up():
    x = leaf(0.125, name="x")
    big = 1.5e308
    message = found(lambda: (x * big + x * big * 1.0).backward())
    assert message.startswith("mul: the gradients that reached x overflowed when they were added up; called at")


@pytest.mark.parametrize("create_graph", [False, True])
def test_what_was_changed_in_place_is_found(create_graph):
    w = leaf([1.0, 2.0], name="w")

    def run():
        loss = (w * w).sum()
        w.data[0] = 5.0
        loss.backward(create_graph=create_graph)

    message = found(run)
    assert message.startswith(
        "mul: w was changed in place between forward and backward, and the gradient would be wrong"
    )
    assert "line" in message
    assert "loss = (w * w).sum()" in message
    assert w.grad is None


def test_an_optimizer_step_before_backward_is_found():
    model = nn.MLP([2, 3, 2], generator=np.random.default_rng(0))
    x, y = np.ones((4, 2), np.float32), np.array([0, 1, 0, 1])
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)

    def run():
        first = tg.F.softmax_cross_entropy(model(x), y)
        second = tg.F.softmax_cross_entropy(model(x), y)
        first.backward()
        optimizer.step()
        second.backward()

    assert "was changed in place between forward and backward" in found(run)


def test_changed_targets_and_outputs_are_found():
    y = np.array([0, 1])
    z = leaf([[1.0, 2.0], [3.0, 1.0]])

    def targets():
        loss = tg.F.softmax_cross_entropy(z, y)
        y[0] = 1
        loss.backward()

    assert found(targets).startswith("softmax_cross_entropy: targets was changed in place")

    def output():
        e = np.exp(z)
        e.data[...] = 0
        e.sum().backward()

    assert found(output).startswith("exp: its output was changed in place")


def test_what_no_rule_reads_may_change():
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    with tg.detect_anomaly():
        loss = (a + b).sum()
        a.data[0] = 7.0
        loss.backward()
    np.testing.assert_array_equal(a.grad.data, [1.0, 1.0])


def test_healthy_training_is_left_alone_and_gives_the_same_numbers():
    def train():
        model = nn.MLP([64, 32, 10], generator=np.random.default_rng(0))
        optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        data, _ = tg.data.digits()
        x, y = data[:64]
        losses = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = tg.F.softmax_cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    plain = train()
    with tg.detect_anomaly():
        assert train() == plain


def test_it_nests_and_ends():
    with tg.detect_anomaly():
        outer = mode.watcher
        with tg.detect_anomaly():
            assert mode.watcher is not outer
        assert mode.watcher is outer
    assert mode.watcher is None
    np.log(leaf([0.0]))


def test_a_graph_made_outside_has_no_line_to_name():
    loss = np.sqrt(leaf([0.0], name="x")).sum()
    with pytest.raises(tg.AnomalyError) as caught, tg.detect_anomaly():
        loss.backward()
    assert "sqrt: the gradient of x has infinity" in str(caught.value)
    assert "called at" not in str(caught.value)


def test_pictures_may_be_drawn_of_what_is_broken():
    with np.errstate(all="ignore"):
        z = leaf([[1000.0, 0.0]])
        loss = tg.F.softmax_cross_entropy(z, [1]) * np.inf
    with tg.detect_anomaly():
        assert "softmax_cross_entropy" in tg.draw(loss, gradients=True).text()
