"""The schedules: their closed forms, their state, how often they are to be called, what they refuse."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.helpers import leaf
from tinygrad_ce import nn, optim

BASES = (0.1, 0.02)


def optimizer(kind: str = "SGD", **options: Any) -> Any:
    return getattr(optim, kind)([{"params": [leaf([1.0])], "lr": lr} for lr in BASES], **options)


def anneal(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


CLOSED: dict[str, tuple[Callable[[Any], Any], Callable[[float, int], float]]] = {
    "step": (lambda o: optim.StepLR(o, 7, 0.9), lambda lr, t: lr * 0.9 ** (t // 7)),
    "multistep": (
        lambda o: optim.MultiStepLR(o, [3, 50, 50], 0.5),
        lambda lr, t: lr * 0.5 ** sum(t >= m for m in (3, 50, 50)),
    ),
    "linear": (
        lambda o: optim.LinearLR(o, 0.25, 0.75, 120),
        lambda lr, t: lr * (0.25 + 0.5 * min(t, 120) / 120),
    ),
    "cosine": (
        lambda o: optim.CosineAnnealingLR(o, 80, 0.01),
        lambda lr, t: anneal(lr, 0.01, t / 80),
    ),
    "one cycle": (
        lambda o: optim.OneCycleLR(o, [10 * lr for lr in BASES], total_steps=201, pct_start=41 / 201),
        lambda lr, t: anneal(0.4 * lr, 10 * lr, t / 40) if t <= 40 else anneal(10 * lr, 0.4e-4 * lr, (t - 40) / 160),
    ),
    "warm-up, cosine": (
        lambda o: optim.SequentialLR(
            o, [optim.LinearLR(o, 0.1, total_iters=30), optim.CosineAnnealingLR(o, 170)], [30]
        ),
        lambda lr, t: lr * (0.1 + 0.9 * t / 30) if t < 30 else anneal(lr, 0.0, (t - 30) / 170),
    ),
}


@pytest.mark.parametrize("name", CLOSED)
def test_the_rates_have_their_closed_form(name: str) -> None:
    make, closed = CLOSED[name]
    o = optimizer()
    schedule = make(o)
    for t in range(201):
        expected = [closed(lr, t) for lr in BASES]
        assert schedule.last_lr == pytest.approx(expected, rel=1e-12, abs=1e-16)
        assert [group["lr"] for group in o.param_groups] == schedule.last_lr
        assert schedule.last_epoch == t
        if t < 200:
            schedule.step()


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("at", [0, 1, 29, 30, 31, 80, 199])
def test_going_on_from_a_state_is_bit_for_bit_the_same(name: str, at: int) -> None:
    make, _ = CLOSED[name]

    def rates(schedule: Any, steps: int) -> list[Any]:
        found = []
        for _ in range(steps):
            schedule.step()
            found.append([(group["lr"], group["momentum"]) for group in schedule.optimizer.param_groups])
        return found

    whole = rates(make(optimizer()), 200)
    first = make(optimizer())
    assert rates(first, at) == whole[:at]
    saved, groups = json.dumps(first.state_dict()), first.optimizer.state_dict()
    for which in ("after", "before", "never"):  # the optimizer's own state
        o = optimizer()
        if which == "before":
            o.load_state_dict(groups)
        second = make(o)
        second.load_state_dict(json.loads(saved))
        if which == "after":
            o.load_state_dict(groups)
        momenta = [group["momentum"] for group in first.optimizer.param_groups]
        assert [group["momentum"] for group in o.param_groups] == momenta
        assert second.last_lr == first.last_lr
        assert rates(second, 200 - at) == whole[at:]


def test_one_cycle_as_the_second_of_two_knows_its_momentum_again() -> None:
    def make() -> Any:
        o = optimizer()
        return optim.SequentialLR(o, [optim.LinearLR(o, every="step"), optim.OneCycleLR(o, 0.5, 20)], [5])

    first, second = make(), make()
    for _ in range(10):
        first.step()
    second.load_state_dict(first.state_dict())
    for _ in range(15):
        assert [dict(group, params=()) for group in first.optimizer.param_groups] == [
            dict(group, params=()) for group in second.optimizer.param_groups
        ]
        first.step()
        second.step()


def test_the_momentum_goes_against_the_rate() -> None:
    for kind, options in (("SGD", {"momentum": 0.5}), ("Adam", {}), ("RMSprop", {})):
        o = optimizer(kind, **options)
        schedule = optim.OneCycleLR(
            o, 1.0, total_steps=101, pct_start=21 / 101, base_momentum=[0.7, 0.8], max_momentum=0.9
        )
        for t in range(101):
            for group, low in zip(o.param_groups, (0.7, 0.8), strict=True):
                expected = anneal(0.9, low, t / 20) if t <= 20 else anneal(low, 0.9, (t - 20) / 80)
                found = group["betas"][0] if kind == "Adam" else group["momentum"]
                assert found == pytest.approx(expected, rel=1e-12)
                if kind == "Adam":
                    assert group["betas"][1] == 0.999
            schedule.step()


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.3, 1.0])
def test_one_cycle_ends_where_it_should(strategy: Any, part: float) -> None:
    o = optimizer()
    schedule = optim.OneCycleLR(o, 1.0, epochs=2, steps_per_epoch=5, pct_start=part, anneal_strategy=strategy)
    if part == 0.1:  # the rise is over before the first step
        assert schedule.last_lr == [1.0, 1.0]
    for _ in range(9):
        schedule.step()
    assert o.param_groups[0]["lr"] == pytest.approx(1.0 if part == 1 else 0.04 / 1e4, rel=1e-9)
    schedule.step()
    assert 0 <= o.param_groups[0]["lr"] < 0.1
    with pytest.raises(ValueError, match="OneCycleLR: step 11 of 10; give total_steps="):
        schedule.step()
    assert schedule.last_epoch == 10


def test_a_schedule_tells_how_often_to_call_it() -> None:
    o = optimizer()
    assert optim.StepLR.every == optim.StepLR(o, 3).every == "epoch"
    assert optim.OneCycleLR.every == optim.OneCycleLR(o, 0.1, 10).every == "step"
    assert optim.OneCycleLR(o, 0.1, 10, every="epoch").every == "epoch"
    warm_up = optim.LinearLR(o, every="step")
    assert warm_up.every == "step"
    cosine = optim.CosineAnnealingLR(o, 10, every="step")
    assert optim.SequentialLR(o, [warm_up, cosine], [5]).every == "step"
    assert optim.ReduceLROnPlateau(o).every == "epoch"
    assert optim.LinearLR.every == "epoch"


def test_a_rate_changed_by_hand_stays_changed() -> None:
    o = optimizer()
    schedule = optim.StepLR(o, 2, 0.5)
    schedule.step()
    o.param_groups[0]["lr"] = 0.3
    assert schedule.last_lr == [0.3, 0.02]
    schedule.step()
    assert schedule.last_lr == [0.15, 0.01]
    assert schedule.base_lrs == [0.1, 0.02]


def test_a_second_schedule_goes_on_from_the_rate_and_knows_the_optimizers_own() -> None:
    o = optimizer()
    optim.LinearLR(o, 0.1)
    assert optim.LinearLR(o, 0.5).last_lr == pytest.approx([0.1 * 0.1 * 0.5, 0.02 * 0.1 * 0.5], rel=1e-15)
    assert optim.CosineAnnealingLR(o, 10).base_lrs == [0.1, 0.02]


def test_a_plateau() -> None:
    o = optimizer()
    schedule = optim.ReduceLROnPlateau(o, factor=0.5, patience=1, cooldown=2, min_lr=[0.04, 0.0])
    for loss in (1.0, 0.5, math.nan, 0.49999):  # not better by a part of 1e-4: the second bad one
        schedule.step(loss)
    assert schedule.last_lr == [0.05, 0.01]
    for _ in range(4):  # two of them are not judged
        schedule.step(0.6)
    assert schedule.last_lr == [0.04, 0.005]
    state = json.loads(json.dumps(schedule.state_dict()))
    assert state["best"] == 0.5
    other = optim.ReduceLROnPlateau(optimizer(), factor=0.5, patience=1, cooldown=2, min_lr=[0.04, 0.0])
    other.load_state_dict(state)
    for loss in (0.5, 0.5, 0.1, 0.2, 0.2, 0.2):
        schedule.step(loss)
        other.step(loss)
        assert schedule.state_dict() == other.state_dict()
    fresh = optim.ReduceLROnPlateau(optimizer(), mode="max")
    fresh.load_state_dict(json.loads(json.dumps(fresh.state_dict())))
    assert fresh.best == -math.inf
    with pytest.raises(TypeError):
        fresh.step([])
    assert fresh.last_epoch == 0


def test_training_with_a_schedule_by_step(rng: np.random.Generator) -> None:
    model = nn.Linear(3, 1, generator=rng)
    o = optim.SGD(model.parameters(), lr=0.1)
    schedule = optim.OneCycleLR(o, 0.5, 30)
    x = rng.normal(size=(16, 3)).astype(np.float32)
    y = (x @ np.float32([[1.0], [-2.0], [0.5]])) + 1
    for _ in range(30):
        o.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        o.step()
        schedule.step()
    assert loss.item() < 0.02


def test_wrong_states() -> None:
    schedule = optim.StepLR(optimizer(), 3)
    schedule.step()
    good = schedule.state_dict()
    schedule.step()
    before = schedule.state_dict()
    for wrong, message in [
        (None, r"found None; expected \['last_epoch', 'base_lrs', 'last_lr'\]"),
        ({}, r"found \[\]; expected"),
        ({**good, "best": 1.0}, "'best'"),
        ({**good, "last_epoch": -1}, "last_epoch=-1; expected a value such as 2"),
        ({**good, "last_epoch": 1.5}, "last_epoch=1.5"),
        ({**good, "last_epoch": True}, "last_epoch=True"),
        ({**good, "base_lrs": [0.1]}, r"base_lrs=\[0.1\]; expected a value such as \[0.1, 0.02\]"),
        ({**good, "last_lr": [0.1, "x"]}, "last_lr="),
        ({**good, "last_lr": [0.1, math.nan]}, "last_lr="),
        ({**good, "last_lr": [0.1, -1.0]}, "last_lr="),
        ({**good, "last_lr": [0.1, math.inf]}, "last_lr="),
        ({**good, "last_lr": 0.1}, "last_lr=0.1"),
    ]:
        with pytest.raises(ValueError, match=message) as error:
            schedule.load_state_dict(wrong)
        assert str(error.value).startswith("StepLR.load_state_dict: ")
        assert schedule.state_dict() == before
    schedule.load_state_dict(good)
    assert schedule.last_epoch == 1


def test_what_is_refused() -> None:
    o, other = optimizer(), optimizer()
    linear, by_step, plateau = optim.LinearLR(o), optim.StepLR(o, 1, every="step"), optim.ReduceLROnPlateau(o)
    before = [dict(group) for group in o.param_groups]
    wrong: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: optim.StepLR(3, 1), TypeError, r"StepLR: optimizer is int; write StepLR\(optimizer, ...\)"),
        (lambda: optim.OneCycleLR(None, 1, 1), TypeError, "OneCycleLR: optimizer is NoneType"),
        (lambda: optim.ReduceLROnPlateau([]), TypeError, "ReduceLROnPlateau: optimizer is list"),
        (lambda: optim.StepLR(o, 0), ValueError, "StepLR: step_size=0; expected a whole number from 1"),
        (lambda: optim.StepLR(o, 2.5), ValueError, "step_size=2.5"),
        (lambda: optim.StepLR(o, 2, -1), ValueError, "gamma=-1"),
        (lambda: optim.StepLR(o, 2, every="batch"), ValueError, 'every=\'batch\'; expected "epoch" or "step"'),
        (lambda: optim.MultiStepLR(o, [3, 0]), ValueError, r"milestones\[1\]=0; expected a whole number from 1"),
        (lambda: optim.LinearLR(o, 0.0), ValueError, "start_factor=0.0, end_factor=1.0; expected factors up to 1"),
        (lambda: optim.LinearLR(o, 2.0), ValueError, "start_factor=2.0"),
        (lambda: optim.LinearLR(o, 0.5, 1.5), ValueError, "end_factor=1.5"),
        (lambda: optim.LinearLR(o, total_iters=0), ValueError, "total_iters=0"),
        (lambda: optim.CosineAnnealingLR(o, True), ValueError, "T_max=True"),
        (lambda: optim.CosineAnnealingLR(o, 3, math.nan), ValueError, "eta_min=nan"),
        (lambda: optim.OneCycleLR(o, 1.0), ValueError, "give total_steps, or epochs and steps_per_epoch"),
        (lambda: optim.OneCycleLR(o, 1.0, epochs=3), ValueError, "give total_steps, or epochs"),
        (lambda: optim.OneCycleLR(o, 1.0, 0), ValueError, "total_steps=0"),
        (
            lambda: optim.OneCycleLR(o, [1.0], 5),
            ValueError,
            "max_lr has 1 values; expected one, or one for each of the 2",
        ),
        (lambda: optim.OneCycleLR(o, [1.0, -1], 5), ValueError, r"max_lr\[1\]=-1"),
        (lambda: optim.OneCycleLR(o, 1.0, 5, pct_start=1.5), ValueError, "pct_start=1.5"),
        (lambda: optim.OneCycleLR(o, 1.0, 5, anneal_strategy="cosine"), ValueError, "anneal_strategy='cosine'"),
        (lambda: optim.OneCycleLR(o, 1.0, 5, div_factor=0), ValueError, "div_factor=0; expected a number above 0"),
        (lambda: optim.OneCycleLR(o, 1.0, 5, max_momentum=1.0), ValueError, "max_momentum=1.0; .* below 1"),
        (lambda: optim.OneCycleLR(o, 1.0, 5, every="x"), ValueError, "every='x'"),
        (
            lambda: optim.OneCycleLR(optimizer("Adagrad"), 1.0, 5),
            ValueError,
            "Adagrad has no momentum to change; write cycle_momentum=False",
        ),
        (lambda: optim.ReduceLROnPlateau(o, "least"), ValueError, "mode='least'"),
        (lambda: optim.ReduceLROnPlateau(o, factor=1.0), ValueError, "factor=1.0; expected a number from 0 to below 1"),
        (lambda: optim.ReduceLROnPlateau(o, patience=-1), ValueError, "patience=-1; expected a whole number from 0"),
        (lambda: optim.ReduceLROnPlateau(o, threshold_mode="x"), ValueError, "threshold_mode='x'"),
        (lambda: optim.ReduceLROnPlateau(o, min_lr=[0.1] * 3), ValueError, "min_lr has 3 values"),
        (lambda: optim.SequentialLR(o, [], []), ValueError, "SequentialLR: 0 schedulers"),
        (lambda: optim.SequentialLR(o, [linear], [3]), ValueError, r"1 schedulers and milestones=\[3\]"),
        (lambda: optim.SequentialLR(o, [linear] * 3, [5, 3]), ValueError, "one above the other"),
        (lambda: optim.SequentialLR(o, [linear, plateau], [3]), TypeError, r"schedulers\[1\] is ReduceLROnPlateau"),
        (lambda: optim.SequentialLR(o, [linear, 3], [3]), TypeError, r"schedulers\[1\] is 3"),
        (
            lambda: optim.SequentialLR(other, [linear], []),
            ValueError,
            r"schedulers\[0\] was made for another optimizer",
        ),
        (lambda: optim.SequentialLR(o, [linear, by_step], [3]), ValueError, "some schedulers count epochs and some"),
    ]
    for make, kind, message in wrong:
        with pytest.raises(kind, match=message):
            make()
        assert [dict(group) for group in o.param_groups] == before
    assert repr(linear) == f"LinearLR(every='epoch', last_epoch=0, last_lr={linear.last_lr})"
