"""What is in force while tensors are made: recording on or off, the modules being run, the default dtype."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import DTypeLike

P = ParamSpec("P")
R = TypeVar("R")


class _Mode(threading.local):
    def __init__(self) -> None:  # runs once in each thread
        self.recording = True
        self.outer: list[bool] = []  # what was in force around the blocks that are open
        self.scope: tuple[Any, ...] = ()
        self.watcher: Any = None  # told of every op that runs and of every gradient; see `anomaly`


mode = _Mode()


class _Recording:
    """Context manager and decorator that sets whether operations are recorded, in this thread only."""

    recording: bool

    def __init__(self, *forgotten: Any) -> None:
        if forgotten:
            name = type(self).__name__
            raise TypeError(f"{name}() takes no arguments; as a decorator write @{name}(), with parentheses")

    def __enter__(self) -> None:
        mode.outer.append(mode.recording)
        mode.recording = self.recording

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mode.recording = mode.outer.pop()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        name = type(self).__name__
        if not callable(function) or inspect.isclass(function):
            raise TypeError(f"{name}(): expected a function to decorate, found {function!r}; write @{name}()")
        if any(late(function) for late in _LATE):
            raise TypeError(
                f"{name}() cannot decorate {function.__name__!r}, whose body runs after the call has returned; "
                f"write `with {name}():` inside it"
            )

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            with type(self)():
                return function(*args, **kwargs)

        return wrapper


_LATE = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)


class no_grad(_Recording):
    """Compute without recording: results need no gradient and keep nothing for a backward pass.

    Works as `with no_grad():` and as the decorator `@no_grad()`; holds for the current thread; nests.

    >>> import tinygrad_ce as tg
    >>> x = tg.Tensor([1.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    recording = False


class enable_grad(_Recording):
    """Record again inside a `no_grad()` block; a context manager and a decorator, like it.

    >>> import tinygrad_ce as tg
    >>> x = tg.Tensor([1.0], requires_grad=True)
    >>> with tg.no_grad(), tg.enable_grad():
    ...     y = x * 2
    >>> y.requires_grad
    True
    """

    recording = True


_default_dtype: np.dtype[Any] = np.dtype(np.float32)


def get_default_dtype() -> np.dtype[Any]:
    """The dtype that lists and Python floats get; float32 unless `set_default_dtype` changed it.

    >>> import tinygrad_ce as tg
    >>> tg.get_default_dtype()
    dtype('float32')
    """
    return _default_dtype


def set_default_dtype(dtype: DTypeLike) -> None:
    """Set the dtype that lists and Python floats get when they become Tensors: float16, float32 or float64.

    Raises TypeError for any other dtype. Arrays keep their dtype whatever the default is.

    >>> import tinygrad_ce as tg
    >>> tg.set_default_dtype("float64")
    >>> tg.Tensor([1.0]).dtype
    dtype('float64')
    >>> tg.set_default_dtype("float32")
    """
    global _default_dtype
    found = np.dtype(dtype)
    if found.type not in (np.float16, np.float32, np.float64):
        raise TypeError(f"set_default_dtype: expected float16, float32 or float64, found {found}")
    _default_dtype = np.dtype(found.type)
