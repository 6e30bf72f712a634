"""Batches against PyTorch's own DataLoader: the same rows put together in the same way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_ce.data import DataLoader

torch = pytest.importorskip("torch")


def rows(kind, count):
    """Rows of every make that both libraries take."""
    arrays = np.random.default_rng(0).normal(size=(count, 2, 3)).astype(np.float32)
    return {
        "arrays": list(arrays),
        "ints": list(range(count)),
        "pairs": [(array, i) for i, array in enumerate(arrays)],
        "nested": [{"x": (array, [i, array[0]]), "name": f"row {i}"} for i, array in enumerate(arrays)],
        "numbers": [(np.float64(i), np.int32(i), np.uint8(i), i > 2) for i in range(count)],
    }[kind]


def plain(batch):
    if isinstance(batch, dict):
        return {key: plain(value) for key, value in batch.items()}
    if isinstance(batch, list | tuple):  # PyTorch makes lists of tuples
        return [plain(value) for value in batch]
    if isinstance(batch, torch.Tensor):
        batch = batch.numpy()
    return (str(batch.dtype), batch.tolist()) if isinstance(batch, np.ndarray) else batch


@given(
    st.sampled_from(["arrays", "ints", "pairs", "nested", "numbers"]),
    st.integers(1, 9),
    st.integers(1, 10),
    st.booleans(),
)
def test_batches(kind, count, batch_size, drop_last):
    data = rows(kind, count)
    theirs = torch.utils.data.DataLoader(data, batch_size=batch_size, drop_last=drop_last)
    ours = DataLoader(data, batch_size=batch_size, drop_last=drop_last)
    assert len(ours) == len(theirs)
    assert [plain(batch) for batch in ours] == [plain(batch) for batch in theirs]
