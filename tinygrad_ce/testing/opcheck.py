"""Everything that can be checked of an op without knowing what it computes: `check_op`."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.engine import Constant, Node, NotDifferentiable
from tinygrad_ce.mode import enable_grad
from tinygrad_ce.registry import FusedOp, Op, registry
from tinygrad_ce.tensor import Tensor, as_tensor
from tinygrad_ce.testing.gradcheck import compare, compare_second, pull, random_upstream

Array = NDArray[Any]

_CLOSE = 32.0  # round-offs of the largest element: how far two orders of computing the same thing may be apart


class OpError(AssertionError):
    """An op does not keep the op protocol."""


def check_op(op: str | type[Op], /, *inputs: Any, orders: int = 2, **attributes: Any) -> None:
    """Check a registered op on these inputs: values, rules and, to second order, gradients.

    op          a registered op or its name
    inputs      its inputs, away from kinks. A built-in op takes them from the op database if none are given
    orders      how often to differentiate: 0, 1 or 2
    attributes  its metadata

    It runs the op on read-only arrays in float32, float64 and the inputs' own dtype and checks that

    - the result has the inputs' dtype (or that of its `dtype` metadata) and is the same on every run, on arrays and on
      Tensors;
    - every floating-point input has a rule, unless the op says None for it; rules return one gradient for each input,
      in its shape and dtype, write into nothing, give the same twice, and hand out no memory that they keep;
    - a rule's underscore parameters are used for their shape and dtype alone;
    - gradients and their gradients agree with central differences in float64 (see `gradcheck`), and the gradient is the
      same with and without `create_graph`;
    - a fused op's value, gradient and second gradient equal those of its decomposition, to a few round-offs of the
      largest element.

    Returns None. Raises OpError (an AssertionError), GradientError (likewise) or NotDifferentiable, naming the op and
    the input; TypeError if the call itself does not fit the op.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> tg.check_op("mul", np.array([1.0, 2.0]), np.array([[3.0], [4.0]]))
    """
    op = _find(op)
    if orders not in (0, 1, 2):
        raise ValueError(f"check_op: orders={orders!r}; expected 0, 1 or 2")
    if inputs:
        xs, metadata = op.bind(inputs, attributes)
        _check(op, [x.data if isinstance(x, Tensor) else x for x in xs], metadata, orders)
        return
    if attributes:
        raise TypeError(f"check_op: metadata ({', '.join(attributes)}) without inputs for {op.name!r}; give both")
    from tinygrad_ce.testing.database import database  # large, and needed here alone

    info = database.get(op.name)
    if info is None:
        raise TypeError(
            f"check_op: the op database has no entry for {op.name!r}, so inputs are needed: "
            f"tg.check_op({op.name!r}, {', '.join(op.inputs)})"
        )
    for sample in info.samples(np.random.default_rng(0)):
        _check(op, sample.inputs, {**op.defaults, **sample.attributes}, min(orders, info.orders))


def _find(op: str | type[Op]) -> type[Op]:
    if isinstance(op, str):
        if op in registry:
            return registry[op]
        near = difflib.get_close_matches(op, registry, 1)
        raise ValueError(f"check_op: no op {op!r} is registered" + (f"; did you mean {near[0]!r}?" if near else ""))
    if not (isinstance(op, type) and issubclass(op, Op)):
        raise TypeError(f"check_op: expected an op or its name, found {op!r}")
    if registry.get(getattr(op, "name", "")) is not op:
        raise ValueError(f"check_op: {op.__name__} is not registered; write @tg.register above it")
    return op


@enable_grad()
def _check(op: type[Op], inputs: Sequence[Any], attributes: Mapping[str, Any], orders: int) -> None:
    given = [x if x is None or type(x) in (bool, int, float) else as_tensor(x).data for x in inputs]
    own = {x.dtype for x in given if isinstance(x, np.ndarray) and x.dtype.kind == "f"}
    dtypes: set[np.dtype[Any]] = {np.dtype(np.float32), np.dtype(np.float64), *own}
    for dtype in sorted(dtypes, key=str):
        case = _Case(op, [_frozen(x, dtype) for x in given], attributes)
        case.check_forward()
        if orders:
            case.check_rules()
        if issubclass(op, FusedOp):
            case.check_decomposition(orders)
        if orders:
            case.check_gradients(dtype)
    if orders:  # the last case is the one in float64
        case.check_differences(orders)


def _frozen(x: Any, dtype: np.dtype[Any]) -> Any:
    """A read-only copy, floating-point numbers in the given dtype; Python numbers stay as they are."""
    if not isinstance(x, np.ndarray):
        return x
    array = x.astype(dtype if x.dtype.kind == "f" else x.dtype)
    array.flags.writeable = False
    return array


class _Case:
    """One op on one set of read-only arrays."""

    def __init__(self, op: type[Op], arrays: list[Any], attributes: Mapping[str, Any]) -> None:
        self.op = op
        self.arrays = arrays
        self._attributes = attributes
        floats = [i for i, x in enumerate(arrays) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
        self.wanted = [i for i in floats if op.vjp is not None or not op.vjps or op.vjps[i] is not None]
        self.labels = [f"input {i} ({(*op.inputs, *op.inputs[-1:] * i)[i]!r})" for i in range(len(arrays))]

    def attributes(self) -> dict[str, Any]:
        """The metadata anew for each call: arrays read-only, and a random generator starts where it did."""
        attributes = copy.deepcopy(dict(self._attributes))
        for value in attributes.values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        return attributes

    def fail(self, problem: str) -> OpError:
        shapes = ", ".join(str(x.shape) if isinstance(x, np.ndarray) else repr(x) for x in self.arrays)
        metadata = "".join(f", {key}={value!r}" for key, value in self._attributes.items())
        return OpError(f"{self.op.name}: {problem}\nInputs: {shapes}{metadata}")

    def forward(self) -> Array:
        try:
            return np.asarray(self.op(*self.arrays, **self.attributes()))
        except ValueError as error:
            if "read-only" in str(error):
                raise self.fail("forward writes into its inputs; write into a copy") from error
            raise

    def tensors(self) -> tuple[list[Any], list[Tensor]]:
        """The inputs, and among them those that take a gradient: made by an op, so that they are no leaves."""
        inputs: list[Any] = list(self.arrays)
        for i in self.wanted:
            leaf = Tensor(self.arrays[i], requires_grad=True)
            leaf.data.flags.writeable = False
            inputs[i] = registry["neg"](registry["neg"](leaf))
        return inputs, [inputs[i] for i in self.wanted]

    def check_forward(self) -> None:
        z, again = self.forward(), self.forward()
        self.same(z, again, "forward")
        if np.shares_memory(z, again) and not self.is_given(z):
            raise self.fail("two calls of forward returned the same memory; return a new array")
        if self.wanted:
            recorded = self.op(*self.tensors()[0], **self.attributes())
            self.same(z, recorded.data, "forward, on arrays and on Tensors that are recorded,")
        dtypes = [x.dtype for x in self.arrays if isinstance(x, np.ndarray)]
        expected = self._attributes.get("dtype") or (np.result_type(*dtypes) if dtypes else z.dtype)
        if any(dtype.kind == "f" for dtype in dtypes) and z.dtype != expected:
            raise self.fail(f"forward turned {', '.join(map(str, dtypes))} into {z.dtype}, expected {expected}")

    def check_rules(self) -> None:
        """Run the rules by themselves, on what the graph keeps for them and nothing else."""
        z = self.forward()
        g = random_upstream(0, [z])[0]
        g.flags.writeable = False
        for i in self.wanted:
            node = self.recorded(i)
            output = node if node.output is None else node.output
            if isinstance(output, np.ndarray):
                output.flags.writeable = False
            saved = [
                s if isinstance(s, (Node, Constant)) else x for x, s in zip(self.arrays, node.saved or (), strict=True)
            ]
            try:
                first, again = self.rule(i, g, output, saved), self.rule(i, g, output, saved)
            except NotDifferentiable:
                raise
            except Exception as error:
                raise self.explained(error, i, g, z if output is node else output) from error
            self.same(first, again, f"the rule of {self.labels[i]}")
            held = self.is_given(first, g, z, output)
            if np.shares_memory(first, again) and not held:
                raise self.fail(
                    f"two calls of the rule of {self.labels[i]} returned the same memory; return a new array"
                )

    def recorded(self, i: int) -> Node:
        """What the graph keeps if input i alone takes a gradient."""
        inputs: list[Any] = list(self.arrays)
        leaf = Tensor(self.arrays[i], requires_grad=True)
        inputs[i] = registry["neg"](registry["neg"](leaf))  # no leaf: of a leaf the graph has the numbers anyway
        node: Node = self.op(*inputs, **self.attributes()).node
        return node

    def rule(self, i: int, g: Array, z: Any, arrays: Sequence[Any]) -> Array:
        op, needs = self.op, [k == i for k in range(len(arrays))]
        if op.vjp is not None:
            found = op.vjp(g, z, *arrays, needs=needs, **self.attributes())
            if not isinstance(found, (tuple, list)) or len(found) != len(arrays):
                raise self.fail(f"vjp returned {_count(found)} for {len(arrays)} inputs; return one for each")
            gradient = found[i]
        else:
            rule = op.vjps[i] if op.vjps else None
            gradient = None if rule is None else rule(g, z, *arrays, **self.attributes())
        if gradient is None:
            raise NotDifferentiable(f"{op.name}: there is no rule for the gradient of {self.labels[i]}")
        if isinstance(gradient, (tuple, list)):
            raise self.fail(f"the rule of {self.labels[i]} returned {_count(gradient)} where one is expected")
        array = np.asarray(gradient)
        if array.dtype.kind != "f":
            raise TypeError(f"it returned {array.dtype} where a gradient is expected")
        return array

    def explained(self, error: Exception, i: int, g: Array, output: Any) -> Exception:
        """What is wrong with a rule that failed on stand-ins."""
        if isinstance(error, OpError):
            return error
        if "read-only" in str(error):
            return self.fail(f"the rule of {self.labels[i]} writes into what it was given; write a plain expression")
        try:
            self.rule(i, g, output, self.arrays)
        except Exception:
            return self.fail(f"the rule of {self.labels[i]} failed: {type(error).__name__}: {error}")
        return self.fail(
            f"the rule of {self.labels[i]} uses the numbers of a parameter whose name starts with an underscore, "
            "which is kept for its shape and dtype alone; drop the underscore"
        )

    def check_gradients(self, dtype: np.dtype[Any]) -> None:
        if not self.wanted:
            return
        g = random_upstream(0, [self.forward()])
        g[0].flags.writeable = False
        plain, recorded = (self.gradients(self.op, g, create_graph) for create_graph in (False, True))
        for i, a, b in zip(self.wanted, plain, recorded, strict=True):
            if a.shape != self.arrays[i].shape or a.dtype != dtype:
                raise self.fail(f"the gradient of {self.labels[i]} has shape {a.shape} and dtype {a.dtype}")
            self.close(a.data, b.data, f"the gradient of {self.labels[i]}, with and without create_graph,")

    def gradients(self, function: Callable[..., Any], g: Sequence[Any], create_graph: bool) -> list[Tensor]:
        inputs, wanted = self.tensors()
        return pull([function(*inputs, **self.attributes())], wanted, g, create_graph)

    def check_differences(self, orders: int) -> None:
        def function(*xs: Any) -> Any:
            inputs = list(self.arrays)
            for i, x in zip(self.wanted, xs, strict=True):
                inputs[i] = x
            return self.op(*inputs, **self.attributes())

        if self.wanted:
            wanted, labels = [self.arrays[i] for i in self.wanted], [self.labels[i] for i in self.wanted]
            compare(f"check_op of {self.op.name}", function, wanted, labels)
            if orders > 1:
                compare_second(f"check_op of {self.op.name}, second order", function, wanted, labels)

    def check_decomposition(self, orders: int) -> None:
        op = self.op
        assert issubclass(op, FusedOp)
        z = self.forward()
        self.close(z, np.asarray(op.decomposition(*self.arrays, **self.attributes())), "the value, fused and not,")
        if orders and self.wanted:
            g = random_upstream(0, [z])
            self.close_all("gradient", *(self.gradients(f, g, False) for f in (op, op.decomposition)))
        if orders > 1 and self.wanted:
            self.close_all("second gradient", *(self.second_gradients(f, g) for f in (op, op.decomposition)))

    def second_gradients(self, function: Callable[..., Any], g: Sequence[Array]) -> list[Tensor]:
        inputs, wanted = self.tensors()
        first = pull([function(*inputs, **self.attributes())], wanted, g, create_graph=True)
        return pull(first, wanted, random_upstream(1, [x.data for x in first]), create_graph=False)

    def close_all(self, what: str, fused: Sequence[Tensor], unfused: Sequence[Tensor]) -> None:
        for i, a, b in zip(self.wanted, fused, unfused, strict=True):
            self.close(a.data, b.data, f"the {what} of {self.labels[i]}, fused and not,")

    def close(self, a: Array, b: Array, what: str) -> None:
        if a.shape != b.shape:
            raise self.fail(f"{what} has shapes {a.shape} and {b.shape}")
        size = np.max(np.abs(b), initial=0.0, where=np.isfinite(b))
        with np.errstate(invalid="ignore"):
            different = ~(np.abs(a - b) <= _CLOSE * np.finfo(a.dtype).eps * size)
        if different.any():
            index = tuple(np.argwhere(different)[0])
            where = f"at index {[int(i) for i in index]}"
            if np.array_equal(a[index], b[index], equal_nan=True):
                raise self.fail(
                    f"{what.partition(',')[0]} is {a[index]} {where}: a kink, or out of the op's domain? "
                    "Give inputs at which it is smooth"
                )
            raise self.fail(f"{what} is {a[index]} and {b[index]} {where}")

    def same(self, a: Array, b: Array, what: str) -> None:
        if a.shape != b.shape or a.dtype != b.dtype or a.tobytes() != b.tobytes():
            raise self.fail(f"{what} gave two different results for the same inputs")

    def is_given(self, array: Array, *more: Any) -> bool:
        return any(isinstance(x, np.ndarray) and np.shares_memory(array, x) for x in (*self.arrays, *more))


def _count(found: Any) -> str:
    return f"{len(found)} gradients" if isinstance(found, (tuple, list)) else type(found).__name__
