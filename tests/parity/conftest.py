"""Parity with PyTorch. A file here begins with `pytest.importorskip("torch", ...)`: without torch it is skipped."""

from collections import Counter
from typing import Any

import pytest


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many cases were compared, and of which of PyTorch's own suites: none is a result too."""
    here = [
        r for r in terminalreporter.getreports("passed") if r.when == "call" and r.nodeid.startswith("tests/parity/")
    ]
    if here:
        terminalreporter.write_line(
            f"parity: {len(here)} cases agree with PyTorch {pytest.importorskip('torch').__version__}"
        )
        suites = Counter(value for r in here for name, value in r.user_properties if name == "suite")
        for suite, count in suites.items():
            terminalreporter.write_line(f"  {count:4} of {suite}")
