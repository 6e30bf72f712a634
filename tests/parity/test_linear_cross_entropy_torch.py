"""PyTorch's own suites of the linear layer and the loss in one: a ModuleInfo and three OpInfos.

Every sample runs, in chunks of as many rows as it asks PyTorch for: values, gradients, second derivatives. PyTorch's
chunks have no second derivative, so its float64 answer is that of whole logits. Where we answer differently on purpose
is named in `DEPARTURES`, one test each.
"""

import contextlib
import copy
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn
from tinygrad_ce.ops import linear_cross_entropy as ops

torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install -e '.[parity]'")
pytest.importorskip("expecttest", reason="PyTorch's samples need it: pip install -e '.[parity]'")

from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402
from torch.testing._internal.common_modules import module_db  # noqa: E402

from tests.parity.test_pytorch_suites import GRADIENT, check, second_gradients  # noqa: E402

theirs = torch.nn.functional.linear_cross_entropy
MODULE, OP = "ModuleInfo LinearCrossEntropyLoss", "OpInfo linear_cross_entropy"
DTYPES = ("float32", "float64")

# Samples and error inputs of each suite, a dtype: what PyTorch 2.13 has.
COUNTS = {MODULE: (857, 5), OP: (119, 6), f"{OP} chunked": (133, 6), f"{OP} chunked_none": (77, 6)}

DEPARTURES = {
    "not normalized": "targets that do not sum to 1 are rarely meant: the same numbers, and a warning",
    "batches of any axes": "x (..., D), as `linear` has it; PyTorch wants one axis before the last, or none",
    "one vector and several questions": "the class axis is never in doubt; PyTorch wants a batch",
    "ignored rows are not read": "what is ignored may hold anything; PyTorch's gradients leak nan",
    "confident rows": "loss and gradient are representable: PyTorch rounds 1 - p to 0",
    "dtype of the indices": "any integer is an index",
}

VALUE = {"float32": 8, "float64": 16}  # epsilons: the logits are sums of products, rounded before the loss


@dataclass(frozen=True)
class Case:
    """One sample: functions that compute it, and return the leaves beside the loss.

    chunk  the rows at a time that PyTorch is asked for, or None
    error  for an error input: the pattern that PyTorch's message matches
    """

    suite: str
    number: int
    dtype: str
    theirs: Callable[[], tuple[Any, list[Any]]] = field(repr=False)
    ours: Callable[[], tuple[Any, list[Any]]] = field(repr=False)
    classes: int
    chunk: int | None
    soft: bool
    error: str | None = None


def wide(x: Any) -> Any:
    """Their tensor in float64, as a leaf; what PyTorch computes of it is the reference for float32 too."""
    return x.detach().double().requires_grad_() if x.is_floating_point() else x


def narrow(x: Any) -> Any:
    return tg.Tensor(x.detach().numpy(), requires_grad=True) if x.is_floating_point() else x.numpy()


def read_module(sample: Any, module: Any) -> dict[str, Any]:
    x, target = sample.forward_input.args

    def by_torch() -> tuple[Any, list[Any]]:
        reference = copy.deepcopy(module).double()
        reference.options = None
        leaves = [wide(x), wide(target)]
        return reference(*leaves), [*leaves[: 1 + target.is_floating_point()], *reference.parameters()]

    def by_us() -> tuple[Any, list[Any]]:
        same = nn.LinearCrossEntropyLoss(
            module.linear.in_features, module.num_classes, out_features=module.out_features,
            bias=module.linear.bias is not None, reduction=module.reduction, label_smoothing=module.label_smoothing,
            class_weight=None if module.weight is None else module.weight.numpy(),
            ignore_index=-100 if module.ignore_index is None else module.ignore_index, dtype=str(x.dtype)[6:],
        )  # fmt: skip
        same.load_state_dict({name: p.numpy() for name, p in module.state_dict().items() if name != "weight"})
        leaves = [narrow(x), narrow(target)]
        return same(*leaves), [*leaves[: 1 + target.is_floating_point()], *same.parameters()]

    options = module.options
    return {
        "theirs": by_torch, "ours": by_us, "classes": module.linear.out_features,
        "chunk": None if options is None else options.batch_chunk_size, "soft": target.is_floating_point(),
    }  # fmt: skip


def read_op(sample: Any) -> dict[str, Any]:
    x, (weight, target) = sample.input, sample.args
    options = {name: value for name, value in sample.kwargs.items() if name != "options"}
    bias = options.pop("linear_bias", None)
    given = [x, weight, target, *([] if bias is None else [bias])]

    def by_torch() -> tuple[Any, list[Any]]:
        leaves = [wide(a) for a in given]
        own = {name: value.double() if name == "weight" else value for name, value in options.items()}
        if bias is not None:
            own["linear_bias"] = leaves[3]
        return theirs(*leaves[:3], **own), [a for a in leaves if a.requires_grad]

    def by_us() -> tuple[Any, list[Any]]:
        leaves = [narrow(a) for a in given]
        own = {name: value for name, value in options.items() if name != "weight"}
        if "weight" in options:
            own["class_weight"] = options["weight"].numpy()
        return F.linear_softmax_cross_entropy(*leaves, **own), [a for a in leaves if isinstance(a, tg.Tensor)]

    chunking = sample.kwargs.get("options")
    return {
        "theirs": by_torch, "ours": by_us, "classes": max(weight.shape[:-1].numel(), 1),
        "chunk": None if chunking is None else chunking.batch_chunk_size, "soft": target.is_floating_point(),
    }  # fmt: skip


def constructed(read: Any, info: Any) -> Any:
    return info.module_cls(*read.constructor_input.args, **read.constructor_input.kwargs)


def module_cases(dtype: str) -> Iterator[Case]:
    info = next(info for info in module_db if info.name == "nn.LinearCrossEntropyLoss")
    arguments = {"device": "cpu", "dtype": getattr(torch, dtype), "requires_grad": True, "training": True}
    number = -1
    for number, sample in enumerate(info.module_inputs_func(info, **arguments)):
        yield Case(MODULE, number, dtype, **read_module(sample, constructed(sample, info)))
    for sample in info.module_error_inputs_func(info, **arguments):
        number += 1
        inputs = sample.module_error_input
        yield Case(MODULE, number, dtype, *error_module(inputs, info), 1, None, False, sample.error_regex)


def error_module(inputs: Any, info: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    arguments, options = inputs.constructor_input.args, dict(inputs.constructor_input.kwargs)
    x, target = inputs.forward_input.args

    def by_us() -> Any:
        own = {"dtype": str(options["dtype"])[6:]}
        own |= {"label_smoothing": options["label_smoothing"]} if "label_smoothing" in options else {}
        own |= {"class_weight": options["weight"].numpy()} if "weight" in options else {}
        return nn.LinearCrossEntropyLoss(*arguments, **own)(narrow(x), narrow(target))

    return lambda: constructed(inputs, info)(x, target), by_us


def op_cases(variant: str, dtype: str) -> Iterator[Case]:
    info = next(
        one for one in op_db if (one.name, one.variant_test_name) == ("nn.functional.linear_cross_entropy", variant)
    )
    suite = f"{OP} {variant}".strip()
    number = -1
    for number, sample in enumerate(info.sample_inputs("cpu", getattr(torch, dtype), requires_grad=True)):
        yield Case(suite, number, dtype, **read_op(sample))
    for error in info.error_inputs("cpu"):
        number += 1
        inputs = error.sample_input
        read = read_op(inputs)
        of_torch = lambda one=inputs: theirs(one.input, *one.args, **one.kwargs)  # noqa: E731
        yield Case(suite, number, dtype, **{**read, "theirs": of_torch}, error=error.error_regex)


def all_cases() -> list[Case]:
    state, cases = random.getstate(), []
    with torch.random.fork_rng(devices=[]):
        for dtype in DTYPES:
            for read, *arguments in (
                (module_cases,),
                (op_cases, ""),
                (op_cases, "chunked"),
                (op_cases, "chunked_none"),
            ):
                torch.manual_seed(0)
                random.seed(0)
                cases += read(*arguments, dtype)
    random.setstate(state)
    return cases


CASES = all_cases()
STRICT = [case for case in CASES if case.error is None]
ERRORS = [case for case in CASES if case.error is not None]


def ids(case: Case) -> str:
    return f"{case.suite}-{case.dtype}-{case.number}"


def test_every_sample_is_here() -> None:
    found = Counter((case.suite, case.dtype, case.error is not None) for case in CASES)
    assert found == {(s, d, bool(e)): n for s, counts in COUNTS.items() for d in DTYPES for e, n in enumerate(counts)}


@pytest.mark.parametrize("case", STRICT, ids=ids)
def test_sample(
    case: Case, rng: np.random.Generator, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    request.node.user_properties.append(("suite", case.suite))  # counted at the end of the run
    if case.chunk is not None:
        monkeypatch.setattr(ops, "CHUNK", case.chunk * case.classes)
    expected, their_leaves = case.theirs()
    with not_normalized() if case.soft else contextlib.nullcontext():
        z, leaves = case.ours()
    assert z.dtype == case.dtype
    check(z.data, expected, VALUE[case.dtype], case.dtype)

    g = np.asarray(rng.normal(size=z.shape), z.dtype)
    fused = tg.grad([z], leaves, [g], retain_graph=True)
    found = tg.grad([z], leaves, [g], create_graph=True)
    truth = torch.autograd.grad(expected, their_leaves, torch.as_tensor(g).double(), create_graph=True)
    for dx, true_dx in zip((*fused, *found), (*truth, *truth), strict=True):
        assert dx.dtype == case.dtype
        check(dx.data, true_dx, GRADIENT[case.dtype], case.dtype)

    v = [np.asarray(rng.normal(size=dx.shape), dx.dtype) for dx in found]
    second = second_gradients(found, leaves, v)
    true_second = torch.autograd.grad(
        truth, their_leaves, [torch.as_tensor(x).double() for x in v], allow_unused=True, materialize_grads=True
    )
    size = max(float(np.max(np.abs(x.detach().numpy()), initial=0.0)) for x in true_second)
    for ddx, true_ddx in zip(second, true_second, strict=True):
        check(ddx, true_ddx, GRADIENT[case.dtype], case.dtype, size)


# What our message says of each error input of PyTorch's.
EXPECTED_ERRORS = {
    "Expected floating point type for target with class probabilities": "write targets.argmax(1)",
    "Expected input batch_size": "have the shape of logits, (4, 2); found (5, 2)",
    "got 5 and 3, respectively": "x has shape (4, 5) and weight (2, 3); expected x (..., D) and weight (C, D)",
    "expected weight shape to be": "class_weight has shape (3,), expected (2,): one number for each class",
    "expected label_smoothing to be in range": "label_smoothing=2.0; expected a number from 0 to 1",
    "expected input with dimensionality 1 or 2, got 3": "targets have shape (3, 2), expected (2, 3)",
    "expected linear_weight with dimensionality at least 2, got 1": "and weight (2,); expected x (..., D)",
    "got 3 and 4, respectively": "x has shape (2, 3) and weight (2, 4); expected x (..., D) and weight (C, D)",
    "ignore_index cannot be specified when target contains probabilities": "ignore_index=0 picks rows",
    # Theirs is that there is no batch, which we do not need; the targets are no probabilities either.
    "requires batched input": "is negative, and no probability",
    "expected linear_bias shape": "bias has shape (3,), expected (2,)",
}


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")  # in a pattern of PyTorch's
@pytest.mark.parametrize("case", ERRORS, ids=ids)
def test_error_input(case: Case, request: pytest.FixtureRequest) -> None:
    request.node.user_properties.append(("suite", f"{case.suite}, error inputs"))  # counted at the end of the run
    assert case.error is not None
    with pytest.raises((RuntimeError, ValueError), match=case.error):
        case.theirs()
    ((_, ours),) = [(part, text) for part, text in EXPECTED_ERRORS.items() if part in case.error]
    with pytest.raises(ValueError, match=re.escape(ours)):
        case.ours()


# Departures


def test_every_departure_has_a_test() -> None:
    assert {f"test_{name.replace(' ', '_')}" for name in DEPARTURES} <= set(globals())


X = np.array([[1.0, 2, 3], [1, 5, 0.5]])
WEIGHT = np.array([[1.0, 0, 0.5], [0, 1, 0], [0.25, 0, 1], [1, 1, 1]])


def both(x: Any, weight: Any, targets: Any, dtype: str = "float64", **options: Any) -> tuple[list[Any], list[Any]]:
    """The loss and the gradients of x and weight, ours and theirs, which are computed in chunks."""
    ours = [tg.Tensor(np.array(a, dtype), requires_grad=True) for a in (x, weight)]
    loss = F.linear_softmax_cross_entropy(*ours, targets, **options)
    loss.sum().backward()
    their = [torch.tensor(np.array(a, dtype), requires_grad=True) for a in (x, weight)]
    expected = theirs(*their, torch.as_tensor(targets), **options, options=torch.nn.LinearCrossEntropyOptions())
    expected.sum().backward()
    return [loss.data, *(a.grad.data for a in ours)], [expected.detach().numpy(), *(a.grad.numpy() for a in their)]


def not_normalized() -> Any:
    """Numbers in [0, 1), which all of PyTorch's samples take for probabilities."""
    return pytest.warns(UserWarning, match="the targets are probabilities but do not sum to 1 along axis [01] in")


def test_not_normalized() -> None:
    targets = np.full((2, 4), 0.5)
    expected = theirs(*(torch.tensor(a) for a in (X, WEIGHT, targets)))
    with not_normalized():
        found = F.linear_softmax_cross_entropy(X, WEIGHT, targets)
    assert found.item() == pytest.approx(expected.item(), rel=1e-15)


def test_batches_of_any_axes(rng: np.random.Generator) -> None:
    x, targets = rng.normal(size=(2, 5, 3)), rng.integers(0, 4, (2, 5))
    with pytest.raises(RuntimeError, match="expected input with dimensionality 1 or 2, got 3"):
        theirs(torch.tensor(x), torch.tensor(WEIGHT), torch.tensor(targets))
    expected = theirs(torch.tensor(x.reshape(10, 3)), torch.tensor(WEIGHT), torch.tensor(targets.reshape(10)))
    assert F.linear_softmax_cross_entropy(x, WEIGHT, targets).item() == pytest.approx(expected.item(), rel=1e-15)


def test_one_vector_and_several_questions(rng: np.random.Generator) -> None:
    weight, targets = rng.normal(size=(4, 2, 3)), np.array([3, 1])
    arrays = [torch.tensor(a) for a in (X[0], weight, targets)]
    with pytest.raises(RuntimeError, match="requires batched input"):
        theirs(*arrays)
    expected = theirs(arrays[0][None], arrays[1], arrays[2][None])
    assert F.linear_softmax_cross_entropy(X[0], weight, targets).item() == pytest.approx(expected.item(), rel=1e-15)


@pytest.mark.parametrize("anything", [np.nan, np.inf])
def test_ignored_rows_are_not_read(anything: float) -> None:
    ours, their = both([X[0], [anything, 0, 0]], WEIGHT, np.array([0, -100]))
    assert np.isnan(their[1][1]).any()
    assert np.isnan(their[2]).any()
    assert (ours[1][1] == 0).all()
    alone = both(X[:1], WEIGHT, np.array([0]))[1]
    np.testing.assert_allclose(ours[0], alone[0], rtol=1e-15)
    np.testing.assert_allclose(ours[1][:1], alone[1], rtol=1e-14)
    np.testing.assert_allclose(ours[2], alone[2], rtol=1e-14)


def test_confident_rows() -> None:
    ours, their = both([[20.0]], [[1.0], [0.0], [0.0]], np.array([0]), "float32")
    truth = 2 * np.exp(-20.0)  # but for its square
    assert their[0] == 0
    assert their[2][0] == 0
    assert ours[0] == pytest.approx(truth, rel=1e-6)
    assert ours[2][0, 0] == pytest.approx(-20 * truth, rel=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint16"])
def test_dtype_of_the_indices(dtype: str) -> None:
    targets = np.array([2, 0])
    with pytest.raises(RuntimeError, match="expected target dtype to be Long or Byte"):
        theirs(torch.tensor(X), torch.tensor(WEIGHT), torch.tensor(targets.astype(dtype)))
    found = F.linear_softmax_cross_entropy(X, WEIGHT, targets.astype(dtype))
    assert found.item() == F.linear_softmax_cross_entropy(X, WEIGHT, targets).item()
