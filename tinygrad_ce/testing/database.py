"""The op database: for every built-in op its samples, reference, errors and tolerances."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tinygrad_ce.testing import (
    elementwise,
    linalg,
    linear_cross_entropy,
    loss,
    normalization,
    reduction,
    shape,
    softmax,
)
from tinygrad_ce.testing.opinfo import OpInfo

_FAMILIES = (elementwise, reduction, shape, linalg, normalization, softmax, loss, linear_cross_entropy)

database: Mapping[str, OpInfo] = MappingProxyType({info.name: info for family in _FAMILIES for info in family.ENTRIES})
"""Every built-in op's entry by the op's name; read-only."""
