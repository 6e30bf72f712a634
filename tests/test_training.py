"""fit: what it measures, in which mode, what it refuses, how it stops."""

import math
import os
import signal
import threading

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn, optim
from tinygrad_ce.data import ArrayDataset, DataLoader
from tinygrad_ce.training import Callback, EarlyStopping, NonFiniteLoss


def points(n=30, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    return ArrayDataset(x, (x[:, 0] + x[:, 1] > 0).astype(np.int64) + (x[:, 2] > 1))


def make(seed=0, **options):
    return nn.MLP([4, 8, 3], generator=np.random.default_rng(seed), **options)


def train(model, data=None, valid=None, *, epochs=2, lr=0.1, **options):
    data = DataLoader(points(), batch_size=8) if data is None else data
    optimizer = options.pop("optimizer", None) or optim.SGD(model.parameters(), lr=lr)
    options = {"loss": F.softmax_cross_entropy, "progress": False, **options}
    return tg.fit(model, data, valid, optimizer=optimizer, epochs=epochs, **options)


def test_fit_is_the_loop_written_by_hand():
    one, other = make(), make()
    loader = DataLoader(points(), batch_size=8)
    history = train(one, loader, points(11, 2), epochs=3)
    optimizer = optim.SGD(other.parameters(), lr=0.1)
    for epoch in range(3):
        losses, hits = [], []
        for x, y in loader:
            optimizer.zero_grad()
            z = other(x)
            loss = F.softmax_cross_entropy(z, y)
            loss.backward()
            optimizer.step()
            losses.append((loss.item(), len(y)))
            hits += (z.numpy().argmax(1) == y).tolist()
        # the last batch has 6 rows of 30 and counts so much
        assert history["loss"][epoch] == pytest.approx(sum(v * n for v, n in losses) / 30, rel=1e-15)
        assert history["accuracy"][epoch] == sum(hits) / 30
        assert history.steps["loss"][4 * epoch : 4 * epoch + 4] == [v for v, _ in losses]
        valid = points(11, 2)
        z = other(valid.inputs)
        assert history["valid_loss"][epoch] == pytest.approx(F.softmax_cross_entropy(z, valid.targets).item(), rel=1e-6)
        assert history["valid_accuracy"][epoch] == F.accuracy(z, valid.targets)
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())
    assert history.epochs["epoch"] == [1, 2, 3]
    assert history.steps["epoch"] == [1] * 4 + [2] * 4 + [3] * 4
    assert history.stopped is None


@pytest.mark.parametrize("form", ["dataset", "pair", "tensors", "list"])
def test_forms_of_data(form):
    data = points(100)
    given = {
        "dataset": data,
        "pair": (data.inputs, data.targets),
        "tensors": (tg.Tensor(data.inputs), data.targets),
        "list": [(data.inputs[:64], data.targets[:64]), (data.inputs[64:], data.targets[64:])],
    }[form]
    history = train(make(), given, given, epochs=3)
    assert len(history.steps["loss"]) == 6
    if form != "list":  # shuffled as it says it is
        loader = DataLoader(data, batch_size=64, shuffle=True, generator=np.random.default_rng(0))
        assert history.steps["loss"] == train(make(), loader, epochs=3).steps["loss"]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (iter([]), TypeError, "train: found a list_iterator, which runs dry after one epoch; expected a DataLoader"),
        (np.zeros((3, 4)), TypeError, r"fit: train: found one array of shape \(3, 4\); expected a DataLoader"),
        ((np.zeros((3, 4)), np.zeros(2)), ValueError, "fit: train: found 3 inputs and 2 targets"),
        (5, TypeError, "fit: train: found int; expected a DataLoader"),
        ([np.zeros((3, 4))], TypeError, r"fit: train: a batch is ndarray; expected a pair \(inputs, targets\)"),
        ([(1, 2, 3)], TypeError, "fit: train: a batch is 3 values; expected a pair"),
        ([], ValueError, "fit: train has no batches"),
    ],
)
def test_data_that_is_refused(data, error, message):
    with pytest.raises(error, match=message):
        train(make(), data)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"loss": nn.SoftmaxCrossEntropy}, TypeError, r"expected a function .* such as SoftmaxCrossEntropy\(\)"),
        ({"loss": "mse"}, TypeError, "fit: loss='mse'; expected a function"),
        ({"epochs": 0}, ValueError, "fit: epochs=0; expected a whole number of at least 1"),
        ({"epochs": True}, ValueError, "fit: epochs=True"),
        ({"optimizer": "adam"}, TypeError, "fit: optimizer='adam'; expected an optimizer"),
        ({"optimizer": optim.SGD(make().parameters(), lr=1)}, ValueError, "the optimizer has none of the model's"),
        ({"schedule": 3}, TypeError, "fit: schedule=3; expected a schedule"),
        ({"callbacks": [EarlyStopping]}, TypeError, "fit: callbacks holds .*; expected a Callback"),
        ({"metrics": "accuracy"}, TypeError, r"metrics='accuracy'; expected several, such as metrics=\('accuracy',\)"),
        ({"metrics": ["f2"]}, ValueError, "there is no metric 'f2'; there are 'accuracy', 'top_5_accuracy'"),
        ({"metrics": [lambda *_: 1.0]}, TypeError, "expected a name, a function, or {'name': function}"),
        ({"metrics": ["accuracy", "accuracy"]}, ValueError, "the name 'accuracy' of a metric is taken"),
        ({"metrics": {"lr": len}}, ValueError, "the name 'lr' of a metric is taken"),
        ({"callbacks": [EarlyStopping()]}, ValueError, "'valid_loss' is not measured; .*; give fit the valid"),
    ],
)
def test_arguments_that_are_refused_change_nothing(change, error, message):
    model = make()
    before = model.state_dict()
    with pytest.raises(error, match=message):
        train(model, **change)
    assert all((before[name] == array).all() for name, array in model.state_dict().items())


def test_model_is_refused():
    for wrong in (nn.MLP, None, F.relu):
        with pytest.raises(TypeError, match=r"fit: model is .*; expected a Module"):
            tg.fit(wrong, [], loss=F.mse_loss, optimizer=optim.SGD(make().parameters(), lr=1), epochs=1)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (lambda z, y: F.softmax_cross_entropy(z, y, reduction="none"), ValueError, r"loss returned shape \(8,\)"),
        (lambda *_: 1.0, TypeError, "fit: loss returned float; expected a Tensor"),
        (lambda z, y: F.softmax_cross_entropy(z.detach(), y), ValueError, "the loss does not depend on any parameter"),
    ],
)
def test_losses_that_are_refused(loss, error, message):
    model = make()
    before = model.state_dict()
    with pytest.raises(error, match=message):
        train(model, loss=loss)
    assert all((before[name] == array).all() for name, array in model.state_dict().items())


def test_metrics_by_name_and_function():
    calls = []

    def margin(outputs, targets):
        calls.append(outputs.requires_grad)
        return np.mean(outputs.numpy().max(1) - outputs.numpy().min(1)) + 0 * len(targets)

    history = train(make(), valid=points(9, 3), metrics=["accuracy", "top_2_accuracy", margin], epochs=1)
    assert list(history.epochs) == [
        "epoch", "loss", "accuracy", "top_2_accuracy", "margin", "valid_loss", "valid_accuracy", "valid_top_2_accuracy",
        "valid_margin", "lr", "seconds",
    ]  # fmt: skip
    assert not any(calls)
    assert history["top_2_accuracy"][0] >= history["accuracy"][0]
    by_batch = history.steps["margin"]
    assert history["margin"][0] == pytest.approx(np.average(by_batch, weights=[8, 8, 8, 6]), rel=1e-14)
    history = train(make(), metrics={"spread": margin}, epochs=1)
    assert list(history.steps) == ["epoch", "loss", "spread", "lr", "seconds"]


def test_a_metric_that_does_not_fit_is_named_before_anything_changes():
    model = nn.Linear(4, 1, generator=np.random.default_rng(0))
    before = model.state_dict()
    data = np.zeros((8, 4), np.float32), np.ones((8, 1), np.float32)
    message = (
        r"the metric 'accuracy' failed: accuracy: targets .*; metrics=\(\) measures none, 'binary_accuracy' is for"
    )
    with pytest.raises(ValueError, match=message):
        train(model, data, loss=F.mse_loss)
    assert all((before[name] == array).all() for name, array in model.state_dict().items())
    first, second = train(model, data, loss=F.mse_loss, metrics=())["loss"]
    assert second < first


def test_gradients_can_be_clipped():
    class Clip(Callback):
        def on_backward_end(self, run):
            optim.clip_grad_norm(run.model.parameters(), 1e-3)

    model, other = make(), make()
    before = model.state_dict()
    batch = [points(8)[:]]
    train(model, batch, callbacks=[Clip()], lr=1.0, epochs=1)
    F.softmax_cross_entropy(other(batch[0][0]), batch[0][1]).backward()
    norm = np.sqrt(sum((p.grad.numpy() ** 2).sum() for p in other.parameters()))
    for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(before[name] - p.numpy(), q.grad.numpy() * 1e-3 / norm, rtol=1e-2, atol=1e-7)


def test_measuring_draws_nothing_from_a_loaders_generator():
    loader = DataLoader(points(), batch_size=8, shuffle=True, generator=np.random.default_rng(0))
    state = loader.state_dict()
    tg.evaluate(make(), loader)
    train(make(), valid=loader)
    assert loader.state_dict() == state


def test_binary_accuracy():
    z, y = np.array([[-1.0], [2.0], [0.25], [np.nan]]), np.array([[0.0], [1.0], [0.0], [0.0]])

    class Same(nn.Module):
        def forward(self, x):
            return tg.Tensor(x)

    assert tg.evaluate(Same(), (z, y), ["binary_accuracy"]) == {"binary_accuracy": 0.5}


def test_rows_that_are_ignored_do_not_count():
    class Same(nn.Module):
        def forward(self, x):
            return tg.Tensor(x)

    x = np.eye(3, dtype=np.float32)
    batches = [(x, np.array([0, 1, -100])), (x, np.array([1, -100, -100])), (x, np.array([-100] * 3))]
    assert tg.evaluate(Same(), batches) == {"accuracy": 2 / 3}


class Modes(Callback):
    def __init__(self):
        self.seen = []

    def on_step_end(self, run):
        self.seen.append({m.training for m in run.model.modules()})


def test_modes_are_set_and_put_back():
    model = make(dropout=0.5)
    model.eval()
    model[0].training = True
    before = [m.training for m in model.modules()]
    modes, during = Modes(), []

    def loss(z, y):
        during.append(model[2].training)
        return F.softmax_cross_entropy(z, y)

    train(model, valid=points(5, 2), callbacks=[modes], loss=loss, epochs=1)
    assert during == [True] * 4 + [False]
    assert modes.seen == [{True}] * 4
    assert [m.training for m in model.modules()] == before

    def broken(*_):
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        train(model, loss=broken)
    with pytest.raises(OSError, match="no"):
        tg.evaluate(model.train(), points(), loss=broken)
    assert model[2].training
    model.eval()
    with pytest.raises(OSError, match="no"):
        train(model, loss=broken)
    assert not model[2].training


def test_evaluate_and_predict_change_nothing():
    model = make(dropout=0.5, norm="batch")
    before, generator = model.state_dict(), model[3].generator.bit_generator.state
    tg.evaluate(model, points(), loss=F.softmax_cross_entropy)
    tg.predict(model, points().inputs)
    tg.predict_proba(model, points())
    assert all((before[name] == array).all() for name, array in model.state_dict().items())
    assert model[3].generator.bit_generator.state == generator
    assert all(p.grad is None for p in model.parameters())
    assert all(m.training for m in model.modules())


def test_evaluate_weighs_batches_by_their_rows():
    model, data = make(), points(100)
    whole = tg.evaluate(model, [(data.inputs, data.targets)], ["accuracy"], F.softmax_cross_entropy)
    parts = tg.evaluate(model, DataLoader(data, batch_size=33), ["accuracy"], F.softmax_cross_entropy)
    assert list(whole) == ["loss", "accuracy"]
    assert parts["accuracy"] == whole["accuracy"]
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-6)
    with pytest.raises(ValueError, match="evaluate: there are no rows to measure"):
        tg.evaluate(model, [])


def test_predict_on_every_form_of_input():
    model, data = make(), points(20)
    z = model(data.inputs).numpy()
    loader = DataLoader(data, batch_size=6, shuffle=True, generator=np.random.default_rng(3), drop_last=True)
    state = loader.generator.bit_generator.state
    for x in (data.inputs, tg.Tensor(data.inputs), data.inputs.tolist(), data, loader, DataLoader(data, batch_size=7),
              DataLoader(data.inputs, batch_size=7), (data.inputs, data.targets)):  # fmt: skip
        np.testing.assert_array_equal(tg.predict(model, x), z.argmax(1))
        p = tg.predict_proba(model, x, batch_size=3)
        assert p.shape == (20, 3)
        np.testing.assert_allclose(p, np.exp(z) / np.exp(z).sum(1, keepdims=True), rtol=1e-5)
    assert loader.generator.bit_generator.state == state
    assert tg.predict(model, data).dtype == np.int64


def test_predict_knows_what_the_outputs_are():
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    linear = nn.Linear(4, 3)
    p = tg.predict_proba(linear, x)
    np.testing.assert_allclose(tg.predict_proba(nn.Sequential(linear, nn.Softmax()), x), p, rtol=1e-6)
    np.testing.assert_allclose(tg.predict_proba(nn.Sequential(linear, nn.LogSoftmax()), x), p, rtol=1e-6)
    one = nn.Linear(4, 1)
    z = one(x).numpy()[:, 0]
    both = tg.predict_proba(one, x)
    np.testing.assert_allclose(both[:, 1], 1 / (1 + np.exp(-z)), rtol=1e-5)
    np.testing.assert_allclose(both.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(tg.predict(one, x), z > 0)

    class Squashed(nn.Module):
        def forward(self, x):
            p = F.sigmoid(one(x))
            p._meaning = "probability"
            return p

    np.testing.assert_array_equal(tg.predict_proba(Squashed(), x), both)
    np.testing.assert_array_equal(tg.predict(Squashed(), x), z > 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: tg.predict(m, np.zeros((0, 4), np.float32)), "predict: x has no rows"),
        (lambda m: tg.predict(m, np.zeros((2, 3, 4), np.float32)), r"predict: the model gives shape \(2, 3, 3\)"),
        (lambda m: tg.predict(m, np.float32(1)[None][0:1].reshape(())), "predict: x: x is one number"),
        (lambda m: tg.predict_proba(m, points(), batch_size=0), "batch_size=0; expected at least 1"),
    ],
)
def test_predict_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call(make())


class Interrupt(Callback):
    def __init__(self, at, times=1):
        self.at, self.times = at, times

    def on_step_end(self, run):
        if len(run.history.steps["loss"]) == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def heard():
    """Ctrl-C raises KeyboardInterrupt, though a shell starts a job in the background with the signal ignored."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_returns_what_there_is(times):
    model = make()
    found = signal.getsignal(signal.SIGINT)
    history = train(model, epochs=50, callbacks=[Interrupt(10, times)])
    assert history.stopped == "interrupted"
    assert len(history) == 2  # of 4 steps each
    assert len(history.steps["loss"]) == 10
    assert signal.getsignal(signal.SIGINT) is found
    assert "stopped: interrupted" in repr(history)
    # the step was whole
    other = make()
    seen = []

    class Stop(Callback):
        def on_step_end(self, run):
            seen.append(1)
            if len(seen) == 10:
                run.stop("enough")

    assert train(other, epochs=50, callbacks=[Stop()]).stopped == "enough"
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_an_interrupt_anywhere_leaves_whole_records():
    history = train(make(), epochs=1)
    history.steps["loss"].append(0.5)
    history.epochs["epoch"].append(2)
    history.complete()
    assert len(history) == 1
    assert {len(column) for column in history.steps.values()} == {4}

    def loss(*_):
        raise KeyboardInterrupt

    history = train(make(), loss=loss)
    assert history.stopped == "interrupted"
    assert len(history.steps["loss"]) == 0


@pytest.mark.usefixtures("heard")
def test_an_interrupt_at_the_end_of_an_epoch_keeps_the_epoch():
    def loss(z, y):
        if len(y) == 5:  # in validation
            os.kill(os.getpid(), signal.SIGINT)
        return F.softmax_cross_entropy(z, y)

    history = train(make(), valid=points(5), epochs=9, loss=loss)
    assert len(history) == 1
    assert history.stopped == "interrupted"


def test_fit_works_outside_the_main_thread():
    histories = []
    thread = threading.Thread(target=lambda: histories.append(train(make())))
    thread.start()
    thread.join()
    assert len(histories[0]) == 2


class Root(nn.Module):
    def forward(self, x):
        return np.sqrt(x)


def test_nan_is_traced_to_its_op():
    model = nn.Sequential(nn.Linear(4, 6, generator=np.random.default_rng(0)), Root(), nn.Linear(6, 3))
    before = model.state_dict()
    with pytest.raises(NonFiniteLoss) as caught, np.errstate(invalid="ignore"):
        train(model)
    z = model[0](points().inputs[:8]).numpy()
    message = str(caught.value)
    assert message.startswith(
        "fit: the loss is nan at step 1 of epoch 1; nan was first made by sqrt in 1, from x (8, 6) "
    )
    assert f"{z.min():.6g} to {z.max():.6g}" in message
    assert len(caught.value.history) == 0
    assert caught.value.history.stopped == "the loss is not finite"
    assert isinstance(caught.value, FloatingPointError)
    assert all((before[name] == array).all() for name, array in model.state_dict().items())


def test_infinity_is_traced_to_its_op():
    class Steep(nn.Module):
        def forward(self, x):
            return F.exp(x * 1000.0)

    model = nn.Sequential(nn.Linear(4, 3), Steep())
    with (
        np.errstate(all="ignore"),
        pytest.raises(NonFiniteLoss, match=r"infinity was first made by exp in 1, from x \(8, 3\) -?\d"),
    ):
        train(model)


def test_nan_in_the_data_is_named():
    data = points()
    data.inputs[10, 2] = np.nan
    message = r"nan at step 2 of epoch 1; inputs \(8, 4\) -?\d.* and 1 nan: take these rows out"
    with pytest.raises(NonFiniteLoss, match=message):
        train(make(), DataLoader(data, batch_size=8))


def test_a_learning_rate_that_blows_up_is_named():
    with pytest.raises(NonFiniteLoss) as caught, np.errstate(all="ignore"):
        train(make(), lr=1e38, epochs=5)
    assert "infinity was first made by linear in 2, from x (8, 8) 0 to 2." in str(caught.value)
    assert len(caught.value.history.steps["loss"]) == 1


def test_weights_that_a_step_breaks_are_named():
    class Break(Callback):
        def on_step_end(self, run):
            run.model[2].bias.data[1] = np.inf

    with pytest.raises(NonFiniteLoss) as caught, np.errstate(all="ignore"):
        train(make(), callbacks=[Break()])
    assert str(caught.value).startswith("fit: the loss is ")
    assert "step 2 of epoch 1; 2.bias (3,) " in str(caught.value)
    assert "1 infinite: the update of the step before made it; use a smaller learning rate" in str(caught.value)


def test_weights_that_the_last_step_breaks_are_found():
    message = r"the update of step 1 of epoch 1 left nan or infinity in 0\.weight"
    with np.errstate(all="ignore"), pytest.raises(NonFiniteLoss, match=message):
        train(make(), (points().inputs, points().targets), lr=1e39, epochs=1)


def test_schedules_step_when_they_say():
    model = make()
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    each_step = optim.StepLR(optimizer, step_size=1, gamma=0.5, every="step")
    history = train(model, optimizer=optimizer, schedule=each_step)
    assert history.steps["lr"] == [2.0**-i for i in range(8)]
    assert history["lr"] == [2.0**-3, 2.0**-7]
    model = make()
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    warm_up = optim.LinearLR(optimizer, start_factor=0.5, total_iters=2, every="step")
    history = train(model, optimizer=optimizer, schedule=[warm_up, optim.StepLR(optimizer, step_size=1, gamma=0.5)])
    assert history.steps["lr"] == [0.5, 0.75, 1, 1, 0.5, 0.5, 0.5, 0.5]
    other = optim.StepLR(optim.SGD(model.parameters(), lr=1.0), step_size=1)
    with pytest.raises(ValueError, match="belongs to another optimizer"):
        train(model, optimizer=optimizer, schedule=other)


@pytest.mark.parametrize("every", ["epoch", "step"])
@pytest.mark.parametrize("valid", [None, points(9, 4)], ids=["train", "valid"])
def test_a_plateau_is_given_the_loss(every, valid):
    model = make()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = optim.ReduceLROnPlateau(optimizer, patience=0, every=every)
    given = []
    step = schedule.step
    schedule.step = lambda metric: (given.append(metric), step(metric))
    history = train(model, valid=valid, optimizer=optimizer, schedule=schedule, epochs=3)
    assert given == (history.steps["loss"] if every == "step" else history["valid_loss" if valid else "loss"])


class Scripted(Callback):
    """Puts a made-up validation loss in the history, and notes the weights."""

    def __init__(self, values):
        self.values, self.weights = values, []

    def on_epoch_end(self, run):
        run.history.epochs["valid_loss"][-1] = self.values[run.epoch - 1]
        self.weights.append(run.model.state_dict())


@pytest.mark.parametrize(
    ("values", "options", "epochs", "best"),
    [
        ([3, 2, 2, 2.5, 1], {"patience": 2}, 4, 2),
        ([3, 2, 2.5, 1, 2, 2], {"patience": 2}, 6, 4),
        ([3, 2.9, 2.8, 2.7], {"patience": 2, "min_delta": 0.5}, 3, 1),
        ([3, 2.9, 2.4, 2.3, 2.2], {"patience": 2, "min_delta": 0.5}, 5, 3),
        ([math.nan, math.nan, 1], {"patience": 2}, 2, None),
        ([math.nan, 2, math.nan, math.inf], {"patience": 2}, 4, 2),
        ([5, 4, 3], {"patience": 1}, 3, 3),
        ([1, 2, 3, 3], {"patience": 2, "mode": "max"}, 4, 3),
    ],
)
def test_early_stopping(values, options, epochs, best):
    model, script = make(), Scripted(values)
    stopping = EarlyStopping("valid_loss", **options)
    history = train(model, valid=points(5), callbacks=[script, stopping], epochs=len(values))
    assert len(history) == epochs
    if epochs < len(values):
        assert history.stopped.startswith("early: valid_loss has not improved")
    expected = script.weights[-1 if best is None else best - 1]
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, expected[name])


def test_early_stopping_without_restoring():
    model, script = make(), Scripted([1, 2, 3])
    train(model, valid=points(5), callbacks=[script, EarlyStopping(patience=2, restore_best=False)], epochs=3)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, script.weights[-1][name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 0}, "patience=0; expected a whole number of at least 1"),
        ({"min_delta": -1}, "min_delta=-1"),
        ({"min_delta": math.nan}, "min_delta=nan"),
        ({"monitor": "f1"}, "is a smaller 'f1' better"),
        ({"mode": "up"}, "mode='up'"),
    ],
)
def test_early_stopping_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**options)


def test_callbacks_are_called_in_order():
    calls = []

    class Note(Callback):
        def __init__(self, name):
            self.name = name

        def __getattribute__(self, attribute):
            if attribute.startswith("on_"):
                calls.append((object.__getattribute__(self, "name"), attribute))
            return object.__getattribute__(self, attribute)

    train(make(), [points(8)[:]], callbacks=[Note("a"), Note("b")], epochs=1)
    names = ["on_fit_begin", "on_epoch_begin", "on_backward_end", "on_step_end", "on_epoch_end", "on_fit_end"]
    assert calls == [(who, name) for name in names for who in "ab"]
