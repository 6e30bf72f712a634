"""The numbers in a captured graph: values of interior tensors, the backward pass as it went, what is detached."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tinygrad_ce as tg
from tests.helpers import leaf, square_op, training_step, unfused
from tinygrad_ce import engine, nn
from tinygrad_ce.graph import capture
from tinygrad_ce.graph.summary import COLUMNS, ROWS, size_of, summarize


def by_name(graph, name):
    (found,) = (node for node in graph.nodes if name in (node.op, node.name))
    return found


def rows(array):
    return tuple(map(tuple, np.atleast_2d(array).tolist()))


# The figures of an array


@given(
    arrays.arrays(
        np.float64,
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=20),
        elements=st.floats(width=64) | st.just(0.0),
    )
)
def test_figures_of_any_array(x):
    found = summarize(x)
    finite = x[np.isfinite(x)]
    assert (found.size, found.zeros) == (x.size, int((x == 0).sum()))
    assert (found.nan, found.infinite) == (int(np.isnan(x).sum()), int(np.isinf(x).sum()))
    assert found.low == (finite.min() if finite.size else None)
    assert found.high == (finite.max() if finite.size else None)
    if not x.size:
        assert found.rms == 0
    elif np.isnan(x).any():
        assert math.isnan(found.rms)
    elif np.isinf(x).any():
        assert found.rms == math.inf
    else:
        exact = mpmath.sqrt(mpmath.fsum(mpmath.mpf(v) ** 2 for v in x.reshape(-1).tolist()) / x.size)
        assert abs(found.rms - exact) <= 1e-14 * exact + 2e-323


def test_the_root_mean_square_neither_overflows_nor_vanishes():
    for scale in (1e-300, 1e300):
        assert summarize(np.array([3.0, 4.0]) * scale).rms == pytest.approx(scale * math.sqrt(12.5), rel=1e-15)
    assert size_of(np.float32([3e38, 3e38])).rms == pytest.approx(3e38, rel=1e-7)


def test_dead_units_are_positions_that_are_zero_in_every_row():
    x = np.arange(24.0).reshape(2, 3, 4)
    x[..., 1] = 0
    x[1, 2, 2] = 0
    found = summarize(x)
    assert (found.dead, found.units, found.zeros) == (1, 4, 8)
    assert summarize(np.zeros((1, 4))).dead == 0  # one row says nothing
    assert summarize(np.zeros(4)).dead == 0


def test_sunk_units_are_far_below_those_that_are_awake():
    x = np.random.default_rng(0).normal(size=(8, 5))
    x[:, 3] -= 100
    assert summarize(x).sunk == 1
    assert summarize(x - 200).sunk == 0  # nothing is awake to compare with
    assert summarize(np.float32(x[:, :3])).sunk == 0


def test_an_excerpt_is_the_corner():
    x = np.arange(40.0 * 30).reshape(40, 30)
    found = summarize(x).excerpt
    assert found.rows == rows(x[:ROWS, :COLUMNS])
    assert not found.whole
    assert summarize(np.float32(0.1)).excerpt.rows == ((float(np.float32(0.1)),),)
    assert summarize(np.arange(5)).excerpt.rows == ((0, 1, 2, 3, 4),)
    deep = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    assert summarize(deep).excerpt.rows == rows(deep.reshape(6, 4))
    assert summarize(deep).excerpt.whole


# Values of interior tensors


@pytest.mark.parametrize("loss_of", [tg.F.softmax_cross_entropy, unfused])
def test_every_value_is_known_and_right(loss_of):
    generator = np.random.default_rng(0)
    model = nn.MLP([4, 8, 3], generator=generator)
    x, y = generator.normal(size=(5, 4)).astype(np.float32), np.array([0, 2, 1, 1, 0])
    hidden = model[0](x)
    active = model[1](hidden)
    logits = model[2](active)
    graph = capture(loss_of(logits, y), model=model, inputs={"x": x, "y": y})
    made = [node for node in graph.nodes if node.kind == "op"]
    assert [node.summary.excerpt.rows for node in made[:3]] == [
        rows(z.data[:ROWS, :COLUMNS]) for z in (hidden, active, logits)
    ]
    assert all(node.summary is not None for node in graph.nodes)
    assert by_name(graph, "x").summary.excerpt.rows == rows(x)
    assert by_name(graph, "y").summary.excerpt.rows == ((0, 2, 1, 1, 0),)
    assert made[-1].summary.mean == made[-1].value


def test_values_that_no_rule_keeps_are_computed_again():
    x = leaf([1.0, 2.0], name="x")
    y = (x + 1) - 2.5
    node = y.node
    assert all(not isinstance(kept, np.ndarray) for kept in (*node.saved, node.output))
    graph = capture(y)
    assert [n.summary.excerpt.rows for n in graph.nodes] == [((1, 2),), ((2, 3),), ((-0.5, 0.5),)]


def test_a_constant_that_no_rule_kept_leaves_its_successors_without_numbers():
    x = leaf([1.0, 2.0], name="x")
    y = np.exp(x + np.array([1.0, 1.0])) * 2
    graph = capture(y)
    assert by_name(graph, "add").summary is None or by_name(graph, "add").summary.mean == 2.5
    assert by_name(graph, "exp").summary.excerpt.rows == rows(np.exp([2.0, 3.0]))  # kept by its own rule
    z = (x + np.array([1.0, 1.0])) - 1
    assert [n.summary for n in capture(z).nodes][1:] == [None] * 3


@pytest.mark.usefixtures("own_registry")
def test_an_op_that_fails_when_run_again_has_no_numbers():
    runs = []

    def forward(x):
        runs.append(x)
        if len(runs) > 1:
            raise OSError("only once")
        return x + 1

    only_once = square_op(lambda g, _z, _x: g, forward=staticmethod(forward))
    graph = capture(only_once(leaf([1.0, 2.0])))
    assert graph.nodes[-1].summary is None
    assert len(runs) == 2


def test_freed_arrays_have_no_numbers_and_leaves_do():
    x = leaf([1.0, 2.0], name="x")
    loss = (x * x).sum()
    loss.backward()
    graph = capture(loss)
    assert [node.summary and node.summary.excerpt.rows for node in graph.nodes] == [((1, 2),), None, None]
    assert by_name(graph, "x").gradient.summary.excerpt.rows == ((2, 4),)


def test_capture_changes_nothing():
    loss, given = training_step()
    before = [p.data.copy() for p in given["model"].parameters()]
    kept = [(node.id, node.kept) for node in capture(loss, **given).nodes]
    capture(loss, **given, gradients=True, expand=("softmax_cross_entropy", "linear"))
    assert [(node.id, node.kept) for node in capture(loss, **given).nodes] == kept
    assert all(p.grad is None for p in given["model"].parameters())
    for p, old in zip(given["model"].parameters(), before, strict=True):
        np.testing.assert_array_equal(p.data, old)
    loss.backward()
    assert all(p.grad is not None for p in given["model"].parameters())


# The backward pass as it went


def test_steps_are_the_engines_own_order():
    loss, given = training_step(unfused)
    graph = capture(loss, **given, gradients=True)
    arrived = []
    ids = {}
    nodes = engine.topological([loss.node])[::-1]
    for node, op in zip(nodes, [n for n in graph.nodes if n.kind == "op"], strict=True):
        ids[node] = op.id
        assert node.op.name == op.op
        node.hooks = {0: lambda g, node=node: (arrived.append(ids[node]), g)[1]}
    loss.backward()
    assert [step.node for step in graph.steps] == arrived
    sent = {(step.node, p.position, p.source) for step in graph.steps for p in step.passed}
    takes = {node.id for node in graph.nodes if node.gradient is not None}
    assert sent == {(e.target, e.position, e.source) for e in graph.edges if e.source in takes}


def test_partial_sums_of_a_tensor_with_several_consumers():
    x = leaf([1.0, 2.0], name="x")
    graph = capture((x * 3 + np.exp(x) + x).sum(), gradients=True)
    sums = [p for step in graph.steps for p in step.passed if p.source == by_name(graph, "x").id]
    # newest first: + x, then exp, then * 3
    parts = [np.ones(2), np.exp(x.data), np.full(2, 3.0)]
    total = np.zeros(2)
    for p, part in zip(sums, parts, strict=True):
        total = total + part
        assert p.gradient.max_abs == np.abs(part).max()
        assert p.total.rms == pytest.approx(np.sqrt(np.mean(total**2)), rel=1e-15)
    assert by_name(graph, "x").gradient.max_abs == np.abs(total).max()
    assert capture((x * 3).sum()).steps == ()


# Fused ops expanded


def test_an_expanded_loss_is_drawn_as_its_decomposition():
    loss, given = training_step()
    closed = capture(loss, **given, gradients=True)
    graph = capture(loss, **given, gradients=True, expand=["softmax_cross_entropy"])
    ops = [node.op for node in graph.nodes if node.kind == "op"]
    assert "softmax_cross_entropy" in [node.op for node in closed.nodes]
    assert ops[-2:] == ["log_softmax", "nll_loss"]
    assert [node.module for node in graph.nodes if node.op == "nll_loss"] == [("softmax_cross_entropy",)]
    assert graph.modules["softmax_cross_entropy"] == "expanded"
    assert {n.name for n in graph.nodes if n.kind != "op"} == {n.name for n in closed.nodes if n.kind != "op"}
    assert graph.nodes[-1].value == closed.nodes[-1].value
    for node in graph.nodes:
        if node.kind == "parameter":
            twin = by_name(closed, node.name)
            assert node.gradient.rms == pytest.approx(twin.gradient.rms, rel=1e-5)


@pytest.mark.usefixtures("own_registry")
def test_fused_ops_in_the_middle_and_inside_one_another():
    @tg.register
    class Around(tg.FusedOp):
        vjps = (lambda g, z, z_, *, labels: g * (tg.F.softmax(z_) - np.eye(3)[labels]) * z,)

        @staticmethod
        def forward(z, *, labels):
            return np.exp(tg.F.softmax_cross_entropy(z, labels, reduction="sum").data)

        @staticmethod
        def decomposition(z, *, labels):
            return np.exp(tg.F.softmax_cross_entropy(z, labels, reduction="sum"))

    loss, given = training_step(lambda logits, labels: Around(logits, labels=labels) * 2.0)
    names = ("linear", "softmax_cross_entropy", "around")
    graph = capture(loss, **given, gradients=True, expand=names)
    assert not {node.op for node in graph.nodes} & set(names)
    assert all(node.summary is not None for node in graph.nodes)
    inner = [node.op for node in graph.nodes if node.module == ("around", "softmax_cross_entropy")]
    assert inner == ["log_softmax", "nll_loss"]
    assert [node.op for node in graph.nodes if node.module == ("around",)] == ["exp"]
    assert graph.nodes[-1].value == loss.item()
    exact = capture(loss, **given, gradients=True)
    for twin in exact.nodes:
        if twin.kind == "parameter":
            assert by_name(graph, twin.name).gradient.rms == pytest.approx(twin.gradient.rms, rel=1e-5)
    places = {node.id: i for i, node in enumerate(graph.nodes)}
    assert all(places[e.source] < places[e.target] for e in graph.edges)


def test_a_freed_graph_is_expanded_too():
    loss, given = training_step()
    live = capture(loss, **given, expand=["softmax_cross_entropy"])
    loss.backward()
    freed = capture(loss, **given, expand=["softmax_cross_entropy"])
    shape = [(n.op, n.shape, n.dtype, n.module) for n in live.nodes]
    assert [(n.op, n.shape, n.dtype, n.module) for n in freed.nodes] == shape
    assert [(e.source, e.target) for e in freed.edges] == [(e.source, e.target) for e in live.edges]
    assert freed.released
    assert all(n.summary is None for n in freed.nodes if n.kind == "op")


def test_what_is_not_there_cannot_be_expanded():
    loss, given = training_step()
    with pytest.raises(ValueError, match=r"expand: 'relu' is not a fused op of this graph; there are linear, softm"):
        capture(loss, **given, expand=["relu"])
    with pytest.raises(ValueError, match="'linear' is not a fused op of this graph; there is none"):
        capture(leaf([1.0]) * 2, expand="linear")


# Detached, frozen


def test_parameters_that_the_loss_does_not_reach_are_detached():
    model = nn.MLP([4, 8, 3], generator=np.random.default_rng(0))
    x = np.ones((5, 4), np.float32)
    hidden = model[1](model[0](x))
    hidden.name = "hidden"
    logits = model[2](hidden.detach())
    graph = capture(logits.sum(), model=model, inputs={"x": x, "hidden": hidden})
    apart = [node for node in graph.nodes if node.id in graph.detached]
    assert [(node.kind, node.name) for node in apart] == [
        ("parameter", "0.weight"), ("parameter", "0.bias"), ("op", "hidden"),
    ]  # fmt: skip
    ends = {e.source for e in graph.edges} | {e.target for e in graph.edges}
    assert not ends & set(graph.detached)
    assert capture(model(x).sum(), model=model).detached == ()


def test_frozen_parameters_are_parameters_and_not_detached():
    model = nn.MLP([4, 8, 3], generator=np.random.default_rng(0))
    for p in model[2].parameters():
        p.requires_grad = False
    graph = capture(model(np.ones((5, 4), np.float32)).sum(), model=model)
    kinds = {node.name: node.kind for node in graph.nodes if node.kind != "op"}
    assert kinds["2.weight"] == kinds["2.bias"] == "parameter"
    assert graph.detached == ()
    assert by_name(graph, "2.weight").gradient is None


def test_a_detached_tensor_keeps_its_name():
    x = leaf([1.0, 2.0])
    h = np.exp(x)
    h.name = "hidden"
    assert h.detach().name == "hidden"


# Metadata that is drawn


def test_an_index_that_is_among_the_inputs_is_a_leaf():
    z, y = leaf(np.arange(6.0).reshape(3, 2), name="z"), np.array([0, 1, 1])
    loss = -tg.F.take_along_axis(tg.F.log_softmax(z), y[:, None], axis=1).mean()
    graph = capture(loss, inputs={"z": z, "y": y})
    target = by_name(graph, "y")
    assert (target.kind, target.shape, target.summary.excerpt.rows) == ("target", (3,), ((0, 1, 1),))
    assert [(e.target, e.position) for e in graph.edges if e.source == target.id] == [
        (by_name(graph, "take_along_axis").id, None)
    ]
    assert "indices" not in dict(by_name(graph, "take_along_axis").attributes)
    assert graph.kept_bytes == by_name(graph, "log_softmax").kept[0].nbytes
    loss.backward()
    assert by_name(capture(loss, inputs={"z": z, "y": y}), "y").kind == "target"
    assert all(node.name != "y" for node in capture(loss).nodes)


def test_an_index_of_several_arrays_and_one_used_twice():
    z, y = leaf(np.arange(6.0).reshape(3, 2), name="z"), np.array([0, 1, 1])
    loss = (z[np.arange(3), y] * 2).sum() + tg.F.softmax_cross_entropy(z, y)
    graph = capture(loss, inputs={"y": y})
    assert sorted(
        graph_edge.target for graph_edge in graph.edges if graph_edge.source == by_name(graph, "y").id
    ) == sorted([by_name(graph, "getitem").id, by_name(graph, "softmax_cross_entropy").id])
