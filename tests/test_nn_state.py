"""The state of a model: what is in it, and that loading is all or nothing with one error for everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import tinygrad_ce as tg
from tinygrad_ce import nn


def model_of(dtype="float32", seed=0):
    return nn.MLP([3, 4, 2], norm="batch", generator=np.random.default_rng(seed), dtype=dtype)


def snapshot(model):
    return {name: (value.tobytes(), value.dtype, value.shape) for name, value in model.state_dict().items()}


def test_the_names_are_pytorchs():
    assert list(model_of().state_dict()) == [
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
        "3.weight", "3.bias",
    ]  # fmt: skip


def test_a_state_is_a_copy_and_is_written_in_place():
    model, other = model_of(), model_of(seed=1)
    other(np.ones((3, 3), np.float32))
    state, arrays = other.state_dict(), [p.data for p in model.parameters()]
    model.load_state_dict(state)
    assert snapshot(model) == snapshot(other)
    assert all(p.data is array for p, array in zip(model.parameters(), arrays, strict=True))
    assert model[1].num_batches_tracked.item() == 1
    state["0.weight"][...] = 0
    model.state_dict()["0.weight"][...] = 0
    assert snapshot(model) == snapshot(other)


def test_one_error_lists_everything():
    model = model_of()
    before, state = snapshot(model), model.state_dict()
    del state["0.weight"], state["3.bias"]
    state |= {"1.bias": np.zeros(5), "1.running_var": np.zeros(4) * 1j, "9.weight": np.zeros(1), "extra": 3}
    state["3.weight"] = np.ones((2, 4))
    with pytest.raises(ValueError, match="load_state_dict") as caught:
        model.load_state_dict(state)
    assert str(caught.value) == (
        "load_state_dict: the state does not fit this MLP, which is unchanged: missing 0.weight, 3.bias; unexpected "
        "9.weight, extra; 1.bias has shape (5,), expected (4,); 1.running_var has dtype complex128, expected float32"
    )
    assert snapshot(model) == before


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("3.bias", ["a", "b"], r"3\.bias has dtype <U1, expected float16"),
        ("3.bias", [None, {}], r"3\.bias has dtype object"),
        ("3.bias", [[1.0], [1.0, 2.0]], r"3\.bias is a list, which is no array"),
        ("3.bias", np.array([1.0, 1e5]), r"3\.bias holds 100000\.0, which float16 cannot hold"),
        ("3.bias", np.array([0, 70000]), r"3\.bias holds 70000, which float16 cannot hold"),
        ("1.num_batches_tracked", np.array(2.5), r"1\.num_batches_tracked holds 2\.5, which int64 cannot hold"),
        ("1.num_batches_tracked", np.array(np.nan), r"1\.num_batches_tracked holds nan, which int64 cannot hold"),
        ("1.num_batches_tracked", np.array(1e30), r"1\.num_batches_tracked holds 1e\+30, which int64 cannot hold"),
        ("1.num_batches_tracked", np.array([1]), r"1\.num_batches_tracked has shape \(1,\), expected \(\)"),
    ],
)
def test_what_cannot_be_converted_changes_nothing(name, value, why):
    model = model_of("float16")
    before = snapshot(model)
    state = {key: np.ones(array.shape, array.dtype) for key, array in model.state_dict().items()}
    with pytest.raises(ValueError, match=rf"which is unchanged: {why}"):
        model.load_state_dict({**state, name: value})
    assert snapshot(model) == before
    model.load_state_dict(state)


def test_nan_infinity_and_other_dtypes_are_taken():
    model = model_of("float32")
    state = {name: array.astype(np.float64) for name, array in model.state_dict().items()}
    state["3.bias"] = np.array([np.nan, -np.inf])
    state["0.bias"] = np.array([1, 2, 3, 4])
    state["1.bias"] = tg.Tensor([0.1, 0.2, 0.3, 0.4], dtype="float16")
    state["1.num_batches_tracked"] = np.array(7.0)
    model.load_state_dict(state)
    assert_array_equal(model[3].bias.data, np.float32([np.nan, -np.inf]))
    assert_array_equal(model[0].bias.data, [1, 2, 3, 4])
    assert_array_equal(model[1].bias.data, np.float32(np.float16([0.1, 0.2, 0.3, 0.4])))
    assert model[1].num_batches_tracked.item() == 7
    assert {p.dtype.name for p in model.parameters()} == {"float32"}


def test_arrays_of_the_model_itself_can_be_swapped(rng):
    model = nn.Sequential(nn.Linear(2, 2, generator=rng), nn.Linear(2, 2, generator=rng))
    a, b = model[0].weight.data.copy(), model[1].weight.data.copy()
    model.load_state_dict({
        **model.state_dict(), "0.weight": model[1].weight.data, "1.weight": model[0].weight.data,
    })  # fmt: skip
    assert_array_equal(model[0].weight.data, b)
    assert_array_equal(model[1].weight.data, a)


def test_shared_parameters_stand_under_every_name_and_must_agree(rng):
    model = nn.Sequential(nn.Linear(2, 2, generator=rng), nn.Linear(2, 2, generator=rng))
    model[1].weight = model[0].weight
    state = model.state_dict()
    assert list(state) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    state["0.weight"] = state["1.weight"] = np.full((2, 2), np.nan)
    model.load_state_dict(state)
    assert np.isnan(model[1].weight.data).all()
    state["1.weight"] = np.zeros((2, 2))
    with pytest.raises(ValueError, match=r"unchanged: 0\.weight and 1\.weight differ, but are one tensor here"):
        model.load_state_dict(state)
    assert np.isnan(model[0].weight.data).all()


def test_a_part_is_loaded_by_filling_up_the_rest():
    model, other = model_of(), model_of(seed=1)
    part = {name: array for name, array in other.state_dict().items() if name.startswith("0.")}
    model.load_state_dict({**model.state_dict(), **part})
    assert_array_equal(model[0].weight.data, other[0].weight.data)
    assert_array_equal(model[3].weight.data, model_of()[3].weight.data)


@pytest.mark.parametrize("state", [None, [("weight", 1)], "m.safetensors", nn.Linear(1, 1)])
def test_what_is_no_mapping_is_refused(state):
    with pytest.raises(TypeError, match=r"^load_state_dict: expected a mapping of names to arrays, found"):
        nn.Linear(1, 1).load_state_dict(state)


@settings(max_examples=50)
@given(data=st.data())
def test_a_state_is_loaded_whole_or_not_at_all(data):
    """Whatever is wrong with a state, and however many things: all of them are named, and nothing is changed."""
    model = model_of()
    before = snapshot(model)
    state = {name: array + 1 for name, array in model.state_dict().items()}
    broken = data.draw(
        st.dictionaries(st.sampled_from(sorted(state)), st.sampled_from(["missing", "shape", "dtype"]), max_size=4)
    )
    for name, how in broken.items():
        if how == "missing":
            del state[name]
        elif how == "shape":
            state[name] = np.zeros((*state[name].shape, 2))
        else:
            state[name] = np.full(state[name].shape, "x")
    extra = data.draw(st.lists(st.sampled_from(["x", "0.weights", "1.running_std"]), unique=True))
    state |= dict.fromkeys(extra, np.zeros(1))
    if not broken and not extra:
        model.load_state_dict(state)
        assert all(np.array_equal(model.state_dict()[name], value) for name, value in state.items())
        return
    with pytest.raises(ValueError, match="load_state_dict") as caught:
        model.load_state_dict(state)
    assert all(name in str(caught.value) for name in (*broken, *extra))
    assert snapshot(model) == before
