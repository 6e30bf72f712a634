"""Every op under all its spellings, and what it says to wrong arguments: templates over the op database."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_ce as tg
from tests.helpers import SAMPLES, cases, differentiable, recorded, run
from tinygrad_ce import functional as F
from tinygrad_ce.registry import by_numpy, registry
from tinygrad_ce.testing.database import database
from tinygrad_ce.testing.opinfo import OpInfo, Sample


@cases(SAMPLES)
def test_spellings_agree(info: OpInfo, sample: Sample) -> None:
    """Function, method, NumPy's function and op class: the same bits, and the same op recorded."""
    op = registry[info.name]
    z, _ = recorded(info, sample)
    assert z.node.op is op
    spellings: dict[str, Callable[[list[Any]], Any]] = {
        "F": lambda xs: info.call(getattr(F, info.name), xs, sample.attributes)
    }
    if info.method:
        spellings["method"] = lambda xs: info.call(getattr(xs[0], info.name), xs[1:], sample.attributes)
    for function, found in by_numpy.items():
        if found is op:
            spellings[f"np.{function.__name__}"] = lambda xs, f=function: info.call(f, xs, sample.attributes)
    for spelling, call in spellings.items():
        xs = [
            tg.Tensor(x, requires_grad=True) if i in differentiable(info, sample) else x
            for i, x in enumerate(sample.inputs)
        ]
        result = call(xs)
        assert result.node is not None, spelling
        assert result.node.op is op, spelling
        assert result.data.tobytes() == z.data.tobytes(), spelling
        assert result.shape == z.shape, spelling
        constant = call([tg.Tensor(x) for x in sample.inputs])
        assert constant.node is None, spelling
        assert constant.data.tobytes() == z.data.tobytes(), spelling


OPERATORS = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "pow": operator.pow,
    "matmul": operator.matmul, "neg": operator.neg, "abs": operator.abs,
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_agree(name: str) -> None:
    for sample in SAMPLES[name]:
        expected = np.asarray(run(database[name], sample))
        for tracked in range(len(sample.inputs)):  # the others are arrays: reflected operators too
            xs = [tg.Tensor(x, requires_grad=True) if i == tracked else x for i, x in enumerate(sample.inputs)]
            z = OPERATORS[name](*xs)
            assert z.node.op is registry[name]
            assert z.data.tobytes() == expected.tobytes()


ERRORS = [
    pytest.param(info, error, id=f"{name}-{i}")
    for name, info in database.items()
    for i, error in enumerate(info.errors)
]


@pytest.mark.parametrize(("info", "error"), ERRORS)
def test_errors(info: OpInfo, error: Any) -> None:
    with pytest.raises(error.exception, match=error.match):
        getattr(F, info.name)(*error.args, **error.kwargs)


@pytest.mark.parametrize("dtype", ["complex64", "longdouble", "object", "str"])
@pytest.mark.parametrize("name", ["exp", "mul", "sum", "softmax"])
def test_arrays_that_a_tensor_cannot_hold_are_refused(name: str, dtype: str) -> None:
    x = np.ones((2, 2), dtype)
    with pytest.raises(TypeError):
        getattr(F, name)(*[x] * (2 if name == "mul" else 1))


@pytest.mark.parametrize("name", [n for n, op in tg.registry.items() if op.__module__ == "tinygrad_ce.ops.activation"])
def test_activations_of_integers_are_those_of_floats(name):
    function = getattr(F, name)
    integers = np.array([-3, -1, 0, 1, 2])
    found = function(integers)
    assert found.dtype.kind == "f" or name == "relu"
    np.testing.assert_array_equal(found.data, function(integers.astype(np.float64)).data)
