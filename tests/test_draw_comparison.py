"""Two graphs in one picture: what is drawn, what is marked, what the totals say."""

import itertools
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_ce as tg
from tests.compared_graphs import IO, X, Y, activations, against_fused, branches, gradient_of, mlp
from tests.golden import HERE, path
from tests.golden.comparisons import COMPARISONS
from tests.helpers import unfused
from tests.small_graphs import graph_of, graphs, network
from tinygrad_ce import functional as F
from tinygrad_ce import nn
from tinygrad_ce.compare import CHAINS
from tinygrad_ce.graph import capture
from tinygrad_ce.graph.match import aligned, match
from tinygrad_ce.viz import render
from tinygrad_ce.viz.compare import ComparisonDrawing, GradientDifference, Totals, draw_comparison
from tinygrad_ce.viz.compare.fold import fold_both

SVG = "{http://www.w3.org/2000/svg}"
PICTURES = {
    "against fused": against_fused,
    "to the right": lambda: against_fused(direction="LR"),
    "expanded": lambda: against_fused(expand="softmax_cross_entropy"),
    "activations": activations,
    "branches": branches,
    "nothing in common": lambda: draw_comparison(F.sum(tg.Tensor([1.0, 2.0], requires_grad=True)), F.exp(X * 1.0)),
    "leaves": lambda: draw_comparison(tg.Tensor([1.0], requires_grad=True), tg.Tensor([2.0])),
}


def groups(picture):
    """Of an SVG, the elements of each kind by id: (nodes, edges)."""
    found = {}, {}
    for element in ET.fromstring(picture.svg()).iter(f"{SVG}g"):
        kind = element.get("class", "").split(" ")[0]
        if kind in ("node", "edge"):
            assert element.get("id") not in found[kind == "edge"]
            found[kind == "edge"][element.get("id")] = element
    return found


# What is drawn


@pytest.mark.parametrize("name", PICTURES)
def test_nodes_edges_and_marks_are_those_of_both_graphs(name):
    picture = PICTURES[name]()
    nodes, edges = groups(picture)
    legend = {id for id in nodes if id.startswith("legend")}
    a, b = picture.drawing.sides
    assert nodes.keys() - legend == {f"a{n.id}" for n in a.full.nodes} | {f"b{n.id}" for n in b.full.nodes}
    expected = {f"{side.prefix}e{i}" for side in (a, b) for i in range(len(side.full.edges))}
    assert {id for id in edges if re.fullmatch(r"[ab]e\d+", id)} == expected
    pairs = match(a.full, b.full)
    both = {f"a{u}" for u, _ in pairs} | {f"b{v}" for _, v in pairs}
    marked = {id for id, element in nodes.items() if "only" in element.get("class").split()}
    assert marked == nodes.keys() - legend - both
    for id in marked:
        accent = "#b8400e" if id[0] == "a" else "#0072b2"
        assert accent in ET.tostring(nodes[id], encoding="unicode")


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("program", ["dot", "graphviz-pure"])
def test_both_renderers_take_it_without_a_word(name, program):
    path = shutil.which(program) or (program == "graphviz-pure" and render._installed())
    if not path:
        pytest.skip(f"no {program} here")
    dot = PICTURES[name]().dot
    done = subprocess.run([path, "-Tsvg"], input=dot.encode(), capture_output=True, check=True)
    assert done.stderr == b""
    assert dot.isascii()


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_program_gives_the_same_text(name):
    assert PICTURES[name]().dot == PICTURES[name]().dot
    assert PICTURES[name]().text() == PICTURES[name]().text()


def heights(picture):
    """Of each card, where its name stands in the SVG."""
    nodes, _ = groups(picture)
    return {id: float(element.find(f".//{SVG}text").get("y")) for id, element in nodes.items()}


def test_what_is_in_both_stands_at_the_same_height():
    for picture in (activations(gradients=False), branches(gradients=False)):
        at = heights(picture)
        a, b = (side.full for side in picture.drawing.sides)
        pairs = aligned((a, b), match(a, b))
        assert len(pairs) >= 6
        for u, v in pairs:
            assert at[f"a{u}"] == pytest.approx(at[f"b{v}"], abs=6)


def test_a_is_on_the_left_or_on_top():
    for direction, axis in (("TB", 0), ("LR", 1)):
        svg = against_fused(direction=direction).svg().replace("&#160;", " ")
        title = r'<text[^>]*? x="([-\d.]+)" y="([-\d.]+)"[^>]*>([AB])  (?:un)?fused<'
        place = {letter: (float(x), float(y)) for x, y, letter in re.findall(title, svg)}
        assert place["A"][axis] < place["B"][axis]


@given(graphs(most=9), graphs(most=9))
@settings(max_examples=60)
def test_equal_ranks_go_round_in_no_circle_and_are_as_many_as_keep_the_order(a, b):
    pairs = match(a, b)
    found = aligned((a, b), pairs)
    assert set(found) <= set(pairs)
    number = {f"{side}{n.id}": i for side, graph in (("a", a), ("b", b)) for i, n in enumerate(graph.nodes)}
    places = [(number["a" + u], number["b" + v]) for u, v in found]
    assert all(x < y and p < q for (x, p), (y, q) in itertools.pairwise(places))
    ops = [(number["a" + u], number["b" + v]) for u, v in pairs if a.nodes[number["a" + u]].kind == "op"]
    best = [1] * len(ops)  # the textbook's quadratic way
    for j, (_, q) in enumerate(ops):
        best[j] = 1 + max((best[i] for i in range(j) if ops[i][1] < q), default=0)
    assert len(found) == max(best, default=0)


def test_hostile_titles_and_names():
    titles = ('"<b>&amp;\\N', "\u00fc\n\\l" + "x" * 10_000)
    x = tg.Tensor(np.ones(2), requires_grad=True, name='<"\\n>')
    picture = draw_comparison(F.sum(F.sin(x)), F.sum(F.cos(x)), titles=titles)
    assert picture.dot.isascii()
    text = "".join(ET.fromstring(picture.svg()).itertext())
    assert '"<b>&amp;\\N' in text
    assert picture.text().isascii()
    assert len(picture.text().splitlines()[0]) < 120


def test_a_title_that_is_the_letter_stands_once():
    assert ">A<" in branches().svg()


# As text


def test_the_text_is_a_unified_diff():
    x = tg.Tensor(np.ones(2), requires_grad=True, name="x")
    picture = draw_comparison(F.sum(F.sin(x * 2.0)), F.sum(F.exp(F.cos(x * 2.0))), titles=("one", "two"))
    lines = picture.text().splitlines()
    assert lines[0] == "A one | B two"
    start = next(i for i, line in enumerate(lines) if line.startswith("  id"))
    assert [line.split()[:3] for line in lines[1:start]][:2] == [["ops", "3", "|"], ["ops", "in", "one"]]
    rows = [re.split(r"  +", line[2:]) for line in lines[start + 1 :]]
    assert [(line[0], cells[0], cells[1]) for line, cells in zip(lines[start + 1 :], rows, strict=True)] == [
        (" ", "a0", "parameter"), (" ", "a1", "mul"), ("-", "a2", "sin"), ("+", "b2", "cos"), ("+", "b3", "exp"),
        (" ", "a3", "sum"),
    ]  # fmt: skip
    inputs = lines[start].index("inputs")
    found = [re.split(r"  +", line[inputs:])[0] for line in lines[start + 1 :]]
    assert found == ["", "x, y=2", "a1", "a1", "b2", "a2 | b3"]


@pytest.mark.parametrize("name", PICTURES)
def test_the_text_has_a_line_for_each_node_and_the_signs_of_the_marks(name):
    picture = PICTURES[name]()
    lines = picture.text().splitlines()
    lines = lines[next(i for i, line in enumerate(lines) if re.match("  id +(module|op)", line)) + 1 :]
    a, b = (side.full for side in picture.drawing.sides)
    pairs = match(a, b)
    expected = [len(pairs), len(a.nodes) - len(pairs), len(b.nodes) - len(pairs)]
    assert [sum(line[0] == sign for line in lines) for sign in " -+"] == expected


def test_a_long_text_is_cut_where_nothing_differs():
    def chain(changed):
        z = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
        for i in range(30):
            z = F.cos(z) if i == changed else F.sin(z)
        return z

    picture = draw_comparison(chain(None), chain(20))
    whole = picture.text().splitlines()
    short = picture.drawing.text(20).splitlines()
    assert "  ... 18 more in both" in short
    assert "  ... 6 more in both" in short
    assert [line for line in whole if line[0] in "-+"] == [line for line in short if line[0] in "-+"]
    assert len(picture.drawing.text(5).splitlines()) < len(short)
    assert "more lines" in picture.drawing.text(5)
    assert repr(picture) == picture.text()


# Large graphs


def deep(changed, count=24):
    layers = [layer for i in range(count) for layer in (nn.Tanh if i == changed else nn.ReLU, (8, 8))]
    return network((4, 8), *layers, nn.ReLU, (8, 3))


def deep_pair(**options):
    a, b = deep(None), deep(12)
    losses = (F.softmax_cross_entropy(model(X), Y) for model in (a, b))
    return draw_comparison(*losses, model=(a, b), inputs=IO, **options)


def test_both_sides_are_folded_alike():
    picture = deep_pair()
    a, b = (side.drawn for side in picture.drawing.sides)
    closed = [[n.name for n in graph.nodes if n.kind == "module"] for graph in (a, b)]
    assert closed[0] == closed[1]
    assert len(closed[0]) > 20
    assert picture.drawing.only == (
        {n.id for n in a.nodes if n.module == ("25",)}, {n.id for n in b.nodes if n.module == ("25",)}
    )  # fmt: skip
    nodes, _ = groups(picture)
    assert {"a" + n.id for n in a.nodes} | {"b" + n.id for n in b.nodes} == {i for i in nodes if i[0] in "ab"}
    assert len(picture.drawing.sides[0].full.nodes) > len(a.nodes)


def test_a_module_that_holds_a_difference_stays_open():
    class Block(nn.Module):
        def __init__(self, act, generator):
            self.linear, self.act = nn.Linear(4, 4, generator=generator), act

        def forward(self, x):
            return x + self.act(self.linear(x))

    def net(changed):
        g = np.random.default_rng(0)
        return nn.Sequential(*(Block(F.sin if i == changed else F.tanh, g) for i in range(16)))

    a, b = net(None), net(5)
    picture = draw_comparison(F.mean(a(X)), F.mean(b(X)), model=(a, b), inputs={"x": X})
    for side in picture.drawing.sides:
        assert len(side.full.nodes) > 40
        closed = [n.name for n in side.drawn.nodes if n.kind == "module"]
        assert [name for name in closed if name != "5.linear"] == [str(i) for i in range(16) if i != 5]
        assert {"tanh" if side.prefix == "a" else "sin", "add"} <= {n.op for n in side.drawn.nodes}
    opened = draw_comparison(F.mean(a(X)), F.mean(b(X)), model=(a, b), inputs={"x": X}, expand=["3"])
    assert "3" not in [n.name for n in opened.drawing.sides[0].drawn.nodes if n.kind == "module"]
    shut = draw_comparison(F.mean(a(X)), F.mean(b(X)), model=(a, b), inputs={"x": X}, depth=1)
    names = [[n.name for n in side.drawn.nodes if n.id in only] for side, only in
             zip(shut.drawing.sides, shut.drawing.only, strict=True)]  # fmt: skip
    assert names == [["5"], ["5"]]  # closed because that was asked for, and marked


def test_long_chains_are_folded_around_the_differences():
    def chain(changed, n=600):
        return graph_of([("x", (2,))], [("other" if i in changed else "sin", (i,)) for i in range(n)])

    a, b = chain(()), chain((200, 400))
    pairs = dict(match(a, b))
    drawn = fold_both(a, b, pairs)
    assert max(len(graph.nodes) for graph in drawn) < 20
    only = {node.id for node in a.nodes} - set(pairs)
    assert only == {"n201", "n401"}
    assert only <= {n.id for n in drawn[0].nodes if n.count == 1}
    assert all(not only & set(n.members) for n in drawn[0].nodes)
    assert not any(key == "only in one" for graph in drawn for n in graph.nodes for key, _ in n.attributes)
    assert sum(n.count for n in drawn[0].nodes) == 601


# What goes in


def test_expanding_is_for_the_side_that_has_it():
    picture = against_fused(expand=["softmax_cross_entropy"])
    a, b = (side.full for side in picture.drawing.sides)
    assert "softmax_cross_entropy" in b.modules
    assert "softmax_cross_entropy" not in a.modules
    assert not any(n.op == "softmax_cross_entropy" for n in b.nodes)
    with pytest.raises(ValueError, match="'softplus' is neither a fused op nor a module of either graph"):
        against_fused(expand=["softplus"])


def test_the_sides_of_a_page():
    picture = against_fused(gradients=True)
    a, b = picture.drawing.sides
    assert [(side.prefix, side.title) for side in (a, b)] == [("a", "unfused"), ("b", "fused")]
    assert a.full.steps
    assert b.full.steps
    assert picture.graph is a.full


def test_show_and_gradients():
    plain = against_fused(show=(), gradients=False)
    chip = re.compile(r">g(?: |&#160;)[\d.e+-]+<")
    assert not chip.search(plain.svg())
    assert chip.search(against_fused(show=("grad",)).svg())
    assert all(n.gradient is None for side in plain.drawing.sides for n in side.full.nodes)
    for side in against_fused().drawing.sides:
        (found,) = (n.gradient for n in side.full.nodes if n.id in side.full.outputs)
        assert (found.rms, found.max_abs) == (1.0, 1.0)


def test_errors_name_the_argument():
    x = tg.Tensor([1.0], requires_grad=True) * 2.0
    with pytest.raises(ValueError, match="titles: expected two texts"):
        draw_comparison(x, x, titles="AB")
    with pytest.raises(ValueError, match="titles: expected two texts"):
        draw_comparison(x, x, titles=("A", 1))
    with pytest.raises(ValueError, match="show: expected a tuple"):
        draw_comparison(x, x, show=("colour",))
    with pytest.raises(ValueError, match="direction: expected"):
        draw_comparison(x, x, direction="BT")
    with pytest.raises(ValueError, match="depth: expected a number from 1 up"):
        draw_comparison(x, x, depth=0)
    with pytest.raises(TypeError, match="found 3"):
        draw_comparison(x, 3)
    with pytest.raises(ValueError, match="gradients"):
        draw_comparison(x, x, gradients="yes")


# From the comparisons of losses


def test_a_comparison_of_chains_draws_itself():
    z = np.linspace(-2, 2, 12).reshape(4, 3)
    found = tg.compare_gradients(z, [0, 1, 2, 0], weight=[1.0, 2.0, 3.0], measure=False, chains=list(CHAINS))
    for name in ("softmax, log, pick", "log-softmax + NLL", "clipped", "naive"):
        picture = found.draw(name)
        a, b = picture.drawing.sides
        assert (a.title, b.title) == (name, "fused")
        assert [n.op for n in b.full.nodes if n.op] == ["softmax_cross_entropy"]
        expected = found[name].gradient - found["fused"].gradient
        assert gradient_of(picture).largest == pytest.approx(np.abs(expected).max(), rel=1e-12, abs=0)
        assert gradient_of(picture).name == "logits"
        assert a.full.ops == found[name].ops
        assert a.full.kept_bytes == found[name].kept_bytes
    for name in ("fused", "p - y", "nothing"):
        with pytest.raises(ValueError, match="is no chain to draw the fused one against; there are 'log-softmax"):
            found.draw(name)
    assert found.draw(direction="LR").dot != found.draw().dot


def test_a_comparison_of_models_draws_what_was_compared():
    model = mlp()
    found = tg.compare_models(model, (X, Y), unfused, F.softmax_cross_entropy)
    before = found.draw().dot
    for parameter in model.parameters():
        parameter.data = parameter.data * 0
    picture = found.draw()
    assert picture.dot == before
    assert [side.title for side in picture.drawing.sides] == ["unfused", "softmax_cross_entropy"]
    assert picture.drawing.only == against_fused().drawing.only
    largest = max(found.parameters, key=lambda result: result.between.absolute)
    assert gradient_of(picture).name == largest.name
    assert gradient_of(picture).largest == pytest.approx(largest.between.absolute, rel=1e-6)


# Golden files


@pytest.mark.parametrize("name", COMPARISONS)
def test_golden(name):
    assert COMPARISONS[name]().dot.encode() == path(name).read_bytes(), "see the docstring of tests/golden"


def test_the_golden_files_are_of_what_they_say():
    dot = {name: path(name).read_text() for name in COMPARISONS}
    only = {name: re.findall(r'class="(?:op|target)[\w ]* only" id=([ab])', text) for name, text in dot.items()}
    assert {name: (found.count("a"), found.count("b")) for name, found in only.items()} == {
        "comparison_activations": (1, 1), "comparison_branches": (0, 1), "comparison_losses": (7, 1),
    }  # fmt: skip
    assert {file.stem for file in HERE.glob("comparison_*.dot")} == set(COMPARISONS)


@given(graphs(most=7), graphs(most=7), st.sampled_from(["TB", "LR"]))
@settings(max_examples=12)
def test_any_two_graphs_can_be_drawn(a, b, direction):
    pairs = match(a, b)
    totals = Totals.of(a, b, pairs, GradientDifference(None, "no gradients"))
    drawing = ComparisonDrawing((a, b), pairs, totals, direction=direction)
    svg = ET.fromstring(tg.viz.Picture(drawing).svg())
    ids = [g.get("id") for g in svg.iter(f"{SVG}g") if g.get("class", "").startswith("node")]
    assert len([id for id in ids if not id.startswith("legend")]) == len(a.nodes) + len(b.nodes)


def test_a_captured_graph_is_not_changed_by_being_compared():
    model = mlp()
    loss = F.softmax_cross_entropy(model(X), Y)
    before = capture(loss, model=model, inputs=IO)
    draw_comparison(loss, unfused(model(X), Y), model=model, inputs=IO)
    assert capture(loss, model=model, inputs=IO) == before
    loss.backward()
