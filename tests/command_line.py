"""`tinygrad-ce` as the tests of its commands run it: in this process."""

import signal

from tinygrad_ce.cli import main


def empty_folder(tmp_path, monkeypatch):
    """Work in an empty folder, as users do: messages then have short names; and without colours."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def deaf_no_more():
    """For Popen's `preexec_fn`: a shell starts programs in the background, and so their children, deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ended(capsys, *arguments, status):
    """What is on standard output and on standard error of a command that ends with this status."""
    capsys.readouterr()
    found = main([*map(str, arguments)])
    out, err = capsys.readouterr()
    assert found == status, err
    assert "\x1b" not in out
    assert "Traceback" not in err
    assert bool(err) == bool(status), err
    return out, err


def run(capsys, *arguments):
    """What is printed by a command that goes well."""
    return ended(capsys, *arguments, status=0)[0]


def refused(capsys, *arguments):
    """The line by which a command is refused; nothing is on standard output."""
    out, line = ended(capsys, *arguments, status=2)
    assert out == ""
    assert line.count("\n") == 1
    return line.removeprefix("tinygrad-ce: ").rstrip("\n")
