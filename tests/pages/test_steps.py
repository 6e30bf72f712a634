"""The page in a real browser: what it shows at every step, of graphs of every kind."""

import re
import shutil
import statistics

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.pages.driving import (
    CARDS,
    LOOKS,
    WIDE,
    at,
    caption,
    cards,
    figures,
    film,
    flow,
    ids,
    last,
    leaf,
    losses,
    moment,
    static_texts,
)
from tinygrad_ce import functional as F
from tinygrad_ce.viz import render
from tinygrad_ce.viz.page import page as write_page


def test_at_the_start_everything_is_dim_and_in_the_end_nothing_is(visit, picture):
    window = visit(picture.html(), "#t=0")
    assert all(card["dim"] and not card["chip"] for card in cards(window).values())
    assert window.locator("g.edge:not(.dim)").count() == 0
    assert "nothing has run yet" in caption(window)[0]
    window.keyboard.press("End")
    assert not any(card["dim"] or card["partly"] or card["now"] for card in cards(window).values())
    assert window.locator("g.edge.dim, g.edge.flow").count() == 0
    assert all(line.partition("complete: ")[1] for line in caption(window))


def test_stepping_to_the_end_gives_the_static_picture(visit, picture):
    window = visit(picture.html())
    opened = window.evaluate(LOOKS)
    assert {id: card["text"] for id, card in cards(window).items()} == static_texts(picture)
    assert set(cards(window)) == {side.prefix + node.id for side in picture.drawing.sides for node in side.drawn.nodes}
    window.keyboard.press("Home")
    assert window.evaluate(LOOKS) != opened
    for _ in range(last(window)):
        window.keyboard.press("ArrowRight")
    assert moment(window) == last(window)
    assert window.evaluate(LOOKS) == opened


def test_no_text_is_wider_than_its_card_at_any_step(visit, picture):
    window = visit(picture.html())
    assert [wide for wide in film(window, WIDE) if wide] == []


@pytest.mark.parametrize("font", ["DejaVu Sans", "DejaVu Sans Mono", "monospace"])
def test_no_text_is_wider_than_its_card_in_another_font(visit, small, font):
    text = small.html()
    for usual in ("Arial, Helvetica", '"Courier New", "Liberation Mono"'):
        assert usual in text
        text = text.replace(usual, f"'{font}'")
    window = visit(text, "#t=0")
    assert [wide for wide in film(window, WIDE) if wide] == []


def test_gradients_arrive_in_the_order_that_the_engine_has(visit, small):
    _, loss, model, inputs = losses()
    seen = []
    for name, x in [*model.named_parameters(), ("x", inputs["x"])]:
        x.register_hook(lambda _, name=name: seen.append(name))
    loss.backward()  # hooks of leaves run when all is done, so they tell that a gradient comes, not when
    window = visit(small.html(), "#t=0")
    titles = {node.id: node.name or node.op for node in small.graph.nodes}
    arrived = list(dict.fromkeys(card["id"] for state in film(window, CARDS) for card in state if card["chip"]))
    assert {titles[id] for id in arrived} >= set(seen)
    order = [step.node for step in small.graph.steps]
    assert [id for id in arrived if id in order] == order
    expected = [small.graph.outputs[0]]
    expected += [passed.source for step in small.graph.steps for passed in step.passed if passed.source not in expected]
    assert arrived == list(dict.fromkeys(expected))


def test_rules_run_in_the_order_that_hooks_on_their_results_see(visit):
    seen = []
    x = leaf([0.5, -1.0], "x")
    a, b = F.sin(x), F.exp(x)
    c = a * b + a
    loss = (c * b).sum()
    for name, z in (("a", a), ("b", b), ("c", c), ("loss", loss)):
        z.name = name
        z.register_hook(lambda _, name=name: seen.append(name))
    picture = tg.draw(loss, gradients=True)
    seen.clear()
    loss.backward()
    window = visit(picture.html(), "#t=0")
    names = {node.id: node.name for node in picture.graph.nodes}
    ran = [names[card["id"]] for state in film(window, CARDS) for card in state if card["back"]]
    assert ran[0] == "loss"  # the seed
    assert [name for name in ran[1:] if name] == seen


def test_a_tensor_used_three_times_shows_its_sum_so_far(visit, cubed):
    window = visit(cubed.html(), "#t=0")
    shown = [(card["chip"], card["part"]) for state in film(window, CARDS) for card in state if card["id"] == "n0"]
    x = np.array([1.0, 2.0])
    parts = [f"g {np.sqrt(np.mean((k * x**2) ** 2)):.1e}" for k in (1, 2, 3)]
    assert list(dict.fromkeys(shown)) == [("", ""), (parts[0], "1 of 3"), (parts[2], "")]
    window.click("#n0")
    told = window.locator("#panel li").all_text_contents()
    assert [line for line in told if line.startswith("from ")] == [
        f"from mul: {parts[0]}",
        f"from mul: {parts[0]}, so far {parts[1]}",
        f"from mul: {parts[0]}, so far {parts[2]}",
    ]


def test_each_step_lights_its_card_and_flows_along_its_edges(visit, small):
    window = visit(small.html(), "#t=0")
    by_target = {}
    for i, edge in enumerate(small.graph.edges):
        by_target.setdefault(edge.target, set()).add((f"e{i}", edge.source, edge.position))
    ops = [node.id for node in small.graph.nodes if node.kind == "op"]
    for t, id in enumerate(ops, 1):
        state = at(window, t)
        assert [other for other, card in state.items() if card["now"]] == [id]
        assert flow(window) == (set(), {edge for edge, *_ in by_target[id]})
        op = next(node.op for node in small.graph.nodes if node.id == id)
        assert caption(window)[0].startswith(f"forward {t} of {len(ops)}: {op}")
    at(window, len(ops) + 1)
    assert caption(window) == ["backward: seed; the gradient of softmax_cross_entropy with respect to itself is 1"]
    for k, step in enumerate(small.graph.steps, 1):
        state = at(window, len(ops) + 1 + k)
        assert [other for other, card in state.items() if card["back"]] == [step.node]
        took = {(p.source, p.position) for p in step.passed}
        assert flow(window) == ({edge for edge, *end in by_target[step.node] if tuple(end) in took}, set())
        node = next(n for n in small.graph.nodes if n.id == step.node)
        assert f"backward {k} of {len(ops)}: rule of {node.op}" in caption(window)[0]
        assert node.vjp_formula in caption(window)[0]


def test_dashes_run_from_the_op_to_its_operand(visit, small):
    """An edge that was drawn the other way round, for the layout, is animated the other way round."""
    window = visit(small.html())
    reversed_edges = set(ids(window, "g.edge.reversed"))
    drawn = re.findall(r'<g id="(e\d+)" class="edge[^"]*">\s*<title>(\w+)(?:&#45;|-)&gt;(\w+)</title>', small.svg())
    expected = {id for id, tail, _ in drawn if tail != small.graph.edges[int(id[1:])].source}
    assert reversed_edges == expected != set()


def test_both_sides_of_a_comparison_step(visit, comparison):
    window = visit(comparison.html(), "#t=1")
    state = cards(window)
    now = [id for id, card in state.items() if card["now"]]
    assert sorted(id[0] for id in now) == ["a", "b"]
    assert [line.partition(": ")[0].split("  ")[0] for line in caption(window)] == ["unfused", "fused"]
    words = film(window, "() => [...document.querySelectorAll('#caption p')].map((e) => e.textContent)")
    a, b = (side.full.ops for side in comparison.drawing.sides)
    assert [sum("waits" in both[side] for both in words) for side in (0, 1)] == [0, 2 * (a - b)]
    assert not any(card["dim"] for card in cards(window).values())


def test_a_closed_module_is_complete_when_its_last_op_has_run(visit, folded):
    window = visit(folded.html(), "#t=0")
    (side,) = folded.drawing.sides
    card = next(node for node in side.drawn.nodes if node.count > 1)
    ops = [node.id for node in side.full.nodes if node.kind == "op"]
    own = [i for i, id in enumerate(ops, 1) if id in card.members]
    assert at(window, own[0] - 1)[card.id]["dim"]
    for t, partly in ((own[0], True), (own[-1] - 1, True), (own[-1], False)):
        state = at(window, t)[card.id]
        assert (state["dim"], state["partly"]) == (False, partly)
        assert state["now"] == (t in own)
    window.click(f"#{card.id}")
    assert window.locator("#panel h3", has_text="stands for").text_content() == f"stands for {len(card.members)} nodes"
    window.locator("#panel a", has_text=re.compile("linear|tanh")).last.click()
    assert "drawn as part of" in window.text_content("#panel")
    assert window.locator("g.node.selected").count() == 1


def test_a_graph_of_300_ops_stays_usable(visit, long):
    assert len([node for node in long.drawing.sides[0].drawn.nodes if node.kind == "op"]) >= 300
    text = long.html()
    assert len(text) < 1_400_000
    window = visit(text, "#t=0")
    times = window.evaluate("""async () => {
      const times = [], frame = () => new Promise((drawn) => requestAnimationFrame(drawn));
      for (let i = 0; i < 60; i++) {
        go(i * 10);
        await frame();
        await frame();
        const began = performance.now();
        document.getElementById("step").click();
        await frame();
        times.push(performance.now() - began);
      }
      return times;
    }""")
    assert statistics.median(times) < 100


HOSTILE = ["</script><script>document.title='taken'</script>", "<!--<script>", "\"'&amp;<b>", "größe \u2028数学"]


@pytest.mark.parametrize("name", [*HOSTILE, "y" * 10_000])
def test_hostile_names_do_no_harm(visit, name):
    x = leaf([1.0, 2.0], name)
    z = x * 2
    z.name = name
    (side,) = tg.draw(z.sum(), gradients=True).drawing.sides
    picture = tg.draw(z.sum(), gradients=True, inputs={name: x})
    text = write_page(picture.svg(), [side._replace(title=name)], name)
    window = visit(text, "#t=0")
    assert window.title() not in ("taken", "")
    for _ in range(last(window)):
        window.keyboard.press("ArrowRight")
    assert window.evaluate(WIDE) == []
    window.click("#n0")
    assert window.text_content("#panel h2")[:200] == name[:200]
    assert window.evaluate("document.documentElement.scrollWidth") <= 1440
    panel = window.locator("#panel")
    assert panel.evaluate("e => e.scrollWidth") <= panel.evaluate("e => e.clientWidth") + 1


def test_pages_drawn_by_the_other_program_are_the_same(visit, small, monkeypatch):
    program = shutil.which("graphviz-pure") or render._installed()
    if program is None:
        pytest.skip("no graphviz-pure here")
    monkeypatch.setenv(render.VARIABLE, program)
    window = visit(small.html())
    assert {id: card["text"] for id, card in cards(window).items()} == static_texts(small)
    first, *_, end = film(window, CARDS)
    assert all(card["dim"] and not card["chip"] for card in first)
    assert [card["chip"] for card in end].count("") == 1  # the target
    assert [wide for wide in film(window, WIDE) if wide] == []


@pytest.mark.parametrize("options", [{"direction": "LR"}, {"show": ()}, {"show": ("shape",), "direction": "LR"}])
def test_other_ways_of_drawing_step_too(visit, options):
    _, loss, model, inputs = losses()
    picture = tg.draw(loss, model=model, inputs=inputs, gradients=True, **options)
    window = visit(picture.html())
    assert {id: card["text"] for id, card in cards(window).items()} == static_texts(picture)
    states = film(window, CARDS)
    assert [any(card["chip"] for card in state) for state in states] == [
        "show" not in options and t > len(states) // 2 - 1 for t in range(len(states))
    ]
    assert [wide for wide in film(window, WIDE) if wide] == []
    assert all(card["dim"] for card in states[0])
    assert not any(card["dim"] for card in states[-1])


def test_without_a_recorded_backward_pass_it_says_how_to_get_one(visit):
    x = leaf([1.0, 2.0], "x")
    loss = (x * x).sum()
    loss.backward()
    window = visit(tg.draw(loss).html(), "#t=0")
    assert last(window) == 3
    assert "draw with gradients=True" in caption(window)[0]
    assert not window.locator("#phases span").last.is_visible()
    assert [card["chip"] for card in at(window, 2).values()] == ["", "", ""]
    assert at(window, 3)["n0"]["chip"] == f"g {np.sqrt(np.mean(x.grad.data**2)):.1e}"
    assert ".grad" in caption(window)[0]


def test_what_is_not_finite_or_has_no_gradient(visit):
    x, lost = leaf([-1.0, 4.0], "x"), leaf([1.0, 1.0], "lost")
    with np.errstate(invalid="ignore"):
        y = F.sqrt(x).sum()
    window = visit(tg.draw(y, gradients=True, inputs={"x": x, "lost": lost}).html(), "#t=0")
    state = at(window, last(window))
    assert state["n0"]["chip"] == "g nan"
    assert not any(card["dim"] for card in state.values())
    window.click("#n0")
    assert figures(window, "gradient")["nan"] == "1 of 2"
    assert window.locator("#panel .trouble").count() >= 1
