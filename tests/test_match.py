"""Matching two graphs: what is the same is found, what differs is left over, and nothing else."""

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_ce as tg
from tests.small_graphs import graph_of, graphs, network
from tinygrad_ce import functional as F
from tinygrad_ce import nn
from tinygrad_ce.graph import Edge, Graph, GraphNode, capture
from tinygrad_ce.graph.match import COMMUTATIVE, match


def left_over(a, b):
    pairs = match(a, b)
    in_a, in_b = {u for u, _ in pairs}, {v for _, v in pairs}
    return [n.id for n in a.nodes if n.id not in in_a], [n.id for n in b.nodes if n.id not in in_b]


def names_left_over(a, b):
    names = [{n.id: n.op or n.name for n in graph.nodes} for graph in (a, b)]
    return tuple([name[i] for i in ids] for name, ids in zip(names, left_over(a, b), strict=True))


def check_pairs(a, b, pairs):
    """What holds of every matching: one to one, of the same label, and without a contradiction in the wiring."""
    of_a, of_b = ({n.id: n for n in graph.nodes} for graph in (a, b))
    assert len({u for u, _ in pairs}) == len({v for _, v in pairs}) == len(pairs)
    assert [u for u, _ in pairs] == [n.id for n in a.nodes if n.id in dict(pairs)]
    back = {v: u for u, v in pairs}
    there = dict(pairs)
    for u, v in pairs:
        x, y = of_a[u], of_b[v]
        assert (x.kind, x.op, x.attributes, x.shape, x.dtype) == (y.kind, y.op, y.attributes, y.shape, y.dtype)
        xs, ys = ([e.source for e in graph.edges if e.target == i] for graph, i in ((a, u), (b, v)))
        ways = [ys, ys[::-1]] if x.op in COMMUTATIVE else [ys]
        assert any(
            all(there.get(s) == t or s not in there or t not in back for s, t in zip(xs, way, strict=True))
            for way in ways
        )


def modules_left_over(a, b):
    """Modules of which all is left over; there must be none of which something is."""
    found = []
    for graph, ids in zip((a, b), left_over(a, b), strict=True):
        left = dict.fromkeys(n.module[-1] for n in graph.nodes if n.id in ids)
        assert {n.id for n in graph.nodes if n.module and n.module[-1] in left} == set(ids)
        found.append(list(left))
    return tuple(found)


# Properties


@settings(max_examples=60)
@given(graphs())
def test_a_graph_is_the_same_as_itself(graph):
    assert match(graph, graph) == tuple((node.id, node.id) for node in graph.nodes)


@settings(max_examples=60)
@given(graphs(), st.data())
def test_what_was_changed_is_left_over_and_nothing_else(graph, data):
    ops = [i for i, node in enumerate(graph.nodes) if node.kind == "op"]
    changed = data.draw(st.sets(st.sampled_from(ops), max_size=4))
    kinds = data.draw(st.sampled_from([("op", "other"), ("attributes", (("axis", "1"),)), ("shape", (3,))]))
    nodes = [
        dataclasses.replace(node, **{kinds[0]: kinds[1]}) if i in changed else node
        for i, node in enumerate(graph.nodes)
    ]
    other = dataclasses.replace(graph, nodes=tuple(nodes))
    expected = tuple((node.id, node.id) for i, node in enumerate(graph.nodes) if i not in changed)
    assert match(graph, other) == expected
    assert match(other, graph) == expected


@settings(max_examples=60)
@given(graphs(), graphs())
def test_any_two_graphs_match_one_to_one_and_the_same_from_both_sides(a, b):
    pairs = match(a, b)
    check_pairs(a, b, pairs)
    assert sorted((v, u) for u, v in match(b, a)) == sorted(pairs)
    assert match(a, b) == pairs


@settings(max_examples=60)
@given(graphs(), st.randoms(use_true_random=False))
def test_the_order_of_execution_does_not_matter(graph, random):
    """Another order of the nodes that keeps operands first, with other ids: the same graph."""
    operands = {n.id: [e.source for e in graph.edges if e.target == n.id] for n in graph.nodes}
    order = []
    while len(order) < len(graph.nodes):
        ready = [n for n in graph.nodes if n.id not in order and all(s in order for s in operands[n.id])]
        order.append(random.choice(ready).id)
    renamed = {old: f"n{i}" for i, old in enumerate(order)}
    of = {n.id: n for n in graph.nodes}
    edges = sorted(graph.edges, key=lambda e: (order.index(e.target), e.position))
    other = Graph(
        tuple(dataclasses.replace(of[old], id=renamed[old]) for old in order),
        tuple(dataclasses.replace(e, source=renamed[e.source], target=renamed[e.target]) for e in edges),
        tuple(renamed[i] for i in graph.outputs),
        "",
    )
    pairs = match(graph, other)
    check_pairs(graph, other, pairs)
    assert len(pairs) == len(graph.nodes)


@settings(max_examples=60)
@given(graphs(prefix="w"), graphs(prefix="v"))
def test_graphs_with_nothing_in_common(a, b):
    other = dataclasses.replace(
        b, nodes=tuple(dataclasses.replace(n, op=n.op and n.op + "_", shape=(3,)) for n in b.nodes)
    )
    assert match(a, other) == ()


@settings(max_examples=60)
@given(graphs(), st.data())
def test_an_op_put_between_two_is_left_over_alone(graph, data):
    """On one edge, an op that is nowhere else."""
    edge = data.draw(st.sampled_from(graph.edges))
    position = next(i for i, n in enumerate(graph.nodes) if n.id == edge.target)
    new = GraphNode("new", "op", "clip", "", (2,), "float32")
    edges = [dataclasses.replace(e, source="new") if e == edge else e for e in graph.edges]
    other = dataclasses.replace(
        graph,
        nodes=(*graph.nodes[:position], new, *graph.nodes[position:]),
        edges=(Edge(edge.source, "new", 0, "x"), *edges),
    )
    pairs = match(graph, other)
    check_pairs(graph, other, pairs)
    assert left_over(graph, other) == ([], ["new"])


# Real graphs


def captured(f, shape=(3,)):
    x = tg.Tensor(np.linspace(0.5, 1.5, int(np.prod(shape))).reshape(shape), requires_grad=True, name="x")
    return capture(f(x).sum())


def loss_graph(model, loss=F.softmax_cross_entropy):
    x, y = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4), np.array([0, 2, 1, 1, 0])
    return capture(loss(model(x), y), model=model, inputs={"x": x, "y": y})


def test_other_activations_in_two_layers_are_all_that_differs():
    a = network((4, 8), nn.ReLU, (8, 8), nn.ReLU, (8, 8), nn.ReLU, (8, 3))
    b = network((4, 8), nn.Sigmoid, (8, 8), nn.ReLU, (8, 8), nn.Sigmoid, (8, 3))
    assert names_left_over(loss_graph(a), loss_graph(b)) == (["relu", "relu"], ["sigmoid", "sigmoid"])


def test_a_loss_in_small_steps():
    model = network((4, 8), nn.ReLU, (8, 3))

    def chain(z, y):
        return -F.mean(F.take_along_axis(F.log(F.softmax(z)), y[:, None], 1))

    left = names_left_over(loss_graph(model), loss_graph(model, chain))
    assert left == (["softmax_cross_entropy"], ["softmax", "log", "take_along_axis", "mean", "neg"])


def test_the_end_of_two_chains_is_found_from_the_outputs():
    def naive(z):
        e = F.exp(z)
        return F.log(e / F.sum(e, axis=1, keepdims=True))

    def shifted(z):
        return naive(z - F.max(z, axis=1, keepdims=True))

    assert names_left_over(captured(naive, (2, 3)), captured(shifted, (2, 3))) == ([], ["max", "sub"])


@pytest.mark.parametrize("seed", [0, 1])
def test_a_layer_put_in(seed):
    a = network((4, 8), nn.ReLU, (8, 3))
    b = network((4, 8), nn.ReLU, (8, 8), nn.Tanh, (8, 3), seed=seed)
    assert modules_left_over(loss_graph(a), loss_graph(b)) == ([], ["2", "3"])


def test_a_layer_like_its_neighbours_put_in():
    a = network((4, 8), nn.ReLU, (8, 8), nn.ReLU, (8, 3))
    b = network((4, 8), nn.ReLU, (8, 8), nn.ReLU, (8, 8), nn.ReLU, (8, 3))
    assert modules_left_over(loss_graph(a), loss_graph(b)) == ([], ["4", "5"])


def test_parameters_of_other_names():
    def graph(names):
        w = [tg.Tensor(np.ones((2, 2)), requires_grad=True, name=name) for name in names]
        return capture(F.sum(F.matmul(F.tanh(F.matmul(np.ones((3, 2)), w[0])), w[1])))

    a, b = graph(["first", "second"]), graph(["one", "two"])
    assert left_over(a, b) == ([], [])
    assert dict(match(a, b)) == {n.id: n.id for n in a.nodes}
    assert left_over(a, graph(["second", "first"]))[0] != []  # each is used where the other one was


def test_unnamed_leaves_go_by_what_they_are_used_for():
    def graph(reverse):
        u, v = (tg.Tensor(np.ones(3), requires_grad=True) for _ in range(2))
        parts = [lambda: F.exp(u), lambda: F.log(v)]
        first, second = (part() for part in (parts[::-1] if reverse else parts))
        return capture(F.sum(second * first if reverse else first * second))

    a, b = graph(False), graph(True)
    assert [n.op for n in b.nodes if n.op] == ["log", "exp", "mul", "sum"]
    assert left_over(a, b) == ([], [])
    assert [(a.nodes[int(u[1:])].op, b.nodes[int(v[1:])].op) for u, v in match(a, b)] == [(n.op, n.op) for n in a.nodes]


def test_a_residual_branch_taken_twice():
    def block(x):
        return x + F.tanh(x * 2.0)

    def doubled(x):
        return x + F.tanh(x * 2.0) + F.tanh(x * 2.0)

    assert names_left_over(captured(block), captured(doubled)) == ([], ["mul", "tanh", "add"])
    assert names_left_over(captured(doubled), captured(doubled)) == ([], [])


def test_operands_that_swap_places():
    a, b = captured(lambda x: F.sin(x) + F.cos(x)), captured(lambda x: F.cos(x) + F.sin(x))
    assert left_over(a, b) == ([], [])
    a, b = captured(lambda x: F.sin(x) - F.cos(x)), captured(lambda x: F.cos(x) - F.sin(x))
    assert names_left_over(a, b) == (["sub"], ["sub"])


def test_another_attribute_or_shape_is_another_op():
    def total(axis):
        return lambda x: F.sum(F.exp(x), axis=axis)

    assert names_left_over(captured(total(0), (3, 3)), captured(total(1), (3, 3))) == (["sum"], ["sum"])
    a, b = captured(lambda x: F.exp(x) * 2.0), captured(lambda x: F.exp(x) * 3.0)
    assert names_left_over(a, b) == (["mul"], ["mul"])
    a, b = captured(F.exp, (3,)), captured(F.exp, (4,))
    assert names_left_over(a, b) == (["x", "exp"], ["x", "exp"])


def test_sharing_a_parameter_shows():
    def graph(shared):
        u, v = (tg.Tensor(np.ones(3), requires_grad=True, name=name) for name in "uv")
        return capture(F.sum(F.sin(u) * F.exp(u if shared else v)))

    assert names_left_over(graph(True), graph(False)) == ([], ["v"])


def test_long_chains_and_many_users_take_seconds_at_most():
    def chain(ops, leaves):
        return graph_of(leaves, ops)

    rng = np.random.default_rng(0)
    kinds = rng.choice(["sin", "exp", "tanh"], 10_000)
    a = chain([(k, (i,)) for i, k in enumerate(kinds)], [("x", (2,))])
    changed = set(rng.choice(10_000, 400, replace=False).tolist())
    b = chain([("clip" if i in changed else k, (i,)) for i, k in enumerate(kinds)], [("x", (2,))])
    start = time.perf_counter()
    assert left_over(a, b)[0] == [f"n{i + 1}" for i in sorted(changed)]
    hub = chain([("add", (i + 1, 0)) for i in range(5000)], [("w", (2,)), ("x", (2,))])
    other = chain([("add", (i + 1, 0)) for i in range(5000)], [("v", (2,)), ("x", (2,))])
    assert left_over(hub, other) == ([], [])
    plain = chain([("mul", (i, i)) for i in range(5000)], [("x", (2,))])
    assert left_over(plain, plain) == ([], [])
    assert time.perf_counter() - start < 10
