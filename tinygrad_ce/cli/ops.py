"""`tinygrad-ce ops`: the registry as a table, or one op whole."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import doctest
import inspect
import io
import json
from collections.abc import Callable, Iterator
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_ce import functional as F
from tinygrad_ce.apply import apply
from tinygrad_ce.autograd import grad
from tinygrad_ce.cli.terminal import Table, UsageError, console, say, show
from tinygrad_ce.registry import FusedOp, Op, registry
from tinygrad_ce.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_ce.testing.opinfo import Sample

WIDE_TERMINAL = 150  # columns from which the table shows one line an op

NAME = "ops"
HELP = "list the ops that can be differentiated, or explain one"
DESCRIPTION = """\
Print every registered op: what it is called, what it takes, its formula and that of its
gradient (vjp: vector-Jacobian product; g is the upstream gradient), whether it is fused, and
how often it can be differentiated.

With a NAME, print that op whole: its derivation, its metadata, what it keeps in memory for the
backward pass, the small ops that a fused one stands for, and an example with numbers.
"""

EPILOG = """\
examples:
  tinygrad-ce ops
  tinygrad-ce ops | grep softmax          in a pipe: one line an op, nothing cut off
  tinygrad-ce ops softmax_cross_entropy
  tinygrad-ce ops --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="of one op, to be explained")
    parser.add_argument("--json", action="store_true", help="print JSON: a list of ops, or one op")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    name = arguments.name
    if name is not None and name not in registry:
        near = difflib.get_close_matches(name, registry)
        hint = f"did you mean {' or '.join(near)}?" if near else "`tinygrad-ce ops` lists them"
        raise UsageError(f"no op {name!r} is registered; {hint}")
    if arguments.json:
        found = describe(registry[name]) if name else [describe(registry[key]) for key in sorted(registry)]
        print(json.dumps(found, indent=1))
    elif name:
        explain(registry[name])
    else:
        screen = console()
        ops = [registry[key] for key in sorted(registry)]
        show(_stacked(ops) if screen.is_terminal and screen.width < WIDE_TERMINAL else _table(ops))


def describe(op: type[Op]) -> dict[str, Any]:
    """What the registry knows of an op, for JSON."""
    return {
        "name": op.name,
        "class": op.__name__,
        "module": op.__module__,
        "summary": _documentation(op)[0],
        "inputs": list(op.inputs),
        "optional_inputs": op.optional,
        "variadic": op.variadic,
        "metadata": {key: repr(op.defaults[key]) if key in op.defaults else None for key in op.attributes},
        "formula": op.formula,
        "vjp": op.vjp_formula,
        "latex": op.latex,
        "fused": issubclass(op, FusedOp),
        "orders": orders(op),
    }


def orders(op: type[Op]) -> str:
    """How often an op can be differentiated: its rules are made of ops, so any number of times, or never."""
    return "any" if op.vjp is not None or any(rule is not None for rule in op.vjps) else "none"


def _table(ops: list[type[Op]]) -> Table:
    """One line an op; the long columns come last."""
    head = ("name", "class", "inputs", "fused", "orders", "formula", "vjp")
    rows = [
        (
            op.name, op.__name__, _inputs(op), "fused" if issubclass(op, FusedOp) else "-", orders(op),
            op.formula, op.vjp_formula,
        )
        for op in ops
    ]  # fmt: skip
    return Table(head, rows)


def _stacked(ops: list[type[Op]]) -> Table:
    """The same in fewer columns, for terminals of ordinary width."""
    rows = [
        (
            f"{op.name}\n{op.__name__}({_inputs(op)})", f"{op.formula}\n{op.vjp_formula}",
            "fused" if issubclass(op, FusedOp) else "", orders(op),
        )
        for op in ops
    ]  # fmt: skip
    return Table(("name\nclass(inputs)", "formula\nvjp", "fused", "orders"), rows)


def _inputs(op: type[Op]) -> str:
    if op.variadic:
        return f"*{op.inputs[-1]}"
    required = len(op.inputs) - op.optional
    return ", ".join([*op.inputs[:required], *(f"[{name}]" for name in op.inputs[required:])])


def explain(op: type[Op]) -> None:
    """Print one op whole."""
    summary, derivation = _documentation(op)
    say(op.name, "bold")
    say(summary)
    say()
    function = op.function or getattr(F, op.name)
    facts = {
        "call": f"tinygrad_ce.functional.{op.name}{_signature(function)}",
        "class": f"{op.__module__}.{op.__qualname__}" + (", a fused op" if issubclass(op, FusedOp) else ""),
        "inputs": _inputs(op),
        "metadata": ", ".join(_metadata(op, key) for key in op.attributes) or "none",
        "formula": op.formula,
        "vjp": op.vjp_formula,
        "LaTeX": op.latex,
        "orders": orders(op),
        "broadcasts": "yes" if op.broadcasts else "no",
    }
    for key, value in facts.items():
        if value:
            say(f"{key + ':':<12}{value}")
    _section("Kept for the backward pass", _kept(op))
    if derivation:
        _section("Derivation", derivation.splitlines())
    if issubclass(op, FusedOp):
        source = dedent(inspect.getsource(op.decomposition)).rstrip()
        _section("In small ops", source.removeprefix("@staticmethod\n").splitlines())
    _section("Example", _example(op))


def _section(title: str, lines: list[str]) -> None:
    say()
    say(title, "bold")
    for line in lines:
        say(f"  {line}".rstrip())


def _documentation(op: type[Op]) -> tuple[str, str]:
    """The docstring's first line, and the rest without its examples."""
    text = inspect.cleandoc(op.__doc__ or "")
    summary, _, rest = text.partition("\n")
    parts = doctest.DocTestParser().parse(rest)
    return summary, "".join(part for part in parts if isinstance(part, str)).strip("\n")


def _signature(function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def _metadata(op: type[Op], key: str) -> str:
    return f"{key}={op.defaults[key]!r}" if key in op.defaults else f"{key} (required)"


def _kept(op: type[Op]) -> list[str]:
    """For the gradient of each input, which arrays its rule needs."""
    if orders(op) == "none":
        return ["nothing: it has no gradient"]
    count = 2 if op.variadic else len(op.inputs)
    names = ["itself", "the other operands"] if op.variadic else op.inputs
    lines = []
    for i, name in enumerate(op.inputs):
        if op.vjp is None and op.vjps[i] is None:
            lines.append(f"{name} takes no gradient")
            continue
        plan = op.plan(1 << i, 1 << count)
        residual = issubclass(op, FusedOp) and op.residual
        kept = ["what its forward sets aside (the residual)" if residual else "the output"] if plan.keep_output else []
        kept += [other for j, other in enumerate(names) if j not in plan.dropped]
        lines.append(f"for the gradient of {'each of ' * op.variadic}{name}: {', '.join(kept) or 'nothing'}")
    return lines


def _example(op: type[Op]) -> list[str]:
    """The op run on a small sample: inputs, output, an upstream gradient and the gradients that it brings."""
    from tinygrad_ce.testing.database import database

    if op.name in database:
        samples = [s for s in database[op.name].samples(np.random.default_rng(0)) if all(np.size(x) for x in s.inputs)]
        runs = [(_awkward(op, sample, run), run) for sample in samples for run in [_run(op, sample)]]
        _, best = min(runs, key=lambda pair: pair[0])
        return [line for name, x in best for line in _value(name, x)]
    examples = [part for part in doctest.DocTestParser().parse(op.__doc__ or "") if not isinstance(part, str)]
    return list(_run_doctest(examples)) if examples else ["none: neither the op database nor its docstring has one"]


def _run(op: type[Op], sample: Sample) -> list[tuple[str, Any]]:
    """Every value of a run by its name, in order."""
    names = [f"{op.inputs[-1]}[{i}]" for i in range(len(sample.inputs))] if op.variadic else list(op.inputs)
    rules = [op.vjp] * len(names) if op.vjp is not None else list(op.vjps) or [None] * len(names)
    inputs: dict[str, Any] = {
        name: Tensor(x, requires_grad=True) if rule and isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
        for name, rule, x in zip(names, rules, sample.inputs, strict=False)  # the last inputs may be left out
    }
    z = apply(op, list(inputs.values()), {**op.defaults, **sample.attributes})
    symbol = op.formula.partition(" = ")[0]
    values = [*inputs.items(), *sample.attributes.items(), (symbol if symbol.isalpha() else "output", z)]
    wanted = {name: x for name, x in inputs.items() if isinstance(x, Tensor)}
    if wanted and z.requires_grad:
        g = np.resize(np.array([1.0, -2.0, 0.5, 3.0, -1.5]), z.shape)
        gradients = grad(z, list(wanted.values()), g, allow_unused=True)
        values += [("g", g), *zip([f"d{name}" for name in wanted], gradients, strict=True)]
    return [(name, x.data if isinstance(x, Tensor) else x) for name, x in values]


def _awkward(op: type[Op], sample: Sample, run: list[tuple[str, Any]]) -> tuple[bool, bool, bool, bool, int, int]:
    """The smaller the better to show: small, nothing trivial about it, two-dimensional, close to the defaults."""
    size = sum(np.size(x) for x in sample.inputs if x is not None)
    arrays = [x for _, x in run if isinstance(x, np.ndarray) and x.ndim]
    first = sample.inputs[0]
    return (
        not 4 <= size <= 20,
        len(sample.inputs) < (2 if op.variadic else len(op.inputs)),
        sum(x.shape == np.shape(first) and np.array_equal(x, first) for x in arrays) > 1
        or any(not x.any() for x in arrays if x.dtype.kind == "f"),
        np.ndim(first) != 2,
        sum(repr(value) != repr(op.defaults.get(key)) for key, value in sample.attributes.items()),
        size,
    )


def _value(name: str, x: Any) -> Iterator[str]:
    if isinstance(x, np.ndarray):
        x = x.item() if x.ndim == 0 else np.array2string(x, precision=5, separator=", ", threshold=100)
    text = x if isinstance(x, str) else f"{x:.5g}" if isinstance(x, float) else repr(x)
    first, *rest = f"{name} = {text}".splitlines()
    yield first
    yield from (" " * (len(name) + 3) + line for line in rest)


def _run_doctest(examples: list[doctest.Example]) -> Iterator[str]:
    """The docstring's example and what it prints now."""
    names: dict[str, Any] = {}
    for example in examples:
        first, *rest = example.source.splitlines()
        yield f">>> {first}"
        yield from (f"... {line}" for line in rest)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(example.source, "<docstring>", "single"), names)
        yield from printed.getvalue().splitlines()
