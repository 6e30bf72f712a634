"""`tinygrad-ce train`: what it learns from, what it writes, how it ends, and how it is refused."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import tinygrad_ce as tg
from tinygrad_ce.cli import main, recipe, sources

QUICK = ("--epochs", "2", "--model", "4-5-3")


@pytest.fixture(autouse=True)
def colourless(monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder to work in, as users do: messages then have short names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments, status=0):
    """What is printed by a command that ends with this status, and what it says on standard error."""
    assert main([*map(str, arguments)]) == status
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert bool(captured.err) == bool(status), captured.err
    return captured.err if status else captured.out


def train(capsys, *arguments, status=0):
    return run(capsys, "train", "--data", *arguments, status=status)


def refused(capsys, *arguments):
    """The line by which training is refused."""
    line = train(capsys, *arguments, status=2)
    assert line.count("\n") == 1
    return line.removeprefix("tinygrad-ce: ").rstrip("\n")


def form_of(path):
    """What a model file says of the data."""
    with safe_open(path, "np") as file:
        return json.loads(file.metadata()["classifier"])


def flowers(path, count=40, target="kind", names=("rose", "tulip"), seed=0):
    """A table of two kinds of flowers that are told apart by one column; the numbers and kinds that are in it."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 2, count)
    x = np.stack([rng.normal(50, 9, count), kinds * 4 + rng.normal(0, 0.3, count), np.full(count, 7)], axis=1).round(3)
    lines = [f"{a},{b},{c},{names[k]}" for (a, b, c), k in zip(x, kinds, strict=True)]
    path.write_text("\n".join([f"age,size,constant,{target}", *lines, ""]))
    return x, kinds


def epochs_in(output):
    return [int(line.split("/")[0]) for line in output.splitlines() if line.lstrip()[:1].isdigit() and "/" in line[:8]]


class TestWhatItLearns:
    def test_iris_as_it_comes(self, capsys, here):
        output = train(capsys, "iris", "--out", "m.safetensors")
        assert output.startswith("iris: 108 rows to learn from, 12 to validate, 30 to test\n")
        assert "MLP 4-128-3, relu: 1,027 parameters\n" in output
        assert epochs_in(output) == list(range(1, 31))
        assert "\x1b" not in output
        right = int(output.split("test accuracy: ")[1].split("(")[1].split()[0])
        assert right >= 28
        assert output.endswith("  tinygrad-ce predict m.safetensors iris\n  tinygrad-ce eval m.safetensors iris\n")
        assert {path.name for path in here.iterdir()} == {"m.safetensors"}

    @pytest.mark.parametrize(("name", "least"), [("moons", 0.98), ("spirals", 0.95), ("blobs", 0.99), ("xor", 0.98)])
    def test_sets_of_points_by_the_defaults(self, capsys, name, least):
        output = train(capsys, name, "--epochs", "20")
        assert float(output.split("test accuracy: ")[1].split("%")[0]) / 100 >= least
        assert "The model is not kept" in output

    def test_digits_by_a_model_of_ones_own(self, capsys):
        output = train(capsys, "digits", "--model", "64-32-10", "--epochs", "15", "--schedule", "cosine")
        assert "MLP 64-32-10, relu: 2,410 parameters" in output
        assert float(output.split("test accuracy: ")[1].split("%")[0]) >= 96

    def test_softmax_regression(self, capsys):
        train(capsys, "iris", "--model", "4-3", "--epochs", "1", "--out", "m.safetensors")
        assert {name: x.shape for name, x in load_file("m.safetensors").items()} == {
            "0.weight": (3, 4),
            "0.bias": (3,),
        }

    def test_the_same_seed_gives_the_same_model(self, capsys):
        def model(seed, out):
            train(capsys, "iris", *QUICK, "--dropout", "0.5", "--seed", seed, "--out", out)
            return load_file(out)

        one, same, other = model(3, "a.safetensors"), model(3, "b.safetensors"), model(4, "c.safetensors")
        assert all(np.array_equal(one[name], same[name]) for name in one)
        assert form_of("a.safetensors") == form_of("b.safetensors")
        assert not any(np.array_equal(one[name], other[name]) for name in one)
        assert form_of("a.safetensors")["mean"] != form_of("c.safetensors")["mean"]

    @pytest.mark.parametrize("name", recipe.OPTIMIZERS)
    @pytest.mark.parametrize("schedule", recipe.SCHEDULES)
    def test_optimizers_and_schedules_learn(self, capsys, name, schedule):
        output = train(capsys, "iris", "--epochs", "5", "--optimizer", name, "--schedule", schedule)
        losses = [float(line.split()[1]) for line in output.splitlines() if line.startswith("  ") and "/5 " in line]
        assert len(losses) == 5
        assert losses[-1] < 0.75 * losses[0]

    def test_the_options_are_heeded(self, capsys):
        def model(*options):
            train(capsys, "iris", *QUICK, *options, "--out", "m.safetensors")
            return tg.load_model("m.safetensors"), load_file("m.safetensors")

        plain, weights = model()
        for options in (
            ("--activation", "tanh"), ("--dropout", "0.5"), ("--lr", "0.05"), ("--batch", "8"), ("--optimizer", "sgd"),
            ("--weight-decay", "1"), ("--valid", "0.3"), ("--schedule", "one-cycle"), ("--seed", "1"),
        ):  # fmt: skip
            assert not np.array_equal(model(*options)[1]["0.weight"], weights["0.weight"]), options
        assert np.array_equal(model("--optimizer", "adam", "--batch", "32")[1]["0.weight"], weights["0.weight"])
        heavy, light = (model("--optimizer", "sgd", "--momentum", m)[1]["0.weight"] for m in ("0.99", "0"))
        assert not np.array_equal(heavy, light)
        shown, _ = model("--activation", "gelu", "--dropout", "0.25", "--norm", "layer")
        assert [type(layer).__name__ for layer in shown] == ["Linear", "LayerNorm", "GELU", "Dropout", "Linear"]
        assert [type(layer).__name__ for layer in plain] == ["Linear", "ReLU", "Linear"]

    def test_batch_norm_leaves_out_a_last_row_that_is_alone(self, capsys):
        output = train(capsys, "iris", *QUICK, "--norm", "batch", "--valid", "0", "--batch", "17")  # 120 = 7 * 17 + 1
        assert epochs_in(output) == [1, 2]

    def test_patience_ends_it_and_keeps_the_best(self, capsys):
        options = ("--lr", "0.1", "--epochs", "200", "--patience", "2", "--out", "m.safetensors")
        output = train(capsys, "iris", *options)
        ended = epochs_in(output)[-1]
        assert ended < 200
        best = ended - 2
        assert f"stopped: early: valid_loss has not improved since epoch {best}\n" in output
        train(capsys, "iris", *options[:2], "--epochs", best, "--out", "best.safetensors")
        kept, expected = load_file("m.safetensors"), load_file("best.safetensors")
        assert all(np.array_equal(kept[name], expected[name]) for name in expected)


class TestFiles:
    def test_a_table(self, capsys, here):
        x, kinds = flowers(here / "f.csv")
        output = train(capsys, "f.csv", "--epochs", "8", "--out", "m.safetensors")
        assert output.startswith(
            "f.csv: 29 rows to learn from, 3 to validate, 8 to test\n"
            "3 columns: age, size, constant\n"
            "target 'kind', 2 classes: rose, tulip\n"
        )
        assert "test accuracy: 100.0% (8 of 8)" in output
        assert output.endswith("  tinygrad-ce eval m.safetensors test.csv\n")
        form = form_of("m.safetensors")
        assert form["classes"] == ["rose", "tulip"]
        assert form["features"] == ["age", "size", "constant"]
        assert form["target"] == "kind"
        assert kinds.size == len(x)

    def test_the_scale_is_that_of_the_rows_that_were_learned_from(self, capsys, here):
        x, _ = flowers(here / "f.csv")
        train(capsys, "f.csv", "--epochs", "1", "--test", "0", "--valid", "0", "--out", "m.safetensors")
        form = form_of("m.safetensors")
        x = x.astype(np.float32).astype(np.float64)
        np.testing.assert_allclose(form["mean"], x.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(form["scale"], [*x.std(axis=0)[:2], 1.0], rtol=1e-12)

    def test_all_rows_may_be_learned_from(self, capsys, here):
        flowers(here / "f.csv")
        output = train(capsys, "f.csv", "--epochs", "1", "--test", "0", "--valid", "0")
        assert output.startswith("f.csv: 40 rows to learn from, none to test\n")
        assert "training accuracy: " in output
        assert "valid_loss" not in output
        output = train(capsys, "f.csv", "--epochs", "1", "--test", "0", "--valid", "0.25")
        assert output.startswith("f.csv: 30 rows to learn from, 10 to validate, none to test\n")
        assert "validation accuracy: " in output

    def test_the_target_by_name_and_whole_numbers_as_classes(self, capsys, here):
        lines = [f"{y},{y + i / 9:.3f},{i}" for i in range(20) for y in (3, 10)]
        (here / "n.tsv").write_text("\n".join(["group\tsize\tweight", *(line.replace(",", "\t") for line in lines)]))
        train(capsys, "n.tsv", "--target", "group", "--epochs", "1", "--out", "m.safetensors")
        form = form_of("m.safetensors")
        assert (form["target"], form["classes"], form["features"]) == ("group", ["3", "10"], ["size", "weight"])

    def test_images_in_an_npz_file_have_one_scale(self, capsys):
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 256, (30, 4, 5)).astype(np.uint8), np.arange(30) % 3
        np.savez("i.npz", inputs=x, targets=y, classes=np.array(["cat", "dog", "eel"]))
        output = train(capsys, "i.npz", "--epochs", "1", "--test", "0", "--valid", "0", "--out", "m.safetensors")
        assert "20 numbers a row\n3 classes: cat, dog, eel\nMLP 20-128-3" in output
        form = form_of("m.safetensors")
        np.testing.assert_allclose([form["mean"], form["scale"]], [[x.mean()], [x.std()]], rtol=1e-12)
        assert form["width"] == 20

    def test_bundled_images_are_taken_as_they_are(self, capsys):
        train(capsys, "digits", "--epochs", "1", "--out", "m.safetensors")
        assert form_of("m.safetensors")["mean"] == []

    def test_the_file_is_read_elsewhere(self, capsys):
        train(capsys, "iris", *QUICK, "--out", "m.safetensors")
        assert sorted(load_file("m.safetensors")) == ["0.bias", "0.weight", "2.bias", "2.weight"]
        assert repr(tg.load_model("m.safetensors")) == repr(tg.nn.MLP([4, 5, 3]))
        tg.load(tg.nn.MLP([4, 5, 3]), "m.safetensors")


class TestResume:
    OPTIONS = ("--model", "4-5-3", "--dropout", "0.3", "--patience", "50")

    def test_more_epochs_are_those_of_a_run_in_one_go(self, capsys):
        train(capsys, "iris", *self.OPTIONS, "--epochs", "6", "--out", "whole.safetensors")
        train(capsys, "iris", *self.OPTIONS, "--epochs", "3", "--checkpoint", "run.safetensors")
        output = train(
            capsys, "iris", *self.OPTIONS, "--epochs", "6", "--checkpoint", "run.safetensors", "--resume",
            "--out", "parts.safetensors",
        )  # fmt: skip
        assert epochs_in(output) == [4, 5, 6]
        whole, parts = load_file("whole.safetensors"), load_file("parts.safetensors")
        assert all(np.array_equal(whole[name], parts[name]) for name in whole)

    def test_after_an_interruption(self, capsys, monkeypatch):
        options = (*self.OPTIONS, "--epochs", "5", "--schedule", "cosine", "--checkpoint", "run.safetensors")
        train(capsys, "iris", *options, "--out", "whole.safetensors")
        as_it_is = recipe.State.on_epoch_end

        def interrupted(self, run):
            as_it_is(self, run)
            if run.epoch == 2:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(recipe.State, "on_epoch_end", interrupted)
            said = train(capsys, "iris", *options, "--out", "parts.safetensors", status=130)
        assert said == (
            "tinygrad-ce: interrupted in epoch 2 of 5; the model as it is was written to parts.safetensors; "
            "the same with --resume goes on after epoch 2\n"
        )
        assert load_file("parts.safetensors")
        assert epochs_in(train(capsys, "iris", *options, "--resume", "--out", "parts.safetensors")) == [3, 4, 5]
        whole, parts = load_file("whole.safetensors"), load_file("parts.safetensors")
        assert all(np.array_equal(whole[name], parts[name]) for name in whole)

    @pytest.mark.parametrize(
        ("change", "found"),
        [
            (("--lr", "0.1"), "--lr was 0.005, and now it is 0.1"),
            (("--optimizer", "sgd"), "--optimizer was adam, and now it is sgd"),
            (("--model", "4-6-3"), "--model was 4-5-3, and now it is 4-6-3"),
            (("--valid", "0.2"), "--valid was 0.1, and now it is 0.2"),
            (("--seed", "1"), "--seed was 0, and now it is 1"),
            (("--schedule", "step"), "--schedule was none, and now it is step"),
            (("--weight-decay", "0.5"), "--weight-decay was 0.0, and now it is 0.5"),
        ],
    )
    def test_with_other_options(self, capsys, here, change, found):
        train(capsys, "iris", *QUICK, "--checkpoint", "run.safetensors")
        before = (here / "run.safetensors").read_bytes()
        said = refused(capsys, "iris", *QUICK, "--checkpoint", "run.safetensors", "--resume", *change)
        option, _, rest = found.partition(" ")
        assert said == f"--resume: in run.safetensors {option} {rest}; give the same options"
        assert (here / "run.safetensors").read_bytes() == before

    def test_a_schedule_that_ends_has_its_number_of_epochs(self, capsys):
        options = ("--model", "4-5-3", "--checkpoint", "run.safetensors", "--schedule", "cosine", "--epochs")
        train(capsys, "iris", *options, "2")
        assert "--epochs was 2, and now it is 3" in refused(capsys, "iris", *options, "3", "--resume")

    def test_files_that_are_none(self, capsys, here):
        (here / "text.safetensors").write_text("hello")
        save_file({"a": np.ones(2)}, "other.safetensors")
        model = tg.nn.MLP([4, 5, 3])
        optimizer, checkpoint = tg.optim.SGD(model.parameters()), tg.training.Checkpoint("own.safetensors")
        tg.fit(model, tg.data.iris()[0], loss=tg.F.softmax_cross_entropy, epochs=1, optimizer=optimizer,
               callbacks=[checkpoint], progress=False)  # fmt: skip
        for name, said in (
            ("none", "there is no file 'none.safetensors'"),
            ("text", "'text.safetensors' is no safetensors file"),
            ("other", "other.safetensors is not the state of a run, which --checkpoint writes"),
            ("own", "own.safetensors is not of a run of `tinygrad-ce train`"),
        ):
            found = refused(capsys, "iris", *QUICK, "--checkpoint", f"{name}.safetensors", "--resume")
            assert found.startswith(f"--resume: {said}"), found


class TestEnds:
    def test_a_loss_that_is_nan(self, capsys, here):
        said = train(capsys, "iris", *QUICK, "--lr", "1e30", "--out", "m.safetensors", status=1)
        assert said.startswith("tinygrad-ce: the loss is nan at step 2 of epoch 1; ")
        assert said.endswith("; no model is written; try --lr 1e+29\n")
        assert said.count("\n") == 1
        assert list(here.iterdir()) == []

    def test_ctrl_c(self):
        """A real signal to a real process."""
        command = [sys.executable, "-W", "error", "-u", "-m", "tinygrad_ce", "train", "--data", "digits",
                   "--epochs", "100000", "--out", "m.safetensors"]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.lstrip().startswith("2/"):
                    break
            process.send_signal(signal.SIGINT)
            output, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert output.endswith("stopped: interrupted\n")
        assert "accuracy: " not in output
        assert said.startswith("tinygrad-ce: interrupted in epoch ")
        assert said.endswith("of 100000; the model as it is was written to m.safetensors\n")
        _, test = tg.data.digits()
        assert tg.evaluate(tg.load_model("m.safetensors"), test)["accuracy"] > 0.7

    def test_ctrl_c_before_the_first_step(self, capsys, here, monkeypatch):
        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr("tinygrad_ce.data.DataLoader.__iter__", interrupted)
        said = train(capsys, "iris", "--out", "m.safetensors", status=130)
        assert said == "tinygrad-ce: interrupted before the first step; nothing was written\n"
        assert list(here.iterdir()) == []

    def test_a_reader_that_has_seen_enough(self):
        command = [sys.executable, "-u", "-m", "tinygrad_ce", "train", "--data", "iris", "--epochs", "100000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("iris: ")
            process.stdout.close()
            assert process.stderr is not None
            assert process.stderr.read() == ""
            assert process.wait(60) == 141

    def test_a_state_that_cannot_be_written(self, capsys, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("tinygrad_ce.training.checkpoint.write", full)
        said = refused(capsys, "iris", *QUICK, "--checkpoint", "run.safetensors")
        assert said == "--checkpoint: cannot write to run.safetensors: No space left on device"

    def test_a_model_that_cannot_be_written(self, capsys, here, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.replace", full)
        said = refused(capsys, "iris", *QUICK, "--out", "m.safetensors")
        assert said == "--out: cannot write to m.safetensors: No space left on device"
        assert list(here.iterdir()) == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("nope",), f"there are no data 'nope'; expected {', '.join(sources.SETS)}, or a file that ends in .csv, "
                        ".tsv, .txt or .npz"),
            (("nope.csv",), "cannot read nope.csv: No such file or directory"),
            (("nope.npz",), "cannot read nope.npz: No such file or directory"),
            (("iris", "--model", "64-32-10"),
             "--model 64-32-10: iris has rows of 4 numbers and 3 classes; write --model 4-32-3"),
            (("iris", "--model", "4"),
             "argument --model: expected whole numbers with hyphens, such as 784-256-10, found '4'; "
             "see tinygrad-ce train --help"),
            (("iris", "--model", "4-999999999-999999999-3"), "--model 4-999999999-999999999-3: not enough memory"),
            (("iris", "--out", "no/m.safetensors"), "--out: cannot write to no/m.safetensors: there is no folder no"),
            (("iris", "--out", "m.pt"), "--out: m.pt: expected a name that ends in .safetensors"),
            (("iris", "--out", "."), "--out: . is a folder; name a file in it"),
            (("iris", "--checkpoint", "run"), "--checkpoint: run: expected a name that ends in .safetensors"),
            (("iris", "--out", "m.safetensors", "--checkpoint", "./m.safetensors"),
             "--out and --checkpoint are the same file; give each a name of its own"),
            (("iris", "--resume"), "--resume goes on from the state in --checkpoint: give that too"),
            (("iris", "--target", "species"),
             "--target is for files: leave it out with iris, which has a test part of its own"),
            (("iris", "--test", "0.5"),
             "--test is for files: leave it out with iris, which has a test part of its own"),
            (("iris", "--momentum", "0.9"), "--momentum is for sgd and rmsprop: leave it out with adam"),
            (("iris", "--patience", "3", "--valid", "0"),
             "--patience watches the validation loss: --valid 0 has no rows for it"),
            (("iris", "--valid", "0.999"), "--valid 0.999 of 120 rows of iris leaves none to learn from"),
            (("iris", "--norm", "batch", "--batch", "1"),
             "--norm batch needs two rows or more in a batch, found --batch 1"),
            (("iris", "--optimizer", "lbfgs"),
             "argument --optimizer: expected sgd, adam, adamw, rmsprop or adagrad, found 'lbfgs'; "
             "see tinygrad-ce train --help"),
            (("iris", "--lr", "0"), "argument --lr: expected a finite number above 0, found '0'; "
                                    "see tinygrad-ce train --help"),
            (("iris", "--lr", "nan"), "argument --lr: expected a finite number above 0, found 'nan'; "
                                      "see tinygrad-ce train --help"),
            (("iris", "--weight-decay", "-1"),
             "argument --weight-decay: expected a finite number of at least 0, found '-1'; "
             "see tinygrad-ce train --help"),
            (("iris", "--valid", "1"), "argument --valid: expected a number from 0 to below 1, such as 0.1, "
                                       "found '1'; see tinygrad-ce train --help"),
            (("iris", "--epochs", "0"), "argument --epochs: expected a whole number of at least 1, found '0'; "
                                        "see tinygrad-ce train --help"),
        ],
    )  # fmt: skip
    def test_in_one_line(self, capsys, here, arguments, said):
        assert refused(capsys, *arguments) == said
        assert list(here.iterdir()) == []

    def test_bad_rows_are_told_by_their_line(self, capsys, here):
        flowers(here / "f.csv", 8)
        lines = (here / "f.csv").read_text().splitlines()
        lines[2], lines[5] = "1,?,3,rose", "1,2,rose"
        (here / "f.csv").write_text("\n".join(lines))
        assert refused(capsys, "f.csv", "--out", "m.safetensors") == (
            "f.csv: 2 bad rows; mend them or take them out: line 3: 'size' is '?', not a number; "
            "line 6: 3 fields, expected 4"
        )
        assert not (here / "m.safetensors").exists()

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "t.csv: the file is empty; expected a header and rows of numbers"),
            ("a,b\n", "t.csv: there are no rows but the header; give each example a line"),
            ("a,price\n1,2.5\n2,3.25\n",
             "t.csv: column 'price' holds values to regress, such as 2.5, and train learns classes only: "
             "name another column by --target"),
            ("a,price\n" + "".join(f"{i},{i * 10}\n" for i in range(30)),
             "t.csv: column 'price' has 30 different values in 30 rows, too many for classes; "
             "name another column by --target"),
            ("a,b\n1,x\n2,x\n3,x\n", "t.csv: column 'b' has one class only, 'x'; name another column by --target"),
            ("a,label,class\n1,2,3\n", "t.csv: the target may be any of 'label', 'class'; write --target 'class'"),
        ],
    )  # fmt: skip
    def test_tables_that_cannot_be_learned(self, capsys, here, text, said):
        (here / "t.csv").write_text(text)
        assert refused(capsys, "t.csv") == said

    def test_arrays_that_cannot_be_learned(self, capsys, here):
        np.savez("a.npz", inputs=np.eye(4))
        assert refused(capsys, "a.npz").startswith("a.npz: expected arrays called inputs and targets, ")
        np.savez("a.npz", inputs=np.eye(4), targets=np.arange(4.0) / 8)
        assert refused(capsys, "a.npz") == (
            "a.npz: the array of targets holds values to regress, such as 0, and train learns classes only: "
            "give class names or whole numbers from 0 on"
        )
        np.savez("a.npz", inputs=np.eye(4), targets=[0, 1, 0, 1])
        assert refused(capsys, "a.npz", "--target", "y") == (
            "--target is for tables with columns: leave it out with a.npz"
        )
        (here / "a.npz").write_bytes(b"PK\x03\x04 and no more")
        assert refused(capsys, "a.npz").startswith("a.npz: cannot be read: ")

    def test_a_set_that_is_not_on_this_machine(self, capsys, here, monkeypatch):
        monkeypatch.setenv("TINYGRAD_CE_DATA", str(here))
        said = refused(capsys, "mnist")
        assert f"are in none of the folders {here}{os.sep}mnist." in said
        assert said.endswith("or add --download (12 MB)")

    def test_an_old_model_stays_if_training_is_refused(self, capsys, here):
        train(capsys, "iris", *QUICK, "--out", "m.safetensors")
        before = (here / "m.safetensors").read_bytes()
        train(capsys, "iris", *QUICK, "--lr", "1e30", "--out", "m.safetensors", status=1)
        refused(capsys, "iris", "--model", "5-3", "--out", "m.safetensors")
        assert (here / "m.safetensors").read_bytes() == before


@pytest.mark.parametrize("command", ["train", "predict", "eval"])
def test_help(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    assert ", ".join(sources.SETS) in shown
