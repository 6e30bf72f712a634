"""`tinygrad-ce train`: how a run goes on, how it ends, and how it is refused."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tinygrad_ce as tg
from tests import command_line
from tests.command_line import deaf_no_more, empty_folder
from tests.test_cli_train import QUICK, epochs_in, flowers, train
from tinygrad_ce.cli import recipe, sources


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    return empty_folder(tmp_path, monkeypatch)


def refused(capsys, *arguments):
    return command_line.refused(capsys, "train", "--data", *arguments)


def ended(capsys, *arguments, status):
    """What is on standard error in the end; more may have been printed before."""
    return command_line.ended(capsys, "train", "--data", *arguments, status=status)[1]


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
            said = ended(capsys, "iris", *options, "--out", "parts.safetensors", status=130)
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
        said = ended(capsys, "iris", *QUICK, "--lr", "1e30", "--out", "m.safetensors", status=1)
        assert said.startswith("tinygrad-ce: the loss is nan at step 2 of epoch 1; ")
        assert said.endswith("; no model is written; try --lr 1e+29\n")
        assert said.count("\n") == 1
        assert list(here.iterdir()) == []

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
    def test_ctrl_c(self):
        """A real signal to a real process."""
        command = [sys.executable, "-W", "error", "-u", "-m", "tinygrad_ce", "train", "--data", "digits",
                   "--epochs", "100000", "--out", "m.safetensors"]  # fmt: skip
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, **pipes, text=True, preexec_fn=deaf_no_more) as process:
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
        said = ended(capsys, "iris", "--out", "m.safetensors", status=130)
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
        said = ended(capsys, "iris", *QUICK, "--checkpoint", "run.safetensors", status=2)
        assert said == "tinygrad-ce: --checkpoint: cannot write to run.safetensors: No space left on device\n"

    def test_a_model_that_cannot_be_written(self, capsys, here, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.replace", full)
        said = ended(capsys, "iris", *QUICK, "--out", "m.safetensors", status=2)
        assert said == "tinygrad-ce: --out: cannot write to m.safetensors: No space left on device\n"
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
             "--model: expected whole numbers with hyphens, such as 784-256-10, found '4'; "
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
             "--optimizer: expected sgd, adam, adamw, rmsprop or adagrad, found 'lbfgs'; "
             "see tinygrad-ce train --help"),
            (("iris", "--lr", "0"), "--lr: expected a finite number above 0, found '0'; "
                                    "see tinygrad-ce train --help"),
            (("iris", "--lr", "nan"), "--lr: expected a finite number above 0, found 'nan'; "
                                      "see tinygrad-ce train --help"),
            (("iris", "--weight-decay", "-1"),
             "--weight-decay: expected a finite number of at least 0, found '-1'; "
             "see tinygrad-ce train --help"),
            (("iris", "--valid", "1"), "--valid: expected a number from 0 to below 1, such as 0.1, "
                                       "found '1'; see tinygrad-ce train --help"),
            (("iris", "--epochs", "0"), "--epochs: expected a whole number of at least 1, found '0'; "
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
        ended(capsys, "iris", *QUICK, "--lr", "1e30", "--out", "m.safetensors", status=1)
        refused(capsys, "iris", "--model", "5-3", "--out", "m.safetensors")
        assert (here / "m.safetensors").read_bytes() == before
