"""Classic mistakes with losses, and what is said of them; the losses as modules; temperature."""

import linecache
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn

X = np.array([[1.0, 2.0, 3.0], [1.0, 5.0, 0.5]])
Y = np.array([2, 0])


def line(warning: warnings.WarningMessage) -> str:
    """The source that a warning points to."""
    assert warning.filename == __file__
    return linecache.getline(warning.filename, warning.lineno).strip()


# Softmax twice


def test_softmax_twice_warns_where_it_happens() -> None:
    p = F.softmax(np.zeros((4, 10)))
    with pytest.warns(UserWarning, match=r"softmax is applied twice .* = 1\.4612 for C = 10 classes") as found:
        F.softmax_cross_entropy(p, [0, 1, 2, 3])
    assert [line(w) for w in found] == ["F.softmax_cross_entropy(p, [0, 1, 2, 3])"]
    loss = nn.SoftmaxCrossEntropy()
    with pytest.warns(UserWarning, match="softmax is applied twice") as found:
        loss(p, [0, 1, 2, 3])
    with pytest.warns(UserWarning, match="softmax is applied twice") as more:
        p.softmax_cross_entropy([0, 1, 2, 3])
    assert [line(w) for w in (*found, *more)] == ["loss(p, [0, 1, 2, 3])", "p.softmax_cross_entropy([0, 1, 2, 3])"]


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_floor_of_softmax_twice(classes: int) -> None:
    p = F.softmax(np.eye(classes) * 1e4)  # as sure as can be, and right
    with pytest.warns(UserWarning, match="softmax is applied twice") as found:
        loss = F.softmax_cross_entropy(p, np.arange(classes))
    assert f"= {loss.item():.4f} for" in str(found[0].message)


def test_probabilities_are_known_by_where_they_come_from() -> None:
    z = tg.Tensor(np.random.default_rng(0).normal(size=(2, 6)), requires_grad=True)
    p = F.softmax(z)
    with tg.no_grad():
        unrecorded = nn.Softmax()(z)
    views = [
        p.reshape(4, 3),
        p[:, :3],
        p.T.T,
        p.detach(),
        unrecorded,
        F.softmax(z, temperature=2.0),
        p.astype("float32"),
    ]
    for view in views:
        with pytest.warns(UserWarning, match="softmax is applied twice"):
            F.softmax_cross_entropy(view, np.zeros(len(view), int))
        with pytest.raises(ValueError, match=r"^nll_loss: log_probs are probabilities, made by softmax"):
            F.nll_loss(view, np.zeros(len(view), int))


def test_what_only_looks_like_probabilities_is_silent() -> None:
    p = F.softmax(X)
    for logits in (p.numpy(), tg.Tensor(p.numpy()), p * 1.0, np.log(p), F.log_softmax(X)):
        F.softmax_cross_entropy(logits, Y)
    F.nll_loss(F.log_softmax(X), Y)
    F.nll_loss(np.log(p), Y)


def test_the_warning_can_be_an_error_and_leaves_nothing_behind() -> None:
    z = tg.Tensor(X, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="softmax is applied twice"):
            F.softmax_cross_entropy(F.softmax(z), Y)
    assert z.grad is None


# Targets


LOSSES = {
    "softmax_cross_entropy": F.softmax_cross_entropy,
    "nll_loss": lambda z, y, **o: F.nll_loss(F.log_softmax(z), y, **o),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("targets", "kind", "message"),
    [
        ([1, 3], IndexError, r"targets\[1\] = 3 is not a class; .* count from 1\? write targets - 1$"),
        ([0, 3], IndexError, r"targets\[1\] = 3 is not a class; valid are 0 to 2$"),
        ([0, -1], IndexError, r"targets\[1\] = -1 is not a class; .* write ignore_index=-1$"),
        (np.array([255, 1], np.uint8), IndexError, r"targets\[0\] = 255 is not a class; .* write ignore_index=255$"),
        ([-2, 0], IndexError, r"targets\[0\] = -2 is not a class; valid are 0 to 2$"),
        (np.eye(3, dtype=int)[:2], ValueError, r"shape \(2, 3\), expected \(2,\).* write targets.argmax\(1\)"),
        (np.eye(3, dtype=bool)[:2], ValueError, r"are they one-hot\? write targets.argmax\(1\)"),
        ([2.0, 0.0], ValueError, r"integers, found float64; write np.asarray\(targets, dtype=np.int64\)"),
        ([True, False], ValueError, "integers, found bool"),
        ([[2], [0]], ValueError, r"shape \(2, 1\), expected \(2,\).* write targets.squeeze\(1\)"),
        ([2, 0, 1], ValueError, r"shape \(3,\), expected \(2,\): .* for each row of \w+, whose shape is \(2, 3\)"),
        (2, ValueError, r"shape \(\), expected \(2,\)"),
        (None, ValueError, "targets"),
    ],
)  # fmt: skip
def test_wrong_class_targets(name: str, targets: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as error:
        LOSSES[name](X, targets)
    assert str(error.value).startswith(f"{name}: ")


@pytest.mark.parametrize("name", LOSSES)
def test_positions_in_many_axes_and_the_wrong_axis(name: str) -> None:
    z, y = np.zeros((2, 3, 4)), np.zeros((2, 4), int)
    with pytest.raises(
        ValueError, match=r"expected \(2, 3\).* classes on axis 2; are the classes on axis 1\? write axis=1"
    ):
        LOSSES[name](z, y)
    y[1, 2] = 7
    with pytest.raises(IndexError, match=r"targets\[1, 2\] = 7 is not a class; valid are 0 to 2"):
        F.nll_loss(z, y, axis=1)
    y[1, 2] = -100  # ignored rows do not hide the others
    y[0, 0] = 3
    with pytest.raises(IndexError, match=r"targets\[0, 0\] = 3"):
        F.softmax_cross_entropy(z, y, axis=1)


def test_probabilities_that_do_not_sum_to_one() -> None:
    q = np.full((3, 4), 0.25)
    q[1, 0], q[2, 1] = 0.5, 0.75
    with pytest.warns(
        UserWarning, match=r"do not sum to 1 along axis 1 in 2 of 3 rows; .* targets\[2, :\], .* 1.5"
    ) as found:
        F.softmax_cross_entropy(np.zeros((3, 4)), q)
    assert [line(w) for w in found] == ["F.softmax_cross_entropy(np.zeros((3, 4)), q)"]
    with pytest.warns(UserWarning, match=r"worst is targets\[:, 2\], with a sum of 1.5"):
        F.softmax_cross_entropy(np.zeros((4, 3)), q.T, axis=0)
    with pytest.warns(UserWarning, match=r"worst is targets, with a sum of 2\. .*sigmoid_binary_cross_entropy"):
        F.softmax_cross_entropy(np.zeros(3), [1.0, 1.0, 0.0])


@pytest.mark.parametrize(("dtype", "off"), [("float16", 2e-2), ("float32", 1e-3), ("float64", 1e-4)])
def test_rounded_probabilities_are_silent(dtype: str, off: float) -> None:
    rng = np.random.default_rng(0)
    z = np.zeros((8, 1000), dtype)
    F.softmax_cross_entropy(z, rng.dirichlet(np.ones(1000), 8).astype(dtype))
    q = np.array([[0.5, 0.5]], dtype)
    F.softmax_cross_entropy(np.zeros((1, 2), dtype), (q * (1 + off / 2)).astype(dtype))
    with pytest.warns(UserWarning, match="do not sum to 1"):
        F.softmax_cross_entropy(np.zeros((1, 2), dtype), (q * (1 + 2 * off)).astype(dtype))
    assert np.isnan(F.softmax_cross_entropy(np.zeros((1, 2)), [[np.nan, 1.0]]).item())


def test_negative_probabilities() -> None:
    with pytest.raises(
        ValueError, match=r"^softmax_cross_entropy: targets\[1, 0\] = -0.5 is negative, and no probability$"
    ):
        F.softmax_cross_entropy(X, [[0.5, 0.5, 0.0], [-0.5, 1.0, 0.5]])
    with pytest.raises(ValueError, match=r"are they log-probabilities\? write np.exp\(targets\)"):
        F.softmax_cross_entropy(X, F.log_softmax(X))


def test_the_options_of_probabilities() -> None:
    q = np.full((2, 3), 1 / 3)
    with pytest.raises(ValueError, match="ignore_index=1 picks rows by their class index"):
        F.softmax_cross_entropy(X, q, ignore_index=1)
    F.softmax_cross_entropy(X, q, ignore_index=-1)
    with pytest.raises(ValueError, match="targets are given twice"):
        tg.registry["softmax_cross_entropy"](X, q, targets=Y)
    with pytest.raises(ValueError, match="there are no targets"):
        tg.registry["softmax_cross_entropy"](X)
    F.softmax_cross_entropy(X.astype(np.float32), q).item()
    assert F.softmax_cross_entropy(X.astype(np.float32), q).dtype == np.float32


# Weights


def test_weights_are_cast_and_checked() -> None:
    expected = F.softmax_cross_entropy(X, Y, weight=[1.0, 2.0, 3.0]).item()
    for weight in ([1, 2, 3], np.array([1, 2, 3], np.float16), tg.Tensor([1.0, 2.0, 3.0])):
        value = F.softmax_cross_entropy(X.astype(np.float32), Y, weight=weight)
        assert value.dtype == np.float32
        assert value.item() == pytest.approx(expected, rel=1e-6)
    for wrong in ([1.0, 2.0], 2.0, np.ones((3, 1))):
        with pytest.raises(ValueError, match=r"weight has shape .*, expected \(3,\): one for each class on axis 1"):
            F.nll_loss(F.log_softmax(X), Y, weight=wrong)
    with pytest.raises(TypeError, match=r"no gradient flows through weight; pass weight.detach\(\)"):
        F.softmax_cross_entropy(X, Y, weight=tg.Tensor([1.0, 2.0, 3.0], requires_grad=True))
    with pytest.raises(TypeError, match="no gradient flows through pos_weight"):
        F.sigmoid_binary_cross_entropy(X, X / 8, pos_weight=tg.Tensor(2.0, requires_grad=True))


def test_multi_label_weights_by_definition() -> None:
    rng = np.random.default_rng(0)
    z, y, w, v = rng.normal(size=(4, 3)) * 3, rng.integers(0, 2, (4, 3)) * 1.0, rng.random((4, 1)), rng.random(3) * 5
    p = 1 / (1 + np.exp(-z))
    expected = -w * (v * y * np.log(p) + (1 - y) * np.log(1 - p))
    found = F.sigmoid_binary_cross_entropy(z, y, weight=w, pos_weight=v, reduction="none")
    assert_allclose(found.data, expected, rtol=1e-12)
    assert_allclose(F.sigmoid_binary_cross_entropy(z, y, weight=w, pos_weight=v).item(), expected.mean(), rtol=1e-12)


# Temperature


def test_temperature() -> None:
    z = tg.Tensor(X, requires_grad=True)
    assert_array_equal(F.softmax(z, temperature=1).data, F.softmax(z).data)
    assert_allclose(F.softmax(z, 1, 0.5).data, F.softmax(X * 2).data, rtol=1e-15)
    assert F.softmax(X.astype(np.float32), temperature=np.float64(2)).dtype == np.float32
    tg.gradcheck(lambda x: F.softmax(x, 0, temperature=3.0), [X])
    for wrong in (0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"softmax: temperature={wrong}; expected a positive number"):
            F.softmax(X, temperature=wrong)
    with pytest.raises(TypeError, match=r"to learn it, write softmax\(x / temperature\)"):
        F.softmax(X, temperature=tg.Tensor(2.0, requires_grad=True))  # type: ignore[arg-type]


# Modules


Q = np.array([[0.25, 0.25, 0.5], [0.5, 0.0, 0.5]])
MODULES = [
    (nn.Softmax(0, 2.0), "Softmax(axis=0, temperature=2.0)", F.softmax(X, 0, 2.0), (X,)),
    (nn.Softmax(), "Softmax()", F.softmax(X), (X,)),
    (nn.LogSoftmax(axis=0), "LogSoftmax(axis=0)", F.log_softmax(X, 0), (X,)),
    (nn.NLLLoss(weight=[1, 2, 3], ignore_index=2, reduction="sum", axis=0, on_empty="zero"),
     "NLLLoss(weight=[1, 2, 3], ignore_index=2, reduction='sum', axis=0, on_empty='zero')",
     F.nll_loss(-X.T, Y, weight=[1, 2, 3], ignore_index=2, reduction="sum", axis=0), (-X.T, Y)),
    (nn.SoftmaxCrossEntropy(), "SoftmaxCrossEntropy()", F.softmax_cross_entropy(X, Y), (X, Y)),
    (nn.SoftmaxCrossEntropy(weight=[1.0, 2.0, 3.0], ignore_index=-1, label_smoothing=0.1, reduction="none", axis=0,
                            on_empty="raise", precise=True),
     "SoftmaxCrossEntropy(weight=[1., 2., 3.], ignore_index=-1, label_smoothing=0.1, reduction='none', axis=0, "
     "on_empty='raise', precise=True)",
     F.softmax_cross_entropy(X.T, Q.T, weight=[1.0, 2.0, 3.0], label_smoothing=0.1, reduction="none", axis=0),
     (X.T, Q.T)),
    (nn.SigmoidBinaryCrossEntropy(weight=[1.0], pos_weight=np.arange(3.0), reduction="sum"),
     "SigmoidBinaryCrossEntropy(weight=[1.], pos_weight=[0., 1., 2.], reduction='sum')",
     F.sigmoid_binary_cross_entropy(X, Q, pos_weight=[0.0, 1.0, 2.0], reduction="sum"), (X, Q)),
    (nn.BinaryCrossEntropy(reduction="none"), "BinaryCrossEntropy(reduction='none')",
     F.binary_cross_entropy(X / 8, Q, reduction="none"), (X / 8, Q)),
    (nn.MSELoss(reduction="sum"), "MSELoss(reduction='sum')", F.mse_loss(X, Q, reduction="sum"), (X, Q)),
    (nn.KLDivLoss(reduction="batchmean"), "KLDivLoss(reduction='batchmean')",
     F.kl_div(-X, Q, reduction="batchmean"), (-X, Q)),
]  # fmt: skip


@pytest.mark.parametrize(("module", "text", "expected", "inputs"), MODULES, ids=[text for _, text, _, _ in MODULES])
def test_modules_hold_their_options(module: nn.Module, text: str, expected: tg.Tensor, inputs: tuple) -> None:
    assert repr(module) == text
    assert module.parameters() == []
    assert_allclose(module(*inputs).data, expected.data, rtol=1e-14)
    x = tg.Tensor(inputs[0], requires_grad=True)
    z = module(x, *inputs[1:])
    assert z.node is not None
    assert z.node.scope == (module,)
    assert repr(nn.Sequential(module)) == f"Sequential(\n  (0): {text}\n)"
