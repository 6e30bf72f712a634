"""safetensors files: arrays by name and text by key, read with every check and written whole or not at all.

Format: https://github.com/huggingface/safetensors#format. Never pickle: a file cannot run code.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
PathLike = str | os.PathLike[str]

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def write(caller: str, path: PathLike, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write a file, by way of another one beside it, so that no crash leaves half a file under this name."""
    from safetensors.numpy import save

    tensors = {}
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<")
        if dtype not in _DTYPES.values():
            raise TypeError(f"{caller}: {name} has dtype {array.dtype}, which a safetensors file cannot hold")
        tensors[name] = array.astype(dtype, order="C", copy=False)
    write_whole(caller, path, _in_order(save(tensors, dict(metadata))))


def _in_order(content: bytes) -> bytes:
    """The same file with its metadata sorted: safetensors writes it in random order, and equal is to be equal."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def write_whole(caller: str, path: PathLike, content: bytes) -> None:
    """Write bytes so that the file is the old one or the new one, whatever happens."""
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"{caller}: {str(path)!r} is a folder; expected the name of a file")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{caller}: {str(path)!r}: the folder {str(target.parent)!r} does not exist")
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _permissions(target))
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _permissions(target: Path) -> int:
    """Those of the file that is replaced, else those of a new file: mkstemp's are for its owner alone."""
    if target.exists():
        return target.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def read(caller: str, path: PathLike) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays and the metadata of a file; bfloat16, which NumPy has not, becomes float32, which holds it exactly.

    Raises FileNotFoundError, or ValueError that names the file and says what is wrong with it.
    """
    from safetensors import SafetensorError, deserialize

    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{caller}: there is no file {str(path)!r}") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{caller}: {str(path)!r} is a folder; expected the name of a file") from None
    try:
        tensors: Any = deserialize(content)  # type: ignore[no-untyped-call, unused-ignore]
    except SafetensorError as error:
        raise ValueError(f"{caller}: {str(path)!r} {_what_is_wrong(path, content, str(error))}") from None
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size]).get("__metadata__") or {}
    return {name: _array(caller, path, name, tensor) for name, tensor in sorted(tensors, key=itemgetter(0))}, metadata


def _array(caller: str, path: PathLike, name: str, tensor: Mapping[str, Any]) -> Array:
    kind, data, shape = tensor["dtype"], tensor["data"], tuple(tensor["shape"])
    if kind == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if kind not in _DTYPES:
        raise ValueError(
            f"{caller}: {str(path)!r} holds {name!r} as {kind}, which NumPy has not; convert it to float32 where it "
            "was made"
        )
    dtype = np.dtype(_DTYPES[kind])
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _what_is_wrong(path: PathLike, content: bytes, error: str) -> str:
    """What is known of a file that is no safetensors file."""
    if not content:
        return "is empty; expected a safetensors file"
    if _is_pickle(path, content):
        fixed = str(Path(path).with_suffix(".safetensors"))
        return (
            "is a pickle of PyTorch, which can run any code when it is opened, and is not read; convert it once, with "
            f"torch: safetensors.torch.save_file(torch.load({str(path)!r}, weights_only=True), {fixed!r})"
        )
    if content[8:9] != b"{":
        return f"is no safetensors file ({error})"
    end = _end(content)
    if len(content) < end:
        return f"is cut off: it has {len(content):,} of {end:,} bytes or more; copy or save it again"
    return f"is a corrupt safetensors file ({error}); copy or save it again"


def _end(content: bytes) -> int:
    """Where a file ends by what its header says, as far as that can be read."""
    end = 8 + int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8:end])
        return end + int(max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"))
    except (ValueError, TypeError, LookupError, AttributeError):
        return end


def _is_pickle(path: PathLike, content: bytes) -> bool:
    if content[:1] == b"\x80" and content[1:2] in b"\x02\x03\x04\x05":
        return True
    if content[:4] != b"PK\x03\x04":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return Path(path).suffix in (".pt", ".pth")
