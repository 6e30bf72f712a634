"""The DOT source of a fixed set of pictures, byte for byte, and what the programs make of it."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from tests.golden import HERE, PICTURES, path
from tests.golden.comparisons import COMPARISONS
from tinygrad_ce.viz import render

SVG = "{http://www.w3.org/2000/svg}"
PROGRAMS = {"dot": shutil.which("dot"), "graphviz-pure": shutil.which("graphviz-pure") or render._installed()}


@pytest.fixture(params=PROGRAMS)
def program(request):
    return PROGRAMS[request.param] or pytest.skip(f"no {request.param} here")


@pytest.mark.parametrize("name", PICTURES)
def test_dot_is_byte_for_byte_what_it_was(name):
    assert PICTURES[name]().dot.encode() == path(name).read_bytes(), "see the docstring of tests/golden"


def test_no_file_is_left_over():
    assert {file.stem for file in HERE.glob("*.dot")} == {*PICTURES, *COMPARISONS}


@pytest.mark.parametrize("name", PICTURES)
def test_both_programs_draw_every_node_and_edge_and_say_nothing(program, name):
    picture = PICTURES[name]()
    done = subprocess.run([program, "-Tsvg"], input=path(name).read_bytes(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    drawn = picture.drawing.sides[0].drawn
    root = ElementTree.fromstring(done.stdout)
    kinds = {g.get("id"): g.get("class", "").split() for g in root.iter(f"{SVG}g")}
    nodes = {id: kind[1] for id, kind in kinds.items() if kind[:1] == ["node"]}
    edges = {id for id, kind in kinds.items() if kind[:1] == ["edge"] and re.fullmatch(r"e\d+", id)}
    assert nodes == {node.id: node.kind for node in drawn.nodes}
    assert edges == {f"e{i}" for i in range(len(drawn.edges))}


def test_what_the_pictures_are_of():
    """So that a golden file cannot be rewritten into a picture of something else."""
    dot = {name: path(name).read_text() for name in PICTURES}
    chips = {name: len(re.findall(r">g [\de]", text)) for name, text in dot.items()}
    assert chips["before_backward"] == chips["no_grad"] == 0 < chips["after_backward"] < chips["fused"]
    assert "no gradients yet: call backward()" in dot["before_backward"]
    assert "arrays freed by backward" in dot["after_backward"]
    assert "rankdir=LR" in dot["left_to_right"]
    assert ">log_softmax<" in dot["expanded"]
    assert ">matmul<" in dot["expanded"]
    assert dot["collapsed"].count("class=module") == 3
    assert "58 times" in dot["folded"]
    assert {"! inf", "! nan gradient", "! dead units", "! vanishing"} <= set(re.findall(r"! [a-z ]+", dot["troubled"]))
    assert "not connected to the output" in dot["detached"]
    assert "nothing recorded" in dot["no_grad"]
    assert all(f">  {name} = " in dot["two_outputs"] for name in ("loss", "penalty"))
    assert dot["operand_twice"].count(" -> ") == 13
