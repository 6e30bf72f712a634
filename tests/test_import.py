"""`import tinygrad_ce` is quick: it loads the engine, the ops and hardly anything else; every room when it is used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_ce as tg

SOURCE = Path(tg.__file__)
ROOMS = {"anomaly", "cli", "compare", "data", "graph", "nn", "optim", "results", "testing", "training", "viz"}
# What of the standard library NumPy does not load itself; each costs a millisecond or less.
FEW = {"copy", "dataclasses", "queue", "heapq", "string", "threading"}


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh process has loaded after `import numpy`, and what the code adds."""
    # dataclasses too: the `inspect` that they need is loaded by some versions of NumPy only
    program = f"import sys, numpy, dataclasses\nbefore = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    return loaded_by("import tinygrad_ce")


def test_hardly_any_module_is_loaded_beside_numpys(loaded: set[str]) -> None:
    tops = {name.partition(".")[0] for name in loaded}
    public = {name for name in tops if not name.startswith("_")}
    assert public - FEW == {"tinygrad_ce"} | (public & {"numpy"})


def test_the_rooms_are_loaded_when_they_are_used(loaded: set[str]) -> None:
    rooms = {name.split(".")[1] for name in loaded if name.startswith("tinygrad_ce.")}
    assert {"engine", "tensor", "ops", "functional"} <= rooms
    assert not rooms & ROOMS
    assert "tinygrad_ce.viz" in loaded_by("import tinygrad_ce; tinygrad_ce.draw")
    assert "tinygrad_ce.viz" not in loaded_by("import tinygrad_ce; tinygrad_ce.nn.Linear, tinygrad_ce.optim.SGD")


def test_every_public_name_is_there() -> None:
    assert set(tg.__all__) <= set(dir(tg))
    for name in tg.__all__:
        assert getattr(tg, name) is not None
    namespace: dict[str, object] = {}
    exec("from tinygrad_ce import *", namespace)
    assert set(tg.__all__) <= set(namespace)


def test_type_checkers_are_told_the_same() -> None:
    """What stands under TYPE_CHECKING are the names of `_WHEN_USED`, and the same objects."""
    told = {
        alias.name: node.module
        for block in ast.parse(SOURCE.read_text()).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(told) == {name for names in tg._WHEN_USED.values() for name in names}
    for name, module in told.items():
        if module == "tinygrad_ce":
            assert getattr(tg, name) is importlib.import_module(f"{module}.{name}")
        else:
            assert getattr(tg, name) is getattr(importlib.import_module(str(module)), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'tinygrad_ce' has no attribute 'drow'"):
        tg.drow  # type: ignore[attr-defined] # noqa: B018
