"""Data sets as arrays, batches of them, and data from files.

>>> import tinygrad_ce as tg
>>> train, test = tg.data.digits()
>>> len(train), len(test)
(1437, 360)
>>> len(tg.data.DataLoader(train, batch_size=64, shuffle=True))
23
"""

from tinygrad_ce.data.archives import read_npz
from tinygrad_ce.data.dataset import ArrayDataset
from tinygrad_ce.data.digits import digits
from tinygrad_ce.data.fashion_sample import fashion_mnist_sample
from tinygrad_ce.data.iris import iris
from tinygrad_ce.data.loader import DataLoader
from tinygrad_ce.data.made import blobs, spirals, two_moons, xor
from tinygrad_ce.data.mnist import fashion_mnist, mnist
from tinygrad_ce.data.split import train_test_split
from tinygrad_ce.data.standardize import Standardizer, standardize
from tinygrad_ce.data.tables import read_csv, read_inputs

__all__ = [
    "ArrayDataset",
    "DataLoader",
    "Standardizer",
    "blobs",
    "digits",
    "fashion_mnist",
    "fashion_mnist_sample",
    "iris",
    "mnist",
    "read_csv",
    "read_inputs",
    "read_npz",
    "spirals",
    "standardize",
    "train_test_split",
    "two_moons",
    "xor",
]
