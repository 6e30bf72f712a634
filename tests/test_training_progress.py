"""What is shown of a run: lines, a live line in a terminal, one output in a notebook."""

import io
import re
import sys
import types

import numpy as np
import pytest
from rich.console import Console

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn, optim
from tinygrad_ce.training import Callback
from tinygrad_ce.training.progress import NotebookProgress, Progress, TerminalProgress, clock, progress_display


def run(display=None, epochs=3, valid=True, loss=F.softmax_cross_entropy, callbacks=(), data=None):
    rng = np.random.default_rng(0)
    model = nn.MLP([4, 8, 3], generator=rng)
    x, y = rng.normal(size=(20, 4)).astype(np.float32), rng.integers(0, 3, 20)
    return tg.fit(
        model, data or [(x[:16], y[:16]), (x[16:], y[16:])], (x, y) if valid else None, loss=loss, epochs=epochs,
        optimizer=optim.SGD(model.parameters(), lr=0.1), progress=display is None,
        callbacks=[*callbacks, *([display] if display else [])],
    )  # fmt: skip


def test_plain_lines(capsys):
    history = run()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["epoch", "loss", "accuracy", "valid_loss", "valid_accuracy", "samples/s", "time"]
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert max(map(len, lines)) < 80
    for i, line in enumerate(lines[1:]):
        cells = line.split()
        assert cells[:2] == [f"{i + 1}/3", f"{history['loss'][i]:.4f}"]
        assert cells[4] == f"{history['valid_accuracy'][i]:.4f}"


def test_silence(capsys):
    run(Progress(), valid=False)
    assert capsys.readouterr().out.count("\n") == 4
    rng = np.random.default_rng(0)
    model = nn.Linear(4, 3)
    data = [(rng.normal(size=(4, 4)).astype(np.float32), np.arange(4) % 3)]
    tg.fit(
        model,
        data,
        loss=F.softmax_cross_entropy,
        optimizer=optim.SGD(model.parameters(), lr=1),
        epochs=2,
        progress=False,
    )
    assert capsys.readouterr() == ("", "")


def test_why_it_stopped_is_the_last_line(capsys):
    class Stop(Callback):
        def on_epoch_end(self, run):
            run.stop("good enough")

    run(callbacks=[Stop()])
    assert capsys.readouterr().out.splitlines()[-1] == "stopped: good enough"


def terminal(width=80):
    file = io.StringIO()
    return Console(file=file, force_terminal=True, width=width, highlight=False, legacy_windows=False), file


class Slow(Callback):
    """Makes every step one that is shown."""

    def __init__(self, display):
        self.display = display

    def on_step_end(self, _run):
        self.display.next_update = 0.0


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_live_line(width):
    console, file = terminal(width)
    display = TerminalProgress(console)
    run(display, callbacks=[Slow(display)])
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    frames = [line for line in re.split(r"[\r\n]+", shown) if "━" in line]
    assert len(frames) >= 6
    assert all(len(line) <= width for line in frames)
    assert all(re.search(r"[123]/3 +\S+ +loss \d\.\d{4}  accuracy \d\.\d{4}  .*left", f) for f in frames)
    if width >= 80:
        assert all(
            re.search(r"[123]/3 +\S+ +loss \d\.\d{4}  accuracy \d\.\d{4}  [\d,]+ samples/s  .*left", f) for f in frames
        )
    assert file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h") == 1  # the cursor is shown again


def test_a_terminal_is_left_in_order_after_an_error():
    console, file = terminal()

    def broken(*_):
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        run(TerminalProgress(console), loss=broken)
    assert file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h") == 1


def test_the_live_line_is_not_drawn_at_every_step():
    console, _ = terminal()
    display, drawn = TerminalProgress(console), []
    display.update = lambda run, _now: drawn.append(run.step)
    x, y = np.zeros((1, 4), np.float32), np.zeros(1, np.int64)
    run(display, data=[(x, y)] * 200, epochs=1)
    assert 1 <= len(drawn) <= 20


def test_data_without_a_length():
    class Endless:
        def __iter__(self):
            x, y = np.zeros((2, 4), np.float32), np.zeros(2, np.int64)
            return iter([(x, y)] * 3)

    console, file = terminal()
    display = TerminalProgress(console)
    run(display, data=Endless(), epochs=2, callbacks=[Slow(display)])
    assert "samples/s" in file.getvalue()
    assert "left" not in file.getvalue()


class Handle:
    def __init__(self, shown):
        self.shown = shown

    def update(self, bundle, raw):
        assert raw
        self.shown.append(bundle)


@pytest.fixture
def notebook(monkeypatch):
    """A notebook's IPython, of which what is used is here."""
    shown = []

    def display(bundle, raw, display_id):
        assert raw
        assert display_id
        shown.append(bundle)
        return Handle(shown)

    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    return shown


def test_a_notebook_has_one_output_that_ends_as_one_line(notebook, capsys):
    assert isinstance(progress_display(), NotebookProgress)
    history = run()
    assert capsys.readouterr().out == ""
    assert any("<progress max=" in bundle["text/html"] for bundle in notebook)
    last = notebook[-1]
    assert last["text/plain"].startswith(f"{history.title()} · loss {history['loss'][-1]:.4f} · accuracy ")
    assert f"valid_loss {history['valid_loss'][-1]:.4f}" in last["text/html"]
    assert "<progress" not in last["text/html"]


def test_a_notebook_after_an_error(notebook):
    def broken(*_):
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        run(loss=broken)
    assert notebook[-1]["text/plain"] == "stopped in epoch 1"


def test_ipython_in_a_terminal_is_no_notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace()))
    assert type(progress_display()) is Progress


def test_an_executed_notebook_is_tidy():
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    code = """
    import numpy as np, tinygrad_ce as tg
    train, test = tg.data.digits()
    model = tg.nn.Linear(64, 10)
    history = tg.fit(model, train, test, loss=tg.F.softmax_cross_entropy, epochs=30,
                     optimizer=tg.optim.SGD(model.parameters(), lr=0.1))
    """
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(re.sub("^    ", "", code, flags=re.M))])
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    (output,) = book.cells[0].outputs
    assert output["data"]["text/plain"].startswith("30 epochs, 690 steps, ")
    assert len(output["data"]["text/html"]) < 400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (12.4, "12 s"),
        (59.4, "59 s"),
        (59.6, "1:00"),
        (185, "3:05"),
        (3723, "1:02:03"),
    ],
)
def test_clock(seconds, text):
    assert clock(seconds) == text
