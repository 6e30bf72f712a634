"""`tinygrad-ce draw`: a picture of a network made up on the spot, or of what a script computes."""

from __future__ import annotations

import argparse
import runpy
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce import engine
from tinygrad_ce.cli.arguments import at_least, one_of, sizes
from tinygrad_ce.cli.recipe import ACTIVATIONS
from tinygrad_ce.cli.terminal import UsageError, one_line, say
from tinygrad_ce.compare import CHAINS
from tinygrad_ce.functional import softmax_cross_entropy
from tinygrad_ce.graph import Graph
from tinygrad_ce.graph.fold import fold
from tinygrad_ce.nn import MLP, Module
from tinygrad_ce.tensor import Tensor
from tinygrad_ce.viz import Picture, RenderError, draw, draw_comparison
from tinygrad_ce.viz.drawing import GraphDrawing

LOSSES: Mapping[str, Callable[[Tensor, NDArray[Any]], Tensor]] = {
    "fused": softmax_cross_entropy,
    "unfused": CHAINS["softmax, log, pick"],
}
MADE: Mapping[str, Any] = {"activation": "relu", "batch": 32, "loss": "fused", "seed": 0}
FORMS: Mapping[str, Callable[[Picture], str | bytes]] = {
    "svg": lambda picture: picture.svg(),
    "png": lambda picture: picture.png(),
    "pdf": lambda picture: picture.pdf(),
    "html": lambda picture: picture.html(),
    "txt": lambda picture: picture.text() + "\n",
    "dot": lambda picture: picture.dot,
}
SUFFIXES = {**{f".{form}": form for form in FORMS}, ".gv": "dot", ".htm": "html"}
BINARY = ("png", "pdf")

NAME = "draw"
HELP = "draw a computation graph, of a network or of a script's tensors"
DESCRIPTION = """\
Draw a computation graph: a card for every op, with the shape it makes, the gradient that reaches
it, and the bytes it keeps for the backward pass.

What is drawn is either the loss of a multi-layer perceptron, made with random weights on a
random batch (--model), or what a script leaves in a variable (FILE.py:NAME): a Tensor, a list of
Tensors, or a Picture. The script is run as `python FILE.py` would run it; what it prints goes to
standard error. Tensors and arrays are called what the script calls them, and parameters by their
path in its `model`, or in the only Module of it that is drawn.
"""

EPILOG = """\
formats:
  txt   a table for the terminal; what there is without --out, --open and --format
  html  a page that steps through the forward and the backward pass; what there is with --open
  svg, png, pdf, dot

examples:
  tinygrad-ce draw --model 64-32-10
  tinygrad-ce draw --model 64-32-10 --loss both --open
  tinygrad-ce draw --model 64-32-10 --expand softmax_cross_entropy --out graph.svg
  tinygrad-ce draw train.py:loss --open
  tinygrad-ce draw train.py:loss --format dot | dot -Tpng > graph.png

exit status: 0 done, 2 wrong usage, a script that fails, or nothing to draw with
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("script", nargs="?", metavar="FILE.py:NAME", help="a script, and what to draw of it")
    made = parser.add_argument_group("a network made on the spot")
    made.add_argument("--model", type=sizes, metavar="SIZES", help="units of its layers, such as 784-256-10")
    made.add_argument("--activation", type=one_of(*ACTIVATIONS), metavar="NAME",
                      help="between its layers (default: relu)")  # fmt: skip
    made.add_argument("--loss", type=one_of(*LOSSES, "both"), metavar="HOW",
                      help="fused, unfused, or both side by side (default: fused)")  # fmt: skip
    made.add_argument("--batch", type=at_least(1), metavar="N", help="rows of its input (default: 32)")
    made.add_argument("--seed", type=at_least(0), metavar="N", help="of the random numbers (default: 0)")
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--expand", action="append", default=[], metavar="NAME",
                       help="a fused op to draw in small steps, or a module to open; may be repeated")  # fmt: skip
    shown.add_argument(
        "--depth",
        type=at_least(1),
        metavar="N",
        help="levels of modules to look into: 1 draws the outermost as a card each",
    )
    shown.add_argument("--direction", type=one_of("TB", "LR"), metavar="TB|LR",
                       help="from top to bottom (default), or from left to right")  # fmt: skip
    to = parser.add_argument_group("where to")
    to.add_argument("--out", metavar="FILE", help="where to write; - is standard output (default)")
    to.add_argument("--format", type=one_of(*FORMS), metavar="NAME",
                    help=f"{', '.join(FORMS)} (default: what the name in --out ends in)")  # fmt: skip
    to.add_argument("--open", action="store_true", help="show it in the browser")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    form, path = _destination(arguments)
    options = {
        key: value for key in ("expand", "depth", "direction") if (value := getattr(arguments, key)) not in (None, [])
    }
    if arguments.model is not None:
        if arguments.script is not None:
            raise UsageError(f"draw --model or {arguments.script}, not both")
        chosen = {name: default if (x := getattr(arguments, name)) is None else x for name, default in MADE.items()}
        with _explained():
            picture = _of_model(arguments.model, **chosen, options=options)
            content = _content(picture, form)
    elif arguments.script is not None:
        given = next((name for name in MADE if getattr(arguments, name) is not None), None)
        if given is not None:
            raise UsageError(f"--{given} is for --model: leave it out with a script")
        with _running(arguments.script) as (file, name, namespace), _explained(f"{file}:{name}: "):
            picture = _of_script(file, name, namespace, options)
            content = _content(picture, form)
    else:
        raise UsageError("say what to draw: --model 784-256-10, or FILE.py:NAME; see tinygrad-ce draw --help")
    _deliver(content, form, path, arguments.open)


def _destination(arguments: argparse.Namespace) -> tuple[str, Path | None]:
    """The format and the file, found before any work is done; None is standard output."""
    path = None if arguments.out in (None, "-") else Path(arguments.out)
    form: str | None = arguments.format
    if path is None:
        if arguments.open and arguments.out == "-":
            raise UsageError("--open needs a file: leave out --out -")
        form = form or ("html" if arguments.open else "txt")
        if form in BINARY and not arguments.open and sys.stdout.isatty():
            raise UsageError(f"--format {form} is not for a terminal: give --out graph.{form}, or redirect the output")
        return form, path
    implied = SUFFIXES.get(path.suffix.lower())
    if form is None and implied is None:
        raise UsageError(f"--out: {path}: expected a name that ends in {', '.join(SUFFIXES)}, or --format")
    if form is not None and implied not in (None, form):
        raise UsageError(f"--out {path} and --format {form} do not agree: leave out one of them")
    if path.is_dir():
        raise UsageError(f"--out: {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"--out: cannot write to {path}: there is no folder {path.parent}")
    return str(form or implied), path


@contextmanager
def _explained(where: str = "") -> Iterator[None]:
    """Errors of the library in one line."""
    try:
        yield
    except UsageError:
        raise
    except RenderError as error:
        raise UsageError(f"{error}; --format txt needs no program") from None
    except MemoryError:
        raise UsageError(f"{where}not enough memory") from None
    except (ValueError, TypeError, RuntimeError) as error:
        raise UsageError(f"{where}{one_line(error)}") from None
    except Exception as error:  # a rule or a hook of the script's own may raise anything
        raise UsageError(f"{where}{type(error).__name__}: {one_line(error)}") from None


def _of_model(
    sizes: Sequence[int], activation: str, batch: int, loss: str, seed: int, options: Mapping[str, Any]
) -> Picture:
    rng = np.random.default_rng(seed)
    model = MLP(sizes, activation, generator=rng)
    x = rng.standard_normal((batch, sizes[0]), dtype=np.float32)
    y = rng.integers(0, sizes[-1], batch)

    def loss_of(kind: str) -> Tensor:
        made = LOSSES[kind](model(x), y)
        made.name = "loss"
        return made

    known: dict[str, Any] = {"model": model, "inputs": {"x": x, "y": y}, **options}
    if loss == "both":
        return draw_comparison(loss_of("unfused"), loss_of("fused"), titles=("unfused", "fused"), **known)
    return draw(loss_of(loss), gradients=True, **known)


@contextmanager
def _running(script: str) -> Iterator[tuple[Path, str, Mapping[str, Any]]]:
    """Run a script as Python would; its path, the name that is asked for, and its variables."""
    before, _, after = script.rpartition(":")
    text, name = (script, "") if script.endswith(".py") else (before, after)
    file = Path(text)
    if file.suffix != ".py":
        raise UsageError(f"expected FILE.py:NAME, such as train.py:loss, found {script!r}")
    if not file.is_file():
        raise UsageError(f"cannot read {file}: {'it is a folder' if file.is_dir() else 'there is no such file'}")
    path, arguments = str(file), sys.argv
    sys.argv = [path]
    sys.path.insert(0, folder := str(file.resolve().parent))
    try:
        with redirect_stdout(sys.stderr):
            yield file, name, _run(path)
    finally:
        sys.argv = arguments
        if folder in sys.path:
            sys.path.remove(folder)


def _run(path: str) -> Mapping[str, Any]:
    try:
        return runpy.run_path(path, run_name="__main__")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, OSError) and error.filename == path:
            raise UsageError(f"cannot read {path}: {error.strerror}") from None
        raise UsageError(_failure(path, error)) from None


def _failure(path: str, error: BaseException) -> str:
    """An error of the script in one line, with the number of the last of its own lines that led there."""
    line, trace = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f"{path}, line {line}" if line else path
    if isinstance(error, SystemExit):
        return f"{where}: the script left by sys.exit({error.code or ''}), and its variables are gone"
    message = error.msg if isinstance(error, SyntaxError) else one_line(error)  # whose text has the place once more
    return f"{where}: {type(error).__name__}: {message}"


def _of_script(file: Path, name: str, namespace: Mapping[str, Any], options: Mapping[str, Any]) -> Picture:
    variables = {key: value for key, value in namespace.items() if not key.startswith("_")}
    drawn: Any = namespace.get(name)
    if not _is_drawable(drawn):
        there = [key for key, value in variables.items() if _is_drawable(value)]
        found = f"{name} is of type {type(drawn).__name__}" if name in namespace else f"it has no {name!r}"
        if not name:
            found = "say which of its variables to draw"
        raise UsageError(f"{file}: {found}; Tensors and pictures in it: {_listed(there) or 'none'}")
    if isinstance(drawn, Picture):
        if options:
            raise UsageError(f"--{next(iter(options))} is for Tensors: {file}:{name} is a Picture")
        return drawn
    if isinstance(drawn, Graph):
        direction = options.get("direction", "TB")
        return Picture(GraphDrawing(fold(drawn, options.get("depth"), options.get("expand", ())), direction=direction))
    outputs = [drawn] if isinstance(drawn, Tensor) else list(drawn)
    nodes = engine.topological(z.node for z in outputs)
    live = all(node.saved is not None for node in nodes)
    scalar = all(z.size == 1 and z.requires_grad for z in outputs)
    graph = {*outputs, *nodes, *(x for node in nodes for x in node.inputs)}
    model = _model_in(variables, graph)
    inputs = _named(variables, graph, model)
    return draw(outputs, model=model, inputs=inputs, gradients=True if live and scalar else "auto", **options)


def _is_drawable(value: Any) -> bool:
    if isinstance(value, (list, tuple)) and value:
        return all(isinstance(z, Tensor) for z in value)
    return isinstance(value, (Tensor, Picture, Graph))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more


def _model_in(variables: Mapping[str, Any], graph: set[Any]) -> Module | None:
    """The Module called `model`, else the only one, of those that have a part in the graph."""
    modules = {
        key: module
        for key, module in variables.items()
        if isinstance(module, Module) and any(p in graph or not p.requires_grad for p in module.parameters())
    }
    if "model" in modules:
        return modules["model"]
    return next(iter(modules.values())) if len({id(x) for x in modules.values()}) == 1 else None


def _named(variables: Mapping[str, Any], graph: set[Any], model: Module | None) -> dict[str, Tensor | NDArray[Any]]:
    """The inputs that variables name; ops, and parameters that no model names, get the variable's name.

    `inputs` is not the place for these: a parameter would be taken for an input, and one that is not in the graph
    for detached.
    """
    inputs: dict[str, Tensor | NDArray[Any]] = {}
    of_model = {id(p) for p in model.parameters()} if model is not None else set()
    for key, value in variables.items():
        if isinstance(value, np.ndarray) or (isinstance(value, Tensor) and not value.requires_grad):
            inputs[key] = value
        elif isinstance(value, Tensor) and (value.node or value) in graph and id(value) not in of_model:
            if model is not None and value.node is None:
                inputs[key] = value
            elif not value.name:
                value.name = key
    return inputs


def _content(picture: Picture, form: str) -> bytes:
    content = FORMS[form](picture)
    return content.encode() if isinstance(content, str) else content


def _deliver(content: bytes, form: str, path: Path | None, show: bool) -> None:
    """Write it, and show it if asked to."""
    if path is None and not show:
        if form == "txt":
            sys.stdout.write(content.decode())
        else:
            sys.stdout.buffer.write(content)
        return
    if path is None:
        path = Path(tempfile.mkdtemp(prefix="tinygrad-ce-")) / f"graph.{form}"
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"--out: cannot write to {path}: {error.strerror or error}") from None
    if show and not webbrowser.open(path.resolve().as_uri()):
        raise UsageError(f"--open: there is no browser to show {path}, which is written")
    say(f"Written to {path}")
