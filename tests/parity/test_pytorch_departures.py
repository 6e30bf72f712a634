"""Where we answer differently from PyTorch on purpose: what it does, what we do, and why. Each is held to both.

A test here that fails on PyTorch's side says that PyTorch has changed its mind: then the departure may go.
"""

import math
from typing import Any

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import functional as F

torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install -e '.[parity]'")
pytest.importorskip("expecttest", reason="PyTorch's samples need it: pip install -e '.[parity]'")

from tests.parity.pytorch_samples import Case  # noqa: E402
from tests.parity.test_pytorch_suites import CASES, departure, ids, not_normalized, tensors  # noqa: E402

nnf = torch.nn.functional
NAN, INF = math.nan, math.inf
X = [[1.0, 2.0, 3.0], [1.0, 5.0, 0.5]]

REASONS = {
    "a number has no axis": "a 0-d array has no axis 0, in NumPy and so here; PyTorch takes it for one of one entry",
    "no classes": "of no classes none can be chosen; an empty result would hide the mistake",
    "not normalized": "targets that do not sum to 1 are rarely meant: the same numbers, and a warning",
    "negative probabilities": "no distribution has them; most often they are log-probabilities",
    "dtype of the weight": "float32 weights for float64 logits say what is meant; they are converted",
    "dtype of the indices": "any integer is an index",
    "smoothing outside [0, 1]": "PyTorch takes negative and nan smoothing in silence",
    "confident rows": "loss and gradient are representable: PyTorch rounds 1 - p to 0",
    "ignored rows are not read": "what is ignored may hold anything; PyTorch's gradient leaks nan",
    "0 times -inf is 0": "a class that is masked out and has probability 0 adds nothing; PyTorch's loss is nan",
    "float16 means": "PyTorch counts the rows in float16, where 70,000 is infinite",
    "never -0.0": "a loss of 0 prints as 0.0",
}


def test_every_departure_has_a_test() -> None:
    assert {f"test_{''.join(c if c.isalnum() else '_' for c in name)}" for name in REASONS} <= set(globals())


def both(z: Any, targets: Any, dtype: str = "float64", **options: Any) -> tuple[Any, Any, Any, Any]:
    """Loss and gradient of the logits, ours and then theirs."""
    ours = tg.Tensor(np.array(z, dtype), requires_grad=True)
    loss = F.softmax_cross_entropy(ours, np.asarray(targets), **options)
    loss.sum().backward()
    theirs = torch.tensor(np.array(z, dtype), requires_grad=True)
    expected = nnf.cross_entropy(theirs, torch.as_tensor(np.asarray(targets)), **options)
    expected.sum().backward()
    assert ours.grad is not None
    return loss.data, ours.grad.data, expected.detach().numpy(), theirs.grad.numpy()


def of(name: str) -> Any:
    return pytest.mark.parametrize("case", [case for case in CASES if departure(case) == name], ids=ids)


@of("a number has no axis")
def test_a_number_has_no_axis(case: Case, request: pytest.FixtureRequest) -> None:
    request.node.user_properties.append(("suite", f"{case.suite}, departures"))  # counted at the end of the run
    (x,), (their_x,) = tensors(case)
    assert case.theirs(their_x).shape == ()
    with pytest.raises(np.exceptions.AxisError, match="a 0-d tensor has no axes"):
        case.ours(x)
    assert case.ours(x.reshape(1)).data == case.theirs(their_x).detach().numpy()  # what theirs stands for


@of("no classes")
def test_no_classes(case: Case, request: pytest.FixtureRequest) -> None:
    request.node.user_properties.append(("suite", f"{case.suite}, departures"))  # counted at the end of the run
    (x,), (their_x,) = tensors(case)
    assert case.theirs(their_x).shape == (5, 0, 0)
    with pytest.raises(ValueError, match="at least one class"):
        case.ours(x)


@pytest.mark.parametrize("case", [case for case in CASES if not_normalized(case)], ids=ids)
def test_not_normalized(case: Case) -> None:
    with pytest.warns(UserWarning, match="the targets are probabilities but do not sum to 1 along axis 1"):
        case.ours(*tensors(case)[0])


def test_negative_probabilities() -> None:
    q = np.array([[-1.0, 1, 1], [0, 0, 1]])
    assert nnf.cross_entropy(torch.tensor(X).double(), torch.tensor(q)) > 0
    with pytest.raises(ValueError, match=r"targets\[0, 0\] = -1 is negative, and no probability"):
        F.softmax_cross_entropy(np.array(X), q)


@pytest.mark.parametrize("narrow", ["float16", "float32"])
def test_dtype_of_the_weight(narrow: str) -> None:
    weight, targets = np.array([1, 2, 3.5], narrow), np.array([2, 0])
    with pytest.raises(RuntimeError, match="expected scalar type Double but found"):
        nnf.cross_entropy(torch.tensor(X).double(), torch.tensor(targets), torch.tensor(weight))
    expected = nnf.cross_entropy(torch.tensor(X).double(), torch.tensor(targets), torch.tensor(weight).double())
    found = F.softmax_cross_entropy(np.array(X), targets, weight=weight)
    assert found.dtype == np.float64
    assert found.item() == pytest.approx(expected.item(), rel=1e-15)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint16", "uint32", "uint64"])
def test_dtype_of_the_indices(dtype: str) -> None:
    targets = np.array([2, 0], dtype)
    with pytest.raises(RuntimeError, match="expected target dtype to be Long or Byte"):
        nnf.cross_entropy(torch.tensor(X), torch.tensor(targets))
    with_int64 = F.softmax_cross_entropy(X, targets.astype(np.int64))
    assert F.softmax_cross_entropy(X, targets).item() == with_int64.item()


@pytest.mark.parametrize("smoothing", [-0.1, NAN])
def test_smoothing_outside__0__1_(smoothing: float) -> None:
    targets = np.array([2, 0])
    silent = nnf.cross_entropy(torch.tensor(X), torch.tensor(targets), label_smoothing=smoothing)
    assert silent == nnf.cross_entropy(torch.tensor(X), torch.tensor(targets))
    with pytest.raises(ValueError, match=r"label_smoothing=.*; expected a number from 0 to 1"):
        F.softmax_cross_entropy(X, targets, label_smoothing=smoothing)


@pytest.mark.parametrize(("dtype", "margin"), [("float32", 20.0), ("float64", 50.0)])
def test_confident_rows(dtype: str, margin: float) -> None:
    loss, dz, their_loss, their_dz = both([[margin, 0, 0]], [0], dtype)
    assert their_loss == 0
    assert their_dz[0, 0] == 0
    truth = 2 * math.exp(-margin)  # but for its square
    assert loss == pytest.approx(truth, rel=1e-6)
    assert dz[0, 0] == pytest.approx(-truth, rel=1e-6)
    np.testing.assert_allclose(dz[0, 1:], their_dz[0, 1:], rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("anything", [NAN, INF])
def test_ignored_rows_are_not_read(anything: float, smoothing: float) -> None:
    z = [[1.0, 2, 3], [anything, 0, 0]]
    loss, dz, their_loss, their_dz = both(z, [0, -100], label_smoothing=smoothing)
    assert np.isnan(their_dz[1]).all()
    assert (dz[1] == 0).all()
    np.testing.assert_allclose(dz[0], their_dz[0], rtol=1e-14)
    assert loss == pytest.approx(their_loss.item(), rel=1e-15)


def test_0_times__inf_is_0() -> None:
    loss, dz, their_loss, their_dz = both([[-INF, 0.0, 1.0]], [[0.0, 0.5, 0.5]])
    assert math.isnan(their_loss)
    assert loss == pytest.approx(math.log1p(math.e) - 0.5, rel=1e-15)
    np.testing.assert_allclose(dz, their_dz, rtol=1e-14)


def test_float16_means() -> None:
    rows = 70_000
    loss, dz, their_loss, their_dz = both(np.zeros((rows, 2)), np.zeros(rows, np.int64), "float16")
    assert their_loss == 0
    assert (their_dz == 0).all()
    assert loss == np.float16(math.log(2))
    assert (dz[0] == np.array([-0.5 / rows, 0.5 / rows], np.float16)).all()


def test_never__0_0() -> None:
    log_probs, targets = np.array([[0.0, -INF]]), np.array([0])
    theirs = nnf.nll_loss(torch.tensor(log_probs), torch.tensor(targets), reduction="none")
    assert math.copysign(1, theirs.item()) == -1
    ours = F.nll_loss(log_probs, targets, reduction="none")
    assert ours.item() == 0
    assert math.copysign(1, ours.item()) == 1
