"""`tinygrad-ce train`: what it learns from, and what it writes."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import tinygrad_ce as tg
from tests.command_line import empty_folder, run
from tinygrad_ce.cli import main, recipe, sources

QUICK = ("--epochs", "2", "--model", "4-5-3")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    return empty_folder(tmp_path, monkeypatch)


def train(capsys, *arguments):
    return run(capsys, "train", "--data", *arguments)


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


@pytest.mark.parametrize("command", ["train", "predict", "eval"])
def test_help(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    assert ", ".join(sources.SETS) in shown
