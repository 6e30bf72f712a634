"""A few hundred pictures of Fashion-MNIST that ship with the package."""

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.data.dataset import ArrayDataset
from tinygrad_ce.data.mnist import FASHION_MNIST


def fashion_mnist_sample() -> tuple[ArrayDataset, ArrayDataset]:
    """A part of Fashion-MNIST as `(train, test)`, for when the whole is not at hand: 500 and 150 pictures of clothes.

    Shapes, dtypes, scale and classes are those of `fashion_mnist`: float32 inputs (N, 784) from 0.0 to 1.0, int64
    targets (N,). `train` has the first 50 pictures of each class of its training set, and `test` the first 15 of each
    class of its test set, both in the order of the source. The arrays are new at each call.

    Enough to try things out, not to compare models: a softmax regression learns 83 % from all 60,000 pictures and about
    75 % from these 500, and an accuracy measured on 150 is uncertain by 3 points.

    Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms, 2017, https://arxiv.org/abs/1708.07747, MIT licence.

    >>> import tinygrad_ce as tg
    >>> train, test = tg.data.fashion_mnist_sample()
    >>> train
    ArrayDataset(500 rows: inputs float32 (500, 784), targets int64 (500,), 10 classes)
    >>> image, target = test[0]
    >>> test.classes[target]
    'Ankle boot'
    >>> for row in image.reshape(28, 28)[9:22:2]:
    ...     print("".join("-:=+#"[int(4 * ink)] for ink in row))
    ----------------:=:-----::--
    ---------------===========--
    -------------:=::=========--
    -----------:::::===========-
    ----::::=::::::============-
    :==:::::::::::======+++=+==-
    ----::==+++++==:----=+=====-
    """
    parts = []
    for part in ("train", "test"):
        images, targets = (_stored()[f"{part}_{what}"] for what in ("images", "targets"))
        inputs = np.divide(images.reshape(-1, 784), np.float32(255), dtype=np.float32)
        parts.append(ArrayDataset(inputs, targets.astype(np.int64), FASHION_MNIST.classes))
    return parts[0], parts[1]


@cache
def _stored() -> dict[str, NDArray[Any]]:
    """The images (N, 28, 28) and targets (N,) of both parts as stored, uint8; read once."""
    with files(__package__).joinpath("fashion_sample.npz").open("rb") as file, np.load(file) as stored:
        return dict(stored)
