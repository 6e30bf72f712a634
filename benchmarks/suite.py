"""What the suite is made of: groups of measurements, the options they are given and the rows they return.

A group is a module with one function, `measure(options)`, that yields a `Row` for each case as soon as it has it. It
runs in a process of its own, in which every library was given `options.threads` threads before it was loaded. It checks
that its contestants agree before it times them, and ends with `SystemExit("what differs from what")` if they do not.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.timing import alternate

Size = tuple[int, ...]

OURS = "tinygrad_ce"
KERNELS = ("numpy", "numba")
PACKAGES = {
    "NumPy by hand": "numpy",
    "torch": "torch",
    "MyGrad": "mygrad",
    "autograd": "autograd",
    "scikit-learn": "sklearn",
    "SciPy": "scipy",
}
PEERS = tuple(PACKAGES)


@dataclass(frozen=True)
class Row:
    """One case of one table. The contestants' `values` are one figure a round; the first of them is ours.

    A figure is in seconds (unit "s"), bytes ("B") or times the bytes of the logits ("x logits"). Where it depends on
    `x`, the number of rows say, the report fits how fast it grows. `threads` and `kernels` are filled in by the suite.
    """

    table: str
    case: str
    values: Mapping[str, list[float]]
    unit: str = "s"
    x: float | None = None
    threads: int = 1
    kernels: str = KERNELS[0]


@dataclass(frozen=True)
class Options:
    """What a group is asked for: sizes from its own list or the user's, and the installed peers that were chosen."""

    sizes: tuple[Size, ...]
    threads: int = 1
    kernels: str = KERNELS[0]
    peers: tuple[str, ...] = PEERS
    quick: bool = False

    def times(self, contestants: Mapping[str, Callable[[], object]], rounds: int = 5) -> dict[str, list[float]]:
        """Seconds per call, one figure a round, of contestants that take turns; a few milliseconds each if quick."""
        if self.quick:
            return alternate(contestants, rounds=2, phase=0.02, pause=0.001)
        return alternate(contestants, rounds=rounds, phase=0.2, pause=0.02, limit=10)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Options:
        """From what JSON makes of `dataclasses.asdict`."""
        sizes, peers = tuple(map(tuple, found["sizes"])), tuple(found["peers"])
        return cls(**{**found, "sizes": sizes, "peers": peers})


@dataclass(frozen=True)
class Group:
    """A page's section: its title and text, the module that measures it, and for what sizes, threads and kernels.

    Each number of threads with each kind of kernels, or, if `paired`, the first with the first and so on.
    """

    title: str
    text: str
    module: str
    sizes: tuple[Size, ...] = ()
    quick: tuple[Size, ...] = ()
    threads: tuple[int, ...] = (1, 2)
    kernels: tuple[str, ...] = KERNELS
    paired: bool = False


LOSS_SIZES = (
    (32, 10), (128, 100), (256, 1000), (1024, 1000), (4096, 1000), (8192, 100), (65536, 10), (1024, 50257),
)  # fmt: skip

GROUPS = {
    "loss": Group(
        "Loss and gradient",
        "`F.softmax_cross_entropy` from logits of N rows and C classes to the mean loss and the gradient of the "
        "logits, at N x C. Every contestant makes its outputs anew in each call. *Confident* logits are those of a "
        "trained network: in 95 of 100 rows the target stands out by 15. *Forward only* runs under `no_grad`. "
        "autograd, which takes seconds there, is left out at 50257 classes.",
        "benchmarks.loss",
        LOSS_SIZES,
        LOSS_SIZES[:2],
    ),
    "fused": Group(
        "Fused against our own unfused chains",
        "The fused op beside the same loss in two and in three ops of this library, loss and gradient. Memory is the "
        "largest amount in use at any time during forward and backward, by `tracemalloc`, beyond the logits; it sees "
        "NumPy's arrays only, hence the NumPy kernels alone.",
        "benchmarks.fused",
        LOSS_SIZES,
        LOSS_SIZES[:2],
        threads=(1,),
    ),
    "training": Group(
        "A training step",
        "Forward, backward and SGD of an MLP with one hidden layer of ReLU, at batch x inputs x hidden x classes, "
        "float32. Before it is timed every contestant has learned the same weights in three steps.",
        "benchmarks.training_step",
        ((1, 4, 8, 3), (32, 64, 32, 10), (64, 784, 128, 10), (256, 784, 256, 10)),
        ((1, 4, 8, 3), (32, 64, 32, 10)),
    ),
    "softmax": Group(
        "softmax, log_softmax, logsumexp",
        "Forward alone, under `no_grad`, and forward with backward for a gradient that differs from place to place; "
        "float32, along the last axis.",
        "benchmarks.softmax",
        ((32, 10), (256, 1000), (65536, 10)),
        ((32, 10), (256, 100)),
    ),
    "memory": Group(
        "Peak memory",
        "How much more memory than before the call is in use at its peak, as times the bytes of the logits, for loss "
        "and gradient in float32. Of NumPy's arrays by `tracemalloc`, in a call after the first, so without what the "
        "kernels keep for the next call; of any library by the peak of a fresh process (VmHWM), kept memory included, "
        "where the logits are at least 2 MB.",
        "benchmarks.memory",
        LOSS_SIZES,
        ((128, 100), (4096, 200)),
        threads=(1,),
    ),
    "linear": Group(
        "The last linear layer and the loss in one",
        "`F.linear_softmax_cross_entropy` beside torch's chunked `F.linear_cross_entropy`, and beside whole logits, at "
        "N x D x V: N rows of D features, V classes, float32; loss and the gradients of features, weight and bias. "
        "Memory is what one step adds to the peak of a fresh process that holds its inputs.",
        "benchmarks.linear_cross_entropy",
        ((256, 128, 4000), (2048, 256, 32000)),
        ((64, 32, 1000),),
        paired=True,
    ),
    "growth": Group(
        "Growth",
        "How time and peak memory grow with the number of rows N, of classes C, and with the depth of an MLP of width "
        "64 at batch 64: the exponent of a power fitted to the figures; 1 is linear, below 1 costs that do not grow.",
        "benchmarks.growth",
        threads=(1,),
    ),
    "chain": Group(
        "Chains of small ops",
        "Seconds per op of a chain of that many additions on one number: recording it, the backward pass, and its "
        "deletion. A time per op that does not grow, to the power of 0, is a cost linear in ops.",
        "benchmarks.chain",
        ((100,), (1_000,), (10_000,), (100_000,)),
        ((100,), (1_000,)),
        threads=(1,),
        kernels=("numpy",),
    ),
    "import": Group(
        "Import",
        "Fresh processes in turns, with files already in the system's cache.",
        "benchmarks.imports",
        threads=(1,),
        kernels=("numpy",),
    ),
}


def installed(package: str) -> bool:
    """Whether a package could be imported; it is not."""
    return importlib.util.find_spec(package) is not None


def case(size: Size, times: str = " x ") -> str:
    """
    >>> case((256, 1000))
    '256 x 1000'
    """
    return times.join(map(str, size))
