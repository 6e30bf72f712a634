"""The result of a comparison: numbers, sentences, tables and plots of the chains side by side."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_ce.compare import plot, report
from tinygrad_ce.compare.chains import CHAINS, Chain
from tinygrad_ce.compare.measured import ChainResult, Results
from tinygrad_ce.compare.steps import Steps
from tinygrad_ce.mode import enable_grad
from tinygrad_ce.results import strict_json
from tinygrad_ce.tensor import Tensor
from tinygrad_ce.viz import Picture, draw_comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Group


@dataclass(frozen=True, repr=False)
class Comparison(Results):
    """The chains side by side: `print` it, plot it, or take the numbers from `chains` and `to_json()`.

    chains      one result each, the fused one first
    loss        the true loss
    gradient    the true gradient of the loss with respect to the logits, in the wide type
    shape, dtype, axis, reduction   of the logits and of the loss
    reference   how the truth was computed
    """

    def __getitem__(self, name: str) -> ChainResult:
        for chain in self.chains:
            if chain.name == name:
                return chain
        raise KeyError(f"no chain {name!r} was compared; there are {', '.join(chain.name for chain in self.chains)}")

    def steps(self, row: int = 0) -> Steps:
        """Every intermediate gradient of the unfused chain in one row (of the logits as (N, C)), beside p - y.

        >>> import tinygrad_ce as tg
        >>> found = tg.compare_gradients([[2.0, 1.0, 0.1]], [0], measure=False).steps()
        >>> print(found.dp.round(3), found.dz.round(3))
        [-1.517  0.     0.   ] [-0.341  0.242  0.099]
        """
        return Steps.of(self.problem, self.truth, row)

    def verdicts(self) -> dict[str, str]:
        """What the numbers say of each chain."""
        return report.verdicts(self)

    def in_words(self) -> list[str]:
        """What the numbers say, a sentence each: what each chain loses, how exact it is, what it takes."""
        return report.in_words(self)

    def to_json(self) -> dict[str, Any]:
        """All numbers as a dict that `json.dumps` takes; arrays are left out; nan and infinity are strings.

        Times and peak memory, which no two runs share, are in it if they were measured.
        """
        result = {key: getattr(self, key) for key in ("loss", "shape", "dtype", "axis", "reduction", "reference")}
        result["options"] = {
            key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in self.options.items()
        }
        verdicts, chains = self.verdicts(), []
        for chain in self.chains:
            numbers = asdict(chain)
            del numbers["gradient"]
            if chain.cost is None:
                del numbers["cost"]
            chains.append({**numbers, "verdict": verdicts[chain.name]})
        strict: dict[str, Any] = strict_json({**result, "chains": chains})
        return strict

    def raise_if_different(self, *names: str, ulps: float | None = None) -> None:
        """AssertionError, with the verdict, unless these chains agree with the truth; for use in tests.

        names  of chains; none: those that are meant to agree everywhere
        ulps   how far the loss and every element of the gradient may be; by default what rounding adds up to in a
               good algorithm: 32 ULP of float16, 160 of float32, 4096 of float64, of soft targets' terms if larger

        >>> import tinygrad_ce as tg
        >>> comparison = tg.compare_gradients([[40.0, 0.0]], [0], measure=False)
        >>> comparison.raise_if_different()
        >>> comparison.raise_if_different("softmax, log, pick")
        Traceback (most recent call last):
        AssertionError: softmax, log, pick: 1 of the 2 elements of the gradient is exactly 0: p rounds to 1...
        """
        chosen = [self[name] for name in names] or [chain for chain in self.chains if chain.agrees]
        wrong = []
        for chain in chosen:
            errors = [error.ulps for error in (chain.loss_error, chain.gradient_error) if error is not None]
            if not (chain.beyond <= 1 if ulps is None else max(errors) <= ulps):
                wrong.append(f"{chain.name}: {report.verdict(chain, self.dtype)}")
        if wrong:
            raise AssertionError("\n".join(wrong) + f"\n\n{self}")

    def plot(self) -> Figure:
        """Relative errors of all elements against the size of the truth, and times; a figure of matplotlib."""
        return plot.plot_comparison(self)

    def draw(self, other: str | Chain = "softmax, log, pick", **options: Any) -> Picture:
        """The graphs of a chain and of the fused one, side by side; both are run again on the same logits.

        other    name of a chain made of this package's ops, or a `Chain` of your own
        options  of `draw_comparison`: show, gradients, direction, expand, ...

        Raises ValueError for a chain that has no graph.

        >>> import tinygrad_ce as tg
        >>> comparison = tg.compare_gradients([[2.0, 1.0, 0.1]], [0], measure=False)
        >>> comparison.draw("log-softmax + NLL").save("comparison.svg")  # doctest: +SKIP
        >>> text = comparison.draw("log-softmax + NLL").text()
        >>> [tuple(line.split()[:3]) for line in text.splitlines() if line[0] in "-+"]
        [('-', 'a1', 'log_softmax'), ('-', 'a3', 'nll_loss'), ('+', 'b2', 'softmax_cross_entropy')]
        """
        chain = other if isinstance(other, Chain) else CHAINS.get(other)
        if chain is None or other == "fused":
            drawn = ", ".join(repr(name) for name in CHAINS if name != "fused")
            raise ValueError(f"draw: other: {other!r} is no chain to draw the fused one against; there are {drawn}")
        logits = Tensor(self.problem.logits, requires_grad=True, name="logits")
        with enable_grad(), np.errstate(all="ignore"):
            a, b = (spelling.build(logits, self.problem) for spelling in (chain, CHAINS["fused"]))
        inputs = {"logits": logits, "targets": self.problem.targets}
        return draw_comparison(a, b, titles=(chain.name, "fused"), inputs=inputs, **options)

    def __repr__(self) -> str:
        return report.text(self)

    def __rich__(self) -> Group:
        return report.rich(self)

    def _repr_html_(self) -> str:
        return report.html(self)
