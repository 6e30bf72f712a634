"""Batches to compare, and compare_gradients without what takes time."""

import numpy as np

from tinygrad_ce.compare import CHAINS, compare_gradients

FUSED, LOG_SOFTMAX, SMALL_STEPS, CLIPPED, NAIVE = range(5)
OURS = tuple(CHAINS)


def compared(logits, targets, **options):
    return compare_gradients(logits, targets, **{"measure": False, "chains": OURS} | options)


def batch(name, dtype):
    rng = np.random.default_rng(3)
    if name == "ordinary":
        return rng.normal(size=(6, 5)).astype(dtype), np.array([0, 1, 2, 3, 4, 0])
    if name == "wide":
        return (rng.normal(size=(4, 7)) * 4).astype(dtype), np.array([6, 0, 3, 3])
    if name == "shifted":
        return (rng.normal(size=(3, 4)) + 1000).astype(dtype), np.array([1, 2, 3])
    z = rng.normal(size=(5, 10))  # confident: rows 1 and 3 are sure, and right
    margin = {"float16": 9, "float32": 22, "float64": 44}[dtype]
    z[1, 4] += margin
    z[3, 0] += 2 * margin
    return z.astype(dtype), np.array([0, 4, 2, 0, 9])


BATCHES = ["ordinary", "wide", "shifted", "confident"]
DTYPES = ["float16", "float32", "float64"]
