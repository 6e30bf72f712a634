"""Large graphs made small: modules closed, repeats drawn once; what is drawn is true to what was captured."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_ce as tg
from tests.folding import blocks, check, names
from tests.helpers import training_step
from tests.small_graphs import network
from tinygrad_ce import functional as F
from tinygrad_ce import nn
from tinygrad_ce.graph import Edge, Graph, GraphNode, capture
from tinygrad_ce.graph.collapse import collapse, on_cycles
from tinygrad_ce.graph.fold import Folded, fold
from tinygrad_ce.graph.repeats import fold_repeats
from tinygrad_ce.viz import draw

# Any graph


@st.composite
def in_modules(draw):
    """Random graphs whose ops are scattered over nested modules, as no network would."""
    n = draw(st.integers(2, 16))
    paths = st.sampled_from([(), ("a",), ("a", "a.x"), ("a", "a.y"), ("b",), ("b", "b.x"), ("b", "b.x", "b.x.z")])
    nodes = [GraphNode("n0", "input", "", "x", (2,), "float32")]
    edges = []
    for i in range(1, n):
        if draw(st.booleans()) and i < n - 1:
            nodes.append(GraphNode(f"n{i}", "parameter", "", f"w{i}", (2,), "float32", module=draw(paths)))
            continue
        ops = [0, *(k for k in range(1, i) if draw(st.integers(0, 3)) == 0)]
        sources = draw(st.lists(st.sampled_from([*ops, i - 1]), min_size=1, max_size=3))
        edges += [Edge(f"n{s}", f"n{i}", p, "xyz"[p]) for p, s in enumerate(sources)]
        nodes.append(GraphNode(f"n{i}", "op", draw(st.sampled_from("fg")), "", (2,), "float32", module=draw(paths)))
    used = {edge.source for edge in edges}
    outputs = tuple(node.id for node in nodes if node.id not in used) or (nodes[-1].id,)
    modules = {path: "M()" for node in nodes for path in node.module}
    return Graph(tuple(nodes), tuple(edges), outputs, "random", modules)


@given(in_modules(), st.integers(1, 4), st.sets(st.sampled_from(["a", "a.x", "b.x"])), st.booleans())
@settings(max_examples=120)
def test_closing_modules_of_any_graph_keeps_its_edges_and_makes_no_cycle(graph, depth, expand, layers):
    drawn = collapse(graph, depth, expand, layers)
    check(graph, drawn)
    for node in drawn.nodes:
        if node.kind == "module":
            assert node.name not in expand
            assert len(node.module) + 1 >= depth or layers
            assert len(node.members) > 1


@given(in_modules())
@settings(max_examples=50)
def test_modules_and_repeats_together(graph):
    for level in (1, 2, 3):
        closed = collapse(graph, level, layers=True)
        drawn = fold_repeats(closed)
        assert on_cycles({(edge.source, edge.target) for edge in drawn.edges}) == set()


@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_on_cycles_against_reachability(links):
    links = {(str(a), str(b)) for a, b in links if a != b}
    reach = defaultdict(set)
    for _ in range(9):
        for a, b in links:
            reach[a] |= {b} | reach[b]
    assert on_cycles(links) == {a for a in list(reach) if a in reach[a]}


# Modules


def test_a_module_as_a_card():
    loss, given_ = training_step()
    whole = capture(loss, **given_, gradients=True)
    drawn = fold(whole, depth=1)
    check(whole, drawn)
    assert names(drawn) == [
        ("x", 1), ("0", 1), ("relu", 1), ("2", 1), ("y", 1), ("softmax_cross_entropy", 1),
    ]  # fmt: skip
    card = drawn.nodes[1]
    handed_on = next(node for node in whole.nodes if node.id == card.id)
    assert card.kind == "module"
    assert card.attributes == (("module", "Linear(4, 8)"), ("ops", "1"), ("parameters", "40"))
    assert (card.shape, card.dtype, card.gradient, card.summary) == (
        (5, 8), "float32", handed_on.gradient, handed_on.summary,
    )  # fmt: skip
    assert card.members == ("n1", "n2", "n3")
    assert (drawn.ops, drawn.kept_bytes) == (whole.ops, whole.kept_bytes)
    assert drawn.whole is whole


def test_what_a_module_keeps_counts_each_buffer_once():
    whole = blocks(4, 1)
    (card,) = (node for node in fold(whole, depth=1).nodes if node.kind == "module")
    kept = {k.buffer: k.nbytes for node in whole.nodes if node.id in card.members for k in node.kept if not k.leaf}
    assert sum(k.nbytes for k in card.kept if not k.leaf) == sum(kept.values()) > 0
    assert len({k.buffer for k in card.kept}) == len(card.kept)


def test_depth_counts_levels():
    whole = blocks(4, 2)
    assert [n for n, _ in names(fold(whole, depth=1))] == ["x", "0", "1", "sum"]
    assert [n for n, _ in names(fold(whole, depth=2))] == [
        "x", "0.fc1", "relu", "0.fc2", "add", "1.fc1", "relu", "1.fc2", "add", "sum",
    ]  # fmt: skip
    assert fold(whole, depth=3) is whole
    for depth in (1, 2):
        check(whole, fold(whole, depth=depth))


def test_expand_keeps_a_module_and_those_around_it_open():
    whole = blocks(4, 2)
    assert [n for n, _ in names(fold(whole, depth=1, expand="0"))] == [
        "x", "0.fc1", "relu", "0.fc2", "add", "1", "sum",
    ]  # fmt: skip
    opened = fold(whole, depth=1, expand=["1.fc2"])
    assert [node.name for node in opened.nodes if node.kind == "module"] == ["0", "1.fc1"]
    check(whole, opened)


def test_a_module_that_is_called_twice_is_no_card_of_both_calls():
    shared = nn.Linear(3, 3, generator=np.random.default_rng(0))
    model = nn.Sequential(shared, nn.Tanh(), shared)
    whole = capture(model(np.ones((2, 3), np.float32)).sum(), model=model)
    drawn = fold(whole, depth=1)
    check(whole, drawn)
    assert sum(node.op == "linear" for node in drawn.nodes) == 2
    one_after_the_other = nn.Sequential(shared, shared)
    whole = capture(one_after_the_other(np.ones((2, 3), np.float32)).sum(), model=one_after_the_other)
    assert sum(node.op == "linear" for node in fold(whole, depth=1).nodes) == 2


def test_two_calls_without_parameters_are_two_cards():
    class Norm(nn.Module):
        def forward(self, x):
            return x - F.exp(x)

    class Net(nn.Module):
        def __init__(self):
            self.norm = Norm()

        def forward(self, x):
            return F.tanh(self.norm(F.relu(self.norm(x))))

    model = Net()
    whole = capture(model(tg.Tensor([1.0, 2.0], requires_grad=True)).sum(), model=model)
    drawn = fold(whole, depth=1)
    check(whole, drawn)
    assert [node.op or node.name for node in drawn.nodes[1:]] == ["norm", "relu", "norm", "tanh", "sum"]


def test_a_module_whose_result_comes_back_into_it_stays_open():
    class Odd(nn.Module):
        def __init__(self):
            self.a, self.b = (nn.Linear(2, 2, generator=np.random.default_rng(0)) for _ in range(2))

        def forward(self, x, outside):
            return self.b(outside(self.a(x)))

    class Net(nn.Module):
        def __init__(self):
            self.odd = Odd()

        def forward(self, x):
            first = self.odd.a(x)
            return self.odd(first, lambda h: F.exp(h) + first)

    model = Net()
    x = np.ones((1, 2), np.float32)
    whole = capture(model(x).sum(), model=model)
    odd = {"odd", "odd.a", "odd.b"}
    # exp and add leave the module and come back, once they are said to be outside of it
    nodes = [replace(n, module=()) if n.op in ("exp", "add") else n for n in whole.nodes]
    whole = replace(whole, nodes=tuple(nodes))
    for depth in (1, 2, 3):
        drawn = fold(whole, depth=depth)
        check(whole, drawn)
        assert {node.name for node in drawn.nodes if node.kind == "module"} <= odd


def test_unconnected_parts_of_one_call_are_one_card():
    class Heads(nn.Module):
        def __init__(self):
            self.a, self.b = (nn.Linear(2, 3, generator=np.random.default_rng(0)) for _ in range(2))

        def forward(self, x):
            return self.a(x), self.b(x)

    class Net(nn.Module):
        def __init__(self):
            self.heads = Heads()

        def forward(self, x):
            a, b = self.heads(x)
            return a * b

    model = Net()
    x = np.ones((1, 2), np.float32)
    whole = capture(model(x).sum(), model=model, inputs={"x": x})
    drawn = fold(whole, depth=1)
    check(whole, drawn)
    assert names(drawn) == [("x", 1), ("heads", 1), ("mul", 1), ("sum", 1)]
    assert dict(drawn.nodes[1].attributes)["outputs"] == "2"
    assert [edge.position for edge in drawn.edges if edge.target == drawn.nodes[2].id] == [0, 1]


def test_a_parameter_that_others_use_too_is_drawn():
    class Tied(nn.Module):
        def __init__(self):
            self.first = nn.Linear(3, 3, generator=np.random.default_rng(0))

        def forward(self, x):
            return self.first(x) @ self.first.weight

    model = Tied()
    whole = capture(model(np.ones((2, 3), np.float32)).sum(), model=model)
    drawn = fold(whole, depth=1)
    check(whole, drawn)
    assert "first.weight" in [node.name for node in drawn.nodes]


# When


def test_limits():
    def chain(n):
        y = tg.Tensor([1.0], requires_grad=True)
        for _ in range(n - 1):
            y = y * 1.0
        return capture(y)

    assert fold(chain(40)) == chain(40)
    assert len(fold(chain(150)).nodes) == 150
    assert len(fold(chain(151)).nodes) == 4
    assert len(fold(chain(20), limit=(5, 10)).nodes) == 4
    assert len(fold(blocks(4, 4)).nodes) < 40 < len(blocks(4, 5).nodes)
    assert {node.kind for node in fold(blocks(4, 5)).nodes} == {"input", "module", "op"}
    assert len(fold(chain(300), depth=1).nodes) == 300


def test_ten_thousand_ops_and_thirty_doublings():
    y = tg.Tensor([1.0], requires_grad=True)
    for _ in range(10_000):
        y = y * 1.0001
    whole = capture(y)
    drawn = fold(whole)
    assert len(drawn.nodes) == 4
    check(whole, drawn)
    y = tg.Tensor([1.0], requires_grad=True)
    for _ in range(30):
        y = y + y
    doubled = capture(y)
    assert fold(doubled) is doubled
    assert names(fold(doubled, limit=(5, 5))) == [("x0", 1), ("add", 1), ("add", 28), ("add", 1)]
    assert len([edge for edge in fold(doubled, limit=(5, 5)).edges if edge.source == "n1"]) == 2


def test_what_was_folded_is_said_and_how_to_see_it():
    model = network((4, 4), nn.ReLU, *[(4, 4), nn.ReLU] * 60)
    picture = draw(model(np.ones((2, 4), np.float32)).sum(), model=model)
    line = next(line for line in picture.text().splitlines() if line.startswith("folded"))
    assert line == (
        "folded: 61 modules are one card each and a repeat is drawn once; depth=2 draws all 246 cards, "
        "expand='0' opens one"
    )
    everything = draw(model(np.ones((2, 4), np.float32)).sum(), model=model, depth=2)
    assert sum(line.startswith("n") for line in everything.text().splitlines()) == 246
    assert isinstance(picture.drawing.sides[0].drawn, Folded)
    assert picture.graph is picture.drawing.sides[0].full
    assert len(picture.graph.nodes) == 246


def test_every_hint_works():
    model = network((4, 4), nn.ReLU, (4, 2))
    loss = model(np.ones((2, 4), np.float32)).sum()
    line = draw(loss, model=model, depth=1, expand="0").text().splitlines()[1]
    assert line == "folded: a module is one card; depth=2 draws all 9 cards, expand='2' opens one"
    chain = tg.Tensor([1.0], requires_grad=True)
    for _ in range(200):
        chain = chain * 1.0
    line = draw(chain).text().splitlines()[1]
    assert line == "folded: a repeat is drawn once; depth=1 draws all 201 cards"
    assert len(draw(chain, depth=1).drawing.sides[0].drawn.nodes) == 201


@pytest.mark.parametrize("depth", [0, -1, "1", True, float("nan")])
def test_a_wrong_depth(depth):
    with pytest.raises(ValueError, match=r"depth: expected a number from 1 up, or None, found"):
        fold(blocks(4, 1), depth=depth)


def test_a_wrong_name_to_expand_is_told_what_there_is():
    loss, given_ = training_step()
    for name in ("fc1", "relu", ""):
        with pytest.raises(ValueError, match=r"expand: '.*': expected one of 'linear', 'softmax_cross_entropy', '0'"):
            draw(loss, **given_, expand=name)
    with pytest.raises(ValueError, match="expected nothing: this graph has no fused ops and no modules"):
        draw(tg.Tensor([1.0], requires_grad=True) * 2, expand="fc1")


def test_expanding_fused_ops_and_modules():
    loss, given_ = training_step()
    drawn = draw(loss, **given_, expand=["softmax_cross_entropy", "0"], depth=1).drawing.sides[0].drawn
    assert [node.op or node.name for node in drawn.nodes if node.kind in ("op", "module")] == [
        "linear", "relu", "2", "log_softmax", "nll_loss",
    ]  # fmt: skip
