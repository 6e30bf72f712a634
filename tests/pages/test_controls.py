"""The page in a real browser: the panel, the buttons and the keys, search, zoom, and links into the page."""

import re

import numpy as np
import pytest

from tests.pages.driving import at, figures, ids, last, losses, moment, numbers, view


def test_the_numbers_shown_are_the_arrays(visit, small):
    _, loss, model, inputs = losses()
    loss.backward()
    x = inputs["x"]
    (weight, bias, *_) = model.parameters()
    hidden = x.data @ weight.data.T + bias.data
    window = visit(small.html())
    by_name = {node.name or node.op: node.id for node in reversed(small.graph.nodes)}
    for name, value, gradient in (
        ("x", x.data, x.grad.data),
        ("0.weight", weight.data, weight.grad.data),
        ("linear", hidden, None),
        ("relu", np.maximum(hidden, 0), None),
    ):
        window.click(f"#{by_name[name]}")
        for what, array in (("value", value), ("gradient", gradient)):
            if array is None:
                continue
            heads, rows = numbers(window, what)
            assert heads == [str(i) for i in range(len(rows))]
            np.testing.assert_allclose(rows, array[:16, :8], rtol=6e-5, atol=0)
            found = figures(window, what)
            expected = {"min": array.min(), "max": array.max(), "mean": array.mean(dtype=np.float64),
                        "RMS": np.sqrt(np.mean(array.astype(np.float64) ** 2))}  # fmt: skip
            for key, number in expected.items():
                np.testing.assert_allclose(float(found[key]), number, rtol=6e-5)
            assert found["zeros"] == f"{np.count_nonzero(array == 0)} of {array.size}"
    window.click(f"#{by_name['0.bias']}")
    flat = [number for row in numbers(window, "gradient")[1] for number in row]
    np.testing.assert_allclose(flat, bias.grad.data, rtol=6e-5, atol=0)


def test_a_click_opens_the_panel_and_links_lead_on(visit, small):
    window = visit(small.html(), width=900, height=900)
    assert not window.locator("#panel").is_visible()
    op = next(node for node in small.graph.nodes if node.op == "softmax_cross_entropy")
    window.click(f"#{op.id}")
    panel = window.locator("#panel")
    assert panel.is_visible()
    text = panel.text_content()
    for part in (op.op, "() float32", op.formula, op.vjp_formula, "fused op", "residual", "moment when the picture"):
        assert part in text
    assert window.locator(".selected").get_attribute("id") == op.id
    panel.locator("a", has_text="y").click()
    assert panel.locator("h2").text_content() == "y"
    assert "It takes none." in panel.text_content()
    window.click("#details")
    assert not panel.is_visible()


def test_enter_opens_the_panel_and_arrows_walk_along_the_graph(visit, small):
    window = visit(small.html())
    first = small.graph.nodes[0].id
    window.focus(f"#{first}")
    window.keyboard.press("ArrowDown")
    focused = window.evaluate("document.activeElement.id")
    assert focused == next(edge.target for edge in small.graph.edges if edge.source == first)
    before = moment(window)
    window.keyboard.press("Enter")
    assert window.text_content("#panel h2") == next(node.op for node in small.graph.nodes if node.id == focused)
    window.keyboard.press("ArrowUp")
    assert window.evaluate("document.activeElement.id") == first
    assert moment(window) == before
    window.keyboard.press("Escape")
    assert window.locator(".selected").count() == 0
    assert window.text_content("#panel h2") == small.drawing.sides[0].title


def test_the_panel_can_be_made_wider(visit, small):
    window = visit(small.html())
    before = window.locator("#panel").bounding_box()["width"]
    box = window.locator("#divider").bounding_box()
    window.mouse.move(box["x"] + 3, 400)
    window.mouse.down()
    window.mouse.move(box["x"] - 97, 400, steps=4)
    window.mouse.up()
    assert window.locator("#panel").bounding_box()["width"] == pytest.approx(before + 100, abs=8)
    window.focus("#divider")
    window.keyboard.press("ArrowRight")
    assert window.locator("#panel").bounding_box()["width"] == pytest.approx(before + 80, abs=8)
    assert moment(window) == last(window)


def test_buttons_slider_and_keys_do_the_same(visit, small):
    window = visit(small.html())
    end = last(window)
    assert moment(window) == end
    assert window.is_disabled("#step")
    for action, expected in (
        (lambda: window.click("#start"), 0),
        (lambda: window.click("#step"), 1),
        (lambda: window.keyboard.press("ArrowRight"), 2),
        (lambda: window.click("#back"), 1),
        (lambda: window.keyboard.press("ArrowLeft"), 0),
        (lambda: window.keyboard.press("ArrowLeft"), 0),
        (lambda: window.keyboard.press("End"), end),
        (lambda: window.keyboard.press("ArrowRight"), end),
        (lambda: window.keyboard.press("Home"), 0),
        (lambda: window.click("#end"), end),
        (lambda: window.locator("#slider").fill("4"), 4),
        (lambda: window.locator("#slider").press("ArrowRight"), 5),
        (lambda: window.locator("#slider").press("Home"), 0),
    ):
        action()
        assert moment(window) == expected
        assert window.text_content("#count") == f"{expected} / {end}"
    assert window.get_attribute("#slider", "aria-valuetext") == "start"


def test_it_plays_to_the_end_and_pauses(visit, small):
    window = visit(small.html(), "#t=0")
    window.select_option("#speed", "10")
    window.locator("body").click(position={"x": 5, "y": 450})
    window.keyboard.press(" ")
    assert window.get_attribute("#play", "aria-label") == "Pause"
    window.wait_for_function("t => Number(document.getElementById('slider').value) >= t", arg=3)
    window.keyboard.press(" ")
    paused = moment(window)
    window.wait_for_timeout(300)
    assert moment(window) == paused >= 3
    window.click("#play")
    window.wait_for_selector("#play[aria-label=Play]")
    assert moment(window) == last(window)
    window.click("#play")
    assert moment(window) == 0
    window.keyboard.press("ArrowRight")
    assert window.get_attribute("#play", "aria-label") == "Play"


def test_every_control_has_a_name_and_the_focus(visit, small):
    window = visit(small.html())
    names = window.eval_on_selector_all(
        "button:not(dialog button), input, select, [role=separator]", "es => es.map(e => e.getAttribute('aria-label'))"
    )
    assert all(names)
    assert len(set(names)) == len(names) == 15
    reached = []
    for _ in range(40):
        window.keyboard.press("Tab")
        reached.append(window.evaluate("document.activeElement.id || document.activeElement.tagName"))
    enabled = ids(window, "button:not(dialog button):enabled, input, select")
    assert set(enabled) <= set(reached)
    assert len([id for id in set(reached) if re.fullmatch(r"n\d+", id)]) == 1  # one card; arrows lead to the others
    window.focus("#slider")
    window.keyboard.press("ArrowLeft")
    assert window.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert window.get_attribute("#caption", "aria-live") == "polite"
    labels = window.eval_on_selector_all("g.node:not(.legend)", "es => es.map(e => e.getAttribute('aria-label'))")
    assert "relu, (16, 8) float32, 1  ReLU()" in labels


def test_search_finds_cycles_and_centres(visit, small, folded):
    window = visit(small.html())
    window.keyboard.press("/")
    window.keyboard.type("linear")
    layers = [node.id for node in small.graph.nodes if "Linear" in "".join(map(small.graph.modules.get, node.module))]
    assert set(ids(window, ".node.found")) == set(layers)
    assert window.locator(".node.other:not(.legend)").count() == len(small.graph.nodes) - len(layers)
    assert window.text_content("#found") == f"{len(layers)} found"
    chosen = []
    for key in ("Enter", "Enter", "Shift+Enter", "Shift+Enter"):
        window.keyboard.press(key)
        chosen.append(window.locator(".selected").get_attribute("id"))
    assert chosen == [layers[0], layers[1], layers[0], layers[-1]]
    window.wait_for_timeout(400)
    card, canvas = (window.locator(s).bounding_box() for s in (f"#{layers[-1]}", "#canvas"))
    middle = [box["y"] + box["height"] / 2 for box in (card, canvas)]
    assert middle[0] == pytest.approx(middle[1], abs=3)
    window.keyboard.press("Escape")
    assert window.locator(".found, .other").count() == 0
    window.keyboard.press("/")
    window.keyboard.type("no such thing")
    assert window.text_content("#found") == "0 found"
    window.keyboard.press("Enter")
    other = visit(folded.html())
    other.fill("#search", "118.weight softmax")
    assert other.locator(".node.found").count() == 0
    other.fill("#search", "118.weight")
    assert other.locator(".node.found").count() == 1  # inside a card that stands for it


def test_zoom_and_pan(visit, comparison):
    window = visit(comparison.html())
    start = view(window)
    window.mouse.move(300, 300)
    window.mouse.wheel(0, -120)
    window.wait_for_timeout(100)
    closer = view(window)
    assert closer[2] < start[2]
    point = window.locator("#canvas").bounding_box()
    for axis, at_pointer, size in ((0, 300 - point["x"], point["width"]), (1, 300 - point["y"], point["height"])):
        share = at_pointer / size
        assert closer[axis] + share * closer[axis + 2] == pytest.approx(start[axis] + share * start[axis + 2], abs=0.5)
    window.keyboard.press("-")
    assert view(window)[2] > closer[2]
    window.click("#farther")
    window.click("#closer")
    window.keyboard.press("+")
    assert view(window)[2] == pytest.approx(closer[2], rel=1e-6)
    before = view(window)
    window.mouse.move(500, 700)
    window.mouse.down()
    window.mouse.move(450, 600, steps=5)
    window.mouse.up()
    moved = view(window)
    scale = before[2] / point["width"]
    assert (moved[0] - before[0], moved[1] - before[1]) == pytest.approx((50 * scale, 100 * scale), rel=0.1)
    window.mouse.dblclick(point["x"] + 6, 400)
    window.wait_for_timeout(500)
    x, y, width, height = view(window)
    page = window.evaluate("[page.x, page.y, page.width, page.height]")
    for start_seen, size_seen, start_drawn, size_drawn in ((x, width, page[0], page[2]), (y, height, page[1], page[3])):
        assert start_seen <= start_drawn + 0.1
        assert start_seen + size_seen >= start_drawn + size_drawn - 0.1
    window.keyboard.press("0")
    window.wait_for_timeout(500)
    assert view(window) == pytest.approx(start, abs=0.5)


def test_a_drag_that_begins_on_a_card_selects_nothing(visit, small):
    window = visit(small.html())
    box = window.locator("g.node.op").first.bounding_box()
    before = view(window)
    window.mouse.move(box["x"] + 10, box["y"] + 10)
    window.mouse.down()
    window.mouse.move(box["x"] + 80, box["y"] + 60, steps=5)
    window.mouse.up()
    assert view(window) != before
    assert window.locator(".selected").count() == 0
    window.locator("g.node.op").first.click()
    assert window.locator(".selected").count() == 1


def test_fingers_pinch(visit, small):
    window = visit(small.html(), width=390, height=800, has_touch=True)
    before = view(window)
    client = window.context.new_cdp_session(window)

    def touch(kind, *points):
        found = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": found})

    touch("touchStart", (150, 300), (240, 300))
    for k in range(1, 6):
        touch("touchMove", (150 - 8 * k, 300), (240 + 8 * k, 300))
    touch("touchEnd")
    window.wait_for_timeout(100)
    assert view(window)[2] < 0.7 * before[2]


def test_large_graphs_start_where_they_can_be_read(visit, long):
    window = visit(long.html(), width=900, height=600)
    card = window.locator("g.node.op").first
    assert card.bounding_box()["height"] > 20
    canvas = window.locator("#canvas").bounding_box()
    assert canvas["y"] <= window.locator("#n0").bounding_box()["y"] < canvas["y"] + canvas["height"]
    at(window, 280)
    window.wait_for_timeout(400)
    box = window.locator(".now").bounding_box()
    assert canvas["y"] <= box["y"] <= canvas["y"] + canvas["height"] - box["height"]


def test_a_link_leads_to_a_moment_and_a_card(visit, small):
    window = visit(small.html(), "#t=3&n=n4")
    assert moment(window) == 3
    assert window.locator(".selected").get_attribute("id") == "n4"
    depth = window.evaluate("history.length")
    window.keyboard.press("ArrowRight")
    window.keyboard.press("ArrowRight")
    window.click("#n3")
    window.wait_for_timeout(400)
    assert window.evaluate("location.hash") == "#t=5&n=n3"
    assert window.evaluate("history.length") == depth
    window.evaluate("location.hash = '#t=2'")
    window.wait_for_timeout(100)
    assert moment(window) == 2
    assert window.locator(".selected").count() == 0


def test_a_link_that_leads_nowhere_does_no_harm(visit, small):
    window = visit(small.html(), "#t=nonsense&n=nothing")
    for hash in ("#t=-5", "#t=99999", "#n=nothing", "#%", "#t=&n=", "#n=toString"):
        assert 0 <= moment(window) <= last(window)
        assert window.locator(".selected").count() == 0
        window.evaluate("hash => { location.hash = hash; }", hash)
        window.wait_for_timeout(20)


def test_help_opens_and_closes(visit, small):
    window = visit(small.html())
    window.keyboard.press("?")
    assert window.locator("#keys").is_visible()
    before = moment(window)
    window.keyboard.press("ArrowLeft")
    assert moment(window) == before
    window.keyboard.press("Escape")
    assert not window.locator("#keys").is_visible()
    window.click("#help")
    window.get_by_role("button", name="Close").click()
    assert not window.locator("#keys").is_visible()
