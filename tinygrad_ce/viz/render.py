"""DOT source to SVG, PNG or PDF, by Graphviz's `dot` or by its port `graphviz-pure`, whichever there is."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from pathlib import Path
from typing import Literal

Format = Literal["svg", "png", "pdf"]

VARIABLE = "TINYGRAD_CE_DOT"
INSTALL = "install Graphviz (https://graphviz.org/download), or `pip install graphviz-pure`"


class RenderError(RuntimeError):
    """No program can draw this; the message says on one line what to do."""


def find_program() -> str:
    """The program that draws: $TINYGRAD_CE_DOT if set, else `dot` on the PATH, else `graphviz-pure`.

    Raises RenderError if there is none.
    """
    asked = os.environ.get(VARIABLE)
    if asked:
        found = shutil.which(asked)
        if found is None:
            raise RenderError(
                f"{VARIABLE} is set to {asked!r}, where there is no program; set it to a `dot`, or unset it"
            )
        return found
    found = shutil.which("dot") or shutil.which("graphviz-pure") or _installed()
    if found is None:
        raise RenderError(f"no program to draw graphs was found; {INSTALL}")
    return found


def _installed() -> str | None:
    """graphviz-pure where pip has put it, for a Python whose scripts are not on the PATH."""
    try:
        files = importlib.metadata.files("graphviz-pure") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = (Path(str(f.locate())) for f in files if f.stem == "graphviz-pure")
    return next((str(path.resolve()) for path in paths if path.is_file()), None)


def render(dot: str, form: Format, dpi: float | None = None) -> bytes:
    """Draw DOT source.

    form  "svg", "png" or "pdf"
    dpi   of a PNG; 96 if not given

    Raises RenderError if there is no program to draw it, or if the program fails.
    """
    program = find_program()
    if form == "pdf" and Path(program).stem == "graphviz-pure":
        raise RenderError("graphviz-pure draws no PDF; install Graphviz (https://graphviz.org/download)")
    command = [program, f"-T{form}"] + ([f"-Gdpi={dpi:g}"] if dpi else [])
    try:
        done = subprocess.run(
            command,
            input=dot.encode(),
            capture_output=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # no console window on Windows
        )
    except OSError as error:
        raise RenderError(f"{program} does not run ({error}); {INSTALL}") from error
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise RenderError(f"{program} failed: {said or f'exit status {done.returncode}'}")
    return done.stdout
