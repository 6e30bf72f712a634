"""`tinygrad-ce predict` and `tinygrad-ce eval`: what a trained model says of new rows, and how they are refused."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import tinygrad_ce as tg
from tests.command_line import empty_folder, refused, run
from tinygrad_ce.cli import main

NAMES = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
CLASSES = ("setosa", "versicolor", "virginica")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    return empty_folder(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with a model of irises from a table, and one of digits."""
    folder = tmp_path_factory.mktemp("models")
    train, _ = tg.data.iris()
    write(folder / "iris.csv", [*NAMES, "species"], labelled(train))
    iris, digits = folder / "iris.safetensors", folder / "digits.safetensors"
    assert main(["train", "--data", str(folder / "iris.csv"), "--out", str(iris)]) == 0
    assert main(["train", "--data", "digits", "--epochs", "3", "--out", str(digits)]) == 0
    return folder


@pytest.fixture
def model(models):
    return models / "iris.safetensors"


def labelled(dataset):
    return [[*row.tolist(), dataset.classes[y]] for row, y in zip(dataset.inputs, dataset.targets, strict=True)]


def write(path, head, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([*([head] if head else []), *rows])
    return path


def by_hand(path, x):
    """The probabilities by NumPy alone, in float64, from what is in the file."""
    weights = {name: array.astype(np.float64) for name, array in load_file(path).items()}
    with safe_open(path, "np") as file:
        form = json.loads(file.metadata()["classifier"])
    z = (np.asarray(x, np.float64) - (form["mean"] or 0)) / (form["scale"] or 1)
    z = np.maximum(z @ weights["0.weight"].T + weights["0.bias"], 0) @ weights["2.weight"].T + weights["2.bias"]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def table(text):
    return list(csv.reader(io.StringIO(text)))


class TestPredict:
    def test_probabilities_are_those_of_the_formula(self, capsys, model):
        _, test = tg.data.iris()
        head, *rows = table(run(capsys, "predict", model, "iris", "--proba"))
        assert head == ["predicted", *CLASSES]
        expected = by_hand(model, test.inputs)
        found = np.array([[float(cell) for cell in row[1:]] for row in rows])
        np.testing.assert_allclose(found, expected, rtol=2e-5)
        assert [row[0] for row in rows] == [CLASSES[i] for i in expected.argmax(axis=1)]
        assert np.mean(expected.argmax(axis=1) == test.targets) > 0.9

    def test_probabilities_have_all_their_digits(self, capsys, model):
        _, *rows = table(run(capsys, "predict", model, "iris", "--proba"))
        found = np.array([row[1:] for row in rows], dtype=np.float32)
        assert np.abs(found.sum(axis=1, dtype=np.float64) - 1).max() < 3e-7
        assert all(np.float32(cell).astype(str) == cell for row in rows for cell in row[1:])

    def test_columns_are_found_by_their_names(self, capsys, model, here):
        _, test = tg.data.iris()
        expected = run(capsys, "predict", model, "iris")
        shuffled = [[i, x[2], x[0], "note", x[3], x[1]] for i, x in enumerate(test.inputs.tolist())]
        path = write(here / "new.csv", ["number", NAMES[2], NAMES[0], "remark", NAMES[3], NAMES[1]], shuffled)
        assert run(capsys, "predict", model, path) == expected

    def test_the_target_column_makes_no_difference(self, capsys, model, here):
        _, test = tg.data.iris()
        with_target = write(here / "with.csv", [*NAMES, "species"], labelled(test))
        strange = write(here / "strange.csv", [*NAMES, "species"], [[*row[:4], "?"] for row in labelled(test)])
        expected = run(capsys, "predict", model, "iris")
        assert run(capsys, "predict", model, with_target) == expected
        assert run(capsys, "predict", model, strange) == expected

    def test_a_table_without_a_header(self, capsys, here):
        train, test = tg.data.iris()
        write(here / "train.csv", None, labelled(train))
        write(here / "new.csv", None, test.inputs.tolist())
        run(capsys, "train", "--data", "train.csv", "--epochs", "20", "--out", "m.safetensors")
        rows = table(run(capsys, "predict", "m.safetensors", "new.csv"))[1:]
        assert np.mean([name == CLASSES[y] for (name,), y in zip(rows, test.targets, strict=True)]) > 0.9

    def test_arrays_with_and_without_targets(self, capsys, models):
        _, test = tg.data.digits()
        expected = run(capsys, "predict", models / "digits.safetensors", "digits")
        np.savez("both.npz", x=test.inputs, y=test.targets)
        np.savez("alone.npz", inputs=test.inputs.reshape(-1, 8, 8))
        for name in ("both.npz", "alone.npz"):
            assert run(capsys, "predict", models / "digits.safetensors", name) == expected
        assert table(expected)[0] == ["predicted"]
        assert len(table(expected)) == 361

    def test_to_a_file(self, capsys, model, here):
        expected = run(capsys, "predict", model, "iris", "--proba")
        assert run(capsys, "predict", model, "iris", "--proba", "--out", "p.csv") == "Written to p.csv: 30 rows\n"
        assert (here / "p.csv").read_bytes() == expected.encode()

    def test_class_names_are_quoted_where_csv_needs_it(self, capsys, here):
        rows = [[i % 2 + i / 99, ('a "b", c', "Ä")[i % 2]] for i in range(40)]
        write(here / "t.csv", ["size", "kind"], rows)
        run(capsys, "train", "--data", "t.csv", "--epochs", "9", "--test", "0", "--out", "m.safetensors")
        found = table(run(capsys, "predict", "m.safetensors", "t.csv", "--proba"))
        assert found[0] == ["predicted", 'a "b", c', "Ä"]
        assert [row[0] for row in found[1:]] == [name for _, name in rows]

    def test_an_output_that_cannot_hold_a_class_name(self, capsys, here):
        write(here / "t.csv", ["size", "kind"], [[i % 2, "BÄ"[i % 2]] for i in range(20)])
        run(capsys, "train", "--data", "t.csv", "--epochs", "1", "--out", "m.safetensors")
        command = [sys.executable, "-m", "tinygrad_ce", "predict", "m.safetensors", "t.csv", "--proba"]
        environment = os.environ | {"PYTHONIOENCODING": "ascii"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 2
        assert done.stderr == (
            "tinygrad-ce: cannot write the output: ascii has no '\\xc4'; set PYTHONIOENCODING=utf-8\n"
        )

    def test_a_model_saved_in_python(self, capsys):
        np.savez("x.npz", inputs=np.zeros((3, 64), np.float32))
        tg.save(tg.nn.Sequential(tg.nn.Linear(64, 10), tg.nn.Softmax()), "own.safetensors")
        assert table(run(capsys, "predict", "own.safetensors", "x.npz", "--proba"))[0][1:] == [*"0123456789"]

    def test_a_reader_that_has_seen_enough(self, models):
        command = [sys.executable, "-u", "-m", "tinygrad_ce", "predict", models / "digits.safetensors", "many.npz",
                   "--proba"]  # fmt: skip
        np.savez("many.npz", inputs=np.zeros((5_000, 64), np.float32))
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == f"predicted,{','.join('0123456789')}\n"
            process.stdout.close()
            assert process.stderr.read() == ""
            assert process.wait(60) == 141


class TestEval:
    def test_it_measures_what_the_formula_gives(self, capsys, model):
        _, test = tg.data.iris()
        p = by_hand(model, test.inputs)
        right = int((p.argmax(axis=1) == test.targets).sum())
        loss = -np.log(p[np.arange(30), test.targets]).mean()
        output = run(capsys, "eval", model, "iris")
        assert output.startswith(f"accuracy: {right / 30:.1%} ({right} of 30)\nloss: {loss:.4f}\n\n")
        report = tg.classification_report(test.targets, p.argmax(axis=1), CLASSES)
        assert output.endswith(f"{report}\n")

    def test_training_and_eval_agree(self, capsys, here):
        trained = run(capsys, "train", "--data", "iris", "--epochs", "3", "--out", "m.safetensors")
        line = next(line for line in trained.splitlines() if line.startswith("test accuracy: "))
        assert run(capsys, "eval", "m.safetensors", "iris").splitlines()[0] == line.removeprefix("test ")
        assert {path.name for path in here.iterdir()} == {"m.safetensors"}

    def test_confusion_and_calibration(self, capsys, model):
        _, test = tg.data.iris()
        p = by_hand(model, test.inputs)
        output = run(capsys, "eval", model, "iris", "--confusion", "--calibration")
        matrix = tg.confusion_matrix(test.targets, p.argmax(axis=1), CLASSES)
        assert f"\n\n{matrix!r}\n\nexpected calibration error " in output
        error = tg.calibration(p, test.targets).expected_error
        assert f"expected calibration error {error:.4f}, " in output

    def test_tables_and_arrays_of_the_same_rows(self, capsys, model, here):
        _, test = tg.data.iris()
        expected = run(capsys, "eval", model, "iris")
        write(here / "test.csv", [*NAMES, "species"], labelled(test))
        write(here / "other.csv", ["kind", *NAMES[::-1]], [row[::-1] for row in labelled(test)])
        np.savez("names.npz", inputs=test.inputs, targets=np.array(CLASSES)[test.targets])
        other = np.array(["virginica", "setosa", "versicolor"])  # the same names as other numbers
        np.savez("numbers.npz", x=test.inputs, y=(test.targets + 1) % 3, classes=other)
        for arguments in (["test.csv"], ["other.csv", "--target", "kind"], ["names.npz"], ["numbers.npz"]):
            assert run(capsys, "eval", model, *arguments) == expected, arguments

    def test_some_of_the_classes_are_enough(self, capsys, model, here):
        _, test = tg.data.iris()
        write(here / "few.csv", [*NAMES, "species"], labelled(test)[-10:])
        output = run(capsys, "eval", model, "few.csv")
        assert "(10 of 10)" in output or "(9 of 10)" in output
        assert output.count("\nsetosa ") == 1

    def test_models_saved_in_python_by_what_they_give(self, capsys):
        layer = tg.nn.Linear(64, 10, generator=np.random.default_rng(0))
        found = []
        for i, last in enumerate(([], [tg.nn.Softmax()], [tg.nn.LogSoftmax()])):
            tg.save(tg.nn.Sequential(layer, *last), f"{i}.safetensors")
            found.append(run(capsys, "eval", f"{i}.safetensors", "digits"))
        assert found[0] == found[1] == found[2]


class TestRefusals:
    @pytest.mark.parametrize("command", ["predict", "eval"])
    def test_what_is_no_model(self, capsys, model, here, command):
        (here / "empty.safetensors").write_bytes(b"")
        (here / "text.safetensors").write_text("hello")
        (here / "cut.safetensors").write_bytes(model.read_bytes()[:-9])
        save_file({"a": np.ones(2)}, "weights.safetensors")
        (here / "zip.pt").write_bytes(b"\x80\x02}q\x00.")
        for name, said in (
            ("none.safetensors", "there is no file 'none.safetensors'"),
            (".", "'.' is a folder; expected the name of a file"),
            ("empty.safetensors", "'empty.safetensors' is empty; expected a safetensors file"),
            ("text.safetensors", "'text.safetensors' is no safetensors file"),
            ("cut.safetensors", "'cut.safetensors' is cut off: it has "),
            ("weights.safetensors", "'weights.safetensors' holds no architecture: "),
            ("zip.pt", "'zip.pt' is a pickle of PyTorch, "),
        ):
            assert refused(capsys, command, name, "iris").startswith(said)

    @pytest.mark.parametrize(
        "damage",
        [
            "", "[]", "{}", '{"data": 1}', '{"data": "a", "width": 4, "classes": ["x", "y", "z"], "more": 1}',
            '{"data": "a", "width": 4, "classes": ["x", 2, "z"]}', '{"data": "a", "width": 4, "classes": []}',
            '{"data": "a", "width": 4, "classes": ["x", "y", "z"], "mean": [1], "scale": [0]}',
            '{"data": "a", "width": 4, "classes": ["x", "y", "z"], "mean": [1, 2], "scale": [1, 2]}',
            '{"data": "a", "width": 4, "classes": ["x", "y", "z"], "mean": [NaN], "scale": [1]}',
            '{"data": "a", "width": 4, "classes": ["x", "y", "z"], "mean": 1, "scale": 1}',
        ],
    )  # fmt: skip
    def test_a_damaged_description_of_the_data(self, capsys, model, damage):
        with safe_open(model, "np") as file:
            metadata = file.metadata()
        save_file(load_file(model), "m.safetensors", {**metadata, "classifier": damage})
        assert refused(capsys, "predict", "m.safetensors", "iris").startswith(
            "m.safetensors: what it says of its data is damaged: "
        )

    def test_a_description_of_other_classes_than_the_model_has(self, capsys, model):
        with safe_open(model, "np") as file:
            metadata = file.metadata()
        form = json.loads(metadata["classifier"]) | {"classes": ["a", "b"]}
        save_file(load_file(model), "m.safetensors", {**metadata, "classifier": json.dumps(form)})
        assert refused(capsys, "predict", "m.safetensors", "iris") == (
            "m.safetensors has scores for 3 classes, but there are 2: a, b"
        )

    def test_the_state_of_a_run(self, capsys):
        run(capsys, "train", "--data", "iris", "--epochs", "1", "--checkpoint", "run.safetensors")
        assert refused(capsys, "predict", "run.safetensors", "iris") == (
            "run.safetensors is the state of a training run; give the model, which train --out writes"
        )

    def test_other_data_than_the_model_was_trained_on(self, capsys, models, model, here):
        (here / "two.csv").write_text("a,sepal width (cm)\n1,2\n")
        (here / "none.csv").write_text("1,2,3,4\n")
        (here / "digits.csv").write_text("a,b\n1,2\n")
        np.savez("wide.npz", inputs=np.ones((2, 5)))
        np.savez("other.npz", a=np.ones(3), b=np.ones(3))
        columns = ", ".join(map(repr, NAMES))
        digits = models / "digits.safetensors"
        lacks = f"{NAMES[0]!r}, {NAMES[2]!r}, {NAMES[3]!r}"
        for path, data, said in (
            (model, "two.csv", f"two.csv: it lacks {lacks} of the 4 columns that the model was trained on; it has 'a', "
                               "'sepal width (cm)'"),
            (model, "none.csv", f"none.csv: it lacks {columns} of the 4 columns that the model was trained on; it has "
                                "'column 1', 'column 2', 'column 3', 'column 4', as its first line is not a header"),
            (model, "digits", f"digits has rows of 64 numbers; {model} was trained on {models / 'iris.csv'}, with rows "
                              "of 4"),
            (model, "wide.npz", f"wide.npz has rows of 5 numbers; {model} was trained on {models / 'iris.csv'}, with "
                                "rows of 4"),
            (model, "other.npz", "other.npz: expected an array called one of inputs, x, X, x_train, found a, b"),
            (digits, "digits.csv", f"digits.csv cannot be used: {digits} takes rows without column names; give an NPZ "
                                   "file"),
        ):  # fmt: skip
            assert refused(capsys, "predict", path, data) == said

    def test_files_that_cannot_be_read(self, capsys, model, here):
        (here / "empty.csv").write_text("")
        (here / "head.csv").write_text(",".join(NAMES) + "\n")
        (here / "bad.csv").write_text(",".join(NAMES) + "\n1,2,3,4\n1,,3,4\n1,2,3\n")
        for data, said in (
            ("none.csv", "cannot read none.csv: No such file or directory"),
            ("empty.csv", "empty.csv: the file is empty; expected a header and rows of numbers"),
            ("head.csv", "head.csv: there are no rows but the header; give each example a line"),
            ("bad.csv", "bad.csv: 2 bad rows; mend them or take them out: line 3: 'sepal width (cm)' is empty; "
                        "line 4: 3 fields, expected 4"),
        ):  # fmt: skip
            assert refused(capsys, "predict", model, data, "--out", "p.csv") == said
        assert refused(capsys, "predict", model, "flowers").startswith("there are no data 'flowers'; expected digits, ")
        assert not (here / "p.csv").exists()

    def test_output_that_cannot_be_written(self, capsys, model):
        for name, said in (
            ("no/p.csv", "--out: cannot write to no/p.csv: there is no folder no"),
            ("p.txt", "--out: p.txt: expected a name that ends in .csv"),
            (".", "--out: . is a folder; name a file in it"),
        ):
            assert refused(capsys, "predict", model, "none.csv", "--out", name) == said

    def test_classes_that_the_model_does_not_know(self, capsys, model, here):
        (here / "t.csv").write_text(f"{','.join(NAMES)},species\n1,2,3,4,setosa\n1,2,3,4,rose\n")
        assert refused(capsys, "eval", model, "t.csv") == (
            "t.csv: 1 bad row; mend it or take it out: line 3: 'species' is 'rose', which is none of the classes "
            "'setosa', 'versicolor', 'virginica'"
        )
        np.savez("t.npz", inputs=np.ones((3, 4)), targets=np.array(["rose", "setosa", "tulip"]))
        known = ", ".join(CLASSES)
        assert refused(capsys, "eval", model, "t.npz") == (
            f"t.npz: rose, tulip are none of the classes that {model} knows: {known}"
        )
        np.savez("t.npz", inputs=np.ones((3, 4)), targets=np.arange(3.0))
        assert refused(capsys, "eval", model, "t.npz") == (
            "t.npz: the targets are values to regress, and the model tells classes"
        )

    def test_targets_that_are_missing(self, capsys, model, here):
        _, test = tg.data.iris()
        write(here / "new.csv", NAMES, test.inputs.tolist())
        assert refused(capsys, "eval", model, "new.csv").startswith(
            "new.csv: there is no column 'species'; the columns"
        )
        assert refused(capsys, "eval", model, "iris", "--target", "x") == (
            "--target is for tables with columns: leave it out with iris"
        )

    def test_a_model_saved_in_python_that_does_not_fit(self, capsys, here):
        tg.save(tg.nn.Linear(64, 7), "own.safetensors")
        (here / "t.csv").write_text("a,b\n1,2\n")
        assert refused(capsys, "eval", "own.safetensors", "iris").startswith("own.safetensors cannot be run on iris: ")
        assert refused(capsys, "eval", "own.safetensors", "digits").startswith(
            "own.safetensors has scores for 7 classes, but there are 10: "
        )
        assert refused(capsys, "predict", "own.safetensors", "t.csv") == (
            "t.csv cannot be used: own.safetensors does not say which columns it takes; give an NPZ file"
        )
