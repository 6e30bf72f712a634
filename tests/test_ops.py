"""Templates over the op database: whatever is registered is tested here, without another line written."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import tinygrad_ce as tg
from tests.helpers import SAMPLES, cases, differentiable, is_fused, recorded, run
from tinygrad_ce import functional as F
from tinygrad_ce.engine import Node
from tinygrad_ce.registry import FusedOp, registry
from tinygrad_ce.testing import check_op
from tinygrad_ce.testing.database import database
from tinygrad_ce.testing.exact import decimals, ulps
from tinygrad_ce.testing.opinfo import FLOATS, NUMBERS, OpInfo, Sample

BUILT_IN = {name: op for name, op in registry.items() if op.__module__.startswith("tinygrad_ce.ops.")}
EDGES = {name: list(info.edges()) for name, info in database.items()}


def upstream(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    """A gradient no two elements of which are alike."""
    return np.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def gradients(info: OpInfo, sample: Sample) -> list[np.ndarray]:
    z, leaves = recorded(info, sample)
    return [g.data for g in tg.grad([z], leaves, [upstream(z.shape, z.dtype)])]


def assert_close(a: np.ndarray, b: np.ndarray, units: float = 32) -> None:
    """Equal but for rounding of the largest element."""
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    np.testing.assert_array_less(
        np.abs(a - b), units * np.finfo(a.dtype).eps * np.max(np.abs(b), initial=1e-30) + 1e-300
    )


def read_only(x: np.ndarray) -> np.ndarray:
    x = np.array(x)
    x.flags.writeable = False
    return x


# The database is complete


def test_every_op_has_an_entry_and_every_entry_an_op() -> None:
    assert set(database) == set(BUILT_IN)
    assert len(database) > 60


@pytest.mark.parametrize("name", BUILT_IN)
def test_nothing_is_skipped(name: str) -> None:
    info, samples = database[name], SAMPLES[name]
    assert len(samples) >= 3
    assert info.errors
    assert info.orders == 2
    assert set(info.dtypes) >= set(FLOATS)
    assert any(differentiable(info, sample) for sample in samples)
    assert any(x.size == 0 for sample in samples for x in sample.inputs), "no sample has an empty input"


NO_SCALARS = {  # these need an axis
    "swapaxes", "take_along_axis", "cumsum", "var", "std", "softmax", "log_softmax", "nll_loss",
    "softmax_cross_entropy", "matmul", "linear", "pad", "layer_norm", "batch_norm",
    "linear_softmax_cross_entropy",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(BUILT_IN) - NO_SCALARS))
def test_zero_dimensional_inputs_are_sampled(name: str) -> None:
    assert any(x.ndim == 0 for sample in SAMPLES[name] for x in sample.inputs)


@pytest.mark.parametrize("name", [name for name, op in BUILT_IN.items() if op.broadcasts])
def test_broadcasting_is_sampled(name: str) -> None:
    """Each input of each op that broadcasts is the smaller one in some sample."""
    info = database[name]
    grown = set()
    for sample in SAMPLES[name]:
        z = run(info, sample)
        grown |= {i for i in differentiable(info, sample) if sample.inputs[i].shape != z.shape}
    assert grown >= {i for i, rule in enumerate(BUILT_IN[name].vjps) if rule is not None}


@pytest.mark.parametrize("op", BUILT_IN.values(), ids=BUILT_IN)
def test_op_says_what_it_is(op: type[tg.Op]) -> None:
    for text in (op.formula, op.vjp_formula, op.latex):
        assert text
        assert text.isascii()
        assert "\n" not in text
    assert op.__doc__
    assert op.__doc__.isascii()
    assert op.__doc__.splitlines()[0].endswith((".", ":", ";"))
    assert getattr(F, op.name).__doc__


# Values


@cases(SAMPLES, dtypes=NUMBERS)
def test_forward_is_the_reference(info: OpInfo, sample: Sample) -> None:
    z = np.asarray(run(info, sample))
    assert ulps(z, info.exact(sample), info.magnitude(sample)).max(initial=0) <= info.ulps
    assert z.dtype == sample.attributes.get("dtype", np.result_type(*(x for x in sample.inputs if x.dtype != bool)))


@cases(EDGES, dtypes=FLOATS)
def test_edges_are_the_reference(info: OpInfo, sample: Sample) -> None:
    with np.errstate(all="ignore"):
        z = np.asarray(run(info, sample))
    assert ulps(z, info.exact(sample), info.magnitude(sample)).max(initial=0) <= info.ulps


# Gradients


@pytest.mark.parametrize("name", database)
def test_check_op(name: str) -> None:
    """Protocol, memory, every gradient element by element, on every sample."""
    assert check_op(name) is None


def projected(
    function: Callable[..., Sequence[tg.Tensor]], arrays: Sequence[np.ndarray], rng: np.random.Generator
) -> None:
    """The derivative of sum g * f along a random direction: by the rules and by a central difference."""

    def values(xs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [z.data for z in function(*(tg.Tensor(x, requires_grad=True) for x in xs))]

    leaves = [tg.Tensor(x, requires_grad=True) for x in arrays]
    outputs = function(*leaves)
    gs = [rng.normal(size=z.shape) for z in outputs]
    pairs = [(z, g) for z, g in zip(outputs, gs, strict=True) if z.requires_grad]
    found = tg.grad([z for z, _ in pairs], leaves, [g for _, g in pairs], allow_unused=True)
    direction = [rng.uniform(-1, 1, x.shape) for x in arrays]
    parts = [g.data * v for g, v in zip(found, direction, strict=True) if g is not None]
    h = 1e-5
    ahead, behind = (values([x + sign * h * v for x, v in zip(arrays, direction, strict=True)]) for sign in (1, -1))
    numeric = sum(float(np.sum(g * (a - b))) for g, a, b in zip(gs, ahead, behind, strict=True)) / (2 * h)
    size = sum(float(np.sum(np.abs(p))) for p in parts)
    noise = sum(float(np.sum(np.abs(g * a))) for g, a in zip(gs, ahead, strict=True))
    weight = sum(float(np.sum(np.abs(g))) for g in gs)  # of the error h**2 that a central difference makes
    assert abs(sum(float(np.sum(p)) for p in parts) - numeric) <= 1e-7 * size + 1e-9 * noise + h**2 * weight


@cases(SAMPLES, lambda info: info.orders > 0)
def test_gradient_by_projection(info: OpInfo, sample: Sample, rng: np.random.Generator) -> None:
    positions = differentiable(info, sample)

    def function(*xs: tg.Tensor) -> list[tg.Tensor]:
        inputs = list(sample.inputs)
        for i, x in zip(positions, xs, strict=True):
            inputs[i] = x
        return [run(info, sample, inputs)]

    projected(function, [sample.inputs[i] for i in positions], rng)


@cases(SAMPLES, lambda info: info.orders > 1)
def test_gradient_of_gradient_by_projection(info: OpInfo, sample: Sample, rng: np.random.Generator) -> None:
    positions = differentiable(info, sample)
    g = rng.normal(size=np.shape(run(info, sample)))

    def function(*args: tg.Tensor) -> list[tg.Tensor]:
        inputs = list(sample.inputs)
        for i, x in zip(positions, args, strict=False):
            inputs[i] = x
        return list(tg.grad([run(info, sample, inputs)], args[:-1], [args[-1]], create_graph=True))

    projected(function, [*(sample.inputs[i] for i in positions), g], rng)


@cases(SAMPLES, lambda info: info.orders > 0, FLOATS)
def test_gradient_dtype_is_the_inputs(info: OpInfo, sample: Sample) -> None:
    for i, g in zip(differentiable(info, sample), gradients(info, sample), strict=True):
        assert g.dtype == sample.inputs[i].dtype
        assert g.shape == sample.inputs[i].shape


@cases(SAMPLES, is_fused, ("float32", "float64"))
def test_fused_is_its_decomposition(info: OpInfo, sample: Sample) -> None:
    op = registry[info.name]
    assert issubclass(op, FusedOp)
    results = []
    for function in (op, op.decomposition):
        leaves = [tg.Tensor(x, requires_grad=True) for x in sample.inputs]
        z = function(*leaves, **{**op.defaults, **sample.attributes})
        g = upstream(z.shape, z.dtype)
        first = tg.grad([z], leaves, [g], create_graph=True)
        plain = tg.grad([function(*leaves, **{**op.defaults, **sample.attributes})], leaves, [g])
        bent = [dx for dx in first if dx.requires_grad]
        second = (
            tg.grad(bent, leaves, [upstream(dx.shape, dx.dtype, 1) for dx in bent], allow_unused=True) if bent else ()
        )
        results.append([z, *first, *plain, *(ddx for ddx in second if ddx is not None)])
    for fused, unfused in zip(*results, strict=True):
        assert_close(fused.data, unfused.data)


BROADCASTING = ["add", "sub", "mul", "div", "pow", "maximum", "minimum", "where"]


@settings(max_examples=30)
@given(shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=0), data=st.data())
@pytest.mark.parametrize("name", BROADCASTING)
def test_broadcasting(name: str, shapes: Any, data: st.DataObject) -> None:
    """The gradient of a broadcast input is the gradient of the copies, added up."""
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    xs = [np.asarray(rng.uniform(0.5, 2.0, shape)) for shape in shapes.input_shapes]
    if name == "where":
        xs = [np.asarray(rng.random(shapes.result_shape) < 0.5), *xs]
    op = registry[name]
    small = [tg.Tensor(x, requires_grad=x.dtype.kind == "f") for x in xs]
    full = [tg.Tensor(np.broadcast_to(x, shapes.result_shape), requires_grad=x.dtype.kind == "f") for x in xs]
    z, wide = op(*small), op(*full)
    assert z.shape == shapes.result_shape
    assert z.data.tobytes() == wide.data.tobytes()
    g = rng.normal(size=z.shape)
    few = tg.grad([z], [x for x in small if x.requires_grad], [g])
    many = tg.grad([wide], [x for x in full if x.requires_grad], [g])
    for dx, copies in zip(few, many, strict=True):
        extra = copies.ndim - dx.ndim
        axes = tuple(range(extra)) + tuple(a + extra for a, n in enumerate(dx.shape) if n == 1)
        expected = decimals(copies.data)
        total = np.asarray(expected.sum(axis=axes, initial=decimals(0.0)[()])).astype(float).reshape(dx.shape)
        size = np.abs(copies.data).sum(axis=axes).reshape(dx.shape)
        assert np.all(np.abs(dx.data - total) <= 16 * np.finfo(float).eps * size)


# What an op leaves alone


@cases(SAMPLES)
def test_inputs_and_upstream_gradient_are_unchanged(info: OpInfo, sample: Sample) -> None:
    sample = Sample(tuple(read_only(x) for x in sample.inputs), copy.deepcopy(dict(sample.attributes)))
    before = copy.deepcopy(sample)
    z, leaves = recorded(info, sample)
    g = read_only(upstream(z.shape, z.dtype))
    kept = g.tobytes()
    for leaf in leaves:
        leaf.data.flags.writeable = False
    for create_graph in (True, False):
        tg.grad([z], leaves, [g], create_graph=create_graph, retain_graph=True)
    z.backward(g)
    assert g.tobytes() == kept
    now = [*sample.inputs, *(leaf.data for leaf in leaves)]
    then = [*before.inputs, *(before.inputs[i] for i in differentiable(info, sample))]
    assert all(x.tobytes() == y.tobytes() for x, y in zip(now, then, strict=True))
    for key, value in before.attributes.items():
        if isinstance(value, np.ndarray):
            assert value.tobytes() == sample.attributes[key].tobytes()
    for leaf in leaves:  # a gradient is the leaf's own: writing into it reaches nothing else
        assert leaf.grad.data.flags.writeable
        assert not np.shares_memory(leaf.grad.data, g)
        assert not np.shares_memory(leaf.grad.data, leaf.data)


def strided(x: np.ndarray) -> np.ndarray:
    wide = np.repeat(x, 2, axis=-1) if x.ndim else x
    return wide[..., ::2] if x.ndim else x


def backwards(x: np.ndarray) -> np.ndarray:
    reverse = (slice(None, None, -1),) * x.ndim
    return np.ascontiguousarray(x[reverse])[reverse]


@pytest.mark.parametrize("view", [strided, np.asfortranarray, backwards], ids=["strided", "transposed", "backwards"])
@cases(SAMPLES)
def test_memory_layout_does_not_matter(info: OpInfo, sample: Sample, view: Callable[..., np.ndarray]) -> None:
    """Values and gradients of views: bitwise the same where nothing is added up, else to a few round-offs."""
    results = []
    for change in (np.ascontiguousarray, view):
        inputs: list[Any] = [change(x).reshape(x.shape) for x in sample.inputs]
        leaves = []
        for i in differentiable(info, sample):
            leaves.append(tg.Tensor(inputs[i], requires_grad=True))
            leaves[-1].data = inputs[i]  # the view itself: a leaf copies what it is made of
            inputs[i] = leaves[-1]
        z = run(info, sample, inputs)
        g = change(upstream(z.shape, z.dtype)).reshape(z.shape)
        results.append([z.data, *(dx.data for dx in tg.grad([z], leaves, [g]))])
    for a, b in zip(*results, strict=True):
        if info.ulps <= 0.5 and info.size is None and not registry[info.name].broadcasts:
            np.testing.assert_array_equal(a, b)
        else:
            assert_close(a, b)


@pytest.mark.parametrize("name", database)
def test_rules_keep_only_what_they_use(name: str) -> None:
    """A parameter without an underscore keeps an array until the backward pass, so some sample must use its numbers."""
    op, info = registry[name], database[name]
    if is_fused(info):
        return  # a fused op keeps its inputs for the decomposition
    unused: set[tuple[int, int]] = set()
    used: set[tuple[int, int]] = set()
    for sample in SAMPLES[name]:
        z = np.asarray(run(info, sample))
        for i in differentiable(info, sample):
            saved = node_for(info, sample, i).saved
            for j, x in enumerate(saved or ()):
                if isinstance(x, np.ndarray):
                    rule = -1 if op.vjp is not None else i  # one rule for all inputs, or one for each
                    (used if uses_numbers(op, sample, z, i, j) else unused).add((rule, j))
    assert unused <= used, f"(rule, kept input) whose numbers no sample needs: {sorted(unused - used)}"


def node_for(info: OpInfo, sample: Sample, i: int) -> Node:
    inputs = list(sample.inputs)
    inputs[i] = tg.Tensor(inputs[i], requires_grad=True)
    node: Node = run(info, sample, inputs).node
    return node


def uses_numbers(op: type[tg.Op], sample: Sample, z: np.ndarray, i: int, j: int) -> bool:
    """Whether the rule of input i gives another gradient, or none, if input j has other numbers."""
    attributes = {**op.defaults, **sample.attributes}
    changed = list(sample.inputs)
    changed[j] = np.full(z.shape if changed[j].shape == z.shape else changed[j].shape, np.nan).astype(changed[j].dtype)
    found = []
    for arrays in (sample.inputs, changed):
        g = upstream(z.shape, z.dtype)
        with np.errstate(all="ignore"):
            if op.vjp is not None:
                needs = [k == i for k in range(len(arrays))]
                found.append(np.asarray(op.vjp(g, z, *arrays, needs=needs, **attributes)[i]))
            else:
                found.append(np.asarray(op.vjps[i](g, z, *arrays, **attributes)))
    return found[0].tobytes() != found[1].tobytes()
