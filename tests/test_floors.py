"""The floor rule: a module imports only from its own floor or from below, without cycles, and loads only NumPy."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tinygrad_ce"

FLOORS: tuple[tuple[str, ...], ...] = (
    ("mode", "methods", "registry", "arrays", "engine", "operators", "autograd"),
    ("tensor", "apply"),
    ("kernels", "ops", "functional"),
    ("results", "anomaly", "nn", "optim", "data", "graph", "viz", "compare", "testing", "training"),
    ("cli", "__main__"),
)
EVERYWHERE = {"numpy"}
COMPILED = {"kernels.compiled": {"numba", "llvmlite"}}  # itself loaded only when used
WHEN_USED = {"rich", "graphviz", "graphviz_pure", "safetensors", "matplotlib", "mpmath", "torch", "sklearn", "onnx"}


def floor(module: str) -> int | None:
    """The floor of a module named within the package; None for one that no floor lists."""
    room = module.split(".")[0]
    return next((i for i, rooms in enumerate(FLOORS) if room in rooms), None)


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package by its dotted name within it; "" is the package itself."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = list(path.relative_to(root).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.AST, name: str, is_package: bool, package: str) -> Iterator[tuple[str, bool, int]]:
    """Every import in a module, in functions and under TYPE_CHECKING too: full name, is it not run at load?, line."""
    later = [
        n
        for n in ast.walk(tree)
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))
        or (isinstance(n, ast.If) and ast.unparse(n.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"))
    ]
    inside = {id(n) for block in later for n in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in inside, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                own = [package, *(name.split(".") if name else [])]
                own = own[: len(own) - node.level + is_package]
                base = ".".join([*own, *([base] if base else [])])
            for alias in node.names:
                yield f"{base}.{alias.name}", id(node) in inside, node.lineno


def violations(root: Path) -> list[str]:
    """What breaks the rule, a line each."""
    package, known, problems = root.name, modules(root), []
    needs: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        if name and floor(name) is None:
            problems.append(f"{name}: on no floor; add it to FLOORS")
            continue
        for target, when_used, line in imports(ast.parse(path.read_text()), name, path.stem == "__init__", package):
            where = f"{name or package}:{line}"
            top = target.split(".")[0]
            if top != package:
                allowed = EVERYWHERE | COMPILED.get(name, set()) | (WHEN_USED if when_used else set())
                if top in sys.stdlib_module_names or top in allowed:
                    continue
                problems.append(f"{where}: imports {top}" + (" when it is loaded" if top in WHEN_USED else ""))
                continue
            inner = target.removeprefix(package).removeprefix(".")
            while inner and inner not in known:  # a name in a module
                inner = inner.rpartition(".")[0]
            if not name:  # the package itself may import all of it
                continue
            if not inner:
                if target.split(".")[1:] != ["__version__"]:
                    problems.append(f"{where}: imports the package itself")
            elif floor(inner) is None or floor(inner) > floor(name):  # type: ignore[operator]
                problems.append(f"{where}: floor {floor(name)} imports {inner} of floor {floor(inner)}")
            elif name.split(".")[0] == "kernels" and inner.split(".")[0] != "kernels":
                problems.append(f"{where}: kernels know NumPy alone, not {inner}")
            elif inner in COMPILED and not when_used:
                problems.append(f"{where}: imports {inner} when it is loaded")
            elif inner != name:
                needs[name].add(inner)
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        problems.append("cycle: " + " -> ".join(error.args[1]))
    return problems


def test_imports_point_downwards() -> None:
    assert violations(PACKAGE) == []


def test_every_module_is_looked_at() -> None:
    found = modules(PACKAGE)
    assert {"", *FLOORS[0], "tensor", "ops.elementwise", "testing", "testing.database"} <= set(found)
    seen = [imports(ast.parse(p.read_text()), name, p.stem == "__init__", "tinygrad_ce") for name, p in found.items()]
    assert sum(len(list(each)) for each in seen) > 100


def tree(root: Path, **files: str) -> Path:
    """A made-up package; `a__b="..."` is a/b.py."""
    package = root / "tinygrad_ce"
    for name, text in {"__init__": "from tinygrad_ce.cli import main", "cli": "", **files}.items():
        path = package.joinpath(*name.split("__")) if not name.startswith("__") else package / name
        path = path.with_name(path.name + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"mode": "from tinygrad_ce.tensor import Tensor", "tensor": ""}, "mode:1: floor 0 imports tensor of floor 1"),
        ({"tensor": "def f():\n    import tinygrad_ce.ops.shape", "ops__shape": ""},
         "tensor:2: floor 1 imports ops.shape of floor 2"),
        ({"engine": "if TYPE_CHECKING:\n    from .tensor import Tensor", "tensor": ""},
         "engine:2: floor 0 imports tensor of floor 1"),
        ({"ops__shape": "from ..nn import linear", "nn__linear": ""},
         "ops.shape:1: floor 2 imports nn.linear of floor 3"),
        ({"nn__linear": "from tinygrad_ce import optim", "optim": "from tinygrad_ce.nn import linear"}, "cycle: "),
        ({"registry": "from tinygrad_ce import engine", "engine": "import tinygrad_ce.registry"}, "cycle: "),
        ({"graph": "from tinygrad_ce import Tensor"}, "graph:1: imports the package itself"),
        ({"graph": "import tinygrad_ce as tg"}, "graph:1: imports the package itself"),
        ({"kernels__softmax": "from tinygrad_ce.registry import Op", "registry": ""}, "kernels know NumPy alone"),
        ({"viz": "import graphviz"}, "viz:1: imports graphviz when it is loaded"),
        ({"viz": "class A:\n    import rich.table"}, "viz:2: imports rich when it is loaded"),
        ({"data": "def f():\n    import pandas"}, "data:2: imports pandas"),
        ({"extra": ""}, "extra: on no floor"),
        ({"kernels__softmax": "import numba"}, "kernels.softmax:1: imports numba"),
        ({"nn": "from tinygrad_ce.kernels import compiled", "kernels__compiled": "import numba"},
         "nn:1: imports kernels.compiled when it is loaded"),
    ],
)  # fmt: skip
def test_the_checker_sees(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    found = violations(tree(tmp_path, **files))
    assert len(found) == 1
    assert problem in found[0]


@pytest.mark.parametrize(
    "files",
    [
        {"tensor": "import numpy as np\nfrom tinygrad_ce.mode import mode", "mode": "import threading"},
        {"viz": "def f():\n    import graphviz\nif TYPE_CHECKING:\n    from rich.table import Table"},
        {"graph": "", "nn": "from . import graph"},
        {"cli": "from tinygrad_ce import __version__", "kernels__special": "from tinygrad_ce.kernels import softmax",
         "kernels__softmax": "import numpy"},
    ],
)  # fmt: skip
def test_the_checker_allows(tmp_path: Path, files: dict[str, str]) -> None:
    assert violations(tree(tmp_path, **files)) == []
