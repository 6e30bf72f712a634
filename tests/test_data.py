"""The data that ships, digits and irises, and data sets as arrays."""

import hashlib
import re
from importlib.resources import files

import numpy as np
import pytest

from tinygrad_ce.data import ArrayDataset, digits, iris
from tinygrad_ce.data.digits import _stored
from tinygrad_ce.data.make_shipped import DIGITS_SOURCE, make_digits, make_iris


def rows(dataset):
    """Every row of a data set as bytes: to compare sets of rows."""
    return [x.tobytes() + y.tobytes() for x, y in dataset]


@pytest.fixture
def seven():
    return ArrayDataset(np.arange(14.0).reshape(7, 2), np.arange(7), ("a", "b"))


class TestDigits:
    def test_shapes_dtypes_and_scale(self):
        for dataset, length in zip(digits(), (1437, 360), strict=True):
            assert len(dataset) == length
            assert dataset.inputs.shape == (length, 64)
            assert dataset.inputs.dtype == np.float32
            assert dataset.targets.shape == (length,)
            assert dataset.targets.dtype == np.int64
            assert dataset.classes == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
            assert set(np.unique(dataset.inputs)) == {np.float32(k / 16) for k in range(17)}
            assert np.array_equal(np.unique(dataset.targets), np.arange(10))

    def test_the_stored_arrays_are_the_ones_we_know(self):
        images, targets = _stored()
        assert images.shape == (1797, 8, 8)
        assert images.dtype == targets.dtype == np.uint8
        digest = hashlib.sha256(images.tobytes() + targets.tobytes()).hexdigest()
        assert digest == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"

    def test_the_split_is_complete_and_disjoint(self):
        train, test = digits()
        images, targets = _stored()
        both = sorted(rows(train) + rows(test))
        assert both == sorted(rows(ArrayDataset(images.reshape(-1, 64) / np.float32(16), targets.astype(np.int64))))
        assert not set(rows(train)) & set(rows(test))

    def test_the_split_is_stratified(self):
        train, test = (np.bincount(dataset.targets) for dataset in digits())
        assert np.all(np.abs(test - (train + test) / 5) < 1)

    def test_the_split_is_fixed(self):
        train, test = digits()
        assert train.targets[:12].tolist() == [1, 3, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
        assert test.targets[:12].tolist() == [0, 2, 4, 7, 1, 6, 8, 9, 5, 3, 0, 2]

    def test_the_order_is_that_of_the_source(self):
        images, _ = _stored()
        place = {image.tobytes(): i for i, image in enumerate(images.reshape(-1, 64))}
        for dataset in digits():
            found = [place[(16 * x).astype(np.uint8).tobytes()] for x in dataset.inputs]
            assert found == sorted(found)

    def test_a_caller_cannot_spoil_the_next_ones_data(self):
        before = digits()
        for dataset in digits():
            dataset.inputs[...] = -1
            dataset.targets[...] = -1
        for dataset, kept in zip(digits(), before, strict=True):
            assert np.array_equal(dataset.inputs, kept.inputs)
            assert np.array_equal(dataset.targets, kept.targets)

    def test_the_two_sets_share_no_memory(self):
        train, test = digits()
        assert not np.shares_memory(train.inputs, test.inputs)
        assert not np.shares_memory(train.targets, test.targets)

    def test_equals_and_is_made_again_from_scikit_learns_copy(self, tmp_path):
        sklearn_datasets = pytest.importorskip("sklearn.datasets", reason="the digits' source: pip install '.[parity]'")
        bunch = sklearn_datasets.load_digits()
        images, targets = _stored()
        assert np.array_equal(images, bunch.images)
        assert np.array_equal(targets, bunch.target)
        first, second = tmp_path / "first.npz", tmp_path / "second.npz"
        make_digits(first)
        make_digits(second)
        assert first.read_bytes() == second.read_bytes()
        with np.load(first) as made:
            assert sorted(made) == ["images", "source", "targets"]
            assert made["images"].tobytes() == images.tobytes()
            assert made["targets"].tobytes() == targets.tobytes()
            assert made["source"] == DIGITS_SOURCE

    def test_the_file_states_its_source_and_licence(self):
        package = files("tinygrad_ce.data")
        with package.joinpath("digits.npz").open("rb") as file, np.load(file) as stored:
            assert stored["source"] == DIGITS_SOURCE
        for text in (DIGITS_SOURCE, package.joinpath("NOTICE.txt").read_text(encoding="utf-8"), digits.__doc__):
            assert "CC BY 4.0" in text
            assert "https://doi.org/10.24432/C50P49" in text
            assert re.search(r"Alpaydin and C\. Kaynak", text)


class TestIris:
    def test_shapes_dtypes_and_names(self):
        for dataset, length in zip(iris(), (120, 30), strict=True):
            assert (dataset.inputs.shape, dataset.inputs.dtype) == ((length, 4), np.float32)
            assert (dataset.targets.shape, dataset.targets.dtype) == ((length,), np.int64)
            assert dataset.classes == ("setosa", "versicolor", "virginica")
            assert dataset.features == tuple(
                f"{part} {size} (cm)" for part in ("sepal", "petal") for size in ("length", "width")
            )
            assert np.bincount(dataset.targets).tolist() == [length // 3] * 3

    def test_the_numbers_are_fishers_where_uci_is_wrong(self):
        train, test = iris()  # of the first 40 flowers, every fifth, from the first on, is held out
        flowers = np.zeros((40, 4), np.float32)
        flowers[np.arange(40) % 5 != 0] = train.inputs[:32]
        flowers[::5] = test.inputs[:8]
        assert flowers[34].tolist() == np.float32([4.9, 3.1, 1.5, 0.2]).tolist()
        assert flowers[37].tolist() == np.float32([4.9, 3.6, 1.4, 0.1]).tolist()

    def test_equals_and_is_made_again_from_scikit_learns_copy(self, tmp_path):
        sklearn_datasets = pytest.importorskip("sklearn.datasets", reason="the irises' source: pip install '.[parity]'")
        bunch = sklearn_datasets.load_iris()
        train, test = iris()
        held_out = np.arange(150) % 5 == 0
        for dataset, chosen in ((train, ~held_out), (test, held_out)):
            assert np.array_equal(dataset.inputs, bunch.data[chosen].astype(np.float32))
            assert np.array_equal(dataset.targets, bunch.target[chosen])
            assert dataset.classes == tuple(bunch.target_names)
        make_iris(tmp_path / "iris.csv")
        assert (tmp_path / "iris.csv").read_bytes() == files("tinygrad_ce.data").joinpath("iris.csv").read_bytes()

    def test_source_and_licence_are_stated(self):
        for text in (files("tinygrad_ce.data").joinpath("NOTICE.txt").read_text(encoding="utf-8"), iris.__doc__):
            assert "CC BY 4.0" in text
            assert "https://doi.org/10.24432/C56C76" in text
            assert re.search(r"R\. A\. Fisher", text)


class TestArrayDataset:
    @pytest.mark.parametrize("index", [3, -1, slice(2, 5), slice(None, None, -2), np.array([4, 0, 4])])
    def test_indexes_both_arrays_alike(self, seven, index):
        inputs, targets = seven[index]
        assert np.array_equal(inputs, seven.inputs[index])
        assert np.array_equal(targets, seven.targets[index])

    def test_walks_row_by_row(self, seven):
        assert [int(y) for _, y in seven] == list(range(7))

    def test_rows_out_of_range_are_an_index_error(self, seven):
        with pytest.raises(IndexError, match="out of bounds"):
            seven[7]

    def test_is_frozen(self, seven):
        with pytest.raises(AttributeError, match="cannot assign to field 'inputs'"):
            seven.inputs = np.zeros(7)

    def test_lengths_must_agree(self):
        message = "inputs and targets must have the same length, found 3 inputs (3, 2) and 4 targets (4,)"
        with pytest.raises(ValueError, match=re.escape(message)):
            ArrayDataset(np.zeros((3, 2)), np.zeros(4))

    @pytest.mark.parametrize(
        ("inputs", "targets", "message"),
        [
            ([1, 2], np.zeros(2), "inputs must be an array with one row for each example, found list [1, 2]"),
            (
                np.zeros(2),
                (0, 1),
                "targets must be an array with one row for each example, found tuple (0, 1)",
            ),
            (
                np.array(1.0),
                np.zeros(1),
                "inputs must be an array with one row for each example, found ndarray",
            ),
        ],
    )
    def test_anything_but_arrays_is_refused(self, inputs, targets, message):
        with pytest.raises(TypeError, match=re.escape(message)):
            ArrayDataset(inputs, targets)
