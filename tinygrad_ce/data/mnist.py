"""MNIST and Fashion-MNIST, from the four files in which they are published."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygrad_ce.data.dataset import ArrayDataset
from tinygrad_ce.data.download import RemoteFile, download
from tinygrad_ce.data.idx import read_idx

VARIABLE = "TINYGRAD_CE_DATA"
DEFAULT = Path("~", ".cache", "tinygrad_ce")
TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SIDE = 28


@dataclass(frozen=True)
class Source:
    """Where a data set comes from: its function, its folder, the names of its classes, its files and mirrors."""

    function: str
    folder: str
    classes: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    mirrors: tuple[str, ...]
    package: str | None = None  # of Debian, and the folder where it puts the files
    installed: Path | None = None


FASHION_MNIST = Source(
    function="fashion_mnist",
    folder="fashion-mnist",
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    files=(
        RemoteFile(f"{TRAIN[0]}.gz", 26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        RemoteFile(f"{TRAIN[1]}.gz", 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        RemoteFile(f"{TEST[0]}.gz", 4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        RemoteFile(f"{TEST[1]}.gz", 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    package="dataset-fashion-mnist",
    installed=Path("/usr/share/datasets/fashion-mnist"),
)

MNIST = Source(
    function="mnist",
    folder="mnist",
    classes=tuple("0123456789"),
    files=(
        RemoteFile(f"{TRAIN[0]}.gz", 9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        RemoteFile(f"{TRAIN[1]}.gz", 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        RemoteFile(f"{TEST[0]}.gz", 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        RemoteFile(f"{TEST[1]}.gz", 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
)


def fashion_mnist(
    root: str | os.PathLike[str] | None = None, *, download: bool = False
) -> tuple[ArrayDataset, ArrayDataset]:
    """Fashion-MNIST as `(train, test)`: 60,000 and 10,000 pictures of clothes, 28 by 28 pixels, in ten classes.

    `inputs` is float32 of shape (N, 784), the pixels row by row, from 0.0 (background) to 1.0: the stored byte over
    255. `targets` is int64 of shape (N,), and `classes` has their names, from "T-shirt/top" to "Ankle boot".

    The four files `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`, with or without `.gz`, are read from the first of these folders that has any of them:

    1. `root`, if it is given;
    2. the subfolder `fashion-mnist` of the folder named in the environment variable TINYGRAD_CE_DATA, by default
       `~/.cache/tinygrad_ce`;
    3. `/usr/share/datasets/fashion-mnist`, where Debian's package `dataset-fashion-mnist` puts them.

    Args:
        root: the folder of the files.
        download: fetch the files (31 MB) if no folder has them, to `root` or else to the second folder above. They are
            held against the SHA-256 of the published files.

    Raises:
        FileNotFoundError: the files are in none of the folders, or some of the four are missing.
        ValueError: a file is truncated, damaged or of another kind; the message names it.
        ConnectionError: the download failed; nothing is left behind of the file it failed at.

    Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms, 2017, https://arxiv.org/abs/1708.07747, MIT licence.

    A folder of your own, here with ten blank pictures:

    >>> import pathlib, tempfile
    >>> import tinygrad_ce as tg
    >>> images = bytes([0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(10 * 28 * 28)
    >>> labels = bytes([0, 0, 8, 1, 0, 0, 0, 10, *range(10)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in ("train", "t10k"):
    ...         _ = pathlib.Path(folder, f"{part}-images-idx3-ubyte").write_bytes(images)
    ...         _ = pathlib.Path(folder, f"{part}-labels-idx1-ubyte").write_bytes(labels)
    ...     train, test = tg.data.fashion_mnist(folder)
    >>> train
    ArrayDataset(10 rows: inputs float32 (10, 784), targets int64 (10,), 10 classes)
    >>> train.classes[9]
    'Ankle boot'
    """
    return _load(FASHION_MNIST, root, download)


def mnist(root: str | os.PathLike[str] | None = None, *, download: bool = False) -> tuple[ArrayDataset, ArrayDataset]:
    """MNIST as `(train, test)`: 60,000 and 10,000 handwritten digits, 28 by 28 pixels.

    As `fashion_mnist`, from a subfolder `mnist` of TINYGRAD_CE_DATA; the classes are "0" to "9". Debian has no package
    of it. The download is 12 MB.

    Source: Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits, 1998.

    A folder of your own, here with ten blank pictures:

    >>> import pathlib, tempfile
    >>> import tinygrad_ce as tg
    >>> images = bytes([0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(10 * 28 * 28)
    >>> labels = bytes([0, 0, 8, 1, 0, 0, 0, 10, *range(10)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in ("train", "t10k"):
    ...         _ = pathlib.Path(folder, f"{part}-images-idx3-ubyte").write_bytes(images)
    ...         _ = pathlib.Path(folder, f"{part}-labels-idx1-ubyte").write_bytes(labels)
    ...     train, test = tg.data.mnist(folder)
    >>> train
    ArrayDataset(10 rows: inputs float32 (10, 784), targets int64 (10,), 10 classes)
    """
    return _load(MNIST, root, download)


def _load(source: Source, root: str | os.PathLike[str] | None, fetch: bool) -> tuple[ArrayDataset, ArrayDataset]:
    home = Path(os.environ.get(VARIABLE) or DEFAULT).expanduser() / source.folder
    own = home if root is None else Path(root)
    places = list(dict.fromkeys(place for place in (own, home, source.installed) if place is not None))
    place, found = next(((p, f) for p in places if (f := _find(p))), (own, {}))
    missing = [name for name in (*TRAIN, *TEST) if name not in found]
    if missing and fetch:
        for file in source.files:
            if (name := file.name.removesuffix(".gz")) in missing:
                found[name] = download(file, source.mirrors, place)
    elif missing:
        raise FileNotFoundError(_not_found(source, places, place, missing if found else ()))
    train, test = (_read(found[images], found[labels], source.classes) for images, labels in (TRAIN, TEST))
    return train, test


def _find(place: Path) -> dict[str, Path]:
    """Those of the four files which a folder has, unpacked ones first: they read faster."""
    candidates = {name: (place / name, place / f"{name}.gz") for name in (*TRAIN, *TEST)}
    return {
        name: next(path for path in paths if path.is_file())
        for name, paths in candidates.items()
        if any(path.is_file() for path in paths)
    }


def _not_found(source: Source, places: Sequence[Path], place: Path, missing: Sequence[str]) -> str:
    ways = [
        f"put the four files in a folder {source.folder} and set {VARIABLE} to the folder that it is in",
        f"write {source.function}(download=True) ({sum(file.size for file in source.files) / 1e6:.0f} MB)",
    ]
    if source.package:
        ways.insert(0, f"apt install {source.package} (Debian, Ubuntu)")
    if missing:
        what = f"{place} has only {4 - len(missing)} of the four files: {', '.join(missing)} (.gz or not) missing"
    else:
        what = f"{', '.join((*TRAIN, *TEST))} (.gz or not) are in none of the folders {', '.join(map(str, places))}"
    return f"{source.function}: {what}. To get them: {'; or '.join(ways)}"


def _read(images_path: Path, labels_path: Path, classes: tuple[str, ...]) -> ArrayDataset:
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if images.shape[1:] != (SIDE, SIDE) or len(images) == 0:
        raise ValueError(
            f"{images_path}: expected images of {SIDE} x {SIDE} pixels, found the shape {images.shape}; "
            "the file is of another data set"
        )
    if len(images) != len(labels):
        raise ValueError(
            f"{labels_path}: {len(labels)} labels for the {len(images)} images of {images_path.name}; "
            "the files are not of the same set"
        )
    if labels.max() >= len(classes):
        row = int(np.argmax(labels >= len(classes)))
        raise ValueError(
            f"{labels_path}: label {labels[row]} in row {row}, expected 0 to {len(classes) - 1}; the file is damaged"
        )
    inputs = np.divide(images.reshape(len(images), -1), np.float32(255), dtype=np.float32)
    return ArrayDataset(inputs, labels.astype(np.int64), classes)
