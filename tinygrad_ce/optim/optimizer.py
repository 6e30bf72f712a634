"""What all optimizers share: groups, the walk over parameters that have a gradient, the state to save and load."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Integral
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.optim.param_groups import ParamGroup, make_groups
from tinygrad_ce.tensor import SUMMED, Tensor

Array: TypeAlias = NDArray[Any]
# a parameter's array, its gradient, its state, and two arrays of the same shape to write into
Update: TypeAlias = tuple[Array, Array, dict[str, Any], Array, Array]
Entry: TypeAlias = tuple[Tensor, dict[str, Any], Array, Array]


class Optimizer:
    """Base class of the optimizers.

    params          leaves, such as `model.parameters()`, or dicts `{"params": leaves, ...}` whose other keys are
                    options that take the place of the defaults for these leaves
    defaults        the options

    param_groups    a list of dicts: the parameters and options of each group; options may be set at any time
    state           what is remembered of each parameter from step to step, a dict under PyTorch's names

    Parameters are changed in place, and no array is made but the state: what a formula needs to write into is there
    from the beginning. The arithmetic is done in the parameter's dtype; that of a float16 parameter in float32.

    A subclass has a method `_update(group, dtype, updates)` that changes all parameters of one dtype in a group, and
    says in `remembers` what it keeps in the state: True what every state has, False what there may be.

    Raises TypeError or ValueError for parameters that are no leaves or were given twice, for none, and for an unknown
    or bad option.

    >>> import tinygrad_ce as tg
    >>> weight, bias = (tg.Tensor([1.0], requires_grad=True) for _ in range(2))
    >>> optimizer = tg.optim.SGD([{"params": [weight]}, {"params": [bias], "lr": 0.5}], lr=0.25)
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.25, 0.5]
    """

    remembers: ClassVar[Mapping[str, bool]] = {}

    def __init__(self, params: Any, defaults: Mapping[str, Any]) -> None:
        self.defaults = dict(defaults)
        self.param_groups = make_groups(type(self).__name__, params, self.defaults)
        self.state: dict[Tensor, dict[str, Any]] = {p: {} for group in self.param_groups for p in group["params"]}
        self._told = False
        sizes: dict[np.dtype[Any], int] = {}
        for p in self.state:
            sizes[_work(p)] = max(p.size, sizes.get(_work(p), 0))
        scratch = {dtype: np.empty((2, size), dtype) for dtype, size in sizes.items()}
        self._plans: list[tuple[ParamGroup, np.dtype[Any], list[Entry]]] = []  # the parameters of a group by dtype
        for group in self.param_groups:
            plan: dict[np.dtype[Any], list[Entry]] = {}
            for p in group["params"]:
                a, b = (row[: p.size].reshape(p.shape) for row in scratch[_work(p)])
                plan.setdefault(_work(p), []).append((p, self.state[p], a, b))
            self._plans += [(group, dtype, entries) for dtype, entries in plan.items()]

    @property
    def lr(self) -> float:
        """The learning rate, if all groups have the same; setting it sets that of all groups."""
        rates = [group["lr"] for group in self.param_groups]
        if any(rate != rates[0] for rate in rates):
            raise ValueError(f'{type(self).__name__}.lr: the groups differ, {rates}; write param_groups[i]["lr"]')
        rate: float = rates[0]
        return rate

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            group["lr"] = value

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.state:
            p._grad = None

    def step(self, *, accumulated: bool = False) -> None:
        """Change every parameter that has a gradient; the others and their state stay as they are.

        accumulated     say that gradients are meant to be sums over several backward passes

        Warns, once, if a gradient is a sum over several backward passes: that is most often a missing `zero_grad()`.
        What was zeroed in between in any way is no sum. Raises ValueError for a parameter whose array is read-only. No
        parameter has changed then.

        >>> import tinygrad_ce as tg
        >>> p = tg.Tensor([1.0], requires_grad=True)
        >>> optimizer = tg.optim.SGD([p], lr=0.25)
        >>> for x in (1.0, 2.0):  # two halves of a batch
        ...     (p * x).sum().backward()
        >>> optimizer.step(accumulated=True)
        >>> p.item()
        0.25
        """
        for p in self.state:
            g = p._grad
            if g is None:
                continue
            if not p._data.flags.writeable:
                raise ValueError(
                    f"{type(self).__name__}.step(): the array of {self._name(p)} is read-only; write "
                    "p.data = p.data.copy()"
                )
            if g._meaning is not None and g._meaning == SUMMED and not (accumulated or self._told):
                self._told = True
                warnings.warn(
                    f"{type(self).__name__}.step(): the gradient of {self._name(p)} is the sum of several backward "
                    "passes; call zero_grad() before each, or say step(accumulated=True) if the sum is meant",
                    stacklevel=2,
                )
        for group, dtype, entries in self._plans:
            updates = [(p._data, g._data, state, a, b) for p, state, a, b in entries if (g := p._grad) is not None]
            if updates:
                self._update(group, dtype, updates)

    def _update(self, group: ParamGroup, dtype: np.dtype[Any], updates: list[Update]) -> None:  # noqa: ARG002
        raise TypeError(f"{type(self).__name__} defines no _update(group, dtype, updates)")

    def _name(self, p: Tensor) -> str:
        return p.name or f"parameter {next(i for i, q in enumerate(self.state) if q is p)}"

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything that another optimizer of the same kind needs to go on from here.

        "state" has, by the position of a parameter, what is remembered of it: arrays, and the number of steps. What has
        had no gradient so far is not in it. "param_groups" has the options, and as "params" these positions.

        >>> import tinygrad_ce as tg
        >>> p = tg.Tensor([1.0], requires_grad=True)
        >>> tg.optim.SGD([p], lr=0.5).state_dict()["param_groups"]
        [{'lr': 0.5, 'momentum': 0.0, 'dampening': 0.0, 'weight_decay': 0.0, 'nesterov': False, 'params': [0]}]
        """
        position = {p: i for i, p in enumerate(self.state)}
        return {
            "state": {
                position[p]: {name: x.copy() if isinstance(x, np.ndarray) else x for name, x in state.items()}
                for p, state in self.state.items()
                if state
            },
            "param_groups": [
                {**group.options(), "params": [position[p] for p in group["params"]]} for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned: the steps that follow are the same bit for bit.

        Arrays are copied, and converted to this optimizer's dtypes. Raises ValueError if the groups, the number of
        parameters, the options or the shapes are others; the optimizer is unchanged then.
        """
        kind = f"{type(self).__name__}.load_state_dict"
        if not isinstance(state_dict, Mapping) or set(state_dict) != {"state", "param_groups"}:
            found = list(state_dict) if isinstance(state_dict, Mapping) else state_dict
            raise ValueError(f"{kind}: found {found!r}; expected a dict with 'state' and 'param_groups'")
        here = self.state_dict()["param_groups"]
        there = state_dict["param_groups"]
        layout = [list(group["params"]) for group in here]
        try:
            layout_there = [list(group["params"]) for group in there]
        except (TypeError, KeyError):
            raise ValueError(f"{kind}: param_groups is {there!r}; expected dicts with 'params'") from None
        if layout_there != layout:
            raise ValueError(f"{kind}: the parameters of the groups are {layout_there}; expected {layout}")
        groups = []
        for i, (values, group) in enumerate(zip(there, self.param_groups, strict=True)):
            missing = [name for name in self.defaults if name not in values]
            if missing:
                raise ValueError(f"{kind}: param_groups[{i}] lacks {', '.join(missing)}")
            groups.append(ParamGroup(kind, self.defaults, {**values, "params": group["params"]}))
        states = self._checked_states(kind, state_dict["state"])
        for group, new in zip(self.param_groups, groups, strict=True):
            group.clear()
            group.update(new)
        for state, values in zip(self.state.values(), states, strict=True):
            state.clear()
            state.update(values)

    def _checked_states(self, kind: str, given: Any) -> list[dict[str, Any]]:
        """A copy of the state of each parameter in order; ValueError if one does not fit."""
        if not isinstance(given, Mapping):
            raise ValueError(f"{kind}: state is {given!r}; expected a dict by the position of a parameter")
        unknown = [i for i in given if i not in range(len(self.state))]
        if unknown:
            raise ValueError(f"{kind}: state has {unknown}; expected positions from 0 to {len(self.state) - 1}")
        states: list[dict[str, Any]] = []
        for i, p in enumerate(self.state):
            values = given.get(i, {})
            if not isinstance(values, Mapping):
                raise ValueError(f"{kind}: state[{i}] is {values!r}; expected a dict of arrays by name")
            missing = [name for name, always in self.remembers.items() if values and always and name not in values]
            unexpected = [name for name in values if name not in self.remembers]
            if missing or unexpected:
                raise ValueError(f"{kind}: state[{i}] has missing {missing}, unexpected {unexpected}")
            state: dict[str, Any] = {}
            for name, value in values.items():
                if name == "step":
                    if not isinstance(value, Integral) or isinstance(value, bool) or value < 0:
                        raise ValueError(f"{kind}: state[{i}]['step'] is {value!r}; expected a number of steps")
                    state[name] = int(value)
                    continue
                array = np.asarray(value)
                if array.shape != p.shape or array.dtype.kind != "f":
                    raise ValueError(
                        f"{kind}: state[{i}][{name!r}] has shape {array.shape} and dtype {array.dtype}; "
                        f"expected floats of shape {p.shape}"
                    )
                state[name] = array.astype(_work(p))
            states.append(state)
        return states

    def __repr__(self) -> str:
        lines = [
            f"  ({i}): {len(group['params'])} parameters, "
            + ", ".join(f"{name}={value!r}" for name, value in group.options().items())
            for i, group in enumerate(self.param_groups)
        ]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


def scalars(dtype: np.dtype[Any], *values: float) -> list[Array]:
    """The numbers as 0-d arrays, with which small arrays are multiplied in half the time that Python floats take."""
    return [np.array(value, dtype) for value in values]


def _work(parameter: Tensor) -> np.dtype[Any]:
    """The dtype of the state and the arithmetic: float16 would lose small steps and large squares."""
    return np.promote_types(parameter.dtype, np.float32)
