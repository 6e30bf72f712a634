"""Write digits.npz from scikit-learn's copy of the data: `python -m tinygrad_ce.data.make_digits`.

Kept so that anybody can make the shipped file again; the package itself never runs it. It needs scikit-learn
(the `parity` extra). The same versions of NumPy and zlib write the same bytes.
"""

from pathlib import Path

import numpy as np

SOURCE = (
    "Optical Recognition of Handwritten Digits. E. Alpaydin and C. Kaynak (1998). "
    "UCI Machine Learning Repository. https://doi.org/10.24432/C50P49. "
    "Licence: CC BY 4.0, https://creativecommons.org/licenses/by/4.0/. "
    "The 1,797 images of 8x8 pixels of its test set, by way of scikit-learn's load_digits; "
    "unchanged but for the file format."
)


def make_digits(path: Path) -> None:
    """Write `images` uint8 (1797, 8, 8), `targets` uint8 (1797,) and `source`, a string, to `path`."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, targets = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    if not (np.array_equal(images, bunch.images) and np.array_equal(targets, bunch.target)):
        raise ValueError("make_digits: load_digits gave values which do not fit in uint8; the data has changed")
    with path.open("wb") as file:
        np.savez_compressed(file, images=images, targets=targets, source=np.array(SOURCE))


if __name__ == "__main__":
    target = Path(__file__).with_name("digits.npz")
    make_digits(target)
    print(f"wrote {target} ({target.stat().st_size:,} bytes)")
