"""Walking through data sets in batches: each row once, in order or shuffled, and put together."""

import json
import re
from collections import Counter, namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_ce as tg
from tinygrad_ce.data import ArrayDataset, DataLoader


def counting(rows):
    """A data set whose targets are the positions of its rows."""
    return ArrayDataset(np.arange(2.0 * rows).reshape(rows, 2), np.arange(rows))


@pytest.fixture
def seven():
    return counting(7)


def order(loader):
    return [int(y) for _, targets in loader for y in targets]


sizes = st.tuples(st.integers(0, 40), st.integers(1, 45), st.booleans())


@given(sizes, st.none() | st.integers(0, 100))
def test_every_row_comes_once_in_batches_of_the_size(shape, seed):
    rows, batch_size, drop_last = shape
    dataset = counting(rows)
    generator = None if seed is None else np.random.default_rng(seed)
    loader = DataLoader(dataset, batch_size, shuffle=seed is not None, generator=generator, drop_last=drop_last)
    found = list(loader)
    assert len(found) == len(loader)
    sizes = [len(targets) for _, targets in found]
    if drop_last:
        assert sizes == [batch_size] * (rows // batch_size)
    else:
        assert sum(sizes) == rows
        assert all(size == batch_size for size in sizes[:-1])
        assert all(sizes)
    seen = np.concatenate([np.empty(0, int), *(targets for _, targets in found)])
    assert len(set(seen.tolist())) == len(seen)
    for inputs, targets in found:
        assert np.array_equal(inputs, dataset.inputs[targets])
        assert np.shares_memory(inputs, dataset.inputs) == (seed is None)
        assert np.shares_memory(targets, dataset.targets) == (seed is None)
    if seed is None:
        assert seen.tolist() == list(range(len(seen)))
    else:  # the documented order: one permutation of the generator
        assert seen.tolist() == np.random.default_rng(seed).permutation(rows)[: len(seen)].tolist()


@given(sizes, st.integers(0, 100))
def test_a_list_of_the_rows_gives_the_same_batches(shape, seed):
    rows, batch_size, drop_last = shape
    dataset = counting(rows)
    fast, slow, bare = (
        list(DataLoader(data, batch_size, shuffle=True, drop_last=drop_last, generator=np.random.default_rng(seed)))
        for data in (dataset, [dataset[i] for i in range(rows)], dataset.inputs)
    )
    assert len(fast) == len(slow) == len(bare)
    for (inputs, targets), (others, their_targets), alone in zip(fast, slow, bare, strict=True):
        for one, other in ((inputs, others), (targets, their_targets), (inputs, alone)):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)


class TestShuffling:
    def test_the_seed_decides_and_every_epoch_differs(self, seven):
        def epochs(seed):
            loader = DataLoader(seven, 2, shuffle=True, generator=np.random.default_rng(seed))
            return [tuple(order(loader)) for _ in range(3)]

        assert epochs(0) == epochs(0)
        assert epochs(0) != epochs(1)
        assert len(set(epochs(0))) == 3

    def test_without_a_generator_two_loaders_differ(self):
        dataset = counting(100)
        assert order(DataLoader(dataset, 9, shuffle=True)) != order(DataLoader(dataset, 9, shuffle=True))

    def test_every_permutation_is_as_likely(self):
        loader = DataLoader(counting(3), 3, shuffle=True, generator=np.random.default_rng(0))
        counts = Counter(tuple(order(loader)) for _ in range(3000))
        assert len(counts) == 6
        assert sum((count - 500) ** 2 / 500 for count in counts.values()) < 20.5  # chi-squared of 5: p = 0.001

    def test_walks_at_the_same_time_do_not_disturb_each_other(self):
        loader = DataLoader(counting(20), 3, shuffle=True, generator=np.random.default_rng(4))
        generator = np.random.default_rng(4)
        expected = [generator.permutation(20).tolist() for _ in range(2)]
        first, second = iter(loader), iter(loader)  # the orders are drawn here
        found = [[], []]
        for one, other in zip(first, second, strict=True):
            found[0] += one[1].tolist()
            found[1] += other[1].tolist()
        assert found == expected
        for _ in loader:  # a walk in a walk, and one left early
            assert sorted(order(loader)) == list(range(20))
            break
        assert sorted(order(loader)) == list(range(20))

    def test_a_batch_that_is_kept_is_not_overwritten(self):
        dataset = counting(50)
        for inputs, targets in list(DataLoader(dataset, 8, shuffle=True)):
            assert np.array_equal(inputs, dataset.inputs[targets])

    def test_writing_to_a_shuffled_batch_leaves_the_data_as_it_is(self, seven):
        for inputs, targets in DataLoader(seven, 7, shuffle=True):
            inputs[...] = -1
            targets[...] = -1
        assert order(DataLoader(seven)) == list(range(7))
        assert seven.inputs.min() == 0

    @pytest.mark.parametrize(
        "inputs",
        [
            np.arange(60.0).reshape(12, 5)[:, 1:3],
            np.asfortranarray(np.arange(24.0).reshape(12, 2)),
            np.arange(24.0).reshape(12, 2).astype(">f4"),
            np.arange(24.0).reshape(12, 2)[::-1],
            np.frombuffer(bytes(range(24)), np.uint8).reshape(12, 2),
            np.zeros((12, 0)),
        ],
        ids=["columns", "Fortran", "big-endian", "reversed", "read-only", "no columns"],
    )
    def test_any_layout(self, inputs):
        for found, rows in DataLoader(ArrayDataset(inputs, np.arange(12)), 5, shuffle=True):
            assert found.dtype == inputs.dtype
            assert np.array_equal(found, inputs[rows])

    def test_rows_added_later_come_too(self):
        rows = [0, 1]
        loader = DataLoader(rows, 2)
        rows += [2]
        assert len(loader) == 2
        assert [batch.tolist() for batch in loader] == [[0, 1], [2]]


class TestState:
    @pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
    def test_resumes_bit_for_bit_through_json(self, kind):
        def loader(seed):
            generator = np.random.Generator(getattr(np.random, kind)(seed))
            return DataLoader(counting(30), 4, shuffle=True, generator=generator)

        one, other = loader(1), loader(2)
        order(one)
        state = json.dumps(one.state_dict())
        expected = [order(one) for _ in range(3)]
        other.load_state_dict(json.loads(state))
        assert [order(other) for _ in range(3)] == expected

    def test_the_state_does_not_move_on(self, seven):
        loader = DataLoader(seven, shuffle=True)
        state = loader.state_dict()
        first = order(loader)
        order(loader)
        loader.load_state_dict(state)
        assert order(loader) == first

    def test_nothing_shuffled_has_no_state(self, seven):
        loader = DataLoader(seven)
        assert loader.state_dict() == {}
        loader.load_state_dict({})
        with pytest.raises(ValueError, match=re.escape("must have the keys [], found ['generator']")):
            loader.load_state_dict(DataLoader(seven, shuffle=True).state_dict())

    @pytest.mark.parametrize("change", [{"bit_generator": "MT19937"}, {"state": {"state": 1}}, {"state": None}])
    def test_a_wrong_state_changes_nothing(self, seven, change):
        loader = DataLoader(seven, shuffle=True)
        before = loader.state_dict()
        with pytest.raises(ValueError, match="the state is not one of the generator's kind, PCG64"):
            loader.load_state_dict({"generator": {**before["generator"], **change}})
        with pytest.raises(ValueError, match=re.escape("must have the keys ['generator'], found []")):
            loader.load_state_dict({})
        assert loader.state_dict() == before


Row = namedtuple("Row", ["image", "label"])


class TestCollation:
    def test_what_rows_may_be(self):
        rows = [
            (np.float32([i, i]), {"label": i, "weight": i / 2, "name": f"n{i}"}, np.int32(i), i > 0, tg.Tensor([i]))
            for i in range(3)
        ]
        (batch,) = DataLoader(rows, 3)
        assert isinstance(batch, tuple)
        image, more, number, flag, tensor = batch
        assert (image.dtype, image.tolist()) == (np.float32, [[0, 0], [1, 1], [2, 2]])
        assert (more["label"].dtype, more["label"].tolist()) == (np.int64, [0, 1, 2])
        assert (more["weight"].dtype, more["weight"].tolist()) == (np.float32, [0, 0.5, 1])
        assert more["name"] == ["n0", "n1", "n2"]
        assert number.dtype == np.int32
        assert (flag.dtype, flag.tolist()) == (np.bool_, [False, True, True])
        assert (type(tensor), tensor.shape) == (np.ndarray, (3, 1))

    def test_named_tuples_and_lists_stay_what_they_are(self):
        rows = [Row(np.zeros(2), [1, 2.5]), Row(np.ones(2), [3, 4.5])]
        (batch,) = DataLoader(rows, 2)
        assert type(batch) is Row
        assert batch.image.shape == (2, 2)
        assert [column.tolist() for column in batch.label] == [[1, 3], [2.5, 4.5]]

    def test_the_default_dtype_is_heeded(self):
        tg.set_default_dtype("float64")
        try:
            (batch,) = DataLoader([1, 2.5], 2)
        finally:
            tg.set_default_dtype("float32")
        assert batch.dtype == np.float64

    def test_any_class_with_rows(self):
        class Squares:
            def __len__(self):
                return 5

            def __getitem__(self, i):
                assert type(i) is int
                return np.float32(i), i * i

        found = list(DataLoader(Squares(), 2))
        assert [y.tolist() for _, y in found] == [[0, 1], [4, 9], [16]]
        shuffled = np.concatenate([y for _, y in DataLoader(Squares(), 2, shuffle=True)])
        assert sorted(shuffled) == [0, 1, 4, 9, 16]

    def test_a_derived_data_set_gives_its_own_rows(self):
        class Shifted(ArrayDataset):
            def __getitem__(self, index):
                inputs, target = super().__getitem__(index)
                return inputs + 100, target

        (inputs, _), *_ = DataLoader(Shifted(np.zeros((4, 2)), np.arange(4)), 3)
        assert inputs.tolist() == [[100, 100]] * 3

    def test_a_function_of_the_users(self, seven):
        padded = DataLoader([[1], [1, 2], [3]], 2, collate_fn=lambda rows: max(map(len, rows)))
        assert list(padded) == [2, 1]
        rows = list(DataLoader(seven, 3, collate_fn=list))
        assert [len(batch) for batch in rows] == [3, 3, 1]
        assert rows[0][1][1] == 1

    @pytest.mark.parametrize(
        ("rows", "error", "message"),
        [
            ([None, None], TypeError, "row is NoneType, which makes no array"),
            ([(1, object()), (2, object())], TypeError, "row[1] is object, which makes no array"),
            ([{"a": (1, 1j)}, {"a": (2, 2j)}], TypeError, "row['a'][1] is complex, which makes no array"),
            ([np.zeros(2), np.zeros(3)], ValueError, "row must have the same make in every row of a batch, found the "
             "shapes (2,) and (3,)"),
            ([{"a": np.zeros(2)}, {"a": np.zeros(())}], ValueError, "row['a'] must have the same make in every row of "
             "a batch, found the shapes (2,) and ()"),
            ([(1, 2), (1, 2, 3)], ValueError, "found the lengths 2 and 3"),
            ([(1, 2), 3], ValueError, "found the lengths 2 and none"),
            ([{"a": 1}, {"b": 1}], ValueError, "found the keys ['a'] and ['b']"),
        ],
    )  # fmt: skip
    def test_rows_that_make_no_batch(self, rows, error, message):
        with pytest.raises(error, match=re.escape(message)):
            list(DataLoader(rows, 2))


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"batch_size": 0}, ValueError, "batch_size must be at least 1, found 0; write 32"),
            ({"batch_size": -2}, ValueError, "batch_size must be at least 1, found -2"),
            ({"batch_size": 2.0}, TypeError, "batch_size must be an int, found float 2.0"),
            ({"batch_size": True}, TypeError, "batch_size must be an int, found bool True"),
            ({"batch_size": None}, TypeError, "batch_size must be an int, found NoneType None"),
            ({"shuffle": True, "generator": 0}, TypeError, "generator must be a numpy.random.Generator or None, "
             "found int 0; write np.random.default_rng(0)"),
            ({"generator": np.random.default_rng(0)}, ValueError, "nothing is shuffled; write shuffle=True"),
        ],
    )  # fmt: skip
    def test_wrong_ones_are_refused_at_the_call(self, seven, options, error, message):
        with pytest.raises(error, match=re.escape(message)):
            DataLoader(seven, **options)

    @pytest.mark.parametrize(
        ("dataset", "message"),
        [
            (3, "dataset must have rows, dataset[0] to dataset[len(dataset) - 1], found int"),
            ({"x": [1]}, "found dict; write tg.data.ArrayDataset(inputs, targets)"),
            (iter([1]), "found list_iterator"),
            (
                (np.zeros((2, 2)), np.zeros(2)),
                "a tuple of 2, which would be its rows; for arrays of inputs and targets",
            ),
            (np.array(1.0), "an array of shape (), which has no rows"),
        ],
    )
    def test_what_has_no_rows(self, dataset, message):
        with pytest.raises(TypeError, match=re.escape(message)):
            DataLoader(dataset)

    def test_repr(self, seven):
        assert repr(DataLoader(seven, 2)) == "DataLoader(ArrayDataset of 7 rows, batch_size=2: 4 batches)"
        loader = DataLoader([1, 2, 3], np.int64(2), shuffle=True, drop_last=True)
        assert repr(loader) == "DataLoader(list of 3 rows, batch_size=2, shuffle=True, drop_last=True: 1 batches)"
