"""Graphs to draw, and how to drive a page and to read it."""

import re

import numpy as np

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn


def leaf(numbers, name=None, dtype=np.float64):
    return tg.Tensor(np.asarray(numbers, dtype), requires_grad=True, name=name)


def classifier(depth=1, activation="relu"):
    rng = np.random.default_rng(0)
    model = nn.MLP([4, *[8] * depth, 3], activation=activation, generator=rng)
    return model, leaf(rng.normal(size=(16, 4)), "x", np.float32), np.arange(16) % 3


def losses():
    """The same loss spelled in small ops, and fused, with what they are made of."""
    model, x, y = classifier()
    z = model(x)
    shifted = z - z.max(axis=1, keepdims=True)
    p = F.exp(shifted) / F.exp(shifted).sum(axis=1, keepdims=True)
    return -F.log(p[np.arange(16), y]).mean(), F.softmax_cross_entropy(model(x), y), model, {"x": x, "y": y}


CARDS = """() => [...document.querySelectorAll("#canvas svg g.node:not(.legend)")].map((g) => ({
  id: g.id, dim: g.classList.contains("dim"), partly: g.classList.contains("partly"),
  now: g.classList.contains("now"), back: g.classList.contains("back"),
  text: [...g.querySelectorAll("text")].filter((t) => !t.classList.contains("none")).map((t) => t.textContent),
  chip: [...g.querySelectorAll("text.chip")].filter((t) => getComputedStyle(t).opacity > 0)
    .map((t) => t.textContent).join(" "),
  part: g.querySelector(".part")?.textContent ?? "",
}))"""
LOOKS = """() => [...document.querySelectorAll("#canvas svg g :is(path, polygon, text)")]
  .map((e) => [e.textContent, e.getAttribute("fill"), e.getAttribute("stroke"), getComputedStyle(e).opacity,
    getComputedStyle(e.closest("g.node, g.edge, g.cluster, g.graph")).opacity])"""
# Texts that stick out of the card, the chip or the warning they are in, by more than a tenth of a unit. How wide a
# letter is depends on the zoom in some browsers, so that this is asked for at the zoom there is.
WIDE = """() => [...document.querySelectorAll("#canvas svg g.node:not(.legend)")].flatMap((g) => {
  const card = g.querySelector("path, polygon").getBBox();
  return [...g.querySelectorAll("text")].filter((t) => t.getBBox().width > 0).flatMap((t) => {
    const boxes = [card], shape = t.previousElementSibling;
    if (t.classList.contains("chip") || t.closest(".part")) boxes.push(shape.getBBox());
    const { x, width } = t.getBBox();
    return boxes.filter((b) => x < b.x - 0.1 || x + width > b.x + b.width + 0.1).map(() => `${g.id}: ${t.textContent}`);
  });
})"""


def cards(window):
    return {card["id"]: card for card in window.evaluate(CARDS)}


def caption(window):
    return window.locator("#caption p").all_text_contents()


def last(window):
    return int(window.get_attribute("#slider", "max"))


def moment(window):
    return int(window.input_value("#slider"))


def at(window, t):
    """Go to a moment by the slider."""
    window.locator("#slider").fill(str(t))
    return cards(window)


def film(window, script):
    """What a script finds at each moment, from the start on."""
    return window.evaluate(f"[...Array(LAST + 1).keys()].map((t) => {{ step(t); return ({script})(); }})")


def static_texts(picture):
    """The texts of each card in the static SVG."""
    found = re.findall(r'<g id="(\w+)" class="node(?! legend)[^"]*">(.*?)</g>\s*</g>', picture.svg(), re.DOTALL)
    unescape = {"&#45;": "-", "&#160;": "\xa0", "&gt;": ">", "&lt;": "<", "&quot;": '"', "&#39;": "'", "&amp;": "&"}
    return {
        id: [re.sub("|".join(unescape), lambda m: unescape[m[0]], t) for t in re.findall(r"<text[^>]*>([^<]*)<", body)]
        for id, body in found
    }


def flow(window):
    """Ids of the edges that something flows along, backwards and forwards."""
    return tuple(set(ids(window, selector)) for selector in (".flow.back", ".flow:not(.back)"))


def ids(window, selector):
    return window.eval_on_selector_all(selector, "all => all.map((e) => e.id)")


def numbers(window, what):
    """The matrix that the panel shows: heads, and rows of numbers."""
    rows = window.locator(f'#panel section[data-of="{what}"] tr').all()
    return [row.locator("th").text_content() for row in rows], [
        [float(cell) for cell in row.locator("td").all_text_contents()] for row in rows
    ]


def figures(window, what):
    box = window.locator(f'#panel section[data-of="{what}"] dl')
    return dict(zip(box.locator("dt").all_text_contents(), box.locator("dd").all_text_contents(), strict=True))


def view(window):
    return [float(number) for number in window.get_attribute("#canvas > svg", "viewBox").split()]
