"""The handwritten digits that ship with the package."""

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.data.dataset import ArrayDataset
from tinygrad_ce.data.split import every_fifth

_CLASSES = tuple("0123456789")


def digits() -> tuple[ArrayDataset, ArrayDataset]:
    """Handwritten digits as `(train, test)`: 1,437 and 360 images of 8 by 8 pixels, each with its digit.

    `inputs` is float32 of shape (N, 64), the pixels row by row, from 0.0 (paper) to 1.0 (ink): the stored
    count of inked dots, 0 to 16, over 16. `targets` is int64 of shape (N,), the digit 0 to 9.
    `classes` is ("0", ..., "9").

    The split is fixed and stratified: with the images in the order of their digit (a stable sort), every
    fifth, from the first on, is for testing and the others are for training. Both keep the order of the
    source. The arrays are new at each call: changing them changes nothing for the next caller.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998, https://doi.org/10.24432/C50P49, licence CC BY 4.0; the 1,797 images of its test set,
    which scikit-learn ships as `load_digits`. Unchanged but for the file format.

    >>> import tinygrad_ce as tg
    >>> train, test = tg.data.digits()
    >>> train
    ArrayDataset(1437 rows: inputs float32 (1437, 64), targets int64 (1437,), 10 classes)
    >>> image, target = test[0]
    >>> test.classes[target]
    '0'
    >>> for row in image.reshape(8, 8):
    ...     print("".join("-:=+#"[int(4 * ink)] for ink in row))
    --:+=---
    --++=+:-
    --+--==-
    -:+--==-
    -:=--==-
    -:=--+:-
    --+:=+--
    --:+=---
    """
    images, targets = _stored()
    inputs = images.reshape(-1, 64).astype(np.float32) / np.float32(16)
    return every_fifth(ArrayDataset(inputs, targets.astype(np.int64), _CLASSES))


@cache
def _stored() -> tuple[NDArray[Any], NDArray[Any]]:
    """The images (1797, 8, 8) and targets (1797,) as stored, both uint8; read once."""
    with files(__package__).joinpath("digits.npz").open("rb") as file, np.load(file) as stored:
        return stored["images"], stored["targets"]
