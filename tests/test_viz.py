"""Pictures as drawn by whichever program there is: what is on them, the programs, files and notebooks."""

import base64
import re
import shutil
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.helpers import training_step, unfused
from tinygrad_ce import functional as F
from tinygrad_ce import nn
from tinygrad_ce.graph import capture
from tinygrad_ce.viz import RenderError, draw, picture, render, words

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    "<b>bold</b> & \"quoted\" 'single'",
    "two\nlines\tand a tab\r",
    r"\N \G \l \n C:\new",
    "größe 数学 \U0001f600 \x00\x07\x1b[31m \ud800 ]]>",
    "x" * 10_000,
    "<table><tr>",
    "<>",
    "-->",
    "&#10;&amp;",
]

DOT, PURE = shutil.which("dot"), shutil.which("graphviz-pure") or render._installed()
PROGRAMS = [
    pytest.param(path, id=name, marks=pytest.mark.skipif(path is None, reason=f"no {name} here"))
    for name, path in (("dot", DOT), ("graphviz-pure", PURE))
]
needs_program = pytest.mark.skipif(not (DOT or PURE), reason="nothing to draw with here")


@pytest.fixture(params=PROGRAMS)
def program(request, monkeypatch):
    monkeypatch.setenv(render.VARIABLE, request.param)
    return request.param


@pytest.fixture
def no_program(monkeypatch):
    monkeypatch.delenv(render.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(render, "_installed", lambda: None)


def groups(svg, kind):
    return [g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if g.get("class", "").split()[:1] == [kind]]


def shown(element):
    return " ".join("".join(t.itertext()).replace("\xa0", " ") for t in element.iter(f"{SVG}text"))


# What is drawn


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize("direction", ["TB", "LR"])
@pytest.mark.parametrize("loss", [F.softmax_cross_entropy, unfused])
def test_every_node_and_edge_is_drawn_once(loss, direction):
    value, given = training_step(loss)
    graph = capture(value, **given)
    svg = draw(value, **given, direction=direction).svg()
    assert sorted(g.get("id") for g in groups(svg, "node")) == sorted(n.id for n in graph.nodes)
    assert sorted(g.get("id") for g in groups(svg, "edge")) == sorted(f"e{i}" for i in range(len(graph.edges)))


@pytest.mark.usefixtures("program")
def test_an_operand_used_twice_has_two_edges():
    x = tg.Tensor([2.0], requires_grad=True)
    y = x
    for _ in range(30):
        y = y + y
    svg = draw(y).svg()
    assert len(groups(svg, "node")) == 31
    assert len(groups(svg, "edge")) == 60


@pytest.mark.usefixtures("program")
def test_cards_say_what_there_is_to_know():
    loss, given = training_step()
    svg = draw(loss, **given, gradients=True).svg()
    graph = capture(loss, **given, gradients=True)
    cards = {g.get("id"): shown(g) for g in groups(svg, "node")}
    for node in graph.nodes:
        card = cards[node.id]
        assert (node.op or node.name) in card
        assert words.tensor_type(node) in card
        assert (f"g {words.gradient_text(node.gradient)}" if node.gradient else "") in card
    fused = cards[graph.outputs[0]]
    assert f"loss = {loss.item():.7g}" in fused
    op = tg.registry["softmax_cross_entropy"]
    assert re.sub(r"\s+", "", op.formula) in re.sub(r"\s+", "", fused)
    assert re.sub(r"\s+", "", op.vjp_formula) in re.sub(r"\s+", "", fused)
    assert "keeps residual" in fused
    whole = shown(ElementTree.fromstring(svg))
    assert f"4 ops    {words.byte_count(graph.kept_bytes)} kept for backward    loss" in whole
    assert "fused op" in whole
    assert "1e-5" in whole


@pytest.mark.usefixtures("program")
def test_a_module_is_a_box_unless_it_made_a_single_card():
    loss, given = training_step()
    svg = draw(loss, **given).svg()
    titles = [shown(g) for g in groups(svg, "cluster")]
    assert titles[0].startswith("Sequential")
    assert titles[1:] == ["0    Linear(4, 8)", "2    Linear(8, 3)"]


@pytest.mark.usefixtures("program")
def test_no_gradient_is_shown_before_backward_and_after_it_0_and_none_differ():
    x = tg.Tensor([1.0, -1.0], requires_grad=True, name="x")
    zero = tg.Tensor([-1.0, -1.0], requires_grad=True, name="zero")
    none = tg.Tensor([1.0, 1.0], requires_grad=True, name="none")
    loss = (x * none + F.relu(zero)).sum()
    before = draw(loss)
    assert not any(sign in before.dot for sign in (">g ", "RMS of the gradient", "gradient: RMS"))
    loss.backward()
    none.grad = None
    after = draw(loss)
    cards = {shown(g).split()[0]: shown(g) for g in groups(after.svg(), "node")}
    assert "g 1.0e+00" in cards["x"]
    assert "g exactly 0" in cards["zero"]
    assert "no gradient" in cards["none"]
    assert not any(word in cards[op] for op in ("mul", "add") for word in (" g ", "gradient"))
    assert "arrays freed by backward" in after.svg().replace("&#160;", " ")


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_shown_and_break_nothing(program, name):
    class Hostile(nn.Module):
        def __repr__(self):
            return name

        def forward(self, x):
            return x * w

    w = tg.Tensor([1.0, 2.0], requires_grad=True, name=name)
    loss = Hostile()(tg.Tensor([1.0, 3.0], name=name)).sum()
    loss.name = name
    drawn = draw(loss, gradients=True)
    assert drawn.dot.isascii()
    done = subprocess.run([program, "-Tsvg"], input=drawn.dot.encode(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    card = next(g for g in groups(done.stdout, "node") if g.get("id") == "n1")
    assert words.ascii_text(name).replace(" ", "") in shown(card).replace(" ", "")
    tooltip = next(a.attrib["{http://www.w3.org/1999/xlink}title"] for a in card.iter(f"{SVG}a"))
    assert tooltip.splitlines()[0] == f"n1 parameter {words.ascii_text(name, 200)}".rstrip()
    done = subprocess.run([program, "-Tpng"], input=drawn.dot.encode(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = drawn.text().splitlines()
    assert len(lines) == 6
    assert all(line.isascii() and line.isprintable() and len(line) < 200 for line in lines)


@needs_program
def test_a_leaf_and_an_unrecorded_result_are_drawn():
    x = tg.Tensor([1.0], requires_grad=True, name="x")
    with tg.no_grad():
        y = x * 2
    for tensor in (x, y):
        svg = draw(tensor).svg()
        assert len(groups(svg, "node")) == 1
        assert "nothing recorded" in svg.replace("&#160;", " ")


# The programs that draw


@pytest.mark.usefixtures("program")
def test_png_grows_with_its_scale_and_its_ground_is_transparent():
    loss, given = training_step()
    drawn = draw(loss, **given)
    sizes = []
    for scale in (1, 2):
        png = drawn.png(scale)
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        width, height, _, color_type = struct.unpack(">IIBB", png[16:26])
        assert color_type == 6  # with alpha
        sizes.append((width, height))
    assert sizes[1] == pytest.approx(np.multiply(sizes[0], 2), abs=2)


@pytest.mark.parametrize("scale", [0, -1, np.nan, np.inf, "2"])
def test_a_scale_is_a_positive_number(scale):
    with pytest.raises(ValueError, match="png: scale: expected a positive number, found"):
        draw(training_step()[0]).png(scale)


@pytest.mark.skipif(DOT is None, reason="no dot here")
def test_dot_draws_pdf(monkeypatch):
    monkeypatch.setenv(render.VARIABLE, DOT)
    assert draw(training_step()[0]).pdf().startswith(b"%PDF")


@pytest.mark.skipif(PURE is None, reason="no graphviz-pure here")
def test_graphviz_pure_says_that_it_draws_no_pdf(monkeypatch):
    monkeypatch.setenv(render.VARIABLE, PURE)
    with pytest.raises(RenderError, match="draws no PDF; install Graphviz"):
        draw(training_step()[0]).pdf()


@pytest.mark.skipif(PURE is None, reason="no graphviz-pure here")
def test_graphviz_pure_is_found_where_pip_put_it(monkeypatch):
    monkeypatch.delenv(render.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "")
    assert Path(render.find_program()).stem == "graphviz-pure"


def test_the_variable_names_the_program_and_is_not_guessed_past(monkeypatch):
    monkeypatch.setenv(render.VARIABLE, "/nowhere/dot")
    with pytest.raises(RenderError, match=r"TINYGRAD_CE_DOT is set to '/nowhere/dot', where .* no") as found:
        draw(training_step()[0]).svg()
    assert "\n" not in str(found.value)


def test_a_program_that_fails_is_quoted_on_one_line(monkeypatch):
    monkeypatch.setenv(render.VARIABLE, sys.executable)  # takes no -Tsvg
    with pytest.raises(RenderError, match="failed: ") as found:
        draw(training_step()[0]).svg()
    assert "\n" not in str(found.value)


@pytest.mark.usefixtures("no_program")
def test_without_a_program_there_are_text_and_dot(tmp_path):
    drawn = draw(training_step()[0])
    with pytest.raises(RenderError, match="no program to draw graphs was found; install Graphviz"):
        drawn.svg()
    bundle = drawn._repr_mimebundle_()
    assert list(bundle) == ["text/plain"]
    assert bundle["text/plain"].startswith(repr(drawn))
    assert "install Graphviz" in bundle["text/plain"].splitlines()[-1]
    for suffix in (".dot", ".gv", ".txt"):
        drawn.save(tmp_path / f"graph{suffix}")
    with pytest.raises(RenderError):
        drawn.save(tmp_path / "graph.svg")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["graph.dot", "graph.gv", "graph.txt"]


# Files and notebooks


@needs_program
def test_save_writes_the_form_that_the_suffix_names(tmp_path):
    drawn = draw(training_step()[0])
    forms = {".svg": drawn.svg(), ".html": drawn.html(), ".dot": drawn.dot, ".GV": drawn.dot}
    forms[".txt"] = drawn.text() + "\n"
    for suffix, expected in forms.items():
        path = tmp_path / f"graph{suffix}"
        drawn.save(path)
        assert path.read_bytes() == expected.encode()
    drawn.save(str(tmp_path / "graph.png"))
    assert (tmp_path / "graph.png").read_bytes() == drawn.png()


def test_save_refuses_what_it_cannot_write(tmp_path):
    drawn = draw(training_step()[0])
    with pytest.raises(ValueError, match=r"a name that ends in \.svg, \.png, \.pdf, \.html, \.dot, \.gv, \.txt"):
        drawn.save(tmp_path / "graph.jpeg")
    with pytest.raises(FileNotFoundError, match=r"the folder .*missing.* does not exist"):
        drawn.save(tmp_path / "missing" / "graph.dot")
    assert list(tmp_path.iterdir()) == []


@needs_program
def test_a_notebook_gets_an_image_that_needs_no_trust():
    drawn = draw(training_step()[0])
    bundle = drawn._repr_mimebundle_()
    assert list(bundle) == ["text/html", "image/svg+xml", "text/plain"]
    assert bundle["text/plain"] == repr(drawn)
    assert bundle["image/svg+xml"] == drawn.svg()
    image = ElementTree.fromstring(bundle["text/html"].removesuffix(">") + "/>")
    assert (image.tag, set(image.keys())) == ("img", {"src", "alt", "style"})
    assert image.get("alt") == repr(drawn).splitlines()[0]
    kind, _, content = image.get("src").partition(",")
    assert kind == "data:image/svg+xml;base64"
    svg = base64.b64decode(content).decode()
    for found in ("node", "edge"):
        of_the_file, of_the_image = (
            [e.get("id") for e in ElementTree.fromstring(text).iter() if e.get("class", "").split()[:1] == [found]]
            for text in (drawn.svg(), svg)
        )
        assert of_the_image == of_the_file != []
    assert "xlink:title" in drawn.svg()
    assert "xlink:title" not in svg


@needs_program
def test_the_words_of_the_image_are_escaped():
    x = tg.Tensor([1.0], requires_grad=True)
    loss = (x * x).sum()
    loss.name = '"><script>alert(1)</script>'
    text = draw(loss)._repr_mimebundle_()["text/html"]
    assert text.count("<") == text.count(">") == 1
    ElementTree.fromstring(text.removesuffix(">") + "/>")


def test_a_notebook_does_not_draw_what_is_too_large(monkeypatch):
    monkeypatch.setattr(picture, "_INLINE_NODES", 3)
    bundle = draw(training_step()[0])._repr_mimebundle_()
    assert list(bundle) == ["text/plain"]
    assert "too large" in bundle["text/plain"]
