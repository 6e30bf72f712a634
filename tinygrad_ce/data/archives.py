"""Arrays in NPZ files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.data.dataset import ArrayDataset

NAMES = (("inputs", "targets"), ("x", "y"), ("X", "y"), ("x_train", "y_train"))


def read_npz(path: str | os.PathLike[str]) -> ArrayDataset:
    """The data set in a file of `numpy.savez`: the arrays `inputs` and `targets`, and, if you like, `classes`.

    `x` and `y`, `X` and `y`, or `x_train` and `y_train` will do as well; the first of these pairs that the file has is
    read, and other arrays are left alone. Nothing is ever unpickled.

    The inputs become float32 and keep their shape and scale. The targets are class indices, any integers from 0 on, or
    class names; other numbers are values to regress, float32. `classes` are the class names, in the order of their
    indices; without it they are the names among the targets in alphabetical order, or "0", "1", ... for indices.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no NPZ file or damaged, has none of these pairs, or holds what is no data set: lengths that
            differ, nan or infinity, negative class indices, classes without a name.

    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "points.npz")
    ...     np.savez(path, inputs=np.eye(3), targets=np.array(["near", "far", "near"]))
    ...     points = tg.data.read_npz(path)
    >>> points
    ArrayDataset(3 rows: inputs float32 (3, 3), targets int64 (3,), 2 classes)
    >>> points.classes
    ('far', 'near')
    """
    path = Path(path)
    arrays = _arrays(path)
    pair = next((pair for pair in NAMES if set(pair) <= set(arrays)), None)
    if pair is None:
        raise ValueError(
            f"read_npz: {path}: expected arrays called {_pairs()}, found {', '.join(sorted(arrays)) or 'none'}; "
            "write np.savez(path, inputs=x, targets=y)"
        )
    inputs = _inputs(path, pair[0], arrays[pair[0]])
    targets, classes = _targets(path, pair[1], arrays[pair[1]], arrays.get("classes"))
    if len(inputs) != len(targets):
        raise ValueError(
            f"read_npz: {path}: {pair[0]} has {len(inputs)} rows and {pair[1]} has {len(targets)}; "
            "give each row of inputs one target"
        )
    return ArrayDataset(inputs, targets, classes)


def read_npz_inputs(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The inputs in a file that `read_npz` takes, with or without targets, as float32: new data for a model.

    Raises:
        OSError: the file cannot be read.
        ValueError: no array of a name that `read_npz` knows, or one of anything but finite numbers.

    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "new.npz")
    ...     np.savez(path, x=np.eye(2))
    ...     read_npz_inputs(path)
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    path = Path(path)
    arrays = _arrays(path)
    names = list(dict.fromkeys(name for name, _ in NAMES))
    name = next((name for name in names if name in arrays), None)
    if name is None:
        found = ", ".join(arrays) or "none"
        raise ValueError(f"read_npz: {path}: expected an array called one of {', '.join(names)}, found {found}")
    return _inputs(path, name, arrays[name])


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays that are wanted, and the names of all others, without their content."""
    wanted = {name for pair in NAMES for name in pair} | {"classes"}
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise ValueError(f"read_npz: {path}: not an NPZ file; write it with np.savez(path, inputs=x, targets=y)")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as stored:
                names = [name for name in stored.files if name in wanted]
                return dict.fromkeys(stored.files, np.empty(0)) | {name: stored[name] for name in names}
        except Exception as error:  # damaged archives raise what zipfile and zlib think fit
            message = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"read_npz: {path}: cannot be read: {message}; write arrays of numbers with "
                "np.savez(path, inputs=x, targets=y)"
            ) from None


def _inputs(path: Path, name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim >= 2 and array.size == 0:
        raise ValueError(f"read_npz: {path}: {name} has shape {array.shape}, without a number; give each example a row")
    if array.dtype.kind not in "fiub" or array.ndim < 2:
        raise ValueError(
            f"read_npz: {path}: {name} must be numbers of shape (N, ...), found {array.dtype} of shape {array.shape}; "
            "one column is x.reshape(-1, 1)"
        )
    return _float32(path, name, array)


def _float32(path: Path, name: str, array: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float32)
    finite = np.isfinite(numbers)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"read_npz: {path}: {name}{list(index)} is {array[index]}, and {finite.size - finite.sum()} of "
            f"{finite.size} values are nan, infinite or too large for float32; leave out these rows or fill in numbers"
        )
    return numbers


def _targets(
    path: Path, name: str, array: NDArray[Any], given: NDArray[Any] | None
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The targets as ArrayDataset holds them, and the class names."""
    where = f"read_npz: {path}: {name}"
    names = None if given is None else tuple(map(str, given.ravel().tolist()))
    if array.dtype.kind == "U" and array.ndim == 1:
        names = names or tuple(np.unique(array).tolist())
        index = {each: i for i, each in enumerate(names)}
        unknown = sorted(set(array.tolist()) - set(names))
        if unknown:
            raise ValueError(f"{where} holds {unknown[0]!r}, which is none of the classes {', '.join(names)}")
        return np.array([index[each] for each in array.tolist()], dtype=np.int64), names
    if array.dtype.kind == "f" and array.ndim >= 1:
        return _float32(path, name, array), names or ()
    if array.dtype.kind not in "iub" or array.ndim != 1 or len(array) == 0:
        raise ValueError(
            f"{where} must be one class index or name for each row, or numbers to regress, "
            f"found {array.dtype} of shape {array.shape}"
        )
    lowest, highest = int(array.min()), int(array.max())
    names = names or tuple(map(str, range(highest + 1)))
    if lowest < 0 or highest >= len(names):
        raise ValueError(
            f"{where} must be class indices from 0 to {len(names) - 1}, found {lowest} to {highest}; "
            "number the classes from 0 on and name each in classes"
        )
    return array.astype(np.int64), names


def _pairs() -> str:
    return ", or ".join(" and ".join(pair) for pair in NAMES)
