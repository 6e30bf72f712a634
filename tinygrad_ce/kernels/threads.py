"""Parts of a computation on several threads: NumPy lets go of the interpreter's lock while it works on an array.

How many there are follows the environment variable TINYGRAD_CE_NUM_THREADS, else `set_num_threads`, else the CPUs
that this process may use. Who asks for a computation takes part in it; helpers are made when they are first needed and
only ever take parts that nobody has begun. So nothing waits for a helper that is busy elsewhere, or that a fork or the
end of the program has taken away; and the end of the program does not wait for them.
"""

from __future__ import annotations

import contextlib
import contextvars
import operator
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import TypeVar

Part = TypeVar("Part")

VARIABLE = "TINYGRAD_CE_NUM_THREADS"


class _Request:
    """A call asked of a helper. Whoever takes hold of `taken` first decides: the helper makes it, or nobody does."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work: Callable[[], object] | None = work  # None once it has been called or will not be
        self.context = contextvars.copy_context()
        self.taken = threading.Lock()
        self.ended = threading.Lock()
        self.ended.acquire()
        self.error: BaseException | None = None


class _State:
    """What a forked process starts anew: threads, and locks that another thread may have held, are not copied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.helpers = 0
        self.asked: SimpleQueue[_Request] = SimpleQueue()
        self.here = threading.local()  # has `busy` in a thread that is at work on a part


_state = _State()
_chosen: int | None = None


def _start_anew() -> None:
    global _state
    _state = _State()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


def get_num_threads() -> int:
    """How many threads the kernels may use, the caller's own among them.

    The environment variable TINYGRAD_CE_NUM_THREADS, where it is set, else what `set_num_threads` was given, else the
    number of CPUs this process may use. A variable that is not a whole number of at least 1 is a ValueError.

    >>> import tinygrad_ce as tg
    >>> tg.get_num_threads() >= 1
    True
    """
    value = os.environ.get(VARIABLE)
    if value:
        return _checked(int(value) if value.isdecimal() else value, f"the environment variable {VARIABLE}")
    return _chosen or _cpus()


def set_num_threads(count: int | None) -> None:
    """Let the kernels use up to `count` threads, the caller's own among them; None is the default again.

    No result depends on it, to the last bit. The environment variable TINYGRAD_CE_NUM_THREADS wins where it is set:
    whoever starts a program has the last word. Anything but None or a whole number of at least 1 is a ValueError, and
    changes nothing.

    >>> import tinygrad_ce as tg
    >>> tg.set_num_threads(2)
    >>> tg.set_num_threads(None)
    """
    global _chosen
    _chosen = None if count is None else _checked(count, "set_num_threads: count")


def run(task: Callable[[Part], object], parts: Iterable[Part]) -> None:
    """Call `task` with each of the parts, on up to `get_num_threads()` threads, and return when all are done.

    Which thread takes which part is chance, so a task writes to a place of its own. The first exception ends the work,
    once the parts already begun are done, and is raised here.

    >>> import numpy as np
    >>> from tinygrad_ce.kernels import threads
    >>> squares = np.zeros(4, int)
    >>> threads.run(lambda i: squares.put(i, i * i), range(4))
    >>> squares
    array([0, 1, 4, 9])
    """
    waiting = deque(parts)

    def work() -> None:
        try:
            while waiting:
                try:
                    part = waiting.popleft()
                except IndexError:  # another thread was faster
                    return
                task(part)
        except BaseException:
            waiting.clear()
            raise

    together(work, len(waiting))


def together(work: Callable[[], object], count: int | None = None) -> None:
    """Call `work` in up to `count` threads at once, or in `get_num_threads()`, this one being among them.

    Returns when all have returned; the first exception is raised. A helper that comes late is not waited for: `work`
    does all that is left to do, whoever else is at it. Context variables, and so `np.errstate`, are the caller's in
    every thread. Called from within `work` it calls its own `work` in that thread alone.
    """
    with helped(work, count):
        work()


@contextlib.contextmanager
def helped(work: Callable[[], object], count: int | None = None) -> Iterator[int]:
    """While the block runs, helpers call `work`: the threads there are, or `count` in all, but for this one.

    Gives how many were asked. At the end of the block those that have begun are waited for; otherwise as `together`.
    """
    here = _state.here
    alone = count == 1 or getattr(here, "busy", False)
    helpers = 0 if alone else min(get_num_threads(), count or sys.maxsize) - 1
    if helpers < 1:
        yield 0
        return
    requests = [_Request(work) for _ in range(helpers)]
    _ask(requests)
    here.busy = True
    try:
        yield helpers
    finally:
        here.busy = False
        begun = []
        for request in requests:
            if request.taken.acquire(blocking=False):
                request.work = None
            else:
                begun.append(request)
        for request in begun:
            request.ended.acquire()
    for request in begun:
        if request.error is not None:
            raise request.error


def _ask(requests: list[_Request]) -> None:
    """Have helpers make these calls; fewer helpers when the system or the end of the program refuses."""
    state = _state
    if state.helpers < len(requests):
        with state.lock, contextlib.suppress(RuntimeError):
            while state.helpers < len(requests):
                threading.Thread(target=_help, args=(state,), name="tinygrad_ce", daemon=True).start()
                state.helpers += 1
    for request in requests:
        state.asked.put(request)


def _help(state: _State) -> None:
    state.here.busy = True
    while True:
        request = state.asked.get()
        if request.taken.acquire(blocking=False):
            assert request.work is not None
            try:
                request.context.run(request.work)
            except BaseException as error:
                request.error = error
            request.work = None
            request.ended.release()
        del request  # what it holds is not kept until the next one


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _checked(value: object, what: str) -> int:
    try:
        count = 0 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        count = 0
    if count < 1:
        raise ValueError(f"{what}: expected a whole number of threads, at least 1, found {value!r}")
    return count
