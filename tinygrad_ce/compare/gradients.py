"""`compare_gradients`: every chain on the same logits, against the truth."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_ce.autograd import grad
from tinygrad_ce.compare.chains import Chain
from tinygrad_ce.compare.measured import TOLERANCE, ChainResult, Cost, Error
from tinygrad_ce.compare.peers import Contestant, contestants
from tinygrad_ce.compare.problem import Array, Problem, Reduction
from tinygrad_ce.compare.reference import Precision, Truth, truth
from tinygrad_ce.compare.result import Comparison
from tinygrad_ce.functional.loss import warn_of_probabilities
from tinygrad_ce.kernels.accuracy import Wide, ulp_difference
from tinygrad_ce.kernels.choice import kernels
from tinygrad_ce.mode import enable_grad
from tinygrad_ce.tensor import Tensor, TensorLike, as_tensor

ENOUGH = 0.02  # seconds of timing for a chain
RUNS = 5  # at most


def compare_gradients(
    logits: TensorLike,
    targets: Any,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    axis: int = -1,
    on_empty: str = "nan",
    precise: bool = False,
    parameters: Mapping[str, Tensor] | None = None,
    chains: Sequence[str | Chain] | None = None,
    reference: Precision = "auto",
    measure: bool = True,
) -> Comparison:
    """Compare the fused softmax cross-entropy with its other spellings: loss, gradients, ops, memory and time.

        fused                 softmax_cross_entropy
        log-softmax + NLL     log_softmax, nll_loss
        softmax, log, pick    softmax, log, take_along_axis, mean, neg
        clipped               log(softmax + 1e-7), pick: what goes wrong
        naive                 exp / sum of exp, without a shift, log, pick: what goes wrong
        p - y                 the formula as it stands: a gradient, no loss
        central differences   of the fused loss in float64, for small finite logits: a gradient, no loss
        torch                 torch.nn.functional.cross_entropy, where torch is installed

    logits      floating, any shape with the classes on `axis`, such as (N, C); nothing about it is changed
    targets     and weight, ignore_index, label_smoothing, reduction, axis, on_empty, precise: those of
                `functional.softmax_cross_entropy`; "none" compares the rows' losses and the gradient of their sum
    parameters  named tensors that the logits were computed from, such as `dict(model.named_parameters())`: each chain's
                gradient of the logits is pulled back to them through the logits' graph, which is retained, and so is
                the true one, rounded to the dtype: what is measured is the loss and not the network
    chains      those wanted, by default all that apply: names, or a `Chain` of your own
    reference   how the truth is computed: "mpmath", "long double", or "auto": mpmath if it is installed and the logits
                are few
    measure     False: no times and no peak memory, and so the same result at each run

    Differences are given in absolute and relative terms and in ULP of the logits' dtype; half a ULP is the best that
    the dtype can do. Besides the tables (`print`) there are the verdicts (`in_words()`), `steps(row)` with every
    intermediate gradient, `plot()`, `to_json()` and `raise_if_different()`.

    Raises TypeError for logits that are not floating, parameters that take no gradient or chains that are none,
    ValueError for an empty batch, an unknown chain, two chains of one name, or whatever the loss refuses, IndexError
    for a target outside [0, C).
    Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions", 2021.

    >>> import tinygrad_ce as tg
    >>> comparison = tg.compare_gradients([[2.0, 1.0, 0.1], [0.0, 40.0, 0.0]], [0, 1])
    >>> [(chain.name, chain.ops, chain.lost) for chain in comparison.chains[:3]]
    [('fused', 1, 0), ('log-softmax + NLL', 2, 0), ('softmax, log, pick', 5, 1)]
    >>> print(comparison.verdicts()["softmax, log, pick"])
    1 of the 6 elements of the gradient is exactly 0: p rounds to 1, although float32 can hold the truth (up to 4.2e-18)
    """
    source = as_tensor(logits)
    problem = Problem.of(
        source.data, targets, axis=axis, reduction=reduction, caller="compare_gradients", weight=weight,
        ignore_index=ignore_index, label_smoothing=label_smoothing, on_empty=on_empty, precise=precise,
    )  # fmt: skip
    if source.meaning == "probabilities":
        warn_of_probabilities("compare_gradients", source.shape[axis])
    chosen = _chosen(chains)
    with enable_grad(), np.errstate(all="ignore"):
        exact = truth(problem, reference)
        back = _PullBack(source, parameters or {}, exact.gradient)
        results = tuple(_run(chain, problem, exact, back, measure) for chain in chosen if chain.applies(problem))
    return Comparison(
        chains=results,
        loss=float(exact.loss.sum()),
        gradient=exact.gradient,
        shape=source.shape,
        dtype=source.dtype.name,
        axis=problem.axis,
        reduction=reduction,
        options=problem.options,
        reference=exact.name,
        problem=problem,
        truth=exact,
    )


def _chosen(chains: Sequence[str | Chain] | None) -> list[Contestant]:
    known = contestants()
    found: dict[str, Contestant] = {}
    if isinstance(chains, str) or not all(isinstance(given, (str, Chain)) for given in chains or ()):
        raise TypeError(f"compare_gradients: chains: expected a list of names or of Chains, found {chains!r}")
    for given in chains or known:
        chain = known.get(given) if isinstance(given, str) else given
        if chain is None:
            raise ValueError(f"compare_gradients: no chain is called {given!r}; there are {', '.join(known)}")
        if found.setdefault(chain.name, chain) is not chain:
            raise ValueError(f"compare_gradients: two chains are called {chain.name!r}; give each a name of its own")
    return list(found.values())


def _run(chain: Contestant, problem: Problem, exact: Truth, back: _PullBack, measure: bool) -> ChainResult:
    state = chain.forward(problem)
    loss = chain.loss(state)
    loss = None if loss is None else loss.reshape(exact.loss.shape)
    ops, kept_bytes = chain.graph(state)
    gradient = chain.backward(problem, state)
    del state
    lost: Array = (gradient == 0) & (exact.gradient.astype(gradient.dtype) != 0)
    wrong = np.isfinite(exact.gradient)
    nan, infinite = (int((test(gradient) & wrong).sum()) for test in (np.isnan, np.isinf))
    all_zero: Array = lost.any(axis=problem.axis) & (gradient == 0).all(axis=problem.axis)
    return ChainResult(
        name=chain.name,
        note=chain.note,
        agrees=chain.agrees,
        loss=None if loss is None else float(loss.sum(dtype=np.float64)),
        gradient=gradient,
        loss_error=None if loss is None else Error.of(loss, exact.loss),
        gradient_error=Error.of(gradient, exact.gradient),
        parameter_error=back.error(gradient),
        lost=int(lost.sum()),
        largest_lost=float(np.abs(exact.gradient[lost]).max(initial=0.0)),
        lost_rows=int(all_zero.sum()),
        nan=nan,
        infinite=infinite,
        why=_why(chain, problem, problem.rows(lost).any(axis=1), nan + infinite > 0),
        beyond=_beyond(loss, gradient, exact),
        ops=ops,
        kept_bytes=kept_bytes,
        cost=_cost(chain, problem) if measure else None,
    )


def _beyond(loss: Array | None, gradient: Array, exact: Truth) -> float:
    """By what factor the loss or an element of the gradient exceeds the tolerance."""
    tolerance = TOLERANCE[gradient.dtype.name]
    factors = [0.0 if loss is None else float(ulp_difference(loss, exact.loss).max() / tolerance)]
    ulps = ulp_difference(gradient, exact.gradient)
    unit = np.spacing(np.abs(exact.gradient).astype(gradient.dtype)).astype(Wide)
    term = np.spacing(exact.sizes.astype(gradient.dtype)).astype(Wide)
    shrunk = np.where(term > unit, ulps * (unit / term).astype(np.float64), ulps)
    return max(*factors, float(shrunk.max()) / tolerance)


def _why(chain: Contestant, problem: Problem, lost: Any, broken: bool) -> str:
    """What in the numbers made one of our chains lose gradients or break."""
    if contestants().get(chain.name) is not chain or not (broken or lost.any()):
        return ""
    z = problem.rows(problem.logits)
    largest = z.max(axis=1)
    if chain.name == "naive":
        if broken and (largest > np.log(np.finfo(z.dtype).max)).any():
            return "exp overflowed"
        if broken and (largest < np.log(np.finfo(z.dtype).smallest_subnormal)).any():
            return "exp underflowed in a whole row: 0 / 0"
    if broken and problem.ignored.all():
        return "0 / 0: every row is ignored"
    p = kernels.softmax(z)
    if broken:
        if not np.isfinite(p[problem.ignored]).all():
            return "0 times nan in an ignored row"
        if chain.name == "clipped":
            return "1 / (p + 1e-7) overflowed"
        return "softmax underflowed, and 1/p and log(p) of 0 are infinite" if (p == 0).any() else ""
    at_target = p[lost, problem.indices[lost]]
    if (at_target == 0).any():
        return "softmax underflowed"
    return "p rounds to 1" if (at_target == 1).all() else "softmax underflowed" if (p[lost] == 0).any() else ""


def _cost(chain: Contestant, problem: Problem) -> Cost:
    """The shortest of a few runs, and the peak of one more."""
    forward: list[float] = []
    backward: list[float] = []
    end = time.perf_counter() + ENOUGH
    while not forward or (len(forward) < RUNS and time.perf_counter() < end):
        start = time.perf_counter()
        state = chain.forward(problem)
        middle = time.perf_counter()
        chain.backward(problem, state)
        backward.append(time.perf_counter() - middle)
        forward.append(middle - start)
        del state
    if chain.name == "torch":  # whose memory Python does not see
        return Cost(min(forward), min(backward), None)
    with _traced():
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        chain.backward(problem, chain.forward(problem))
        _, peak = tracemalloc.get_traced_memory()
    has_forward = chain.loss(chain.forward(problem)) is not None
    return Cost(min(forward) if has_forward else None, min(backward), peak - before)


@contextlib.contextmanager
def _traced() -> Any:
    if tracemalloc.is_tracing():
        yield
        return
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


class _PullBack:
    """From gradients of the logits to gradients of the parameters, compared with those that the true one brings."""

    def __init__(self, logits: Tensor, parameters: Mapping[str, Tensor], truth: Array) -> None:
        for name, parameter in parameters.items():
            if not isinstance(parameter, Tensor) or not parameter.requires_grad:
                raise TypeError(f"compare_gradients: parameters[{name!r}] is {parameter!r}, which takes no gradient")
        if parameters and not logits.requires_grad:
            raise TypeError(
                "compare_gradients: the logits have no graph that leads to the parameters; pass model(x) itself, "
                "computed outside no_grad()"
            )
        self.logits, self.parameters = logits, parameters
        self.truth = self.pull(truth.astype(logits.dtype))

    def pull(self, gradient: Array) -> list[Array]:
        if not self.parameters:
            return []
        found = grad(self.logits, list(self.parameters.values()), gradient, retain_graph=True)
        return [g.data for g in found]

    def error(self, gradient: Array) -> Error | None:
        pulled = zip(self.parameters, self.pull(gradient), self.truth, strict=True)
        found = [Error.of(g, truth.astype(Wide), name) for name, g, truth in pulled]
        return max(found, key=lambda error: error.ulps, default=None)
