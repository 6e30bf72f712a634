"""The examples in the README run, and give what it says."""

import re
from pathlib import Path

import numpy as np
import pytest

import tinygrad_ce as tg

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def shown(own_registry):  # noqa: ARG001
    """Everything the README's Python blocks define, run in order."""
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        exec(block, names)
    return names


def test_the_examples_do_what_they_say(shown):
    assert float(shown["accuracy"]) > 0.5  # after one pass over the data; guessing would be right in 0.1
    np.testing.assert_allclose(shown["z"].grad.numpy(), np.exp(-40.0) * np.array([[-1, 1]]), rtol=1e-15)
    assert shown["picture"].graph.ops == 4
    assert len(shown["history"]) == 5
    assert shown["scores"]["accuracy"] > 0.9
    x = tg.Tensor([2.0], requires_grad=True)
    tg.functional.cube(x).sum().backward()
    assert x.grad.item() == 12
