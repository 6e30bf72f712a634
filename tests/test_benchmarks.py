"""The benchmark suite: its command line, its clock, and that its page says what the figures say."""

import doctest
import itertools
import json

import numpy as np
import pytest

from benchmarks import figures, goals, peers, report, runner, suite, timing
from benchmarks.__main__ import main
from benchmarks.runner import Result
from benchmarks.suite import GROUPS, KERNELS, OURS, Row


def result(*rows):
    return Result(list(rows), "a machine", "2026-01-02", "0.5", [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["los"], "expected groups of loss, fused, "),
        (["--threads", "1,0"], "--threads: expected whole numbers of at least 1, found '0'"),
        (["--threads", "two"], "found 'two'"),
        (["--kernels", "c"], "--kernels: expected some of numpy, numba, found 'c'"),
        (["--peers", "torch,jax"], "--peers: expected some of NumPy by hand, torch, MyGrad, "),
        (["--sizes", "32x"], "--sizes: expected sizes such as 256x1000, found '32x'"),
        (["--sizes", "0x10"], "found '0x10'"),
        (["import", "chain", "--sizes", "32x10"], "--sizes: no chosen group takes 32x10"),
        (["--write", "--quick"], "--write keeps whole groups in benchmarks/, without --quick"),
        (["--write", "--sizes", "32x10"], "without --sizes"),
        (["--out", __file__], "is a file, expected a folder"),
        (["--rounds=3"], "unrecognized arguments: --rounds=3"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("python -m benchmarks: ")
    assert err.endswith("see python -m benchmarks --help\n")
    assert err.count("\n") == 1


def test_kernels_that_are_not_installed_are_an_error_only_alone(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.__main__.installed", lambda package: package != "numba")
    with pytest.raises(SystemExit):
        main(["--kernels", "numba"])
    assert 'pip install "tinygrad_ce[fast]"' in capsys.readouterr().err
    monkeypatch.setattr(runner, "installed", lambda package: package != "numba")
    assert [job.options.kernels for job in runner.jobs("fused", [1], KERNELS, [])] == ["numpy"]


def test_list_names_every_group_and_its_sizes(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(GROUPS)
    assert lines[0].endswith("65536x10, 1024x50257")


def test_a_group_is_measured_for_each_number_of_threads_and_kind_of_kernels(monkeypatch):
    monkeypatch.setattr(runner, "installed", lambda _: True)
    jobs = runner.jobs("loss", [1, 2], KERNELS, ["torch"])
    assert [(job.options.threads, job.options.kernels) for job in jobs] == [(n, k) for n in (1, 2) for k in KERNELS]
    assert jobs[0].options.sizes == GROUPS["loss"].sizes
    assert str(jobs[2]) == "loss, 2 threads, numpy kernels"
    pairs = [(job.options.threads, job.options.kernels) for job in runner.jobs("linear", [1, 2], KERNELS, [])]
    assert pairs == [(1, "numpy"), (2, "numba")]
    (job,) = runner.jobs("import", [1, 2], KERNELS, [])
    assert (job.options.threads, job.options.kernels) == (1, "numpy")
    (job,) = runner.jobs("loss", [1, 2], KERNELS, [], quick=True)
    assert job.options.sizes == GROUPS["loss"].quick
    quick = [runner.jobs(name, [1, 2], KERNELS, [], quick=True)[0].options.kernels for name in GROUPS]
    assert set(quick) == set(KERNELS)
    (job,) = runner.jobs("loss", [1], ["numpy"], [], sizes=[(3, 4), (1, 2, 3)])
    assert job.options.sizes == ((3, 4),)


def test_sizes_choose_the_groups_that_take_them(monkeypatch):
    asked = []
    monkeypatch.setattr("benchmarks.__main__.measure", lambda options, *_: asked.append(options))
    assert main(["--sizes", "1x4x8x3,100"]) == 0
    assert asked[0].groups == ["training", "chain"]


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def test_contestants_take_turns_and_the_start_of_each_phase_is_dropped(clock):
    calls = {"steady": [], "slow to start": []}

    def steady():
        calls["steady"].append(clock.now)
        clock.now += 0.01

    def slow_to_start():
        begun = calls["slow to start"]
        fresh = not begun or clock.now - begun[-1] > 0.2  # someone else's phase has passed
        begun.append(clock.now)
        clock.now += 0.04 if fresh else 0.02

    times = timing.alternate({"steady": steady, "slow to start": slow_to_start}, rounds=3, phase=0.25, pause=0.5)
    assert times["steady"] == pytest.approx([0.01] * 3)
    assert times["slow to start"] == pytest.approx([0.02] * 3)
    assert timing.ratio(times, "slow to start", "steady") == pytest.approx((2, 2, 2))
    turns = sorted((when, name) for name, begun in calls.items() for when in begun)
    names = [name for _, name in turns]
    assert sum(a != b for a, b in itertools.pairwise(names)) == 5  # two contestants, three rounds


def test_slow_contestants_run_three_rounds_and_drop_the_first_call_only(clock):
    calls = []

    def slow():
        calls.append(clock.now)
        clock.now += 5

    assert timing.alternate({"slow": slow}, rounds=7, phase=0.25, pause=0, limit=10) == {"slow": [5.0] * 3}
    assert len(calls) == 4


def test_a_ratio_is_the_median_of_the_rounds_with_the_extremes():
    assert timing.ratio({"a": [1.0, 6.0, 3.0], "b": [1.0, 2.0, 2.0]}, "a", "b") == (1.5, 1.0, 3.0)


def test_exponents_of_powers():
    assert timing.exponent((x, 7 * x**2) for x in (1, 10, 1000)) == pytest.approx(2)
    assert timing.exponent((x, 3.0) for x in (1, 10)) == pytest.approx(0)
    assert timing.exponent([(5, 1.0)]) is None


def test_every_library_is_told_the_number_of_threads():
    assert set(timing.thread_variables(2).values()) == {"2"}
    assert {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TINYGRAD_CE_NUM_THREADS"} <= set(timing.thread_variables(2))


LOSS = result(
    Row("float32", "32 x 10", {OURS: [1e-5, 2e-5, 3e-5], "torch": [2e-5] * 3}),
    Row("float32", "128 x 100", {OURS: [3e-3] * 3, "torch": [2e-3] * 3}),
    Row("float32", "256 x 1000", {OURS: [4e-3] * 3, "torch": [1e-3] * 3}),
    Row("float32", "32 x 10", {OURS: [1e-5] * 3, "torch": [4e-5] * 3}, kernels="numba"),
    Row("float32", "128 x 100", {OURS: [1e-3] * 3, "torch": [2e-3] * 3}, kernels="numba"),
    Row("float32", "256 x 1000", {OURS: [1e-3] * 3, "torch": [2e-3] * 3}, kernels="numba"),
)
MEMORY = result(Row("the process", "4096 x 1000", {OURS: [1.25], "torch": [3.0], "thrifty": [1.0]}, "x logits"))


def test_where_we_are_slower_follows_from_the_figures():
    assert report.losses({"loss": LOSS, "memory": MEMORY}) == [
        "- Loss and gradient, float32, numpy kernels, 1 thread: "
        "slower than torch at 128 x 100 (1.50), 256 x 1000 (4.00)",
        "- Peak memory, the process, numpy kernels, 1 thread: more memory than thrifty at 4096 x 1000 (1.25)",
    ]
    faster = result(Row("float32", "32 x 10", {OURS: [1.0], "torch": [1.0]}))
    assert report.losses({"loss": faster}) == []
    assert "Nowhere." in report.page({"loss": faster}, {})


def test_a_table_beside_one_peer():
    ((title, table),) = report.tables(LOSS)
    assert title == "float32"
    assert list(table.head) == ["", "torch, 1 thread", "numpy kernels, 1 thread", "numba kernels, 1 thread"]
    assert [list(row) for row in table.rows] == [
        ["32 x 10", "30.0 us", "1.00 (0.50-1.50)", "0.25"],
        ["128 x 100", "2.00 ms", "1.50", "0.50"],
        ["256 x 1000", "1.50 ms", "4.00", "0.50"],
        ["geometric mean", "", "1.82", "0.40"],
    ]


def test_a_table_beside_several_leaves_out_who_was_not_there():
    ((_, table),) = report.tables(
        result(
            Row("step", "1", {"fused": [2.0], "a": [4.0], "b": [1.0]}),
            Row("step", "2", {"fused": [2.0], "a": [1.0]}),
        )
    )
    assert table.head == ["", "fused", "a", "b"]
    assert table.rows == [["1", "2.00 s", "4.00 s (0.50)", "1.00 s (2.00)"], ["2", "2.00 s", "1.00 s (2.00)", ""]]
    ((_, table),) = report.tables(MEMORY)
    assert table.rows == [["4096 x 1000", "1.25", "3.00", "1.00"]]


def test_a_table_of_growth():
    ((_, table),) = report.tables(result(*(Row("time", f"N = {n}", {OURS: [1e-6 * n]}, x=n) for n in (10, 100))))
    assert [list(row) for row in table.rows] == [
        ["N = 10", "10.0 us"],
        ["N = 100", "100 us"],
        ["grows to the power of", "1.00"],
    ]


def test_aims_are_held_against_the_worst_that_was_found():
    found = {line[0]: line[1:] for line in goals.table({"loss": LOSS.rows, "memory": MEMORY.rows})}
    assert found["Loss and gradient, float32, 32 x 10, 65536 x 10, numpy kernels; times torch"] == (
        "0.60", "1.00 (32 x 10, numpy, 1 thread)", "**no**",
    )  # fmt: skip
    assert found["Loss and gradient, float32, numba kernels; times torch"] == (
        "1.00", "0.50 (128 x 100, numba, 1 thread)", "yes",
    )  # fmt: skip
    assert found["Peak memory, the process"][-1] == "**no**"
    chain = [Row("forward", str(n), {OURS: [each]}, x=n) for n, each in ((100, 1.0), (1000, 1.1), (10000, 1.3))]
    ((_, limit, worst, reached),) = goals.table({"chain": chain})
    assert (limit, worst, reached) == ("1.20", "1.30 (numpy, 1 thread)", "**no**")


def test_every_aim_names_a_group_and_sizes_that_it_has():
    for goal in goals.GOALS:
        assert set(goal.cases) <= {suite.case(size) for size in GROUPS[goal.group].sizes}


def test_what_is_kept_is_read_again_and_gives_the_same_page(tmp_path):
    fused = result(Row("time", "32 x 10", {"fused": [1.0, 1.0], "chain": [2.0, 3.0]}))
    report.write(tmp_path / "new", {"memory": MEMORY, "fused": fused, "loss": LOSS})
    folder = tmp_path / "new"
    assert {path.name for path in folder.iterdir()} == {"RESULTS.md", "results.json", "loss.png", "fused.png"}
    page = (folder / "RESULTS.md").read_text()
    assert page.index("## Loss") < page.index("## Fused") < page.index("## Peak memory")  # the suite's own order
    assert "](loss.png)" in page
    assert "Measured on 2026-01-02, load average 0.5 at the start." in page
    report.write(folder, report.load(folder))
    assert (folder / "RESULTS.md").read_text() == page


def test_a_contestant_that_differs_stops_the_run():
    z, y = peers.problem((8, 5))
    peers.require_equal({"ours": peers.ours(z, y), "NumPy": peers.numpy_by_hand(z, y)}, z, y)
    peers.require_equal({"chain": peers.our_chain(z, y, separate_log=True)}, z, y)
    loss, gradient = peers.numpy_by_hand(z, y)()
    for wrong, what in (((loss * 1.001, gradient), "loss"), ((loss, gradient + np.float32(1e-4)), "gradient")):
        with pytest.raises(SystemExit, match=f"bad: {what} of 8 x 5: differs from what it should be by"):
            peers.require_equal({"bad": lambda wrong=wrong: wrong}, z, y)
    with pytest.raises(SystemExit, match=r"the shape is \(5, 8\), expected \(8, 5\)"):
        peers.require_equal({"bad": lambda: (loss, gradient.T)}, z, y)


def test_a_run_from_end_to_end(tmp_path, capsys):
    chosen = ["--threads", "1", "--kernels", "numpy", "--peers", "NumPy by hand", "--quick"]
    assert main(["loss", "--sizes", "4x3", *chosen, "--out", str(tmp_path)]) == 0
    assert "Where we are slower, or need more memory" in capsys.readouterr().out
    kept = json.loads((tmp_path / "results.json").read_text())
    tables = {row["table"] for row in kept["loss"]["rows"]}
    assert {"float32", "float32, precise=True", "float32, other peers", "float64", "float32, forward only"} <= tables
    assert "| 4 x 3 |" in (tmp_path / "RESULTS.md").read_text()


def test_a_process_that_fails_says_why_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr(runner, "installed", lambda _: True)
    monkeypatch.setattr(runner, "PACKAGES", {})
    job = runner.Job("loss", suite.Options(((4, 3),), kernels="no such kernels", peers=(), quick=True))
    with pytest.raises(runner.Failed, match=r"^loss, 1 thread, no such kernels kernels: ValueError: .* 'no such kern"):
        list(runner.measured(job))
    monkeypatch.setattr("benchmarks.__main__.runner.jobs", lambda *_: [job])
    assert main(["loss", "--peers", "NumPy by hand"]) == 1
    assert capsys.readouterr().err.startswith("benchmarks: loss, 1 thread, no such kernels kernels: ValueError")


@pytest.mark.parametrize("module", [figures, suite])
def test_examples(module):
    tried = doctest.testmod(module)
    assert tried.attempted
    assert not tried.failed
