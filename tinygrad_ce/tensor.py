"""The Tensor: an array that remembers which op made it, so that a gradient can be pulled back through it."""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_ce.arrays import check_differentiable, plain, summary, to_array
from tinygrad_ce.autograd import RemovableHandle, incoming, own, run
from tinygrad_ce.engine import Node
from tinygrad_ce.mode import enable_grad
from tinygrad_ce.operators import Operators
from tinygrad_ce.registry import reserved

Array: TypeAlias = NDArray[Any]
TensorLike: TypeAlias = "Tensor | Array | float | Sequence[Any]"

SUMMED = "sum of several backward passes"  # what a gradient means to which more than one has added
_handles = itertools.count()


class Tensor(Operators):
    """An n-dimensional array of numbers that records what is computed with it.

    data            array, nested list or number. Arrays keep their dtype; lists of numbers and Python floats get the
                    default dtype (float32, see `set_default_dtype`)
    requires_grad   ask for gradients with respect to this tensor, a *leaf*: `backward()` leaves them in `.grad`.
                    The leaf owns its memory (the array is copied); without `requires_grad` an array is shared
    dtype           convert to this dtype: float16, float32, float64, an integer or bool
    name            shown in pictures and messages

    Raises TypeError for data that is not real numbers, for `requires_grad=True` on integers or bools, and for a
    `requires_grad` that is neither True nor False.

    Arrays are not copied into the graph: one that is changed between forward and backward, a parameter by an optimizer
    say, changes the gradient. `detect_anomaly` finds such a change.

    A Tensor has NumPy's operators, and as methods every registered op under NumPy's name and signature; NumPy's own
    functions take Tensors too.

    >>> import tinygrad_ce as tg
    >>> x = tg.Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> loss = (x * x).sum()
    >>> loss.backward()
    >>> x.grad
    Tensor([[2., 4.], [6., 8.]], shape=(2, 2), dtype=float32)
    """

    __slots__ = ("__weakref__", "_data", "_grad", "_hooks", "_meaning", "_name", "_requires_grad", "node")

    _data: Array
    _grad: Tensor | None
    _hooks: dict[int, Callable[[Any], Any]] | None
    _meaning: str | None
    _name: str | None
    _requires_grad: bool
    node: Node | None  # what made it; None for a leaf

    def __init__(
        self, data: TensorLike, requires_grad: bool = False, dtype: DTypeLike | None = None, name: str | None = None
    ) -> None:
        array = to_array(data, dtype)
        if not isinstance(requires_grad, (bool, np.bool_)):
            raise TypeError(
                f"Tensor: requires_grad={requires_grad!r}; expected True or False. The data comes first; "
                "for zeros of a shape write Tensor(np.zeros(shape))"
            )
        if requires_grad:
            check_differentiable(array.dtype)
            array = array.copy()
        self._data = array
        self._requires_grad = bool(requires_grad)
        self._grad = None
        self._hooks = None
        self._meaning = None
        self._name = name
        self.node = None

    # What it is

    @property
    def data(self) -> Array:
        """The array itself, not a copy. Writing into it is not recorded: it is meant for optimizers and for reading."""
        return self._data

    @data.setter
    def data(self, value: TensorLike) -> None:
        array = to_array(value, self._data.dtype)
        if array.shape != self._data.shape:
            raise ValueError(f"Tensor.data: expected an array of shape {self.shape}, found {array.shape}")
        self._data = array

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> int:
        return self._data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._data.dtype

    @property
    def name(self) -> str | None:
        """Shown in pictures and messages."""
        return self._name if self.node is None else self.node.name

    @name.setter
    def name(self, value: str | None) -> None:
        if self.node is None:
            self._name = value
        else:
            self.node.name = value

    @property
    def meaning(self) -> str | None:
        """What the numbers are, known from the op that made them: "probabilities" of classes, "log-probabilities",
        "probability" of each entry by itself, "sum of several backward passes", or None."""
        return self._meaning

    @property
    def is_leaf(self) -> bool:
        """Made by the user, or not recorded; only such a tensor's `.grad` is filled unasked."""
        return self.node is None

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor. Settable on leaves."""
        return self.node is not None or self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for gradients with respect to this leaf, or no longer; returns the tensor itself."""
        if self.node is not None:
            if requires_grad:
                return self
            raise RuntimeError("requires_grad_(False): this tensor was computed by an op; use detach() to cut it off")
        if requires_grad:
            check_differentiable(self._data.dtype)
            if not self._requires_grad:  # a leaf owns its memory
                self._data = self._data.copy()
        self._requires_grad = bool(requires_grad)
        return self

    # Out of the graph

    def item(self) -> Any:
        """The value of a one-element tensor as a Python number."""
        if self._data.size != 1:
            raise ValueError(f"item(): expected a tensor of one element, found shape {self.shape}; use .numpy()")
        return self._data.item()

    def numpy(self) -> Array:
        """The array itself, not a copy, without the graph."""
        return self._data

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return self._data.tolist()

    def detach(self) -> Tensor:
        """The same array, and name, as a constant: no gradient flows through the result."""
        tensor = wrap(self._data)
        tensor._name = self.name
        tensor._meaning = self._meaning
        return tensor

    def __copy__(self) -> Tensor:
        """The same array at the same place in the graph."""
        tensor = _rebuild(type(self), self._data, self._requires_grad, self._name, self._grad, self._meaning)
        tensor.node = self.node
        for key, value in getattr(self, "__dict__", {}).items():
            setattr(tensor, key, value)
        return tensor

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self._data, dtype=dtype, copy=copy)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return self._data.__index__()

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __bool__(self) -> bool:
        if self._data.size != 1:
            raise ValueError(f"a tensor of shape {self.shape} is neither true nor false; use .any() or .all()")
        return bool(self._data.item())

    def __len__(self) -> int:
        if not self._data.ndim:
            raise TypeError("len() of a 0-d tensor")
        return len(self._data)

    def __iter__(self) -> Iterator[Tensor]:
        if not self._data.ndim:
            raise TypeError("iteration over a 0-d tensor; use .item()")
        return (self[i] for i in range(len(self._data)))

    def __repr__(self) -> str:
        details = [f"shape={self.shape}", f"dtype={self.dtype}"]
        if self.name is not None:
            details.append(f"name={self.name!r}")
        if self.node is not None:
            details.append(f"op={self.node.op.name}")
        elif self._requires_grad:
            details.append("requires_grad=True")
        kind = type(self).__name__
        return f"{kind}({summary(self._data, len(kind) + 1)}, {', '.join(details)})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.node is not None:  # a copy would have no way back to the leaves
            raise RuntimeError(
                "only leaves can be copied or pickled; this tensor was computed by an op: use detach() first"
            )
        state = getattr(self, "__dict__", None)  # of a subclass
        return _rebuild, (type(self), self._data, self._requires_grad, self._name, self._grad, self._meaning), state

    def __setitem__(self, index: Any, value: Any) -> None:
        if self.requires_grad:
            raise RuntimeError(
                "writing into a tensor that requires a gradient is not recorded; build the result with where() or "
                "concatenate(), or write into .data if the graph is not to know"
            )
        if isinstance(value, Tensor) and value.requires_grad:
            raise RuntimeError("the value requires a gradient, which writing would lose; write value.detach()")
        self._data[plain(index)] = plain(value)

    # The backward pass

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward passes have summed up here, or None. It may be assigned, None included."""
        if self._grad is None and self.node is not None and self.node.retained is None:
            warnings.warn(
                f".grad of an interior tensor (made by {self.node.op.name}) is not kept and reads as None; "
                "call retain_grad() on it before backward(), or use tinygrad_ce.grad(output, tensor)",
                stacklevel=2,
            )
        return self._grad

    @grad.setter
    def grad(self, value: TensorLike | None) -> None:
        if value is None:
            self._grad = None
            return
        gradient = value if isinstance(value, Tensor) else wrap(np.array(to_array(value, self.dtype)))
        if gradient.shape != self.shape or gradient.dtype != self.dtype:
            raise ValueError(
                f"grad: expected shape {self.shape} and dtype {self.dtype}, "
                f"found shape {gradient.shape} and dtype {gradient.dtype}"
            )
        self._grad = own(gradient)  # a copy: backward passes will write into it

    def backward(
        self, gradient: TensorLike | None = None, *, retain_graph: bool = False, create_graph: bool = False
    ) -> None:
        """Add to `.grad` of every leaf the gradient of this tensor with respect to it.

        gradient        of the shape of this tensor, the gradient that flows in; 1 for a one-element tensor
        retain_graph    keep the graph's arrays, so that it can be walked again
        create_graph    record the backward pass, so that the gradients can be differentiated; retains the graph

        Raises RuntimeError if nothing here requires a gradient, if a tensor of several elements is given no gradient,
        or if the graph was freed; ValueError if the gradient's shape is wrong. No `.grad` has changed then.
        """
        results, shared = run([incoming("backward", self, gradient, create_graph)], None, retain_graph, create_graph)
        for source, g in results.items():
            tensor = source if isinstance(source, Tensor) else source.retained()
            if tensor is not None:
                tensor._accumulate(g, source in shared or tensor is not source)

    def retain_grad(self) -> Tensor:
        """Keep the gradient of this interior tensor in `.grad` too; returns the tensor itself."""
        if self.node is None:
            if not self._requires_grad:
                raise RuntimeError("retain_grad(): this tensor does not require a gradient")
            return self
        self.node.retained = weakref.ref(self)  # weak: the graph must not keep its tensors alive
        return self

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook(gradient)` whenever a gradient has arrived here; what it returns, unless None, replaces it.

        The hook is given a copy, so writing into it changes nothing. Returns a handle whose `remove()` takes the hook
        away. If a hook raises, no `.grad` has changed.
        """
        if not self.requires_grad:
            raise RuntimeError("register_hook(): this tensor does not require a gradient, so none will ever arrive")
        if not callable(hook):
            raise TypeError(f"register_hook(): expected a function of the gradient, found {hook!r}")

        shape, dtype = self.shape, self.dtype  # not self: the graph must not keep its tensors alive

        def run(g: Any) -> Any:
            result = hook(own(g))
            if result is None:
                return g
            if not isinstance(result, Tensor):
                result = wrap(to_array(result, dtype))
            if result.shape != shape:
                raise ValueError(f"hook: expected a gradient of shape {shape}, found shape {result.shape}")
            return own(result) if isinstance(g, Tensor) else result._data.astype(dtype)

        hooks = self._hooks if self.node is None else self.node.hooks
        if hooks is None:
            hooks = {}
            if self.node is None:
                self._hooks = hooks
            else:
                self.node.hooks = hooks
        key = next(_handles)
        hooks[key] = run
        return RemovableHandle(hooks, key)

    def _accumulate(self, g: Any, shared: bool) -> None:
        old = self._grad
        if old is None:
            self._grad = own(g) if shared or isinstance(g, Tensor) else wrap(g)
            return
        is_sum = old._meaning == SUMMED or old._data.any()  # what was set to zero begins anew
        if isinstance(g, Tensor):
            with enable_grad():
                self._grad = new = old + g
        elif old.requires_grad or not old._data.flags.writeable:
            self._grad = new = wrap(np.asarray(old._data + g))
        else:
            np.add(old._data, g, out=old._data)
            new = old
        if is_sum:
            new._meaning = SUMMED  # optimizers warn of it


def wrap(data: Array) -> Tensor:
    """A constant Tensor of this very array."""
    tensor = _new(Tensor)
    tensor._data = data
    tensor._requires_grad = False
    tensor._grad = tensor._hooks = tensor._meaning = tensor._name = tensor.node = None
    return tensor


_new = Tensor.__new__
Operators.__constant__ = staticmethod(wrap)
reserved.update(dir(Tensor))


def as_tensor(x: TensorLike) -> Tensor:
    """The tensor itself, or a constant that shares the array's memory."""
    return x if isinstance(x, Tensor) else wrap(to_array(x))


def _rebuild(
    kind: type[Tensor],
    data: Array,
    requires_grad: bool,
    name: str | None,
    grad: Tensor | None,
    meaning: str | None,
) -> Tensor:
    tensor = _new(kind)
    Tensor.__init__(tensor, data, name=name)
    tensor._requires_grad = requires_grad
    tensor._grad = grad
    tensor._meaning = meaning
    return tensor
