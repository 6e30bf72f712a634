"""Capture of a graph as plain data: names, kinds, edges, gradients, and the bytes kept for the backward pass."""

import dataclasses
import math
import sys

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn
from tinygrad_ce.graph import Gradient, capture

LABELS = np.array([0, 2, 1, 1, 0])


def leaf(*shape, name=None, dtype=np.float64):
    data = np.linspace(0.5, 1.5, math.prod(shape), dtype=dtype).reshape(shape)
    return tg.Tensor(data, requires_grad=True, name=name)


def mlp():
    generator = np.random.default_rng(3)
    return nn.Sequential(nn.Linear(4, 8, generator=generator), nn.ReLU(), nn.Linear(8, 3, generator=generator))


def batch():
    return np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)


def names(graph):
    return [node.op or node.name for node in graph.nodes]


def node_of(graph, name):
    (found,) = (node for node in graph.nodes if name in (node.op, node.name))
    return found


# Structure


def test_nodes_come_in_the_order_they_were_made_and_edges_by_operand():
    a, b = leaf(2, name="a"), leaf(2, name="b")
    product = a * b
    graph = capture((product - a).sum())
    assert names(graph) == ["a", "b", "mul", "sub", "sum"]
    assert [node.id for node in graph.nodes] == ["n0", "n1", "n2", "n3", "n4"]
    edges = [(e.source, e.target, e.position, e.name) for e in graph.edges]
    assert edges == [
        ("n0", "n2", 0, "x"), ("n1", "n2", 1, "y"), ("n2", "n3", 0, "x"), ("n0", "n3", 1, "y"), ("n3", "n4", 0, "x"),
    ]  # fmt: skip
    assert graph.outputs == ("n4",)
    assert (graph.ops, graph.recorded, graph.released, graph.title) == (3, True, False, "sum")


def test_an_operand_used_twice_has_two_edges_and_a_diamond_one_node():
    x = leaf(name="x")
    y = x
    for _ in range(30):
        y = y + y
    graph = capture(y)
    assert (len(graph.nodes), len(graph.edges), graph.ops) == (31, 60, 30)
    a = leaf(3)
    b = a * a
    c = np.exp(b) + np.sin(b)
    assert names(capture(c)) == ["x0", "mul", "exp", "sin", "add"]


def test_several_outputs_share_what_they_share():
    x = leaf(3, name="x")
    y = x * 2.0
    graph = capture([y.sum(), y, y.mean(), x])
    assert names(graph) == ["x", "mul", "sum", "mean"]
    assert graph.outputs == ("n2", "n1", "n3", "n0")
    assert [node.value for node in graph.nodes] == [None, None, 6.0, 2.0]
    assert graph.title == "4 outputs"
    assert capture([y, y]).outputs == ("n1",)
    loss = y.sum()
    twice = capture([loss, loss], gradients=True)
    assert [node.gradient.rms for node in twice.nodes] == [2.0, 1.0, 1.0]


def test_ten_thousand_ops_take_no_recursion():
    y = leaf(2, name="x")
    for _ in range(10_000):
        y = y * 1.0001
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len_of_stack() + 60)
    try:
        graph = capture(y.sum(), gradients=True)
    finally:
        sys.setrecursionlimit(limit)
    assert graph.ops == 10_001
    assert len(graph.edges) == 10_001
    assert graph.nodes[0].gradient.rms == pytest.approx(1.0001**10_000, rel=1e-12)


def len_of_stack():
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def test_a_leaf_and_what_no_grad_made_are_graphs_of_one_node():
    x = leaf(2, name="x")
    graph = capture(x)
    assert (names(graph), graph.ops, graph.recorded) == (["x"], 0, False)
    with tg.no_grad():
        z = (x * 2).sum()
    graph = capture(z)
    assert (graph.ops, graph.recorded, graph.edges) == (0, False, ())
    assert (graph.nodes[0].kind, graph.nodes[0].value) == ("constant", 4.0)


def test_a_graph_holds_no_arrays_and_cannot_be_changed():
    model = mlp()
    loss = F.softmax_cross_entropy(model(batch()), LABELS)
    graph = capture(loss, model=model, gradients=True)

    def plain(value):
        if isinstance(value, dict):
            return all(map(plain, (*value, *value.values())))
        if isinstance(value, (tuple, list)):
            return all(map(plain, value))
        return value is None or type(value) in (str, int, float, bool)

    assert plain(dataclasses.asdict(graph))
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.nodes[0].op = "other"


# Names and kinds


def test_a_model_names_parameters_and_modules_and_inputs_name_the_rest():
    model, x = mlp(), batch()
    loss = F.softmax_cross_entropy(model(x), LABELS)
    loss.name = "loss"
    before = capture(loss, model=model, inputs={"x": x, "y": LABELS})
    assert [(n.kind, n.name) for n in before.nodes if n.kind != "op"] == [
        ("input", "x"), ("parameter", "0.weight"), ("parameter", "0.bias"),
        ("parameter", "2.weight"), ("parameter", "2.bias"), ("target", "y"),
    ]  # fmt: skip
    assert [n.module for n in before.nodes if n.kind == "op"] == [("0",), ("1",), ("2",), ()]
    assert node_of(before, "0.weight").module == ("0",)
    assert node_of(before, "x").module == ()
    assert before.modules == {"0": "Linear(4, 8)", "1": "ReLU()", "2": "Linear(8, 3)"}
    assert before.title == "Sequential"
    assert next(e for e in before.edges if e.name == "targets").position is None
    loss.backward()
    after = capture(loss, model=model, inputs={"x": x, "y": LABELS}, gradients=False)
    assert [(n.kind, n.name) for n in after.nodes] == [(n.kind, n.name) for n in before.nodes]
    assert after.edges == before.edges


def test_inputs_are_known_by_memory_then_by_shape_and_dtype():
    w, x = leaf(3, 3, name="w"), np.ones((3, 3))
    data = np.ones((4, 3, 3))
    views = {"first": data[0], "second": data[1]}
    graph = capture(w * data[1] + w * data[0] + w * x, inputs=views)
    assert [n.name for n in graph.nodes if n.kind == "input"] == ["second", "first"]
    assert [n.name for n in graph.nodes if n.kind == "constant"] == ["x0"]
    # add keeps neither of its inputs, so only shape and dtype can tell
    graph = capture(w + x, inputs={"x": x, "y": np.ones(3)})
    assert [n.name for n in graph.nodes if n.kind == "input"] == ["x"]
    graph = capture(w + x, inputs={"x": x, "y": x.copy()})
    assert [n.name for n in graph.nodes if n.kind == "constant"] == ["x0"]


def test_kinds_without_a_model_and_with_one_alone():
    w, x = leaf(2, name="w"), leaf(2)
    graph = capture(w * x + np.ones(2) + np.float64(3))
    assert [(n.kind, n.name) for n in graph.nodes if n.kind != "op"][:3] == [
        ("parameter", "w"), ("parameter", "x0"), ("input", "x1"),
    ]  # fmt: skip
    model = nn.Linear(2, 3)
    graph = capture(model(x.reshape(1, 2).astype(np.float32)), model=model)
    assert [(n.kind, n.name) for n in graph.nodes if n.kind != "op"] == [
        ("input", "x0"), ("parameter", "weight"), ("parameter", "bias"),
    ]  # fmt: skip


def test_a_named_constant_is_one_node_however_often_it_is_used():
    w = leaf(2)
    x = tg.Tensor(np.ones(2), name="x")
    graph = capture(w * x + x)
    assert names(graph) == ["x0", "x", "mul", "add"]


def test_modules_outside_a_model_go_by_numbered_class_names_and_nest():
    class Block(nn.Module):
        def __init__(self):
            self.inner = nn.ReLU()

        def forward(self, x):
            return self.inner(x * 2)

    first, second = Block(), Block()
    x = leaf(2)
    graph = capture(first(second(first(x))))
    modules = [node.module for node in graph.nodes if node.kind == "op"]
    one, two = [("Block",), ("Block", "ReLU")], [("Block 2",), ("Block 2", "ReLU 2")]
    assert modules == [*one, *two, *one]


def test_python_numbers_and_metadata_are_on_the_node_without_the_defaults():
    x = leaf(3, 4)
    graph = capture(((x * 2.5)[1:, ::2]).sum(axis=1))
    assert dict(node_of(graph, "mul").attributes) == {"y": "2.5"}
    assert dict(node_of(graph, "getitem").attributes) == {"index": "(1:, ::2)"}
    assert dict(node_of(graph, "sum").attributes) == {"axis": "1"}
    assert names(graph) == ["x0", "mul", "getitem", "sum"]
    graph = capture(x[np.array([0, 2])])
    assert "(2,) int64" in dict(node_of(graph, "getitem").attributes)["index"]


def test_formulas_and_fusion_come_from_the_registry():
    z = leaf(5, 3)
    graph = capture(F.softmax_cross_entropy(np.tanh(z), LABELS))
    fused = node_of(graph, "softmax_cross_entropy")
    op = tg.registry["softmax_cross_entropy"]
    assert (fused.fused, fused.formula, fused.vjp_formula) == (True, op.formula, op.vjp_formula)
    assert not node_of(graph, "tanh").fused


# Bytes kept for the backward pass


def kept(graph, op):
    return [(k.what, k.nbytes, k.leaf, k.shared) for k in node_of(graph, op).kept]


def test_each_buffer_counts_once_and_those_of_leaves_not_at_all():
    a = leaf(5)  # 40 bytes
    e = np.exp(a)  # keeps its output
    graph = capture((e * e / a).sum())
    assert kept(graph, "exp") == [("output", 40, False, False)]
    assert kept(graph, "mul") == [("x", 40, False, True), ("y", 40, False, True)]
    assert kept(graph, "div") == [("output", 40, False, False), ("y", 40, True, False)]
    assert graph.kept_bytes == 80


def test_views_count_as_the_buffer_that_they_hold():
    e = np.exp(leaf(6))  # 48 bytes
    graph = capture(e.reshape(2, 3)[0] * e[3:])
    assert graph.kept_bytes == 48
    assert [k.nbytes for k in node_of(graph, "mul").kept] == [48, 48]
    w = leaf(2, 6)
    assert capture(np.sin(w[0] * w[1])).kept_bytes == 48  # the product; views of w are w's own


def test_inputs_constants_and_targets_are_leaves_but_an_index_is_not():
    w = leaf(4, 3)
    x = np.ones((5, 4))
    graph = capture(F.nll_loss(F.matmul(x, w), LABELS))
    assert graph.kept_bytes == 0
    assert ("x", 160, True, False) in kept(graph, "matmul")
    assert ("targets", LABELS.nbytes, True, False) in kept(graph, "nll_loss")
    index = np.array([3, 1])
    assert capture(w[index]).kept_bytes == index.nbytes


@pytest.mark.usefixtures("own_registry")
def test_a_residual_counts_whatever_it_is_made_of():
    @tg.register
    class TwiceSine(tg.FusedOp):
        residual = True
        vjps = (lambda g, residual, _x: 2 * g * residual[1][0],)

        @staticmethod
        def forward(x, *, gradient):
            return 2 * np.sin(x), (np.float64(1), [np.cos(x)]) if gradient else None

        @staticmethod
        def decomposition(x):
            return 2 * np.sin(x)

    graph = capture(TwiceSine(leaf(3)).sum(), gradients=True)
    assert kept(graph, "twice_sine") == [("residual", 24, False, False), ("x", 24, True, False)]
    assert graph.kept_bytes == 24


def test_a_released_graph_keeps_nothing_and_still_has_its_structure():
    x = leaf(3, name="x")
    loss = (np.exp(x) * x).sum()
    live = capture(loss)
    loss.backward()
    graph = capture(loss)
    assert (graph.released, graph.kept_bytes, live.released) == (True, 0, False)
    assert live.kept_bytes == 24
    assert [dataclasses.replace(n, kept=(), gradient=None, summary=None) for n in graph.nodes] == [
        dataclasses.replace(n, kept=(), gradient=None, summary=None) for n in live.nodes
    ]
    assert graph.edges == live.edges


# Gradients


def rms(g):
    return float(np.sqrt(np.mean(np.square(np.asarray(g, dtype=np.longdouble)))))


def test_leaves_show_what_grad_holds_and_nothing_before_backward():
    x, unused = leaf(4, name="x"), leaf(4, name="unused")
    loss = (x**3 + unused).sum()
    assert all(node.gradient is None for node in capture(loss).nodes)
    loss.backward()
    unused.grad = None
    graph = capture(loss)
    found = node_of(graph, "x").gradient
    assert found.rms == pytest.approx(rms(3 * x.data**2), rel=1e-14)
    assert found.max_abs == pytest.approx(np.max(3 * x.data**2), rel=1e-14)
    assert node_of(graph, "unused").gradient == Gradient(None, None)
    assert node_of(graph, "sum").gradient is None
    assert all(node.gradient is None for node in capture(loss, gradients=False).nodes)


def test_a_retained_gradient_is_shown():
    x = leaf(4)
    y = np.exp(x).retain_grad()
    (y * np.arange(4.0)).sum().backward()
    assert node_of(capture(y), "exp").gradient.rms == pytest.approx(rms(np.arange(4.0)), rel=1e-14)


def test_a_private_pass_finds_every_gradient_and_changes_none():
    model, x = mlp(), batch()
    hidden = model[0](x)
    hidden.retain_grad()
    loss = F.softmax_cross_entropy(model[2](F.relu(hidden)), LABELS)
    graph = capture(loss, model=model, gradients=True)
    assert hidden.grad is None
    assert all(p.grad is None for p in model.parameters())
    expected = tg.grad(loss, [hidden, *model.parameters()], retain_graph=True)
    assert graph.nodes[3].gradient.rms == pytest.approx(rms(expected[0].data), rel=1e-6)
    for (name, _), g in zip(model.named_parameters(), expected[1:], strict=True):
        assert node_of(graph, name).gradient.rms == pytest.approx(rms(g.data), rel=1e-6)
    assert all(n.gradient is not None for n in graph.nodes if n.kind in ("op", "parameter"))
    assert all(n.gradient is None for n in graph.nodes if n.kind in ("input", "target"))
    loss.backward()  # the graph is live still
    assert capture(loss, model=model).nodes[1].gradient == graph.nodes[1].gradient


def test_hooks_have_their_say_in_a_private_pass():
    x = leaf(2, name="x")
    y = np.sin(x)
    y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g * 0)
    graph = capture(y.sum(), gradients=True)
    assert node_of(graph, "sin").gradient.rms == 10
    assert (node_of(graph, "x").gradient.rms, node_of(graph, "x").gradient.max_abs) == (0.0, 0.0)


@pytest.mark.parametrize("scale", [1e200, 5e-324, 1e-200])
def test_the_rms_neither_overflows_nor_underflows(scale):
    x = leaf(3)
    graph = capture((x * np.array([scale, 0, 0])).sum(), gradients=True)
    assert graph.nodes[0].gradient.rms == pytest.approx(scale / math.sqrt(3), rel=0 if scale < 1e-300 else 1e-14)
    assert graph.nodes[0].gradient.max_abs == scale


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_gradient_that_is_not_finite_says_so(bad):
    x = leaf(2)
    found = capture((x * np.array([1.0, bad])).sum(), gradients=True).nodes[0].gradient
    np.testing.assert_array_equal([found.rms, found.max_abs], [bad, bad])


# Errors


def test_errors_name_the_argument_and_the_remedy():
    x = leaf(2)
    y = x * 2
    with pytest.raises(TypeError, match=r"expected a Tensor .* found 3"):
        capture(3)
    with pytest.raises(TypeError, match="found 'y'"):
        capture([y, "y"])
    with pytest.raises(TypeError, match="expected a Tensor"):
        capture([])
    with pytest.raises(TypeError, match="model: expected named_parameters"):
        capture(y, model=[x])
    with pytest.raises(TypeError, match="inputs: expected"):
        capture(y, inputs=[x])
    with pytest.raises(ValueError, match='gradients: expected "auto", True or False'):
        capture(y, gradients="yes")
    with pytest.raises(RuntimeError, match=r"outputs of one element, found shape \(2,\)"):
        capture(y, gradients=True)
    loss = y.sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        capture(loss, gradients=True)
