"""Architectures as data: back and forth through JSON, and refusal of everything else."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tinygrad_ce import nn
from tinygrad_ce.nn.architecture import from_config, to_config

SIZES = st.integers(1, 5)
DTYPES = st.sampled_from(["float16", "float32", "float64"])
NUMBERS = st.floats(-3, 3)
REDUCTIONS = st.sampled_from(["mean", "sum", "none"])
AXES = st.integers(-2, 2)
WEIGHTS = st.one_of(st.none(), st.sampled_from([np.float32([1, 0.1]), np.array([3, 4]), np.array([[0.5]])]))
LEAVES = st.one_of(
    st.builds(nn.Linear, SIZES, SIZES, st.booleans(), dtype=DTYPES),
    st.builds(nn.Embedding, st.just(4), SIZES, st.sampled_from([None, 0, -1]), dtype=DTYPES),
    st.builds(nn.Dropout, st.floats(0, 1)),
    st.builds(nn.LayerNorm, st.one_of(SIZES, st.lists(SIZES, min_size=1, max_size=3)), st.floats(1e-6, 1),
              st.booleans(), st.booleans(), dtype=DTYPES),
    st.builds(nn.BatchNorm1d, SIZES, st.floats(1e-6, 1), st.one_of(st.none(), st.floats(0, 1)), st.booleans(),
              st.booleans(), dtype=DTYPES),
    st.builds(nn.Flatten, AXES, AXES),
    st.builds(nn.LeakyReLU, NUMBERS), st.builds(nn.ELU, NUMBERS), st.builds(nn.GELU, st.sampled_from(["none", "tanh"])),
    st.builds(nn.Softmax, AXES, st.floats(0.5, 2)), st.builds(nn.LogSoftmax, AXES),
    st.sampled_from([nn.Identity, nn.ReLU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Tanh]).map(lambda kind: kind()),
    st.builds(nn.SoftmaxCrossEntropy, weight=WEIGHTS, ignore_index=AXES, label_smoothing=st.floats(0, 1),
              reduction=REDUCTIONS, axis=AXES, on_empty=st.sampled_from(["nan", "zero", "raise"]),
              precise=st.booleans()),
    st.builds(nn.NLLLoss, weight=WEIGHTS, reduction=REDUCTIONS),
    st.builds(nn.SigmoidBinaryCrossEntropy, weight=WEIGHTS, pos_weight=WEIGHTS, reduction=REDUCTIONS),
    st.builds(nn.BinaryCrossEntropy, reduction=REDUCTIONS), st.builds(nn.MSELoss, reduction=REDUCTIONS),
    st.builds(nn.KLDivLoss, reduction=st.sampled_from(["batchmean", "mean"])),
)  # fmt: skip
NAMES = st.sampled_from(["fc", "norm", "0", "1", "7", "head_2"])
MODELS = st.recursive(
    st.one_of(
        LEAVES,
        st.builds(
            nn.MLP, st.lists(SIZES, min_size=2, max_size=4), st.sampled_from(["relu", "tanh", "gelu"]),
            dropout=st.sampled_from([0.0, 0.3]), norm=st.sampled_from([None, "batch", "layer"]), dtype=DTYPES,
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda modules: nn.Sequential(*modules)),
        st.dictionaries(NAMES, inner, max_size=3).map(nn.Sequential),
        st.lists(inner, max_size=3).map(nn.ModuleList),
    ),
    max_leaves=8,
)  # fmt: skip


def form(model):
    return {name: (array.shape, array.dtype) for name, array in model.state_dict().items()}


@settings(max_examples=80)
@given(model=MODELS)
def test_round_trip_through_json(model):
    config = to_config(model)
    text = json.dumps(config)
    assert json.loads(text) == config
    again = from_config(json.loads(text))
    assert [type(m) for m in again.modules()] == [type(m) for m in model.modules()]
    assert [name for name, _ in again.named_modules()] == [name for name, _ in model.named_modules()]
    assert repr(again) == repr(model)
    assert form(again) == form(model)
    assert to_config(again) == config
    again.load_state_dict(model.state_dict())
    for (name, a), b in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert a.tobytes() == b.tobytes(), name


@settings(max_examples=20)
@given(
    sizes=st.lists(SIZES, min_size=2, max_size=4), norm=st.sampled_from([None, "batch", "layer"]), dtype=DTYPES,
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_the_same_weights_compute_the_same(sizes, norm, dtype, seed):
    rng = np.random.default_rng(seed)
    model = nn.MLP(sizes, "gelu", norm=norm, dropout=0.5, generator=rng, dtype=dtype)
    x = rng.normal(size=(3, sizes[0])).astype(dtype)
    model(x)
    again = from_config(to_config(model))
    again.load_state_dict(model.state_dict())
    assert type(again) is nn.MLP
    assert_array_equal(again.eval()(x).data, model.eval()(x).data)


def test_every_module_of_nn_has_a_config():
    every = {
        name for name in nn.__all__
        if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module) and name != "Module"
    }  # fmt: skip
    made = {
        "Linear": nn.Linear(2, 3), "Embedding": nn.Embedding(2, 3), "LayerNorm": nn.LayerNorm(2), "MLP": nn.MLP([2, 3]),
        "BatchNorm1d": nn.BatchNorm1d(2),
        "LinearCrossEntropyLoss": nn.LinearCrossEntropyLoss(2, 3, out_features=(4,), class_weight=[1, 2, 3]),
    }  # fmt: skip
    for name in every:
        model = made.get(name) or getattr(nn, name)()
        assert type(from_config(json.loads(json.dumps(to_config(model))))) is getattr(nn, name)


def test_a_config_is_short_and_plain():
    assert to_config(nn.Sequential({"0": nn.Linear(2, 3), "act": nn.ELU(), "norm": nn.LayerNorm((2, 3))})) == {
        "class": "Sequential",
        "children": [
            {
                "class": "Linear",
                "arguments": {"in_features": 2, "out_features": 3, "bias": True, "dtype": "float32"},
            },
            {"name": "act", "class": "ELU", "arguments": {"alpha": 1.0}},
            {
                "name": "norm",
                "class": "LayerNorm",
                "arguments": {
                    "normalized_shape": [2, 3], "eps": 1e-5, "elementwise_affine": True, "bias": True,
                    "dtype": "float32",
                },
            },
        ],
    }  # fmt: skip


def test_what_was_changed_by_hand_and_can_be_said_is_said(rng):
    model = nn.MLP([3, 4, 2], generator=rng)
    model[0].bias = None
    model.append(nn.Softmax())
    again = from_config(to_config(model), generator=np.random.default_rng(0))
    assert type(again) is nn.MLP
    assert again[0].bias is None
    assert len(again) == 4
    first, second = (
        from_config(to_config(model), generator=np.random.default_rng(0)).state_dict()["2.weight"] for _ in range(2)
    )
    assert_array_equal(first, second)


class Own(nn.Module):
    def forward(self, x):
        return x


class Linear(nn.Linear):
    """Of the same name as one of ours."""


def with_extra():
    model = nn.Sequential(nn.ReLU())
    model[0].extra = nn.Parameter([1.0])
    return model


def reshaped():
    model = nn.Linear(2, 3)
    model.weight = nn.Parameter(np.zeros((3, 5)))
    return model


def tied():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    return model


def twice():
    layer = nn.Linear(2, 2)
    return nn.Sequential(layer, nn.ReLU(), layer)


def cyclic():
    model = nn.Sequential(nn.Sequential())
    model[0].append(model)
    return model


@pytest.mark.parametrize(
    ("model", "error", "match"),
    [
        (Own(), TypeError, r"^to_config: the model is a Own, no class of tinygrad_ce\.nn"),
        (nn.Sequential(nn.ReLU(), nn.Sequential(Own())), TypeError, r"^to_config: 1\.0 is a Own, .*state_dict\(\)"),
        (nn.Sequential(Linear(2, 2)), TypeError, r"^to_config: 0 is a Linear, no class of tinygrad_ce\.nn"),
        (type("MLP", (nn.MLP,), {})([2, 2]), TypeError, r"^to_config: the model is a MLP, no class of"),
        (with_extra(), ValueError, r"^to_config: 0\.extra was changed after its module was made"),
        (reshaped(), ValueError, r"^to_config: weight was changed after its module was made"),
        (tied(), ValueError, r"^to_config: 0\.weight and 1\.weight are one tensor, .*load_state_dict\(\)"),
        (twice(), ValueError, r"^to_config: 0\.weight and 2\.weight are one tensor"),
        (cyclic(), ValueError, r"^to_config: 0\.0 is inside itself"),
        ({"class": "ReLU"}, TypeError, r"^to_config: expected a Module, found dict"),
    ],
)  # fmt: skip
def test_what_a_config_cannot_say(model, error, match):
    with pytest.raises(error, match=match):
        to_config(model)


def test_a_module_without_state_may_be_used_twice():
    act = nn.ReLU()
    again = from_config(to_config(nn.Sequential(nn.Linear(2, 2), act, nn.Linear(2, 2), act)))
    assert [type(m).__name__ for m in again] == ["Linear", "ReLU", "Linear", "ReLU"]


def linear(**arguments):
    return {"class": "Linear", "arguments": {"in_features": 2, "out_features": 3, **arguments}}


DEEP = {"class": "ReLU"}
for _ in range(20_000):
    DEEP = {"class": "Sequential", "children": [DEEP]}

MALFORMED = [
    (None, "config: expected a dict with a 'class', found NoneType"),
    ([], "config: expected a dict with a 'class', found list"),
    ({}, "config: class=None; expected one of Sequential, ModuleList, MLP, Linear, "),
    ({"class": "os.system"}, r"config: class='os\.system'; expected one of"),
    ({"class": "Module"}, "config: class='Module'; expected one of"),
    ({"class": ["Linear"]}, r"config: class=\['Linear'\]; expected one of"),
    ({"class": "ReLU", "children": []}, "config: 'children' is unknown in the config of a ReLU"),
    ({"class": "Sequential", "arguments": {}}, "config: 'arguments' is unknown in the config of a Sequential"),
    ({"class": "Sequential", "children": {"0": {"class": "ReLU"}}}, "children: expected a list, found dict"),
    ({"class": "Sequential", "children": "ReLU"}, "children: expected a list, found str"),
    ({"class": "Sequential", "children": ["ReLU"]}, r"children\[0\]: expected a dict with a 'class', found"),
    ({"class": "Sequential", "children": [{"class": "ReLU", "name": "forward"}]}, "cannot have the name 'forward'"),
    ({"class": "Sequential", "children": [{"class": "ReLU", "name": "__class__"}]}, "cannot have the name '__class__'"),
    ({"class": "Sequential", "children": [{"class": "ReLU", "name": "a.b"}]}, "cannot have the name 'a.b'"),
    ({"class": "Sequential", "children": [{"class": "ReLU", "name": 1}]}, "cannot have the name 1"),
    ({"class": "Sequential", "children": [{"class": "ReLU", "name": []}]}, r"cannot have the name \[\]"),
    ({"class": "ModuleList", "children": [{"class": "ReLU", "name": "1"}, {"class": "ReLU"}]},
     r"children\[1\]: the name '1' is given twice"),
    ({"class": "Linear"}, "config: .*missing 2 required positional arguments"),
    ({"class": "Linear", "arguments": [2, 3]}, "arguments: expected a dict, found list"),
    (linear(generator=3), "Linear has no argument 'generator'"),
    (linear(weight=[[1.0]]), "Linear has no argument 'weight'"),
    (linear(in_features=0), "Linear: in_features=0; expected a positive integer"),
    (linear(in_features="2"), "Linear: in_features='2' is not of the kind expected"),
    (linear(in_features=2.0), r"Linear: in_features=2\.0 is not of the kind expected"),
    (linear(bias="yes"), "Linear: bias='yes' is not of the kind expected"),
    (linear(bias=1), "Linear: bias=1 is not of the kind expected"),
    (linear(dtype="object"), "Linear: dtype='object' is not of the kind expected"),
    (linear(dtype="int64"), "Linear: dtype='int64' is not of the kind expected"),
    (linear(in_features=2**62, out_features=2**62), "config: "),
    ({"class": "GELU", "arguments": {"approximate": "erf"}}, "approximate='erf' is not of the kind expected"),
    ({"class": "Dropout", "arguments": {"p": 7}}, "Dropout: p=7; expected a number from 0 to 1"),
    ({"class": "Dropout", "arguments": {"p": True}}, "Dropout: p=True is not of the kind expected"),
    ({"class": "Softmax", "arguments": {"axis": None}}, "Softmax: axis=None is not of the kind expected"),
    ({"class": "LayerNorm", "arguments": {"normalized_shape": [2, "3"]}}, "is not of the kind expected"),
    ({"class": "BatchNorm1d", "arguments": {"num_features": 2, "momentum": "none"}}, "is not of the kind expected"),
    ({"class": "NLLLoss", "arguments": {"weight": {"dtype": "object", "values": [1]}}}, "is not of the kind expected"),
    ({"class": "NLLLoss", "arguments": {"weight": {"dtype": ["f"], "values": [1]}}}, "is not of the kind expected"),
    ({"class": "NLLLoss", "arguments": {"weight": {"dtype": "float32", "values": "x"}}}, "is not of the kind expected"),
    ({"class": "NLLLoss", "arguments": {"weight": {"dtype": "float32", "values": [[1], []]}}}, "is not of the kind"),
    ({"class": "NLLLoss", "arguments": {"weight": "ones"}}, "weight='ones' is not of the kind expected"),
    ({"class": "MSELoss", "arguments": {"reduction": "max"}}, "reduction='max' is not of the kind expected"),
    (DEEP, "the config is nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "match"), MALFORMED)
def test_malformed_configs_are_refused(config, match):
    loaded = set(sys.modules)
    with pytest.raises(ValueError, match=rf"^from_config: .*{match}"):
        from_config(config)
    assert set(sys.modules) == loaded


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.sampled_from(["Linear", "ReLU", "os", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["class", "name", "arguments", "children", "in_features", "p", "dtype", "values"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100)
@given(config=JSON, kind=st.sampled_from(["Linear", "Sequential", "MLP", "Dropout", "BatchNorm1d", "NLLLoss", None]))
def test_any_json_gives_a_module_or_a_value_error(config, kind):
    if kind is not None and isinstance(config, dict):
        config = {**config, "class": kind}
    try:
        model = from_config(config)
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
        assert isinstance(model, nn.Module)
    assert not refused or refused.startswith("from_config: config")
