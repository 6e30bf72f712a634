"""The README's examples and commands run and give what it says; its figures are those of files that commands write."""

import importlib.util
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"`(tinygrad-ce(?: [^`]+)?)`", README)))


def section(title):
    """The text under a heading."""
    return re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)[1]


def table(text):
    """The lines of a Markdown table below its head, each as its cells."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"][2:]


@pytest.fixture
def shown(own_registry):  # noqa: ARG001
    """Everything the README's Python blocks define, run in order."""
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        exec(block, names)
    return names


def test_the_examples_do_what_they_say(shown):
    np.testing.assert_allclose(shown["z"].grad.numpy(), np.exp(-40.0) * np.array([[-1, 1]]), rtol=1e-15)
    assert repr(shown["z"].grad) in README
    assert shown["picture"].graph.ops == 4
    assert "<svg" in shown["picture"].svg()
    assert len(shown["history"]) == 5
    assert shown["scores"]["accuracy"] > 0.9
    x = tg.Tensor([2.0], requires_grad=True)
    tg.functional.cube(x).sum().backward()
    assert x.grad.item() == 12


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_run(command, tmp_path, monkeypatch, capsys):
    rows = [f"{x},{y},{'ab'[x > y]}" for x in range(6) for y in range(6)]
    (tmp_path / "file.csv").write_text("\n".join(["x,y,class", *rows]))
    monkeypatch.chdir(tmp_path)
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    arguments = shlex.split(command)[1:]
    assert main(arguments) in (None, 0)
    assert capsys.readouterr().out
    assert bool(opened) == ("--open" in arguments)


def test_there_are_commands_to_run():
    assert {command.split()[1] for command in COMMANDS if " " in command} >= {"draw", "train", "compare", "ops"}


def test_the_spellings_of_the_loss_are_as_compare_finds_them(capsys):
    assert main(["compare", "--preset", "confident", "--json"]) == 0
    found = {}
    for chain in json.loads(capsys.readouterr().out)["chains"]:
        loss = "" if chain["loss"] is None else f"{chain['loss'] + 0:.4g}"
        ops, kept = ("" if chain[key] is None else str(chain[key]) for key in ("ops", "kept_bytes"))
        found[chain["name"]] = [loss, str(chain["lost"]), ops, kept]
    shown = {name: cells for name, *cells in table(section("Fused against unfused").partition("RESULTS.md")[0])}
    assert len(shown) > 5
    if importlib.util.find_spec("torch") is None:
        assert shown.pop("torch")[1] == "8"
    assert {name: found[name] for name in shown} == shown


@pytest.mark.parametrize(
    ("text", "file"),
    [
        (section("Fused against unfused").partition("RESULTS.md")[2], "RESULTS.md"),
        (section("Speed against the others"), "RESULTS.md"),
        (section("Beside other libraries"), "FEATURES.md"),
    ],
    ids=["fused", "speed", "features"],
)
def test_every_other_figure_is_one_that_a_command_wrote(text, file):
    written = table((ROOT / "benchmarks" / file).read_text(encoding="utf-8"))
    rows = table(text)
    assert len(rows) > 3
    assert [row for row in rows if row not in written] == []


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m (benchmarks\S*?)[ `]", README))))
def test_the_benchmarks_are_there(module):
    assert importlib.util.find_spec(module)


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 8
    assert [link for link in links if "://" not in link and not (ROOT / link.partition("#")[0]).exists()] == []


def test_it_is_read_in_a_few_minutes():
    assert len(README.splitlines()) < 250
