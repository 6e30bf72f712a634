"""Which kernels compute: the variable, numba missing or broken, nothing loaded too early, compiled code kept."""

import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import tinygrad_ce
from tinygrad_ce.kernels import choice, softmax

PACKAGE = Path(tinygrad_ce.__file__).parent
needs_numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed")

USE = """
import sys
import tinygrad_ce as tg
assert "numba" not in sys.modules and "tinygrad_ce.kernels.compiled" not in sys.modules
loss = tg.functional.softmax_cross_entropy([[0.0, 40.0, 0.0]], [1])
print(loss.item(), "tinygrad_ce.kernels.compiled" in sys.modules)
"""
LOSS = "8.49670826227732e-18"  # 2 exp(-40), rounded to float32


def program(
    body: str, kernels: str | None, root: Path = PACKAGE.parent, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a program in which every warning is an error."""
    own = {name: value for name, value in os.environ.items() if name != choice.VARIABLE}
    own |= {"PYTHONPATH": str(root), **variables} | ({} if kernels is None else {choice.VARIABLE: kernels})
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(body)]
    return subprocess.run(command, env=own, capture_output=True, text=True, timeout=120, check=False, cwd=root)


@pytest.mark.parametrize(
    ("kernels", "compiled"),
    [
        pytest.param(None, True, marks=needs_numba),
        pytest.param("numba", True, marks=needs_numba),
        ("numpy", False),
    ],
)
def test_numba_where_it_is_installed_unless_the_variable_says_otherwise(kernels: str | None, compiled: bool) -> None:
    done = program(USE, kernels)
    assert done.stdout.split() == [LOSS, str(compiled)], done.stderr
    assert done.stderr == ""


BROKEN = {
    "missing": "sys.modules['numba'] = None",
    "too old": "numba = types.ModuleType('numba'); numba.__version__ = '0.1'; sys.modules['numba'] = numba",
    "broken": """
class Broken(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "numba":
            raise OSError("a library is missing")
sys.meta_path.insert(0, Broken())
""",
}
LATER = USE.replace("import sys\n", "").replace('"numba" not in sys.modules and ', "")


@pytest.mark.parametrize("trouble", list(BROKEN))
def test_without_numba_numpy_computes_and_nothing_is_said(trouble: str) -> None:
    done = program("import sys, types, importlib.abc\n" + BROKEN[trouble] + LATER, None)
    assert done.stdout.split() == [LOSS, "False"], done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("trouble", list(BROKEN))
def test_asked_for_but_not_there_is_one_clear_error(trouble: str) -> None:
    done = program("import sys, types, importlib.abc\n" + BROKEN[trouble] + LATER, "numba")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: TINYGRAD_CE_KERNELS=numba needs numba, which cannot be loaded: ")
    assert 'pip install "tinygrad_ce[fast]"' in last
    assert "During handling" not in done.stderr


@pytest.mark.parametrize("value", ["cuda", "Numba", "numpy "])
def test_a_wrong_value_is_one_clear_error_at_every_call(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.VARIABLE, value)
    chosen = choice._Chosen()
    for _ in range(2):
        with pytest.raises(ValueError, match="TINYGRAD_CE_KERNELS: expected 'numpy' or 'numba', found") as caught:
            _ = chosen.softmax
        assert repr(value) in str(caught.value)


def test_all_kernels_are_of_one_kind_and_nothing_else_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.VARIABLE, "numpy")
    chosen = choice._Chosen()
    assert vars(chosen) == {}
    assert chosen.softmax is softmax.softmax
    assert vars(chosen) == {name: getattr(softmax, name) for name in softmax.__all__}
    with pytest.raises(AttributeError, match="no kernel 'rows'"):
        _ = chosen.rows


@needs_numba
def test_the_two_kinds_have_the_same_functions() -> None:
    import inspect

    from tinygrad_ce.kernels import compiled

    assert compiled.__all__ == softmax.__all__
    for name in softmax.__all__:
        assert inspect.signature(getattr(compiled, name)) == inspect.signature(getattr(softmax, name))


LOADED = """
import numpy as np
from tinygrad_ce.kernels import compiled
compiled.softmax(np.zeros((2, 3), np.float32))
kernel = compiled._kernel(compiled._softmax_kernel, np.dtype(np.float32))
print(sum(kernel.stats.cache_hits.values()), kernel.stats.cache_path)
"""


def copy(where: Path) -> Path:
    """The package in another place, without what has been compiled."""
    shutil.copytree(PACKAGE, where / "tinygrad_ce", ignore=shutil.ignore_patterns("__pycache__"))
    return where


@needs_numba
def test_what_is_compiled_is_kept_for_the_next_run(tmp_path: Path) -> None:
    root, kept = copy(tmp_path / "root"), tmp_path / "kept"
    for hits in ("0", "1"):
        done = program(LOADED, "numba", root, NUMBA_CACHE_DIR=str(kept))
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert done.stdout.split()[0] == hits
        assert done.stdout.split()[1].startswith(str(kept))


@needs_numba
def test_with_no_place_to_keep_it_the_kernels_work(tmp_path: Path) -> None:
    root = copy(tmp_path / "root")
    blocked = tmp_path / "blocked"  # a file where a directory would have to be: nothing can be written there
    blocked.write_text("")
    (root / "tinygrad_ce" / "kernels" / "__pycache__").write_text("")
    home = {name: str(blocked) for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "USERPROFILE", "NUMBA_CACHE_DIR")}
    done = program(LOADED, "numba", root, PYTHONDONTWRITEBYTECODE="1", **home)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.split()[0] == "0"
