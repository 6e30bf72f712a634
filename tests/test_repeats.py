"""Repeated blocks drawn once: which are, what they stand for, and where their edges go."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_ce as tg
from tests.folding import blocks, check, names
from tests.small_graphs import network
from tinygrad_ce import nn
from tinygrad_ce.graph import Edge, Gradient, Graph, GraphNode, capture
from tinygrad_ce.graph.fold import fold
from tinygrad_ce.graph.repeats import GradientRange, fold_repeats
from tinygrad_ce.viz import words
from tinygrad_ce.viz.card import chip


@st.composite
def repetitive(draw):
    """A chain of equal blocks with whatever inside, shared sources, and something before and after."""
    size, times = draw(st.integers(1, 4)), draw(st.integers(2, 7))
    inside = [draw(st.lists(st.integers(1, size), min_size=1, max_size=2)) for _ in range(size)]
    with_own, with_shared = draw(st.integers(0, size)), draw(st.integers(0, size))
    nodes = [GraphNode("n0", "parameter", "", "shared", (2,), "float32")]
    edges, ops = [], []

    def add(kind, op, sources):
        this = f"n{len(nodes)}"
        nodes.append(GraphNode(this, kind, op, "" if op else this, (2,), "float32"))
        edges.extend(Edge(s, this, p, f"x{p}") for p, s in enumerate(sources))
        return this

    ops += [add("op", "start", ["n0"]) for _ in range(draw(st.integers(1, 3)))]
    for _ in range(times):
        for r in range(size):
            sources = [ops[-min(back, len(ops))] for back in inside[r]]
            if r < with_own:
                sources.append(add("parameter", "", ()))
            ops.append(add("op", "fgh"[r % 3], sources + ["n0"] * (r == with_shared)))
            if draw(st.integers(0, 25)) == 0:
                nodes[-1] = replace(nodes[-1], shape=(3,))
    for _ in range(draw(st.integers(0, 3))):
        ops.append(add("op", "end", [draw(st.sampled_from(ops))]))
    return Graph(tuple(nodes), tuple(edges), (ops[-1],), "repetitive")


@given(repetitive())
@settings(max_examples=200)
def test_folding_repeats_of_any_graph_keeps_its_edges(graph):
    check(graph, fold_repeats(graph))


# Networks


def test_repeated_layers_are_drawn_once_with_the_range_of_their_gradients():
    model = network((4, 8), nn.ReLU, *[(8, 8), nn.ReLU] * 60, (8, 3))
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    whole = capture(model(x).sum(), model=model, inputs={"x": x}, gradients=True)
    drawn = fold(whole)
    check(whole, drawn)
    assert names(drawn) == [("x", 1), ("0", 1), ("relu", 1), ("2 to 120", 60), ("relu", 60), ("122", 1), ("sum", 1)]
    card = drawn.nodes[3]
    assert card.module == ("60 times: 2 to 120",)
    linears = [node.gradient.rms for node in whole.nodes if node.op == "linear"][1:-1]
    assert isinstance(card.gradient, GradientRange)
    assert (card.gradient.rms, card.gradient.largest.rms) == (min(linears), max(linears))
    assert len(card.members) == 3 * 60
    assert card.summary is None


def test_what_makes_a_block_differ_ends_the_repeat():
    y = x = tg.Tensor([1.0], requires_grad=True, name="x")
    for i in range(300):
        y = y * (0.5 if i == 100 else 1.0)
    assert [count for _, count in names(fold(capture(y)))] == [1, 1, 99, 1, 198, 1]
    y = x
    held = []
    for i in range(300):
        y = y * 1.0
        held += [y] if i == 100 else []
    drawn = fold(capture([y, *held]))
    check(capture([y, *held]), drawn)
    assert next(node for node in drawn.nodes if node.id == "n101").count == 1


def test_steps_that_share_their_weights_are_folded():
    w, u = (tg.Tensor(np.full((2, 2), 0.5), requires_grad=True, name=name) for name in "wu")
    h = tg.Tensor(np.zeros((1, 2)), name="h")
    for t in range(80):
        h = np.tanh(h @ w + tg.Tensor(np.full((1, 2), float(t)), name=f"x{t}") @ u)
    whole = capture(h.sum())
    drawn = fold(whole)
    check(whole, drawn)
    (times,) = {node.count for node in drawn.nodes} - {1}
    assert times >= 78
    assert len(drawn.nodes) < 20
    assert sum(node.name in "wu" for node in drawn.nodes if node.kind == "parameter") == 2


def test_residual_blocks_without_modules_are_folded():
    y = tg.Tensor([1.0], requires_grad=True)
    for _ in range(100):
        y = y + np.tanh(y * 0.5)
    whole = capture(y)
    drawn = fold(whole)
    check(whole, drawn)
    assert [count for _, count in names(drawn)].count(1) < 10
    assert max(node.count for node in drawn.nodes) >= 97


def test_an_open_module_stands_between_two_repeats():
    whole = blocks(4, 30)
    drawn = fold(whole, expand="10")
    check(whole, drawn)
    assert [(node.name, node.count) for node in drawn.nodes if node.kind == "module"] == [
        ("0", 1), ("1 to 8", 8), ("9", 1), ("10.fc1", 1), ("10.fc2", 1), ("11 to 29", 19),
    ]  # fmt: skip
    assert sum(node.module[:1] == ("10",) for node in drawn.nodes) == 4


def test_a_range_is_one_number_where_both_ends_are_the_same():
    same = GradientRange(1e-3, 1e-3, largest=Gradient(1e-3, 1e-3))
    wide = GradientRange(1e-9, 1e-8, largest=Gradient(np.inf, np.inf))
    assert words.gradient_text(same) == "1.0e-03"
    assert chip(same) == chip(Gradient(1e-3, 1e-3))
    assert words.gradient_text(wide) == "1.0e-09 to inf"
    assert ">g 1.0e-09<" in chip(wide)
    assert ">to inf<" in chip(wide)
