"""Ops and their registry: what an operation is, and where every other part of the library looks it up.

An op is a class that is never instantiated, a small pure rule: `forward` computes a value, `vjps` pull a
gradient back through it (vjp: vector-Jacobian product). Registering it makes it callable, differentiable to
any order, listed, checked and drawn:

>>> import numpy as np
>>> import tinygrad_ce as tg
>>> @tg.register
... class Cube(tg.Op):
...     '''z = x ** 3'''
...
...     formula = "z = x ** 3"
...     vjp_formula = "dx = 3 * x**2 * g"
...     vjps = (lambda g, _z, x: 3 * x**2 * g,)
...
...     @staticmethod
...     def forward(x):
...         return x**3
>>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
>>> x.cube().sum().backward()
>>> x.grad.numpy()
array([ 3., 12.], dtype=float32)
>>> tg.check_op("cube", x)
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import numpy as np

Rule = Callable[..., Any]


class Op:
    """A differentiable operation: static rules, no state, no instances.

    `Multiply(x, y)` applies the op: arrays give an array, and as soon as one input is a Tensor the result is a
    Tensor that knows how it was made.

    A subclass states

    forward(x, y, ..., *, axis, ...)
        the value; arrays are positional, metadata is keyword-only. A NumPy ufunc will do. Inputs are never modified.
    vjps
        one rule for each input, or None for an input without a derivative. A rule takes
        `(g, z, x, y, ..., *, axis, ...)`: the upstream gradient, the output, the inputs, the metadata, and
        returns the gradient of that input. It is a plain NumPy expression (no in-place writing, no `out=`): the
        same rule then runs on arrays and, for a gradient of a gradient, on Tensors.
        A parameter that starts with an underscore is needed for its `shape` and `dtype` alone: its numbers are
        not kept for the backward pass.
    vjp
        instead of `vjps`, one rule for all inputs, for ops of any number of inputs. It takes `needs` (a bool for
        each input) as a further keyword and returns one gradient for each input, None where none is needed.
    broadcasts
        whether inputs broadcast against each other; the engine then sums gradients back to each input's shape.
    """

    name: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    vjp_formula: ClassVar[str] = ""
    latex: ClassVar[str] = ""
    forward: ClassVar[Callable[..., Any]]
    vjps: ClassVar[Sequence[Rule | None]] = ()
    vjp: ClassVar[Rule | None] = None
    broadcasts: ClassVar[bool] = False
    residual: ClassVar[bool] = False
    numpy: ClassVar[tuple[Callable[..., Any], ...]] = ()

    # Read off `forward` by `register`: names of the inputs, how many of them may be left out, whether there may be any
    # number of them; names of the metadata and the defaults of some.
    inputs: ClassVar[tuple[str, ...]]
    optional: ClassVar[int]
    variadic: ClassVar[bool]
    attributes: ClassVar[tuple[str, ...]]
    defaults: ClassVar[Mapping[str, Any]]
    # The typed public function, where `functional` writes one out.
    function: ClassVar[Callable[..., Any] | None] = None

    _plans: ClassVar[dict[tuple[int, int], tuple[tuple[int, ...], bool, tuple[bool, ...]]]]

    def __new__(cls, *inputs: Any, **attributes: Any) -> Any:
        attributes = {**cls.defaults, **attributes}
        for x in inputs:
            apply = getattr(x, "__apply_op__", None)
            if apply is not None:
                return apply(cls, inputs, attributes)
        return cls.forward(*inputs, **attributes)[0] if cls.residual else cls.forward(*inputs, **attributes)

    @classmethod
    def bind(cls, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Split a call's arguments into inputs and metadata: inputs come first, then metadata in declared order."""
        count = len(args) if cls.variadic else len(cls.inputs)
        positional = dict(zip(cls.attributes, args[count:], strict=False))
        attributes = {**cls.defaults, **positional, **kwargs}
        problem = ""
        if not count - cls.optional <= len(args) <= count + len(cls.attributes):
            problem = f"found {len(args)} positional arguments"
        for key in kwargs:
            if key not in cls.attributes or key in positional:
                problem = f"{key!r} is {'given twice' if key in positional else 'unknown'}"
        for key in cls.attributes:
            if key not in attributes:
                problem = f"{key!r} is missing"
        if problem:
            raise TypeError(f"{cls.name}{cls.signature()}: {problem}")
        return args[:count], attributes

    @classmethod
    def signature(cls) -> inspect.Signature:
        """How the op is called: inputs, then metadata in declared order."""
        kind = inspect.Parameter.VAR_POSITIONAL if cls.variadic else inspect.Parameter.POSITIONAL_OR_KEYWORD
        required = len(cls.inputs) - cls.optional
        empty = inspect.Parameter.empty
        return inspect.Signature(
            [
                inspect.Parameter(name, kind, default=empty if i < required or cls.variadic else None)
                for i, name in enumerate(cls.inputs)
            ]
            + [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=cls.defaults.get(name, empty))
                for name in cls.attributes
            ]
        )

    @classmethod
    def plan(cls, needed: int, end: int) -> tuple[tuple[int, ...], bool, tuple[bool, ...]]:
        """What to record of a call: bit i of `needed` is set if input i needs a gradient, and `end` has the bit after.

        The positions of the inputs that need a gradient; whether the rules that will run need the numbers of the
        output, and of each input.
        """
        count = end.bit_length() - 1
        needs = tuple(i for i in range(count) if needed >> i & 1)
        plan = cls._plans[needed, end] = (needs, *cls._keeps(needs, count))
        return plan

    @classmethod
    def _keeps(cls, needs: tuple[int, ...], count: int) -> tuple[bool, tuple[bool, ...]]:
        rules = [cls.vjp] if cls.vjp else [cls.vjps[i] for i in needs if i < len(cls.vjps)]
        used = [_uses(rule, count) for rule in rules if rule is not None]
        return any(u[0] for u in used), tuple(any(u[1 + i] for u in used) for i in range(count))


class FusedOp(Op):
    """An op that does the work of several in one step, and says which ones.

    decomposition(x, y, ..., *, axis, ...)
        the same function spelled in smaller ops. It validates the op, is what the op is drawn as when expanded and
        compared with, and is differentiated in its place when a gradient of a gradient is asked for.
    residual
        True if `forward` takes a further keyword `gradient` (will a gradient be needed?) and returns
        `(z, residual)`; the rules are then handed the residual in place of `z`.
    restore(residual, x, y, ..., *, axis, ...)
        with a residual: the inputs for the decomposition, for an op that did not keep them.
    """

    decomposition: ClassVar[Callable[..., Any]]
    restore: ClassVar[Callable[..., Sequence[Any]] | None] = None

    @classmethod
    def _keeps(cls, needs: tuple[int, ...], count: int) -> tuple[bool, tuple[bool, ...]]:
        output, inputs = super()._keeps(needs, count)
        # without restore() the decomposition has nothing else to start from
        return output or cls.residual, inputs if cls.restore else (True,) * count


_ops: dict[str, type[Op]] = {}
_by_numpy: dict[Callable[..., Any], type[Op]] = {}

registry: Mapping[str, type[Op]] = MappingProxyType(_ops)
"""Every registered op by name; read-only."""

by_numpy: Mapping[Callable[..., Any], type[Op]] = MappingProxyType(_by_numpy)
"""The op that stands for a NumPy function, so that `np.exp(tensor)` finds `exp`; read-only."""

_AnyOp = TypeVar("_AnyOp", bound=type[Op])


def register(op: _AnyOp) -> _AnyOp:
    """Class decorator: check the op's declaration and enter it in the registry under its name.

    The name is the class name in snake case unless the class gives `name`.

    Raises TypeError if the declaration does not fit together, ValueError if the name is taken. Nothing is
    registered then.
    """
    if not (isinstance(op, type) and issubclass(op, Op)):
        raise TypeError(f"register: expected a subclass of Op, found {op!r}; write class MyOp(Op): ...")
    name = op.__dict__.get("name") or _snake_case(op.__name__)
    if not name.isidentifier():
        raise ValueError(f"register: the name {name!r} of {op.__name__} is not an identifier")
    if name in _ops:
        raise ValueError(
            f"register: the name {name!r} is taken by {_ops[name].__module__}.{_ops[name].__qualname__}; "
            f'give {op.__name__} another one, name = "..."'
        )
    if not callable(getattr(op, "forward", None)):
        raise TypeError(f"register: {op.__name__} has no forward(x, ..., *, metadata)")
    if issubclass(op, FusedOp) and not callable(getattr(op, "decomposition", None)):
        raise TypeError(f"register: the fused op {op.__name__} has no decomposition(x, ..., *, metadata)")
    op.inputs, op.optional, op.variadic, op.attributes, op.defaults = _signature(op)
    if op.vjp is None and op.vjps and (op.variadic or len(op.vjps) != len(op.inputs)):
        raise TypeError(
            f"register: {op.__name__} has {len(op.vjps)} vjps for the inputs ({', '.join(op.inputs)}); give one rule "
            "for each input, None where there is no derivative, or a single vjp for any number of inputs"
        )
    for rule in (*op.vjps, op.vjp):
        if rule is not None and not callable(rule):
            raise TypeError(f"register: {op.__name__} has a vjp that is no function: {rule!r}")
    op.name = name
    op._plans = {}
    _ops[name] = op
    ufunc = (op.forward,) if isinstance(op.forward, np.ufunc) else ()
    for numpy_function in (*ufunc, *op.numpy):
        _by_numpy.setdefault(numpy_function, op)
    return op


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _signature(op: type[Op]) -> tuple[tuple[str, ...], int, bool, tuple[str, ...], dict[str, Any]]:
    if isinstance(op.forward, np.ufunc):
        return ("x", "y", "w")[: op.forward.nin], 0, False, (), {}
    parameters = list(inspect.signature(op.forward).parameters.values())
    metadata = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    if issubclass(op, FusedOp) and op.residual:
        metadata = [p for p in metadata if p.name != "gradient"]
    defaults = {p.name: p.default for p in metadata if p.default is not inspect.Parameter.empty}
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    if not positional:
        raise TypeError(f"register: {op.__name__}.forward takes no array; write forward(x, ..., *, metadata)")
    optional = sum(p.default is not inspect.Parameter.empty for p in positional)
    variadic = positional[-1].kind is inspect.Parameter.VAR_POSITIONAL
    return tuple(p.name for p in positional), optional, variadic, tuple(p.name for p in metadata), defaults


def _uses(rule: Rule, count: int) -> tuple[bool, ...]:
    """Of a rule's parameters after g, the output and `count` inputs: is it used for its numbers?"""
    kept: list[bool] = []
    for p in list(inspect.signature(rule).parameters.values())[1:]:
        if p.kind is p.VAR_POSITIONAL:
            kept += [not p.name.startswith("_")] * (1 + count - len(kept))
        elif p.kind is not p.KEYWORD_ONLY:
            kept.append(not p.name.startswith("_"))
    return (*kept, *[False] * (1 + count - len(kept)))
