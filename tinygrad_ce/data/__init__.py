"""Data sets as arrays, and batches of them.

>>> import tinygrad_ce as tg
>>> train, test = tg.data.digits()
>>> len(train), len(test)
(1437, 360)
"""

from tinygrad_ce.data.dataset import ArrayDataset, batches
from tinygrad_ce.data.digits import digits

__all__ = ["ArrayDataset", "batches", "digits"]
