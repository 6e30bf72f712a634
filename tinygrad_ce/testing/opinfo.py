"""What the database says of an op, and helpers that make samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.testing.exact import CONTEXT

Array = NDArray[Any]
Samples = Callable[[np.random.Generator], "list[Sample]"]

FLOATS = ("float16", "float32", "float64")
NUMBERS = (*FLOATS, "int64")


@dataclass(frozen=True)
class Sample:
    """One way to call an op: its inputs, floating-point ones in float64, and its metadata."""

    inputs: tuple[Any, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def cast(self, dtype: str) -> Sample:
        """The same with floating-point inputs in this dtype, scaled to small integers if it is one."""
        return Sample(tuple(_cast(x, np.dtype(dtype)) for x in self.inputs), self.attributes)

    def __str__(self) -> str:
        shapes = "-".join("x".join(map(str, np.shape(x))) or "0d" for x in self.inputs)
        return shapes + "".join(f"-{key}={_short(value)}" for key, value in self.attributes.items())


@dataclass(frozen=True)
class ErrorCase:
    """A call of the public function that is refused, and the message."""

    args: tuple[Any, ...]
    exception: type[Exception]
    match: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OpInfo:
    """One op: where to try it and what it ought to give.

    name        the op's name in the registry
    reference   the exact value as an array of Decimals, by the textbook definition; takes what the op takes
    samples     calls at points where the op is differentiable `orders` times, with a margin
    edges       calls for values alone: kinks, zeros, infinities, nan, extremes
    errors      calls that are refused
    orders      how often the op can be differentiated at its samples: 0, 1 or 2
    ulps        how far a value may be from exact, in units in the last place of its dtype
    size        the reference for the magnitude that rounding is relative to, for ops whose terms cancel
    dtypes      the dtypes to run the samples in
    call        how a public function or NumPy's takes a sample, where not `function(*inputs, **attributes)`
    method      whether the op is a method of its first input
    """

    name: str
    reference: Callable[..., Array]
    samples: Samples
    edges: Callable[[], Sequence[Sample]] = tuple
    errors: tuple[ErrorCase, ...] = ()
    orders: int = 2
    ulps: float = 4.0
    size: Callable[..., Array] | None = None
    dtypes: tuple[str, ...] = FLOATS
    call: Callable[[Callable[..., Any], Sequence[Any], Mapping[str, Any]], Any] = lambda f, xs, attributes: f(
        *xs, **attributes
    )
    method: bool = True

    def exact(self, sample: Sample) -> Array:
        """The reference's value at a sample."""
        with localcontext(CONTEXT):
            return self.reference(*sample.inputs, **sample.attributes)

    def magnitude(self, sample: Sample) -> Array | None:
        """The magnitude that rounding is relative to, if not the value's own."""
        if self.size is None:
            return None
        with localcontext(CONTEXT):
            return self.size(*sample.inputs, **sample.attributes)


SHAPES = ((), (1,), (5,), (2, 3), (2, 1, 3), (0,), (2, 0))

BROADCASTS = (
    ((3,), (3,)),
    ((), ()),
    ((2, 3), ()),
    ((), (2, 3)),
    ((2, 3), (3,)),
    ((3,), (2, 3)),
    ((2, 1), (1, 3)),
    ((2, 1, 3), (4, 1)),
    ((1, 1), (2, 3)),
    ((1,), (1, 1)),
    ((0,), (1,)),
    ((2, 0), (2, 1)),
)


def uniform(
    generator: np.random.Generator, shape: tuple[int, ...], low: float = -2.0, high: float = 2.0,
    kinks: Iterable[float] = (), margin: float = 0.1,
) -> Array:  # fmt: skip
    """Random numbers, float16 exactly, away from the kinks."""
    x = generator.uniform(low, high, shape)
    for kink in kinks:
        x = np.where(np.abs(x - kink) < margin, kink + np.where(x < kink, -1, 1) * (margin + np.abs(x - kink)), x)
    return np.asarray(x, np.float16).astype(np.float64)


def distinct(generator: np.random.Generator, shape: tuple[int, ...], step: float = 0.125) -> Array:
    """Numbers around 0 at least a step apart, in random order: nothing ties."""
    size = int(np.prod(shape))
    return ((generator.permutation(size) - size // 2) * step + step / 4).reshape(shape)


def edges(*values: float, **attributes: Any) -> Callable[[], list[Sample]]:
    """One sample of one input that holds all these values."""
    return lambda: [Sample((np.array(values),), attributes)]


def pairs(*values: tuple[float, float]) -> Callable[[], list[Sample]]:
    """One sample of two inputs that hold the two sides of all these pairs."""
    return lambda: [Sample((np.array([x for x, _ in values]), np.array([y for _, y in values])))]


def _cast(x: Any, dtype: np.dtype[Any]) -> Any:
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        return x
    with np.errstate(over="ignore"):
        return (np.rint(4 * x) if dtype.kind == "i" else x).astype(dtype)


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return "array" + "x".join(map(str, value.shape))
    if isinstance(value, np.random.Generator):
        return "seeded"
    text = value.__name__ if isinstance(value, type) else str(value)
    return text.replace(" ", "")
