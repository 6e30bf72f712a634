"""Finding the op that made the first nan or infinity, and arrays that were changed behind the graph's back."""

from __future__ import annotations

import linecache
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from tinygrad_ce.engine import Node
from tinygrad_ce.graph.summary import summarize
from tinygrad_ce.mode import mode
from tinygrad_ce.registry import Op
from tinygrad_ce.tensor import Tensor

_PACKAGE = str(Path(__file__).parent)


class AnomalyError(RuntimeError):
    """What `detect_anomaly` found; the message names the op, its inputs' ranges and the line that called it."""


class detect_anomaly:
    """While it is in force, the first op that makes nan or infinity raises an error that says which and where.

    Forward, an op is at fault that makes nan from inputs without nan, or infinity from inputs without infinity; a leaf
    that holds nan is named where it is first used. Backward, the same holds for the rule of each input. An array that
    a rule needs and that was changed in place since the forward pass is found before the rule runs.

    For debugging: every array is looked at, which takes several times as long. Works as `with detect_anomaly():` in the
    current thread, and nests; graphs made outside it have no line to name and are not watched for changes.

    Raises AnomalyError.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> p = tg.Tensor([0.5, 0.0], requires_grad=True, name="p")
    >>> with tg.detect_anomaly(), np.errstate(divide="ignore"):
    ...     loss = -np.log(p).mean()
    Traceback (most recent call last):
    tinygrad_ce.anomaly.AnomalyError: log made infinity in 1 of 2 elements, first at [1], from p: (2,) float32,
    0 to 0.5; called at <doctest ...>, line 2: loss = -np.log(p).mean()
    """

    def __enter__(self) -> None:
        self._outer = mode.watcher
        mode.watcher = _Watcher()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mode.watcher = self._outer


@dataclass(frozen=True)
class _Record:
    """What is remembered of a node: where it was made, and a checksum of each array it keeps."""

    where: str
    checksums: Mapping[str, int]


class _Watcher:
    """Told of every op by `apply`, and of every gradient by the engine."""

    def __init__(self) -> None:
        self._records: WeakKeyDictionary[Node, _Record] = WeakKeyDictionary()
        self._upstream: Any = None

    def made(self, op: type[Op], inputs: Sequence[Any], result: Any) -> None:
        """An op ran forward."""
        where = _where()
        arrays = [np.asarray(getattr(x, "data", x)) for x in inputs]
        named = [
            (getattr(x, "name", None) or op.input_name(i), a)
            for i, (x, a) in enumerate(zip(inputs, arrays, strict=True))
        ]
        for (name, array), x in zip(named, inputs, strict=True):
            nan = np.isnan(array)
            if getattr(x, "node", None) is None and nan.any():
                raise AnomalyError(
                    f"{op.name} was given nan{_places(nan)} in {name}: {_range(array)}{_within(mode.scope)}{where}"
                )
        fault = _fault(result.data, arrays)
        if fault:
            ranges = ", ".join(f"{name}: {_range(array)}" for name, array in named)
            raise AnomalyError(f"{op.name} made {fault}, from {ranges}{_within(mode.scope)}{where}")
        if result.node is not None:
            self._records[result.node] = _Record(where, {name: _checksum(x) for name, x in _kept(result.node)})

    def arrived(self, node: Node, gradient: Any) -> None:
        """The gradient of a node is complete; its rules run next."""
        self._upstream = _array(gradient)
        record = self._records.get(node)
        if record is None:
            return
        for name, x in _kept(node):
            if _checksum(x) != record.checksums.get(name):
                raise AnomalyError(
                    f"{node.op.name}: {name} was changed in place between forward and backward, and the gradient would "
                    f"be wrong; write into a copy of it, or after backward(){_within(node.scope)}{record.where}"
                )

    def passed(self, node: Node, position: int, gradient: Any, total: Any) -> None:
        """A rule of the node sent a gradient to an input."""
        record = self._records.get(node)
        where = record.where if record else ""
        name = node.op.input_name(position)
        kept = [("g", self._upstream), *_kept(node)]
        fault = _fault(_array(gradient), [x for _, x in kept])
        if fault:
            ranges = ", ".join(f"{what}: {_range(x)}" for what, x in kept)
            rule = f"; {node.op.vjp_formula}" if node.op.vjp_formula else ""
            raise AnomalyError(
                f"{node.op.name}: the gradient of {name} has {fault}, from {ranges}{rule}{_within(node.scope)}{where}"
            )
        if np.isfinite(_array(gradient)).all() and not np.isfinite(_array(total)).all():
            raise AnomalyError(
                f"{node.op.name}: the gradients that reached {name} overflowed when they were added up"
                f"{_within(node.scope)}{where}"
            )


def _fault(made: Any, given: Sequence[Any]) -> str:
    """What kind of number was made that was not there before, how much of it, and where."""
    for test, word in ((np.isnan, "nan"), (np.isinf, "infinity")):
        found = test(made)
        if found.any() and not any(test(x).any() for x in given):
            return f"{word}{_places(found)}"
    return ""


def _places(found: Any) -> str:
    if not found.ndim:
        return ""
    first = ", ".join(map(str, np.unravel_index(int(found.argmax()), found.shape)))
    return f" in {int(found.sum())} of {found.size} elements, first at [{first}]"


def _range(x: Any) -> str:
    """(4, 3) float32, 0 to 5.2, 2 nan"""
    found = summarize(x, excerpt=False)
    words = [f"{x.shape} {x.dtype.name}"]
    if found.low is not None:
        words.append(f"{found.low:.6g} to {found.high:.6g}" if found.low != found.high else f"all {found.low:.6g}")
    words += [f"{n} {word}" for n, word in ((found.nan, "nan"), (found.infinite, "infinite")) if n]
    return " ".join(words[:1]) + "".join(f", {word}" for word in words[1:])


def _array(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else x


def _kept(node: Node) -> Iterator[tuple[str, Any]]:
    """The arrays whose numbers the node's rules may use, by what they are to its op."""
    for i, (source, x) in enumerate(zip(node.inputs, node.saved or (), strict=False)):
        if isinstance(x, np.ndarray):
            yield getattr(source, "name", None) or node.op.input_name(i), x
    if isinstance(node.output, np.ndarray):
        yield "its output", node.output
    for key, value in node.attributes.items():
        if isinstance(value, np.ndarray):
            yield key, value


def _checksum(x: Any) -> int:
    return zlib.crc32(np.ascontiguousarray(x).data)


def _within(scope: Sequence[Any]) -> str:
    """Which module it was in."""
    if not scope:
        return ""
    outer, inner = scope[0], scope[-1]
    path = next((name for name, module in outer.named_modules() if module is inner), "")
    shown = repr(inner)
    return f"; in {path or 'the model'}, {type(inner).__name__ if chr(10) in shown else shown}"


def _where() -> str:
    """The line outside this package that called the op."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return ""
    file, line = frame.f_code.co_filename, frame.f_lineno
    source = linecache.getline(file, line).strip()
    return f"; called at {file}, line {line}" + (f": {source}" if source else "")
