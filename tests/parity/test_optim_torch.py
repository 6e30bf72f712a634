"""Optimizers, schedules and clipping against PyTorch: the same numbers to float64 round-off, over many steps."""

import copy
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce import optim

torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install -e '.[parity]'")

STEPS = 50
SHAPES = ((4, 3), (5,), (), (0, 2), (3, 6), (2, 1, 3))
EPS = np.finfo(np.float64).eps

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 0.05}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.05}),
    ("Adam", {"lr": 0.05, "betas": (0.0, 0.5), "amsgrad": True}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.05, "amsgrad": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05, "betas": (0.7, 0.99), "weight_decay": 0.3, "amsgrad": True}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.0}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.05, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.05}),
    ("RMSprop", {"lr": 0.02, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.02, "centered": True, "eps": 1e-3}),
    ("RMSprop", {"lr": 0.02, "centered": True, "momentum": 0.9, "weight_decay": 0.05, "eps": 1e-3}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.05, "initial_accumulator_value": 0.3, "eps": 1e-3}),
]
NAMES = [f"{kind}-{'-'.join(map(str, options)) or 'defaults'}-{i}" for i, (kind, options) in enumerate(OPTIMIZERS)]


def close(ours: Any, theirs: Any, units: float = 64, size: float = 0.0) -> None:
    """Elementwise equal to a few roundings of the largest number, or of one that was there before."""
    expected = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    ours = np.asarray(ours)
    assert ours.shape == expected.shape
    assert ours.dtype == expected.dtype
    size = np.max(np.abs(expected), initial=size)
    assert np.all(np.abs(ours - expected) <= units * EPS * size)


def parameters(rng: np.random.Generator) -> tuple[list[tg.Tensor], list[Any]]:
    """Parameters of many shapes, one of them not contiguous, here and there."""
    arrays = [rng.normal(size=shape) for shape in SHAPES]
    ours = [tg.Tensor(x, requires_grad=True) for x in arrays]
    ours[4].data = rng.normal(size=(12, 3))[::2].T
    ours[4].data[...] = arrays[4]
    assert not ours[4].data.flags.c_contiguous
    return ours, [torch.tensor(x, requires_grad=True) for x in arrays]


def give(ours: list[tg.Tensor], theirs: list[Any], rng: np.random.Generator, t: int) -> None:
    """The gradient of a made-up loss to both, which depends on the parameters; none to some, at some steps."""
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        if (t + i) % 7 == 3:
            p.grad = q.grad = None
            continue
        noise = rng.normal(size=p.shape) * 10 ** rng.uniform(-2, 1)
        p.grad = p.data - 1 + noise
        q.grad = torch.tensor(np.array(p.grad.data, order="C"))


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS, ids=NAMES)
def test_the_update_of_every_optimizer(kind: str, options: dict[str, Any], rng: np.random.Generator) -> None:
    ours, theirs = parameters(rng)
    second = {"lr": 0.01, "weight_decay": 0.2}
    optimizer = getattr(optim, kind)([{"params": ours[:3]}, {"params": ours[3:], **second}], **options)
    reference = getattr(torch.optim, kind)([{"params": theirs[:3]}, {"params": theirs[3:], **second}], **options)
    schedule = optim.StepLR(optimizer, 20, 0.3)
    reference_schedule = torch.optim.lr_scheduler.StepLR(reference, 20, 0.3)
    identities = [p.data for p in ours]
    sizes = [np.max(np.abs(p.data), initial=0.0) for p in ours]
    for t in range(STEPS):
        give(ours, theirs, rng, t)
        optimizer.step()
        reference.step()
        for p, q, size in zip(ours, theirs, sizes, strict=True):
            close(p.data, q, size=size)
        schedule.step()
        reference_schedule.step()
    assert all(p.data is array for p, array in zip(ours, identities, strict=True))
    assert schedule.last_lr == pytest.approx(reference_schedule.get_last_lr(), rel=4 * EPS)
    for p, q in zip(ours, theirs, strict=True):
        state = {name: x for name, x in reference.state[q].items() if x is not None}
        if kind == "RMSprop":
            state.pop("step")  # which no formula needs
        assert optimizer.state[p].keys() == state.keys()
        for name, x in state.items():
            close(np.asarray(optimizer.state[p][name], float), x.double())


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS, ids=NAMES)
@pytest.mark.parametrize("dtype", ["float32"])
def test_the_update_in_single_precision(
    kind: str, options: dict[str, Any], dtype: str, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(6, 5)).astype(dtype)
    p, q = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    optimizer, reference = getattr(optim, kind)([p], **options), getattr(torch.optim, kind)([q], **options)
    for _ in range(STEPS):
        g = (p.data - 1 + rng.normal(size=p.shape)).astype(dtype)
        p.grad, q.grad = g, torch.tensor(g)
        optimizer.step()
        reference.step()
    expected = q.detach().numpy()
    assert np.all(np.abs(p.data - expected) <= 256 * np.finfo(dtype).eps * np.max(np.abs(expected)))


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_arguments_and_defaults(kind: str) -> None:
    def arguments(cls: Any) -> dict[str, Any]:
        return {name: p.default for name, p in inspect.signature(cls).parameters.items()}

    here, there = arguments(getattr(optim, kind)), arguments(getattr(torch.optim, kind))
    assert here == {name: there[name] for name in here}
    assert list(here) == [name for name in there if name in here]


Make = Callable[[Any, Any], Any]
SCHEDULES: dict[str, Make] = {
    "step": lambda m, o: m.StepLR(o, 7, 0.9),
    "multistep": lambda m, o: m.MultiStepLR(o, [3, 50, 50, 120], gamma=0.3),
    "linear": lambda m, o: m.LinearLR(o),
    "linear down": lambda m, o: m.LinearLR(o, 0.9, 0.0, 130),
    "linear up": lambda m, o: m.LinearLR(o, start_factor=0.001, total_iters=250),
    "cosine": lambda m, o: m.CosineAnnealingLR(o, 60),
    "cosine to a rate": lambda m, o: m.CosineAnnealingLR(o, T_max=300, eta_min=0.003),
    "cosine of one": lambda m, o: m.CosineAnnealingLR(o, 1, 0.01),
    "one cycle": lambda m, o: m.OneCycleLR(o, 0.5, total_steps=300),
    "one cycle by epochs": lambda m, o: m.OneCycleLR(
        o, [0.5, 0.3], epochs=31, steps_per_epoch=10, pct_start=0.45, anneal_strategy="linear"
    ),
    "one cycle in three": lambda m, o: m.OneCycleLR(
        o, 0.5, 310, three_phase=True, base_momentum=[0.7, 0.8], max_momentum=[0.9, 0.99], div_factor=10.0
    ),
    "one cycle, the rate alone": lambda m, o: m.OneCycleLR(
        o, 0.5, 300, cycle_momentum=False, final_div_factor=100.0, pct_start=1.0
    ),
    "one cycle without a rise": lambda m, o: m.OneCycleLR(o, 0.5, 300, pct_start=0.0),
    "warm-up then cosine": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, total_iters=20), m.CosineAnnealingLR(o, 100)], milestones=[20]
    ),
    "three in a row": lambda m, o: m.SequentialLR(
        o, [m.StepLR(o, 10), m.LinearLR(o, 0.5, total_iters=9), m.MultiStepLR(o, [5, 9])], milestones=[35, 70]
    ),
}


def two(kind: str, **options: Any) -> tuple[Any, Any]:
    """An optimizer with two groups, here and there."""
    p, q = (tg.Tensor([1.0], requires_grad=True) for _ in range(2))
    r, s = (torch.tensor([1.0], requires_grad=True) for _ in range(2))
    ours = getattr(optim, kind)([{"params": [p]}, {"params": [q], "lr": 0.02}], lr=0.1, **options)
    theirs = getattr(torch.optim, kind)([{"params": [r]}, {"params": [s], "lr": 0.02}], lr=0.1, **options)
    theirs.step()  # PyTorch warns of a schedule's step before the first
    return ours, theirs


def same_groups(optimizer: Any, reference: Any) -> None:
    for group, expected in zip(optimizer.param_groups, reference.param_groups, strict=True):
        for name in ("lr", "momentum", "betas"):
            assert (name in group) == (name in expected)
            if name in group:
                there = expected[name]
                if name == "lr":  # PyTorch comes out below 0 by rounding, or one step after the end
                    there = max(there, 0.0)
                assert group[name] == pytest.approx(there, rel=4 * EPS, abs=0)


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*")
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rates_of_every_schedule(name: str, kind: str) -> None:
    optimizer, reference = two(kind)
    schedule, expected = SCHEDULES[name](optim, optimizer), SCHEDULES[name](torch.optim.lr_scheduler, reference)
    same_groups(optimizer, reference)
    seen = set()
    for _ in range(300):
        try:
            expected.step()
        except ZeroDivisionError:  # pct_start=1.0: PyTorch has no last phase to divide by
            break
        schedule.step()
        same_groups(optimizer, reference)
        assert schedule.last_lr == [group["lr"] for group in optimizer.param_groups]
        seen.add(schedule.last_lr[0])
    assert len(seen) > 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "max"},
        {"threshold_mode": "abs", "threshold": 0.05},
        {"mode": "max", "threshold_mode": "abs"},
        {"factor": 0.5, "patience": 2, "cooldown": 3, "min_lr": [0.001, 0.01]},
        {"factor": 0.9, "patience": 0, "min_lr": 0.01, "eps": 1e-3},
    ],
)
def test_the_rates_on_a_plateau(options: dict[str, Any], rng: np.random.Generator) -> None:
    optimizer, reference = two("SGD")
    schedule = optim.ReduceLROnPlateau(optimizer, **options)
    expected = torch.optim.lr_scheduler.ReduceLROnPlateau(reference, **options)
    for t in range(300):
        metric = math.nan if t % 17 == 5 else math.exp(-t / 50) + 0.1 * rng.random()
        schedule.step(tg.Tensor(metric, dtype="float64") if t % 2 else metric)
        expected.step(metric)
        same_groups(optimizer, reference)
        assert schedule.best == expected.best
    assert optimizer.param_groups[0]["lr"] < 0.1


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*")
def test_schedules_on_one_optimizer_and_rates_changed_by_hand() -> None:
    optimizer, reference = two("SGD")
    both = [
        (m.StepLR(o, 5, 0.9), m.CosineAnnealingLR(o, 50), m.LinearLR(o, 0.2, total_iters=10), o)
        for m, o in ((optim, optimizer), (torch.optim.lr_scheduler, reference))
    ]
    for t in range(200):
        for *schedules, o in both:
            for schedule in schedules:
                schedule.step()
            if t == 77:
                o.param_groups[1]["lr"] *= 0.25
        for group, expected in zip(optimizer.param_groups, reference.param_groups, strict=True):
            assert group["lr"] == pytest.approx(expected["lr"], rel=1e-13, abs=1e-18)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, 0.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.5, 1e9, 0.0])
def test_clip_grad_norm(norm_type: float, max_norm: float, rng: np.random.Generator) -> None:
    ours, theirs = parameters(rng)
    give(ours, theirs, rng, 0)
    total = optim.clip_grad_norm(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert total == pytest.approx(expected.item(), rel=32 * EPS, abs=0)
    for p, q in zip(ours, theirs, strict=True):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            close(p.grad.data, q.grad)


def test_clip_grad_value(rng: np.random.Generator) -> None:
    ours, theirs = parameters(rng)
    give(ours, theirs, rng, 0)
    optim.clip_grad_value(ours, 0.7)
    torch.nn.utils.clip_grad_value_(theirs, 0.7)
    for p, q in zip(ours, theirs, strict=True):
        if p.grad is not None:
            assert np.array_equal(p.grad.data, q.grad.numpy())
            assert np.max(np.abs(p.grad.data), initial=0.0) <= 0.7


def test_a_whole_training_with_clipping_and_one_cycle(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(32, 6)), rng.integers(0, 4, 32)
    model = tg.nn.MLP([6, 8, 4], activation="tanh", generator=rng, dtype=np.float64)
    reference = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4)).double()
    with torch.no_grad():
        for p, q in zip(model.parameters(), reference.parameters(), strict=True):
            q.copy_(torch.tensor(p.data))
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    their = torch.optim.AdamW(reference.parameters(), lr=0.01)
    schedule = optim.OneCycleLR(optimizer, 0.1, STEPS)
    their_schedule = torch.optim.lr_scheduler.OneCycleLR(their, 0.1, STEPS)
    start = copy.deepcopy(model.state_dict())
    for _ in range(STEPS):
        optimizer.zero_grad()
        their.zero_grad()
        loss = tg.functional.softmax_cross_entropy(model(x), y)
        their_loss = torch.nn.functional.cross_entropy(reference(torch.tensor(x)), torch.tensor(y))
        assert loss.item() == pytest.approx(their_loss.item(), rel=1e-11)
        loss.backward()
        their_loss.backward()
        optim.clip_grad_norm(model.parameters(), 0.5)
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
        optimizer.step()
        their.step()
        schedule.step()
        their_schedule.step()
    for (name, p), q in zip(model.named_parameters(), reference.parameters(), strict=True):
        close(p.data, q, 1e5)
        assert np.any(p.data != start[name])
