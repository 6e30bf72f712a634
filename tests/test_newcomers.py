"""What people who come from PyTorch, micrograd or NumPy write first, and what they are told."""

import re

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn, optim

CLASSES = [0, 1, 2, 0]


def tensor(*shape):
    return tg.Tensor(np.random.default_rng(0).normal(size=shape), requires_grad=True)


def sgd(**options):
    return optim.SGD(nn.MLP([3, 2]).parameters(), **{"lr": 0.1, **options})


def backward_twice():
    loss = (tensor(3) ** 2).sum()
    loss.backward()
    loss.backward()


def write_into_a_leaf():
    x = tensor(3)
    x[0] = 1.0


def loss_under_no_grad():
    with tg.no_grad():
        loss = tensor(3).sum()
    loss.backward()


def fit(**options):
    model, data = nn.MLP([3, 2]), (np.ones((4, 3)), np.array([0, 1, 0, 1]))
    known = {"loss": F.softmax_cross_entropy, "optimizer": optim.SGD(model.parameters(), lr=0.1), "epochs": 1}
    return tg.fit(model, options.pop("train", data), progress=False, **{**known, **options})


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: nn.Linear(3, 2)(tensor(4, 5)), ValueError,
         "linear: x has shape (4, 5) and weight (2, 3); expected x (..., 3)"),
        (lambda: nn.Linear(3.0, 2), ValueError, "in_features=3.0; expected a positive integer"),
        (lambda: nn.Linear(3, 2, generator=0), TypeError, "write generator=numpy.random.default_rng(seed)"),
        (lambda: nn.MLP([3]), ValueError, "sizes=[3]; expected at least inputs and outputs, such as [64, 32, 10]"),
        (lambda: nn.MLP(3, [4, 2]), ValueError, "sizes=3; expected at least inputs and outputs"),
        (lambda: nn.MLP([3, 2], activation="Relu"), ValueError, "activation='Relu'; expected one of relu, "),
        (lambda: nn.Sequential(nn.Linear(3, 2), nn.ReLU), TypeError, "write ReLU()"),
        (lambda: nn.Sequential(nn.Linear(3, 2), np.tanh), TypeError, "expected a Module such as ReLU()"),
        (lambda: nn.Sequential([nn.Linear(3, 2), nn.ReLU()]), TypeError, "write Sequential(*layers)"),
        (lambda: nn.Sequential(nn.ReLU() for _ in range(2)), TypeError, "write Sequential(*layers)"),
        (lambda: nn.CrossEntropyLoss(), AttributeError, "is nn.SoftmaxCrossEntropy here"),
        (lambda: nn.functional, AttributeError, "is tinygrad_ce.functional here"),
        (lambda: nn.utils.clip_grad_norm_, AttributeError, "is optim.clip_grad_norm and optim.clip_grad_value here"),
        (lambda: optim.clip_grad_norm_, AttributeError, "'clip_grad_norm_'; write optim.clip_grad_norm"),
        (lambda: optim.lr_scheduler.StepLR, AttributeError, "the schedules are in optim itself, such as optim.StepLR"),
        (lambda: tg.zeros(3), AttributeError, "has no attribute 'zeros'; write tg.Tensor(np.zeros(shape))"),
        (lambda: tg.ones(3), AttributeError, "write tg.Tensor(np.ones(shape))"),
        (lambda: tg.randn(3), AttributeError, "write tg.Tensor(np.random.default_rng(seed).normal(size=shape))"),
        (lambda: tg.manual_seed(0), AttributeError,
         "randomness comes from numpy.random.default_rng(seed), given as generator="),
        (lambda: tg.exp(tensor(3)), AttributeError, "has no attribute 'exp'; write tg.functional.exp"),
        (lambda: tensor(4).view(2, 2), AttributeError,
         "Tensor has no attribute and no registered op 'view'; write x.reshape(shape)"),
        (lambda: tensor(4, 2).permute(1, 0), AttributeError, "write x.transpose(axes)"),
        (lambda: tensor(4, 2).t(), AttributeError, "write x.T"),
        (lambda: tensor(4, 2).mm(tensor(2, 3)), AttributeError, "write x @ y"),
        (lambda: tensor(4).unsqueeze(0), AttributeError, "write np.expand_dims(x, axis)"),
        (lambda: tensor(4, 2).flatten(), AttributeError, "write x.reshape(-1)"),
        (lambda: tensor(4).float(), AttributeError, "write x.astype(np.float32)"),
        (lambda: tensor(4).to(np.float64), AttributeError, "write x.astype(dtype); there are no devices"),
        (lambda: tensor(4).cuda(), AttributeError, "leave it out: there are no devices"),
        (lambda: np.dot(tensor(3), tensor(3)), TypeError, "np.dot is not supported on Tensors; write x @ y"),
        (lambda: np.ravel(tensor(3, 2)), TypeError, "np.ravel is not supported on Tensors; write x.reshape(-1)"),
        (lambda: F.cross_entropy(tensor(4, 3), CLASSES), AttributeError, "is F.softmax_cross_entropy here"),
        (lambda: F.binary_cross_entropy_with_logits(tensor(2), [0, 1]), AttributeError,
         "is F.sigmoid_binary_cross_entropy here"),
        (lambda: F.softmax_cross_entropy(tensor(4, 3), np.eye(3, dtype=int)[CLASSES]), ValueError,
         "are they one-hot? write targets.argmax(1)"),
        (lambda: F.softmax_cross_entropy(tensor(4, 3), [0.0, 1, 2, 0]), ValueError,
         "found float64; write np.asarray(targets, dtype=np.int64)"),
        (lambda: F.softmax_cross_entropy(tensor(4, 3), np.array([0.0, 1, 2, 0])), ValueError,
         "found float64; write np.asarray(targets, dtype=np.int64)"),
        (lambda: F.softmax_cross_entropy(tensor(4, 3), ["cat", "dog", "cat", "emu"]), ValueError,
         "found strings, such as 'cat'; number the classes with np.unique(targets, return_inverse=True)[1]"),
        (lambda: F.softmax_cross_entropy(tensor(4, 3), np.array(["cat", "dog", "cat", "emu"], object)), ValueError,
         "np.unique(targets, return_inverse=True)[1]"),
        (lambda: F.nll_loss(F.log_softmax(tensor(4, 3)), np.array([b"a", b"b", b"a", b"c"])), ValueError,
         "np.unique(targets, return_inverse=True)[1]"),
        (lambda: F.softmax_cross_entropy(tensor(4, 3), [[0], [1], [2], [0]]), ValueError, "write targets.squeeze(1)"),
        (lambda: F.softmax_cross_entropy(tensor(4, 3), [0, 1, 2]), ValueError, "shape (3,), expected (4,)"),
        (lambda: F.softmax_cross_entropy(tensor(4, 3), [0, 1, 2, 3]), IndexError,
         "targets[3] = 3 is not a class; valid are 0 to 2"),
        (lambda: F.softmax_cross_entropy(np.ones((4, 3), int), CLASSES), ValueError,
         "logits must be floating, found int64; write logits.astype(np.float32)"),
        (lambda: F.softmax_cross_entropy(tensor(4, 3), CLASSES, axis=2), ValueError,
         "axis=2 is no axis of logits of shape (4, 3)"),
        (lambda: F.softmax_cross_entropy(tensor(4, 3), CLASSES, reduction="avg"), ValueError,
         'reduction=\'avg\'; expected "mean", "sum" or "none"'),
        (lambda: F.nll_loss(F.softmax(tensor(4, 3)), CLASSES), ValueError, "use log_softmax in its place"),
        (lambda: F.mse_loss(tensor(4), tensor(4, 1)), ValueError, "x has shape (4,) but y has shape (4, 1)"),
        (lambda: F.binary_cross_entropy(tensor(4), [0, 1, 0, 1]), ValueError, "use sigmoid_binary_cross_entropy"),
        (lambda: F.softmax(tensor(3, 4), axis=5), np.exceptions.AxisError, "valid are -2 to 1"),
        (lambda: F.softmax(tensor(3, 4), axis="1"), TypeError, "axis='1'; expected an int"),
        (lambda: tensor(3, 4).sum(0, 1), TypeError, "keepdims=1; expected True or False; for several axes write "
                                                    "axis=(0, 1)"),
        (lambda: tensor(3, 4).mean(0, "yes"), TypeError, "mean: keepdims='yes'; expected True or False"),
        (lambda: F.relu("x"), TypeError, "found dtype <U1"),
        (lambda: nn.Embedding(5, 2)([0, 7]), IndexError, "indices[1] is 7, expected 0 <= index < 5"),
        (lambda: tensor(3).backward(), RuntimeError, "reduce it to one number with .sum() or .mean() first"),
        (lambda: tg.grad(tensor(3) * 2, tensor(3)), RuntimeError, "reduce it to one number"),
        (lambda: tg.grad(tensor(3).sum(), tensor(3)), RuntimeError, "pass allow_unused=True"),
        (backward_twice, RuntimeError, "give that pass retain_graph=True, or run the forward again"),
        (write_into_a_leaf, RuntimeError, "build the result with where() or concatenate()"),
        (loss_under_no_grad, RuntimeError, "compute it outside no_grad()"),
        (lambda: bool(tensor(3) > 0), ValueError, "neither true nor false; use .any() or .all()"),
        (lambda: tensor(3).item(), ValueError, "use .numpy()"),
        (lambda: tensor(3, 4) @ tensor(3, 4), ValueError, "matmul: x has shape (3, 4) and y (3, 4)"),
        (lambda: tg.tensor([1.0]), AttributeError, "no attribute 'tensor'; write tg.Tensor(data)"),
        (lambda: tg.float32, AttributeError, "write numpy.float32"),
        (lambda: tg.Tensor([[1, 2], [3]]), ValueError, "data is a ragged list"),
        (lambda: tg.Tensor(np.arange(3), requires_grad=True), TypeError, "dtype=np.float32"),
        (lambda: tg.Tensor(None), TypeError, "data is None, no number; a Tensor holds float16, "),
        (lambda: tg.Tensor(3, 4), TypeError, "requires_grad=4; expected True or False. The data comes first; for "
                                             "zeros of a shape write Tensor(np.zeros(shape))"),
        (lambda: tg.Tensor([1.0], np.float64), TypeError, "expected True or False"),
        (lambda: np.linalg.inv(tensor(3, 3)), TypeError, "np.linalg.inv is not supported on Tensors"),
        (lambda: optim.SGD([], lr=0.1), ValueError, "no parameters given; write SGD(model.parameters(), ...)"),
        (lambda: optim.SGD(nn.MLP([3, 2]), lr=0.1), TypeError, "params is one MLP; write model.parameters()"),
        (lambda: optim.SGD([tensor(3) * 2], lr=0.1), ValueError, "expected a leaf that requires a gradient"),
        (lambda: sgd(lr=-1), ValueError, "lr=-1; expected a number from 0"),
        (lambda: sgd(momentum=2), ValueError, "momentum=2; expected a number from 0 to below 1"),
        (lambda: optim.StepLR(nn.MLP([3, 2]), 3), TypeError, "optimizer is MLP; write StepLR(optimizer, ...)"),
        (lambda: nn.MLP([3, 2]).load_state_dict(nn.MLP([3, 4]).state_dict()), ValueError,
         "0.weight has shape (4, 3), expected (2, 3)"),
        (lambda: nn.MLP([3, 2]).load_state_dict("m.safetensors"), TypeError, "expected a mapping of names to arrays"),
        (lambda: tg.draw(nn.MLP([3, 2])), TypeError, "draw: output: MLP is a model, which has a graph when it is "
                                                     "called; write draw(model(x))"),
        (lambda: tg.draw(np.ones(3)), TypeError, "expected a Tensor or a sequence of Tensors"),
        (lambda: tg.draw(tensor(3).sum()).save("x.jpg"), ValueError, "expected a name that ends in .svg, .png"),
        (lambda: tg.compare_gradients(np.ones((4, 3)), [0, 1]), ValueError, "targets have shape (2,), expected (4,)"),
        (lambda: tg.compare_gradients(np.ones((4, 3)), CLASSES, chains=["nope"]), ValueError, "no chain is called"),
        (lambda: fit(epochs=1.5), ValueError, "epochs=1.5; expected a whole number of at least 1"),
        (lambda: fit(callbacks=3), TypeError, "fit: callbacks=3; expected a list, such as [EarlyStopping(patience=3)]"),
        (lambda: fit(callbacks=tg.training.EarlyStopping()), TypeError, "expected a list, such as [EarlyStopping("),
        (lambda: fit(train=[1, 2]), TypeError, "a batch is int; expected a pair (inputs, targets)"),
        (lambda: fit(optimizer=sgd()), ValueError, "the optimizer has none of the model's parameters"),
        (lambda: tg.evaluate(nn.MLP([3, 2]), np.ones((4, 3))), TypeError, "found one array of shape (4, 3); expected"),
        (lambda: tg.data.ArrayDataset([[1, 2]], [0]), TypeError, "write np.array([...])"),
        (lambda: tg.data.DataLoader((np.ones((4, 3)), CLASSES), 2), TypeError, "write tg.data.ArrayDataset(inputs, "),
        (lambda: tg.data.DataLoader(np.ones((4, 3)), 0), ValueError, "batch_size must be at least 1, found 0"),
        (lambda: tg.save("m.safetensors", nn.MLP([3, 2])), TypeError, "model is 'm.safetensors'; expected a Module"),
        (lambda: tg.load_model("none.safetensors"), FileNotFoundError, "there is no file 'none.safetensors'"),
    ],
)  # fmt: skip
def test_what_is_wrong_and_what_to_write(call, error, said):
    with pytest.raises(error, match=re.escape(said)):
        call()


def test_softmax_twice_is_told():
    with pytest.warns(UserWarning, match="softmax is applied twice"):
        F.softmax_cross_entropy(F.softmax(tensor(4, 3)), CLASSES)


@pytest.mark.parametrize(
    ("where", "written", "meant"),
    [
        (F, "sofmax", "softmax"),
        (tg, "drow", "draw"),
        (nn, "Liner", "Linear"),
        (optim, "Adan", "Adam"),
        (tensor(3), "reshap", "reshape"),
    ],
)
def test_spellings_of_names_are_suggested_by_python(where, written, meant):
    with pytest.raises(AttributeError) as found:
        getattr(where, written)
    assert found.value.name == written
    assert meant in dir(found.value.obj)


@pytest.mark.parametrize("asked", [True, False, np.True_, np.False_])
def test_requires_grad_takes_the_bools_of_numpy_too(asked):
    assert tg.Tensor([1.0], requires_grad=asked).requires_grad is bool(asked)


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (lambda x: x * [1, 2], [0.5, 4.0]),
        (lambda x: np.exp(x).log(), [0.5, 2.0]),
        (lambda x: np.where(x > 1, x, 0), [0.0, 2.0]),
        (lambda x: 2**x, [2**0.5, 4.0]),
        (lambda x: np.stack([x, x]).sum(0), [1.0, 4.0]),
        (lambda x: np.array(x), [0.5, 2.0]),
        (lambda x: F.softmax([x[0].item(), x[0].item()]), [0.5, 0.5]),
    ],
)
def test_what_is_right_though_it_looks_wrong(call, result):
    np.testing.assert_allclose(np.asarray(call(tg.Tensor([0.5, 2.0], requires_grad=True))), result, rtol=1e-6)
