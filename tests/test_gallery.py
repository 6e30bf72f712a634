"""The gallery: its script draws the same each time, and what is committed is what it draws."""

import importlib.util
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "notebooks" / "gallery.py"


def load():
    specification = importlib.util.spec_from_file_location("gallery", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


gallery = load()


@pytest.fixture(scope="module", params=gallery.PICTURES)
def drawn(request):
    """The name of a picture, and the picture."""
    return request.param, gallery.PICTURES[request.param]()


def test_the_folder_holds_what_the_script_lists():
    expected = {f"{name}.svg" for name in gallery.PICTURES} | {"README.md"}
    assert {path.name for path in gallery.FOLDER.iterdir()} == expected


def test_each_is_the_same_twice(drawn):
    name, picture = drawn
    assert load().PICTURES[name]().dot == picture.dot


def test_the_committed_picture_is_of_the_same_graph(drawn):
    """Every card and edge is in it; layout and the last digits are the drawing machine's own."""
    name, picture = drawn
    svg = ElementTree.parse(gallery.FOLDER / f"{name}.svg").getroot()
    groups = [(g.get("class", "").split(" ")[0], g.get("id")) for g in svg.iter("{http://www.w3.org/2000/svg}g")]
    cards = {id for kind, id in groups if kind == "node" and not id.startswith("legend")}
    assert cards == {side.prefix + node.id for side in picture.drawing.sides for node in side.drawn.nodes}
    edges = sum(kind == "edge" and re.fullmatch(r"[ab]?e\d+", id) is not None for kind, id in groups)
    assert edges == sum(len(side.drawn.edges) for side in picture.drawing.sides)
    shown = Counter("".join(text.itertext()) for text in svg.iter("{http://www.w3.org/2000/svg}text"))
    for side in picture.drawing.sides:
        for op, count in Counter(node.op for node in side.drawn.nodes if node.op).items():
            assert shown[op] >= count, op


def test_committed_files_are_small():
    sizes = {path.name: path.stat().st_size for path in gallery.FOLDER.iterdir()}
    assert max(sizes.values()) < 100_000
    assert sum(sizes.values()) < 700_000


def test_the_page_shows_each_with_its_caption():
    page = gallery.page()
    assert (gallery.FOLDER / "README.md").read_text(encoding="utf-8") == page
    assert page.isascii()
    for name, make in gallery.PICTURES.items():
        assert f"![{name}]({name}.svg)" in page
        assert make.__doc__


def test_the_script_runs_anywhere(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gallery, "PICTURES", {"not_a_number": gallery.not_a_number})
    gallery.main(tmp_path / "pictures")
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"not_a_number.svg", "README.md"}
    assert capsys.readouterr().out.startswith("not_a_number.svg")
    assert "gallery" not in sys.modules
