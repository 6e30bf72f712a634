"""What pip, a type checker and the README promise."""

import importlib
import importlib.metadata
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import tinygrad_ce

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def readme_command(heading):
    """Run the script by which CI reads its command off the README."""
    script = ROOT / ".ci" / "readme_command.py"
    return subprocess.run([sys.executable, script, heading], capture_output=True, text=True, check=False)


def test_the_version_is_the_installed_one():
    assert importlib.metadata.version("tinygrad_ce") == tinygrad_ce.__version__


def test_the_command_line_is_installed():
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="tinygrad-ce")
    assert callable(command.load())


MODULES = [
    info.name for info in pkgutil.walk_packages(tinygrad_ce.__path__, "tinygrad_ce.") if "__main__" not in info.name
]


OPTIONAL = {"tinygrad_ce.kernels.compiled": "numba"}


@pytest.mark.parametrize("name", ["tinygrad_ce", *MODULES])
def test_every_module_imports_and_every_name_in_all_exists(name):
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])
    module = importlib.import_module(name)
    names = getattr(module, "__all__", [])
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(module, name)] == []


def test_the_top_level_says_what_is_public():
    assert tinygrad_ce.__all__


@pytest.mark.parametrize(
    "path", ["py.typed", "data/digits.npz", "data/fashion_sample.npz", "data/iris.csv", "data/NOTICE.txt"]
)
def test_data_files_are_shipped(path):
    assert files("tinygrad_ce").joinpath(path).is_file()


@pytest.mark.parametrize(
    ("heading", "ending"),
    [("Run it", "tinygrad-ce quickstart"), ("Test it", "python -m pytest")],
)
def test_the_readme_has_the_command_which_ci_runs(heading, ending):
    found = readme_command(heading)
    assert found.returncode == 0, found.stderr
    (command,) = found.stdout.splitlines()
    assert command in README.splitlines()
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert command.endswith(f"&& .venv/bin/{ending}")


def test_the_readme_has_those_two_commands_and_no_third():
    assert README.count("```sh") == 2


def test_a_heading_the_readme_lacks_fails_loudly():
    found = readme_command("Not in the README")
    assert found.returncode != 0
    assert "no heading '## Not in the README'" in found.stderr
    found = readme_command("Licence")
    assert found.returncode != 0
    assert "must hold one sh block of one command" in found.stderr


def test_every_extra_in_the_readme_exists():
    named = {extra for group in re.findall(r"\.\[([\w,-]+)\]", README) for extra in group.split(",")}
    assert {"plot", "test"} <= named
    assert named <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("system", ["linux", "darwin", "win32", "freebsd14", "android", "emscripten"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "arm64", "AMD64", "ARM64", "x86", "armv7l", "riscv64"])
def test_graphviz_pure_is_asked_for_only_where_it_has_a_wheel(system, machine):
    """It has no source distribution: asked for anywhere else, pip would fail to install the whole package."""
    wheels = {
        *(("linux", "x86_64"), ("linux", "aarch64")),
        *(("darwin", "x86_64"), ("darwin", "arm64")),
        *(("win32", "AMD64"), ("win32", "ARM64")),
    }
    (pure,) = (Requirement(line) for line in PROJECT["dependencies"] if line.startswith("graphviz-pure"))
    assert pure.marker.evaluate({"sys_platform": system, "platform_machine": machine}) == ((system, machine) in wheels)
