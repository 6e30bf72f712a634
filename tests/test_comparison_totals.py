"""The numbers of a comparison of two graphs, against independent ones."""

from dataclasses import replace

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.compared_graphs import X, Y, activations, against_fused, gradient_of
from tests.small_graphs import graph_of, network
from tinygrad_ce import functional as F
from tinygrad_ce import nn
from tinygrad_ce.graph import Kept
from tinygrad_ce.graph.match import match
from tinygrad_ce.viz import draw_comparison
from tinygrad_ce.viz.compare import GradientDifference, SideTotals, Totals


def test_the_totals_are_what_they_say():
    picture = against_fused()
    totals = picture.drawing.totals
    a, b = (side.full for side in picture.drawing.sides)
    assert (totals.a.ops, totals.b.ops) == (len([n for n in a.nodes if n.op]), len([n for n in b.nodes if n.op]))
    assert (totals.a.only, totals.b.only) == (7, 1)  # max, sub, exp, sum, div, log, nll_loss
    assert (totals.a.parameters, totals.b.parameters) == (0, 0)
    # of 5 rows of 3 float32: the logits, their largest, the exponentials, their sums, and their quotients
    assert totals.a.kept_only == (15 + 5 + 15 + 5 + 15) * 4
    (fused,) = (n for n in b.nodes if n.op == "softmax_cross_entropy")
    assert totals.b.kept_only == sum(k.nbytes for k in fused.kept if not k.leaf)
    assert totals.b.kept - totals.b.kept_only == totals.a.kept - totals.a.kept_only
    assert {name: values for name, *values in totals.rows()}["ops in one only"] == ["7", "1"]


def test_the_largest_difference_of_the_gradients_is_that_of_the_arrays():
    picture = activations()
    assert not gradient_of(picture).rounding
    a = network((4, 8), nn.ReLU, (8, 8), nn.ReLU, (8, 8), nn.ReLU, (8, 3))
    b = network((4, 8), nn.Sigmoid, (8, 8), nn.ReLU, (8, 8), nn.Sigmoid, (8, 3), seed=1)
    for model in (a, b):
        F.softmax_cross_entropy(model(X), Y).backward()
    grads = [{name: p.grad.data.astype(np.float64) for name, p in model.named_parameters()} for model in (a, b)]
    apart = {name: np.abs(grads[0][name] - grads[1][name]).max() for name in grads[0]}
    name = max(apart, key=apart.get)
    assert gradient_of(picture) == GradientDifference(pytest.approx(apart[name], rel=1e-6), name)
    assert all(p.grad is not None for p in a.parameters())  # and nobody touched those


def test_a_rounding_error_is_called_one():
    """Its size, and the parameter it is in, differ between machines."""
    w = tg.Tensor(np.linspace(-1, 1, 7), requires_grad=True, name="w")

    def shown(scale):
        picture = draw_comparison(F.sum(F.exp(w)), F.sum(F.exp(w)) * scale)
        rows = {name: values for name, *values in picture.drawing.totals.rows()}
        return gradient_of(picture).largest, *rows["max |dA - dB|"]

    eps = np.finfo(np.float64).eps
    assert shown(1.0) == (0, "within round-off")
    assert shown(1 + 7 * eps) == (pytest.approx(7 * eps * np.e, rel=0.1), "within round-off")
    assert shown(1 + 64 * eps) == (pytest.approx(64 * eps * np.e, rel=0.01), "w  3.9e-14")
    assert shown(np.inf) == (np.inf, "w  inf")


def test_the_round_off_is_that_of_the_coarser_dtype():
    graph = graph_of([("u", (2,))], [("sin", (0,))])
    one = np.float32([1, 4])
    pairs = match(graph, graph)
    for other, rounding in ((1 + 2e-7, True), (1 + 2e-6, False), (np.nan, False)):
        found = GradientDifference.of(graph, graph, pairs, {"n0": one}, {"n0": one.astype(np.float64) * other})
        assert found.rounding is rounding
    assert not GradientDifference.of(graph, graph, pairs, {"n0": one * np.inf}, {"n0": one}).rounding


def test_the_values_of_the_outputs():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    picture = draw_comparison([F.sum(x), x * 2.0, F.sum(x * 2.0)], [F.sum(x), x * 3.0, F.mean(x * 3.0)])
    assert picture.drawing.totals.outputs == (("sum", 3.0, 3.0), ("mul", None, None), ("output 3", 6.0, 4.5))
    rows = [row for row in picture.drawing.totals.rows() if row[0].startswith(("sum", "output", "mul"))]
    assert rows == [("sum", "3", "3"), ("sum: B - A", "0"), ("output 3", "6", "4.5"), ("output 3: B - A", "-1.5")]


def test_gradients_that_were_held_are_compared_where_each_side_has_its_own():
    def freed(scale):
        w = tg.Tensor(np.array([1.0, 2.0]), requires_grad=True, name="w")
        loss = F.sum(w * w * scale)
        loss.backward()
        return loss

    picture = draw_comparison(freed(1.0), freed(3.0))
    assert gradient_of(picture) == GradientDifference(8.0, "w")
    assert picture.drawing.totals.a.kept is None
    assert ("kept for backward", "freed", "freed") in picture.drawing.totals.rows()


def test_one_grad_for_both_is_no_difference():
    """The `.grad` of a leaf that both graphs share holds the sum of two gradients, or only one of them."""
    w = tg.Tensor(np.array([1.0, 2.0]), requires_grad=True, name="w")
    a, b = F.sum(w * w), F.sum(w * w * 3.0)
    a.backward()
    assert gradient_of(draw_comparison(a, b)) == GradientDifference(None, "one .grad for both")
    b.backward()
    assert gradient_of(draw_comparison(a, b)) == GradientDifference(None, "one .grad for both")


def test_what_cannot_be_known_says_why():
    def graph(name="w", shape=(2,)):
        return tg.Tensor(np.ones(shape), requires_grad=True, name=name) * 2.0

    assert gradient_of(draw_comparison(graph(), graph())) == GradientDifference(None, "no gradients")
    assert gradient_of(draw_comparison(F.sum(graph()), graph())) == GradientDifference(None, "no gradients in B")
    different = draw_comparison(F.sum(graph()), F.sum(graph(shape=(3,))))
    assert gradient_of(different) == GradientDifference(None, "no parameter in both")
    off = against_fused(gradients=False)
    assert gradient_of(off) == GradientDifference(None, "no gradients")
    assert ("max |dA - dB|", "-  no gradients") in off.drawing.totals.rows()
    with pytest.raises(RuntimeError, match="outputs of one element"):
        draw_comparison(graph(), graph(), gradients=True)


def test_gradients_that_are_missing_or_not_finite():
    a, b = graph_of([("u", (2,)), ("v", (2,))], [("add", (0, 1))]), graph_of([("u", (2,))], [("sin", (0,))])
    b = replace(b, nodes=(*b.nodes, replace(a.nodes[1], id="n2")), detached=("n2",))
    pairs = match(a, b)
    one, two = np.float32([1, 2]), np.float32([1, 3])
    found = GradientDifference.of(a, b, pairs, {"n0": one, "n1": one}, {"n0": two})
    assert found == GradientDifference(1.0, "u", ("v",))
    totals = Totals.of(a, b, pairs, found)
    assert ("gradient in one only", "v") in totals.rows()
    found = GradientDifference.of(a, b, pairs, {"n0": one}, {"n0": np.float32([1, np.nan])})
    assert str(found.largest) == "nan"
    infinite = np.float32([np.inf, 0])
    assert GradientDifference.of(a, b, pairs, {"n0": infinite}, {"n0": infinite}).largest == 0
    assert GradientDifference.of(a, b, pairs, {"n0": infinite}, {"n0": -infinite}).largest == np.inf


def test_a_buffer_that_an_op_of_both_keeps_is_not_kept_by_what_differs():
    def kept(*sizes):
        return tuple(Kept("x", nbytes, buffer, leaf, False) for buffer, nbytes, leaf in sizes)

    graph = graph_of([("w", (2,))], [("sin", (0,)), ("exp", (1,)), ("exp", (2,))])
    shares = {1: kept((0, 8, True), (1, 16, False)), 2: kept((1, 16, False), (2, 32, False)), 3: kept((2, 32, False))}
    graph = replace(graph, nodes=tuple(replace(n, kept=shares.get(i, ())) for i, n in enumerate(graph.nodes)))
    assert SideTotals.of(graph, {"n2", "n3"}) == SideTotals(3, 2, 0, 48, 32)
    assert SideTotals.of(graph, {"n3"}) == SideTotals(3, 1, 0, 48, 0)
    assert SideTotals.of(graph, {"n0", "n1", "n2", "n3"}) == SideTotals(3, 3, 2, 48, 48)
    assert SideTotals.of(replace(graph, released=True), {"n3"}) == SideTotals(3, 1, 0, None, None)
