"""Every notebook, executed from a clean kernel, gives the outputs that are committed. The rules of a notebook:

- nbformat 4.5, kernel python3, committed with its outputs as `python -m tests.notebooks` writes them: executed in
  order, no timestamps, no errors, nothing on stderr (no warnings), no path of a machine, under 400 KB. No network, no
  unseeded randomness; under 30 seconds on a slow machine.
- The first cell is a title and what one will know at the end, the second imports, the last says what to read next.
- A number in the text is computed in the cell above and asserted there: every decimal number in the text stands in
  the code as well, as a number or in a string.
- Text outputs are the same on every machine: words and integers exactly, other numbers to 1e-3 or to the last of three
  digits or more. The text of a cell tagged `varies` (times, memory) is not compared. Rounding errors are not printed.
- Pictures are compared by number and kind. They are shown in notebooks that Jupyter does not trust, that is before the
  first run: plots as PNG of few colours, drawings as SVG in an <img>; an <svg> is not.
- ruff's rules hold, as in other code.
"""

import base64
import copy
import io
import re

import numpy as np
import pytest

from tests import notebooks
from tests.notebooks import (
    FOLDER,
    METADATA,
    PATHS,
    broken_rules,
    differences,
    execute,
    main,
    read,
    small_png,
    stored,
    tidy,
)


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


def kernel():
    """Skips where there is nothing to run a notebook with."""
    for name in ("nbformat", "nbclient", "ipykernel", "PIL"):
        pytest.importorskip(name, reason=f'{name} is not installed: pip install "tinygrad_ce[notebooks]"')


def test_outputs_are_those_committed(path):
    kernel()
    assert differences(read(path), execute(path)) == []


def test_it_keeps_the_rules(path):
    assert broken_rules(path, read(path)) == []


def test_it_is_small(path):
    assert path.stat().st_size < 400_000


def test_its_pictures_are_shown_without_trust(path):
    for cell in read(path)["cells"]:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            assert "image/svg+xml" not in data
            assert "<svg" not in data.get("text/html", "")


def test_it_is_stored_as_it_is_written(path):
    kernel()
    assert path.read_text(encoding="utf-8") == stored(tidy(read(path)))


def test_the_readme_lists_them_in_order():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\d+\. \[.*\]\((.*\.ipynb)\)", text, re.MULTILINE)
    assert listed == [path.name for path in PATHS]
    assert [int(name[:2]) for name in listed] == [*range(1, len(PATHS) + 1)]


def text_cell(id, source):
    return {"cell_type": "markdown", "id": id, "metadata": {}, "source": source}


def code_cell(id, source, count, *outputs):
    return {
        "cell_type": "code", "id": id, "metadata": {}, "source": source, "execution_count": count,
        "outputs": list(outputs),
    }  # fmt: skip


def printed(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def shown(**data):
    return {"output_type": "display_data", "metadata": {}, "data": data}


IMPORT, ASSERT, PRINT = 1, 3, 4


@pytest.fixture
def book():
    """A small notebook that keeps every rule."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": copy.deepcopy(METADATA),
        "cells": [
            text_cell("a", "# Title\n\nWhat one will know."),
            code_cell("b", "import numpy as np", 1),
            text_cell("c", "The logarithm of 2 is 0.693."),
            code_cell("d", "loss = np.log(2)\nassert round(loss, 3) == 0.693", 2),
            code_cell("e", "print(f'loss {loss:.4f} of', [1, 2])", 3, printed("loss 0.6931 of [1, 2]\n")),
            text_cell("f", "[Next](README.md)"),
        ],
    }


@pytest.fixture
def where(tmp_path):
    (tmp_path / "README.md").touch()
    return tmp_path / "01_small.ipynb"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("loss 0.6931", "loss 0.6961"),
        ("loss 0.6931", "lost 0.6931"),
        ("loss 0.6931", "loss 0.6931 0.1"),
        ("[1, 2]", "[1, 3]"),
        ("[1, 2]", "[1, -2]"),
        ("1000000", "1000001"),
        ("1.5e-05", "1.5e-06"),
        ("0.5", "0.6"),
        ("0.5", "nan"),
        ("f32", "f64"),
    ],
)
def test_a_changed_text_is_a_difference(book, old, new):
    book["cells"][PRINT]["outputs"] = [printed(old)]
    other = copy.deepcopy(book)
    other["cells"][PRINT]["outputs"] = [printed(new)]
    (found,) = differences(book, other)
    assert found.startswith(f"cell {PRINT}: text: ")
    book["cells"][PRINT]["metadata"] = {"tags": ["varies"]}
    assert differences(book, other) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("loss 0.6931", "loss 0.6935"),
        ("0.977", "0.978"),
        ("[ 1.  -0.5]", "[1. -0.5001]"),
        ("1.234e-05\n", "1.235e-05"),
        ("<Axes at 0x7f12ab>", "<Axes at 0x7f34cd>"),
        ("nan inf", "nan inf"),
    ],
)
def test_what_may_differ_between_machines(book, old, new):
    book["cells"][PRINT]["outputs"] = [printed(old)]
    other = copy.deepcopy(book)
    other["cells"][PRINT]["outputs"] = [printed(new)]
    assert differences(book, other) == []


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        [printed("loss 0.6931 of [1, 2]\n"), shown(**{"image/png": "AAAA"})],
        [printed("loss 0.6931 of [1, 2]\n", "stderr")],
        [shown(**{"text/plain": "loss 0.6931 of [1, 2]"})],
    ],
)
def test_other_outputs_are_a_difference(book, outputs):
    other = copy.deepcopy(book)
    other["cells"][PRINT]["outputs"] = outputs
    for before, after in ((book, other), (other, book)):
        (found,) = differences(before, after)
        assert found.startswith(f"cell {PRINT}: the outputs committed are ")


def test_pictures_are_compared_by_kind_and_tables_by_their_text(book):
    other = copy.deepcopy(book)
    for one, picture, cell in ((book, "AAAA", "0.25"), (other, "BBBB", "0.75")):
        one["cells"][PRINT]["outputs"] = [
            shown(**{"image/png": picture}),
            shown(**{"text/html": f"<div><svg><text>{picture}</text></svg></div>"}),
            shown(**{"text/html": f'<td style="width:{cell}em">{cell}</td>'}),
        ]
    assert differences(book, other) == [f"cell {PRINT}: text/html: '0.25' is committed, '0.75' was made"]
    other["cells"][PRINT]["outputs"][0]["data"] = {"image/svg+xml": "<svg/>"}
    assert "image/svg+xml" in differences(book, other)[0]


def test_a_drawing_is_stored_once(book):
    svg, image = "<svg/>", '<img src="data:image/svg+xml;base64,PHN2Zy8+">'
    alone = shown(**{"image/svg+xml": svg, "text/plain": "a"})
    book["cells"][PRINT]["outputs"] = [shown(**{"text/html": image, "image/svg+xml": svg, "text/plain": "a"}), alone]
    first, second = tidy(book)["cells"][PRINT]["outputs"]
    assert first["data"] == {"text/html": image, "text/plain": "a"}
    assert second == alone


def test_plots_are_stored_in_few_colours():
    image_of = pytest.importorskip("PIL.Image")
    ramp = np.arange(300, dtype=np.uint32)  # more colours than a palette has
    pixels = np.stack([ramp // 2, ramp // 3, 255 - ramp // 2, 0 * ramp + 255], axis=1).astype(np.uint8)
    file = io.BytesIO()
    image_of.fromarray(np.tile(pixels, (40, 1, 1))).save(file, "png")
    before = base64.b64encode(file.getvalue()).decode()
    after = small_png(before)
    assert small_png(after) == after
    image = image_of.open(io.BytesIO(base64.b64decode(after)))
    assert image.mode == "P"
    changed = np.asarray(image.convert("RGB")).astype(int) - pixels[:, :3]
    assert np.abs(changed).max() <= 4


def test_other_cells_are_a_difference(book):
    other = copy.deepcopy(book)
    other["cells"][ASSERT]["source"] += "\n"
    del other["cells"][-1]
    assert differences(book, other) == [f"cell {ASSERT}: the source differs", "cell 5: only in one of the two"]


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("nbformat", lambda b: b.update(nbformat_minor=4)),
        ("the metadata is", lambda b: b["metadata"].update(widgets={})),
        ("the metadata of a cell", lambda b: b["cells"][PRINT]["metadata"].update(execution={"started": 1})),
        ("every cell has an id", lambda b: b["cells"][2].update(id="a")),
        ("the first cell is a title", lambda b: b["cells"][0].update(source="Title")),
        ("the second cell imports", lambda b: b["cells"][IMPORT].update(source="1")),
        ("the last cell", lambda b: b["cells"].append(text_cell("g", "The end."))),
        ("every cell was executed", lambda b: b["cells"][IMPORT].update(execution_count=None)),
        ("every cell was executed", lambda b: b["cells"][PRINT].update(execution_count=4)),
        ("every cell was executed", lambda b: b["cells"].pop(IMPORT)),
        ("no errors", lambda b: b["cells"][PRINT]["outputs"].append(printed("careless", "stderr"))),
        ("no errors", lambda b: b["cells"][PRINT]["outputs"].append({"output_type": "error"})),
        ("it asserts", lambda b: b["cells"][ASSERT].update(source="loss = 0.693")),
        ("numbers in the text are literals in the code, asserted there: [0.693]", lambda b: b["cells"].pop(ASSERT)),
        ("numbers in the text", lambda b: b["cells"][2].update(source="It is $-0.6931$.")),
        ("links lead somewhere", lambda b: b["cells"][-1].update(source="[Next](02.ipynb)")),
        ("no path of a machine", lambda b: b["cells"][PRINT]["outputs"][0].update(text="in\n/home/ada/x.py")),
        ("no path of a machine", lambda b: b["cells"][2].update(source="`/tmp/x`")),
        ("no path of a machine", lambda b: b["cells"][PRINT]["outputs"].append(shown(**{"text/plain": "'/root/x'"}))),
    ],
)
def test_a_broken_rule_is_named(book, where, rule, change):
    assert broken_rules(where, book) == []
    change(book)
    assert any(broken.startswith(rule) for broken in broken_rules(where, book))


def test_what_the_text_may_say(book, where):
    book["cells"][2]["source"] = "[a](https://example.org/1.25), arXiv:2501.04697, 12 weights, v1.2.3, $0.693$"
    assert broken_rules(where, book) == []


def test_executed_and_written_anew(book, where, monkeypatch, capsys):
    kernel()
    monkeypatch.setattr(notebooks, "PATHS", [where])
    where.write_text(stored(book), encoding="utf-8")
    main([])
    assert capsys.readouterr().out == "01_small.ipynb: the same\n"
    book["cells"][PRINT]["outputs"][0]["text"] = "loss 0.7931 of [1, 2]\n"
    where.write_text(stored(book), encoding="utf-8")
    main(["02"])
    assert differences(read(where), execute(where)) == [f"cell {PRINT}: text: '0.7931' is committed, '0.6931' was made"]
    main(["01"])
    assert capsys.readouterr().out.startswith("01_small.ipynb: changed\n  cell 4: text: '0.7931' is committed")
    assert differences(read(where), execute(where)) == []


def test_a_wrong_number_does_not_execute(book, where):
    kernel()
    from nbclient.exceptions import CellExecutionError

    book["cells"][ASSERT]["source"] = "loss = np.log(2)\nassert round(loss, 3) == 0.694"
    where.write_text(stored(book), encoding="utf-8")
    with pytest.raises(CellExecutionError, match="AssertionError"):
        execute(where)
