"""What the page knows, before any browser: the order of things, words and numbers, and that it is one safe file."""

import html.parser
import json
import re
from dataclasses import replace

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn
from tinygrad_ce.graph import capture
from tinygrad_ce.viz import words
from tinygrad_ce.viz.drawing import Side
from tinygrad_ce.viz.page import as_json, data, page
from tinygrad_ce.viz.page.nodes import number

SVG = "<svg><g class='graph'></g></svg>"  # where the picture itself does not matter


def leaf(numbers, name=None):
    return tg.Tensor(np.asarray(numbers, np.float64), requires_grad=True, name=name)


def told(output, gradients=True, **options):
    """What the page of a picture knows."""
    return data(tg.draw(output, gradients=gradients, **options).drawing.sides, "test")


def compared(a, b, **options):
    return data(tg.draw_comparison(a, b, **options).drawing.sides, "test")


def frames(found, side=0):
    return [tick[side] for tick in found["ticks"]]


def sentence(frame):
    return frame["say"][0] + ": " + "; ".join(filter(None, frame["say"][1:]))


def classifier(depth=1, batch=6):
    rng = np.random.default_rng(0)
    model = nn.MLP([4, *[5] * depth, 3], activation="tanh", generator=rng)
    return model, tg.Tensor(rng.normal(size=(batch, 4)).astype(np.float32)), np.arange(batch) % 3


class Parts(html.parser.HTMLParser):
    """The elements of a page, what is in its scripts, and what it refers to."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.references, self.inside = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for key, value in attrs if key in ("src", "href", "xlink:href", "action", "srcset")]
        if tag == "script":
            self.scripts.append("")
        self.inside = tag == "script"

    def handle_endtag(self, _):
        self.inside = False

    def handle_data(self, text):
        if self.inside:
            self.scripts[-1] += text


def test_forward_goes_op_by_op_and_leaves_light_with_the_op_that_uses_them_first():
    w, x = leaf([1.0, 2.0], "w"), leaf([3.0, 4.0], "x")
    found = told(((w * x) + w).sum())
    lit = [frame["lit"] for frame in frames(found) if "lit" in frame]
    assert lit == [["n0", "n1", "n2"], ["n3"], ["n4"]]
    assert [frame["card"] for frame in frames(found)[:3]] == ["n2", "n3", "n4"]
    assert sentence(frames(found)[0]) == "forward 1 of 3: mul; z = x * y; reads w, x; makes (2,) f64"
    edges = [edge for frame in frames(found)[:3] for edge in frame["edges"]]
    assert sorted(edges) == [f"e{i}" for i in range(len(capture(((w * x) + w).sum()).edges))]


def test_backward_goes_in_the_order_that_hooks_see():
    x = leaf([0.5, -1.0], "x")
    seen = []

    def watched(z, name):
        z.name = name
        z.register_hook(lambda _: seen.append(name))
        return z

    a = watched(F.sin(x), "a")
    b = watched(F.exp(a), "b")
    c = watched(F.tanh(a), "c")
    loss = watched((watched(b * c, "d") + c).sum(), "loss")
    found = told(loss)
    drawn, seen[:] = list(seen), []
    loss.backward()
    names = {id: node.get("name") for id, node in found["nodes"].items()}
    ran = [names[frame["card"]] for frame in frames(found)[found["backward"] : -1]]
    assert [name for name in ran if name] == seen == drawn
    assert seen[0] == "loss"
    assert seen[-1] == "a"


def test_the_seed_comes_first_and_names_its_output():
    found = told((leaf([1.0, 2.0], "x") * 2).sum())
    seed = frames(found)[found["backward"] - 1]
    assert sentence(seed) == "backward: seed; the gradient of sum with respect to itself is 1"
    assert seed["chips"] == [["n2"]]  # complete at once: as it was drawn


def test_parts_of_a_gradient_are_counted_and_summed():
    x = leaf([1.0, 2.0], "x")
    loss = (x * x * x).sum()
    found = told(loss)
    chips = [chip for frame in frames(found) for chip in frame.get("chips", ()) if chip[0] == "n0"]
    assert [(chip[1], chip[5]) if len(chip) > 1 else "as drawn" for chip in chips] == [
        ("g 2.9e+00", "1 of 3"),
        ("g 5.8e+00", "2 of 3"),
        "as drawn",
    ]
    last = frames(found)[-2]
    assert sentence(last) == (
        "backward 3 of 3: rule of mul; dx = g * y, dy = g * x; "
        "sends g 2.9e+00 to x (2 of 3, so far g 5.8e+00), g 2.9e+00 to x (3 of 3, in all g 8.7e+00)"
    )
    loss.backward()
    total = np.sqrt(np.mean(x.grad.data**2))
    assert [part[2] for part in found["nodes"]["n0"]["parts"]][-1] == f"g {total:.1e}"


def test_an_output_that_is_used_again_has_its_seed_counted():
    y = (leaf([1.0, 2.0], "x") * 2).sum()
    found = told([y, y * 3])
    chips = [chip for frame in frames(found) for chip in frame.get("chips", ()) if chip[0] == "n2"]
    assert chips[0][1:] == ["g 1.0e+00", *chips[0][2:5], "1 of 2"]
    assert chips[1] == ["n2"]
    assert [part[1:] for part in found["nodes"]["n2"]["parts"]] == [["g 1.0e+00"] * 2, ["g 3.0e+00", "g 4.0e+00"]]
    assert found["nodes"]["n2"]["gradient"]["rows"] == ["\t4"]


def test_a_hook_that_changes_a_gradient_shows_when_its_rule_runs():
    x = leaf([1.0, 2.0], "x")
    y = x * 2
    y.register_hook(lambda g: g * 100)
    found = told(y.sum())
    chips = [chip for frame in frames(found) for chip in frame.get("chips", ()) if chip[0] == "n1"]
    assert [chip[1:2] for chip in chips] == [["g 1.0e+00"], []]
    assert found["nodes"]["n1"]["gradient"]["rows"] == ["0\t100\t100"]


@pytest.mark.parametrize("gradients", [False, "auto"])
def test_without_steps_there_is_the_forward_pass_and_how_to_get_the_other(gradients):
    found = told((leaf([1.0], "x") * 2).sum(), gradients)
    assert found["backward"] is None
    assert len(found["ticks"]) == 3
    assert found["sides"][0]["note"] == "forward only: draw with gradients=True to step backward too"
    assert "gradients=True" in found["nodes"]["n0"]["gradient"]["why"]


def test_after_backward_the_gradients_that_are_held_are_told():
    x = leaf([1.0, 2.0], "x")
    loss = (x * x).sum()
    loss.backward()
    found = told(loss, "auto")
    assert found["sides"][0]["note"] == (
        "forward only: draw with gradients=True before backward() frees the graph to step backward too; "
        "the gradients are those held in .grad"
    )
    assert found["nodes"]["n0"]["gradient"]["rows"] == ["0\t2\t4"]
    assert "leaves alone" in found["nodes"]["n1"]["gradient"]["why"]
    assert "freed" in found["nodes"]["n1"]["value"]["why"]


def test_a_leaf_alone_and_what_was_not_recorded():
    with tg.no_grad():
        y = leaf([1.0]) * 2
    found = told(y, "auto")
    assert [frame["say"][0] for frame in frames(found)] == ["forward", "complete"]
    assert frames(found)[0]["lit"] == ["n0"]
    assert "nothing was recorded" in found["sides"][0]["note"]
    single = told(leaf(2.0, "x"))
    assert single["backward"] is None
    assert single["sides"][0]["note"] == found["sides"][0]["note"]


def test_what_is_detached_lights_too_and_says_why_it_has_no_gradient():
    lost, x = leaf([1.0, 2.0], "lost"), leaf([1.0, 2.0], "x")
    found = told((x * lost.detach()).sum(), inputs={"x": x, "lost": lost})
    lit = {id for frame in frames(found) for id in frame.get("lit", ())}
    assert lit == set(found["nodes"])
    id = next(id for id, node in found["nodes"].items() if node["title"] == "lost" and "trouble" in str(node))
    assert "not made from" in found["nodes"][id]["gradient"]["why"]
    assert found["sides"][0]["troubles"][0][0] == id


def test_troubles_are_listed_and_stand_with_their_node():
    with np.errstate(invalid="ignore"):
        found = told(F.sqrt(leaf([-1.0, 4.0], "x")).sum())
    (id, text), *_ = found["sides"][0]["troubles"]
    assert text.startswith("nan: sqrt n1 makes 1 of 2 elements nan")
    assert found["nodes"][id]["troubles"][0] == text
    assert ["nan", "1 of 2"] in found["nodes"]["n1"]["value"]["figures"]


def test_a_comparison_does_what_is_the_same_at_the_same_time():
    model, x, y = classifier()
    z = model(x)
    shifted = z - z.max(axis=1, keepdims=True)
    spelled = -(shifted - F.log(F.exp(shifted).sum(axis=1, keepdims=True)))[np.arange(6), y].mean()
    picture = tg.draw_comparison(spelled, F.softmax_cross_entropy(model(x), y), model=model, gradients=True)
    found = data(picture.drawing.sides, "test")
    at = [
        {frame["card"]: t for t, frame in enumerate(frames(found, side)[half], 1) if frame and "card" in frame}
        for side in (0, 1)
        for half in (slice(found["backward"] - 1), slice(found["backward"] - 1, None))
    ]
    same = [(f"a{u}", f"b{v}") for u, v in picture.drawing.pairs]
    for mine, theirs in ((at[0], at[2]), (at[1], at[3])):
        shared = [(mine[u], theirs[v]) for u, v in same if u in mine and v in theirs]
        assert len(shared) >= 3
        assert all(u == v for u, v in shared)
    seeds = [frames(found, side)[found["backward"] - 1]["say"][1] for side in (0, 1)]
    assert seeds == ["seed", "seed"]
    assert None in frames(found, 1)
    assert [tick["say"][0] for tick in found["ticks"][-1]] == ["complete", "complete"]


def test_a_comparison_of_sides_of_which_one_cannot_go_backward():
    x, y = leaf([1.0, 2.0], "x"), leaf([1.0, 2.0], "x")
    other = F.exp(y).sum()
    other.backward()
    found = compared(F.sin(x).sum(), other)
    assert all(frames(found, 0))
    assert frames(found, 1)[found["backward"] - 1 : -1] == [None] * 3
    assert found["sides"][0]["note"] == ""
    assert "gradients=True" in found["sides"][1]["note"]


def test_a_closed_module_lights_with_its_first_op_and_lists_its_members():
    model, x, y = classifier(depth=14)
    picture = tg.draw(F.softmax_cross_entropy(model(x), y), model=model, gradients=True)
    (side,) = picture.drawing.sides
    found = data([side], "test")
    assert side.drawn is not side.full
    cards = {card.id: card for card in side.drawn.nodes if card.kind == "module"}
    assert cards
    for id, card in cards.items():
        members = found["nodes"][id]["members"]
        assert len(members) == len(card.members)
        assert {found["nodes"][member]["card"] for member in members} == {id}
        lit = [i for i, frame in enumerate(frames(found)) if id in frame.get("lit", ())]
        ops = [i for i, node in enumerate(n for n in side.full.nodes if n.kind == "op") if node.id in card.members]
        assert lit == ops
    ids = [node.id for node in side.drawn.nodes]
    assert {id for frame in frames(found) for id in frame.get("lit", ())} == set(ids)
    assert len(found["nodes"]) == len(side.full.nodes) + len([node for node in side.drawn.nodes if node.members])


def test_a_repeated_card_shows_one_gradient_after_the_other_and_then_their_range():
    y = x = leaf([1.0, 2.0], "x")
    for _ in range(200):
        y = y * 0.9
    picture = tg.draw(y.sum(), gradients=True)
    (side,) = picture.drawing.sides
    (card,) = (node for node in side.drawn.nodes if node.count > 1)
    found = data([side], "test")
    chips = [chip for frame in frames(found) for chip in frame.get("chips", ()) if chip[0] == card.id]
    assert chips[-1] == [card.id]
    by_card = [chip[5] for chip in chips if len(chip) > 1]
    assert by_card[-1] == f"{card.count - 1} of {card.count}"
    sizes = [float(chip[1].removeprefix("g ")) for chip in chips if len(chip) > 1]
    assert sizes == sorted(sizes, reverse=True)
    assert found["nodes"][card.id]["gradient"]["figures"] == [["RMS", words.gradient_text(card.gradient)]]
    assert x.grad is None


def test_every_id_that_the_page_goes_by_is_known():
    model, x, y = classifier(depth=14)
    for options in ({}, {"depth": 1}, {"depth": 9}):
        picture = tg.draw(F.softmax_cross_entropy(model(x), y), model=model, gradients=True, **options)
        found = data(picture.drawing.sides, "test")
        svg = picture.svg()
        drawn = set(re.findall(r'<g id="(\w+)" class="(?:node|edge)', svg))
        for frame in frames(found):
            used = {*frame.get("lit", ()), *frame.get("edges", ()), *(c[0] for c in frame.get("chips", ()))}
            assert used | ({frame["card"]} if "card" in frame else set()) <= drawn
        links = [
            link
            for node in found["nodes"].values()
            for link in (
                *(id for _, id in (*node.get("inputs", ()), *node.get("consumers", ()))),
                *node.get("members", ()),
                *(other for kept in node.get("kept", ()) for other in kept[3]),
                *(part[0] for part in node.get("parts", ()) if part[0]),
            )
        ]
        assert set(links) <= set(found["nodes"])
        assert {node["card"] for node in found["nodes"].values() if "card" in node} <= drawn


def test_what_is_kept_names_the_others_that_keep_the_same():
    x = leaf([1.0, 2.0], "x")
    y = x * 2
    found = told((F.sin(y) * F.cos(y)).sum())
    kept = {id: node["kept"] for id, node in found["nodes"].items() if "kept" in node}
    assert kept["n2"] == [["x", "16 B", "", ["n3"]]]
    assert kept["n3"] == [["x", "16 B", "counted there", ["n2"]]]


@pytest.mark.parametrize(
    ("x", "text"),
    [(0.0, "0"), (1 / 3, "0.33333"), (-1e-20, "-1e-20"), (float("nan"), "nan"), (float("-inf"), "-inf"), (7, "7"),
     (123456789, "123456789"), (True, "True"), (None, "none"), (1e5, "1e+05")],
)  # fmt: skip
def test_numbers_have_five_digits_and_whole_ones_all_of_theirs(x, text):
    assert number(x) == text


@pytest.mark.parametrize("shape", [(), (1,), (7,), (64,), (3, 2), (2, 3, 4), (2, 2, 2, 9), (0,), (3, 0), (40, 20)])
def test_excerpts_say_where_each_row_is_from_and_what_is_left_out(shape):
    array = np.random.default_rng(0).normal(size=shape)
    value = told(tg.Tensor(array, requires_grad=True).sum())["nodes"]["n0"]["value"]
    count = 0
    for line in value["rows"]:
        head, *cells = line.split("\t")
        at = tuple(int(i) for i in head.split(",")) if head else ()
        row = np.atleast_1d(array[at] if len(shape) != 1 else array[at[0] :])[: len(cells)]
        np.testing.assert_allclose([float(cell) for cell in cells], row, rtol=5e-5)
        count += len(cells)
    assert value.get("rest", "") == ("" if count == array.size else f"{count} of {array.size} elements")
    rows, columns = (int(np.prod(shape[:-1])), shape[-1]) if len(shape) > 1 else (1, array.size)
    assert count == min(rows, 16) * min(columns, 8 if len(shape) > 1 else 64)


HOSTILE = ["</script><script>alert(1)</script>", "<!--", "]]>", "'\"&amp;\\", "größe 数学 \u2028 \ud800\x00"]


@pytest.mark.parametrize("name", [*HOSTILE, "x" * 10_000])
def test_hostile_names_stay_text(name):
    plain, picture = (tg.draw((leaf([1.0], n) * 2).sum(), gradients=True, inputs=None) for n in ("x", name))
    text = page(picture.svg(), picture.drawing.sides, name)
    text.encode()
    found, expected = Parts(text), Parts(plain.html())
    assert found.tags == expected.tags
    assert found.scripts[1] == expected.scripts[1]
    known = json.loads(found.scripts[0])
    assert known["nodes"]["n0"]["title"] == (name if len(name) < 400 else f"{'x' * 266} ... {'x' * 134}")
    assert len(text) < len(plain.html()) + 20 * len(name) + 2000


def test_data_cannot_end_its_element():
    text = as_json({"</script>": "<!-- <script>", "n": "\u2028"})
    assert "<" not in text
    assert text.isascii()
    assert json.loads(text) == {"</script>": "<!-- <script>", "n": "\u2028"}


def test_the_page_is_one_file_that_forbids_requests():
    model, x, y = classifier()
    text = tg.draw(F.softmax_cross_entropy(model(x), y), model=model, gradients=True).html()
    found = Parts(text)
    assert [reference for reference in found.references if not reference.startswith(("#", "data:"))] == []
    assert "default-src 'none'" in text
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(|innerHTML|eval\(", text)
    addresses = set(re.findall(r"https?://[\w./]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "{{" not in text
    assert len(found.scripts) == 2


def test_the_same_graph_gives_the_same_page():
    model, x, y = classifier()
    first, second = (tg.draw(F.softmax_cross_entropy(model(x), y), model=model, gradients=True) for _ in "ab")
    assert first.html() == second.html()


def test_a_title_is_not_a_template():
    (side,) = tg.draw(leaf([1.0], "x").sum(), gradients=True).drawing.sides
    text = page(SVG, [side._replace(title="{{script}}")], "{{data}}")
    assert "<title>{{data}}</title>" in text
    assert json.loads(Parts(text).scripts[0])["sides"][0]["title"] == "{{script}}"


def test_folding_by_hand_needs_no_more_than_members():
    graph = tg.draw(F.exp(leaf([1.0], "x") * 2).sum(), gradients=True).graph
    first, *rest = graph.nodes[1:]
    folded = replace(first, id="n2", kind="module", op="", name="both", members=("n1", "n2"), gradient=rest[0].gradient)
    edges = [replace(graph.edges[0], target="n2"), *graph.edges[2:]]
    drawn = replace(graph, nodes=(graph.nodes[0], folded, graph.nodes[3]), edges=tuple(edges), steps=())
    found = data([Side("", "t", drawn, graph)], "t")
    assert [frame.get("lit") for frame in frames(found)][:3] == [["n0", "n2"], ["n2"], ["n3"]]
    assert found["nodes"]["n2"]["members"] == ["n1", "n2-inside"]
    assert found["nodes"]["n2-inside"]["title"] == "exp"


def test_size_of_the_page_grows_with_the_graph_and_no_faster():
    sizes = []
    for n in (50, 100, 200):
        y = leaf([0.5], "x")
        for i in range(n):
            y = F.sin(y) if i % 2 else F.tanh(y)
        picture = tg.draw(y, gradients=True, depth=1)
        sizes.append(len(as_json(data(picture.drawing.sides, ""))))
    assert sizes[2] - sizes[1] < 2.2 * (sizes[1] - sizes[0])
