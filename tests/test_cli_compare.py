"""`tinygrad-ce compare`: what it prints, what it writes, and its exit status."""

import json
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

from tinygrad_ce import functional as F
from tinygrad_ce.cli import compare, main
from tinygrad_ce.compare import CHAINS, Chain, compare_gradients
from tinygrad_ce.compare.chains import CHAINS as REGISTERED

ESCAPE = "\x1b"
SMALL = ("--batch", 4, "--classes", 3)


@pytest.fixture(autouse=True)
def colourless(monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def wrong(monkeypatch):
    """A fused loss that is wrong by a thousandth."""

    def build(logits, problem):
        return F.softmax_cross_entropy(logits * 1.001, problem.targets, reduction=problem.reduction)

    monkeypatch.setitem(REGISTERED, "fused", Chain("fused", build, agrees=True))


def run(capsys, *arguments):
    """The exit status and the output; nothing may be on standard error."""
    status = main(["compare", *map(str, arguments)])
    captured = capsys.readouterr()
    assert captured.err == ""
    assert ESCAPE not in captured.out
    return status, captured.out


def refused(capsys, *arguments):
    """The one line on standard error by which the command is refused."""
    assert main(["compare", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("tinygrad-ce: ")
    return line.removeprefix("tinygrad-ce: ")


def saved(folder, **arrays):
    """Arguments that name the arrays, saved as files."""
    arguments = []
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        arguments += [f"--{name}", folder / f"{name}.npy"]
    return arguments


class TestTables:
    def test_every_chain_has_its_line_and_its_verdict(self, capsys):
        status, out = run(capsys, *SMALL)
        assert status == 0
        assert out.isascii()
        assert max(map(len, out.splitlines())) <= 100
        assert out.startswith("4 x 3 float32 logits, mean over the rows; truth: ")
        for name in (*CHAINS, "p - y", "central differences"):
            assert re.search(rf"^{re.escape(name)}  +[\d-]", out, re.MULTILINE)
            assert f"- {name}: " in out
        assert out.endswith("The fused op and log-softmax + NLL agree with the truth.\n")

    def test_the_numbers_are_those_of_compare_gradients(self, capsys, tmp_path):
        z = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32) * 9
        y = np.array([0, 1, 2, 3, 0])
        status, out = run(capsys, *saved(tmp_path, logits=z, targets=y), "--json")
        assert status == 0
        data = json.loads(out)
        expected = compare_gradients(z, y, measure=False).to_json()
        assert data.pop("failing") == []
        for chain in data["chains"]:
            assert chain.pop("cost")["backward"] > 0
        assert data == expected

    def test_probability_targets(self, capsys, tmp_path):
        z = np.random.default_rng(0).normal(size=(2, 3, 4))
        q = np.full((2, 3, 4), 0.25)
        status, out = run(capsys, *saved(tmp_path, logits=z, targets=q))
        assert status == 0
        assert out.startswith("2 x 3 x 4 float64 logits")

    def test_random_logits_are_as_asked_for(self, capsys):
        options = ("--batch", 7, "--classes", 4, "--dtype", "float64", "--seed", 3)
        first, second, other = (
            json.loads(run(capsys, *options, *more, "--json")[1]) for more in ((), (), ("--scale", 2))
        )
        assert (first["shape"], first["dtype"]) == ([7, 4], "float64")
        assert first["loss"] == second["loss"] != other["loss"]

    def test_margin(self, capsys):
        _, out = run(capsys, *SMALL, "--margin", 25, "--json")
        lost = {chain["name"]: chain["lost"] for chain in json.loads(out)["chains"]}
        assert lost["fused"] == lost["log-softmax + NLL"] == 0
        assert lost["p - y"] == lost["softmax, log, pick"] == 4

    def test_in_a_terminal_there_is_colour(self, capsys, monkeypatch):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm-256color")
        assert main(["compare", *map(str, SMALL)]) == 0
        assert ESCAPE in capsys.readouterr().out


class TestPresets:
    @pytest.mark.parametrize(
        ("name", "chain", "words"),
        [
            ("overflow", "naive", "exp overflowed"),
            ("overflow", "clipped", "the gradient is exactly 0 in"),
            ("absorption", "naive", "exp overflowed"),
            ("masked", "softmax, log, pick", "softmax underflowed"),
            ("confident", "p - y", "p rounds to 1"),
            ("all-ignored", "softmax, log, pick", "every row is ignored"),
            ("half", "fused", "within 0.50 ULP"),
        ],
    )
    def test_each_shows_its_trouble_and_the_fused_op_has_none(self, capsys, name, chain, words):
        status, out = run(capsys, "--preset", name, "--json")
        assert status == 0
        chains = {entry["name"]: entry for entry in json.loads(out)["chains"]}
        assert words in chains[chain]["verdict"]
        for right in ("fused", "log-softmax + NLL"):
            assert chains[right]["beyond"] <= 1
            assert chains[right]["lost"] == chains[right]["nan"] == chains[right]["infinite"] == 0

    def test_all_are_in_the_help(self, capsys):
        with pytest.raises(SystemExit) as stop:
            main(["compare", "--help"])
        assert stop.value.code == 0
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 100
        for name, preset in compare.PRESETS.items():
            assert re.search(rf"^  {name} +{re.escape(preset.what)}$", text, re.MULTILINE)
        assert "exit status" in text


class TestSweep:
    @pytest.mark.parametrize("what", ["margins", "scales"])
    def test_table_and_json(self, capsys, what):
        status, out = run(capsys, "--sweep", what, "--batch", 3, "--classes", 4)
        assert status == 0
        assert f"{what} of random logits" in out
        assert re.search(r"^fused +float32 +\w+ +never +never ", out, re.MULTILINE)
        status, out = run(capsys, "--sweep", what, "--batch", 3, "--dtype", "float64", "--json")
        assert {point["dtype"] for point in json.loads(out)["points"]} == {"float64"}

    def test_it_makes_its_own_logits(self, capsys):
        assert refused(capsys, "--sweep", "--preset", "half") == "--sweep makes its own logits: leave out --preset"
        assert refused(capsys, "--sweep", "--scale", 2) == "--sweep makes its own logits: leave out --scale"
        assert refused(capsys, "--sweep", "all").startswith("--sweep: expected margins or scales, found 'all'")


class TestPlot:
    @pytest.mark.parametrize("arguments", [SMALL, ("--sweep", "--batch", 2)])
    def test_it_is_a_picture(self, capsys, tmp_path, arguments):
        path = tmp_path / "out.png"
        _, out = run(capsys, *arguments, "--plot", path)
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert out.endswith(f"Plot written to {path}\n")

    def test_beside_json_nothing_else_is_printed(self, capsys, tmp_path):
        _, out = run(capsys, *SMALL, "--json", "--plot", tmp_path / "out.svg")
        json.loads(out)
        assert (tmp_path / "out.svg").read_text().startswith("<?xml")

    def test_where_it_cannot_be_written(self, capsys, tmp_path, monkeypatch):
        assert "ends in .png, .svg or .pdf" in refused(capsys, "--plot", tmp_path / "out.txt")
        assert f"there is no folder {tmp_path / 'no'}" in refused(capsys, "--plot", tmp_path / "no" / "out.png")
        (tmp_path / "dir.png").mkdir()
        assert "is a folder; name a file in it" in refused(capsys, "--plot", tmp_path / "dir.png")
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        assert 'pip install "tinygrad_ce[plot]"' in refused(capsys, "--plot", tmp_path / "out.png")

    def test_the_disk_is_full(self, capsys, tmp_path, monkeypatch):
        def full(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
        path = tmp_path / "out.png"
        assert main(["compare", *map(str, SMALL), "--plot", str(path)]) == 2
        assert capsys.readouterr().err == f"tinygrad-ce: --plot: cannot write to {path}: No space left on device\n"


@pytest.mark.usefixtures("wrong")
class TestDisagreement:
    def test_a_wrong_fused_op_is_exit_status_1(self, capsys):
        status, out = run(capsys, *SMALL)
        assert status == 1
        assert out.endswith("Not in agreement with the truth: fused\n")

    def test_in_json_and_in_a_sweep(self, capsys):
        status, out = run(capsys, *SMALL, "--json")
        assert (status, json.loads(out)["failing"]) == (1, ["fused"])
        status, out = run(capsys, "--sweep", "--batch", 2)
        assert status == 1
        assert out.endswith("Not in agreement with the truth: fused\n")


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ["--preset", "nan"],
                "--preset: expected overflow, absorption, masked, confident, all-ignored or half, ",
            ),
            (["--dtype", "int32"], "--dtype: expected float16, float32 or float64, found 'int32'"),
            (["--batch", "0"], "--batch: expected a whole number of at least 1, found '0'"),
            (["--classes", "1"], "--classes: expected a whole number of at least 2, found '1'"),
            (["--scale", "-1"], "--scale: expected a finite number of at least 0, found '-1'"),
            (["--scale", "nan"], "--scale: expected a finite number of at least 0, found 'nan'"),
            (["--margin", "big"], "--margin: expected a finite number of at least 0, found 'big'"),
            (["--scale", "1e300"], "--scale 1e+300: the logits overflow float32; take less"),
            (["--margin", "1e6", "--dtype", "float16"], "--margin 1e+06: the logits overflow float16; take less"),
            (["--preset", "half", "--batch", "3"], "--batch is for random logits: leave it out with --preset"),
            (["--seed", "x"], "--seed: expected a whole number of at least 0, found 'x'"),
            (["--batch", "99999999999999"], "not enough memory; take fewer rows or classes"),
            (["--sweep", "--batch", "99999999999999"], "not enough memory; take fewer rows or classes"),
            (["--plot", "errors.jpg"], "--plot: errors.jpg: expected a name that ends in .png, .svg or .pdf"),
            (["--plot", "no/errors.png"], "--plot: cannot write to no/errors.png: there is no folder no"),
            (["extra"], "unrecognized arguments: extra; see tinygrad-ce compare --help"),
        ],
    )
    def test_wrong_usage(self, capsys, arguments, message):
        assert message in refused(capsys, *arguments)

    @pytest.mark.parametrize(
        ("logits", "targets", "message"),
        [
            (np.ones((2, 3)), np.zeros(3, int), "targets have shape (3,), expected (2,)"),
            (np.ones((2, 3)), np.array([0, 3]), "targets[1] = 3 is not a class; valid are 0 to 2"),
            (np.ones((2, 3)), np.array([0.0, 1.0]), "targets"),
            (np.ones((2, 3)), np.array([[0.5, 0.5, -1]] * 2), "targets"),
            (np.ones((2, 3)), np.array([[0.5, 0.5, np.nan]] * 2), "--targets: "),
            (np.ones((2, 3)), np.array(["a", "b"]), "expected numbers"),
            (np.array([[1.0, np.nan]]), np.array([0]), "holds nan at [0, 1] (1 in all)"),
            (np.array([[1.0, 2], [np.inf, np.inf]]), np.array([0, 0]), "holds inf at [1, 0] (2 in all)"),
            (np.ones((2, 3), int), np.array([0, 1]), "holds int64, expected float16, float32 or float64"),
            (np.ones((2, 3), np.longdouble), np.array([0, 1]), "expected float16, float32 or float64"),
            (np.ones((0, 3)), np.zeros(0, int), "have no rows to compare"),
            (np.ones((2, 0)), np.zeros(2, int), "no classes"),
            (np.float64(1), np.array(0), "class axis"),
            (np.ones((2, 3)), np.array([0, -1]), "if -1 marks rows to leave out, write -100 in their place"),
            (np.ones((2, 3)), np.array([None, 1]), "cannot be read: Object arrays"),
        ],
    )
    def test_bad_arrays(self, capsys, tmp_path, logits, targets, message):
        assert message in refused(capsys, *saved(tmp_path, logits=logits, targets=targets))

    def test_bad_files(self, capsys, tmp_path):
        good = tmp_path / "good.npy"
        np.save(good, np.ones((2, 3)))
        np.savez(tmp_path / "two.npz", a=np.ones(2), b=np.ones(2))
        for name, content in {
            "text.npy": b"hello",
            "empty.npy": b"",
            "cut.npy": good.read_bytes()[:-8],
            "head.npy": good.read_bytes()[:20],
            "zip.npy": b"PK\x03\x04 nothing more",
            "huge.npy": good.read_bytes().replace(b"(2, 3)", b"(2, 9" + b"9" * 12 + b")")[:128],
        }.items():
            path = tmp_path / name
            path.write_bytes(content)
            line = refused(capsys, "--logits", path, "--targets", good)
            assert line.startswith("--logits: ")
            assert str(path) in line
            assert "pickle" not in line
            if name in ("text.npy", "empty.npy"):
                assert line == f"--logits: {path} is no .npy file; write one with numpy.save"
        assert "holds several arrays" in refused(capsys, "--logits", tmp_path / "two.npz", "--targets", good)
        missing = refused(capsys, "--logits", tmp_path / "no.npy", "--targets", good)
        assert missing == f"--logits: cannot read {tmp_path / 'no.npy'}: No such file or directory"
        assert refused(capsys, "--logits", tmp_path, "--targets", good).startswith("--logits: cannot read ")

    def test_a_warning_is_a_line(self, capsys, tmp_path):
        files = saved(tmp_path, logits=np.ones((2, 3)), targets=np.ones((2, 3)))
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            assert main(["compare", *map(str, files)]) == 0
        said = capsys.readouterr().err
        assert said.startswith("tinygrad-ce: warning: softmax_cross_entropy: the targets are probabilities but do not")
        assert said.count("\n") == 1

    def test_sources_exclude_each_other(self, capsys, tmp_path):
        files = saved(tmp_path, logits=np.ones((1, 2)), targets=np.array([0]))
        assert "not both" in refused(capsys, *files, "--preset", "half")
        assert refused(capsys, *files[:2]) == "--targets is missing: --logits and --targets go together"
        assert refused(capsys, *files[2:]) == "--logits is missing: --logits and --targets go together"
        assert refused(capsys, *files, "--scale", 1) == "--scale is for random logits: leave it out with --logits"

    def test_as_users_see_it(self, tmp_path):
        command = [sys.executable, "-W", "error", "-m", "tinygrad_ce", "compare", "--preset", "none"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1
