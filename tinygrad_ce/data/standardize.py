"""Columns brought to mean 0 and standard deviation 1."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.data.dataset import ArrayDataset
from tinygrad_ce.mode import get_default_dtype


@dataclass(frozen=True, eq=False)
class Standardizer:
    """z = (x - mean) / scale, column by column; `Standardizer.fit(train)` measures both.

    Keep it with the model: new data must be brought to the same scale as the data the model was trained on.

    Args:
        mean: float64 of the shape of a row.
        scale: float64 of the shape of a row, without zeros.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> standardizer = tg.data.Standardizer.fit(np.array([[1.0, 7.0], [3.0, 7.0]]))
    >>> standardizer.mean, standardizer.scale
    (array([2., 7.]), array([1., 1.]))
    >>> standardizer(np.array([[5.0, 8.0]]))
    array([[3., 1.]])
    """

    mean: NDArray[Any]
    scale: NDArray[Any]

    @staticmethod
    def fit(data: ArrayDataset | NDArray[Any]) -> Standardizer:
        """The mean of each column and its standard deviation over all rows (divided by N), in float64.

        A column with one value throughout has the scale 1, so that it becomes 0 and not nan.

        Raises:
            TypeError: the inputs are not an array of numbers.
            ValueError: there are no rows, or nan or infinity is among them.
        """
        inputs = data.inputs if isinstance(data, ArrayDataset) else data
        _check(inputs)
        if len(inputs) == 0:
            raise ValueError(f"Standardizer.fit: there are no rows to measure, found the shape {inputs.shape}")
        finite = np.isfinite(inputs)
        if not finite.all():
            index = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise ValueError(
                f"Standardizer.fit: inputs{list(index)} is {inputs[index]}, and {finite.size - finite.sum()} of "
                f"{finite.size} values are nan or infinite; leave out these rows or fill in numbers"
            )
        constant = np.all(inputs == inputs[0], axis=0)
        scale = np.std(inputs, axis=0, dtype=np.float64)
        # The mean of equal numbers may be off by a rounding, and (x - mean) / std would make 1 of it.
        mean = np.where(constant, inputs[0].astype(np.float64), np.mean(inputs, axis=0, dtype=np.float64))
        return Standardizer(mean, np.where(constant | (scale == 0), 1.0, scale))

    @overload
    def __call__(self, data: ArrayDataset) -> ArrayDataset: ...
    @overload
    def __call__(self, data: NDArray[Any]) -> NDArray[Any]: ...
    def __call__(self, data: ArrayDataset | NDArray[Any]) -> ArrayDataset | NDArray[Any]:
        """The same data on the new scale: computed in float64, in the dtype of the inputs (integers: the default).

        Raises:
            ValueError: the rows have another shape than those that were measured.
        """
        if isinstance(data, ArrayDataset):
            return replace(data, inputs=self(data.inputs))
        _check(data)
        if data.shape[1:] != self.mean.shape:
            raise ValueError(
                f"Standardizer: measured rows of shape {self.mean.shape}, found rows of shape {data.shape[1:]}; "
                "give the same columns in the same order"
            )
        result = data - self.mean
        result /= self.scale
        dtype = data.dtype if data.dtype.kind == "f" else get_default_dtype()
        scaled: NDArray[Any] = result.astype(dtype, copy=False)
        return scaled


def standardize(train: ArrayDataset, *others: ArrayDataset) -> tuple[ArrayDataset, ...]:
    """The data sets with the columns of `train` at mean 0 and standard deviation 1, and the others on the same scale.

    The others are not measured: what is known of them must not flow into the training. To treat new data the same way
    later, keep `Standardizer.fit(train)`, which this calls.

    Raises:
        TypeError: the inputs are not numbers.
        ValueError: nan or infinity in `train`, or rows of different shapes.

    >>> import tinygrad_ce as tg
    >>> train, test = tg.data.standardize(*tg.data.iris())
    >>> abs(train.inputs.mean(axis=0)).max() < 1e-6, abs(train.inputs.std(axis=0) - 1).max() < 1e-6
    (np.True_, np.True_)
    """
    standardizer = Standardizer.fit(train)
    return tuple(standardizer(dataset) for dataset in (train, *others))


def _check(inputs: Any) -> None:
    if not isinstance(inputs, np.ndarray) or inputs.ndim == 0 or inputs.dtype.kind not in "fiub":
        found = f"{inputs.dtype} of shape {inputs.shape}" if isinstance(inputs, np.ndarray) else repr(inputs)[:60]
        raise TypeError(f"Standardizer: inputs must be an array of numbers with a first axis of rows, found {found}")
