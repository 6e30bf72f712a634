"""Pictures before any program draws them: the DOT source, its colours, and the text form."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.helpers import training_step, unfused
from tinygrad_ce.graph import Gradient, capture
from tinygrad_ce.viz import colors, draw, words
from tinygrad_ce.viz.card import chip
from tinygrad_ce.viz.text import to_text

# The DOT source


def test_the_same_program_gives_the_same_bytes():
    first = [draw(loss, **given, gradients=True).dot for loss, given in (training_step(), training_step())]
    assert first[0] == first[1]
    assert first[0].isascii()
    code = (
        "import numpy as np, tinygrad_ce as tg\nfrom tinygrad_ce.viz import draw\n"
        "x = tg.Tensor([1.0, 2.0], requires_grad=True, name='x')\n"
        "print(draw(tg.F.softplus(x * x + np.ones(2)).sum(), gradients=True).dot)"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_colours_are_of_the_palette_and_in_full():
    loss, given = training_step(unfused)
    found = set(re.findall(r"#[0-9a-fA-F]+\b", draw(loss, **given, gradients=True).dot))
    assert {"#fdeccb", "#d9ecf9", "#eceff2", "#ffffff"} < found
    assert all(len(color) in (7, 9) for color in found)


def test_no_recursion_and_no_slowness_in_ten_thousand_ops():
    y = tg.Tensor([1.0], requires_grad=True)
    for _ in range(10_000):
        y = y * 1.0001
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(200)
    try:
        folded, drawn = draw(y), draw(y, depth=1)
        dot, text, short = drawn.dot, drawn.text(), folded.dot
    finally:
        sys.setrecursionlimit(limit)
    assert dot.count(" -> ") == 10_000
    assert len(text.splitlines()) == 10_003
    assert len(repr(drawn).splitlines()) == 63
    assert short.count(" -> ") == 3
    assert "9998 times" in short


def test_every_leaf_but_the_first_input_is_on_the_rank_of_its_op():
    loss, given = training_step()
    dot = draw(loss, **given).dot
    ranks = [re.findall(r"n\d+", block) for block in re.findall(r"\{\s*rank=same([^}]*)\}", dot)]
    assert ranks == [["n1", "n2", "n3"], ["n5", "n6", "n7"], ["n8", "n9"]]
    arrows = re.findall(r"(n\d+) -> (n\d+) \[(.*)\]", dot)
    ends = [(b, a) if "dir=back" in attributes else (a, b) for a, b, attributes in arrows]
    assert ends == [(edge.source, edge.target) for edge in capture(loss, **given).edges]


def test_the_graphviz_object_can_be_used():
    loss, given = training_step()
    drawn = draw(loss, **given)
    digraph = drawn.digraph()
    digraph.attr(label="mine")
    assert digraph.source != drawn.dot


def test_show_chooses_what_is_on_the_cards():
    loss, given = training_step()
    everything = draw(loss, **given, gradients=True).dot
    for part, sign in (("shape", "(5, 4) f32</font>"), ("grad", ">g "), ("kept", "keeps residual 60 B")):
        others = tuple(p for p in ("shape", "grad", "kept") if p != part)
        without = draw(loss, **given, gradients=True, show=others).dot
        if part != "kept":
            assert sign in everything
            assert sign not in without
        assert without != everything
    assert "keeps" not in re.sub(r'tooltip="[^"]*"', "", draw(loss, **given, show=()).dot)


# Colours


def test_the_colour_scale_is_cividis():
    cividis = pytest.importorskip("matplotlib").colormaps["cividis"]
    for t in np.linspace(0, 1, 101):
        ours = [int(colors.cividis(t)[i : i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(np.array(ours) - 255 * np.array(cividis(t)[:3])).max() < 8
    assert colors.of_gradient(1e-9) == colors.cividis(0)
    assert colors.of_gradient(10**-2.5) == colors.cividis(0.5)
    assert colors.of_gradient(1e9) == colors.cividis(1)


def test_text_on_any_colour_of_the_scale_can_be_read():
    def luminance(color):
        c = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    for color in (colors.NOT_FINITE, colors.CHIP, *map(colors.cividis, np.linspace(0, 1, 101))):
        low, high = sorted((luminance(color), luminance(colors.ink_on(color))))
        assert (high + 0.05) / (low + 0.05) >= 4.5, color


def test_chips_tell_missing_zero_and_not_finite_apart():
    kinds = [Gradient(rms, rms) for rms in (None, 0.0, 1e-3, np.inf, np.nan)]
    grounds = [re.search(r'bgcolor="(.*?)" style="(.*?)"', chip(kind)).groups() for kind in kinds]
    assert grounds == [
        ("#ffffff", "rounded,dashed"), ("#ffffff", "rounded"), (colors.of_gradient(1e-3), "rounded"),
        (colors.NOT_FINITE, "rounded"), (colors.NOT_FINITE, "rounded"),
    ]  # fmt: skip


# The text form


def test_the_text_form():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    w = tg.Tensor([3.0, 0.5], requires_grad=True, name="w")
    y = (np.exp(x * w) * 2.0).sum(axis=0, keepdims=True)
    y.name = "total"
    graph = capture(y, gradients=True)
    assert to_text(graph).splitlines() == [
        "total: 4 ops, 8 B kept for backward, total 45.60764",
        "id  op         name   inputs                     tensor    gradient  memory",
        "n0  parameter  x                                 (2,) f32  8.5e+01",
        "n1  parameter  w                                 (2,) f32  2.9e+01",
        "n2  mul               x, w                       (2,) f32  2.9e+01",
        "n3  exp               n2                         (2,) f32  2.0e+00   keeps output 8 B",
        "n4  mul               n3, y=2                    (2,) f32  1.0e+00",
        "n5  sum        total  n4, axis=0, keepdims=True  (1,) f32  1.0e+00",
    ]


def test_byte_counts():
    counts = [words.byte_count(n) for n in (0, 1023, 1024, 1126, 2**20, 3 * 2**30)]
    assert counts == ["0 B", "1023 B", "1.0 KiB", "1.1 KiB", "1.0 MiB", "3.0 GiB"]


# Wrong arguments


def test_errors_of_draw():
    x = tg.Tensor([1.0], requires_grad=True)
    for show in ("grad", ("grad", "colour")):
        with pytest.raises(ValueError, match="draw: show: expected"):
            draw(x, show=show)
    with pytest.raises(ValueError, match='draw: direction: expected "TB" or "LR", found \'BT\''):
        draw(x, direction="BT")
    with pytest.raises(TypeError, match="expected a Tensor"):
        draw(1.0)
