"""Parameter groups: what the first argument of an optimizer may be, and options that are checked as they are set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from numbers import Real
from typing import Any

from tinygrad_ce.tensor import Tensor

# what values options may have; those that only an optimizer of the user's own knows are not looked at
FROM_ZERO = {"lr", "initial_lr", "lr_decay", "weight_decay", "dampening", "eps", "initial_accumulator_value"}
BELOW_ONE = {"momentum", "alpha"}
PAIRS_BELOW_ONE = {"betas"}
FLAGS = {"nesterov", "amsgrad", "centered"}


class ParamGroup(dict[str, Any]):
    """Parameters under "params" and the options they share: a dict that checks an option when it is set.

    >>> import tinygrad_ce as tg
    >>> p = tg.Tensor([1.0], requires_grad=True)
    >>> group = tg.optim.SGD([p], lr=0.5).param_groups[0]
    >>> group["lr"] = 0.25
    >>> group["lr"] = -1
    Traceback (most recent call last):
    ValueError: SGD: lr=-1; expected a number from 0 to below infinity
    """

    def __init__(self, kind: str, defaults: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        super().__init__(params=values["params"])
        self.kind = kind
        self.defaults = defaults
        for name, value in {**defaults, **values}.items():
            if name != "params":
                self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, self._checked(name, value))

    def __reduce__(self) -> tuple[Any, ...]:
        return ParamGroup, (self.kind, self.defaults, dict(self))

    def options(self) -> dict[str, Any]:
        """A copy of everything but the parameters."""
        return {name: value for name, value in self.items() if name != "params"}

    def _checked(self, name: str, value: Any) -> Any:
        if name == "params":
            raise ValueError(f"{self.kind}: the parameters of a group stay; make another {self.kind} for other ones")
        if name not in self.defaults and name not in ("initial_lr", "name"):  # of schedules; of the group, to print it
            raise ValueError(f"{self.kind}: unknown option {name!r}; expected {', '.join(self.defaults)}")
        if name in FROM_ZERO:
            return number(self.kind, name, value)
        if name in BELOW_ONE:
            return number(self.kind, name, value, 1.0)
        if name in PAIRS_BELOW_ONE:
            if not isinstance(value, (tuple, list)) or len(value) != 2:
                raise ValueError(f"{self.kind}: {name}={value!r}; expected two numbers, such as (0.9, 0.999)")
            return tuple(number(self.kind, f"{name}[{i}]", x, 1.0) for i, x in enumerate(value))
        if name in FLAGS and not isinstance(value, bool):
            raise ValueError(f"{self.kind}: {name}={value!r}; expected True or False")
        return value


def number(kind: str, name: str, value: Any, below: float = math.inf) -> float:
    """The value as a float; ValueError unless it is a number from 0 to below this."""
    if isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < below:
        return float(value)
    limit = "infinity" if below == math.inf else f"{below:g}"
    raise ValueError(f"{kind}: {name}={value!r}; expected a number from 0 to below {limit}")


def make_groups(kind: str, params: Any, defaults: Mapping[str, Any]) -> list[ParamGroup]:
    """The groups that the first argument of an optimizer stands for: one, or one for each dict in it."""
    if isinstance(params, (Tensor, Mapping)) or hasattr(params, "parameters"):
        raise TypeError(
            f"{kind}: params is one {type(params).__name__}; write model.parameters(), [tensor] or "
            '[{"params": ..., "lr": ...}, ...]'
        )
    given = _ordered(kind, "params", params)
    are_groups = [isinstance(x, Mapping) for x in given]
    if any(are_groups) and not all(are_groups):
        raise TypeError(f"{kind}: params mixes tensors and dicts; put each tensor into the params of a dict")
    values = [dict(x) for x in given] if any(are_groups) else [{"params": given}]
    owner: dict[int, str] = {}
    for i, group in enumerate(values):
        where = f"params[{i}]['params']" if any(are_groups) else "params"
        if "params" not in group:
            raise ValueError(f"{kind}: params[{i}] has no 'params'; write {{\"params\": [...], ...}}")
        found = group["params"]
        group["params"] = tuple([found] if isinstance(found, Tensor) else _ordered(kind, where, found))
        for j, parameter in enumerate(group["params"]):
            place = f"{where}[{j}]"
            # a Parameter may be frozen for now; a plain Tensor without a gradient is rather a mistake
            if not (
                isinstance(parameter, Tensor)
                and parameter.is_leaf
                and (parameter.requires_grad or type(parameter) is not Tensor)
            ):
                raise ValueError(f"{kind}: {place} is {parameter!r}, expected a leaf that requires a gradient")
            if id(parameter) in owner:
                raise ValueError(f"{kind}: a parameter was given twice: {owner[id(parameter)]} and {place}")
            owner[id(parameter)] = place
    if not owner:
        raise ValueError(
            f"{kind}: no parameters given; write {kind}(model.parameters(), ...) (a generator can be read only once)"
        )
    return [ParamGroup(kind, defaults, group) for group in values]


def _ordered(kind: str, name: str, values: Any) -> list[Any]:
    """A list of what an iterable gives; its order must be the same in every run, for `load_state_dict`."""
    if isinstance(values, (set, frozenset)):
        raise TypeError(f"{kind}: {name} is a set, which has no order of its own; write a list")
    if not isinstance(values, Iterable) or isinstance(values, (str, bytes)):
        raise TypeError(f"{kind}: {name} is {values!r}; expected leaves, such as model.parameters()")
    found = list(values)
    if not found and isinstance(values, Iterator):
        raise ValueError(f"{kind}: {name} gives no parameters; a generator can be read only once")
    return found
