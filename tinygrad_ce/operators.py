"""Python's operators, the registered ops as methods, and NumPy's functions, all in terms of the registry."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from tinygrad_ce.arrays import plain
from tinygrad_ce.methods import Methods
from tinygrad_ce.mode import mode
from tinygrad_ce.registry import Op, by_numpy, registry

# Piecewise constant or not of real values: computed on the arrays, no gradient flows through the result.
_CONSTANT = frozenset({
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.isclose,
    np.logical_and, np.logical_or, np.logical_not, np.logical_xor, np.invert, np.bitwise_and, np.bitwise_or,
    np.bitwise_xor, np.isnan, np.isinf, np.isfinite, np.signbit, np.any, np.all, np.count_nonzero,
    np.argmax, np.argmin, np.argsort, np.argpartition, np.searchsorted,
    np.sign, np.floor, np.ceil, np.trunc, np.rint, np.round, np.floor_divide,
    np.zeros_like, np.ones_like, np.empty_like, np.full_like,
})  # fmt: skip
# Answered by NumPy itself on the arrays.
_INSPECT = frozenset({
    np.shape, np.ndim, np.size, np.allclose, np.array_equal, np.array2string, np.array_repr, np.array_str,
    np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.result_type, np.can_cast,
    np.shares_memory, np.may_share_memory, np.iscomplexobj, np.isrealobj,
})  # fmt: skip
_CONSTANT_METHODS = frozenset({"any", "all", "argmax", "argmin", "argsort", "round"})
# What stands here for names of PyTorch and NumPy that a Tensor does not have.
_INSTEAD = {
    "view": "write x.reshape(shape)",
    "flatten": "write x.reshape(-1)",
    "ravel": "write x.reshape(-1)",
    "permute": "write x.transpose(axes)",
    "t": "write x.T",
    "unsqueeze": "write np.expand_dims(x, axis)",
    "mm": "write x @ y",
    "dot": "write x @ y",
    "clamp": "write x.clip(low, high)",
    "float": "write x.astype(np.float32)",
    "double": "write x.astype(np.float64)",
    "half": "write x.astype(np.float16)",
    "long": "write x.astype(np.int64)",
    "to": "write x.astype(dtype); there are no devices",
    "cuda": "leave it out: there are no devices",
    "cpu": "leave it out: there are no devices",
}


class Operators(Methods):
    """What makes a Tensor feel like an array. It applies ops through `__apply_op__` and knows nothing else of it."""

    __slots__ = ()
    __apply_op__: ClassVar[Callable[..., Any]]  # (op, inputs, attributes): the result, recorded
    __constant__: ClassVar[Callable[..., Any]]  # (array): a Tensor outside any graph

    def _apply(self, name: str, *inputs: Any) -> Self:
        for x in inputs:
            if not isinstance(x, _OPERANDS):
                return NotImplemented  # type: ignore[no-any-return]
        result: Self = Operators.__apply_op__(registry[name], inputs)
        return result

    def _compare(self, ufunc: np.ufunc, *others: Any) -> Self:
        for x in others:
            if not isinstance(x, _OPERANDS):
                return NotImplemented  # type: ignore[no-any-return]
        result: Self = _constant(ufunc, self, *others)
        return result

    @property
    def T(self) -> Self:
        """All axes reversed."""
        result: Self = public_function(registry["transpose"])(self)
        return result

    def __add__(self, other: Any) -> Self:
        return self._apply("add", self, other)

    def __radd__(self, other: Any) -> Self:
        return self._apply("add", other, self)

    def __sub__(self, other: Any) -> Self:
        return self._apply("sub", self, other)

    def __rsub__(self, other: Any) -> Self:
        return self._apply("sub", other, self)

    def __mul__(self, other: Any) -> Self:
        return self._apply("mul", self, other)

    def __rmul__(self, other: Any) -> Self:
        return self._apply("mul", other, self)

    def __truediv__(self, other: Any) -> Self:
        return self._apply("div", self, other)

    def __rtruediv__(self, other: Any) -> Self:
        return self._apply("div", other, self)

    def __pow__(self, other: Any) -> Self:
        return self._apply("pow", self, other)

    def __rpow__(self, other: Any) -> Self:
        return self._apply("pow", other, self)

    def __matmul__(self, other: Any) -> Self:
        return self._apply("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Self:
        return self._apply("matmul", other, self)

    def _rebound(self, name: str, other: Any) -> Self:
        tensor: Any = self
        if tensor.is_leaf and tensor.requires_grad and not mode.recording:
            raise RuntimeError(
                "inside no_grad(), x += y and the like would make a new tensor and leave this leaf as it was; write "
                "x.data += y.data to change it in place"
            )
        return self._apply(name, self, other)

    def __iadd__(self, other: Any) -> Self:
        return self._rebound("add", other)

    def __isub__(self, other: Any) -> Self:
        return self._rebound("sub", other)

    def __imul__(self, other: Any) -> Self:
        return self._rebound("mul", other)

    def __itruediv__(self, other: Any) -> Self:
        return self._rebound("div", other)

    def __neg__(self) -> Self:
        return self._apply("neg", self)

    def __pos__(self) -> Self:
        return self

    def __abs__(self) -> Self:
        return self._apply("abs", self)

    def __eq__(self, other: object) -> Self:  # type: ignore[override]
        return self._compare(np.equal, other)

    def __ne__(self, other: object) -> Self:  # type: ignore[override]
        return self._compare(np.not_equal, other)

    def __lt__(self, other: Any) -> Self:
        return self._compare(np.less, other)

    def __le__(self, other: Any) -> Self:
        return self._compare(np.less_equal, other)

    def __gt__(self, other: Any) -> Self:
        return self._compare(np.greater, other)

    def __ge__(self, other: Any) -> Self:
        return self._compare(np.greater_equal, other)

    def __invert__(self) -> Self:
        return self._compare(np.invert)

    def __and__(self, other: Any) -> Self:
        return self._compare(np.bitwise_and, other)

    def __or__(self, other: Any) -> Self:
        return self._compare(np.bitwise_or, other)

    def __xor__(self, other: Any) -> Self:
        return self._compare(np.bitwise_xor, other)

    def __floordiv__(self, other: Any) -> Self:
        return self._compare(np.floor_divide, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    __hash__ = object.__hash__

    def __getitem__(self, index: Any) -> Self:
        item: Self = public_function(registry["getitem"])(self, index)
        return item

    # Ops as methods, and NumPy's functions on Tensors

    def __getattr__(self, name: str) -> Callable[..., Any]:
        op = registry.get(name)
        if op is not None:
            return types.MethodType(public_function(op), self)
        if name in _CONSTANT_METHODS:
            return functools.partial(_constant, getattr(np, name), self)
        hint = f"; {_INSTEAD[name]}" if name in _INSTEAD else ""
        raise AttributeError(f"Tensor has no attribute and no registered op {name!r}{hint}", name=name, obj=self)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *registry, *_CONSTANT_METHODS})

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__":
            raise _unsupported(f"np.{ufunc.__name__}.{method}")
        if set(kwargs) == {"out"} and not any(_is_tracked(x) for x in (*inputs, *kwargs["out"])):
            return ufunc(*plain(inputs), out=plain(kwargs["out"]))  # array -= tensor: outside any graph
        if kwargs:
            raise _unsupported(f"np.{ufunc.__name__} with {'=, '.join(kwargs)}=")
        return _numpy_function(ufunc, inputs, kwargs)

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        if function is np.copyto and not isinstance(args[0], Operators):  # reading a tensor, not writing into one
            return np.copyto(*plain(args), **plain(kwargs))
        return _numpy_function(function, args, kwargs)


_OPERANDS = (Operators, np.ndarray, np.generic, int, float, list, tuple)


def _constant(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return Operators.__constant__(np.asarray(function(*plain(args), **plain(kwargs))))


def public_function(op: type[Op]) -> Callable[..., Any]:
    """The function by which users call an op: the one that was written for it, else inputs first, then metadata."""
    if op.function is not None:
        return op.function

    def unary(x: Any) -> Any:
        return Operators.__apply_op__(op, (x,))

    def binary(x: Any, y: Any) -> Any:
        return Operators.__apply_op__(op, (x, y))

    def general(*args: Any, **kwargs: Any) -> Any:
        return Operators.__apply_op__(op, *op.bind(args, kwargs))

    common: dict[tuple[str, ...], Callable[..., Any]] = {("x",): unary, ("x", "y"): binary}
    function = general if op.attributes or op.variadic else common.get(op.inputs, general)
    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.__doc__
    function.__signature__ = op.signature()  # type: ignore[attr-defined]
    op.function = function
    return function


def _numpy_function(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    op = by_numpy.get(function)
    if op is not None:
        public = public_function(op)
        try:
            return public(*args, **kwargs)
        except TypeError as error:
            if not str(error).startswith(f"{public.__name__}()"):
                raise
            signature = f"{public.__name__}{inspect.signature(public)}"
            raise TypeError(f"np.{function.__name__}: {error}; on Tensors it is {signature}") from None
    if function in _CONSTANT:
        return _constant(function, *args, **kwargs)
    if function in _INSPECT:
        return function(*plain(args), **plain(kwargs))
    if function in (np.dot, np.ravel):
        name = function.__name__
        raise TypeError(f"np.{name} is not supported on Tensors; {_INSTEAD[name]}")
    module = getattr(function, "__module__", None) or "numpy"
    raise _unsupported(f"{module.replace('numpy', 'np', 1)}.{function.__name__}")


def _is_tracked(x: Any) -> bool:
    return isinstance(x, Operators) and getattr(x, "requires_grad", False)


def _unsupported(what: str) -> TypeError:
    return TypeError(
        f"{what} is not supported on Tensors; use a registered op (`tinygrad-ce ops` lists them), register one, "
        "or compute on tensor.numpy() without a gradient"
    )
