"""Modules beside PyTorch's: values, gradients, running statistics, state dicts, initial weights."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_ce as tg
from tinygrad_ce import nn

torch = pytest.importorskip("torch")
tnn = torch.nn


def agree(found, expected, units=32, size=1e-300):
    """Equal to round-off of the largest element, or of a number of this size: what is left of a difference of such."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if expected.dtype.kind == "f":
        limit = units * np.finfo(expected.dtype).eps * np.max(np.abs(expected), initial=size)
        assert np.all(np.abs(found - expected) <= limit)
    else:
        np.testing.assert_array_equal(found, expected)


def numpy(state):
    return {name: value.detach().numpy() for name, value in state.items()}


def twins(ours, theirs, rng):
    """The two modules with the same parameters and buffers: random ones, set in torch and loaded here."""
    theirs = theirs.double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.tensor(rng.normal(size=tuple(parameter.shape))))
        for name, buffer in theirs.named_buffers():
            if buffer.dtype == torch.float64:
                low = 0.2 if name.endswith("var") else -1.0
                buffer.copy_(torch.tensor(rng.uniform(low, 1, tuple(buffer.shape))))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def same_states(ours, theirs):
    expected = numpy(theirs.state_dict())
    assert list(ours.state_dict()) == list(expected)
    for name, array in ours.state_dict().items():
        agree(array, expected[name])


def step(ours, theirs, x, rng, units=64):
    """One forward and backward pass through both, with the same upstream gradient."""
    floating = x.dtype.kind == "f"
    a, b = tg.Tensor(x, requires_grad=floating), torch.tensor(x, requires_grad=floating)
    za, zb = ours(a), theirs(b)
    agree(za.data, zb.detach().numpy())
    ours.zero_grad()
    theirs.zero_grad()
    if not zb.requires_grad:
        return
    g = rng.normal(size=za.shape)
    za.backward(g)
    zb.backward(torch.tensor(g))
    expected = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    assert [name for name, _ in ours.named_parameters()] == list(expected)
    # behind a normalization a gradient may be 0 but for rounding: that of a bias, say
    size = max(np.max(np.abs(one)) for one in (g, *expected.values()))
    for name, parameter in ours.named_parameters():
        agree(parameter.grad.data, expected[name], units, size)
    if floating:
        agree(a.grad.data, b.grad.numpy(), units, size)


F64 = {"dtype": "float64"}
MODULES = {
    "Linear": (lambda: nn.Linear(4, 3, **F64), lambda: tnn.Linear(4, 3), (5, 4)),
    "Linear-vector": (lambda: nn.Linear(4, 3, False, **F64), lambda: tnn.Linear(4, 3, False), (4,)),
    "Linear-3d": (lambda: nn.Linear(4, 3, **F64), lambda: tnn.Linear(4, 3), (2, 3, 4)),
    "LayerNorm": (lambda: nn.LayerNorm(7, **F64), lambda: tnn.LayerNorm(7), (5, 7)),
    "LayerNorm-2d": (lambda: nn.LayerNorm((3, 4), 0.1, **F64), lambda: tnn.LayerNorm((3, 4), 0.1), (2, 5, 3, 4)),
    "LayerNorm-no-bias": (
        lambda: nn.LayerNorm(7, bias=False, **F64), lambda: tnn.LayerNorm(7, bias=False), (2, 5, 7)),
    "LayerNorm-plain": (
        lambda: nn.LayerNorm(7, elementwise_affine=False), lambda: tnn.LayerNorm(7, elementwise_affine=False), (5, 7)),
    "LayerNorm-one": (lambda: nn.LayerNorm(1, **F64), lambda: tnn.LayerNorm(1), (5, 1)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4, **F64), lambda: tnn.BatchNorm1d(4), (6, 4)),
    "BatchNorm1d-3d": (lambda: nn.BatchNorm1d(4, 0.1, **F64), lambda: tnn.BatchNorm1d(4, 0.1), (3, 4, 5)),
    "BatchNorm1d-one-row": (lambda: nn.BatchNorm1d(4, **F64), lambda: tnn.BatchNorm1d(4), (1, 4, 5)),
    "BatchNorm1d-cumulative": (
        lambda: nn.BatchNorm1d(4, momentum=None, **F64), lambda: tnn.BatchNorm1d(4, momentum=None), (6, 4)),
    "BatchNorm1d-momentum": (
        lambda: nn.BatchNorm1d(4, momentum=0.7, **F64), lambda: tnn.BatchNorm1d(4, momentum=0.7), (2, 4)),
    "BatchNorm1d-plain": (
        lambda: nn.BatchNorm1d(4, affine=False, **F64), lambda: tnn.BatchNorm1d(4, affine=False), (6, 4)),
    "BatchNorm1d-untracked": (
        lambda: nn.BatchNorm1d(4, track_running_stats=False, **F64),
        lambda: tnn.BatchNorm1d(4, track_running_stats=False), (6, 4)),
    "Embedding": (lambda: nn.Embedding(5, 3, **F64), lambda: tnn.Embedding(5, 3), "indices"),
    "Embedding-padded": (lambda: nn.Embedding(5, 3, -2, **F64), lambda: tnn.Embedding(5, 3, -2), "indices"),
    "Dropout-0": (lambda: nn.Dropout(0), lambda: tnn.Dropout(0), (3, 4)),
    "Dropout-1": (lambda: nn.Dropout(1), lambda: tnn.Dropout(1), (3, 4)),
    "Flatten": (nn.Flatten, tnn.Flatten, (2, 3, 4)),
    "Flatten-some": (lambda: nn.Flatten(0, 1), lambda: tnn.Flatten(0, 1), (2, 3, 4)),
    "Identity": (nn.Identity, tnn.Identity, (2, 3)),
    "Softmax": (lambda: nn.Softmax(1), lambda: tnn.Softmax(1), (3, 4)),
    "LogSoftmax": (lambda: nn.LogSoftmax(0), lambda: tnn.LogSoftmax(0), (3, 4)),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.3), lambda: tnn.LeakyReLU(0.3), (3, 4)),
    "ELU": (lambda: nn.ELU(0.7), lambda: tnn.ELU(0.7), (3, 4)),
    "GELU-tanh": (lambda: nn.GELU("tanh"), lambda: tnn.GELU("tanh"), (3, 4)),
    **{name: (getattr(nn, name), getattr(tnn, name), (3, 4))
       for name in ("ReLU", "GELU", "SiLU", "Sigmoid", "Softplus", "Tanh")},
    "MLP": (
        lambda: nn.MLP([4, 8, 6, 3], "tanh", norm="batch", **F64),
        lambda: tnn.Sequential(
            tnn.Linear(4, 8), tnn.BatchNorm1d(8), tnn.Tanh(), tnn.Linear(8, 6), tnn.BatchNorm1d(6), tnn.Tanh(),
            tnn.Linear(6, 3)),
        (9, 4)),
    "nested": (
        lambda: nn.Sequential({
            "body": nn.Sequential(nn.Embedding(5, 4, **F64), nn.Flatten(), nn.Linear(12, 6, **F64)),
            "norm": nn.LayerNorm(6, **F64), "head": nn.Linear(6, 2, **F64)}),
        lambda: tnn.Sequential(torch.nn.modules.container.OrderedDict(
            body=tnn.Sequential(tnn.Embedding(5, 4), tnn.Flatten(), tnn.Linear(12, 6)),
            norm=tnn.LayerNorm(6), head=tnn.Linear(6, 2))),
        "indices"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_training_and_evaluation(name, rng):
    """Three steps in training mode, then two in evaluation mode, with the statistics that were gathered."""
    make_ours, make_theirs, shape = MODULES[name]
    ours, theirs = twins(make_ours(), make_theirs(), rng)
    for training in (True, True, True, False, False):
        ours.train(training)
        theirs.train(training)
        x = rng.integers(0, 5, (6, 3)) if shape == "indices" else rng.normal(0.5, 2, shape)
        step(ours, theirs, x, rng)
        same_states(ours, theirs)


WEIGHT = np.array([1.0, 0.5, 3.0])
LOSSES = {
    "cross-entropy": (
        nn.SoftmaxCrossEntropy(weight=WEIGHT, ignore_index=1, label_smoothing=0.1),
        tnn.CrossEntropyLoss(torch.tensor(WEIGHT), ignore_index=1, label_smoothing=0.1), "classes"),
    "nll": (nn.NLLLoss(weight=WEIGHT, reduction="sum"), tnn.NLLLoss(torch.tensor(WEIGHT), reduction="sum"), "classes"),
    "bce-with-logits": (
        nn.SigmoidBinaryCrossEntropy(pos_weight=WEIGHT, weight=2 * WEIGHT),
        tnn.BCEWithLogitsLoss(torch.tensor(2 * WEIGHT), pos_weight=torch.tensor(WEIGHT)), "probabilities"),
    "bce": (nn.BinaryCrossEntropy(reduction="none"), tnn.BCELoss(reduction="none"), "probabilities"),
    "mse": (nn.MSELoss(), tnn.MSELoss(), "numbers"),
    "kl": (nn.KLDivLoss(reduction="batchmean"), tnn.KLDivLoss(reduction="batchmean"), "probabilities"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name, rng):
    ours, theirs, kind = LOSSES[name]
    x = rng.uniform(0.1, 0.9, (6, 3)) if name == "bce" else rng.normal(size=(6, 3))
    targets = {
        "classes": np.array([0, 2, 1, 2, 0, 0]), "probabilities": rng.uniform(0, 1, x.shape),
        "numbers": rng.normal(size=x.shape),
    }[kind]  # fmt: skip
    a, b = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    za, zb = ours(a, targets), theirs(b, torch.tensor(targets))
    agree(za.data, zb.detach().numpy())
    g = rng.normal(size=za.shape)
    za.backward(g)
    zb.backward(torch.tensor(g))
    agree(a.grad.data, b.grad.numpy())


@pytest.mark.parametrize("name", MODULES)
def test_a_state_goes_both_ways(name, rng):
    make_ours, make_theirs, shape = MODULES[name]
    ours, theirs = make_ours(), make_theirs().double()
    for parameter in ours.parameters():
        parameter.data[...] = rng.normal(size=parameter.shape)
    theirs.load_state_dict({key: torch.tensor(value) for key, value in ours.state_dict().items()})
    same_states(ours, theirs)
    x = rng.integers(0, 5, (6, 3)) if shape == "indices" else rng.normal(size=shape)
    agree(ours.eval()(x).data, theirs.eval()(torch.tensor(x)).detach().numpy())


def test_a_shared_parameter_stands_under_the_same_names(rng):
    def tie(model):
        model[1].weight = model[0].weight
        return model

    ours, theirs = twins(
        tie(nn.Sequential(nn.Linear(3, 3, **F64), nn.Linear(3, 3, **F64))),
        tie(tnn.Sequential(tnn.Linear(3, 3), tnn.Linear(3, 3))),
        rng,
    )
    step(ours, theirs, rng.normal(size=(4, 3)), rng)
    layer, other = nn.Linear(3, 3, **F64), tnn.Linear(3, 3)
    ours, theirs = twins(nn.Sequential(layer, nn.ReLU(), layer), tnn.Sequential(other, tnn.ReLU(), other), rng)
    assert list(ours.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    step(ours, theirs, rng.normal(size=(4, 3)), rng)


def test_a_batch_of_one_row_is_refused_by_both():
    for layer in (nn.BatchNorm1d(3), tnn.BatchNorm1d(3)):
        x = np.ones((1, 3), np.float32)
        with pytest.raises(ValueError, match=r"one value|Expected more than 1 value"):
            layer(torch.tensor(x) if isinstance(layer, tnn.Module) else x)


def test_indices_out_of_range_are_refused_by_both():
    for bad in (5, -1):
        with pytest.raises(IndexError):
            tnn.Embedding(5, 2)(torch.tensor([bad]))
        with pytest.raises(IndexError):
            nn.Embedding(5, 2)([bad])


def test_initial_padding_and_normalization():
    for ours, theirs in (
        (nn.Embedding(5, 2, -1), tnn.Embedding(5, 2, -1)),
        (nn.BatchNorm1d(3), tnn.BatchNorm1d(3)),
        (nn.LayerNorm((2, 3)), tnn.LayerNorm((2, 3))),
    ):
        mine, other = ours.state_dict(), numpy(theirs.state_dict())
        assert list(mine) == list(other)
        for name, value in mine.items():
            assert value.dtype == other[name].dtype
            if isinstance(ours, nn.Embedding):
                value, expected = value[4], other[name][4]
            else:
                expected = other[name]
            np.testing.assert_array_equal(value, expected)


def test_initial_weights_of_a_linear_layer_have_pytorchs_bounds(monkeypatch):
    bounds = drawn_by_torch(monkeypatch, lambda: tnn.Linear(50, 3))
    assert [tuple(map(pytest.approx, pair)) for pair in bounds] == [(-(50**-0.5), 50**-0.5)] * 2


def drawn_by_torch(monkeypatch, call):
    """The arguments with which torch draws uniform or normal numbers during a call."""
    seen = []

    def noting(name):
        original = getattr(torch.Tensor, name)

        def method(self, *args, **_):
            seen.append(args)
            return original(self, *args)

        return method

    for name in ("uniform_", "normal_"):
        monkeypatch.setattr(torch.Tensor, name, noting(name))
    call()
    monkeypatch.undo()
    return seen


class Recorder(np.random.Generator):
    """A generator that notes what it was asked for."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))
        self.seen = []

    def uniform(self, low, high, size):
        self.seen.append((low, high))
        return super().uniform(low, high, size)

    def normal(self, mean, std, size):
        self.seen.append((mean, std))
        return super().normal(mean, std, size)


INITS = [
    ("uniform_", {"a": -0.5, "b": 2.0}), ("normal_", {"mean": 1.0, "std": 0.3}), ("xavier_uniform_", {}),
    ("xavier_uniform_", {"gain": 2.5}), ("xavier_normal_", {"gain": 0.5}), ("kaiming_uniform_", {}),
    ("kaiming_uniform_", {"a": 0.3, "mode": "fan_out"}), ("kaiming_normal_", {"nonlinearity": "relu"}),
    ("kaiming_normal_", {"nonlinearity": "tanh", "mode": "fan_out"}), ("kaiming_normal_", {"nonlinearity": "selu"}),
]  # fmt: skip


@pytest.mark.parametrize("shape", [(3, 5), (4, 2, 3), (2, 3, 3, 2)])
@pytest.mark.parametrize(("name", "options"), INITS)
def test_init_draws_from_pytorchs_distribution(monkeypatch, name, options, shape):
    expected = drawn_by_torch(monkeypatch, lambda: getattr(tnn.init, name)(torch.empty(shape), **options))
    generator = Recorder()
    getattr(nn.init, name)(nn.Parameter(np.zeros(shape)), **options, generator=generator)
    assert len(generator.seen) == len(expected) == 1
    np.testing.assert_allclose(generator.seen, expected, rtol=1e-15)


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains(name):
    assert nn.init.calculate_gain(name) == tnn.init.calculate_gain(name)
    assert nn.init.calculate_gain("leaky_relu", 0.2) == tnn.init.calculate_gain("leaky_relu", 0.2)


def test_orthogonal_makes_the_same_of_the_same_numbers(monkeypatch, rng):
    for shape in ((3, 5), (5, 3), (4, 4), (2, 3, 2)):
        rows, columns = shape[0], int(np.prod(shape[1:]))
        numbers = rng.normal(size=(max(rows, columns), min(rows, columns)))
        theirs = torch.empty(shape, dtype=torch.float64)
        # torch draws (rows, columns) and transposes a wide one
        given = numbers if rows >= columns else numbers.T
        monkeypatch.setattr(
            torch.Tensor, "normal_", lambda self, *_, given=given, **__: self.copy_(torch.tensor(given))
        )
        tnn.init.orthogonal_(theirs, 1.5)
        monkeypatch.undo()
        fixed = Recorder()
        fixed.normal = lambda numbers=numbers, **_: numbers
        ours = nn.init.orthogonal_(nn.Parameter(np.zeros(shape)), 1.5, generator=fixed)
        agree(ours.data, theirs.numpy())


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    activation=st.sampled_from([("relu", "ReLU"), ("gelu", "GELU"), ("softplus", "Softplus"), ("elu", "ELU")]),
    norm=st.sampled_from([None, "batch", "layer"]),
    rows=st.integers(2, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_random_mlps(sizes, activation, norm, rows, seed):
    rng = np.random.default_rng(seed)
    layers = []
    for n_in, n_out in pairwise(sizes[:-1]):
        layers.append(tnn.Linear(n_in, n_out))
        if norm is not None:
            layers.append({"batch": tnn.BatchNorm1d, "layer": tnn.LayerNorm}[norm](n_out, eps=0.1))
        layers.append(getattr(tnn, activation[1])())
    ours = nn.MLP(sizes, activation[0], norm=norm, **F64)
    for module in ours:
        if hasattr(module, "eps"):
            module.eps = 0.1  # of a nearly constant column little but rounding is left
    ours, theirs = twins(ours, tnn.Sequential(*layers, tnn.Linear(*sizes[-2:])), rng)
    step(ours, theirs, rng.normal(size=(rows, sizes[0])), rng, units=512)
    same_states(ours, theirs)
