"""The page in a real browser: light and dark, large and small windows, without motion."""

import re

import pytest

from tests.pages.driving import view


def luminance(color):
    channels = [int(c) / 255 for c in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(visit, comparison, scheme):
    window = visit(comparison.html(), "#t=14&n=an3", color_scheme=scheme)
    found = window.evaluate("""() => {
      const ground = (e) => {
        const color = getComputedStyle(e).backgroundColor;
        return color !== "rgba(0, 0, 0, 0)" ? color : e.parentElement ? ground(e.parentElement) : "rgb(255, 255, 255)";
      };
      const all = [...document.querySelectorAll("#top *, #player *, #panel *")].filter((e) =>
        [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) && e.checkVisibility() && !e.disabled);
      return all.map((e) => [e.textContent.slice(0, 40), getComputedStyle(e).color, ground(e)]);
    }""")
    assert len(found) > 40
    assert [entry for entry in found if contrast(*entry[1:]) < 4.5] == []


def test_light_and_dark(visit, small):
    shots = {}
    for scheme in ("light", "dark"):
        window = visit(small.html(), color_scheme=scheme)
        assert window.get_attribute("html", "data-theme") == scheme
        shots[scheme] = window.screenshot()
        window.click("#theme")
        other = {"light": "dark", "dark": "light"}[scheme]
        assert window.get_attribute("html", "data-theme") == other
        ground = window.evaluate("getComputedStyle(document.getElementById('canvas')).backgroundColor")
        assert (luminance(ground) < 0.1) == (other == "dark")
        window.emulate_media(color_scheme=other)
    assert shots["light"] != shots["dark"]


def test_reduced_motion(visit, comparison):
    t = 16
    moving, calm = (visit(comparison.html(), f"#t={t}", reduced_motion=wish) for wish in ("no-preference", "reduce"))
    animation = "getComputedStyle(document.querySelector('.flow.back path')).animationName"
    assert moving.evaluate(animation) == "flow"
    assert calm.evaluate(animation) == "none"
    for window, steps in ((moving, True), (calm, False)):
        window.keyboard.press("Home")
        window.wait_for_timeout(400)
        window.keyboard.press("+")
        window.keyboard.press("+")
        before = view(window)
        glides = window.evaluate(
            """async (id) => {
          bring([id], true);
          const seen = [];
          for (let i = 0; i < 40; i++) {
            await new Promise((done) => setTimeout(done, 10));
            seen.push(document.querySelector("#canvas > svg").getAttribute("viewBox"));
          }
          return new Set(seen).size;
        }""",
            "an12",
        )
        assert (glides > 1) == steps
        assert view(window) != before


OVERLAPS = """() => {
  const [wide, high] = [innerWidth + 0.5, innerHeight + 0.5], found = [];
  const shown = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.checkVisibility());
  const name = (e) => e.id || e.className || e.localName;
  for (const e of shown("#top > *, #player, #canvas, #controls > *, .buttons > *")) {
    const { x, y, right, bottom } = e.getBoundingClientRect();
    if (x < 0 || y < 0 || right > wide || bottom > high) found.push(`${name(e)} sticks out`);
  }
  const parts = shown("#top > *, #caption p, #track, .buttons > *, #count, #speed")
    .map((e) => [e, e.getBoundingClientRect()]);
  parts.forEach(([e, a], i) => parts.slice(i + 1).forEach(([f, b]) => {
    const apart = a.right <= b.x + 0.5 || b.right <= a.x + 0.5 || a.bottom <= b.y + 0.5 || b.bottom <= a.y + 0.5;
    if (!apart) found.push(`${name(e)} on ${name(f)}`);
  }));
  if (document.getElementById("canvas").clientHeight < 0.5 * innerHeight) found.push("the picture is small");
  if (document.documentElement.scrollWidth > innerWidth) found.push("it scrolls sideways");
  return found;
}"""


@pytest.mark.parametrize("scene", ["", "#t=14&n=an3"])
def test_nothing_overlaps(visit, comparison, scene):
    window = visit(comparison.html(), scene)
    for width, height in ((1440, 900), (900, 600), (390, 800), (360, 640)):
        window.set_viewport_size({"width": width, "height": height})
        assert window.evaluate(OVERLAPS) == [], (width, height)
