"""Names of any characters and any length: every picture is drawn, by both programs, without a word of complaint."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_ce.graph import Edge, Gradient, Graph, GraphNode, Kept
from tinygrad_ce.graph.fold import fold
from tinygrad_ce.viz import Picture, render, words
from tinygrad_ce.viz.drawing import GraphDrawing

SVG = "{http://www.w3.org/2000/svg}"
PROGRAMS = {"dot": shutil.which("dot"), "graphviz-pure": shutil.which("graphviz-pure") or render._installed()}

BAD = [
    "", " ", "'", '"', '"]; evil [label="', "<b>", "</b>", "</td></tr></table>", "<>", "<!--", "-->", "]]>", "]", "&",
    "&amp;", "&#10;", "&lt", "\\", "\\N", "\\G\\E\\T\\H\\L", "\\l\\r\\n", "trailing\\", "%s", "%d%n", "{}", "{0}",
    "{|}", "a:b", "->", "n0", "graph", "subgraph", "node", "strict", "\n", "two\nlines", "\r\n", "\t", "\x00",
    "\x07\x1b[31m", "\x7f", "\x85", "\u2028", "\ud800", "größe", "数学", "\u202eevil", "e\u0301", "\U0001f600",
    "x" * 10_000, "<" * 10_000, "\\" * 9_999, "ä" * 3_000, " " * 200, "a b  c   d", "-", "--", "#", "//", "/*", "0",
    "1e999", "None", "nan",
]  # fmt: skip
names = st.one_of(st.sampled_from(BAD), st.text(max_size=30), st.text(alphabet="<>&\"\\\n|{}[]()'%;#", max_size=12))


@st.composite
def graphs(draw):
    """A graph with a name drawn anew wherever there is one: leaves, ops, modules, attributes, formulas, its title."""
    path, inner, shown = draw(names), draw(names), draw(names)
    attributes = tuple((draw(names), draw(names)) for _ in range(draw(st.integers(0, 3))))
    gradient = draw(st.sampled_from([None, *(Gradient(g, g) for g in (None, 0.0, 1e-3, float("nan"), float("inf")))]))
    kept = (Kept(draw(names), 1 << draw(st.integers(0, 40)), 0, False, False),)
    kinds = st.sampled_from(["parameter", "input", "constant", "target"])
    nodes = [GraphNode(f"n{i}", draw(kinds), "", draw(names), (2, 3), "float32") for i in range(3)]
    op = {
        "attributes": attributes,
        "gradient": gradient,
        "kept": kept,
        "module": (path, inner) if path != inner else (path,),
    }
    nodes += [
        GraphNode("n3", "op", draw(names), draw(names), (), "float64", **op),
        GraphNode("n4", "op", draw(names), draw(names), (10**12,), draw(names), **op, formula=draw(names),
                  vjp_formula=draw(names), fused=True, value=draw(st.floats())),
    ]  # fmt: skip
    edges = [
        Edge(a, b, i, draw(names)) for i, (a, b) in enumerate([("n0", "n3"), ("n1", "n3"), ("n3", "n4"), ("n3", "n4")])
    ]
    modules = {path: shown, inner: draw(names)}
    graph = Graph(tuple(nodes), tuple(edges), ("n4",), draw(names), modules, detached=("n2",))
    return fold(graph, depth=1) if draw(st.booleans()) else graph


def check(program, graph, direction="TB"):
    picture = Picture(GraphDrawing(graph, direction=direction))
    source = picture.dot
    assert source.isascii()
    done = subprocess.run([program, "-Tsvg"], input=source.encode(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    groups = {g.get("id"): g for g in ElementTree.fromstring(done.stdout).iter(f"{SVG}g")}
    drawn = {
        kind: [id for id, g in groups.items() if g.get("class", "").split()[:1] == [kind]] for kind in ("node", "edge")
    }
    assert sorted(drawn["node"]) == sorted(node.id for node in graph.nodes)
    ids = {f"e{i}" for i in range(len(graph.edges))}
    assert {id for id in drawn["edge"] if re.fullmatch(r"e\d+", id)} == ids
    for node in graph.nodes:
        text = " ".join("".join(t.itertext()).replace("\xa0", " ") for t in groups[node.id].iter(f"{SVG}text"))
        assert squeezed(words.ascii_text(node.op or node.name)) in squeezed(text)
        hint = next(a.attrib["{http://www.w3.org/1999/xlink}title"] for a in groups[node.id].iter(f"{SVG}a"))
        assert squeezed(words.ascii_text(node.name, 200)) in squeezed(hint)
    lines = picture.text().splitlines()
    assert [line for line in lines if not (line.isascii() and line.isprintable() and len(line) < 600)] == []


def squeezed(text):
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("program", PROGRAMS)
@given(graph=graphs(), direction=st.sampled_from(["TB", "LR"]))
@settings(max_examples=30)
def test_any_names(program, graph, direction):
    check(PROGRAMS[program] or pytest.skip(f"no {program} here"), graph, direction)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_bad_name_in_every_place(program):
    path = PROGRAMS[program] or pytest.skip(f"no {program} here")
    leaves = [GraphNode(f"n{i}", "parameter", "", bad, (i,), "float32") for i, bad in enumerate(BAD)]
    nodes = [
        GraphNode(f"n{len(BAD) + i}", "op", bad, bad, (), bad, ((bad, bad),), (f"{i}{bad}",), bad, bad, True, 1.0)
        for i, bad in enumerate(BAD)
    ]
    edges = [Edge(leaf.id, node.id, 0, leaf.name) for leaf, node in zip(leaves, nodes, strict=True)]
    modules = {node.module[0]: bad for node, bad in zip(nodes, BAD, strict=True)}
    graph = Graph((*leaves, *nodes), tuple(edges), tuple(node.id for node in nodes), "\n".join(BAD), modules)
    check(path, graph)
    check(path, fold(graph, depth=1))
    half = replace(graph, title='"', detached=tuple(leaf.id for leaf in leaves))
    assert Picture(GraphDrawing(half)).dot.isascii()
