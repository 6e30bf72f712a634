"""What each library has, every cell of the table found out by trying: `python -m benchmarks.features [--write]`.

A cell is what a probe returned: True, False or words. A library that is not installed has an empty column; where it is,
a probe that raises is an error of this file, not a "no".
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("DEV", "PYTHON")  # tinygrad's own interpreter: its other devices need a compiler or a GPU

OUTPUT = Path(__file__).with_name("FEATURES.md")
LIBRARIES = ("tinygrad_ce", "micrograd", "autograd", "mygrad", "tinygrad", "torch")
TITLES = {"mygrad": "MyGrad", "torch": "PyTorch"}
LOGITS, TARGET = [[40.0, 0.0]], 0

Answer = bool | str
Probe = Callable[[], Answer]
rows: dict[str, dict[str, Probe]] = {}


def probe(row: str, *libraries: str) -> Callable[[Callable[[Any], Answer]], Callable[[Any], Answer]]:
    """Answers for one row; the function is given each of the libraries' modules."""

    def add(function: Callable[[Any], Answer]) -> Callable[[Any], Answer]:
        for library in libraries:
            rows.setdefault(row, {})[library] = lambda name=library: function(importlib.import_module(name))
        return function

    return add


def has(module: str, *names: str) -> bool:
    """Is there such a module in the installed library, and are these names in it?"""
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    return all(hasattr(found, name) for name in names)


def defines(library: Any, pattern: str) -> bool:
    """Is there a function or class in its sources with a name like that?"""
    definition = re.compile(rf"^\s*(?:def|class) \w*(?:{pattern})", re.MULTILINE | re.IGNORECASE)
    return any(definition.search(path.read_text(encoding="utf-8")) for path in modules(library))


def raises(call: Callable[[], object]) -> bool:
    try:
        call()
    except (IndexError, ValueError):
        return True
    return False


def modules(library: Any) -> Iterator[Path]:
    root = Path(next(iter(library.__path__)))
    return (path for path in root.rglob("*.py") if not {"test", "tests"} & set(path.relative_to(root).parts))


CONFIDENT = "gradient of the target in a row it is sure of (exact: -4.2e-18)"


def shown(gradient: Any) -> str:
    return f"{float(np.asarray(gradient).ravel()[TARGET]):.2g}"


@probe(CONFIDENT, "tinygrad_ce")
def _(tg: Any) -> Answer:
    z = tg.Tensor(np.array(LOGITS), requires_grad=True)
    tg.functional.softmax_cross_entropy(z, [TARGET]).backward()
    return shown(z.grad.numpy())


@probe(CONFIDENT, "micrograd")
def _(micrograd: Any) -> Answer:
    """It has no exp and no logarithm."""
    value = importlib.import_module(f"{micrograd.__name__}.engine").Value
    return "no softmax" if not any(hasattr(value, name) for name in ("exp", "log", "softmax")) else "?"


@probe(CONFIDENT, "autograd")
def _(autograd: Any) -> Answer:
    logsumexp = importlib.import_module("autograd.scipy.special").logsumexp
    return shown(autograd.grad(lambda z: logsumexp(z) - z[TARGET])(np.array(LOGITS[0])))


@probe(CONFIDENT, "mygrad")
def _(mygrad: Any) -> Answer:
    z = mygrad.tensor(np.array(LOGITS))
    mygrad.nnet.losses.softmax_crossentropy(z, np.array([TARGET])).backward()
    return shown(z.grad)


@probe(CONFIDENT, "tinygrad")
def _(tinygrad: Any) -> Answer:
    z = tinygrad.Tensor(np.array(LOGITS))
    z.requires_grad = True
    z.sparse_categorical_crossentropy(tinygrad.Tensor([TARGET])).backward()
    return shown(z.grad.numpy())


@probe(CONFIDENT, "torch")
def _(torch: Any) -> Answer:
    z = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.cross_entropy(z, torch.tensor([TARGET])).backward()
    return shown(z.grad)


WRONG = "a target of -1 is refused"


@probe(WRONG, "tinygrad_ce")
def _(tg: Any) -> Answer:
    return raises(lambda: tg.functional.softmax_cross_entropy(np.array(LOGITS), [-1]))


@probe(WRONG, "micrograd", "autograd")
def _(library: Any) -> Answer:
    return "?" if defines(library, "cross_?entropy|nll") else "no such loss"


@probe(WRONG, "mygrad")
def _(mygrad: Any) -> Answer:
    return raises(lambda: mygrad.nnet.losses.softmax_crossentropy(mygrad.tensor(LOGITS), np.array([-1])))


@probe(WRONG, "tinygrad")
def _(tinygrad: Any) -> Answer:
    """-1 is what it ignores; so the first index that is out of range is tried as well."""
    logits = tinygrad.Tensor(LOGITS)
    return all(
        raises(lambda i=i: logits.sparse_categorical_crossentropy(tinygrad.Tensor([i]), ignore_index=-100).numpy())
        for i in (-1, 2)
    )


@probe(WRONG, "torch")
def _(torch: Any) -> Answer:
    return raises(lambda: torch.nn.functional.cross_entropy(torch.tensor(LOGITS), torch.tensor([-1])))


ONE_OP = "softmax cross-entropy is one op of the graph"


@probe(ONE_OP, "tinygrad_ce")
def _(tg: Any) -> Answer:
    z = tg.Tensor(LOGITS, requires_grad=True)
    return tg.functional.softmax_cross_entropy(z, [TARGET]).node.inputs[0] is z


@probe(ONE_OP, "mygrad")
def _(mygrad: Any) -> Answer:
    z = mygrad.tensor(LOGITS)
    return mygrad.nnet.losses.softmax_crossentropy(z, np.array([TARGET])).creator.variables[0] is z


@probe(ONE_OP, "torch")
def _(torch: Any) -> Answer:
    """In eager mode it records log_softmax, then nll_loss."""
    loss = torch.nn.functional.cross_entropy(torch.tensor(LOGITS, requires_grad=True), torch.tensor([TARGET]))
    return type(loss.grad_fn.next_functions[0][0]).__name__ == "AccumulateGrad"


@probe(ONE_OP, "tinygrad")
def _(tinygrad: Any) -> Answer:
    return "log_softmax" not in inspect.getsource(tinygrad.Tensor.sparse_categorical_crossentropy)


@probe(ONE_OP, "micrograd", "autograd")
def _(library: Any) -> Answer:
    return defines(library, "cross_?entropy|nll")


COMPARES = "measures the fused loss against unfused ones and the exact one"


@probe(COMPARES, "tinygrad_ce")
def _(tg: Any) -> Answer:
    compared = tg.compare_gradients(np.array(LOGITS), [TARGET])
    return len(compared.chains) > 2 and compared.truth is not None


@probe(COMPARES, "micrograd", "autograd", "mygrad", "tinygrad", "torch")
def _(library: Any) -> Answer:
    return defines(library, "fused_(against|vs|and_un)|compare_(loss|chain|softmax|cross)")


DRAWS = "draws the graph"


@probe(DRAWS, "tinygrad_ce")
def _(tg: Any) -> Answer:
    x = tg.Tensor([1.0], requires_grad=True, name="x")
    return "with numbers, pages to step through" if "<svg" in tg.draw(tg.functional.exp(x)).svg() else False


@probe(DRAWS, "mygrad")
def _(mygrad: Any) -> Answer:
    return has(f"{mygrad.__name__}.computational_graph", "build_graph")


@probe(DRAWS, "tinygrad")
def _(tinygrad: Any) -> Answer:
    """VIZ=1 serves a page of its kernels and rewrites."""
    return "its kernels" if has(f"{tinygrad.__name__}.viz.serve") or has(f"{tinygrad.__name__}.viz") else False


@probe(DRAWS, "micrograd", "autograd")
def _(library: Any) -> Answer:
    return defines(library, "draw|graphviz|digraph|plot|visual")


@probe(DRAWS, "torch")
def _(torch: Any) -> Answer:
    """torch.fx draws modules it could trace; what autograd recorded is drawn by other packages."""
    return "traced modules" if has(f"{torch.__name__}.fx.passes.graph_drawer", "FxGraphDrawer") else False


SECOND = "derivatives of derivatives"


@probe(SECOND, "tinygrad_ce")
def _(tg: Any) -> Answer:
    x = tg.Tensor([2.0], requires_grad=True)
    (g,) = tg.grad((x**3).sum(), [x], create_graph=True)
    return bool(tg.grad(g.sum(), [x])[0].item() == 12)


@probe(SECOND, "autograd")
def _(autograd: Any) -> Answer:
    return bool(autograd.grad(autograd.grad(lambda x: x**3))(2.0) == 12)


@probe(SECOND, "mygrad", "micrograd")
def _(library: Any) -> Answer:
    """Their gradients are plain arrays and numbers, which remember nothing."""
    if library.__name__ == "micrograd":
        value = importlib.import_module("micrograd.engine").Value(2.0)
        (value**3).backward()
        return hasattr(value.grad, "backward")
    x = library.tensor([2.0])
    (x**3).sum().backward()
    return hasattr(x.grad, "backward")


@probe(SECOND, "tinygrad")
def _(tinygrad: Any) -> Answer:
    x = tinygrad.Tensor([2.0])
    x.requires_grad = True
    (g,) = (x * x * x).sum().gradient(x)
    return bool(g.sum().gradient(x)[0].item() == 12)


@probe(SECOND, "torch")
def _(torch: Any) -> Answer:
    x = torch.tensor([2.0], requires_grad=True)
    (g,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
    return bool(torch.autograd.grad(g.sum(), x)[0].item() == 12)


GRADIENT = {"tinygrad_ce": {"requires_grad": True}, "torch": {"requires_grad": True}, "mygrad": {}}
NUMPY = "NumPy's functions take its tensors (`np.exp(x)`)"


@probe(NUMPY, "autograd")
def _(autograd: Any) -> Answer:
    return bool(autograd.grad(lambda x: np.exp(x))(0.0) == 1)


@probe(NUMPY, "tinygrad_ce", "micrograd", "mygrad", "tinygrad", "torch")
def _(library: Any) -> Answer:
    """Anything but its own type has forgotten where it came from."""
    name = library.__name__
    if name == "micrograd":
        x = importlib.import_module("micrograd.engine").Value(1.0)
    elif name == "tinygrad":
        x = library.Tensor([1.0])
    else:
        x = getattr(library, "Tensor" if name == "tinygrad_ce" else "tensor")([1.0], **GRADIENT[name])
    try:
        return type(np.exp(x)) is type(x)
    except (RuntimeError, TypeError):
        return False


# Where a library has a thing, or would be expected to have it.
NAMES = {
    "checks your gradients": {
        "tinygrad_ce": "tinygrad_ce:gradcheck", "micrograd": "micrograd.engine:gradcheck",
        "autograd": "autograd.test_util:check_grads", "mygrad": "mygrad:gradcheck",
        "tinygrad": "tinygrad:gradcheck", "torch": "torch.autograd:gradcheck",
    },
    "names the op that made a nan": {
        "tinygrad_ce": "tinygrad_ce:detect_anomaly", "micrograd": "micrograd.engine:detect_anomaly",
        "autograd": "autograd:detect_anomaly", "mygrad": "mygrad:detect_anomaly",
        "tinygrad": "tinygrad:detect_anomaly", "torch": "torch.autograd:detect_anomaly",
    },
    "modules": {
        "tinygrad_ce": "tinygrad_ce.nn:Module", "micrograd": "micrograd.nn:Module", "autograd": "autograd.nn:Module",
        "mygrad": "mygrad.nnet:Module", "tinygrad": "tinygrad.nn:Linear", "torch": "torch.nn:Module",
    },
    "optimizers": {
        "tinygrad_ce": "tinygrad_ce.optim:Adam", "micrograd": "micrograd.optim:SGD",
        "autograd": "autograd.misc.optimizers:adam", "mygrad": "mygrad.nnet.optimizers:Adam",
        "tinygrad": "tinygrad.nn.optim:Adam", "torch": "torch.optim:Adam",
    },
    "convolutions": {
        "tinygrad_ce": "tinygrad_ce.nn:Conv2d", "micrograd": "micrograd.nn:Conv2d",
        "autograd": "autograd.scipy.signal:convolve", "mygrad": "mygrad.nnet.layers:conv_nd",
        "tinygrad": "tinygrad.nn:Conv2d", "torch": "torch.nn:Conv2d",
    },
    "GPUs": {
        "tinygrad_ce": "tinygrad_ce:cuda", "micrograd": "micrograd.engine:cuda", "autograd": "autograd:cuda",
        "mygrad": "mygrad:cuda", "tinygrad": "tinygrad.runtime.ops_cuda:CUDADevice", "torch": "torch:cuda",
    },
    "compiles whole models": {
        "tinygrad_ce": "tinygrad_ce:compile", "micrograd": "micrograd.engine:compile", "autograd": "autograd:jit",
        "mygrad": "mygrad:compile", "tinygrad": "tinygrad:TinyJit", "torch": "torch:compile",
    },
}  # fmt: skip

for _row, _places in NAMES.items():
    for _library, _place in _places.items():
        probe(_row, _library)(lambda _, place=_place: has(*place.split(":")))


@probe("thousand lines of Python", *LIBRARIES)
def _(library: Any) -> Answer:
    return f"{sum(len(path.read_bytes().splitlines()) for path in modules(library)) / 1000:,.1f}"


def table() -> str:
    """The rows as Markdown: a library that is not installed has empty cells."""
    here = {name for name in LIBRARIES if importlib.util.find_spec(name)}
    lines = [["", *(TITLES.get(name, name) for name in LIBRARIES)], ["---", *[":---:"] * len(LIBRARIES)]]
    for row, probes in rows.items():
        lines.append([row, *(_cell(probes, name) if name in here else "" for name in LIBRARIES)])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cell(probes: dict[str, Probe], library: str) -> str:
    answer = probes[library]()
    return answer if isinstance(answer, str) else "yes" if answer else "-"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--write", action="store_true", help=f"write {OUTPUT.name} too; every library must be installed"
    )
    options = parser.parse_args()
    absent = [name for name in LIBRARIES if not importlib.util.find_spec(name)]
    if options.write and absent:
        print(f"--write needs every library; not installed: {', '.join(absent)}", file=sys.stderr)
        return 2
    text = table()
    print(text)
    if options.write:
        versions = ", ".join(f"{TITLES.get(name, name)} {version(name)}" for name in LIBRARIES)
        OUTPUT.write_text(
            f"# What each library has\n\n{text}\n\nFound out by `python -m benchmarks.features --write`, "
            f'which tries every cell, with {versions}. "-" is no.\n'
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
