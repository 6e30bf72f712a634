"""A run that goes on from a checkpoint is, bit for bit, the run that was not interrupted."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn, optim
from tinygrad_ce.data import ArrayDataset, DataLoader
from tinygrad_ce.training import Callback, Checkpoint, EarlyStopping
from tinygrad_ce.training.checkpoint import packed, unpacked


def points(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    return ArrayDataset(x, (x[:, 0] + x[:, 1] > 0).astype(np.int64))


class Job:
    """All that one process would make anew: model, data, optimizer, schedule, callbacks."""

    def __init__(self, path, optimizer="sgd", schedule=None, norm=None, kind=np.random.PCG64, **options):
        rng = np.random.Generator(kind(1))
        self.model = nn.MLP([4, 8, 2], dropout=0.3, norm=norm, generator=np.random.Generator(kind(0)))
        self.train = DataLoader(points(30, 1), batch_size=8, shuffle=True, generator=rng)
        make = {
            "sgd": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
            "adam": lambda p: optim.Adam(p, lr=0.01, weight_decay=0.1),
            "adamw": lambda p: optim.AdamW(p, lr=0.01),
            "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5),
            "adagrad": lambda p: optim.Adagrad(p, lr=0.1),
        }[optimizer]
        self.optimizer = make(self.model.parameters())
        self.schedule = {
            None: lambda _: None,
            "cosine": lambda o: optim.CosineAnnealingLR(o, T_max=6),
            "steps": lambda o: optim.StepLR(o, step_size=5, gamma=0.7, every="step"),
            "plateau": lambda o: optim.ReduceLROnPlateau(o, patience=0, factor=0.5),
            "both": lambda o: [
                optim.LinearLR(o, start_factor=0.1, total_iters=7, every="step"),
                optim.CosineAnnealingLR(o, T_max=6),
            ],
        }[schedule](self.optimizer)
        self.stopping = EarlyStopping("valid_loss", patience=100)
        self.callbacks = [Checkpoint(path), self.stopping]
        self.options = options

    def fit(self, epochs, resume=None):
        self.history = tg.fit(
            self.model, self.train, points(9, 2), loss=F.softmax_cross_entropy, optimizer=self.optimizer, epochs=epochs,
            schedule=self.schedule, callbacks=self.callbacks, progress=False, resume=resume, **self.options,
        )  # fmt: skip
        return self


def same(a, b):
    """Equal in every bit, dtype and key; nan is nan."""
    if isinstance(a, np.ndarray):
        return type(b) is np.ndarray and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return type(b) is dict and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def assert_same(one, other):
    for columns, others in ((one.history.epochs, other.history.epochs), (one.history.steps, other.history.steps)):
        assert columns.keys() == others.keys()
        assert all(same(columns[name], others[name]) for name in columns if name != "seconds")
    assert same(one.model.state_dict(), other.model.state_dict())
    assert same(one.optimizer.state_dict(), other.optimizer.state_dict())
    assert same(one.train.generator.bit_generator.state, other.train.generator.bit_generator.state)
    dropouts = [[m for m in job.model.modules() if isinstance(m, nn.Dropout)] for job in (one, other)]
    for a, b in zip(*dropouts, strict=True):
        assert same(a.generator.bit_generator.state, b.generator.bit_generator.state)
    assert same(one.stopping.best_weights, other.stopping.best_weights)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd"},
        {"optimizer": "adam", "schedule": "cosine"},
        {"optimizer": "adamw", "norm": "batch", "schedule": "both"},
        {"optimizer": "rmsprop", "schedule": "plateau"},
        {"optimizer": "adagrad", "schedule": "steps", "norm": "layer"},
        {"kind": np.random.MT19937},
        {"kind": np.random.Philox},
        {"kind": np.random.SFC64},
        {"metrics": ["accuracy", "top_2_accuracy"]},
    ],
    ids=str,
)
def test_three_epochs_and_three_more_are_six(tmp_path, options):
    whole = Job(tmp_path / "whole.safetensors", **options).fit(6)
    path = tmp_path / "part.safetensors"
    Job(path, **options).fit(3)
    rest = Job(path, **options).fit(6, resume=path)
    assert len(rest.history) == 6
    assert_same(whole, rest)
    # and so are the checkpoints that the two leave
    one, other = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "part"))
    assert one.keys() == other.keys()
    assert all(same(one[name], other[name]) for name in one if not name.endswith("seconds"))


def test_the_test_would_see_a_difference(tmp_path):
    path = tmp_path / "run.safetensors"
    whole = Job(tmp_path / "whole.safetensors").fit(6)
    Job(path).fit(3)
    rest = Job(path)
    load = rest.train.load_state_dict
    rest.train.load_state_dict = lambda state: (load(state), rest.train.generator.random())
    rest.fit(6, resume=path)
    with pytest.raises(AssertionError):
        assert_same(whole, rest)


def test_resuming_after_the_last_epoch_changes_nothing(tmp_path):
    path = tmp_path / "run.safetensors"
    whole = Job(path).fit(3)
    again = Job(path).fit(2, resume=path)
    assert len(again.history) == 3
    assert_same(whole, again)


def test_early_stopping_goes_on_counting(tmp_path):
    class Worse(Callback):
        def on_epoch_end(self, run):
            run.history.epochs["valid_loss"][-1] = [3, 1, 2, 2, 2, 2][run.epoch - 1]

    def job(path):
        made = Job(path)
        made.callbacks = [Worse(), EarlyStopping(patience=3), Checkpoint(path)]
        return made

    path = tmp_path / "run.safetensors"
    whole = job(tmp_path / "whole.safetensors").fit(6)
    job(path).fit(3)
    rest = job(path).fit(6, resume=path)
    assert len(whole.history) == len(rest.history) == 5
    assert rest.history.stopped == "early: valid_loss has not improved since epoch 2"
    assert same(whole.model.state_dict(), rest.model.state_dict())


def test_the_best_epoch_is_kept(tmp_path):
    path = tmp_path / "best.safetensors"
    written = []

    class Script(Callback):
        def on_epoch_begin(self, _run):
            written.append(path.stat().st_mtime_ns if path.exists() else 0)

        def on_epoch_end(self, run):
            run.history.epochs["valid_accuracy"][-1] = [math.nan, 0.5, 0.4, 0.7, 0.7, 0.6][run.epoch - 1]
            self.weights = {**getattr(self, "weights", {}), run.epoch: run.model.state_dict()}

    job, script = Job(path), Script()
    job.callbacks = [Checkpoint(path, monitor="valid_accuracy", best_only=True), script]
    job.fit(6)
    assert [a != b for a, b in pairwise(written)] == [False, True, False, True, False]
    assert same(tg.load_model(path).state_dict(), script.weights[4])
    model = nn.MLP([4, 8, 2], dropout=0.3)
    tg.load(model, path)
    assert same(model.state_dict(), script.weights[4])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda _: b"", "is empty; expected a safetensors file"),
        (lambda b: b[:-1], r"is cut off: it has [\d,]+ of [\d,]+ bytes"),
        (lambda b: b[: len(b) // 3], "is cut off"),
        (lambda b: b[:100], "is cut off"),
        (lambda b: b + b"x", "is a corrupt safetensors file"),
        (lambda _: b"hello" * 99, "is no safetensors file"),
        (lambda b: b.replace(b'"dtype":"F32"', b'"dtype":"F33"', 1), "is a corrupt safetensors file"),
        (lambda b: b.replace(b'\\"PCG64\\"', b'\\"PCG65\\"'), "does not fit this run: "),
        (lambda b: b.replace(b'"optimizer.state.0.', b'"optimizer.state.9.', 1), "does not fit this run: "),
        (lambda b: b.replace(b"\\\"lr\\\"", b"\\\"lx\\\"", 1), "does not fit this run: "),
        (lambda b: b.replace(b"tinygrad_ce.checkpoint", b"tinygrad_ce.checkpaint"), "is no checkpoint"),
    ],
)  # fmt: skip
def test_a_spoilt_checkpoint_is_one_error_and_changes_nothing(tmp_path, spoil, message):
    path = tmp_path / "run.safetensors"
    Job(path, "adam", "cosine").fit(2)
    content = path.read_bytes()
    path.write_bytes(spoil(content))
    assert path.read_bytes() != content
    job = Job(tmp_path / "other.safetensors", "adam", "cosine").fit(1)
    before = job.model.state_dict(), job.optimizer.state_dict(), job.schedule.state_dict(), job.train.state_dict()
    generator = job.model[2].generator.bit_generator.state
    with pytest.raises(ValueError, match=message) as caught:
        job.fit(4, resume=path)
    assert str(caught.value).startswith(f"fit: resume: '{path}'")
    assert "\n" not in str(caught.value)
    after = job.model.state_dict(), job.optimizer.state_dict(), job.schedule.state_dict(), job.train.state_dict()
    assert same(before, after)
    assert same(generator, job.model[2].generator.bit_generator.state)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    Job(path, "adam").fit(1)
    with pytest.raises(ValueError, match=r"does not fit this run: .*state"):
        Job(path, "sgd").fit(2, resume=path)
    with pytest.raises(
        ValueError, match=r"does not fit this run: it holds history, .*; expected .*, schedule 0, train"
    ):
        Job(path, "adam", "cosine").fit(2, resume=path)
    with pytest.raises(ValueError, match=r"does not fit this run: .*missing"):
        Job(path, "adam", norm="batch").fit(2, resume=path)
    with pytest.raises(ValueError, match="give the same metrics and validation data"):
        Job(path, "adam", metrics=()).fit(2, resume=path)
    tg.save(nn.MLP([4, 8, 2]), path)
    with pytest.raises(ValueError, match="is no checkpoint of a training run, as Checkpoint writes; for the weights"):
        Job(path, "adam").fit(2, resume=path)
    with pytest.raises(FileNotFoundError, match="fit: resume: there is no file"):
        Job(path, "adam").fit(2, resume=tmp_path / "missing.safetensors")


def test_a_callback_that_cannot_work_is_refused_before_resuming(tmp_path):
    path = tmp_path / "run.safetensors"
    Job(path).fit(2)
    job = Job(path)
    job.callbacks = [EarlyStopping("valid_f1", mode="max")]
    before = job.model.state_dict()
    with pytest.raises(ValueError, match="'valid_f1' is not measured"):
        job.fit(3, resume=path)
    assert same(before, job.model.state_dict())


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    Job(path).fit(1)
    content = path.read_bytes()

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        Job(path).fit(1)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_folder_that_is_missing_is_said_before_training(tmp_path):
    job = Job(tmp_path / "no" / "run.safetensors")
    before = job.model.state_dict()
    with pytest.raises(FileNotFoundError, match=r"Checkpoint: .*the folder .* does not exist"):
        job.fit(1)
    assert same(before, job.model.state_dict())


def test_states_survive_packing():
    state = {
        "numbers": [1, 2.5, -0.0, math.inf, -math.inf, math.nan, 2**127, True, None, "text"],
        "pair": (0.9, 0.999),
        0: {"exp_avg": np.arange(3.0, dtype=np.float32), "empty": np.zeros((0, 2)), "zero": np.ones(())},
        "a": {"b": np.ones(2)},
        "a.b": np.zeros(2),
        "scalar": np.float64(0.1),
    }
    arrays = {}
    text = json.dumps(packed(state, "", arrays), allow_nan=False)
    found = unpacked(json.loads(text), arrays)
    assert same(found, {**state, "scalar": 0.1})
    with pytest.raises(TypeError, match="Checkpoint: a is <object"):
        packed({"a": object()}, "", {})


def test_a_users_callback_keeps_its_state(tmp_path):
    class Count(Callback):
        def __init__(self):
            self.epochs = 0

        def on_epoch_end(self, _run):
            self.epochs += 1

        def state_dict(self):
            return {"epochs": self.epochs}

        def load_state_dict(self, state):
            self.epochs = state["epochs"]

    path = tmp_path / "run.safetensors"
    for epochs, resume in ((2, None), (5, path)):
        job, count = Job(path), Count()
        job.callbacks = [Checkpoint(path), count]
        job.fit(epochs, resume)
    assert count.epochs == 5


def test_metadata_is_strict_json_and_nothing_is_pickled(tmp_path):
    path = tmp_path / "run.safetensors"
    Job(path, "adam", "plateau").fit(1)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"]["format"] == "tinygrad_ce.checkpoint"

    def no_constant(name):
        raise AssertionError(name)

    json.loads(header["__metadata__"]["state"], parse_constant=no_constant)
    save_file({"a": np.ones(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match="is no checkpoint of a training run"):
        Job(path).fit(2, resume=tmp_path / "foreign.safetensors")
