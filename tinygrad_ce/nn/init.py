"""Initial weights, under PyTorch's names: each function writes into a parameter in place and returns it.

Whatever is random takes a `numpy.random.Generator`. A weight has shape (fan_out, fan_in), or (fan_out, fan_in, ...)
where each further axis multiplies both fans.

>>> import numpy as np
>>> from tinygrad_ce import nn
>>> generator = np.random.default_rng(0)
>>> layer = nn.Linear(64, 32)
>>> weight = nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
>>> bias = nn.init.zeros_(layer.bias)
>>> weight is layer.weight
True
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import numpy as np

from tinygrad_ce.tensor import Tensor

Generator = np.random.Generator
Mode = Literal["fan_in", "fan_out"]
_T = TypeVar("_T", bound=Tensor)

_GAINS = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "leaky_relu": math.nan,  # depends on its slope
    "selu": 3 / 4,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor on the standard deviation that makes up for what an activation takes away, as PyTorch has it.

    nonlinearity  "linear", "sigmoid", "tanh", "relu", "leaky_relu" or "selu"
    param         the negative slope of "leaky_relu"; 0.01 if None

    >>> calculate_gain("leaky_relu", 1.0)
    1.0
    """
    if nonlinearity not in _GAINS:
        raise ValueError(f"calculate_gain: nonlinearity={nonlinearity!r}; expected one of {', '.join(_GAINS)}")
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else float(param)) ** 2))
    return _GAINS[nonlinearity]


def zeros_(tensor: _T) -> _T:
    """All 0.

    >>> from tinygrad_ce import nn
    >>> zeros_(nn.Parameter([1.0, 2.0])).numpy()
    array([0., 0.], dtype=float32)
    """
    return constant_(tensor, 0.0)


def ones_(tensor: _T) -> _T:
    """All 1.

    >>> from tinygrad_ce import nn
    >>> ones_(nn.Parameter([5.0, 2.0])).numpy()
    array([1., 1.], dtype=float32)
    """
    return constant_(tensor, 1.0)


def constant_(tensor: _T, val: float) -> _T:
    """All `val`.

    >>> from tinygrad_ce import nn
    >>> constant_(nn.Parameter([5.0, 2.0]), 0.5).numpy()
    array([0.5, 0.5], dtype=float32)
    """
    return _fill(tensor, lambda _: val)


def uniform_(tensor: _T, a: float = 0.0, b: float = 1.0, *, generator: Generator) -> _T:
    """Drawn from U(a, b).

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> uniform_(nn.Parameter([0.0, 0.0]), -1.0, 1.0, generator=np.random.default_rng(0)).numpy()
    array([ 0.27392337, -0.46042657], dtype=float32)
    """
    return _fill(tensor, lambda shape: _random(generator).uniform(a, b, shape))


def normal_(tensor: _T, mean: float = 0.0, std: float = 1.0, *, generator: Generator) -> _T:
    """Drawn from the normal distribution N(mean, std^2).

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> normal_(nn.Parameter([0.0, 0.0]), std=0.1, generator=np.random.default_rng(0)).numpy()
    array([ 0.01257302, -0.01321049], dtype=float32)
    """
    return _fill(tensor, lambda shape: _random(generator).normal(mean, std, shape))


def xavier_uniform_(tensor: _T, gain: float = 1.0, *, generator: Generator) -> _T:
    """Drawn from U(-a, a) with a = gain * sqrt(6 / (fan_in + fan_out)). Source: Glorot & Bengio, 2010.

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> weight = xavier_uniform_(nn.Parameter(np.zeros((2, 4))), generator=np.random.default_rng(0))
    >>> bool(abs(weight.data).max() <= 1.0)
    True
    """
    return _spread_uniform(tensor, gain * math.sqrt(2 / sum(_fans(tensor))), generator)


def xavier_normal_(tensor: _T, gain: float = 1.0, *, generator: Generator) -> _T:
    """Drawn from N(0, std^2) with std = gain * sqrt(2 / (fan_in + fan_out)). Source: Glorot & Bengio, 2010.

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> xavier_normal_(nn.Parameter(np.zeros((2, 4))), generator=np.random.default_rng(0)).shape
    (2, 4)
    """
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans(tensor))), generator=generator)


def kaiming_uniform_(
    tensor: _T, a: float = 0.0, mode: Mode = "fan_in", nonlinearity: str = "leaky_relu", *, generator: Generator
) -> _T:
    """Drawn from U(-b, b) with b = gain * sqrt(3 / fan).

    a             the negative slope, for "leaky_relu"
    mode          "fan_in" keeps the variance in the forward pass, "fan_out" in the backward pass
    nonlinearity  see `calculate_gain`

    Source: He et al., "Delving deep into rectifiers", 2015.

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> kaiming_uniform_(nn.Parameter(np.zeros((2, 4))), generator=np.random.default_rng(0)).shape
    (2, 4)
    """
    return _spread_uniform(tensor, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def kaiming_normal_(
    tensor: _T, a: float = 0.0, mode: Mode = "fan_in", nonlinearity: str = "leaky_relu", *, generator: Generator
) -> _T:
    """Drawn from N(0, std^2) with std = gain / sqrt(fan); the arguments are those of `kaiming_uniform_`.

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> kaiming_normal_(nn.Parameter(np.zeros((2, 4))), generator=np.random.default_rng(0)).shape
    (2, 4)
    """
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator=generator)


def lecun_uniform_(tensor: _T, *, generator: Generator) -> _T:
    """Drawn from U(-b, b) with b = sqrt(3 / fan_in). Source: LeCun et al., "Efficient BackProp", 1998.

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> lecun_uniform_(nn.Parameter(np.zeros((2, 4))), generator=np.random.default_rng(0)).shape
    (2, 4)
    """
    return _spread_uniform(tensor, math.sqrt(1 / _fans(tensor)[0]), generator)


def lecun_normal_(tensor: _T, *, generator: Generator) -> _T:
    """Drawn from N(0, 1 / fan_in), not truncated. Source: LeCun et al., "Efficient BackProp", 1998.

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> lecun_normal_(nn.Parameter(np.zeros((2, 4))), generator=np.random.default_rng(0)).shape
    (2, 4)
    """
    return normal_(tensor, 0.0, math.sqrt(1 / _fans(tensor)[0]), generator=generator)


def orthogonal_(tensor: _T, gain: float = 1.0, *, generator: Generator) -> _T:
    """Rows (or, if there are more of them, columns) that are orthonormal, times gain; uniformly distributed.

    Axes after the first are taken together. Source: Saxe, McClelland & Ganguli, 2014; Mezzadri, 2007, for the signs.

    >>> import numpy as np
    >>> from tinygrad_ce import nn
    >>> weight = orthogonal_(nn.Parameter(np.zeros((2, 4))), generator=np.random.default_rng(0))
    >>> np.round(weight.data @ weight.data.T, 6) + 0.0
    array([[1., 0.],
           [0., 1.]])
    """
    _fans(tensor)
    if tensor.size:
        rows = len(tensor)
        columns = tensor.size // rows
        q, r = np.linalg.qr(_random(generator).normal(size=(max(rows, columns), min(rows, columns))))
        q *= np.sign(np.diag(r))
        tensor.data[...] = gain * (q.T if rows < columns else q).reshape(tensor.shape)
    return tensor


def _fill(tensor: _T, values: Callable[[tuple[int, ...]], Any]) -> _T:
    """Write values into a parameter, once it is known to be one."""
    data = _check(tensor).data
    data[...] = values(data.shape)
    return tensor


def _spread_uniform(tensor: _T, std: float, generator: Generator) -> _T:
    """Uniform, symmetric about 0, with this standard deviation."""
    bound = math.sqrt(3) * std
    return uniform_(tensor, -bound, bound, generator=generator)


def _fans(tensor: Tensor) -> tuple[int, int]:
    """fan_in and fan_out, at least 1 each, so that an empty weight is no division by 0."""
    if _check(tensor).ndim < 2:
        raise ValueError(
            f"init: the tensor has shape {tensor.shape}, expected a weight of shape (fan_out, fan_in, ...)"
        )
    field = math.prod(tensor.shape[2:])
    return max(tensor.shape[1] * field, 1), max(tensor.shape[0] * field, 1)


def _kaiming_std(tensor: Tensor, a: float, mode: Mode, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'init: mode={mode!r}; expected "fan_in" or "fan_out"')
    return calculate_gain(nonlinearity, a) / math.sqrt(_fans(tensor)[mode == "fan_out"])


def _check(tensor: _T) -> _T:
    if not isinstance(tensor, Tensor) or not tensor.is_leaf or tensor.dtype.kind != "f":
        raise TypeError(f"init: expected a parameter, such as layer.weight, found {tensor!r}")
    return tensor


def _random(generator: Any) -> Generator:
    if not isinstance(generator, Generator):
        raise TypeError(f"init: generator={generator!r}; write generator=numpy.random.default_rng(seed)")
    return generator
