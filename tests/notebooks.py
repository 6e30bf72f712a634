"""The notebooks: executed from a clean kernel, compared with what is committed, held to their rules.

`python -m tests.notebooks` executes all of them and writes their outputs anew, `python -m tests.notebooks 01 03` two of
them; read the difference before it is committed.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import re
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TOLERANCE = 1e-3  # relative, of numbers in the outputs
SECONDS = 120  # a cell may take

_NUMBER = re.compile(r"(?<![\w.])([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?!\w)")
_DECIMAL = re.compile(r"(?<![\w.])\d+\.\d+(?:[eE][-+]?\d+)?(?![\w.]*\d)")
_ADDRESS = re.compile(r"\]\([^)]*\)|https?://\S+|arXiv:\S+")
_MACHINE = re.compile(
    r"(?<![\w.)])/(home|tmp|root|work|usr|opt|var|mnt|Users|private)/|\b[A-Z]:\\Users|site-packages|ipykernel_"
)

Book = dict[str, Any]


def read(path: Path) -> Book:
    """A notebook with its texts as strings; the file has lists of lines."""
    book: Book = json.loads(path.read_text(encoding="utf-8"))
    for cell in book["cells"]:
        cell["source"] = _joined(cell["source"])
        for output in cell.get("outputs", ()):
            if "text" in output:
                output["text"] = _joined(output["text"])
            data = output.get("data", {})
            data.update({kind: _joined(text) for kind, text in data.items()})
    return book


def stored(book: Book) -> str:
    """The text of the file; raises ValidationError for what is no notebook."""
    import nbformat

    nbformat.validate(book)
    text: str = nbformat.writes(nbformat.from_dict(book))
    return text.rstrip("\n") + "\n"


def execute(path: Path) -> Book:
    """The notebook as it is after a clean kernel has run it, without what differs from run to run."""
    import nbclient
    import nbformat

    book = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    client = nbclient.NotebookClient(
        book,
        timeout=SECONDS,
        kernel_name="python3",
        resources=resources,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # it warns of TCP, its own choice
    )
    client.execute(env={"OPENBLAS_NUM_THREADS": "1", **os.environ})  # on few busy CPUs its threads wait for each other
    return tidy(book)


def tidy(book: Book) -> Book:
    """No timestamps, versions, widget states; neighbouring streams are one; a drawing once, plots in few colours."""
    book["metadata"] = json.loads(json.dumps(METADATA))
    for cell in book["cells"]:
        tags = cell["metadata"].get("tags")
        cell["metadata"] = {"tags": tags} if tags else {}
        if cell["cell_type"] != "code":
            continue
        outputs: list[Any] = []
        for output in cell["outputs"]:
            if outputs and output["output_type"] == "stream" and outputs[-1].get("name") == output["name"]:
                outputs[-1]["text"] += output["text"]
                continue
            data = output.get("data", {})
            if "<img" in data.get("text/html", ""):
                data.pop("image/svg+xml", None)
            if "image/png" in data:
                data["image/png"] = small_png(data["image/png"])
            outputs.append(output)
        cell["outputs"] = outputs
    return book


def small_png(text: str) -> str:
    """A PNG, in base64, of at most 256 colours: a third of the size. One that has a palette already stays as it is."""
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(text)))
    if image.mode == "P":
        return text
    small = io.BytesIO()
    image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def differences(committed: Book, executed: Book) -> list[str]:
    """What differs and matters: outputs, their kinds, and what they say; numbers may differ by TOLERANCE."""
    found = []
    for i, (old, new) in enumerate(zip_longest(committed["cells"], executed["cells"])):
        if old is None or new is None:
            found.append(f"cell {i}: only in one of the two")
        elif old["source"] != new["source"]:
            found.append(f"cell {i}: the source differs")
        else:
            found += [f"cell {i}: {words}" for words in _differing_outputs(old, new)]
    return found


def broken_rules(path: Path, book: Book) -> list[str]:
    """Which of the rules of tests/test_notebooks.py a committed notebook breaks."""
    cells = book["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    prose = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\(([^)#:]+)\)", prose)
    said = sorted({float(number) for number in _DECIMAL.findall(_ADDRESS.sub("", prose))} - _literals(code))
    ids = [cell.get("id") for cell in cells]
    broken = {
        "nbformat 4.5": (book["nbformat"], book["nbformat_minor"]) != (4, 5),
        f"the metadata is {METADATA}": book["metadata"] != METADATA,
        "the metadata of a cell are tags, and the only tag is 'varies'": any(
            cell["metadata"] not in ({}, {"tags": ["varies"]}) for cell in cells
        ),
        "every cell has an id of its own": len(set(ids)) != len(cells) or None in ids,
        "the first cell is a title": not re.match(r"# \S.*\n\n\S", cells[0]["source"]),
        "the second cell imports": not re.search(r"^(import|from) ", cells[1]["source"], re.MULTILINE),
        "the last cell says what to read next": cells[-1]["cell_type"] != "markdown" or "](" not in cells[-1]["source"],
        "every cell was executed, in order": [cell["execution_count"] for cell in code] != [*range(1, len(code) + 1)],
        "no errors, and nothing on stderr": any(
            output["output_type"] == "error" or output.get("name") == "stderr" for output in outputs
        ),
        "it asserts": not any(re.search(r"\bassert\b|np\.testing\.", cell["source"]) for cell in code),
        f"numbers in the text are literals in the code, asserted there: {said}": bool(said),
        "links lead somewhere": any(not (path.parent / link).exists() for link in links),
        "no path of a machine": _names_a_machine(book),
    }
    return [rule for rule, is_broken in broken.items() if is_broken]


def _differing_outputs(old: Book, new: Book) -> list[str]:
    kinds = [[_kind(output) for output in cell.get("outputs", ())] for cell in (old, new)]
    if kinds[0] != kinds[1]:
        return [f"the outputs committed are {kinds[0]}, those made {kinds[1]}"]
    if "varies" in old["metadata"].get("tags", ()):
        return []
    found = []
    for before, after in zip(old.get("outputs", ()), new.get("outputs", ()), strict=True):
        for kind, text in _texts(before).items():
            found += [f"{kind}: {words}" for words in _differing_text(text, _texts(after).get(kind, ""))]
    return found


def _differing_text(old: str, new: str) -> list[str]:
    """At most one difference, in words."""
    old_words, new_words = (_NUMBER.split(re.sub(r"\b0x[0-9a-f]+", "0x0", text)) for text in (old, new))
    for i, (a, b) in enumerate(zip_longest(old_words, new_words)):
        if a is None or b is None:
            return [f"{len(old_words) // 2} numbers are committed, {len(new_words) // 2} were made"]
        if not (_close(a, b) if i % 2 else a.split() == b.split()):
            return [f"{' '.join(a.split())!r} is committed, {' '.join(b.split())!r} was made"]
    return []


def _close(a: str, b: str) -> bool:
    """Integers: equal; others: within TOLERANCE, or one unit in the last place of three digits or more."""
    x, y = float(a), float(b)
    if x == y or re.fullmatch(r"[-+]?\d+", a):
        return x == y
    mantissa, _, exponent = a.lower().partition("e")
    digits = len(mantissa.replace(".", "").lstrip("+-0"))
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(x - y) <= max(TOLERANCE * max(abs(x), abs(y)), 1.01 * unit if digits >= 3 else 0)


def _kind(output: Book) -> str:
    if output["output_type"] == "stream":
        return str(output["name"])
    return f"{output['output_type']} {' '.join(sorted(output.get('data', {})))}"


def _texts(output: Book) -> dict[str, str]:
    """What an output says in words and numbers; pictures and pages are not read."""
    texts = {"text": output["text"]} if "text" in output else {}
    for kind, text in output.get("data", {}).items():
        if kind.startswith("text/") and not re.search(r"<(svg|script|iframe|img)\b", text):
            texts[kind] = re.sub(r"<[^>]*>", " ", text) if kind == "text/html" else text
    return texts


def _literals(code: list[Book]) -> set[float]:
    """Sizes of the numbers that stand in the code, also inside strings."""
    found = set()
    for cell in code:
        source = re.sub(r"^%.*$", "", cell["source"], flags=re.MULTILINE)
        for node in ast.walk(ast.parse(source)):
            value = getattr(node, "value", None)
            if isinstance(node, ast.Constant) and isinstance(value, (int, float)):
                found.add(abs(float(value)))
            elif isinstance(node, ast.Constant) and isinstance(value, str):
                found |= {float(number) for number in _DECIMAL.findall(value)}
    return found


def _names_a_machine(book: Book) -> bool:
    texts = [cell["source"] for cell in book["cells"]]
    for cell in book["cells"]:
        for output in cell.get("outputs", ()):
            texts += [text for kind, text in output.get("data", {}).items() if kind != "image/png"]
            texts.append(output.get("text", ""))
    return any(_MACHINE.search(text) for text in texts)


def _joined(text: Any) -> Any:
    return "".join(text) if isinstance(text, list) else text


def main(names: list[str]) -> None:
    """Execute the notebooks whose names start with one of these, all if there are none, and write them."""
    for path in PATHS:
        if not names or path.name.startswith(tuple(names)):
            committed, before = read(path), path.read_bytes()
            path.write_text(stored(execute(path)), encoding="utf-8", newline="\n")
            executed = read(path)
            changed = differences(committed, executed)
            same = "the same" if path.read_bytes() == before else "changed, in nothing that matters"
            broken = [f"rule broken: {rule}" for rule in broken_rules(path, executed)]
            print(f"{path.name}: {'changed' if changed else same}", *changed, *broken, sep="\n  ", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
