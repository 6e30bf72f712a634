"""`tinygrad-ce draw`: what it draws, where it goes, and how it is refused."""

import io
import json
import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from tinygrad_ce.cli import draw, main
from tinygrad_ce.viz.render import RenderError

SMALL = ("--model", "4-8-3", "--batch", "5")

SCRIPT = """\
import numpy as np
import tinygrad_ce as tg
from tinygrad_ce import functional as F

print("training", __name__)
rng = np.random.default_rng(0)
model = tg.nn.MLP([4, 8, 3], generator=rng)
images = rng.normal(size=(5, 4)).astype(np.float32)
digits = np.array([0, 1, 2, 0, 1])
scores = model(images)
loss = F.softmax_cross_entropy(scores, digits)
weight = tg.Tensor([1.0, 2.0], requires_grad=True)
penalty = (weight * weight).sum()
both = [loss, penalty]
names = ["a", "b"]
"""


@pytest.fixture(autouse=True)
def colourless(monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def script(tmp_path):
    return written(tmp_path, SCRIPT)


def written(folder, text, name="train.py"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def run(capsys, *arguments):
    """What is printed, by a command that goes well."""
    status = main(["draw", *map(str, arguments)])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    assert "\x1b" not in captured.out
    return captured.out


def refused(capsys, *arguments):
    """The line by which the command is refused; nothing is on standard output."""
    assert main(["draw", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    *_, line = captured.err.splitlines()
    assert line.startswith("tinygrad-ce: ")
    assert "Traceback" not in captured.err
    return line.removeprefix("tinygrad-ce: ")


def column(table, heading):
    """A column of the text form, by what its heading starts with."""
    lines = table.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("id "))
    head, rows = lines[at], lines[at + 1 :]
    start = head.index(heading)
    return [row[start:].split("  ")[0].strip() for row in rows]


class TestModel:
    def test_a_table_of_the_network_and_its_loss(self, capsys):
        table = run(capsys, *SMALL)
        assert column(table, "op ") == [
            "input", "parameter", "parameter", "linear", "relu", "parameter", "parameter", "linear", "target",
            "softmax_cross_entropy",
        ]  # fmt: skip
        assert "(5, 4) f32" in table
        assert "(8, 4) f32" in table
        assert table.startswith("MLP: 4 ops")
        assert all(re.fullmatch(r"\d\.\de[-+]\d\d", g) for g in column(table, "gradient") if g)
        assert sum(map(bool, column(table, "gradient"))) == 8

    def test_the_unfused_loss(self, capsys):
        ops = column(run(capsys, *SMALL, "--loss", "unfused"), "op ")
        assert ops[-6:] == ["softmax", "log", "target", "take_along_axis", "mean", "neg"]

    def test_both_losses_side_by_side(self, capsys):
        table = run(capsys, *SMALL, "--loss", "both")
        assert "unfused" in table
        assert "softmax_cross_entropy" in table
        assert "take_along_axis" in table

    def test_a_fused_op_drawn_in_small_steps(self, capsys):
        table = run(capsys, *SMALL, "--expand", "softmax_cross_entropy", "--expand", "linear")
        ops = column(table, "op ")
        assert "log_softmax" in ops
        assert "matmul" in ops
        assert "softmax_cross_entropy" not in ops

    def test_the_options_are_heeded(self, capsys):
        table = run(capsys, *SMALL, "--activation", "tanh")
        assert "tanh" in column(table, "op ")
        assert run(capsys, *SMALL) == run(capsys, *SMALL, "--seed", "0", "--loss", "fused", "--activation", "relu")
        assert run(capsys, *SMALL) != run(capsys, *SMALL, "--seed", "1")
        assert "rankdir=LR" in run(capsys, *SMALL, "--direction", "LR", "--format", "dot")
        assert "rankdir=TB" in run(capsys, *SMALL, "--format", "dot")

    def test_modules_of_a_depth_are_one_card_each(self, capsys):
        table = run(capsys, *SMALL, "--depth", "1")
        assert column(table, "op ").count("module") == 2


class TestScript:
    def test_names_are_those_of_the_script(self, capsys, script):
        table = run(capsys, f"{script}:loss")
        assert column(table, "name")[:4] == ["images", "0.weight", "0.bias", ""]
        assert column(table, "name")[-3:] == ["scores", "digits", "loss"]
        assert "training" not in table

    def test_what_it_prints_goes_to_standard_error(self, capsys, script):
        assert main(["draw", f"{script}:loss"]) == 0
        assert capsys.readouterr().err == "training __main__\n"

    def test_several_outputs(self, capsys, script):
        table = run(capsys, f"{script}:both")
        assert table.startswith("MLP: 6 ops")
        assert {"loss", "penalty", "weight"} <= set(column(table, "name"))

    def test_a_leaf_has_the_name_of_its_variable(self, capsys, tmp_path):
        path = written(tmp_path, "import tinygrad_ce as tg\nbias = tg.Tensor([1.0], requires_grad=True)\n")
        assert run(capsys, f"{path}:bias").startswith("bias: nothing recorded: ")
        assert column(run(capsys, f"{path}:bias"), "name") == ["bias"]

    def test_a_tensor_that_the_model_has_no_part_in(self, capsys, script):
        table = run(capsys, f"{script}:penalty")
        assert column(table, "name") == ["weight", "", "penalty"]

    def test_a_tensor_of_several_elements_has_no_gradients(self, capsys, script):
        assert "gradient" not in run(capsys, f"{script}:scores").splitlines()[1]

    def test_after_backward(self, capsys, tmp_path):
        table = run(capsys, f"{written(tmp_path, SCRIPT + 'loss.backward()')}:loss")
        assert sum(map(bool, column(table, "gradient"))) == 4
        assert {"images", "digits", "loss"} <= set(column(table, "name"))

    def test_parameters_without_a_model_have_the_names_of_their_variables(self, capsys, tmp_path):
        text = """\
            import numpy as np, tinygrad_ce as tg
            w = tg.Tensor(np.ones((4, 2)), requires_grad=True)
            spare = tg.Tensor(np.ones(3), requires_grad=True)
            x, bias = np.ones((3, 4)), tg.Tensor(np.ones(2))
            z = ((x @ w + bias) ** 2).sum()
        """
        table = run(capsys, f"{written(tmp_path, re.sub('^ +', '', text, flags=re.MULTILINE))}:z")
        found = dict(zip(column(table, "name"), column(table, "op "), strict=True))
        assert found | {"": ""} == {"x": "input", "w": "parameter", "bias": "input", "z": "sum", "": ""}

    def test_the_only_module_with_parameters_gives_names(self, capsys, tmp_path):
        text = SCRIPT.replace("model", "net") + "criterion = tg.nn.SoftmaxCrossEntropy()\n"
        assert "0.weight" in column(run(capsys, f"{written(tmp_path, text)}:loss"), "name")

    def test_a_frozen_model_gives_names_too(self, capsys, tmp_path):
        frozen = "for p in model.parameters():\n    p.requires_grad = False\n"
        text = SCRIPT.replace("images =", frozen + "images =").replace("images)", "tg.Tensor(images, True))")
        assert "0.weight" in column(run(capsys, f"{written(tmp_path, text)}:loss"), "name")

    def test_a_picture(self, capsys, tmp_path):
        text = SCRIPT + "picture = tg.draw(loss, direction='LR')\n"
        path = written(tmp_path, text)
        assert "rankdir=LR" in run(capsys, f"{path}:picture", "--format", "dot")
        message = refused(capsys, f"{path}:picture", "--direction", "TB")
        assert message == f"--direction is for Tensors: {path}:picture is a Picture"

    def test_a_captured_graph(self, capsys, tmp_path):
        text = SCRIPT + "from tinygrad_ce.graph import capture\ngraph = capture(penalty)\n"
        assert run(capsys, f"{written(tmp_path, text)}:graph").startswith("sum: 2 ops")

    def test_it_runs_like_a_program(self, capsys, tmp_path):
        written(tmp_path, "number = 3.0\n", "beside.py")
        text = "import sys, beside, tinygrad_ce as tg\nprint(sys.argv)\nx = tg.Tensor(beside.number) * 1\n"
        path = written(tmp_path, text)
        before = sys.argv, list(sys.path), sys.modules["__main__"]
        assert main(["draw", f"{path}:x"]) == 0
        assert capsys.readouterr().err == f"{[str(path)]}\n"
        assert (sys.argv, sys.path, sys.modules["__main__"]) == before
        del sys.modules["beside"]

    def test_a_relative_path(self, capsys, script, monkeypatch):
        monkeypatch.chdir(script.parent)
        assert run(capsys, "train.py:loss") == run(capsys, "./train.py:loss") == run(capsys, f"{script}:loss")


class TestOutput:
    def test_every_format_by_its_suffix(self, capsys, tmp_path):
        for suffix in draw.SUFFIXES:
            path = tmp_path / f"graph{suffix}"
            assert run(capsys, *SMALL, "--out", path) == f"Written to {path}\n"
            content = path.read_bytes()
            if suffix == ".png":
                assert content.startswith(b"\x89PNG\r\n\x1a\n")
            elif suffix == ".pdf":
                assert content.startswith(b"%PDF-")
            elif suffix == ".svg":
                groups = [g.get("class", "") for g in ElementTree.fromstring(content).iter() if g.tag.endswith("}g")]
                assert sum(group.startswith("node") for group in groups) == 10
            elif suffix in (".html", ".htm"):
                assert content.startswith(b"<!doctype html>")
                assert json.dumps("softmax_cross_entropy").encode() in content
            elif suffix in (".dot", ".gv"):
                assert content.startswith(b"digraph")
            else:
                assert content.decode() == run(capsys, *SMALL)

    def test_the_format_where_the_suffix_says_nothing(self, capsys, tmp_path):
        run(capsys, *SMALL, "--out", tmp_path / "graph", "--format", "dot")
        assert (tmp_path / "graph").read_text().startswith("digraph")

    def test_standard_output(self, capfdbinary, monkeypatch):
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(open(1, "wb", closefd=False)))  # noqa: SIM115
        for form, start in (
            ("svg", b"<?xml"),
            ("png", b"\x89PNG"),
            ("dot", b"digraph"),
            ("txt", b"MLP"),
            ("html", b"<!"),
        ):
            for more in ((), ("--out", "-")):
                assert main(["draw", *SMALL, "--format", form, *more]) == 0
                assert capfdbinary.readouterr().out.startswith(start)

    @pytest.mark.parametrize("form", draw.BINARY)
    def test_no_bytes_onto_a_terminal(self, capsys, monkeypatch, form):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert refused(capsys, *SMALL, "--format", form).startswith(f"--format {form} is not for a terminal: ")

    def test_open(self, capsys, tmp_path, monkeypatch):
        opened = []
        monkeypatch.setattr("webbrowser.open", lambda url: not opened.append(url))
        run(capsys, *SMALL, "--open", "--out", tmp_path / "a b.svg")
        assert opened == [(tmp_path / "a b.svg").as_uri()]
        assert opened[0].endswith("a%20b.svg")

    def test_open_without_out_leaves_a_page_in_a_temporary_file(self, capsys, tmp_path, monkeypatch):
        opened = []
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        monkeypatch.setattr("webbrowser.open", lambda url: not opened.append(url))
        said = run(capsys, *SMALL, "--open")
        (page,) = tmp_path.glob("*/*")
        assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
        assert opened == [page.as_uri()]
        assert said == f"Written to {page}\n"

    def test_without_a_browser(self, capsys, tmp_path, monkeypatch):
        monkeypatch.setattr("webbrowser.open", lambda _: False)
        path = tmp_path / "graph.svg"
        message = refused(capsys, *SMALL, "--open", "--out", path)
        assert message == f"--open: there is no browser to show {path}, which is written"
        assert path.exists()

    def test_with_nothing_to_draw_with(self, capsys, monkeypatch, tmp_path):
        def missing():
            raise RenderError("no program to draw graphs was found; install Graphviz")

        monkeypatch.setattr("tinygrad_ce.viz.render.find_program", missing)
        path = tmp_path / "graph.svg"
        message = refused(capsys, *SMALL, "--out", path)
        assert message == "no program to draw graphs was found; install Graphviz; --format txt needs no program"
        assert not path.exists()
        assert run(capsys, *SMALL).startswith("MLP")


class TestRefused:
    @pytest.mark.parametrize("sizes", ["784-x-10", "784", "", "784--10", "784-0-10", "-784-10", "784,10", "7\u0668-3"])
    def test_sizes(self, capsys, sizes):
        expected = f"expected whole numbers with hyphens, such as 784-256-10, found {sizes!r}"
        assert expected in refused(capsys, f"--model={sizes}")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "say what to draw: --model 784-256-10, or FILE.py:NAME; see tinygrad-ce draw --help"),
            ([*SMALL, "train.py:loss"], "draw --model or train.py:loss, not both"),
            (["train.py:loss", "--batch", "4"], "--batch is for --model: leave it out with a script"),
            (["train.py:loss", "--seed", "0"], "--seed is for --model: leave it out with a script"),
            ([*SMALL, "--activation", "rleu"], "--activation: expected relu, leaky_relu, elu, "),
            ([*SMALL, "--loss", "fussed"], "--loss: expected fused, unfused or both, found 'fussed'"),
            ([*SMALL, "--batch", "0"], "--batch: expected a whole number of at least 1, found '0'"),
            ([*SMALL, "--depth", "0"], "--depth: expected a whole number of at least 1, found '0'"),
            ([*SMALL, "--direction", "up"], "--direction: expected TB or LR, found 'up'"),
            ([*SMALL, "--expand", "softmx"], "'softmx'"),
            ([*SMALL, "--format", "gif"], "--format: expected svg, png, pdf, html, txt or dot, found 'gif'"),
            ([*SMALL, "--out", "graph.gif"], "--out: graph.gif: expected a name that ends in .svg, "),
            ([*SMALL, "--out", "graph"], "--out: graph: expected a name that ends in .svg, "),
            ([*SMALL, "--out", "a.svg", "--format", "png"], "--out a.svg and --format png do not agree"),
            ([*SMALL, "--out", "no/a.svg"], "--out: cannot write to no/a.svg: there is no folder no"),
            ([*SMALL, "--out", ".", "--format", "svg"], "is a folder; name a file in it"),
            ([*SMALL, "--open", "--out", "-"], "--open needs a file: leave out --out -"),
            (["train.txt:loss"], "expected FILE.py:NAME, such as train.py:loss, found 'train.txt:loss'"),
            (["train"], "expected FILE.py:NAME, such as train.py:loss, found 'train'"),
            (["nix.py:loss"], "cannot read nix.py: there is no such file"),
        ],
    )
    def test_wrong_usage(self, capsys, tmp_path, monkeypatch, arguments, message):
        monkeypatch.chdir(tmp_path)
        assert message in refused(capsys, *arguments)
        assert list(tmp_path.iterdir()) == []

    def test_a_network_larger_than_memory(self, capsys):
        assert refused(capsys, "--model", "999999999-999999999") == "not enough memory"

    @pytest.mark.parametrize(
        ("name", "found"),
        [(":los", "it has no 'los'"), (":images", "images is of type ndarray"), (":names", "names is of type list"),
         ("", "say which of its variables to draw"), (":", "say which of its variables to draw")],
    )  # fmt: skip
    def test_a_name_that_is_no_tensor(self, capsys, script, name, found):
        message = refused(capsys, f"{script}{name}")
        assert message == f"{script}: {found}; Tensors and pictures in it: scores, loss, weight, penalty, both"

    def test_many_tensors_are_not_all_listed(self, capsys, tmp_path):
        names = [f"t{i:02}" for i in range(30)]
        path = written(tmp_path, "import tinygrad_ce as tg\n" + "".join(f"{n} = tg.Tensor(1.0)\n" for n in names))
        assert refused(capsys, f"{path}:x").endswith("t10, t11 and 18 more")

    def test_a_script_without_tensors(self, capsys, tmp_path):
        assert refused(capsys, f"{written(tmp_path, 'x = 1')}:y").endswith("; Tensors and pictures in it: none")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("x = 1\ny = x / 0\n", "line 2: ZeroDivisionError: division by zero"),
            ("def f():\n    raise ValueError('a\\nb')\n\nf()\n", "line 2: ValueError: a b"),
            ("import json\n\njson.loads('{')\n", "line 3: JSONDecodeError: "),
            ("x = (\n", "line 1: SyntaxError: '(' was never closed"),
            ("raise KeyError\n", "line 1: KeyError: KeyError"),
            ("open('no such file')\n", "line 1: FileNotFoundError: "),
            ("import sys\nsys.exit(3)\n", "line 2: the script left by sys.exit(3), and its variables are gone"),
            ("import sys\nsys.exit()\n", "line 2: the script left by sys.exit(), and its variables are gone"),
        ],
    )
    def test_a_script_that_fails(self, capsys, tmp_path, text, message):
        path = written(tmp_path, text)
        said = refused(capsys, f"{path}:loss")
        assert said.startswith(f"{path}, {message}")
        assert said.count(path.name) == 1

    def test_a_script_that_is_interrupted(self, capsys, tmp_path):
        path = written(tmp_path, "raise KeyboardInterrupt\n")
        assert main(["draw", f"{path}:loss"]) == 130
        assert capsys.readouterr().err == "tinygrad-ce: interrupted\n"

    def test_a_graph_that_cannot_be_differentiated(self, capsys, tmp_path):
        text = "import tinygrad_ce as tg\nx = tg.Tensor(1.0, requires_grad=True)\ny = x * 2\n"
        path = written(tmp_path, text + "def hook(g):\n    return {}['key']\n\ny.register_hook(hook)\n")
        assert refused(capsys, f"{path}:y") == f"{path}:y: KeyError: 'key'"

    def test_an_unreadable_script(self, capsys, tmp_path):
        path = tmp_path / "folder.py"
        path.mkdir()
        assert refused(capsys, f"{path}:x") == f"cannot read {path}: it is a folder"

    def test_a_file_that_cannot_be_written(self, capsys, tmp_path, monkeypatch):
        def denied(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("pathlib.Path.write_bytes", denied)
        path = tmp_path / "graph.dot"
        assert refused(capsys, *SMALL, "--out", path) == f"--out: cannot write to {path}: Permission denied"


def test_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["draw", "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    for option in ("--model", "--loss", "--batch", "--seed", "--format", "--out", "--open", "--expand", "FILE.py:NAME"):
        assert option in shown
