"""What a picture points at: dead units, vanishing and exploding gradients, nan and infinity, lost tensors."""

import re
from dataclasses import replace

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn
from tinygrad_ce.graph import capture
from tinygrad_ce.graph.fold import fold
from tinygrad_ce.graph.trouble import card_words, troubles
from tinygrad_ce.viz import draw

TRAIN, _ = tg.data.digits()


def mlp(depth, activation="relu", width=32, seed=0):
    sizes = [64, *[width] * (depth - 1), 10]
    return nn.MLP(sizes, activation=activation, generator=np.random.default_rng(seed))


def captured(model, rows=64, **options):
    x, y = TRAIN.inputs[:rows].astype(np.float32), TRAIN.targets[:rows]
    return capture(F.softmax_cross_entropy(model(x), y), model=model, inputs={"x": x, "y": y}, **options)


def found(graph):
    return [(trouble.node, trouble.word) for trouble in troubles(graph)]


def texts(graph):
    return [trouble.text for trouble in troubles(graph) if trouble.text]


# No false alarms


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "sigmoid"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6, 8])
def test_fresh_networks_are_in_no_trouble(depth, activation):
    if depth > {"sigmoid": 4, "gelu": 6}.get(activation, 8):
        pytest.skip("those do vanish")
    for seed in range(3):
        for width in (16, 64):
            model = mlp(depth, activation, width, seed)
            assert troubles(captured(model, gradients=True)) == ()
            assert troubles(captured(model)) == ()


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
def test_the_scale_of_the_loss_does_not_matter(scale):
    x, y = TRAIN.inputs[:64].astype(np.float64), TRAIN.targets[:64]
    for activation, words in (("tanh", set()), ("sigmoid", {"vanishing"})):
        model = mlp(6, activation)
        loss = F.softmax_cross_entropy(model(x), y) * scale
        assert {t.word for t in troubles(capture(loss, model=model, gradients=True))} == words


def test_a_trained_network_and_a_perfect_fit_are_in_no_trouble():
    model = mlp(3)
    x, y = TRAIN.inputs[:64].astype(np.float32), TRAIN.targets[:64]
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.softmax_cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert troubles(captured(model, gradients=True)) == ()
    w = tg.Tensor(np.zeros((3, 3)), requires_grad=True)
    assert troubles(capture(((w * 2.0) ** 2).sum(), gradients=True)) == ()  # every gradient is exactly 0


def test_infinities_that_were_put_in_are_taken_as_meant():
    scores = tg.Tensor(np.arange(9.0).reshape(3, 3), requires_grad=True, name="scores")
    mask = np.triu(np.full((3, 3), -np.inf), 1)
    assert troubles(capture(F.softmax(scores + mask, axis=1).sum(), gradients=True)) == ()
    chosen = np.where(mask == 0, scores, -np.inf)
    assert troubles(capture(np.exp(chosen).sum(), gradients=True)) == ()


# Gradients


def test_six_layers_of_sigmoid_vanish():
    for seed in range(3):
        graph = captured(mlp(6, "sigmoid", seed=seed), gradients=True)
        words = dict(found(graph))
        first = [node.id for node in graph.nodes if node.name in ("0.weight", "0.bias")]
        assert set(first) <= set(words)
        assert set(words.values()) == {"vanishing"}
        (line,) = texts(graph)
        assert re.fullmatch(
            r"vanishing: 0\.weight, 0\.bias.*: gradient below 0\.0001 of the one nearest the loss", line
        )


def test_leaves_alone_are_enough():
    model = mlp(6, "sigmoid")
    loss = F.softmax_cross_entropy(model(TRAIN.inputs[:64].astype(np.float32)), TRAIN.targets[:64])
    loss.backward()
    assert {word for _, word in found(capture(loss, model=model))} == {"vanishing"}


def test_large_weights_explode():
    model = mlp(6)
    for name, parameter in model.named_parameters():
        parameter.data[...] *= 15 if name.endswith("weight") else 1
    graph = captured(model, gradients=True)
    (line,) = texts(graph)
    assert line.startswith("exploding: 0.bias, 2.bias")
    assert line.endswith("gradient over 100 times the one nearest the loss")


def test_without_biases_layers_are_compared():
    generator = np.random.default_rng(0)
    layers = [nn.Linear(64 if not i else 32, 32, bias=False, generator=generator) for i in range(7)]
    model = nn.Sequential(*(m for layer in layers for m in (layer, nn.ReLU())), nn.Linear(32, 10, bias=False))
    for layer in layers:
        layer.weight.data[...] *= 15
    graph = captured(model, gradients=True)
    words = dict(found(graph))
    marked = [node for node in graph.nodes if words.get(node.id) == "exploding"]
    assert {node.op for node in marked} == {"linear"}
    assert marked[0].id == next(node.id for node in graph.nodes if node.op == "linear")


def test_a_gradient_of_exactly_0():
    model = mlp(3)
    model[2].weight.data[...] = 0
    model[2].bias.data[...] = -1
    graph = captured(model, gradients=True)
    assert "vanishing: 0.weight, 0.bias, 2.weight, 2.bias and 1 more: gradient exactly 0" in texts(graph)


# Units


@pytest.mark.parametrize("activation", [F.relu, lambda x: np.maximum(x, 0.0), lambda x: np.maximum(0.0, x)])
def test_dead_units(activation):
    x = tg.Tensor(np.ones((4, 8)) * [-1, -2, -3, -4, -5, -6, -7, -8], requires_grad=True)
    graph = capture(activation(x).sum())
    node = graph.nodes[1]
    assert found(graph) == [("n1", "dead units")]
    assert texts(graph) == [f"dead units: {node.op} n1: all 8 are 0 in every row"]


def test_a_bias_far_below_0_kills_a_layer():
    model = mlp(3)
    model[0].bias.data[...] = -100
    graph = captured(model)
    assert texts(graph) == ["dead units: relu n4: all 32 are 0 in every row"]
    model[0].bias.data[:2] = 100
    assert texts(captured(model)) == ["dead units: relu n4: 30 of 32 are 0 in every row"]
    model[0].bias.data[:10] = 100
    assert texts(captured(model)) == []


def test_a_single_unit_that_will_not_wake():
    model = nn.MLP([4, 8, 3], generator=np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32)
    y = np.arange(16) % 3
    assert [t.word for t in troubles(capture(F.softmax_cross_entropy(model(x), y), model=model))] == []
    model[0].bias.data[3] = -100
    (trouble,) = troubles(capture(F.softmax_cross_entropy(model(x), y), model=model))
    assert (trouble.word, trouble.text) == (
        "dead units", "dead units: relu n4: 1 of 8 are 0 in every row and far from anything else",
    )  # fmt: skip


def test_zeros_that_are_no_dead_units():
    x = tg.Tensor(np.full((4, 8), -1.0), requires_grad=True)
    assert found(capture((x * 0.0).sum())) == []  # no activation
    assert found(capture(np.maximum(x, -5.0).sum())) == []
    assert found(capture(F.relu(x[:1]).sum())) == []  # one row
    assert found(capture(F.relu(x[:2, :2]).sum())) == []  # four elements may all be 0 by chance


# nan and infinity


def test_the_origin_of_a_nan_is_named_and_the_rest_is_counted():
    x = tg.Tensor([-1.0, 4.0], requires_grad=True, name="x")
    with np.errstate(invalid="ignore"):
        y = ((np.log(x) * 2.0) + 1.0).sum()
        graph = capture(y)
    assert found(graph) == [("n1", "nan"), ("n2", "nan"), ("n3", "nan"), ("n4", "nan")]
    assert texts(graph) == ["nan: log n1 makes 1 of 2 elements nan, from finite x; and 3 after it"]


def test_an_infinity_that_becomes_a_nan_has_one_origin():
    x = tg.Tensor([0.0, 1.0], requires_grad=True, name="x")
    with np.errstate(all="ignore"):
        y = (np.log(x) * x).sum()
        graph = capture(y)
    assert [word for _, word in found(graph)] == ["inf", "nan", "nan"]
    assert texts(graph) == ["inf: log n1 makes 1 of 2 elements infinite, from finite x; and 2 after it"]


def test_a_nan_in_a_parameter_and_two_origins():
    w = tg.Tensor([np.nan, 1.0], requires_grad=True, name="w")
    v = tg.Tensor([-1.0, 1.0], requires_grad=True, name="v")
    with np.errstate(invalid="ignore"):
        graph = capture((w * np.sqrt(v)).sum())
    assert texts(graph) == [
        "nan: sqrt n1 makes 1 of 2 elements nan, from finite v",
        "nan: w holds 1 of 2 elements nan; and 2 after it",
    ]


def test_a_nan_out_of_infinities_that_were_put_in():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    mask = np.array([-np.inf, -np.inf])
    with np.errstate(invalid="ignore"):
        masked = x + mask
        z = (masked - masked.max()).sum()
        graph = capture(z, inputs={"x": x, "mask": mask})
    (line,) = texts(graph)
    assert re.fullmatch(
        r"nan: sub n\d makes 2 of 2 elements nan, from the infinities of add n2, max n3; and 1 after it", line
    )


def test_a_gradient_that_is_not_finite():
    x = tg.Tensor([0.0, 1.0], requires_grad=True, name="x")
    y = (np.sqrt(x * 1.0) * 2.0).sum()
    with np.errstate(divide="ignore"):
        graph = capture(y, gradients=True)
    assert found(graph) == [("n1", "inf gradient"), ("n0", "inf gradient")]
    assert texts(graph) == ["inf gradient: of mul n1, by the rule of sqrt n2; and 1 before it"]
    with np.errstate(divide="ignore"):
        y.backward()
    assert texts(capture(y)) == ["inf gradient: of x"]


def test_gradients_that_are_not_finite_are_not_compared():
    graph = captured(mlp(3), gradients=True)
    weight = next(node for node in graph.nodes if node.name == "0.weight")
    bad = replace(weight, gradient=replace(weight.gradient, rms=float("nan"), max_abs=float("nan")))
    graph = replace(graph, nodes=tuple(bad if node is weight else node for node in graph.nodes))
    assert {word for _, word in found(graph)} == {"nan gradient"}


# Lost tensors


class Forgetful(nn.Module):
    def __init__(self):
        self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return self.used(x)


def test_what_is_not_connected_is_named_and_drawn_apart():
    model = Forgetful()
    loss = model(np.ones((2, 3), np.float32)).sum()
    graph = capture(loss, model=model)
    names = {node.id: node.name for node in graph.nodes}
    assert [names[id] for id, word in found(graph)] == ["unused.weight", "unused.bias"]
    assert texts(graph) == ["detached: unused.weight, unused.bias: not connected to the output"]
    dot = draw(loss, model=model).dot
    box = dot[dot.index("cluster_detached") :]
    box = box[: box.index("\n\t\t}")]
    assert set(re.findall(r"^\t\t\t(n\d+) \[", box, re.MULTILINE)) == set(graph.detached)


def test_nothing_is_lost_where_nothing_was_recorded():
    model = Forgetful()
    with tg.no_grad():
        loss = model(np.ones((2, 3), np.float32)).sum()
    assert troubles(capture(loss, model=model)) == ()


# In the picture


def test_troubles_are_on_the_cards_that_stand_for_their_nodes():
    model = mlp(60, "sigmoid")
    whole = captured(model, gradients=True)
    drawn = fold(whole)
    marks = card_words(drawn, troubles(whole))
    repeated = next(node for node in drawn.nodes if node.count > 1 and node.kind == "module")
    assert marks[repeated.id] == ["vanishing"]
    assert set(marks) <= {node.id for node in drawn.nodes}


def test_words_on_the_cards_and_lines_under_the_header():
    model = mlp(3)
    model[0].bias.data[...] = -100
    x, y = TRAIN.inputs[:64].astype(np.float32), TRAIN.targets[:64]
    picture = draw(F.softmax_cross_entropy(model(x), y), model=model, inputs={"x": x, "y": y}, gradients=True)
    assert picture.dot.count("! dead units") == 1
    assert picture.dot.count("<b>! vanishing</b>") == 3
    assert "!  dead units: relu n4: all 32 are 0 in every row" in picture.dot
    lines = picture.text().splitlines()
    assert lines[1] == "! dead units: relu n4: all 32 are 0 in every row"
    assert lines[2].startswith("! vanishing: 0.weight, 0.bias, 2.weight: gradient exactly 0")
    assert lines[3].split()[-1] == "trouble"
    assert next(line for line in lines if line.startswith("n4 ")).endswith("dead units")


def test_a_long_list_is_cut():
    xs = [tg.Tensor([np.nan], requires_grad=True, name=f"x{i}") for i in range(20)]
    text = draw(sum(xs[1:], xs[0])).text()
    assert [line for line in text.splitlines() if line.startswith("!")][-1] == "! and 14 more"


def test_ten_thousand_nans_take_no_longer_than_the_picture():
    y = tg.Tensor([np.nan], requires_grad=True, name="x")
    for i in range(5_000):
        y = y * tg.Tensor([np.nan], requires_grad=True, name=f"w{i}")
    graph = capture(y)
    assert len(troubles(graph)) == 10_001
