"""The references of the op database: exact functions in decimals, and errors counted in ULPs."""

import math
from decimal import Decimal, localcontext

import mpmath
import numpy as np
import pytest

from tinygrad_ce.registry import registry
from tinygrad_ce.testing import exact
from tinygrad_ce.testing.database import database


@pytest.mark.parametrize("name", ["expm1", "log1p", "sin", "cos", "tanh", "erf", "erfc"])
def test_decimal_functions_agree_with_mpmath(name: str) -> None:
    points = (-5, -2, -0.3, -1e-9, 1e-9, 5e-3, 0.3, 0.9, 1.5, 1.99, 2, 2.5, 3.1, 7, 20, 25)
    with localcontext(exact.CONTEXT), mpmath.workdps(90):
        for x in points:
            if name == "log1p" and x <= -1:
                continue
            expected = getattr(mpmath, name)(mpmath.mpf(x))
            found = mpmath.mpf(str(getattr(exact, name)(Decimal(x))))
            assert abs(found / expected - 1) < mpmath.mpf("1e-50"), x


def test_ulps() -> None:
    one = np.array([1.0], np.float32)
    assert exact.ulps(np.nextafter(one, 2), exact.decimals(one)) == 1
    assert exact.ulps(one, exact.build((1,), lambda _: Decimal("1.00000005960464477539"))) == pytest.approx(0.5)
    assert exact.ulps(np.array([math.inf, math.nan, math.inf, 1.0, -math.inf, math.nan]),
                      exact.decimals([math.inf, math.nan, math.nan, math.inf, math.inf, 1.0])).tolist() == [
        0, 0, math.inf, math.inf, math.inf, math.inf]  # fmt: skip
    assert exact.ulps(np.array([math.inf, math.inf], np.float16), exact.decimals([65520.0, 65519.0])).tolist() == [
        0,
        math.inf,
    ]
    with pytest.raises(ValueError, match=r"expected shape \(1,\), found \(\)"):
        exact.ulps(np.float64(1.0), exact.decimals([1.0]))


@pytest.mark.parametrize("name", database)
def test_a_reference_sees_an_error_of_a_few_units(name: str) -> None:
    """The tolerance is tight: the op's own float64 result, a relative 1e-14 off, is refused."""
    info = database[name]
    sample = next(s for s in info.samples(np.random.default_rng(0)) if s.inputs[0].size > 1)
    op = registry[name]
    z = np.asarray(op(*sample.inputs, **{**op.defaults, **sample.attributes}))
    assert exact.ulps(z, info.exact(sample), info.magnitude(sample)).max() <= info.ulps
    wrong = exact.ulps(z * (1 + 2e-14), info.exact(sample), info.magnitude(sample)).max()
    assert wrong > info.ulps
