"""A real browser for the tests of the page, and pictures to open in it."""

import shutil

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.pages.driving import classifier, leaf, losses
from tinygrad_ce import functional as F

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")  # not longer: while it lasts, no other test could run an event loop
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome on the PATH")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def offline(browser):
    return browser.new_context(offline=True)


@pytest.fixture
def visit(browser, offline, tmp_path):
    """Open a page in a window of its own; in the end, nothing was complained of, and nothing but the file asked for."""
    opened = []

    def visit(text, hash="", width=1440, height=900, **options):
        window = (browser.new_context(offline=True, **options) if options else offline).new_page()
        window.set_viewport_size({"width": width, "height": height})
        window.set_default_timeout(10_000)
        said, asked = [], []
        window.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        window.on("pageerror", lambda error: said.append(str(error)))
        window.on("request", lambda request: asked.append(request.url))
        opened.append((window, said, asked))
        path = tmp_path / f"page{len(opened)}.html"
        path.write_text(text, encoding="utf-8")
        window.goto(path.as_uri() + hash)
        window.wait_for_selector("body[data-ready]", state="attached")
        return window

    yield visit
    for window, said, asked in opened:
        window.close()
        assert said == []
        assert len(asked) == 1
        assert asked[0].startswith("file:///")


@pytest.fixture(scope="module")
def small():
    _, loss, model, inputs = losses()
    return tg.draw(loss, model=model, inputs=inputs, gradients=True)


@pytest.fixture(scope="module")
def comparison():
    a, b, model, inputs = losses()
    return tg.draw_comparison(a, b, ("unfused", "fused"), model=model, inputs=inputs, gradients=True)


@pytest.fixture(scope="module")
def cubed():
    x = leaf([1.0, 2.0], "x")
    return tg.draw((x * x * x).sum(), gradients=True)


@pytest.fixture(scope="module")
def folded():
    model, x, y = classifier(depth=60, activation="tanh")
    return tg.draw(F.softmax_cross_entropy(model(x), y), model=model, inputs={"x": x, "y": y}, gradients=True)


@pytest.fixture(scope="module")
def long():
    """300 ops, each with a card of its own."""
    y = leaf(np.random.default_rng(0).normal(size=(4, 4)), "x")
    while len(tg.graph.capture(y).nodes) < 301:
        h = F.tanh(y * 0.9)
        y = F.sin(h * h + y * 0.5)
    return tg.draw(y.sum(), gradients=True, depth=1)


@pytest.fixture(params=["small", "comparison", "cubed", "folded"])
def picture(request):
    return request.getfixturevalue(request.param)
