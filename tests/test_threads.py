"""Threads: how many, that each part is done once, errors, nesting, several users, fork, the end of the program."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce.kernels import choice, rows, threads
from tinygrad_ce.kernels import softmax as kernels


@pytest.fixture(autouse=True)
def _own_number(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    yield
    tg.set_num_threads(None)


def cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def test_the_variable_then_the_call_then_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tg.get_num_threads() == cpus()
    tg.set_num_threads(np.int64(5))
    assert tg.get_num_threads() == 5
    monkeypatch.setenv(threads.VARIABLE, "3")
    assert tg.get_num_threads() == 3
    tg.set_num_threads(None)
    assert tg.get_num_threads() == 3
    monkeypatch.setenv(threads.VARIABLE, "")  # as good as not set
    assert tg.get_num_threads() == cpus()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no CPU affinity")
def test_only_the_cpus_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert tg.get_num_threads() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize("value", [0, -1, "x", "2", float("nan"), 2.0, True, [1]])
def test_a_wrong_number_is_one_error_and_changes_nothing(value: object) -> None:
    tg.set_num_threads(4)
    with pytest.raises(ValueError, match="set_num_threads: count: expected a whole number") as caught:
        tg.set_num_threads(value)  # type: ignore[arg-type]
    assert repr(value) in str(caught.value)
    assert tg.get_num_threads() == 4


@pytest.mark.parametrize("value", ["0", "x", "nan", "-2", "1.5", "2 "])
def test_a_wrong_variable_is_one_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(threads.VARIABLE, value)
    with pytest.raises(ValueError, match=f"variable {threads.VARIABLE}: expected a whole number") as caught:
        threads.run(print, [1, 2])
    assert value in str(caught.value)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("parts", [0, 1, 2, 50])
def test_each_part_is_done_once(count: int, parts: int) -> None:
    tg.set_num_threads(count)
    done = np.zeros(parts, int)

    def task(i: int) -> None:
        done[i] += 1

    threads.run(task, range(parts))
    assert (done == 1).all()


def test_as_many_threads_as_asked_for_and_one_is_the_caller() -> None:
    for count in (3, 2):
        tg.set_num_threads(count)
        meeting, seen = threading.Barrier(count, timeout=20), set()

        def work(meeting: threading.Barrier = meeting, seen: set[int] = seen) -> None:
            meeting.wait()
            seen.add(threading.get_ident())

        threads.together(work)
        assert len(seen) == count
        assert threading.get_ident() in seen


def test_one_thread_stays_in_the_caller() -> None:
    tg.set_num_threads(1)
    seen: set[int] = set()
    threads.run(lambda _: seen.add(threading.get_ident()), range(9))
    assert seen == {threading.get_ident()}


@pytest.mark.parametrize("in_helper", [False, True])
@pytest.mark.parametrize("kind", [KeyError, KeyboardInterrupt])
def test_an_error_reaches_the_caller_after_the_begun_parts(in_helper: bool, kind: type[BaseException]) -> None:
    tg.set_num_threads(2)
    caller, both, active, begun = threading.get_ident(), threading.Barrier(2, timeout=20), [0], []

    def task(i: int) -> None:
        begun.append(i)
        if i < 2:
            both.wait()
        if (threading.get_ident() != caller) == in_helper:
            raise kind("part")
        active[0] += 1
        time.sleep(0.02)
        active[0] -= 1

    with pytest.raises(kind, match="part"):
        threads.run(task, range(100))
    assert active == [0]
    assert len(begun) < 10
    done: list[int] = []
    threads.run(done.append, range(5))  # and it works again
    assert sorted(done) == list(range(5))


def test_a_task_that_runs_tasks_does_them_itself() -> None:
    tg.set_num_threads(3)
    where: list[tuple[int, int]] = []

    def outer(_: int) -> None:
        me = threading.get_ident()
        threads.run(lambda _: where.append((me, threading.get_ident())), range(4))
        threads.run(lambda _: where.append((me, threading.get_ident())), range(4))

    threads.run(outer, range(6))
    assert len(where) == 48
    assert all(a == b for a, b in where)


def test_several_users_at_once() -> None:
    tg.set_num_threads(2)
    totals = np.zeros(6)
    start = threading.Barrier(6, timeout=20)

    def user(k: int) -> None:
        start.wait()
        for _ in range(30):
            own = np.zeros(20)
            threads.run(lambda i, own=own: own.put(i, i), range(20))
            totals[k] += own.sum()

    users = [threading.Thread(target=user, args=(k,)) for k in range(6)]
    for each in users:
        each.start()
    for each in users:
        each.join(60)
    assert (totals == 30 * 190).all()


def test_the_callers_error_handling_holds_in_every_thread() -> None:
    tg.set_num_threads(2)
    both = threading.Barrier(2, timeout=20)

    def task(_: int) -> None:
        both.wait()
        np.array([1.0]) / np.array([0.0])

    with np.errstate(divide="ignore"):
        threads.run(task, range(2))
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        threads.run(task, range(2))


def program(body: str) -> subprocess.CompletedProcess[str]:
    """Run a program that may hang, on two threads."""
    text = "import os, sys, threading, time\nimport numpy as np\nfrom tinygrad_ce.kernels import threads\n"
    return subprocess.run(
        [sys.executable, "-c", text + textwrap.dedent(body)],
        env={**os.environ, threads.VARIABLE: "2", choice.VARIABLE: "numpy"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


WORK = """
both = threading.Barrier(2, timeout=20)
seen = set()
def work():
    both.wait()
    seen.add(threading.get_ident())
threads.together(work)
assert len(seen) == 2
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_after_a_fork_the_child_has_threads_of_its_own() -> None:
    done = program(
        WORK
        + """
held = threading.Event()
def hold():  # a thread that the child will not have, and a lock it would have left locked
    with threads._state.lock:
        held.set()
        time.sleep(0.5)
threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    seen.clear()
    both = threading.Barrier(2, timeout=20)
    threads.together(work)
    print("child", len(seen), flush=True)
    sys.exit(7)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
seen.clear()
threads.together(work)
print("parent", len(seen), status)
"""
    )
    assert done.stdout.split("\n")[:2] == ["child 2", "parent 2 7"], done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    "end",
    [
        "",
        "sys.exit(0)",
        "raise SystemExit",
        "threading.Thread(target=threads.run, args=(time.sleep, [0.05] * 8)).start()",
        "threading.Thread(target=threads.run, args=(time.sleep, [0.05] * 2000), daemon=True).start()",
        "import atexit; atexit.register(lambda: threads.run(lambda i: os.write(1, b'%d ' % i), range(9)))",
    ],
)
def test_a_program_ends(end: str) -> None:
    done = program(WORK + end)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert sorted(done.stdout.split()) == ([str(i) for i in range(9)] if "atexit" in end else [])


def test_without_use_there_are_no_threads_and_their_library_is_not_loaded() -> None:
    done = program("""
    import tinygrad_ce as tg
    tg.functional.softmax_cross_entropy(np.zeros((4, 3), np.float32), [0, 1, 2, 0])
    print(threading.active_count(), "concurrent.futures" in sys.modules)
    """)
    assert done.stdout.split() == ["1", "False"], done.stderr


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("c", [2, 10, 40, 100, 1500])
def test_no_bit_depends_on_the_number_of_threads(dtype: type, c: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(c)
    n = 120_000 // c
    z, y = (rng.normal(size=(n, c)) * 4).astype(dtype), rng.integers(0, c, n)
    z[::3, 0] += dtype(20)
    t, scale = rng.dirichlet(np.ones(c), n), rng.uniform(size=n)
    monkeypatch.setattr(rows, "BLOCK", 10_000)
    monkeypatch.setattr(rows, "PARALLEL", 20_000)

    def results() -> Iterator[object]:
        for precise in (False, True):
            yield from kernels.cross_entropy(z, y, scale, True, precise)
            yield kernels.cross_entropy(z, y, 1 / n, False, precise)[0]
            yield from kernels.soft_cross_entropy(z, t.__getitem__, scale, True, precise)
        yield from (kernels.softmax(z), kernels.log_softmax(z), kernels.logsumexp(z, 1))

    tg.set_num_threads(1)
    one = list(results())
    for count in (2, 5):
        tg.set_num_threads(count)
        for a, b in zip(one, results(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_large_arrays_are_split_and_small_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(threads, "run", lambda task, parts: asked.append(len([task(part) for part in parts])))
    for n in (100, rows.PARALLEL // 100 + 1, 3 * rows.BLOCK // 100):
        kernels.cross_entropy(np.zeros((n, 100), np.float32), np.zeros(n, int), 1.0, True)
    assert asked == [2, 4]  # an even number, so that two threads have the same to do


def test_a_wrong_variable_stops_a_large_loss_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(threads.VARIABLE, "many")
    with pytest.raises(ValueError, match="TINYGRAD_CE_NUM_THREADS: expected a whole number of threads"):
        kernels.softmax(np.zeros((rows.PARALLEL, 2), np.float32))
