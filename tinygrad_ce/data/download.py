"""Files from the internet: checked before they get their name."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 16
TIMEOUT = 30  # seconds without a byte


@dataclass(frozen=True)
class RemoteFile:
    """A file as its makers published it: name, size in bytes, and SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


def download(file: RemoteFile, mirrors: Sequence[str], folder: Path) -> Path:
    """Fetch a file from the first mirror that has it, show the progress on stderr, and return its path in `folder`.

    mirrors  addresses to which the file's name is appended

    The bytes go to a temporary file beside it, which gets the name only when size and SHA-256 are right: whatever goes
    wrong, Ctrl-C included, leaves nothing behind.

    Raises:
        ConnectionError: no mirror gave the file as it should be; the message says what each gave.
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file.name
    partial = folder / f"{file.name}.{os.getpid()}.part"
    failures = []
    for mirror in mirrors:
        url = mirror + file.name
        try:
            with partial.open("wb") as out, _progress(file, url) as advance:
                digest = hashlib.sha256()
                for chunk in _chunks(url, file.size):
                    out.write(chunk)
                    digest.update(chunk)
                    advance(len(chunk))
            if digest.hexdigest() != file.sha256:
                raise _WrongBytes(f"SHA-256 {digest.hexdigest()}, expected {file.sha256}")
            partial.replace(path)
            return path
        except (_Unreachable, _WrongBytes) as error:
            failures.append(f"{url}: {error}")
        finally:
            partial.unlink(missing_ok=True)
    raise ConnectionError(
        f"cannot download {file.name}: {'; '.join(failures)}. Nothing was kept; try again, or put the file in {folder}"
    )


class _Unreachable(Exception):
    """The address gave an error in place of a file."""


class _WrongBytes(Exception):
    """The address gave other bytes than those published."""


def _chunks(url: str, size: int) -> Iterator[bytes]:
    """The bytes at an address, which must be exactly `size`."""
    from urllib.request import urlopen

    left = size
    try:
        with urlopen(url, timeout=TIMEOUT) as response:
            while chunk := response.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise _WrongBytes(f"more than the {size:,} bytes expected")
                yield chunk
    except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        raise _Unreachable(str(error) or type(error).__name__) from None
    if left:
        raise _WrongBytes(f"{size - left:,} of {size:,} bytes")


@contextmanager
def _progress(file: RemoteFile, url: str) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of bytes that came: it moves a bar in a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    screen = Console(stderr=True)
    if not screen.is_terminal:
        print(f"downloading {url} ({file.size:,} bytes)", file=sys.stderr, flush=True)
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=screen) as progress:
        task = progress.add_task(file.name, total=file.size)
        yield lambda count: progress.update(task, advance=count)
