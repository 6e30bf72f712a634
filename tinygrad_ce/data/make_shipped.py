"""Write the data files that ship: `python -m tinygrad_ce.data.make_shipped`.

digits.npz and iris.csv come from scikit-learn's copies of the data (the `parity` extra has it), fashion_sample.npz from
the files that `fashion_mnist` finds. Kept so that anybody can make the shipped files again; the package itself never
runs it. The same versions of NumPy and zlib write the same bytes.
"""

from pathlib import Path

import numpy as np

from tinygrad_ce.data.mnist import fashion_mnist

DIGITS_SOURCE = (
    "Optical Recognition of Handwritten Digits. E. Alpaydin and C. Kaynak (1998). "
    "UCI Machine Learning Repository. https://doi.org/10.24432/C50P49. "
    "Licence: CC BY 4.0, https://creativecommons.org/licenses/by/4.0/. "
    "The 1,797 images of 8x8 pixels of its test set, by way of scikit-learn's load_digits; "
    "unchanged but for the file format."
)
FASHION_SOURCE = (
    "Fashion-MNIST. H. Xiao, K. Rasul and R. Vollgraf (2017). https://arxiv.org/abs/1708.07747. "
    "Copyright 2017 Zalando SE. Licence: MIT. "
    "The first 50 images of each class of the training set and the first 15 of each of the test set, "
    "28x28 pixels; unchanged but for the file format."
)


def make_digits(path: Path) -> None:
    """Write `images` uint8 (1797, 8, 8), `targets` uint8 (1797,) and `source`, a string, to `path`."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, targets = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    if not (np.array_equal(images, bunch.images) and np.array_equal(targets, bunch.target)):
        raise ValueError("make_digits: load_digits gave values which do not fit in uint8; the data has changed")
    with path.open("wb") as file:
        np.savez_compressed(file, images=images, targets=targets, source=np.array(DIGITS_SOURCE))


def make_iris(path: Path) -> None:
    """Write a line for each of the 150 flowers, four lengths in cm with one decimal and the species, to `path`."""
    from sklearn.datasets import load_iris

    bunch = load_iris()
    rows = [
        [*(f"{length:.1f}" for length in lengths), bunch.target_names[species]]
        for lengths, species in zip(bunch.data, bunch.target, strict=True)
    ]
    lines = [",".join(row) for row in [[*bunch.feature_names, "species"], *rows]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def make_fashion_sample(path: Path) -> None:
    """Write `train_images` uint8 (500, 28, 28), `train_targets` uint8 (500,), the same of `test` with 150, `source`."""
    arrays = {"source": np.array(FASHION_SOURCE)}
    for part, dataset, count in zip(("train", "test"), fashion_mnist(), (50, 15), strict=True):
        rows = np.sort(np.concatenate([np.flatnonzero(dataset.targets == k)[:count] for k in range(10)]))
        inputs, targets = dataset[rows]
        arrays[f"{part}_images"] = np.rint(inputs * 255).astype(np.uint8).reshape(-1, 28, 28)
        arrays[f"{part}_targets"] = targets.astype(np.uint8)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    makers = {"digits.npz": make_digits, "iris.csv": make_iris, "fashion_sample.npz": make_fashion_sample}
    for name, make in makers.items():
        target = Path(__file__).with_name(name)
        make(target)
        print(f"wrote {target} ({target.stat().st_size:,} bytes)")
