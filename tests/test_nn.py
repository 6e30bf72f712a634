"""Modules and containers: what is found in them, what is done to them, and what is refused."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn


class Block(nn.Module):
    """A module as a user writes one: no super().__init__()."""

    def __init__(self, generator):
        self.inner = nn.Linear(3, 4, generator=generator)
        self.scale = nn.Parameter(np.ones(4))
        self.calls = nn.Buffer(np.zeros((), np.int64))

    def forward(self, x):
        self.calls.data[...] += 1
        return self.inner(x) * self.scale


def names(pairs):
    return [name for name, _ in pairs]


# What is found


def test_members_are_found_by_attribute_in_the_order_they_were_set(rng):
    model = nn.Sequential(Block(rng), nn.ReLU(), nn.Linear(4, 2, generator=rng))
    assert names(model.named_parameters()) == ["0.scale", "0.inner.weight", "0.inner.bias", "2.weight", "2.bias"]
    assert names(model.named_buffers()) == ["0.calls"]
    assert names(model.named_modules()) == ["", "0", "0.inner", "1", "2"]
    assert names(model.named_children()) == ["0", "1", "2"]
    assert model.children() == list(model)
    assert model.modules()[0] is model
    assert model.num_parameters() == 4 + 12 + 4 + 8 + 2
    assert [b.item() for b in model.buffers()] == [0]
    model(np.ones((2, 3)))
    assert model[0].calls.item() == 1
    assert model[0].calls.dtype == np.int64


def test_the_constructor_of_a_base_class_may_be_called_or_not(rng):
    class Polite(Block):
        def __init__(self, generator):
            super().__init__(generator)
            nn.Module.__init__(self)
            self.extra = nn.ReLU()

    assert names(Polite(rng).named_children()) == ["inner", "extra"]


def test_what_is_shared_is_found_once(rng):
    model = nn.Module()
    model.a, model.b = nn.Linear(3, 3, generator=rng), nn.Linear(3, 3, generator=rng)
    model.c = model.a
    model.b.weight = model.a.weight
    assert names(model.named_parameters()) == ["a.weight", "a.bias", "b.bias"]
    assert names(model.named_modules()) == ["", "a", "b"]
    assert model.num_parameters() == 9 + 3 + 3
    model.a.bias = None
    del model.b
    model.a.weight = nn.Parameter(np.zeros((2, 2)))
    assert names(model.named_parameters()) == ["a.weight"]


def test_cycles_are_walked_once(rng):
    parent = nn.Sequential(nn.Linear(2, 3, generator=rng))
    parent[0].owner = parent
    assert names(parent.named_parameters()) == ["0.weight", "0.bias"]
    assert list(parent.state_dict()) == ["0.weight", "0.bias"]
    parent.load_state_dict(parent.state_dict())
    assert repr(parent) == "Sequential(\n  (0): Linear(2, 3\n    (owner): ...\n  )\n)"
    seen = []
    parent.apply(seen.append)
    assert seen == [parent[0], parent]
    assert parent.eval()[0].training is False
    assert [layer.path for layer in parent.summary((1, 2)).layers] == ["0"]


def test_a_deep_nest_is_walked():
    model = nn.Sequential(nn.Identity())
    for _ in range(2000):
        model = nn.Sequential(model)
    assert len(model.modules()) == 2002
    assert model.eval().state_dict() == {}
    model.apply(lambda _: None)


@pytest.mark.parametrize(
    "value",
    [[nn.ReLU()], (nn.ReLU(),), {"a": nn.ReLU()}, {nn.ReLU()}, [[1, (nn.ReLU(), 2)]], [None, nn.Parameter([1.0])],
     {"mean": nn.Buffer([1.0])}],
    ids=["list", "tuple", "dict", "set", "nested", "parameter", "buffer"],
)  # fmt: skip
def test_modules_in_plain_containers_are_refused(value):
    model = nn.Module()
    model.layers = "as it was"
    with pytest.raises(TypeError, match=r"^Module\.layers: the (ReLU|Parameter|Buffer) in this .* would not be found"):
        model.layers = value
    assert model.layers == "as it was"


def test_the_hint_says_what_to_write():
    model = nn.Module()
    with pytest.raises(TypeError, match=r"write self\.layers = nn\.ModuleList\(\[\.\.\.\]\), or setattr"):
        model.layers = [nn.ReLU()]
    with pytest.raises(TypeError, match=r"write setattr\(self, 'weights0', \.\.\.\) for each"):
        model.weights = [nn.Parameter([1.0])]


def test_a_list_that_is_filled_later_is_refused_when_parameters_are_asked_for():
    model = nn.Module()
    model.layers = []
    model.layers.append(model.layers)  # a list may hold itself
    assert model.parameters() == []
    model.layers.append(nn.Linear(2, 2))
    for ask in (model.parameters, model.state_dict, model.train, lambda: repr(model)):
        with pytest.raises(TypeError, match="the Linear in this list would not be found"):
            ask()


def test_plain_containers_of_anything_else_are_fine():
    model = nn.Module()
    model.sizes, model.names, model.options = [1, 2], ("a",), {"x": np.ones(3), "y": tg.Tensor([1.0])}
    assert model.parameters() == []


def test_a_tensor_does_not_take_the_place_of_a_parameter(rng):
    model, norm = nn.Linear(2, 2, generator=rng), nn.BatchNorm1d(2)
    before = model.weight
    for value in (tg.Tensor(np.zeros((2, 2))), np.zeros((2, 2)), model.weight * 2):
        with pytest.raises(TypeError, match=r"Linear\.weight is a Parameter, .*\.weight\.data\[\.\.\.\]"):
            model.weight = value
    with pytest.raises(TypeError, match=r"BatchNorm1d\.running_mean is a Buffer"):
        norm.running_mean = norm.running_mean * 0.5
    assert model.weight is before
    model.bias = None
    assert model.state_dict().keys() == {"weight"}


# What is done to it


def test_train_and_eval_reach_everything(rng):
    model = nn.Sequential(Block(rng), nn.Sequential(nn.Dropout()))
    assert all(module.training for module in model.modules())
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    assert model.train()[1][0].training
    with pytest.raises(TypeError, match="train: training: expected True or False, found list"):
        model.train([1, 2])


def test_apply_goes_from_the_inside_out_in_order(rng):
    model = nn.Sequential(Block(rng), nn.Sequential(nn.ReLU(), nn.Tanh()))
    kinds = []
    assert model.apply(lambda module: kinds.append(type(module).__name__)) is model
    assert kinds == ["Linear", "Block", "ReLU", "Tanh", "Sequential", "Sequential"]


def test_freezing(rng):
    model = nn.MLP([3, 4, 2], generator=rng)
    assert model[0].requires_grad_(False) is model[0]
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]
    F.sum(model(np.ones((2, 3), np.float32))).backward()
    assert [p.grad is None for p in model.parameters()] == [True, True, False, False]
    model.zero_grad()
    assert all(p.grad is None for p in model.requires_grad_().parameters())
    assert all(p.requires_grad for p in model.parameters())
    frozen = nn.Parameter([1.0], requires_grad=False)
    assert not frozen.requires_grad
    assert frozen.is_leaf


def test_parameters_and_buffers_own_their_memory():
    data = np.ones(3, np.float32)
    for kind in (nn.Parameter(data), nn.Parameter(data, requires_grad=False), nn.Buffer(data)):
        kind.data[...] = 5
    assert_array_equal(data, 1)
    assert not nn.Buffer(data).requires_grad


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_whole_and_apart(rng, copied):
    model = nn.MLP([3, 4, 2], norm="batch", dropout=0.5, generator=rng)
    model(np.ones((4, 3), np.float32))
    twin = copied(model)
    assert repr(twin) == repr(model)
    assert type(twin[1].running_mean) is nn.Buffer
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    assert_array_equal(twin(x).data, model(x).data)  # the generator too was copied as it was
    twin[0].weight.data[...] = 0
    assert model[0].weight.data.any()


def test_modules_of_one_module_are_drawn_with_their_own_scope(rng):
    model = nn.Sequential(nn.Linear(2, 2, generator=rng), nn.BatchNorm1d(2))
    z = model(np.eye(2, dtype=np.float32))
    assert z.node.op.name == "batch_norm"
    assert z.node.scope == (model, model[1])


# repr


def test_reprs():
    model = nn.Sequential(
        nn.Linear(4, 8, bias=False), nn.LayerNorm((2, 4)), nn.LeakyReLU(), nn.LeakyReLU(0.2), nn.GELU("tanh"),
        nn.Sequential(nn.Embedding(9, 2, -1), nn.BatchNorm1d(8, momentum=None)), nn.Dropout(), nn.Flatten(0),
        nn.Identity(), nn.ModuleList([nn.ELU(2)]),
    )  # fmt: skip
    assert repr(model).splitlines() == [
        "Sequential(",
        "  (0): Linear(4, 8, bias=False)",
        "  (1): LayerNorm((2, 4))",
        "  (2): LeakyReLU()",
        "  (3): LeakyReLU(negative_slope=0.2)",
        "  (4): GELU(approximate='tanh')",
        "  (5): Sequential(",
        "    (0): Embedding(9, 2, padding_idx=8)",
        "    (1): BatchNorm1d(8, momentum=None)",
        "  )",
        "  (6): Dropout(p=0.5)",
        "  (7): Flatten(start_dim=0)",
        "  (8): Identity()",
        "  (9): ModuleList(",
        "    (0): ELU(alpha=2.0)",
        "  )",
        ")",
    ]
    assert repr(nn.Module()) == "Module()"


# Containers


def test_a_sequential_is_indexed_sliced_and_grown(rng):
    model = nn.Sequential(nn.Linear(2, 3, generator=rng), nn.ReLU())
    assert model.append(nn.Linear(3, 2, generator=rng)) is model
    assert (len(model), model[-1], model[0]) == (3, model[2], model.children()[0])
    head = model[:2]
    assert type(head) is nn.Sequential
    assert head[0] is model[0]
    assert type(nn.MLP([2, 3, 2])[:1]) is nn.Sequential
    x = np.ones((1, 2), np.float32)
    assert_array_equal(model[2](head(x)).data, model(x).data)
    model[-1] = nn.Linear(3, 7, generator=rng)
    assert model(x).shape == (1, 7)
    for index in (3, -4):
        with pytest.raises(IndexError, match=rf"^Sequential: index {index} of 3 modules"):
            model[index]
    del model[0].bias
    delattr(model, "1")
    model.append(nn.Tanh())  # not in the place of the last one
    assert names(model.named_children()) == ["0", "2", "3"]
    assert nn.Sequential()(x) is x


def test_a_sequential_of_named_modules(rng):
    model = nn.Sequential({"fc": nn.Linear(2, 3, generator=rng), "act": nn.Tanh()})
    assert list(model.state_dict()) == ["fc.weight", "fc.bias"]
    assert model.act is model[1]
    assert names(model.append(nn.ReLU()).named_children()) == ["fc", "act", "0"]
    for name in ("", "a.b", "forward", "training", 3):
        with pytest.raises(ValueError, match=r"^Sequential: a module cannot have the name"):
            nn.Sequential({name: nn.ReLU()})


def test_a_module_list(rng):
    heads = nn.ModuleList(nn.Linear(2, 1, generator=rng) for _ in range(3))
    assert heads.append(nn.ReLU()) is heads
    assert heads.extend([nn.Tanh(), nn.Identity()])[-1] is heads[5]
    assert len(heads[::2]) == 3
    assert type(heads[1:]) is nn.ModuleList
    assert [type(m).__name__ for m in heads] == ["Linear"] * 3 + ["ReLU", "Tanh", "Identity"]
    with pytest.raises(TypeError, match="ModuleList defines no forward"):
        heads(1.0)


@pytest.mark.parametrize("make", [nn.Sequential, lambda *m: nn.ModuleList(m)])
def test_what_is_no_module_is_refused(make):
    with pytest.raises(TypeError, match=r"argument 1 is .*ReLU.*, expected a Module such as ReLU\(\); write ReLU\(\)"):
        make(nn.ReLU(), nn.ReLU)
    with pytest.raises(TypeError, match=r"argument 0 is 'relu', expected a Module"):
        make("relu")


def test_an_mlp_is_a_sequential_of_the_layers_it_says(rng):
    plain = nn.MLP([4, 5, 6, 2], "tanh", generator=rng)
    assert [type(m).__name__ for m in plain] == ["Linear", "Tanh", "Linear", "Tanh", "Linear"]
    assert [p.shape for p in plain.parameters()] == [(5, 4), (5,), (6, 5), (6,), (2, 6), (2,)]
    full = nn.MLP([4, 5, 2], dropout=0.5, norm="batch", generator=rng, dtype="float64")
    assert [type(m).__name__ for m in full] == ["Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear"]
    assert {p.dtype.name for p in (*full.parameters(), full[1].running_var)} == {"float64"}
    assert [type(m).__name__ for m in nn.MLP(np.array([4, 2]))] == ["Linear"]
    first, second = (nn.MLP([4, 50, 2], dropout=0.5, generator=np.random.default_rng(5)) for _ in range(2))
    x = np.ones((3, 4), np.float32)
    assert_array_equal(first(x).data, second(x).data)
    assert not np.array_equal(first(x).data, first(x).data)
    assert_array_equal(first.eval()(x).data, first(x).data)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: nn.MLP([4]), ValueError, r"^MLP: sizes=\[4\]; expected at least inputs and outputs"),
        (lambda: nn.MLP(4), ValueError, r"^MLP: sizes=4; expected"),
        (lambda: nn.MLP([4, 0]), ValueError, r"^MLP: sizes\[1\]=0; expected a positive integer"),
        (lambda: nn.MLP([4, 2.5]), ValueError, r"^MLP: sizes\[1\]=2\.5"),
        (lambda: nn.MLP([4, 2], "swish"), ValueError, r"^MLP: activation='swish'; expected one of relu, "),
        (lambda: nn.MLP([4, 2], norm="group"), ValueError, r"^MLP: norm='group'; expected None, \"batch\" or"),
        (lambda: nn.MLP([4, 2], dropout=1.5), ValueError, r"^MLP: dropout=1\.5; expected a number from 0 to 1"),
        (lambda: nn.MLP([4, 2], generator=3), TypeError, r"^MLP: generator=3; write generator=numpy"),
        (lambda: nn.Linear(True, 2), ValueError, r"^Linear: in_features=True; expected a positive integer"),
        (lambda: nn.Linear(2, -1), ValueError, r"^Linear: out_features=-1"),
        (lambda: nn.Linear(2, 2, generator=np.random), TypeError, r"^Linear: generator="),
        (lambda: nn.Embedding(0, 2), ValueError, r"^Embedding: num_embeddings=0"),
        (lambda: nn.Embedding(5, 2, 5), ValueError, r"^Embedding: padding_idx=5; expected None or .* from -5 to 4"),
        (lambda: nn.Embedding(5, 2, 1.0), ValueError, r"^Embedding: padding_idx=1\.0"),
        (lambda: nn.Dropout(-0.1), ValueError, r"^Dropout: p=-0\.1; expected a number from 0 to 1"),
        (lambda: nn.Dropout("half"), ValueError, r"^Dropout: p='half'"),
        (lambda: nn.Dropout(generator=1), TypeError, r"^Dropout: generator=1"),
        (lambda: nn.LayerNorm(()), ValueError, r"^LayerNorm: normalized_shape=\(\); expected at least one"),
        (lambda: nn.LayerNorm((2, 0)), ValueError, r"^LayerNorm: normalized_shape=0; expected a positive integer"),
        (lambda: nn.LayerNorm(2, eps=0), ValueError, r"^LayerNorm: eps=0; expected"),
        (lambda: nn.BatchNorm1d("3"), ValueError, r"^BatchNorm1d: num_features='3'"),
        (lambda: nn.BatchNorm1d(3, momentum=2), ValueError, r"^BatchNorm1d: momentum=2; expected a number from 0"),
        (lambda: nn.LeakyReLU("steep"), ValueError, r"^LeakyReLU: negative_slope='steep'"),
        (lambda: nn.ELU(None), ValueError, r"^ELU: alpha=None"),
        (lambda: nn.GELU("erf"), ValueError, r"^GELU: approximate='erf'; expected \"none\" or \"tanh\""),
        (lambda: nn.Linear(2, 2)(np.ones((1, 3))), ValueError, r"^linear: x has shape \(1, 3\)"),
        (lambda: nn.Flatten(2)(np.ones((1, 3))), ValueError, r"^Flatten: start_dim=2, end_dim=-1 do not fit x of"),
        (lambda: nn.Flatten(1, 0)(np.ones((1, 3))), ValueError, r"^Flatten: start_dim=1, end_dim=0 do not fit"),
        (lambda: nn.BatchNorm1d(3)(np.ones((2, 4))), ValueError, r"shape \(2, 4\), expected \(N, 3\) or \(N, 3, L\)"),
        (lambda: nn.BatchNorm1d(3)(np.ones(3)), ValueError, r"^BatchNorm1d: x has shape \(3,\)"),
        (lambda: nn.BatchNorm1d(3)(np.ones((1, 3))), ValueError, r"one value of each feature, .* or call eval\(\)"),
        (lambda: nn.CrossEntropyLoss, AttributeError, r"nn\.CrossEntropyLoss is nn\.SoftmaxCrossEntropy here"),
        (lambda: nn.BCEWithLogitsLoss, AttributeError, r"is nn\.SigmoidBinaryCrossEntropy here"),
        (lambda: nn.Conv2d, AttributeError, r"^module 'tinygrad_ce\.nn' has no attribute 'Conv2d'$"),
    ],
)  # fmt: skip
def test_errors_say_what_to_write(make, error, match):
    with pytest.raises(error, match=match):
        make()
