"""The table of a model."""

import io

import numpy as np
import pytest
from rich.console import Console

from tinygrad_ce import nn
from tinygrad_ce.mode import mode


def test_the_table():
    model = nn.Sequential(nn.Flatten(), nn.MLP([6, 4, 2], norm="batch", dropout=0.5), nn.Softmax())
    model[1][0].requires_grad_(False)
    assert str(model.summary((5, 2, 3))).splitlines() == [
        "layer                  output shape  parameters  bytes",
        "---------------------  ------------  ----------  -----",
        "0      Flatten()             (5, 6)           0      0",
        "1      MLP                   (5, 2)           0      0",
        "1.0    Linear(6, 4)          (5, 4)          28    112",
        "1.1    BatchNorm1d(4)        (5, 4)           8     72",
        "1.2    ReLU()                (5, 4)           0      0",
        "1.3    Dropout(p=0.5)        (5, 4)           0      0",
        "1.4    Linear(4, 2)          (5, 2)          10     40",
        "2      Softmax()             (5, 2)           0      0",
        "total  Sequential            (5, 2)          46    224",
        "28 of the parameters are frozen.",
        "Buffers hold 9 numbers more, which are not learned.",
    ]
    assert model.num_parameters() == 46


def test_numbers_are_there_as_numbers(rng):
    summary = nn.MLP([3, 4, 2], dtype="float64", generator=rng).summary((1, 3))
    assert [layer.parameters for layer in summary.layers] == [16, 0, 10]
    assert (summary.total.parameters, summary.total.bytes) == (26, 26 * 8)
    assert (summary.frozen, summary.buffers) == (0, 0)


def test_nothing_changes_by_a_summary():
    generator = np.random.default_rng(3)
    model = nn.MLP([3, 4, 2], norm="batch", dropout=0.5, generator=generator)
    model[0].eval()
    model[4].forward = model[4].forward  # of its own
    before, state, drawn = [dict(vars(m)) for m in model.modules()], model.state_dict(), generator.bit_generator.state
    model.summary((1, 3))
    assert [dict(vars(m)) for m in model.modules()] == before
    assert [m.training for m in model] == [False, True, True, True, True]
    assert all(np.array_equal(model.state_dict()[name], array) for name, array in state.items())
    assert generator.bit_generator.state == drawn
    assert mode.recording
    with pytest.raises(ValueError, match="cannot be called"):
        model.summary((1, 4))
    assert [dict(vars(m)) for m in model.modules()] == before
    assert mode.recording
    assert mode.scope == ()


def test_modules_used_twice_or_never_and_other_outputs(rng):
    class Net(nn.Module):
        def __init__(self):
            self.act = nn.ReLU()
            self.one, self.two = nn.Linear(3, 2, generator=rng), nn.Linear(2, 3, generator=rng)
            self.two.bias = self.scale = nn.Parameter(np.ones(3))
            self.unused = nn.Tanh()

        def forward(self, x, y):
            return self.act(self.one(x)), [self.act(self.two(y)), None]

    summary = Net().summary((4, 3), [5, 2])
    rows = {layer.path: layer for layer in summary.layers}
    assert list(rows) == ["(itself)", "act", "one", "two", "unused"]
    assert rows["act"].output_shape == "(4, 2) and (5, 3)"
    assert rows["unused"].output_shape == "-"
    assert [rows[p].parameters for p in ("(itself)", "one", "two")] == [3, 8, 6]  # the shared one once
    assert summary.total.output_shape == "(4, 2), (5, 3), -"
    assert summary.total.parameters == Net().num_parameters() == 17


def test_a_single_layer_and_indices():
    assert [layer.kind for layer in nn.Linear(2, 3).summary((2,)).layers] == ["Linear(2, 3)"]
    embedding = nn.Sequential(nn.Embedding(10, 4), nn.Flatten())
    assert embedding.summary((3, 5), dtype=int).total.output_shape == "(3, 20)"
    with pytest.raises(ValueError, match=r"indices have dtype float32.*for indices dtype=int"):
        embedding.summary((3, 5))


def test_how_it_is_shown():
    summary = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).summary((4, 2))
    assert repr(summary) == str(summary)
    html = summary._repr_html_()
    assert html.startswith("<table>")
    assert "Linear(2, 3)" in html
    assert html.endswith("<p>Buffers hold 7 numbers more, which are not learned.</p>")
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(summary)
    text = console.export_text()
    assert "BatchNorm1d(3)" in text
    assert "total" in text
    assert "Buffers hold 7 numbers" in text


@pytest.mark.parametrize("shapes", [(), (4, 2), ("ab",), ((4, -2),), ((4.0, 2),), (None,)])
def test_what_is_no_shape_is_refused(shapes):
    with pytest.raises(TypeError, match=r"^summary: expected the shape of an input, such as \(1, 64\), found"):
        nn.Linear(2, 3).summary(*shapes)
