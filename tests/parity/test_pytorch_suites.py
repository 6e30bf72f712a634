"""PyTorch's own suites of the softmax family: values, gradients, second derivatives and error inputs.

Every sample runs. The few that we answer differently on purpose are told apart by name in `DEPARTURES`; how we answer
them is tested in test_pytorch_departures.py.
"""

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import tinygrad_ce as tg

torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install -e '.[parity]'")
pytest.importorskip("expecttest", reason="PyTorch's samples need it: pip install -e '.[parity]'")

from tests.parity.pytorch_samples import DTYPES, MODULES, Case, all_cases  # noqa: E402

# Samples and error inputs of each suite, a dtype: what PyTorch 2.13 has.
COUNTS = {
    "ModuleInfo CrossEntropyLoss": (105, 7),
    "ModuleInfo NLLLoss": (28, 1),
    "ModuleInfo Softmax": (3, 0),
    "ModuleInfo LogSoftmax": (4, 0),
    "OpInfo cross_entropy": (21, 0),
    "OpInfo nll_loss": (61, 0),
    "OpInfo softmax": (7, 0),
    "OpInfo softmax with_dtype": (7, 0),
    "OpInfo log_softmax": (7, 0),
    "OpInfo log_softmax with_dtype": (7, 0),
    "OpInfo logsumexp": (15, 0),
}

# What a sample is that we answer with an error where PyTorch has an answer, and how many are.
DEPARTURES = {
    "a number has no axis": 12,
    "no classes": 8,
}

# How far from PyTorch's float64, in epsilons of the dtype: of each value (in float64 of the largest), and of the
# largest element of a gradient.
VALUE = {"float32": 1, "float64": 16}
GRADIENT = {"float32": 8, "float64": 128}

CASES = all_cases()


def departure(case: Case) -> str | None:
    x = case.inputs[0]
    if "softmax" in case.suite.lower() and case.error is None:
        if x.ndim == 0:
            return "a number has no axis"
        if x.numel() == 0:
            return "no classes"
    return None


def ids(case: Case) -> str:
    return case.label


STRICT = [case for case in CASES if case.error is None and departure(case) is None]
ERRORS = [case for case in CASES if case.error is not None]


def test_every_sample_is_here() -> None:
    found = Counter((case.suite, case.dtype, case.error is not None) for case in CASES)
    expected = {(s, d, bool(e)): n for s, counts in COUNTS.items() for d in DTYPES for e, n in enumerate(counts) if n}
    assert found == expected
    assert Counter(filter(None, map(departure, CASES))) == DEPARTURES
    assert len(STRICT) + len(ERRORS) + sum(DEPARTURES.values()) == len(CASES)


@pytest.mark.parametrize("case", STRICT, ids=ids)
def test_sample(case: Case, rng: np.random.Generator, request: pytest.FixtureRequest) -> None:
    request.node.user_properties.append(("suite", case.suite))  # counted at the end of the run
    ours, theirs = tensors(case)
    leaves, their_leaves = [x for x in ours if isinstance(x, tg.Tensor)], [x for x in theirs if x.requires_grad]
    expected = case.theirs(*theirs)
    with warnings.catch_warnings():
        if not_normalized(case):
            warnings.filterwarnings("ignore", message=".*do not sum to 1", category=UserWarning)
        z = case.ours(*ours)
    wanted = str(expected.dtype).removeprefix("torch.") if "with_dtype" in case.suite else case.dtype
    assert z.dtype == wanted
    check(z.data, expected, VALUE[case.dtype], case.dtype, elementwise=case.dtype == "float32")

    g = np.asarray(rng.normal(size=z.shape), z.dtype)
    fused = tg.grad([z], leaves, [g], retain_graph=True)
    found = tg.grad([z], leaves, [g], create_graph=True)  # of a fused op the gradient of its decomposition
    truth = torch.autograd.grad(expected, their_leaves, torch.as_tensor(g).double(), create_graph=True)
    for dx, true_dx in zip((*fused, *found), (*truth, *truth), strict=True):
        assert dx.dtype == case.dtype
        check(dx.data, true_dx, GRADIENT[case.dtype], case.dtype)

    v = [np.asarray(rng.normal(size=dx.shape), dx.dtype) for dx in found]
    second = second_gradients(found, leaves, v)
    true_second = torch.autograd.grad(
        [dx for dx in truth if dx.requires_grad],
        their_leaves,
        [torch.as_tensor(x).double() for x, dx in zip(v, truth, strict=True) if dx.requires_grad],
        allow_unused=True,
        materialize_grads=True,
    )
    size = max((float(np.max(np.abs(dx.data * x), initial=0.0)) for dx, x in zip(found, v, strict=True)), default=0.0)
    for ddx, true_ddx in zip(second, true_second, strict=True):
        check(ddx, true_ddx, GRADIENT[case.dtype], case.dtype, size)


# What our message says of each error input of PyTorch's.
EXPECTED_ERRORS = {
    "Expected floating point type for target with class probabilities": "targets have shape (2, 3), expected (2,)",
    "expected target dtype to be Long or Byte": "targets are class indices, so integers, found float",
    "Expected input batch_size .* to match target batch_size": "targets have shape (3,), expected (2,)",
    "weight tensor should be defined either for all .* classes or no classes": "weight has shape (2,), expected (3,)",
    "ignore_index is not supported for floating point target": "ignore_index=1 picks rows by their class index",
    "label_smoothing must be between 0.0 and 1.0": "label_smoothing=1.5; expected a number from 0 to 1",
    "Expected target size": "targets have shape (2, 4), expected (2, 5)",
    # Theirs is the dtype of the weight, which we convert; there are no classes either, which we refuse.
    r"expected scalar type \w+ but found \w+": "log_probs of shape (0, 0) has no classes on axis 1",
}


@pytest.mark.parametrize("case", ERRORS, ids=ids)
def test_error_input(case: Case, request: pytest.FixtureRequest) -> None:
    request.node.user_properties.append(("suite", f"{case.suite}, error inputs"))  # counted at the end of the run
    assert case.error is not None
    kind, pattern = case.error
    with pytest.raises(kind, match=pattern):
        case.theirs(*case.inputs)
    with pytest.raises(ValueError, match=re.escape(EXPECTED_ERRORS[pattern])):
        case.ours(*tensors(case)[0])


@pytest.mark.parametrize(
    "flags", [{"size_average": a, "reduce": r} for a in (None, False, True) for r in (False, True)]
)
@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
def test_old_reduction_flags(name: str, flags: dict[str, Any], rng: np.random.Generator) -> None:
    """`size_average` and `reduce`, which PyTorch's own helper turns into a reduction before it is passed on."""
    with pytest.warns(UserWarning, match="size_average and reduce args will be deprecated"):
        module = getattr(torch.nn, name)(**flags)
    inputs = (torch.tensor(rng.normal(size=(4, 3))), torch.tensor(rng.integers(0, 3, 4)))
    ours = MODULES[name](module, inputs)(*(x.numpy() for x in inputs))
    check(ours.data, module(*inputs), VALUE["float64"], "float64")


def tensors(case: Case) -> tuple[list[Any], list[Any]]:
    """Ours, which take a gradient unless they are integers, and theirs of the same numbers in float64.

    What PyTorch computes in float64 is the reference for float32 too.
    """
    ours, theirs = [], []
    for x in case.inputs:
        floating = x.is_floating_point()
        ours.append(tg.Tensor(x.detach().numpy(), requires_grad=True) if floating else x.numpy())
        theirs.append(x.detach().double().requires_grad_() if floating else x)
    return ours, theirs


def not_normalized(case: Case) -> bool:
    """Whether the targets are numbers in [0, 1) that PyTorch's sample calls probabilities: we warn, and compute."""
    return case.suite == "OpInfo cross_entropy" and case.inputs[-1].is_floating_point()


def second_gradients(gradients: Sequence[tg.Tensor], leaves: Sequence[tg.Tensor], v: Sequence[Any]) -> list[Any]:
    """The gradients of sum(v * gradient), zeros where a gradient does not depend on the inputs."""
    pairs = [(dx, x) for dx, x in zip(gradients, v, strict=True) if dx.requires_grad]
    if not pairs:
        return [np.zeros(x.shape, x.dtype) for x in leaves]
    found = tg.grad([dx for dx, _ in pairs], leaves, [x for _, x in pairs])
    return [g.data for g in found]


def check(found: Any, expected: Any, epsilons: float, dtype: str, size: float = 0.0, elementwise: bool = False) -> None:
    """The same shape, nan in the same places, and elsewhere within so many epsilons of the element or of the largest.

    size  of the numbers whose differences these are, where that is larger than the largest
    """
    truth = expected.detach().numpy()
    assert found.shape == truth.shape
    number = ~np.isnan(truth)
    np.testing.assert_array_equal(~np.isnan(found), number)
    found, truth = found[number], truth[number]
    bound = np.abs(truth) if elementwise else max(size, float(np.max(np.abs(truth), initial=0.0)))
    bound = epsilons * np.finfo(dtype).eps * bound
    assert (np.abs(found - truth) <= bound).all(), f"{np.max(np.abs(found - truth))} off, {np.max(bound)} allowed"
