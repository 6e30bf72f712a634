"""Fixtures for all tests: a seeded generator, a registry to write into, no cycle collector, a seal on global state."""

import gc
import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from tinygrad_ce.kernels import choice
from tinygrad_ce.mode import get_default_dtype, mode, set_default_dtype
from tinygrad_ce.registry import _by_numpy, _ops

settings.register_profile("no deadline", deadline=None)  # a busy machine is slow, and no test is wrong for it
settings.load_profile("no deadline")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(params=["numpy", *(["numba"] if importlib.util.find_spec("numba") else [])])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The kernels of NumPy, then, where numba is installed, the compiled ones; ops use them too."""
    monkeypatch.setenv(choice.VARIABLE, request.param)
    vars(choice.kernels).clear()
    yield choice.kernels
    vars(choice.kernels).clear()


@pytest.fixture
def own_registry() -> Iterator[None]:
    """Ops that the test registers are gone after it."""
    ops, by_numpy = dict(_ops), dict(_by_numpy)
    yield
    _refill(_ops, ops)
    _refill(_by_numpy, by_numpy)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed in the test is freed by reference counts alone."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def sealed() -> Iterator[None]:
    """A test that leaves global state changed fails; the state is put back for the next one."""
    before = _state()
    yield
    after = _state()
    _refill(_ops, before["registered ops"])
    _refill(_by_numpy, before["NumPy functions"])
    mode.recording, mode.scope = before["recording"], before["scope"]
    set_default_dtype(before["default dtype"])
    np.seterr(**before["NumPy's error handling"])
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, f"the test left global state changed: {', '.join(changed)}"


def _state() -> dict[str, Any]:
    kind, keys, position, *_ = np.random.get_state()  # noqa: NPY002
    return {
        "registered ops": dict(_ops),
        "NumPy functions": dict(_by_numpy),
        "recording": mode.recording,
        "scope": mode.scope,
        "default dtype": get_default_dtype(),
        "NumPy's error handling": np.geterr(),
        "NumPy's global random state": (kind, keys.tobytes(), position),
    }


def _refill(mapping: dict[Any, Any], content: dict[Any, Any]) -> None:
    if mapping != content:
        mapping.clear()
        mapping.update(content)
