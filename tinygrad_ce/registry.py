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
import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

Rule = Callable[..., Any]


class Plan(NamedTuple):
    """What is recorded of a call, given which of its inputs need a gradient."""

    needs: tuple[int, ...]  # positions of the inputs that need one
    constants: tuple[int, ...]  # positions of the others
    keep_output: bool  # whether the rules that will run use the output's numbers
    dropped: tuple[int, ...]  # positions of the inputs of which they use the shape and dtype alone


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
    meaning
        what the numbers it makes are, such as "probabilities", or "inherited" for an op that only moves numbers about.
        Tensors remember it, so that a loss can tell that it was given probabilities instead of logits.
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
    meaning: ClassVar[str | None] = None
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

    _plans: ClassVar[dict[int, Plan]]

    def __new__(cls, *inputs: Any, **attributes: Any) -> Any:
        if _ops.get(cls.name) is not cls:
            raise TypeError(f"{cls.__name__} is not registered; write @register above the class")
        cls._check_count(inputs)
        attributes = cls._complete(attributes)
        for x in inputs:
            apply = getattr(x, "__apply_op__", None)
            if apply is not None:
                return apply(cls, inputs, attributes)
        return cls.forward(*inputs, **attributes)[0] if cls.residual else cls.forward(*inputs, **attributes)

    @classmethod
    def bind(cls, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Split a call's arguments into inputs and metadata: inputs come first, then metadata in declared order."""
        given = dict(kwargs)
        count = len(args) if cls.variadic else len(cls.inputs)
        inputs = list(args[:count])
        inputs += [given.pop(name) for name in cls.inputs[len(args) : count] if name in given]
        positional = dict(zip(cls.attributes, args[count:], strict=False))
        twice = [key for key in given if key in positional or (key in cls.inputs and not cls.variadic)]
        if twice:
            raise TypeError(f"{cls.name}{cls.signature()}: {twice[0]!r} is given twice")
        cls._check_count([*inputs, *args[count + len(positional) :]], len(args))
        return inputs, cls._complete({**positional, **given})

    @classmethod
    def _check_count(cls, inputs: Sequence[Any], found: int | None = None) -> None:
        if not cls.variadic and not len(cls.inputs) - cls.optional <= len(inputs) <= len(cls.inputs):
            found = len(inputs) if found is None else found
            raise TypeError(f"{cls.name}{cls.signature()}: found {found} positional arguments")

    @classmethod
    def _complete(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The metadata with defaults filled in and Tensors replaced by their arrays."""
        attributes = {**cls.defaults, **given}
        for key, value in attributes.items():
            if key not in cls.attributes:
                raise TypeError(f"{cls.name}{cls.signature()}: {key!r} is unknown")
            if hasattr(value, "__apply_op__"):
                if value.requires_grad:
                    raise TypeError(
                        f"{cls.name}: {key!r} is metadata, through which no gradient flows; make it an input of the "
                        f"op, or pass {key}.detach()"
                    )
                attributes[key] = value.data
        for key in cls.attributes:
            if key not in attributes:
                raise TypeError(f"{cls.name}{cls.signature()}: {key!r} is missing")
        return attributes

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
    def input_name(cls, i: int) -> str:
        """What the op calls its input number i."""
        rest = i - len(cls.inputs) + 1
        return f"{cls.inputs[-1]}[{rest}]" if cls.variadic and rest >= 0 else cls.inputs[i]

    @classmethod
    def explained(cls, error: Exception, arrays: Sequence[Any]) -> Exception:
        """An error that `forward` raised, saying which op it was and what it was given."""
        if str(error).startswith(cls.name):
            return error
        shapes = ", ".join(str(x.shape) if isinstance(x, np.ndarray) else repr(x) for x in arrays)
        kind = next((k for k in (IndexError, ValueError) if isinstance(error, k)), TypeError)
        return kind(f"{cls.name} of {shapes}: {error}")

    @classmethod
    def plan(cls, needed: int, end: int) -> Plan:
        """What to record of a call. Bit i of `needed` is set if input i needs a gradient; `end` is the bit after."""
        count = end.bit_length() - 1
        needs = tuple(i for i in range(count) if needed >> i & 1)
        keep_output, keep_inputs = cls._keeps(needs, count)
        constants = tuple(i for i in range(count) if i not in needs)
        dropped = tuple(i for i in range(count) if not keep_inputs[i])
        plan = cls._plans[needed | end] = Plan(needs, constants, keep_output, dropped)
        return plan

    @classmethod
    def _keeps(cls, needs: tuple[int, ...], count: int) -> tuple[bool, tuple[bool, ...]]:
        """Whether the rules that will run use the numbers of the output, and of each of `count` inputs."""
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

reserved: set[str] = set()
"""Names that no op may have, because a Tensor has them."""

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
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"register: the name {name!r} of {op.__name__} cannot be written as a function's name")
    if name in reserved:
        raise ValueError(f"register: the name {name!r} of {op.__name__} is taken by Tensor or functional; give another")
    old = _ops.get(name)
    again = old is not None and op.__module__ == old.__module__ == "__main__" and op.__qualname__ == old.__qualname__
    if old is not None and not again:  # a notebook cell that is run again may define its op again
        raise ValueError(
            f"register: the name {name!r} is taken by {old.__module__}.{old.__qualname__}; "
            f'give {op.__name__} another one, name = "..."'
        )
    if not callable(getattr(op, "forward", None)):
        raise TypeError(f"register: {op.__name__} has no forward(x, ..., *, metadata)")
    if issubclass(op, FusedOp) and not callable(getattr(op, "decomposition", None)):
        raise TypeError(f"register: the fused op {op.__name__} has no decomposition(x, ..., *, metadata)")
    if not isinstance(op.vjps, (tuple, list)) or (op.vjps and op.vjp is not None):
        raise TypeError(f"register: {op.__name__} needs vjps = (rule, ...), one for each input, or one vjp for all")
    op.inputs, op.optional, op.variadic, op.attributes, op.defaults = _signature(op)
    if op.vjps and (op.variadic or len(op.vjps) != len(op.inputs)):
        raise TypeError(
            f"register: {op.__name__} has {len(op.vjps)} vjps for the inputs ({', '.join(op.inputs)}); give one rule "
            "for each input, None where there is no derivative, or a single vjp for any number of inputs"
        )
    least = len(op.inputs) - op.optional
    for i, rule in enumerate(op.vjps):
        _check_rule(op, rule, op.attributes, max(least, i + 1))
    _check_rule(op, op.vjp, (*op.attributes, "needs"), least)
    op.name = name
    op._plans = {}
    if "function" not in op.__dict__:  # not that of the op it is derived from
        op.function = None
    _ops[name] = op
    ufunc = (op.forward,) if isinstance(op.forward, np.ufunc) else ()
    for numpy_function in (*ufunc, *op.numpy):
        if _by_numpy.get(numpy_function, old) is old:  # it keeps the op that had it first, or what replaces that
            _by_numpy[numpy_function] = op
    return op


def _check_rule(op: type[Op], rule: Rule | None, metadata: Sequence[str], least: int) -> None:
    if rule is None:
        return
    if not callable(rule):
        raise TypeError(f"register: {op.__name__} has a vjp that is no function: {rule!r}")
    for count in range(least, len(op.inputs) + 1):
        try:
            inspect.signature(rule).bind(*[None] * (2 + count), **dict.fromkeys(metadata))
        except TypeError as error:
            expected = ", ".join(("g", "z", *op.inputs, *(["*", *metadata] if metadata else [])))
            raise TypeError(f"register: a vjp of {op.__name__} is called as ({expected}): {error}") from None


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
