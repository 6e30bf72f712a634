"""What a module holds: parameters, which are learned, and buffers, which are not."""

from __future__ import annotations

from numpy.typing import DTypeLike

from tinygrad_ce.tensor import Tensor, TensorLike


class Parameter(Tensor):
    """A leaf Tensor that a module learns: found by `Module.parameters()` when it is an attribute of a module.

    data           the initial values, floating-point; they are copied
    requires_grad  False freezes it: it stays a parameter, saved with the others, and gets no gradient

    >>> from tinygrad_ce import nn
    >>> nn.Parameter([1.0, 2.0])
    Parameter([1., 2.], shape=(2,), dtype=float32, requires_grad=True)
    """

    __slots__ = ()

    def __init__(
        self, data: TensorLike, requires_grad: bool = True, dtype: DTypeLike | None = None, name: str | None = None
    ) -> None:
        super().__init__(data, requires_grad=True, dtype=dtype, name=name)
        if not requires_grad:
            self.requires_grad_(False)


class Buffer(Tensor):
    """A Tensor that a module keeps beside its parameters and does not learn, such as running statistics.

    data  the initial values, of any dtype; they are copied

    An attribute of a module, it is part of `state_dict()`. A module that updates it writes into `.data`.

    >>> from tinygrad_ce import nn
    >>> nn.Buffer([0, 0])
    Buffer([0., 0.], shape=(2,), dtype=float32)
    """

    __slots__ = ()

    def __init__(self, data: TensorLike, dtype: DTypeLike | None = None, name: str | None = None) -> None:
        super().__init__(data, dtype=dtype, name=name)
        self.data = self.data.copy()
