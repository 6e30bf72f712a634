"""The optimizers: their formulas, groups, state, what they do in place, what they warn of and refuse."""

import copy
import json
import math
import pickle
import tracemalloc
import warnings
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_ce as tg
from tests.helpers import leaf
from tinygrad_ce import functional as F
from tinygrad_ce import nn, optim

KINDS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
    "Adam": {"lr": 0.01, "weight_decay": 0.01, "amsgrad": True},
    "AdamW": {"lr": 0.01},
    "RMSprop": {"lr": 0.01, "weight_decay": 0.01, "momentum": 0.5, "centered": True, "eps": 1e-3},
    "Adagrad": {"lr": 0.1, "weight_decay": 0.01, "lr_decay": 0.1},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind: str, params: Any, **options: Any) -> optim.Optimizer:
    optimizer: optim.Optimizer = getattr(optim, kind)(params, **{**KINDS[kind], **options})
    return optimizer


def give(parameters: list[tg.Tensor], rng: np.random.Generator) -> None:
    for p in parameters:
        p.grad = rng.normal(size=p.shape).astype(p.dtype)


# The formulas, in 40 digits, as the papers have them


def exact(kind: str, p: Any, gradients: list[float], options: dict[str, Any]) -> Any:
    """The parameter after these gradients."""
    get = {name: mpmath.mpf(x) for name, x in options.items() if isinstance(x, float)}.get
    zero = mpmath.mpf(0)
    decay, lr, u, m, v, vmax = get("weight_decay", zero), get("lr"), zero, zero, get("start", zero), zero
    for t, x in enumerate(gradients, 1):
        g = mpmath.mpf(x)
        if kind == "AdamW":
            p -= lr * decay * p
        else:
            g += decay * p
        if kind == "SGD":
            mu = get("momentum", zero)
            u = g if t == 1 else mu * u + (1 - get("dampening", zero)) * g
            p -= lr * (g + mu * u if options.get("nesterov") else u)
        elif kind == "RMSprop":
            a = get("alpha")
            v = a * v + (1 - a) * g**2
            m = a * m + (1 - a) * g
            u = get("momentum", zero) * u + g / (mpmath.sqrt(v - m**2 if options.get("centered") else v) + get("eps"))
            p -= lr * u
        elif kind == "Adagrad":
            v += g**2
            p -= lr / (1 + (t - 1) * get("lr_decay")) * g / (mpmath.sqrt(v) + get("eps"))
        else:
            b1, b2 = (mpmath.mpf(b) for b in options["betas"])
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * g**2
            vmax = max(vmax, v) if options.get("amsgrad") else v
            p -= lr * (m / (1 - b1**t)) / (mpmath.sqrt(vmax / (1 - b2**t)) + get("eps"))
    return p


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SGD", {"lr": 0.1}),
        ("SGD", {"lr": 0.1, "weight_decay": 0.2, "momentum": 0.9, "dampening": 0.5}),
        ("SGD", {"lr": 0.1, "weight_decay": 0.2, "momentum": 0.9, "nesterov": True}),
        ("Adam", {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8}),
        ("Adam", {"lr": 0.1, "betas": (0.0, 0.9), "eps": 0.1, "weight_decay": 0.2, "amsgrad": True}),
        ("AdamW", {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.2}),
        ("RMSprop", {"lr": 0.1, "alpha": 0.9, "eps": 1e-8}),
        ("RMSprop", {"lr": 0.1, "alpha": 0.9, "eps": 0.1, "weight_decay": 0.2, "momentum": 0.9, "centered": True}),
        ("Adagrad", {"lr": 0.1, "lr_decay": 0.0, "eps": 1e-10}),
        ("Adagrad", {"lr": 0.1, "lr_decay": 0.2, "weight_decay": 0.2, "eps": 0.1}),
    ],
)
def test_the_update_to_forty_digits(kind: str, options: dict[str, Any], rng: np.random.Generator) -> None:
    gradients = rng.normal(size=(50, 3)) * 10.0 ** np.array([-3, 0, 3])
    p = leaf(rng.normal(size=3))
    with mpmath.workdps(40):
        expected = [float(exact(kind, mpmath.mpf(p.data[i]), gradients[:, i].tolist(), options)) for i in range(3)]
    optimizer = getattr(optim, kind)([p], **options)
    for g in gradients:
        p.grad = g
        optimizer.step()
    np.testing.assert_allclose(p.data, expected, rtol=1e-13)


def test_a_centered_mean_square_that_rounds_below_zero_is_zero() -> None:
    p = leaf([0.0], dtype="float32")
    optimizer = optim.RMSprop([p], lr=1e-3, alpha=0.5, centered=True, eps=1.0)
    for _ in range(200):  # a constant gradient has no variance
        p.grad = np.float32([1.7])
        optimizer.step()
    state = optimizer.state[p]
    assert state["square_avg"] - state["grad_avg"] ** 2 < 0  # or the test shows nothing
    assert np.isfinite(p.data).all()


@every_kind
def test_half_precision_keeps_small_steps_and_large_squares(kind: str) -> None:
    p, q = leaf([1.0, -2.0], dtype="float16"), leaf([1.0, -2.0], dtype="float32")
    a, b = make(kind, [p], lr=0.05), make(kind, [q], lr=0.05)
    for g in ([300.0, 1e-4], [0.0, 0.0], [-200.0, 2e-4]):
        p.grad, q.grad = np.float16(g), np.float16(g).astype(np.float32)
        before = p.data.copy()
        a.step()
        q.data[...] = before
        b.step()
        assert p.dtype == np.float16
        assert np.all(np.abs(p.data - q.data) <= np.spacing(np.abs(q.data).astype(np.float16)))
        assert np.isfinite(p.data).all()


# In place


@every_kind
def test_a_step_makes_no_arrays(kind: str, rng: np.random.Generator) -> None:
    p = tg.Tensor(rng.normal(size=(1000, 1000)), requires_grad=True, dtype="float32")
    optimizer = make(kind, [p])
    give([p], rng)
    array = p.data
    optimizer.step()
    tracemalloc.start()
    try:
        optimizer.step()  # Python's own caches
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        optimizer.step()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1000
    assert peak - before < 5000
    assert p.data is array


@every_kind
def test_gradients_are_read_only(kind: str, rng: np.random.Generator) -> None:
    p = leaf(rng.normal(size=(3, 2)))
    optimizer = make(kind, [p])
    give([p], rng)
    assert p.grad is not None
    p.grad.data.flags.writeable = False
    kept = p.grad.data.copy()
    optimizer.step()
    optimizer.step()
    assert np.array_equal(p.grad.data, kept)
    assert all(x is not p.grad.data for x in optimizer.state[p].values())


@every_kind
def test_a_read_only_parameter_is_refused_before_anything_changes(kind: str, rng: np.random.Generator) -> None:
    p, q = leaf(rng.normal(size=3)), leaf([1.0, 2.0], name="bias")
    optimizer = make(kind, [p, q])
    q.data = np.frombuffer(np.array([1.0, 2.0]).tobytes())
    give([p], rng)
    optimizer.step()  # it has no gradient
    give([p, q], rng)
    before, step = p.data.copy(), copy.deepcopy(optimizer.state[p])
    with pytest.raises(
        ValueError, match=rf"{kind}.step\(\): the array of bias is read-only; write p.data = p.data.copy"
    ):
        optimizer.step()
    assert np.array_equal(p.data, before)
    assert all(np.array_equal(x, step[name]) for name, x in optimizer.state[p].items())
    q.data = q.data.copy()
    optimizer.step()
    assert not np.array_equal(p.data, before)


@every_kind
def test_nan_and_infinity_go_where_they_belong(kind: str) -> None:
    p = leaf([1.0, 1.0, 1.0])
    optimizer = make(kind, [p])
    p.grad = np.array([np.nan, 1.0, 2.0])
    optimizer.step()
    assert np.isnan(p.data).tolist() == [True, False, False]


@every_kind
def test_parameters_without_a_gradient_stay_as_they_are(kind: str, rng: np.random.Generator) -> None:
    used, unused = leaf(rng.normal(size=3)), leaf(rng.normal(size=3))
    optimizer = make(kind, [used, unused])
    before = unused.data.copy()
    for _ in range(3):
        optimizer.zero_grad()
        (used * used).sum().backward()
        optimizer.step()
    assert np.array_equal(unused.data, before)
    assert optimizer.state[unused] == {}
    assert list(optimizer.state_dict()["state"]) == [0]


@every_kind
def test_a_shared_parameter_is_changed_once(kind: str, rng: np.random.Generator) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            self.first = nn.Linear(3, 3, generator=np.random.default_rng(0), dtype=np.float64)
            self.second = nn.Linear(3, 3, generator=np.random.default_rng(1), dtype=np.float64)
            self.second.weight = self.first.weight

        def forward(self, x: Any) -> Any:
            return self.second(F.tanh(self.first(x)))

    model, x = Tied(), rng.normal(size=(4, 3))
    alone = leaf(model.first.weight.data)
    optimizer, other = make(kind, model.parameters()), make(kind, [alone])
    assert len(optimizer.param_groups[0]["params"]) == 3
    for _ in range(2):
        optimizer.zero_grad()
        (model(x) ** 2).sum().backward()
        alone.grad = model.first.weight.grad
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # two uses in one pass are no sum of two passes
            optimizer.step()
        other.step()
    assert np.array_equal(model.second.weight.data, alone.data)


def test_a_frozen_parameter_can_be_thawed() -> None:
    model = nn.Linear(2, 1, generator=np.random.default_rng(0))
    model.weight.requires_grad = False
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    before = model.weight.data.copy()
    x = np.ones((1, 2), np.float32)
    model(x).sum().backward()
    optimizer.step()
    assert np.array_equal(model.weight.data, before)
    model.weight.requires_grad = True
    optimizer.zero_grad()
    model(x).sum().backward()
    optimizer.step()
    np.testing.assert_allclose(model.weight.data, before - np.float32(0.1), rtol=1e-6)


# Groups


def test_groups_have_options_of_their_own() -> None:
    p, q, r = leaf([1.0]), leaf([1.0]), leaf([1.0])
    optimizer = optim.SGD([{"params": [p]}, {"params": (x for x in [q]), "lr": 0.5}, {"params": r, "lr": 0}], lr=0.25)
    for x in (p, q, r):
        x.grad = np.array([1.0])
    optimizer.step()
    assert [x.item() for x in (p, q, r)] == [0.75, 0.5, 1.0]
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.5, 0.0]
    assert all(isinstance(group, dict) for group in optimizer.param_groups)
    with pytest.raises(ValueError, match=r"the groups differ, \[0.25, 0.5, 0.0\]; write param_groups\[i\]"):
        _ = optimizer.lr
    optimizer.lr = 0.125
    assert optimizer.lr == 0.125
    optimizer.param_groups[1]["lr"] = 1.0
    optimizer.step()
    assert [x.item() for x in (p, q, r)] == [0.625, -0.5, 0.875]
    assert repr(optimizer).splitlines()[1].startswith("  (0): 1 parameters, lr=0.125, momentum=0.0")


@st.composite
def problems(draw: st.DrawFn) -> tuple[str, list[list[tuple[tuple[int, ...], str]]], int]:
    shapes = st.sampled_from([(3,), (2, 3), (), (0, 2), (1, 2, 2)])
    member = st.tuples(shapes, st.sampled_from(["float32", "float64", "float16"]))
    groups = draw(st.lists(st.lists(member, min_size=1, max_size=3), min_size=1, max_size=3))
    return draw(st.sampled_from(list(KINDS))), groups, draw(st.integers(0, 2**32))


@settings(max_examples=150)
@given(problems())
def test_groups_change_nothing_but_their_options(problem: tuple[Any, ...]) -> None:
    """An optimizer for all is, bit for bit, one for each parameter; saved and loaded half-way it is the same again."""
    kind, shapes, seed = problem
    rng = np.random.default_rng(seed)
    rates = rng.uniform(0.001, 0.1, len(shapes))
    groups = [[leaf(rng.normal(size=shape), dtype=dtype) for shape, dtype in group] for group in shapes]
    copies = copy.deepcopy(groups)
    together = make(kind, [{"params": g, "lr": lr} for g, lr in zip(groups, rates, strict=True)])
    apart = [make(kind, [p], lr=lr) for g, lr in zip(copies, rates, strict=True) for p in g]
    flat, flat_copies = [p for g in groups for p in g], [p for g in copies for p in g]
    for t in range(6):
        for p, q in zip(flat, flat_copies, strict=True):
            p.grad = q.grad = None if rng.random() < 0.2 else rng.normal(size=p.shape).astype(p.dtype)
        together.step()
        for each in apart:
            each.step()
        assert all(p.data.tobytes() == q.data.tobytes() for p, q in zip(flat, flat_copies, strict=True))
        if t == 2:
            saved = together.state_dict()
            together = make(kind, [{"params": g} for g in groups])
            together.load_state_dict(saved)


# State


@every_kind
def test_going_on_from_a_state_is_bit_for_bit_the_same(kind: str, rng: np.random.Generator) -> None:
    def begin() -> tuple[Any, Any, Any]:
        model = nn.MLP([5, 7, 3], generator=np.random.default_rng(3))
        parameters = model.parameters()
        optimizer = make(kind, [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.02}])
        return model, optimizer, optim.CosineAnnealingLR(optimizer, 15, 0.001)

    def train(model: Any, optimizer: Any, schedule: Any, batches: Any) -> list[float]:
        losses = []
        for x, y in batches:
            optimizer.zero_grad()
            loss = F.softmax_cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        return losses

    batches = [(rng.normal(size=(8, 5)).astype(np.float32), rng.integers(0, 3, 8)) for _ in range(40)]
    whole = begin()
    losses = train(*whole, batches)
    first = begin()
    assert train(*first, batches[:17]) == losses[:17]
    weights, state, counts = (x.state_dict() for x in first)
    train(*first, batches[17:20])  # what was saved is a copy
    state["param_groups"] = json.loads(json.dumps(state["param_groups"]))
    counts = json.loads(json.dumps(counts))
    for order in (0, 1):
        second = begin()
        second[0].load_state_dict(weights)
        for load in [lambda s=second: s[1].load_state_dict(state), lambda s=second: s[2].load_state_dict(counts)][
            :: 1 if order else -1
        ]:
            load()
        assert train(*second, batches[17:]) == losses[17:]
        for p, q in zip(whole[0].parameters(), second[0].parameters(), strict=True):
            assert p.data.tobytes() == q.data.tobytes()
        assert second[1].state_dict()["param_groups"] == whole[1].state_dict()["param_groups"]


def test_the_state_dict_has_pytorchs_shape(rng: np.random.Generator) -> None:
    p, q = leaf([[1.0, 2.0]]), leaf([3.0])
    optimizer = optim.Adam([{"params": [p]}, {"params": [q], "name": "head"}])
    give([p, q], rng)
    optimizer.step()
    state = optimizer.state_dict()
    assert list(state) == ["state", "param_groups"]
    assert {name: np.shape(x) for name, x in state["state"][0].items()} == {
        "step": (),
        "exp_avg": (1, 2),
        "exp_avg_sq": (1, 2),
    }
    assert [group["params"] for group in state["param_groups"]] == [[0], [1]]
    assert state["param_groups"][1]["name"] == "head"
    assert json.loads(json.dumps(state["param_groups"]))[0]["betas"] == [0.9, 0.999]


def broken(state: dict[str, Any], *path: Any, value: Any = None, delete: bool = False) -> dict[str, Any]:
    state = copy.deepcopy(state)
    place: Any = state
    for key in path[:-1]:
        place = place[key]
    if delete:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return state


def test_a_wrong_state_is_refused_and_nothing_changes(rng: np.random.Generator) -> None:
    p, q = leaf(rng.normal(size=(2, 3))), leaf(rng.normal(size=3))
    optimizer = optim.Adam([{"params": [p]}, {"params": [q], "lr": 0.5}])
    give([p, q], rng)
    optimizer.step()
    good = optimizer.state_dict()
    optimizer.step()
    before = optimizer.state_dict()
    first, groups = ("state", 0), "param_groups"
    for wrong, message in [
        (None, "found None; expected a dict with 'state' and 'param_groups'"),
        ({}, r"found \[\]; expected a dict"),
        ({**good, "more": 1}, "expected a dict with"),
        (broken(good, "state", value=[1]), r"state is \[1\]; expected a dict"),
        (broken(good, "state", 7, value={}), r"state has \[7\]; expected positions from 0 to 1"),
        (broken(good, "state", "0", value={}), r"state has \['0'\]"),
        (broken(good, *first, value=3), r"state\[0\] is 3"),
        (broken(good, *first, "step", delete=True), r"state\[0\] has missing \['step'\], unexpected \[\]"),
        (broken(good, *first, "momentum_buffer", value=0), r"unexpected \['momentum_buffer'\]"),
        (broken(good, *first, "step", value=-1), r"state\[0\]\['step'\] is -1; expected a number of steps"),
        (broken(good, *first, "step", value=2.5), r"state\[0\]\['step'\] is 2.5"),
        (broken(good, *first, "exp_avg", value=np.ones(3)), r"state\[0\]\['exp_avg'\] has shape \(3,\) and dtype floa"),
        (
            broken(good, *first, "exp_avg", value=np.ones((2, 3), int)),
            r"dtype int64; expected floats of shape \(2, 3\)",
        ),
        (broken(good, groups, value=None), r"param_groups is None; expected dicts with 'params'"),
        (broken(good, groups, 0, value=None), "expected dicts with 'params'"),
        (broken(good, groups, 0, "params", delete=True), "expected dicts with 'params'"),
        (broken(good, groups, value=good[groups][:1]), r"the groups are \[\[0\]\]; expected \[\[0\], \[1\]\]"),
        (broken(good, groups, 0, "params", value=[0, 1]), r"are \[\[0, 1\], \[1\]\]; expected"),
        (broken(good, groups, 1, "lr", value=math.nan), r"lr=nan; expected a number from 0"),
        (broken(good, groups, 1, "lr", delete=True), r"param_groups\[1\] lacks lr"),
        (broken(good, groups, 1, "momentum", value=0.5), r"unknown option 'momentum'"),
        (broken(good, groups, 1, "betas", value=[0.9]), r"betas=\[0.9\]; expected two numbers"),
    ]:
        with pytest.raises(ValueError, match=message) as error:
            optimizer.load_state_dict(wrong)  # type: ignore[arg-type]
        assert str(error.value).startswith("Adam.load_state_dict: ")
        after = optimizer.state_dict()
        assert after[groups] == before[groups]
        for i in (0, 1):
            assert all(np.array_equal(x, before["state"][i][name]) for name, x in after["state"][i].items())
    optimizer.load_state_dict(good)
    assert optimizer.state[p]["step"] == 1


def test_loaded_arrays_are_copies_in_the_optimizers_dtype(rng: np.random.Generator) -> None:
    p, q = leaf(rng.normal(size=3)), leaf(rng.normal(size=3), dtype="float32")
    a, b = optim.RMSprop([p]), optim.RMSprop([q])
    give([p], rng)
    a.step()
    saved = a.state_dict()
    b.load_state_dict(saved)
    assert b.state[q]["square_avg"].dtype == np.float32
    a.load_state_dict(saved)
    assert not np.shares_memory(a.state[p]["square_avg"], saved["state"][0]["square_avg"])


@every_kind
def test_optimizers_can_be_copied(kind: str, rng: np.random.Generator) -> None:
    p = leaf(rng.normal(size=3))
    optimizer = make(kind, [p])
    give([p], rng)
    optimizer.step()
    for q, other in (copy.deepcopy((p, optimizer)), pickle.loads(pickle.dumps((p, optimizer)))):
        g = rng.normal(size=3)
        before = p.data.copy()
        state = optimizer.state_dict()
        p.grad, q.grad = g, g
        optimizer.step()
        other.step()
        assert p.data.tobytes() == q.data.tobytes()
        assert p.data.tobytes() != before.tobytes()
        p.data[...] = before
        optimizer.load_state_dict(state)


# The warning


def passes(p: tg.Tensor, count: int = 1) -> None:
    for _ in range(count):
        (p * p).sum().backward()


def warns(optimizer: optim.Optimizer, **options: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        optimizer.step(**options)
    assert all(w.filename == __file__ and w.category is UserWarning for w in found)
    return [str(w.message) for w in found]


def test_a_sum_of_passes_is_told_once() -> None:
    p = leaf([1.0, 2.0], name="weight")
    optimizer = optim.SGD([leaf([1.0]), p], lr=0.1)
    passes(p)
    assert not warns(optimizer)
    passes(p)  # without zero_grad
    (message,) = warns(optimizer)
    assert message == (
        "SGD.step(): the gradient of weight is the sum of several backward passes; call zero_grad() before each, or "
        "say step(accumulated=True) if the sum is meant"
    )
    passes(p)
    assert not warns(optimizer)


def test_the_warning_points_at_the_line_that_steps_and_comes_before_the_change() -> None:
    p = leaf([1.0, 2.0])
    optimizer = optim.Adam([leaf([[1.0], [2.0], [3.0]]), p])
    passes(p, 2)
    before = p.data.copy()
    with pytest.warns(UserWarning, match=r"Adam.step\(\): the gradient of parameter 1 is the sum") as found:
        optimizer.step()
    assert found[0].filename == __file__
    optimizer = optim.Adam([p])
    p.data[...] = before
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="sum of several"):
            optimizer.step()
    assert np.array_equal(p.data, before)
    assert optimizer.state[p] == {}


def test_a_sum_that_is_meant() -> None:
    p = leaf([1.0, 2.0])
    optimizer = optim.SGD([p], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        passes(p, 4)
        assert not warns(optimizer, accumulated=True)
    passes(p)
    assert len(warns(optimizer)) == 1


def test_every_way_to_zero_a_gradient_is_understood() -> None:
    model = nn.Linear(2, 1, generator=np.random.default_rng(0))
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def each(change: Any) -> None:
        for p in model.parameters():
            change(p)

    def multiplied(p: Any) -> None:
        p.grad *= 0

    for zero in (
        optimizer.zero_grad,
        model.zero_grad,
        lambda: each(lambda p: setattr(p, "grad", None)),
        lambda: each(lambda p: setattr(p, "grad", np.zeros(p.shape))),
        lambda: each(lambda p: p.grad.data.fill(0)),
        lambda: each(multiplied),
    ):
        for _ in range(3):
            zero()
            model(np.ones((1, 2), np.float32)).sum().backward()
            assert not warns(optimizer)


def test_what_is_no_sum() -> None:
    p, q = leaf([1.0, 2.0]), leaf([1.0])
    optimizer = optim.SGD([p, q], lr=0.1)
    (p * q).sum().backward()
    assert not warns(optimizer)
    assert not warns(optimizer)  # a step from the same gradient again
    optimizer.zero_grad()
    passes(p)
    assert not warns(optimizer)
    tg.grad((p * p).sum(), p)
    assert not warns(optimizer)
    p.grad = p.grad  # what is assigned is nobody's sum
    assert not warns(optimizer)


@pytest.mark.parametrize("create_graph", [False, True])
def test_sums_are_seen_however_they_are_made(create_graph: bool) -> None:
    for first, second in ((create_graph, True), (True, create_graph), (create_graph, False)):
        p = leaf([1.0, 2.0])
        for graph in (first, second):
            (p * p * p).sum().backward(create_graph=graph)
        np.testing.assert_array_equal(p.grad.data, [6.0, 24.0])
        assert len(warns(optim.SGD([p], lr=0.1))) == 1
    frozen = leaf([1.0, 2.0])
    frozen.grad = np.array([1.0, 1.0])
    frozen.grad.data.flags.writeable = False
    passes(frozen)
    assert len(warns(optim.SGD([frozen], lr=0.1))) == 1


def test_accumulating_is_half_or_the_whole_batch(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(8, 3)), rng.integers(0, 2, 8)
    models = [nn.Linear(3, 2, generator=np.random.default_rng(0), dtype=np.float64) for _ in range(2)]
    F.softmax_cross_entropy(models[0](x), y, reduction="sum").backward()
    for half in (slice(0, 4), slice(4, 8)):
        F.softmax_cross_entropy(models[1](x[half]), y[half], reduction="sum").backward()
    for model in models:
        optim.SGD(model.parameters(), lr=0.1).step(accumulated=True)
    np.testing.assert_allclose(models[0].weight.data, models[1].weight.data, rtol=1e-13)


# What is refused


def test_wrong_parameters() -> None:
    p, constant = leaf([1.0]), tg.Tensor([1.0])
    used = iter([p])
    list(used)
    for params, kind, message in [
        (nn.Linear(2, 3), TypeError, r"SGD: params is one Linear; write model.parameters\(\)"),
        (p, TypeError, "params is one Tensor"),
        ({"params": [p]}, TypeError, "params is one dict"),
        ("weights", TypeError, "params is 'weights'; expected leaves"),
        (3, TypeError, "params is 3; expected leaves"),
        (None, TypeError, "params is None"),
        ({p}, TypeError, "params is a set, which has no order"),
        ([p, {"params": [leaf([1.0])]}], TypeError, "params mixes tensors and dicts"),
        ([], ValueError, r"SGD: no parameters given; write SGD\(model.parameters\(\), ...\)"),
        (used, ValueError, "params gives no parameters; a generator can be read only once"),
        ([{"params": [p]}, {"params": used}], ValueError, r"params\[1\]\['params'\] gives no parameters"),
        ([{"params": []}], ValueError, "no parameters given"),
        ([{"lr": 0.1}], ValueError, r"params\[0\] has no 'params'"),
        ([p, constant], ValueError, r"params\[1\] is Tensor\(.*\), expected a leaf that requires a gradient"),
        ([p * 2], ValueError, r"params\[0\] is Tensor\(.*op=mul\), expected a leaf"),
        ([np.ones(3)], ValueError, r"params\[0\] is array\(.*\), expected a leaf"),
        ([p, p], ValueError, r"a parameter was given twice: params\[0\] and params\[1\]"),
        (
            [{"params": [leaf([1.0]), p]}, {"params": [p]}],
            ValueError,
            r"given twice: params\[0\]\['params'\]\[1\] and params\[1\]\['params'\]\[0\]",
        ),
        ([{"params": [p], "learning_rate": 0.1}], ValueError, "unknown option 'learning_rate'; expected lr, momentum"),
        ([{"params": [p], "lr": "fast"}], ValueError, "lr='fast'; expected a number from 0"),
    ]:
        with pytest.raises(kind, match=message):
            optim.SGD(params, lr=0.1)
    optim.SGD([{"params": [p]}, {"params": []}], lr=0.1)  # a group may be empty


@pytest.mark.parametrize("value", [-1, -1e-9, math.nan, math.inf, True, "0.1", None, [0.1], 1j])
@every_kind
def test_wrong_learning_rates(kind: str, value: Any) -> None:
    p = leaf([1.0])
    with pytest.raises(ValueError, match=rf"^{kind}: lr=.*; expected a number from 0 to below infinity"):
        make(kind, [p], lr=value)
    optimizer = make(kind, [p], lr=0.5)
    with pytest.raises(ValueError, match="lr="):
        optimizer.param_groups[0]["lr"] = value
    with pytest.raises(ValueError, match="lr="):
        optimizer.lr = value
    assert optimizer.lr == 0.5


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("SGD", {"momentum": 1.0}, "momentum=1.0; expected a number from 0 to below 1"),
        ("SGD", {"momentum": -0.1}, "momentum=-0.1"),
        ("SGD", {"weight_decay": -0.1}, "weight_decay=-0.1"),
        ("SGD", {"nesterov": 1}, "nesterov=1; expected True or False"),
        ("SGD", {"nesterov": True, "momentum": 0.0}, "nesterov=True with momentum=0.0 and dampening=0.0; expected"),
        ("SGD", {"nesterov": True, "dampening": 0.5}, "nesterov=True with momentum=0.9 and dampening=0.5"),
        ("Adam", {"betas": 0.9}, r"betas=0.9; expected two numbers, such as \(0.9, 0.999\)"),
        ("Adam", {"betas": (0.9, 1.0)}, r"betas\[1\]=1.0; expected a number from 0 to below 1"),
        ("AdamW", {"eps": -1e-8}, "AdamW: eps=-1e-08"),
        ("RMSprop", {"alpha": 1.0}, "alpha=1.0"),
        ("RMSprop", {"centered": None}, "centered=None; expected True or False"),
        ("Adagrad", {"lr_decay": math.inf}, "lr_decay=inf"),
        ("Adagrad", {"initial_accumulator_value": -1}, "initial_accumulator_value=-1"),
    ],
)
def test_wrong_options(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(kind, [leaf([1.0])], **options)


def test_the_parameters_of_a_group_stay() -> None:
    optimizer = optim.SGD([leaf([1.0])], lr=np.float32(0.5))
    assert type(optimizer.lr) is float
    with pytest.raises(ValueError, match="SGD: the parameters of a group stay"):
        optimizer.param_groups[0]["params"] = [leaf([2.0])]


def test_an_optimizer_of_ones_own() -> None:
    class SignSGD(optim.Optimizer):
        def _update(self, group: Any, dtype: Any, updates: Any) -> None:
            for p, g, _state, a, _b in updates:
                np.subtract(p, np.multiply(np.sign(g, a), dtype.type(group["lr"]), a), p)

    p = leaf([1.0, -2.0])
    optimizer = SignSGD([p], {"lr": 0.5})
    p.grad = np.array([3.0, -0.1])
    optimizer.step()
    assert p.data.tolist() == [0.5, -1.5]
    base = optim.Optimizer([p], {"lr": 0.5})
    with pytest.raises(TypeError, match="Optimizer defines no _update"):
        base.step()
