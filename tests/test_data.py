"""The shipped digits, and data sets as arrays walked through in batches."""

import hashlib
import re

import numpy as np
import pytest

from tinygrad_ce.data import ArrayDataset, batches, digits
from tinygrad_ce.data.digits import _stored
from tinygrad_ce.data.make_digits import SOURCE, make_digits


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
            assert made["source"] == SOURCE

    def test_the_file_states_its_source_and_licence(self):
        from importlib.resources import files

        package = files("tinygrad_ce.data")
        with package.joinpath("digits.npz").open("rb") as file, np.load(file) as stored:
            assert stored["source"] == SOURCE
        for text in (SOURCE, package.joinpath("NOTICE.txt").read_text(encoding="utf-8"), digits.__doc__):
            assert "CC BY 4.0" in text
            assert "https://doi.org/10.24432/C50P49" in text
            assert re.search(r"Alpaydin and C\. Kaynak", text)


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


class TestBatches:
    def test_in_order_each_row_once_and_the_last_batch_short(self, seven):
        found = list(batches(seven, 3))
        assert [len(targets) for _, targets in found] == [3, 3, 1]
        assert np.array_equal(np.concatenate([inputs for inputs, _ in found]), seven.inputs)
        assert np.array_equal(np.concatenate([targets for _, targets in found]), seven.targets)

    def test_in_order_nothing_is_copied(self, seven):
        for inputs, targets in batches(seven, 3):
            assert np.shares_memory(inputs, seven.inputs)
            assert np.shares_memory(targets, seven.targets)

    def test_shuffled_each_row_once_with_its_own_target(self, seven):
        found = list(batches(seven, 3, generator=np.random.default_rng(3)))
        assert [len(targets) for _, targets in found] == [3, 3, 1]
        order = np.concatenate([targets for _, targets in found])
        assert sorted(order) == list(range(7))
        assert order.tolist() != list(range(7))
        assert np.array_equal(np.concatenate([inputs for inputs, _ in found]), seven.inputs[order])

    def test_the_seed_decides_and_every_epoch_differs(self, seven):
        def epochs(seed):
            generator = np.random.default_rng(seed)
            return [[int(y) for _, ys in batches(seven, 2, generator=generator) for y in ys] for _ in range(3)]

        assert epochs(0) == epochs(0)
        assert epochs(0) != epochs(1)
        assert len({tuple(epoch) for epoch in epochs(0)}) == 3

    @pytest.mark.parametrize("generator", [None, np.random.default_rng(0)])
    def test_sizes_at_the_edges(self, seven, generator):
        assert [len(y) for _, y in batches(seven, 7, generator=generator)] == [7]
        assert [len(y) for _, y in batches(seven, 100, generator=generator)] == [7]
        assert [len(y) for _, y in batches(seven, np.int64(1), generator=generator)] == [1] * 7
        assert list(batches(ArrayDataset(np.zeros((0, 2)), np.zeros(0)), 3, generator=generator)) == []

    @pytest.mark.parametrize(
        ("batch_size", "error", "message"),
        [
            (0, ValueError, "batch_size must be at least 1, found 0"),
            (-2, ValueError, "batch_size must be at least 1, found -2"),
            (2.0, TypeError, "batch_size must be an int, found float 2.0"),
            (True, TypeError, "batch_size must be an int, found bool True"),
            (None, TypeError, "batch_size must be an int, found NoneType None"),
        ],
    )
    def test_a_wrong_size_is_refused_at_the_call(self, seven, batch_size, error, message):
        with pytest.raises(error, match=re.escape(message)):
            batches(seven, batch_size)

    def test_a_seed_is_not_a_generator(self, seven):
        message = "generator must be a numpy.random.Generator or None, found int 0; write np.random.default_rng(0)"
        with pytest.raises(TypeError, match=re.escape(message)):
            batches(seven, 2, generator=0)
