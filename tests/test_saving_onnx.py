"""Models as ONNX compute what they compute here."""

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import nn

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

ACTIVATIONS = ["relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "softplus", "tanh"]


def trained(model, shape, dtype=np.float32, seed=0):
    """With parameters and running statistics that are not what they start from."""
    rng = np.random.default_rng(seed)
    for _ in range(3):
        model(rng.normal(1, 2, size=(16, *shape)).astype(dtype))
    for parameter in model.parameters():
        parameter.data[...] += 0.1 * rng.normal(size=parameter.shape)
    return model


def check(tmp_path, model, shape, dtype=np.float32, bound=1e-6, **options):
    path = tmp_path / "m.onnx"
    modes = [m.training for m in model.modules()]
    before = model.state_dict()
    tg.export_onnx(model, path, **options)
    assert [m.training for m in model.modules()] == modes
    assert all((before[name] == array).all() for name, array in model.state_dict().items())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(1)
    for rows in (1, 7, 64):
        x = rng.normal(size=(rows, *shape)).astype(dtype)
        (found,) = session.run(["output"], {"input": x})
        model.eval()
        expected = model(x).numpy()
        model.train()
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert np.abs(found - expected).max() <= bound * np.abs(expected).max()
    return onnx.load(path)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_mlps(tmp_path, activation, norm):
    model = nn.MLP([6, 9, 8, 4], activation, norm=norm, dropout=0.3, generator=np.random.default_rng(0))
    check(tmp_path, trained(model, (6,)), (6,))


@pytest.mark.parametrize("activation", ["relu", "silu", "sigmoid", "tanh"])  # onnxruntime has float64 for these
def test_float64(tmp_path, activation):
    model = nn.MLP([6, 9, 4], activation, dtype=np.float64, generator=np.random.default_rng(0))
    check(tmp_path, trained(model, (6,), np.float64), (6,), np.float64, bound=1e-13)


def test_names_and_free_batch(tmp_path):
    generator = np.random.default_rng(0)
    layers = (nn.Linear(3, 4, generator=generator), nn.Linear(4, 2, bias=False, generator=generator))
    model = nn.Sequential(nn.Sequential(layers[0]), nn.ReLU(), layers[1])
    proto = check(tmp_path, model, (3,))
    assert {w.name for w in proto.graph.initializer} == set(model.state_dict())
    (start,), (end,) = proto.graph.input, proto.graph.output
    dims = [[d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] for x in (start, end)]
    assert dims == [["N", 3], ["N", 2]]
    assert (start.name, end.name) == ("input", "output")
    assert [node.op_type for node in proto.graph.node] == ["Gemm", "Relu", "Gemm", "Identity"]
    assert proto.producer_name == "tinygrad_ce"


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3, generator=np.random.default_rng(2)), nn.Softmax()),
            (3, 4),
        ),
        (lambda: nn.Sequential(nn.Flatten(1, 2), nn.Linear(5, 3, generator=np.random.default_rng(2))), (3, 4, 5)),
        (lambda: nn.Sequential(nn.Flatten(-2), nn.LayerNorm((3, 20))), (3, 4, 5)),
        (
            lambda: nn.Sequential(
                nn.Linear(5, 3, generator=np.random.default_rng(2)),
                nn.Linear(3, 2, bias=False, generator=np.random.default_rng(2)),
            ),
            (4, 5),
        ),
        (
            lambda: nn.Sequential(
                nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(20, 2, generator=np.random.default_rng(2))
            ),
            (4, 5),
        ),
        (lambda: nn.Sequential(nn.BatchNorm1d(4, affine=False), nn.LogSoftmax()), (4,)),
        (lambda: nn.Sequential(nn.LayerNorm(4, elementwise_affine=False), nn.Softmax(temperature=3.0)), (4,)),
        (lambda: nn.Sequential(nn.LayerNorm(4, bias=False), nn.Softmax(axis=1)), (3, 4)),
        (lambda: nn.Sequential(nn.Identity(), nn.Dropout(0.5)), (4,)),
        (lambda: nn.Sequential(nn.GELU("tanh"), nn.ELU(0.5), nn.LeakyReLU(0.3)), (4,)),
        (lambda: nn.Linear(4, 2, generator=np.random.default_rng(2)), (4,)),
    ],
)
def test_other_chains(tmp_path, make, shape):
    check(tmp_path, trained(make(), shape), shape, input_shape=shape)


class Own(nn.Sequential):
    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (nn.Sequential(nn.Linear(4, 3), nn.Embedding(5, 2)), {}, TypeError, r"is known for 1, Embedding\(5, 2\)"),
        (nn.Sequential(nn.Sequential(nn.MSELoss())), {}, TypeError, r"no ONNX is known for 0\.0, MSELoss"),
        (Own(nn.Linear(4, 3)), {}, TypeError, "no ONNX is known for Own; expected Linear, .* in a Sequential or MLP"),
        (nn.Sequential(nn.ReLU()), {}, ValueError, r"the first layer does not tell .* write input_shape=\(28, 28\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), {}, ValueError, "the first layer does not tell"),
        (nn.ReLU(), {"input_shape": 3}, ValueError, "input_shape=3; expected positive integers"),
        (nn.ReLU(), {"input_shape": (0,)}, ValueError, r"input_shape=\(0,\); expected positive integers"),
        (nn.Sequential(nn.Flatten(0)), {"input_shape": (3,)}, TypeError, "flattens the batch too; expected start"),
        (nn.BatchNorm1d(3, track_running_stats=False), {}, TypeError, "has no running statistics"),
        (None, {}, TypeError, "export_onnx: model is None; expected a Module"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_leaves_no_file(tmp_path, model, options, error, message):
    with pytest.raises(error, match=message):
        tg.export_onnx(model, tmp_path / "m.onnx", **options)
    assert list(tmp_path.iterdir()) == []


def test_an_input_of_the_wrong_shape_is_refused(tmp_path):
    with pytest.raises(ValueError, match="linear"):
        tg.export_onnx(nn.Linear(4, 2), tmp_path / "m.onnx", input_shape=(5,))
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "tinygrad_ce\[onnx\]"'):
        tg.export_onnx(nn.Linear(4, 2), tmp_path / "m.onnx")
