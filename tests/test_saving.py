"""Models as safetensors files: round trips, foreign files, broken files."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from safetensors.numpy import save as to_bytes

import tinygrad_ce as tg
from tinygrad_ce import nn

ACTIVATIONS = ["relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "softplus", "tanh"]


def same_state(one, other):
    a, b = one.state_dict(), other.state_dict()
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].dtype, name
        assert a[name].shape == b[name].shape, name
        assert a[name].tobytes() == b[name].tobytes(), name


def header(path):
    content = path.read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=5),
    activation=st.sampled_from(ACTIVATIONS),
    dropout=st.sampled_from([0.0, 0.25]),
    norm=st.sampled_from([None, "batch", "layer"]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    seed=st.integers(0, 99),
)
def test_random_architectures_round_trip(tmp_path_factory, sizes, activation, dropout, norm, dtype, seed):
    path = tmp_path_factory.mktemp("saved") / "m.safetensors"
    rng = np.random.default_rng(seed)
    model = nn.MLP(sizes, activation, dropout=dropout, norm=norm, dtype=dtype, generator=rng)
    for parameter in model.parameters():
        parameter.data[...] = rng.normal(size=parameter.shape)
    tg.save(model, path)
    again = tg.load_model(path)
    assert repr(again) == repr(model)
    assert type(again) is nn.MLP
    same_state(model, again)
    x = rng.normal(size=(3, sizes[0])).astype(dtype)
    np.testing.assert_array_equal(again.eval()(x).numpy(), model.eval()(x).numpy())
    other = nn.MLP(sizes, activation, dropout=dropout, norm=norm, dtype=dtype)
    tg.load(other, path)
    same_state(model, other)


def test_nested_and_named_models_round_trip(tmp_path):
    path = tmp_path / "m.safetensors"
    model = nn.Sequential(
        {
            "stem": nn.Sequential(nn.Flatten(), nn.Linear(12, 5, bias=False), nn.BatchNorm1d(5, momentum=None)),
            "table": nn.Identity(),
            "head": nn.Linear(5, 2),
        }
    )
    model(np.random.default_rng(0).normal(size=(6, 3, 4)).astype(np.float32))  # moves the running statistics
    tg.save(model, path)
    again = tg.load_model(path)
    assert repr(again) == repr(model)
    same_state(model, again)
    assert "stem.1.weight" in again.state_dict()


def test_what_is_in_the_file(tmp_path):
    path = tmp_path / "m.safetensors"
    model = nn.MLP([4, 3, 2], generator=np.random.default_rng(0))
    tg.save(model, path)
    found = load_file(path)
    assert list(found) == ["0.bias", "0.weight", "2.bias", "2.weight"] or set(found) == set(model.state_dict())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(found[name], array)
    metadata = header(path)["__metadata__"]
    assert metadata["format"] == "tinygrad_ce"
    assert metadata["version"] == tg.__version__
    assert json.loads(metadata["architecture"])["class"] == "MLP"
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_saving_replaces_and_keeps_permissions(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    path.chmod(0o600)
    tg.save(nn.Linear(2, 2), path)
    assert tg.load_model(path).weight.shape == (2, 2)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


class Odd(nn.Module):
    """Parameters of all kinds: 0-d, empty, not contiguous."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.scale = nn.Parameter(rng.normal())
        self.none = nn.Parameter(np.zeros((0, 3), np.float16))
        self.wide = nn.Parameter(rng.normal(size=(2, 3)))
        self.turned = nn.Parameter(rng.normal(size=(4, 3)))
        self.turned._data = np.asfortranarray(self.turned.data)
        self.strided = nn.Parameter(np.zeros(3))
        self.strided._data = rng.normal(size=6)[::2]


def test_odd_arrays_round_trip(tmp_path):
    path = tmp_path / "m.safetensors"
    one, other = Odd(1), Odd(2)
    tg.save(one, path)
    assert load_file(path)["scale"].shape == ()
    np.testing.assert_array_equal(load_file(path)["turned"], one.turned.numpy())
    tg.load(other, path)
    same_state(one, other)


def test_a_model_of_ones_own_class_has_no_architecture(tmp_path):
    path = tmp_path / "m.safetensors"
    tg.save(Odd(1), path)
    with pytest.raises(ValueError, match=r"load_model: .* holds no architecture: .*Odd.*load\(model, path\)"):
        tg.load_model(path)


def test_a_file_of_another_library_loads(tmp_path):
    path = tmp_path / "m.safetensors"
    model = nn.Linear(2, 3)
    weight, bias = np.arange(6.0).reshape(3, 2), np.ones(3, np.float16)
    save_file({"weight": weight, "bias": bias}, path)
    tg.load(model, path)
    np.testing.assert_array_equal(model.weight.numpy(), weight.astype(np.float32))
    with pytest.raises(
        ValueError, match=r"holds no architecture: it was not written by tinygrad_ce.save. Build the model"
    ):
        tg.load_model(path)


def raw(tensors):
    """A file by hand: name to (dtype, shape, bytes)."""
    entries, data = {}, b""
    for name, (kind, shape, content) in tensors.items():
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_bfloat16_becomes_float32_exactly(tmp_path):
    path = tmp_path / "m.safetensors"
    values = np.array([[1.0, -2.5, 3.140625e10], [0.0, -np.inf, 2.0**-130]], np.float32)  # 8 bits or fewer each
    upper = (values.view(np.uint32) >> 16).astype("<u2")
    assert ((upper.astype(np.uint32) << 16).view(np.float32) == values).mean() > 0.8
    path.write_bytes(raw({"weight": ("BF16", [2, 3], upper.tobytes()), "bias": ("BF16", [2], b"\x80\x3f\x00\xc0")}))
    model = nn.Linear(3, 2)
    tg.load(model, path)
    np.testing.assert_array_equal(model.weight.numpy(), (upper.astype(np.uint32) << 16).view(np.float32))
    assert model.bias.numpy().tolist() == [1.0, -2.0]


def test_a_dtype_that_numpy_has_not_is_named(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(raw({"weight": ("F8_E4M3", [1, 1], b"\x00"), "bias": ("F32", [1], bytes(4))}))
    with pytest.raises(ValueError, match=r"holds 'weight' as F8_E4M3, which NumPy has not; convert it|is a corrupt"):
        tg.load(nn.Linear(1, 1), path)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was run')",)


def torch_zip():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(Evil()))
    return buffer.getvalue()


GOOD = to_bytes({"weight": np.ones((3, 2), np.float32), "bias": np.zeros(3, np.float32)})


@pytest.mark.parametrize("caller", ["load", "load_model"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; expected a safetensors file"),
        (GOOD[:-1], r"is cut off: it has \d+ of \d+ bytes or more; copy or save it again"),
        (GOOD[:40], "is cut off"),
        (GOOD[:5], "is no safetensors file"),
        (GOOD + b"\0", "is a corrupt safetensors file"),
        (GOOD.replace(b"[3,2]", b"[3,9]"), "is a corrupt safetensors file"),
        (b"\xff" * 200, "is no safetensors file"),
        (b"<html>404</html>", "is no safetensors file"),
        (pickle.dumps(Evil()), "is a pickle of PyTorch, which can run any code .*safetensors.torch.save_file"),
        (torch_zip(), "is a pickle of PyTorch, which can run any code when it is opened, and is not read"),
    ],
    ids=["empty", "cut", "cut header", "five bytes", "longer", "shape", "noise", "html", "pickle", "torch"],
)
def test_broken_files_are_one_clear_error(tmp_path, caller, content, message):
    path = tmp_path / "m.pt"
    path.write_bytes(content)
    model = nn.Linear(2, 3)
    before = model.state_dict()
    with pytest.raises(ValueError, match=message) as caught:
        tg.load(model, path) if caller == "load" else tg.load_model(path)
    assert str(caught.value).startswith(f"{caller}: '{path}' ")
    assert "\n" not in str(caught.value)
    assert all((before[name] == array).all() for name, array in model.state_dict().items())


@settings(max_examples=60)
@given(position=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255))
def test_one_wrong_byte_never_half_loads(tmp_path_factory, position, byte):
    path = tmp_path_factory.mktemp("saved") / "m.safetensors"
    path.write_bytes(GOOD[:position] + bytes([byte]) + GOOD[position + 1 :])
    model = nn.Linear(2, 3)
    before = model.state_dict()
    try:
        tg.load(model, path)
    except ValueError as error:
        found = str(error)
        unchanged = all((before[name] == array).all() for name, array in model.state_dict().items())
    else:
        return  # it was the byte of a number
    assert str(path) in found
    assert unchanged


def test_a_state_that_does_not_fit_leaves_the_model(tmp_path):
    path = tmp_path / "m.safetensors"
    tg.save(nn.MLP([4, 5, 2]), path)
    for model in (nn.MLP([4, 5, 2, 2]), nn.MLP([4, 6, 2]), nn.Linear(4, 5)):
        before = model.state_dict()
        with pytest.raises(ValueError, match="load_state_dict") as expected:
            model.load_state_dict(dict(sorted(load_file(path).items())))
        with pytest.raises(ValueError, match=r"missing|shape") as caught:
            tg.load(model, path)
        assert str(caught.value) == f"load: '{path}' does not fit the model: {expected.value}"
        assert all((before[name] == array).all() for name, array in model.state_dict().items())


def test_an_architecture_that_cannot_be_built_is_one_error(tmp_path):
    path = tmp_path / "m.safetensors"
    tg.save(nn.Linear(2, 3), path)
    content = path.read_bytes()
    for old, new in ((b"Linear", b"Lineal"), (b"in_features", b"in_featurez"), (b'\\"class\\"', b'\\"clazz\\"')):
        path.write_bytes(content.replace(old, new))
        with pytest.raises(
            ValueError, match=r"load_model: the architecture in .*, written by version .*, cannot be built"
        ):
            tg.load_model(path)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: tg.save({"a": 1}, p / "m"), TypeError, "save: model is .*; expected a Module"),
        (lambda p: tg.save(nn.Linear, p / "m"), TypeError, "save: model is the class Linear; expected a Module"),
        (lambda p: tg.save(nn.Linear(1, 1), p / "no" / "m"), FileNotFoundError, "the folder .* does not exist"),
        (lambda p: tg.save(nn.Linear(1, 1), p), IsADirectoryError, "is a folder; expected the name of a file"),
        (lambda p: tg.load(nn.Linear(1, 1), p / "m"), FileNotFoundError, "load: there is no file '.*m'"),
        (lambda p: tg.load(nn.Linear(1, 1), p), IsADirectoryError, "is a folder"),
        (lambda p: tg.load(p / "m", nn.Linear(1, 1)), TypeError, r"the model comes first: write load\(model, path\)"),
        (lambda p: tg.load_model(p / "m"), FileNotFoundError, "load_model: there is no file"),
    ],
)
def test_wrong_calls(tmp_path, call, error, message):
    with pytest.raises(error, match=message):
        call(tmp_path)


def test_the_same_model_makes_the_same_bytes(tmp_path):
    from tinygrad_ce.training.files import write

    metadata = {f"key {i}": "x" * i for i in range(12)}
    files = []
    for i in range(5):
        write("test", tmp_path / str(i), {"b": np.arange(3.0), "a": np.ones((), np.float32)}, metadata)
        files.append((tmp_path / str(i)).read_bytes())
    assert len(set(files)) == 1
    with safe_open(tmp_path / "0", "numpy") as file:
        assert file.metadata() == metadata
        np.testing.assert_array_equal(file.get_tensor("b"), np.arange(3.0))
