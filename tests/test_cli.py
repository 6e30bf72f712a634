"""The command line: in this process through main(), and as users run it."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from safetensors.numpy import load_file

import tinygrad_ce as tg
from tests.command_line import deaf_no_more
from tinygrad_ce import nn
from tinygrad_ce.cli import main, ops, quickstart
from tinygrad_ce.data import digits
from tinygrad_ce.registry import FusedOp, Op, register, registry

ESCAPE = "\x1b"
PICTURES = {f"{name}.{form}" for name in ("graph", "graph-unfused") for form in ("svg", "png")}
FILES = PICTURES | {"loss.png", "weights.safetensors", "report.json"}
COLOURS = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR")  # what rich goes by


@pytest.fixture(autouse=True)
def colourless(monkeypatch):
    for name in COLOURS:
        monkeypatch.delenv(name, raising=False)


def command(*arguments, **options):
    """Run `python -m tinygrad_ce` as users do."""
    environment = {key: value for key, value in os.environ.items() if key not in COLOURS}
    environment |= options.pop("env", {})
    run = [sys.executable, "-W", "error", "-m", "tinygrad_ce", *map(str, arguments)]
    return subprocess.run(run, capture_output=True, text=True, check=False, env=environment, **options)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """One whole run of the quick start: what it printed, and its folder."""
    folder = tmp_path_factory.mktemp("quickstart") / "new" / "out"
    done = command("quickstart", "--out", folder, env={"OPENBLAS_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done, folder


def report_of(folder):
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


class TestQuickstart:
    def test_it_prints_plain_lines(self, quick):
        done, folder = quick
        assert done.stderr == ""
        assert done.stdout.isascii()
        assert ESCAPE not in done.stdout
        assert "\r" not in done.stdout
        lines = done.stdout.splitlines()
        assert 5 <= sum(line.startswith("   epoch ") for line in lines) <= 12
        assert all(len(line) <= 80 for line in lines if str(folder) not in line)

    def test_the_files_are_what_they_say(self, quick):
        done, folder = quick
        assert {path.name for path in folder.iterdir()} == FILES
        for name in FILES:
            assert str(folder / name) in done.stdout
            if name.endswith(".png"):
                assert (folder / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
            if name.endswith(".svg"):
                assert ElementTree.parse(folder / name).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        fused, unfused = ((folder / name).read_text() for name in ("graph.svg", "graph-unfused.svg"))
        assert "softmax_cross_entropy" in fused
        assert "softmax_cross_entropy" not in unfused
        assert "take_along_axis" in unfused

    def test_accuracy_is_that_of_the_weights(self, quick):
        done, folder = quick
        model = nn.MLP(quickstart.SIZES)
        model.load_state_dict(load_file(folder / "weights.safetensors"))
        _, test = digits()
        accuracy = float((model(test.inputs).numpy().argmax(axis=1) == test.targets).mean())
        assert accuracy >= 0.95
        assert report_of(folder)["test_accuracy"] == accuracy
        assert f"test accuracy: {accuracy:.1%}" in done.stdout

    def test_the_report_holds_the_comparison(self, quick):
        done, folder = quick
        report = report_of(folder)
        chains = report["comparison"]["chains"]
        assert [chain["name"] for chain in chains] == list(quickstart.SPELLINGS)
        assert [chain["ops"] for chain in chains] == [1, 2, 5]
        assert all(chain["parameter_error"]["name"] for chain in chains)
        assert chains[0]["lost"] == chains[1]["lost"] == 0
        assert chains[0]["gradient_error"]["ulps"] < 1
        assert len(report["training"]["loss"]) == report["epochs"] == 30
        assert report["training"]["loss"][0] > report["training"]["loss"][-1]
        surest = report["surest"]
        for i, exact in enumerate(surest["exact"]):
            assert surest["fused"][i] == pytest.approx(exact, rel=1e-6)
        lost = sum(x == 0 for x in surest["softmax, log, pick"])
        assert lost == done.stdout.count("(lost)")
        assert f"{lost} of these 5 gradients are lost" in done.stdout

    def test_the_same_seed_gives_the_same_files_on_any_number_of_threads(self, quick, tmp_path):
        _, folder = quick
        assert command("quickstart", "--seed", 0, "--out", tmp_path, env={"OPENBLAS_NUM_THREADS": "2"}).returncode == 0
        for name in FILES:
            assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name

    def test_another_seed_gives_another_network(self, quick, tmp_path, capsys):
        _, folder = quick
        assert main(["quickstart", "--seed", "1", "--out", str(tmp_path)]) == 0
        assert ESCAPE not in capsys.readouterr().out
        assert report_of(tmp_path)["test_accuracy"] >= 0.95
        one, other = (load_file(path / "weights.safetensors") for path in (folder, tmp_path))
        assert not any(np.array_equal(one[name], other[name]) for name in one)

    def test_epochs_batch_and_out_are_heeded(self, tmp_path, capsys):
        assert main(["quickstart", "--epochs", "2", "--batch", "100", "--out", str(tmp_path / "a")]) == 0
        report = report_of(tmp_path / "a")
        assert len(report["training"]["loss"]) == 2
        assert report["comparison"]["shape"] == [100, 10]
        assert "epoch 2 of 2" in capsys.readouterr().out

    def test_a_training_that_blows_up_is_reported_not_raised(self, tmp_path, capsys):
        assert main(["quickstart", "--epochs", "2", "--batch", "1", "--out", str(tmp_path)]) == 0
        assert "Traceback" not in capsys.readouterr().err
        report_of(tmp_path)

    def test_in_a_terminal_there_is_a_bar_and_colour(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm-256color")
        assert main(["quickstart", "--epochs", "2", "--out", str(tmp_path)]) == 0
        out = capsys.readouterr().out
        assert ESCAPE in out
        assert "\u2501" in out
        assert "epoch 1 of 2" not in out

    def test_without_matplotlib_one_line_says_how_to_get_it(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        assert main(["quickstart", "--epochs", "1", "--out", str(tmp_path)]) == 0
        assert 'loss curve left out: pip install "tinygrad_ce[plot]"' in capsys.readouterr().out
        assert {path.name for path in tmp_path.iterdir()} == FILES - {"loss.png"}

    def test_without_graphviz_the_source_and_the_text_are_written(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("TINYGRAD_CE_DOT", "no-such-program")
        assert main(["quickstart", "--epochs", "1", "--out", str(tmp_path)]) == 0
        assert capsys.readouterr().out.count("left out") == 1
        names = {path.name for path in tmp_path.iterdir()}
        assert names >= {"graph.dot", "graph.txt", "graph-unfused.dot", "graph-unfused.txt"}
        assert not any(name.endswith(".svg") for name in names)
        assert (tmp_path / "graph.dot").read_text().startswith("digraph")

    def test_nothing_heavy_is_imported_before_it_is_needed(self):
        code = (
            "import sys, tinygrad_ce.cli; print([m for m in ('rich', 'matplotlib', 'safetensors') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


def refused(capsys, *arguments):
    """The one line on standard error by which a command is refused."""
    assert main(list(map(str, arguments))) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("tinygrad-ce: ")
    assert ESCAPE not in line
    return line


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["quickstart", "--seed", "-1"], "--seed: expected a whole number of at least 0, found '-1'"),
            (["quickstart", "--seed", "one"], "--seed: expected a whole number of at least 0, found 'one'"),
            (["quickstart", "--epochs", "0"], "--epochs: expected a whole number of at least 1, found '0'"),
            (["quickstart", "--batch", "1.5"], "--batch: expected a whole number of at least 1, found '1.5'"),
            (["quickstart", "--batch"], "--batch: expected one argument; see tinygrad-ce quickstart --help"),
            (
                ["quickstart", "--epoch", "3"],
                "unrecognized arguments: --epoch 3; did you mean --epochs?; see ",
            ),
            (["quickstart", "more"], "unrecognized arguments: more; see tinygrad-ce quickstart --help"),
            (["ops", "--jsno=1"], "unrecognized arguments: --jsno=1; did you mean --json?"),
            (["--colour"], "unrecognized arguments: --colour; see tinygrad-ce --help"),
            (["quick"], "invalid choice: 'quick' (choose from"),
            (
                ["ops", "softmax_crossentropy"],
                "no op 'softmax_crossentropy' is registered; did you mean softmax_cross_",
            ),
            (["ops", "nosuch"], "no op 'nosuch' is registered; `tinygrad-ce ops` lists them"),
            (["ops", "!"], "no op '!' is registered; `tinygrad-ce ops` lists them"),
        ],
    )
    def test_wrong_usage(self, capsys, tmp_path, monkeypatch, arguments, message):
        monkeypatch.chdir(tmp_path)
        assert message in refused(capsys, *arguments)
        assert list(tmp_path.iterdir()) == []

    def test_out_is_a_file(self, capsys, tmp_path):
        file = tmp_path / "file"
        file.write_text("mine")
        assert "is a file; name a folder" in refused(capsys, "quickstart", "--out", file)
        assert "cannot write to" in refused(capsys, "quickstart", "--out", file / "below")
        assert file.read_text() == "mine"

    def test_out_is_not_writable(self, capsys, tmp_path, monkeypatch):
        def denied(**_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(tempfile, "TemporaryFile", denied)
        assert refused(capsys, "quickstart", "--out", tmp_path).endswith("Permission denied")

    def test_the_disk_is_full(self, capsys, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(quickstart, "_plot", full)
        assert main(["quickstart", "--epochs", "1", "--out", str(tmp_path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line == f"tinygrad-ce: --out: cannot write to {tmp_path}: No space left on device"

    def test_as_users_see_it(self):
        done = command("quickstart", "--epochs", "0")
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1
        assert "Traceback" not in done.stderr

    def test_interrupted(self, capsys, monkeypatch, tmp_path):
        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(quickstart, "train", interrupt)
        assert main(["quickstart", "--out", str(tmp_path)]) == 130
        assert capsys.readouterr().err == "tinygrad-ce: interrupted\n"

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
    def test_control_c(self, tmp_path):
        run = [sys.executable, "-m", "tinygrad_ce", "quickstart", "--epochs", "1000000", "--out", tmp_path]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(run, **pipes, text=True, preexec_fn=deaf_no_more) as process:
            try:
                assert any("epoch" in line for line in process.stdout)  # it is at work
                process.send_signal(signal.SIGINT)
                _, error = process.communicate(timeout=30)
            finally:
                process.kill()
        assert (process.returncode, error) == (130, "tinygrad-ce: interrupted\n")


class TestHelp:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--help"], ["examples:", "tinygrad-ce quickstart", "exit status"]),
            (["quickstart", "--help"], ["--seed", "--epochs", "--batch", "--out", "report.json", "(default: 30)"]),
            (["ops", "--help"], ["NAME", "--json", "upstream gradient"]),
        ],
    )
    def test_help(self, capsys, arguments, words):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
        text = capsys.readouterr().out
        assert text.startswith("usage: tinygrad-ce")
        assert max(map(len, text.splitlines())) <= 100
        assert [word for word in words if word not in text] == []

    def test_version(self, capsys):
        with pytest.raises(SystemExit):
            main(["--version"])
        assert capsys.readouterr().out == f"tinygrad-ce {tg.__version__}\n"

    def test_no_command_prints_the_help(self, capsys):
        assert main([]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("usage: tinygrad-ce")


class TestOps:
    def test_the_table_lists_every_op_on_a_line(self, capsys):
        assert main(["ops"]) == 0
        out = capsys.readouterr().out
        assert ESCAPE not in out
        head, rule, *rows = out.splitlines()
        assert head.split() == ["name", "class", "inputs", "fused", "orders", "formula", "vjp"]
        assert set(rule) == {"-", " "}
        starts = [match.start() for match in re.finditer("-+", rule)]
        cells = [[row[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)] for row in rows]
        assert [cell[0] for cell in cells] == sorted(registry)
        for name, kind, inputs, fused, orders, formula, vjp in cells:
            op = registry[name]
            assert (kind, formula, vjp) == (op.__name__, op.formula, op.vjp_formula)
            assert re.findall(r"\w+", inputs) == list(op.inputs)
            assert (fused == "fused") == issubclass(op, FusedOp)
            assert orders == "any"

    @pytest.mark.parametrize("width", [80, 100, 200])
    def test_in_a_terminal_it_fits(self, capsys, monkeypatch, width):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(width))
        assert main(["ops"]) == 0
        out = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
        assert max(map(len, out.splitlines())) <= width
        assert [name for name in registry if not re.search(rf"^ +{name}\b", out, re.MULTILINE)] == []

    @pytest.mark.parametrize("name", sorted(registry))
    def test_one_op_whole(self, capsys, name):
        assert main(["ops", name]) == 0
        out = capsys.readouterr().out
        op = registry[name]
        assert out.splitlines()[0] == name
        for text in (op.formula, op.vjp_formula, op.latex, f"{op.__module__}.{op.__name__}", *op.inputs):
            assert text
            assert text in out
        assert "Kept for the backward pass" in out
        assert ("In small ops" in out) == issubclass(op, FusedOp)
        example = out.partition("\nExample\n")[2]
        assert re.search(r"^  g = ", example, re.MULTILINE)
        assert re.search(r"^  d\w+", example, re.MULTILINE)

    def test_the_example_is_right(self, capsys):
        assert main(["ops", "square"]) == 0
        example = capsys.readouterr().out.partition("\nExample\n")[2]
        values = dict(re.findall(r"^  (\w+) = (.*(?:\n {4,}.*)*)", example, re.MULTILINE))
        x, z, g, dx = (np.array(json.loads(_as_json(values[key]))) for key in ("x", "z", "g", "dx"))
        assert np.allclose(z, x * x, rtol=0, atol=5e-5)
        assert np.allclose(dx, 2 * x * g, rtol=0, atol=5e-4)
        assert len(np.unique(g)) > 1

    def test_derivation_and_decomposition(self, capsys):
        main(["ops", "softmax_cross_entropy"])
        out = capsys.readouterr().out
        assert "log1p(s')" in out
        assert "def decomposition(" in out
        assert ">>>" not in out

    def test_json(self, capsys):
        assert main(["ops", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [entry["name"] for entry in found] == sorted(registry)
        assert all(entry["summary"] and entry["formula"] for entry in found)
        assert main(["ops", "max", "--json"]) == 0
        entry = json.loads(capsys.readouterr().out)
        assert (entry["name"], entry["metadata"]) == ("max", {"axis": "None", "keepdims": "False"})

    @pytest.mark.usefixtures("own_registry")
    def test_a_user_s_own_op_is_listed_and_its_docstring_run(self, capsys):
        @register
        class Cube(Op):
            """z = x ** 3

            A third power.

            >>> sum([1, 2, 3])
            7
            """

            formula = "z = x ** 3"
            vjps = (lambda g, _z, x: 3 * x**2 * g,)

            @staticmethod
            def forward(x):
                return x**3

        @register
        class Step(Op):
            @staticmethod
            def forward(x):
                return np.heaviside(x, 0)

        assert main(["ops"]) == 0
        assert re.search(r"^cube +Cube +x +- +any +z = x \*\* 3$", capsys.readouterr().out, re.MULTILINE)
        assert main(["ops", "cube"]) == 0
        out = capsys.readouterr().out
        assert "A third power." in out
        assert "for the gradient of x: x" in out
        assert out.endswith(">>> sum([1, 2, 3])\n  6\n")  # what it gives now, not what the docstring says
        assert ops.orders(Step) == "none"
        assert main(["ops", "step"]) == 0
        assert "nothing: it has no gradient" in capsys.readouterr().out

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE")
    def test_a_reader_that_has_seen_enough(self):
        run = [sys.executable, "-m", "tinygrad_ce", "ops"]
        with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            process.stdout.close()
            error = process.stderr.read()
        assert error == ""


def _as_json(text):
    return re.sub(r"(\d)\.(?!\d)", r"\1.0", text)
