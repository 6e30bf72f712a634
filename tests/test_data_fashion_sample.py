"""The part of Fashion-MNIST that ships: what is in it, where it is from, and that it can be made again."""

from importlib.resources import files

import numpy as np
import pytest

from tinygrad_ce.data import fashion_mnist, fashion_mnist_sample
from tinygrad_ce.data.make_shipped import FASHION_SOURCE, make_fashion_sample
from tinygrad_ce.data.mnist import FASHION_MNIST


@pytest.fixture(scope="module")
def whole():
    try:
        return fashion_mnist()
    except FileNotFoundError as error:
        pytest.skip(f"the files of Fashion-MNIST: {error}")


def test_shapes_dtypes_and_names():
    for dataset, length in zip(fashion_mnist_sample(), (500, 150), strict=True):
        assert (dataset.inputs.shape, dataset.inputs.dtype) == ((length, 784), np.float32)
        assert (dataset.targets.shape, dataset.targets.dtype) == ((length,), np.int64)
        assert dataset.classes == FASHION_MNIST.classes
        assert np.bincount(dataset.targets).tolist() == [length // 10] * 10
        assert (dataset.inputs.min(), dataset.inputs.max()) == (0, 1)


def test_no_picture_is_there_twice():
    train, test = fashion_mnist_sample()
    assert len({row.tobytes() for part in (train, test) for row in part.inputs}) == 650


def test_a_caller_cannot_spoil_the_next_ones_data():
    before = fashion_mnist_sample()
    for dataset in fashion_mnist_sample():
        dataset.inputs[...] = -1
        dataset.targets[...] = -1
    for dataset, kept in zip(fashion_mnist_sample(), before, strict=True):
        assert np.array_equal(dataset.inputs, kept.inputs)
        assert np.array_equal(dataset.targets, kept.targets)


def test_the_rows_are_the_first_of_their_class(whole):
    for sample, source, count in zip(fashion_mnist_sample(), whole, (50, 15), strict=True):
        seen = [0] * 10
        expected = []
        for row, target in enumerate(source.targets.tolist()):
            seen[target] += 1
            if seen[target] <= count:
                expected.append(row)
        assert np.array_equal(sample.inputs, source.inputs[expected])
        assert np.array_equal(sample.targets, source.targets[expected])


def test_the_file_is_made_again(whole, tmp_path):
    del whole
    make_fashion_sample(tmp_path / "made.npz")
    shipped = files("tinygrad_ce.data").joinpath("fashion_sample.npz")
    with np.load(tmp_path / "made.npz") as made, shipped.open("rb") as file, np.load(file) as stored:
        assert sorted(made) == sorted(stored)
        for name in stored:
            assert made[name].dtype == stored[name].dtype
            assert np.array_equal(made[name], stored[name])


def test_source_and_licence_are_stated():
    notice = files("tinygrad_ce.data").joinpath("NOTICE.txt").read_text(encoding="utf-8")
    assert "Copyright (c) 2017 Zalando SE" in notice
    assert "Permission is hereby granted" in notice
    with files("tinygrad_ce.data").joinpath("fashion_sample.npz").open("rb") as file, np.load(file) as stored:
        assert stored["source"] == FASHION_SOURCE
    for text in (FASHION_SOURCE, notice, fashion_mnist_sample.__doc__):
        assert "MIT" in text
        assert "https://arxiv.org/abs/1708.07747" in text
        assert "H. Xiao, K. Rasul and R. Vollgraf" in text
