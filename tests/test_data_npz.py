"""NPZ files: arrays of inputs and targets, and never a pickle."""

import re

import numpy as np
import pytest

from tinygrad_ce.data import read_npz
from tinygrad_ce.data.archives import read_npz_inputs


@pytest.fixture
def file(tmp_path):
    """Write an NPZ file and return its path."""

    def write(**arrays):
        np.savez_compressed(tmp_path / "data.npz", **arrays)
        return tmp_path / "data.npz"

    return write


X = np.arange(6).reshape(3, 2)


@pytest.mark.parametrize("names", [("inputs", "targets"), ("x", "y"), ("X", "y"), ("x_train", "y_train")])
def test_names_of_the_arrays(file, names):
    found = read_npz(str(file(**dict(zip(names, (X, np.array([0, 2, 1])), strict=True)), x_test=X, more=np.zeros(9))))
    assert (found.inputs.dtype, found.inputs.tolist()) == (np.float32, X.tolist())
    assert (found.targets.dtype, found.targets.tolist()) == (np.int64, [0, 2, 1])
    assert found.classes == ("0", "1", "2")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "bool", "float16", "float64", ">f4"])
def test_inputs_of_any_numbers_keep_shape_and_scale(file, dtype):
    x = (np.arange(24).reshape(2, 3, 4) * 3).astype(dtype)
    found = read_npz(file(x=x, y=np.array([0, 1])))
    assert found.inputs.dtype == np.float32
    assert found.inputs.dtype.isnative
    assert found.inputs.tolist() == x.tolist()


@pytest.mark.parametrize(
    ("arrays", "targets", "classes"),
    [
        ({"y": np.array([0, 4, 0], np.uint8)}, [0, 4, 0], ("0", "1", "2", "3", "4")),
        ({"y": np.array([True, False, True])}, [1, 0, 1], ("0", "1")),
        ({"y": np.array([1, 0, 1]), "classes": np.array(["no", "yes", "maybe"])}, [1, 0, 1], ("no", "yes", "maybe")),
        ({"y": np.array(["no", "yes", "no"])}, [0, 1, 0], ("no", "yes")),
        ({"y": np.array(["no", "yes", "no"]), "classes": np.array(["yes", "no"])}, [1, 0, 1], ("yes", "no")),
        ({"y": np.array([0.5, 1, -2])}, [0.5, 1, -2], ()),
        ({"y": np.eye(3)[:, :2]}, [[1, 0], [0, 1], [0, 0]], ()),
    ],
)
def test_targets(file, arrays, targets, classes):
    found = read_npz(file(x=X, **arrays))
    assert found.targets.tolist() == targets
    assert found.targets.dtype == (np.int64 if classes else np.float32)
    assert found.classes == classes


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": X}, "expected arrays called inputs and targets, or x and y, or X and y, or x_train and y_train, found "
         "z; write"),
        ({"x": X, "labels": X}, "found labels, x; write np.savez(path, inputs=x, targets=y)"),
        ({"x": X, "y": np.array([0, 1])}, "x has 3 rows and y has 2"),
        ({"x": np.arange(3), "y": np.arange(3)}, "x must be numbers of shape (N, ...), found int64 of shape (3,); one "
         "column is x.reshape(-1, 1)"),
        ({"x": np.array([["a"]]), "y": np.arange(1)}, "x must be numbers of shape (N, ...), found <U1 of shape (1, 1)"),
        ({"x": X * 1j, "y": np.arange(3)}, "found complex128"),
        ({"x": X[:0], "y": np.arange(0)}, "x has shape (0, 2), without a number; give each example a row"),
        ({"x": X[:, :0], "y": np.arange(3)}, "x has shape (3, 0), without a number; give each example a row"),
        ({"x": np.array([[1, 2], [np.nan, np.inf]]), "y": np.arange(2)}, "x[1, 0] is nan, and 2 of 4 values are nan"),
        ({"x": np.array([[1e39, 2]]), "y": np.arange(1)}, "x[0, 0] is 1e+39, and 1 of 2 values"),
        ({"x": X, "y": np.array([0.5, np.nan, 1])}, "y[1] is nan"),
        ({"x": X, "y": np.array([-1, 0, 1])}, "y must be class indices from 0 to 1, found -1 to 1; number the classes "
         "from 0 on"),
        ({"x": X, "y": np.arange(3), "classes": np.array(["a", "b"])}, "y must be class indices from 0 to 1, found 0 "
         "to 2"),
        ({"x": X, "y": np.array(["a", "b", "c"]), "classes": np.array(["a", "b"])}, "y holds 'c', which is none of "
         "the classes a, b"),
        ({"x": X, "y": X}, "y must be one class index or name for each row, or numbers to regress, found int64 of "
         "shape (3, 2)"),
        ({"x": X, "y": np.array(0)}, "found int64 of shape ()"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_data_set(file, arrays, message):
    path = file(**arrays)
    with pytest.raises(ValueError, match=re.escape(message)) as found:
        read_npz(path)
    assert str(found.value).startswith(f"read_npz: {path}: ")


@pytest.mark.parametrize("name", ["inputs", "x", "X", "x_train"])
def test_inputs_without_targets(file, name):
    found = read_npz_inputs(file(**{name: X, "more": np.zeros(9)}))
    assert (found.dtype, found.tolist()) == (np.float32, X.tolist())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": X, "b": X}, "expected an array called one of inputs, x, X, x_train, found a, b"),
        ({"x": np.array([1.0])}, "x must be numbers of shape (N, ...), found float64 of shape (1,)"),
        ({"x": X * np.nan}, "x[0, 0] is nan"),
    ],
)
def test_arrays_that_are_no_inputs(file, arrays, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_npz_inputs(file(**arrays))


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


@pytest.mark.parametrize("name", ["x", "y", "classes"])
def test_nothing_is_ever_unpickled(file, name):
    with pytest.raises(ValueError, match="cannot be read: Object arrays cannot be loaded"):
        read_npz(file(**({"x": X, "y": np.arange(3)} | {name: np.array([Trap()], object)})))


def test_objects_in_other_arrays_are_left_alone(file):
    assert len(read_npz(file(x=X, y=np.arange(3), notes=np.array([Trap()], object)))) == 3


def test_damaged_files(file, tmp_path):
    whole = file(x=np.random.default_rng(0).random((50, 4)), y=np.arange(50)).read_bytes()
    path = tmp_path / "damaged.npz"
    for length in (*range(0, 60, 7), len(whole) // 2, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=re.escape(f"read_npz: {path}: ")):
            read_npz(path)
    for place in range(100, 1000, 37):  # in the numbers
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=re.escape(f"read_npz: {path}: ")):
            read_npz(path)


def test_other_files(tmp_path):
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(ValueError, match="not an NPZ file; write it with"):
        read_npz(tmp_path / "one.npy")
    with pytest.raises(FileNotFoundError, match="none"):
        read_npz(tmp_path / "none.npz")
