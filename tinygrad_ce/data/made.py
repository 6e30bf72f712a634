"""Small data sets made from formulas: points in the plane which no straight line parts, and clouds of points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.data.checks import check_count, check_generator
from tinygrad_ce.data.dataset import ArrayDataset
from tinygrad_ce.data.split import train_test_split

Split = tuple[ArrayDataset, ArrayDataset]


def two_moons(n: int = 1000, *, noise: float = 0.1, generator: np.random.Generator | None = None) -> Split:
    """Two interleaved half circles in the plane, as `(train, test)`, four to one.

    The upper moon, class 0, is (cos t, sin t), the lower one, class 1, (1 - cos t, 0.5 - sin t), each for n / 2 angles
    t at equal steps from 0 to pi. Source: `make_moons` of scikit-learn.

    Args:
        n: the number of points, at least 10.
        noise: the standard deviation of the normal noise added to both coordinates.
        generator: draws noise and split; `np.random.default_rng(0)` if None, so that each call gives the same data.

    Both sets have float32 inputs (N, 2) and int64 targets (N,).

    >>> import tinygrad_ce as tg
    >>> train, test = tg.data.two_moons()
    >>> train
    ArrayDataset(800 rows: inputs float32 (800, 2), targets int64 (800,), 2 classes)
    >>> train.classes
    ('upper', 'lower')
    """
    generator = _checked("two_moons", n, noise, generator)
    targets = _even_targets(n, 2)
    t = _steps(targets, 0, math.pi)
    upper = np.stack([np.cos(t), np.sin(t)], axis=1)
    points = np.where(targets[:, None] == 0, upper, [1, 0.5] - upper)
    return _split(points, targets, noise, generator, ("upper", "lower"))


def spirals(
    n: int = 1000,
    *,
    classes: int = 3,
    turns: float = 0.75,
    noise: float = 0.02,
    generator: np.random.Generator | None = None,
) -> Split:
    """Spiral arms around the origin, one for each class, as `(train, test)`, four to one.

    Arm k of c is r (cos a, sin a) with a = 2 pi (turns r + k / c), for equal steps of r from 0.05 to 1. With
    two arms and more turns it is the two-spirals problem (Lang and Witbrock, 1988).

    Args:
        n: the number of points, at least five for each class.
        classes: the number of arms, at least 2.
        turns: how often an arm goes around.
        noise: the standard deviation of the normal noise added to both coordinates.
        generator: draws noise and split; `np.random.default_rng(0)` if None, so that each call gives the same data.

    Both sets have float32 inputs (N, 2) and int64 targets (N,); the classes are called "0", "1", ...

    >>> import tinygrad_ce as tg
    >>> train, test = tg.data.spirals(500, classes=2, turns=1.5)
    >>> len(train), len(test), train.classes
    (400, 100, ('0', '1'))
    """
    generator = _checked("spirals", n, noise, generator, classes)
    targets = _even_targets(n, classes)
    r = _steps(targets, 0.05, 1)
    angle = 2 * math.pi * (turns * r + targets / classes)
    points = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)
    return _split(points, targets, noise, generator)


def blobs(
    n: int = 1000,
    *,
    classes: int = 3,
    features: int = 2,
    noise: float = 1.0,
    generator: np.random.Generator | None = None,
) -> Split:
    """Round clouds of points, one for each class, as `(train, test)`, four to one.

    Each class has a centre drawn uniformly from [-10, 10] in every coordinate, and its points are normal around it.
    Source: `make_blobs` of scikit-learn.

    Args:
        n: the number of points, at least five for each class.
        classes: the number of clouds, at least 2.
        features: the number of coordinates.
        noise: the standard deviation of a cloud in every coordinate.
        generator: draws centres, points and split; `np.random.default_rng(0)` if None, so that each call gives the
            same data.

    Both sets have float32 inputs (N, features) and int64 targets (N,); the classes are called "0", "1", ...

    >>> import tinygrad_ce as tg
    >>> train, test = tg.data.blobs(features=5, classes=4)
    >>> train
    ArrayDataset(800 rows: inputs float32 (800, 5), targets int64 (800,), 4 classes)
    """
    generator = _checked("blobs", n, noise, generator, classes)
    check_count("blobs", "features", features, example=2)
    targets = _even_targets(n, classes)
    centres = generator.uniform(-10, 10, (classes, features))
    return _split(centres[targets], targets, noise, generator)


def xor(n: int = 1000, *, noise: float = 0.15, generator: np.random.Generator | None = None) -> Split:
    """Exclusive or: clouds at the corners of the unit square, as `(train, test)`, four to one.

    The corners (0, 0) and (1, 1) are class 0, "same"; (0, 1) and (1, 0) are class 1, "different": the smallest problem
    that a network without a hidden layer cannot solve (Minsky and Papert, Perceptrons, 1969).

    Args:
        n: the number of points, at least 10.
        noise: the standard deviation of the normal noise added to both coordinates; 0 gives the truth table.
        generator: draws noise and split; `np.random.default_rng(0)` if None, so that each call gives the same data.

    Both sets have float32 inputs (N, 2) and int64 targets (N,).

    >>> import tinygrad_ce as tg
    >>> train, test = tg.data.xor(noise=0)
    >>> inputs, target = train[0]
    >>> bool(target == (inputs[0] != inputs[1]))
    True
    """
    generator = _checked("xor", n, noise, generator)
    corners = _even_targets(n, 4)
    points = np.stack([corners // 2, corners % 2], axis=1)
    return _split(points, points[:, 0] ^ points[:, 1], noise, generator, ("same", "different"))


def _checked(
    where: str, n: Any, noise: Any, generator: np.random.Generator | None, classes: Any = 2
) -> np.random.Generator:
    classes = check_count(where, "classes", classes, 2, 3)
    check_count(where, "n", n, 5 * classes, 1000)
    if not (isinstance(noise, int | float | np.integer | np.floating) and 0 <= noise < math.inf):
        raise ValueError(f"{where}: noise must be a standard deviation of at least 0, found {noise!r}; write 0.1")
    check_generator(where, generator)
    return np.random.default_rng(0) if generator is None else generator


def _even_targets(n: int, classes: int) -> NDArray[np.int64]:
    """n class indices in order, as many of each class as of any other, give or take one."""
    return np.arange(n, dtype=np.int64) * classes // n


def _steps(targets: NDArray[np.int64], start: float, stop: float) -> NDArray[np.float64]:
    """Equal steps from start to stop within each class."""
    return np.concatenate([np.linspace(start, stop, size) for size in np.bincount(targets)])


def _split(
    points: NDArray[Any],
    targets: NDArray[np.int64],
    noise: float,
    generator: np.random.Generator,
    classes: tuple[str, ...] = (),
) -> Split:
    points = points + noise * generator.standard_normal(points.shape)
    names = classes or tuple(map(str, range(targets.max() + 1)))
    dataset = ArrayDataset(points.astype(np.float32), targets, names)
    return train_test_split(dataset, generator=generator, stratify=True)
