"""Parting data into training and test sets, and bringing their columns to one scale."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_ce as tg
from tinygrad_ce.data import ArrayDataset, Standardizer, standardize, train_test_split


class TestSplit:
    @given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.data())
    def test_each_row_once_with_its_target_and_each_class_its_share(self, labels, data):
        labels = np.array(labels)
        rows = len(labels)
        test_size = data.draw(st.integers(1, rows - 1))
        stratify = data.draw(st.booleans())
        dataset = ArrayDataset(np.arange(rows) * 10.0, labels, tuple("abcd"), ("x",))
        generator = np.random.default_rng(data.draw(st.integers(0, 9)))
        train, test = train_test_split(dataset, test_size=test_size, stratify=stratify, generator=generator)
        assert (len(train), len(test)) == (rows - test_size, test_size)
        for part in (train, test):
            assert (part.classes, part.features) == (dataset.classes, dataset.features)
            assert np.array_equal(part.targets, labels[(part.inputs / 10).astype(int)])
        assert sorted(np.concatenate([train.inputs, test.inputs])) == dataset.inputs.tolist()
        if stratify:
            shares = np.bincount(labels, minlength=4) * test_size / rows
            assert np.all(np.abs(np.bincount(test.targets, minlength=4) - shares) < 1)

    def test_arrays_come_in_scikit_learns_order(self):
        x, y, z = np.arange(20.0).reshape(10, 2), np.arange(10), np.arange(10) % 2
        found = train_test_split(x, y, z, test_size=0.3, stratify=z, generator=np.random.default_rng(0))
        x_train, x_test, y_train, y_test, z_train, z_test = found
        assert [len(part) for part in found] == [7, 3] * 3
        assert np.array_equal(x_train, x[y_train])
        assert np.array_equal(x_test, x[y_test])
        assert np.array_equal(z_train, z[y_train])
        assert sorted(np.bincount(z_test)) == [1, 2]

    def test_the_seed_decides(self):
        def split(seed):
            return train_test_split(np.arange(100), generator=np.random.default_rng(seed))[1].tolist()

        assert split(0) == split(0) != split(1)
        assert train_test_split(np.arange(100))[1].tolist() != train_test_split(np.arange(100))[1].tolist()
        assert len(split(0)) == 20
        assert split(0) != sorted(split(0))

    def test_the_result_is_a_copy(self):
        x = np.arange(10)
        for part in train_test_split(x):
            part[...] = -1
        assert x.tolist() == list(range(10))

    def test_classes_may_be_names(self):
        names = np.array(["cat", "dog"] * 5)
        _, test = train_test_split(names, test_size=4, stratify=names)
        assert sorted(test) == ["cat", "cat", "dog", "dog"]

    @pytest.mark.parametrize(
        ("data", "options", "error", "message"),
        [
            ((), {}, TypeError, "expected one ArrayDataset, or one or more arrays, found 0 arguments"),
            (([1, 2],), {}, TypeError, "found list [1, 2]; write np.array([...])"),
            ((np.zeros(3), np.zeros(4)), {}, ValueError, "the arrays must have the same length, found [3, 4]"),
            ((np.zeros(3),), {"test_size": 3}, ValueError, "test_size=3 of 3 rows leaves no rows for one of the parts; "
             "write a part between 0 and 1, such as 0.2, or a number of rows from 1 to 2"),
            ((np.zeros(3),), {"test_size": 0}, ValueError, "test_size=0 of 3 rows"),
            ((np.zeros(3),), {"test_size": 1.0}, ValueError, "test_size=1.0 of 3 rows"),
            ((np.zeros(3),), {"test_size": 0.01}, ValueError, "test_size=0.01 of 3 rows"),
            ((np.zeros(3),), {"test_size": float("nan")}, ValueError, "test_size=nan of 3 rows"),
            ((np.zeros(3),), {"test_size": "half"}, TypeError, "test_size must be a part such as 0.2 or a number of "
             "rows, found str 'half'"),
            ((np.zeros(3),), {"generator": 0}, TypeError, "generator must be a numpy.random.Generator or None"),
            ((np.zeros(3),), {"stratify": True}, ValueError, "for arrays write stratify=y"),
            ((np.zeros(3),), {"stratify": [0, 1]}, ValueError, "stratify must name one class for each of 3 rows, "
             "found int64 of shape (2,)"),
            ((ArrayDataset(np.zeros(5), np.zeros(5)),), {"stratify": True}, ValueError, "found float64 of shape (5,)"),
        ],
    )  # fmt: skip
    def test_wrong_arguments(self, data, options, error, message):
        with pytest.raises(error, match=re.escape(message)):
            train_test_split(*data, **options)


class TestStandardize:
    def test_equals_scikit_learns(self, rng):
        scalers = pytest.importorskip("sklearn.preprocessing", reason="to compare with: pip install '.[parity]'")
        x = rng.normal(size=(200, 5)) * [1, 1e-3, 1e6, 1, 0] + [0, 5, -1e7, 1e9, 3]
        standardizer = Standardizer.fit(x)
        scaler = scalers.StandardScaler().fit(x)
        np.testing.assert_allclose(standardizer.mean, scaler.mean_, rtol=1e-14)
        np.testing.assert_allclose(standardizer.scale, scaler.scale_, rtol=1e-10)
        other = rng.normal(size=(20, 5))
        np.testing.assert_allclose(standardizer(other), scaler.transform(other), rtol=1e-10)

    def test_the_others_are_put_on_the_scale_of_the_first(self, rng):
        train = ArrayDataset(rng.normal(3, 7, (1000, 4)).astype(np.float32), np.zeros(1000, int), ("a",), tuple("wxyz"))
        other = ArrayDataset(rng.normal(5, 2, (10, 4)).astype(np.float32), np.ones(10, int), ("a",), tuple("wxyz"))
        first, second = standardize(train, other)
        mean, std = train.inputs.astype(float).mean(axis=0), train.inputs.astype(float).std(axis=0)
        for found, source in ((first, train), (second, other)):
            assert found.inputs.dtype == np.float32
            expected = ((source.inputs - mean) / std).astype(np.float32)
            np.testing.assert_array_max_ulp(found.inputs, expected, 1)
            assert np.array_equal(found.targets, source.targets)
            assert (found.classes, found.features) == (source.classes, source.features)
        assert np.abs(first.inputs.mean(axis=0, dtype=float)).max() < 1e-6
        assert not np.shares_memory(first.inputs, train.inputs)

    def test_statistics_of_float32_are_those_of_float64(self):
        # a million numbers near 1000: their float32 sum has lost the digits in which they differ
        x = (1000 + np.arange(1_000_000) % 7 / 100).astype(np.float32).reshape(-1, 1)
        standardizer = Standardizer.fit(x)
        exact = x.astype(np.longdouble)
        np.testing.assert_allclose(standardizer.mean, np.float64(exact.mean(axis=0)), rtol=1e-12)
        np.testing.assert_allclose(standardizer.scale, np.float64(exact.std(axis=0)), rtol=1e-9)

    @pytest.mark.parametrize("value", [0.0, 0.1, 1e30, -1 / 3, 1e-40])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_a_constant_column_becomes_zero(self, value, dtype):
        x = np.full((1237, 2), value, dtype)
        x[:, 1] = np.arange(1237)
        found = Standardizer.fit(x)(x)
        assert np.all(found[:, 0] == 0)
        assert np.isfinite(found).all()
        assert Standardizer.fit(x).scale[0] == 1

    @pytest.mark.parametrize(
        ("dtype", "expected"),
        [("float16", "float16"), ("float64", "float64"), ("uint8", "float32"), ("bool", "float32")],
    )
    def test_dtypes(self, dtype, expected):
        x = np.array([[0], [1], [1]], dtype)
        found = Standardizer.fit(x)(x)
        assert found.dtype == expected
        np.testing.assert_allclose(found.astype(float).ravel(), np.array([-2, 1, 1]) / 2**0.5, rtol=1e-3)

    def test_images_keep_their_shape(self, rng):
        x = rng.normal(size=(9, 3, 2))
        standardizer = Standardizer.fit(x)
        assert standardizer.mean.shape == standardizer.scale.shape == (3, 2)
        np.testing.assert_allclose(standardizer(x).std(axis=0), 1, rtol=1e-12)

    def test_mean_and_scale_are_all_there_is_to_keep(self, rng):
        x = rng.normal(size=(9, 3))
        one = Standardizer.fit(x)
        assert np.array_equal(Standardizer(one.mean, one.scale)(x), one(x))

    def test_the_training_set_must_be_numbers_throughout(self):
        x = np.ones((4, 3))
        x[2, 1], x[3, 0] = np.nan, np.inf
        message = "inputs[2, 1] is nan, and 2 of 12 values are nan or infinite"
        with pytest.raises(ValueError, match=re.escape(message)):
            Standardizer.fit(x)
        with pytest.raises(ValueError, match=re.escape("there are no rows to measure, found the shape (0, 3)")):
            Standardizer.fit(x[:0])
        for wrong in ([1.0], np.array(["a"]), np.array(1.0), tg.Tensor([[1.0]])):
            with pytest.raises(TypeError, match="inputs must be an array of numbers with a first axis of rows, found"):
                Standardizer.fit(wrong)

    def test_new_data_must_have_the_same_columns(self):
        standardizer = Standardizer.fit(np.eye(3))
        for wrong in (np.eye(4), np.ones(3)):
            message = f"measured rows of shape (3,), found rows of shape {wrong.shape[1:]}; give the same columns"
            with pytest.raises(ValueError, match=re.escape(message)):
                standardizer(wrong)
