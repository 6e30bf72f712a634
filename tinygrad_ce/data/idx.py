"""The IDX format of MNIST's files: a header of big-endian numbers, then the values."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNSIGNED_BYTE = 0x08
KINDS = {1: "labels", 3: "images"}


def read_idx(path: Path, axes: int) -> NDArray[Any]:
    """The uint8 array of an IDX file, read-only; `axes` is 1 for labels and 3 for images (N, rows, columns).

    The header is two zero bytes, a byte for the kind of values, a byte for the number of axes, and the length of each
    axis as 4 bytes, the most significant first. The file may be compressed with gzip, whatever its name.
    Of the kinds there are, only unsigned bytes (0x08) are read.

    Source: https://yann.lecun.com/exdb/mnist/ (the section on the file format).

    Raises:
        OSError: the file cannot be read.
        ValueError: it is truncated, damaged, too long, or not such a file. The message names it.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path, axes=1)
    array([7, 2, 1], dtype=uint8)
    """
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: the gzip file is damaged or truncated ({error}); fetch it again") from None
    expected = bytes([0, 0, UNSIGNED_BYTE, axes])
    header = 4 + 4 * axes
    if data[:4] != expected:
        raise ValueError(
            f"{path}: no IDX file of {KINDS[axes]}: it starts with 0x{data[:4].hex()}, expected 0x{expected.hex()}; "
            "only unsigned bytes are read, with 1 axis (labels, 0x00000801) or 3 axes (images, 0x00000803)"
        )
    if len(data) < header:
        raise ValueError(f"{path}: truncated in its header: {len(data)} bytes, expected {header}; fetch it again")
    shape = struct.unpack(f">{axes}I", data[4:header])
    found, wanted = len(data) - header, math.prod(shape)
    if found != wanted:
        what = "is truncated" if found < wanted else "has bytes after its end"
        raise ValueError(
            f"{path}: the file {what}: its header announces {' x '.join(map(str, shape))} values, "
            f"and {found:,} of {wanted:,} bytes follow; fetch it again"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)
