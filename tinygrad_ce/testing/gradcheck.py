"""Gradients against central differences: `gradcheck` for the gradient, `gradgradcheck` for the gradient's gradient."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_ce.arrays import to_array
from tinygrad_ce.autograd import grad
from tinygrad_ce.mode import enable_grad
from tinygrad_ce.tensor import Tensor

Floats = NDArray[np.float64]

_ROUND_OFF = 16.0  # units in the last place by which an output of the function may be off
_UNCHANGED = 2.0  # units that a difference may have lost where an output is the same at both ends


class GradientError(AssertionError):
    """A gradient disagrees with central differences."""


def gradcheck(
    function: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 0.0,
    seed: int = 0,
) -> bool:
    """Compare every element of a function's gradient with a central difference.

        a = d(sum g * f(x)) / dx_i        n = sum g * (f(x + h e_i) - f(x - h e_i)) / (2 h)
        passes if  |a - n| <= rtol * max(|a|, |n|) + floor + atol

    with a random, non-uniform upstream gradient g and h = eps * max(1, |x_i|). The floor is what rounding the outputs
    costs the quotient, 16 * 2.2e-16 * norm(g * f) / (2 h), an eighth of that for outputs that do not move with x_i: a
    gradient that is lost, however small, fails as soon as a difference can see it at all. Costs two evaluations of the
    function for each element of the inputs.

    function    takes Tensors and returns a Tensor or a tuple of them
    inputs      a sequence of arrays or Tensors (one alone is one input). Floating-point inputs are checked, as float64
                copies; anything else is handed on as it is. To leave out a floating-point input, close over it:
                `gradcheck(lambda x: f(x, w), [x])`
    eps         step, relative to an element larger than 1
    rtol, atol  what is allowed beyond the floor. `atol` is for functions whose intermediate values are much larger than
                their results
    seed        of the upstream gradient

    Returns True. Raises GradientError naming the input and its worst element; ValueError if the function gives two
    different results for the same inputs; TypeError if there is no floating-point input or output. The inputs, their
    `.grad`, NumPy's global random state and the modes are left as they were; works inside `no_grad()`.
    At a kink (`abs` at 0) the difference is no derivative: choose inputs away from it.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> tg.gradcheck(lambda x, y: (x * y).sum(axis=0), [np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]])])
    True
    """
    inputs = as_inputs("gradcheck", inputs)
    title = f"gradcheck of {_title(function)}"
    compare(title, function, copies(title, inputs), names(function, inputs), eps, rtol, atol, seed)
    return True


def gradgradcheck(
    function: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 0.0,
    seed: int = 0,
) -> bool:
    """`gradcheck` of the gradient itself, as a function of the inputs and of the upstream gradient.

    The parameters, the result and the errors are those of `gradcheck`. It says nothing of whether the first gradient
    is right: run `gradcheck` too.

    >>> import numpy as np
    >>> import tinygrad_ce as tg
    >>> tg.gradgradcheck(lambda x: x**3, [np.array([1.0, -2.0])])
    True
    """
    inputs = as_inputs("gradgradcheck", inputs)
    title = f"gradgradcheck of {_title(function)}"
    compare_second(title, function, copies(title, inputs), names(function, inputs), eps, rtol, atol, seed)
    return True


def compare(
    title: str,
    function: Callable[..., Any],
    inputs: Sequence[Any],
    labels: Sequence[str],
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 0.0,
    seed: int = 0,
) -> None:
    """Raise GradientError unless the gradient of each float64 array among the inputs agrees with differences."""
    with enable_grad():
        values = [z.data for z in _outputs(title, function, inputs)[1]]
        upstream = random_upstream(seed, values)
        gradients = _gradients(title, function, inputs, upstream)
        same = _same(values, [z.data for z in _outputs(title, function, inputs)[1]])
        if not same or not _same(gradients, _gradients(title, function, inputs, upstream)):
            raise ValueError(
                f"{title}: two runs on the same inputs gave different {'gradients' if same else 'results'}; "
                "make the function deterministic, e.g. by making its random generator from a seed inside it"
            )
        floats = [i for i, x in enumerate(inputs) if _is_float(x)]
        for i, a in zip(floats, gradients, strict=True):
            n, floor = _differences(title, function, inputs, i, upstream, eps)
            difference = np.abs(a - n)
            allowed = rtol * np.maximum(np.abs(a), np.abs(n)) + floor + atol
            wrong = ~(difference <= allowed) | ~np.isfinite(difference)
            if wrong.any():
                raise GradientError(_message(title, labels[i], a, n, difference, allowed, wrong, seed, eps))


def compare_second(
    title: str,
    function: Callable[..., Any],
    inputs: Sequence[Any],
    labels: Sequence[str],
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 0.0,
    seed: int = 0,
) -> None:
    """`compare` for the gradient as a function of the inputs and of the upstream gradient."""
    with enable_grad():
        outputs = _outputs(title, function, inputs)[1]
    upstream = random_upstream(seed, [z.data for z in outputs])
    count = len(inputs)

    def gradient(*args: Any) -> tuple[Tensor, ...]:
        xs = [args[i] for i, x in enumerate(inputs) if _is_float(x)]
        zs = _float_tensors(title, function(*args[:count]))
        return tuple(pull(zs, xs, args[count:], create_graph=True))

    labels = [*labels, *(f"upstream gradient {k}" for k in range(len(upstream)))]
    compare(title, gradient, [*inputs, *upstream], labels, eps, rtol, atol, seed)


def pull(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], upstream: Sequence[Any], create_graph: bool
) -> list[Tensor]:
    """Gradients of the outputs, zeros for an input on which no output depends."""
    pairs = [(z, g) for z, g in zip(outputs, upstream, strict=True) if z.requires_grad]
    zs, gs = [z for z, _ in pairs], [g for _, g in pairs]
    found = grad(zs, inputs, gs, create_graph=create_graph, allow_unused=True)
    return [Tensor(np.zeros(x.shape, x.dtype)) if g is None else g for g, x in zip(found, inputs, strict=True)]


def random_upstream(seed: int, values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """For each value a gradient of either sign, between 0.5 and 1.5 in size, no two elements alike."""
    generator = np.random.default_rng(seed)
    return [
        np.asarray(generator.uniform(0.5, 1.5, z.shape) * generator.choice([-1.0, 1.0], z.shape), z.dtype)
        for z in values
    ]


def as_inputs(caller: str, inputs: Any) -> list[Any]:
    """The inputs as a list; one array or Tensor alone is one input."""
    if isinstance(inputs, (Tensor, np.ndarray)):
        return [inputs]
    if not isinstance(inputs, (list, tuple)):
        raise TypeError(f"{caller}: inputs: expected a sequence of arrays, found {type(inputs).__name__}")
    return list(inputs)


def copies(title: str, inputs: Sequence[Any]) -> list[Any]:
    """Float64 copies of the floating-point inputs, all else as it is; TypeError if there is none to check."""
    result = []
    for x in inputs:
        data = x.data if isinstance(x, Tensor) else x
        if isinstance(data, (np.ndarray, np.generic, float, list, tuple)):
            array = data if isinstance(data, (np.ndarray, np.generic)) else to_array(data, np.float64)
            if array.dtype.kind == "f":
                x = np.array(array, np.float64)
        result.append(x)
    if not any(_is_float(x) for x in result):
        found = ", ".join(str(getattr(x, "dtype", type(x).__name__)) for x in inputs) or "no inputs at all"
        raise TypeError(f"{title}: there is no floating-point input to check, found {found}; write 2.0 instead of 2")
    return result


def names(function: Callable[..., Any], inputs: Sequence[Any]) -> list[str]:
    """What messages call the inputs: position, and the Tensor's name or the function's parameter."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    own = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    own += [""] * (len(inputs) - len(own))
    given = [getattr(x, "name", None) or name for x, name in zip(inputs, own, strict=False)]
    return [f"input {i} ({name!r})" if name else f"input {i}" for i, name in enumerate(given)]


def _title(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", None) or type(function).__name__)


def _is_float(x: Any) -> bool:
    return type(x) is np.ndarray and x.dtype == np.float64


def _outputs(title: str, function: Callable[..., Any], inputs: Sequence[Any]) -> tuple[list[Tensor], list[Tensor]]:
    """The floating-point inputs as fresh leaves, and the function's floating-point outputs."""
    arguments = [Tensor(x, requires_grad=True) if _is_float(x) else x for x in inputs]
    leaves = [x for x, given in zip(arguments, inputs, strict=True) if _is_float(given)]
    for leaf in leaves:
        leaf.data.flags.writeable = False
    return leaves, _float_tensors(title, function(*arguments))


def _float_tensors(title: str, result: Any) -> list[Tensor]:
    results = result if isinstance(result, (tuple, list)) else [result]
    for z in results:
        if not isinstance(z, Tensor):
            raise TypeError(
                f"{title}: expected the function to return a Tensor or a tuple of Tensors, found {type(z).__name__}"
            )
    found = [z for z in results if z.dtype.kind == "f"]
    if not found:
        raise TypeError(
            f"{title}: the function returned no floating-point Tensor, so there is nothing to differentiate"
        )
    return found


def _gradients(
    title: str, function: Callable[..., Any], inputs: Sequence[Any], upstream: Sequence[NDArray[Any]]
) -> list[NDArray[Any]]:
    leaves, outputs = _outputs(title, function, inputs)
    return [g.data for g in pull(outputs, leaves, upstream, create_graph=False)]


def _differences(
    title: str, function: Callable[..., Any], inputs: Sequence[Any], position: int, upstream: Sequence[Any], eps: float
) -> tuple[Floats, Floats]:
    """The central difference for each element of one input, and how far rounding may have moved it."""
    x = inputs[position]
    quotient, floor = np.zeros(x.shape), np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        ends: list[list[NDArray[Any]]] = []
        points: list[float] = []
        for sign in (1.0, -1.0):
            moved = x.copy()
            moved[index] += sign * eps * max(1.0, abs(x[index]))
            points.append(float(moved[index]))
            arguments = [*inputs[:position], moved, *inputs[position + 1 :]]
            ends.append([z.data for z in _outputs(title, function, arguments)[1]])
        change = noise = 0.0
        for g, upper, lower in zip(upstream, *ends, strict=True):
            with np.errstate(invalid="ignore"):  # inf - inf is nan, which fails
                # Subtracting before multiplying by g: outputs that do not depend on this element add exactly nothing.
                change += float(np.sum(g * (upper.astype(np.float64) - lower)))
            size = np.abs(g) * np.maximum(np.abs(upper), np.abs(lower))
            units = np.where(upper == lower, _UNCHANGED, _ROUND_OFF)
            noise += float(np.sum((units * np.finfo(upper.dtype).eps * size) ** 2))
        width = points[0] - points[1]
        quotient[index], floor[index] = change / width, np.sqrt(noise) / width
    return quotient, floor


def _same(first: Sequence[NDArray[Any]], second: Sequence[NDArray[Any]]) -> bool:
    return len(first) == len(second) and all(
        a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True)
    )


def _message(
    title: str, label: str, a: Floats, n: Floats, difference: Floats, allowed: Floats, wrong: NDArray[Any], seed: int,
    eps: float,
) -> str:  # fmt: skip
    with np.errstate(all="ignore"):
        excess = np.where(wrong, np.where(np.isfinite(difference), difference / allowed, np.inf), 0.0)
    index = tuple(int(i) for i in np.unravel_index(np.argmax(excess), a.shape))
    with np.errstate(all="ignore"):
        relative, limit = np.array([difference[index], allowed[index]]) / max(abs(a[index]), abs(n[index]))
    element = f"element {list(index)} of shape {a.shape}" if index else "its value"
    return (
        f"{title}: the gradient of {label} is wrong at {int(wrong.sum())} of {a.size} elements.\n"
        f"Worst is {element}: the rules give {float(a[index])!r}, central differences {float(n[index])!r}, "
        f"relative difference {relative:.2e}, allowed {limit:.2e} (seed={seed}, eps={eps:g})"
    )
