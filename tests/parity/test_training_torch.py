"""Training runs, saved models and reports beside PyTorch and scikit-learn."""

from itertools import pairwise

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn, optim

torch = pytest.importorskip("torch")
load_file = pytest.importorskip("safetensors.torch").load_file
save_file = pytest.importorskip("safetensors.torch").save_file

ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "gelu": torch.nn.GELU, "silu": torch.nn.SiLU}


@pytest.fixture(autouse=True)
def one_thread():
    """Small matrices: several threads only wait for each other."""
    found = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(found)


def both(activation="relu", norm=None, sizes=(64, 32, 10), dtype=np.float64):
    """The same network here and there, with PyTorch's initial weights."""
    torch.manual_seed(0)
    layers = []
    for n_in, n_out in pairwise(sizes[:-1]):
        layers.append(torch.nn.Linear(n_in, n_out))
        if norm is not None:
            layers.append({"batch": torch.nn.BatchNorm1d, "layer": torch.nn.LayerNorm}[norm](n_out))
        layers.append(ACTIVATIONS[activation]())
    theirs = torch.nn.Sequential(*layers, torch.nn.Linear(*sizes[-2:]))
    theirs = theirs.to({np.float64: torch.float64, np.float32: torch.float32}[dtype])
    ours = nn.MLP(sizes, activation, norm=norm, dtype=dtype)
    ours.load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    return ours, theirs


@pytest.mark.parametrize(
    ("name", "norm", "activation"),
    [("sgd", None, "relu"), ("momentum", "batch", "tanh"), ("adam", "layer", "gelu"), ("adamw", None, "silu")],
)
def test_two_hundred_steps_have_the_same_losses(name, norm, activation):
    ours, theirs = both(activation, norm)
    optimizer, optimizer_there = {
        "sgd": (optim.SGD, torch.optim.SGD),
        "momentum": (optim.SGD, torch.optim.SGD),
        "adam": (optim.Adam, torch.optim.Adam),
        "adamw": (optim.AdamW, torch.optim.AdamW),
    }[name]
    options = {"sgd": {"lr": 0.1}, "momentum": {"lr": 0.02, "momentum": 0.9, "nesterov": True}}.get(name, {"lr": 1e-3})
    train, test = tg.data.digits()
    data = tg.data.ArrayDataset(train.inputs.astype(np.float64), train.targets)
    batches = list(tg.data.DataLoader(data, batch_size=64, shuffle=True, generator=np.random.default_rng(0)))[:20]
    made = optimizer(ours.parameters(), **options)
    schedule = optim.CosineAnnealingLR(made, T_max=10)
    valid = (test.inputs.astype(np.float64), test.targets)
    history = tg.fit(
        ours, batches, valid, loss=F.softmax_cross_entropy, optimizer=made, schedule=schedule, epochs=10, progress=False
    )

    made_there = optimizer_there(theirs.parameters(), **options)
    schedule_there = torch.optim.lr_scheduler.CosineAnnealingLR(made_there, T_max=10)
    losses, valid_losses, valid_accuracies = [], [], []
    for _ in range(10):
        theirs.train()
        for x, y in batches:
            made_there.zero_grad()
            loss = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(y))
            loss.backward()
            made_there.step()
            losses.append(loss.item())
        schedule_there.step()
        theirs.eval()
        with torch.no_grad():
            z, y = theirs(torch.from_numpy(valid[0])), torch.from_numpy(valid[1])
        valid_losses.append(torch.nn.functional.cross_entropy(z, y).item())
        valid_accuracies.append((z.argmax(1) == y).double().mean().item())
    assert len(losses) == 200
    assert losses[-1] < 0.7 * losses[0]
    np.testing.assert_allclose(history.steps["loss"], losses, rtol=1e-10, atol=0)
    np.testing.assert_allclose(history["valid_loss"], valid_losses, rtol=1e-10, atol=0)
    np.testing.assert_allclose(history["valid_accuracy"], valid_accuracies, rtol=1e-15, atol=0)
    for name, tensor in theirs.state_dict().items():
        found, expected = ours.state_dict()[name], tensor.numpy()
        assert np.abs(found - expected).max() <= 1e-9 * np.abs(expected).max(), name


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_file_of_ours_loads_in_torch_and_back(tmp_path, norm, dtype):
    ours, theirs = both(norm=norm, dtype=dtype)
    x = np.random.default_rng(0).normal(size=(5, 64)).astype(dtype)
    ours(x)  # moves the running statistics
    tg.save(ours, tmp_path / "ours.safetensors")
    state = load_file(tmp_path / "ours.safetensors")
    assert theirs.load_state_dict(state, strict=True)
    for name, array in ours.state_dict().items():
        assert state[name].numpy().dtype == array.dtype
        np.testing.assert_array_equal(state[name].numpy(), array)
    with torch.no_grad():
        z = theirs.eval()(torch.from_numpy(x)).numpy()
    bound = 2e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(ours.eval()(x).numpy(), z, rtol=bound, atol=bound * np.abs(z).max())

    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    other = nn.MLP([64, 32, 10], norm=norm, dtype=dtype)
    tg.load(other, tmp_path / "theirs.safetensors")
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, ours.state_dict()[name])


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64"])
def test_files_of_torch_in_other_dtypes(tmp_path, kind):
    theirs = torch.nn.Linear(6, 4).to(getattr(torch, kind))
    save_file(theirs.state_dict(), tmp_path / "m.safetensors")
    ours = nn.Linear(6, 4)
    tg.load(ours, tmp_path / "m.safetensors")
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], tensor.float().numpy())


def test_torchs_own_files_are_refused_and_the_advice_works(tmp_path):
    _, theirs = both(dtype=np.float32)
    path = tmp_path / "m.pt"
    for new in (True, False):
        torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=new)
        with pytest.raises(ValueError, match="is a pickle of PyTorch") as caught:
            tg.load(nn.MLP([64, 32, 10]), path)
        advice = str(caught.value).split("with torch: ")[1]
        exec("import torch, safetensors.torch\n" + advice)
        ours = nn.MLP([64, 32, 10])
        tg.load(ours, tmp_path / "m.safetensors")
        np.testing.assert_array_equal(ours[0].weight.numpy(), theirs[0].weight.detach().numpy())


@pytest.mark.parametrize("seed", range(5))
def test_the_report_has_scikit_learns_numbers(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    classes, rows = int(rng.integers(2, 8)), int(rng.integers(1, 60))
    y, said = rng.integers(0, classes, rows), rng.integers(0, classes, rows)
    names = [f"c{i}" for i in range(classes)]
    ours = tg.classification_report(y, said, names)
    theirs = metrics.classification_report(
        y, said, labels=range(classes), target_names=names, output_dict=True, zero_division=0
    )
    for i, name in enumerate(names):
        found = [ours.precision[i], ours.recall[i], ours.f1[i], ours.support[i]]
        expected = [theirs[name][key] for key in ("precision", "recall", "f1-score", "support")]
        np.testing.assert_allclose(found, expected, rtol=1e-15, atol=0)
    for key, weighted in (("macro avg", False), ("weighted avg", True)):
        expected = [theirs[key][column] for column in ("precision", "recall", "f1-score")]
        np.testing.assert_allclose(ours.average(weighted), expected, rtol=1e-14, atol=0)
    assert ours.accuracy == pytest.approx(metrics.accuracy_score(y, said), rel=1e-15)
    matrix = metrics.confusion_matrix(y, said, labels=range(classes))
    np.testing.assert_array_equal(tg.confusion_matrix(y, said, names).array, matrix)


def test_calibration_has_scikit_learns_bins():
    calibration_curve = pytest.importorskip("sklearn.calibration").calibration_curve
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 500)
    y = rng.integers(0, 4, 500)
    found = tg.calibration(p, y, bins=10)
    right, said = calibration_curve(p.argmax(1) == y, p.max(1), n_bins=10)
    filled = found.count > 0
    np.testing.assert_allclose(found.accuracy[filled], right, rtol=1e-14, atol=0)
    np.testing.assert_allclose(found.confidence[filled], said, rtol=1e-14, atol=0)
