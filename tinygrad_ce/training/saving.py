"""Models as files: safetensors with the weights under PyTorch's names, and the architecture beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tinygrad_ce.nn import Module
from tinygrad_ce.nn.architecture import from_config, to_config
from tinygrad_ce.training import files
from tinygrad_ce.training.batches import check_model
from tinygrad_ce.training.files import Array, PathLike

FORMAT = "tinygrad_ce"
CHECKPOINT = "tinygrad_ce.checkpoint"
MODEL = "model."  # what the names of a model's arrays begin with in a checkpoint


def save(model: Module, path: PathLike) -> None:
    """Write a model's parameters and buffers to a safetensors file, with what `load_model` needs to build it again.

    model  a Module; of one with modules of your own class the weights alone are kept, for `load`
    path   such as "m.safetensors"; a file of this name is replaced, at once or not at all

    The arrays have the names of `state_dict()`, so PyTorch reads them: `safetensors.torch.load_file(path)`.
    Raises TypeError for anything but a Module, FileNotFoundError for a folder that does not exist.

    >>> import os, tempfile
    >>> import tinygrad_ce as tg
    >>> path = os.path.join(tempfile.mkdtemp(), "m.safetensors")
    >>> tg.save(tg.nn.MLP([64, 32, 10]), path)
    >>> tg.load_model(path).num_parameters()
    2410
    """
    check_model("save", model)
    files.write("save", path, model.state_dict(), description(model, FORMAT))


def load(model: Module, path: PathLike) -> None:
    """Set a model's parameters and buffers from a safetensors file: of `save`, of a `Checkpoint`, or of PyTorch.

    model  a Module with the same names and shapes; arrays are converted to its dtypes, bfloat16 too
    path   of the file

    A state dict of PyTorch is written by `safetensors.torch.save_file(model.state_dict(), path)`.
    Raises what `load_state_dict` raises for names and shapes that differ, FileNotFoundError for a missing file and
    ValueError for one that is corrupt, cut off or no safetensors file. The model is unchanged after an error.

    >>> import os, tempfile
    >>> import tinygrad_ce as tg
    >>> path = os.path.join(tempfile.mkdtemp(), "m.safetensors")
    >>> one, other = tg.nn.Linear(4, 3), tg.nn.Linear(4, 3)
    >>> tg.save(one, path)
    >>> tg.load(other, path)
    >>> bool((one.weight == other.weight).all())
    True
    """
    if not isinstance(model, Module) and isinstance(path, Module):
        raise TypeError("load: the model comes first: write load(model, path)")
    check_model("load", model)
    arrays, metadata = files.read("load", path)
    try:
        model.load_state_dict(weights(arrays, metadata))
    except (KeyError, ValueError) as error:
        kind = KeyError if isinstance(error, KeyError) else ValueError
        raise kind(f"load: {str(path)!r} does not fit the model: {error.args[0]}") from None


def load_model(path: PathLike) -> Any:
    """The model that `save` or a `Checkpoint` wrote, built anew, in training mode.

    Raises ValueError for a file without an architecture, such as PyTorch's, and otherwise what `load` raises.

    >>> import os, tempfile
    >>> import tinygrad_ce as tg
    >>> path = os.path.join(tempfile.mkdtemp(), "m.safetensors")
    >>> tg.save(tg.nn.Sequential(tg.nn.Linear(4, 3), tg.nn.Tanh()), path)
    >>> tg.load_model(path)
    Sequential(
      (0): Linear(4, 3)
      (1): Tanh()
    )
    """
    from tinygrad_ce import __version__

    arrays, metadata = files.read("load_model", path)
    if "architecture" not in metadata:
        why = metadata.get("no_architecture", "it was not written by tinygrad_ce.save")
        raise ValueError(
            f"load_model: {str(path)!r} holds no architecture: {why}. Build the model, then write load(model, path)"
        )
    try:
        model = from_config(json.loads(metadata["architecture"]))
        model.load_state_dict(weights(arrays, metadata))
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(
            f"load_model: the architecture in {str(path)!r}, written by version {metadata.get('version', 'unknown')}, "
            f"cannot be built by version {__version__}: {error.args[0] if error.args else error}"
        ) from error
    return model


def description(model: Module, kind: str) -> dict[str, str]:
    """The metadata of a file: what it is, who wrote it, and how to build the model."""
    from tinygrad_ce import __version__

    found = {"format": kind, "version": __version__}
    try:
        found["architecture"] = json.dumps(to_config(model))
    except (TypeError, ValueError) as error:
        found["no_architecture"] = str(error)
    return found


def weights(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> dict[str, Array]:
    """The model's arrays in a file; of a checkpoint's they are some."""
    if metadata.get("format") != CHECKPOINT:
        return dict(arrays)
    return {name.removeprefix(MODEL): array for name, array in arrays.items() if name.startswith(MODEL)}
