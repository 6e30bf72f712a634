"""The cross-entropy kernels on a grid of rows against mpmath, in ULPs of the true value: loss and whole gradient."""

import functools

import mpmath
import numpy as np
import pytest

from tinygrad_ce.kernels import rows as row_kernels
from tinygrad_ce.kernels import softmax

FLOATS = [np.float16, np.float32, np.float64]
INF = np.inf


@pytest.fixture(autouse=True)
def _oracle_precision():
    with mpmath.workprec(220):
        yield


@functools.cache
def grid(c, dtype):
    """Rows of c logits: scales 1e-3 to 1e4, margins 1 to 100, constants, ties, shifts of +-1e6, entries of -inf."""
    rng = np.random.default_rng(c)
    shifts = (0, 1e3) if dtype == np.float16 else (0, 1e6, -1e6)
    rows = []
    for scale in (1e-3, 0.1, 1.0, 10.0, 1e2, 1e3, *([] if dtype == np.float16 else [1e4])):
        rows += [rng.normal(size=c) * scale + shift for shift in shifts]
    for margin in (1, 2, 3, 5, 7, 9, 13, 17, 30, 60, 87, 100):
        near, constant = rng.normal(size=c) * 0.1, np.full(c, -1 / 3)
        near[rng.integers(c)] = near.max() + margin
        constant[c // 2] += margin
        rows += [near, constant, constant * 1.007 + rng.choice(shifts)]
    tied, masked = rng.normal(size=c), rng.normal(size=(2, c))
    tied[:2] = tied.max() + 20
    masked[0, 1] = masked[1, 1:] = -INF
    return np.array([*rows, np.zeros(c), tied, *masked]).astype(dtype)


class Truth:
    """Of one row in mpmath: the argmax, s' as `rest`, the differences m - z_j and the probabilities."""

    def __init__(self, row):
        z = [mpmath.mpf(float(v)) for v in row]
        self.a = int(np.argmax(row))
        self.distance = [z[self.a] - v for v in z]
        exp = functools.cache(mpmath.exp)  # many rows are constant
        e = [exp(-d) for d in self.distance]
        self.rest = mpmath.fsum(e[: self.a] + e[self.a + 1 :])
        self.p = [v / (1 + self.rest) for v in e]

    def index(self, y):
        """Loss and gradient for the class y."""
        others = self.rest if y == self.a else self.rest + (1 - mpmath.exp(-self.distance[y]))
        gradient = list(self.p)
        gradient[y] = -others / (1 + self.rest)
        return mpmath.log1p(self.rest) + self.distance[y], gradient

    def soft(self, t):
        """Loss and gradient for target weights t."""
        t = [mpmath.mpf(float(v)) for v in t]
        total = mpmath.fsum(t)
        loss = mpmath.fsum(v * d for v, d in zip(t, self.distance, strict=True) if v) + mpmath.log1p(self.rest) * total
        gradient = [p * total - v for p, v in zip(self.p, t, strict=True)]
        others = mpmath.fsum(t[: self.a] + t[self.a + 1 :])
        gradient[self.a] = others - total * (self.rest / (1 + self.rest))
        return loss, gradient


@functools.cache
def truths(c, dtype):
    with mpmath.workprec(220):
        return [Truth(row) for row in grid(c, dtype)]


def ulps(got, exact, dtype, noise=0.0):
    """Distances of an array from exact mpf numbers in units in their last place; the unit is at least `noise`."""
    high = np.array([float(v) for v in exact])
    low = np.array([float(v - mpmath.mpf(h)) if np.isfinite(h) else 0.0 for v, h in zip(exact, high, strict=True)])
    with np.errstate(all="ignore"):
        nearest = high.astype(dtype)
        unit = np.maximum(np.spacing(np.abs(nearest)).astype(np.float64), noise)
        got = np.asarray(got).astype(np.float64)
        return np.where(np.isfinite(nearest), np.abs((got - high) - low) / unit, np.where(got == nearest, 0.0, INF))


def in_dtype(losses, dtype):
    """Losses as the op returns them."""
    with np.errstate(over="ignore"):
        return losses.astype(dtype)


def targets_of(z, at_argmax):
    return (z.argmax(1) + (0 if at_argmax else 1 + np.arange(len(z)) % (z.shape[1] - 1))) % z.shape[1]


def worst_with_index(kernel, c, dtype, at_argmax):
    """The largest errors in ULP: loss, gradient at the target, other gradients; and the target gradients lost."""
    z = grid(c, dtype)
    y = targets_of(z, at_argmax)
    losses, dz = kernel(z, y)
    assert dz.dtype == dtype
    worst, lost = np.zeros(3), 0
    for i, truth in enumerate(truths(c, dtype)):
        loss, gradient = truth.index(int(y[i]))
        entries = ulps(dz[i], gradient, dtype)
        at_target = entries[y[i]]
        entries[y[i]] = 0
        worst = np.maximum(
            worst, [ulps(in_dtype(losses[i : i + 1], dtype), [loss], dtype)[0], at_target, entries.max()]
        )
        lost += dz[i, y[i]] == 0 and float(gradient[y[i]]) != 0 and rounded_is_not_zero(gradient[y[i]], dtype)
    return worst, lost


def rounded_is_not_zero(value, dtype):
    with np.errstate(under="ignore"):
        return np.float64(float(value)).astype(dtype) != 0


def bounds(dtype, precise, c):
    """ULP allowed in the loss, in the target gradient (520 ULP of float64 are 1e-13 of it) and in the other entries."""
    if dtype == np.float64:
        return (2, 4, 4) if precise else (80, 520, 520)
    if dtype == np.float32 and not precise and c > row_kernels.SHORT_ROW:
        return (2, 2, 70)
    return (0.51, 0.51, 0.51)


@pytest.mark.parametrize("at_argmax", [True, False])
@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("c", [2, 3, 10, 65, 300])
@pytest.mark.parametrize("dtype", FLOATS)
def test_cross_entropy_on_the_grid(kernels, dtype, c, precise, at_argmax):
    worst, lost = worst_with_index(lambda z, y: kernels.cross_entropy(z, y, 1.0, True, precise), c, dtype, at_argmax)
    assert (worst <= bounds(dtype, precise, c)).all(), worst
    assert lost == 0


@pytest.mark.parametrize("c", [2, 3, 10, 31, 33, 64, 65, 100, 300])
def test_float32_is_right_on_random_rows(kernels, c):
    rng, n = np.random.default_rng(c), 3000
    z = rng.normal(size=(n, c)) * rng.choice([0.1, 1, 3], (n, 1))
    z[::4], z[1::4] = rng.uniform(-2, 0, (n // 4, c)), rng.choice([-0.7, -0.3, 0.0, 0.1], (n // 4, c))
    y, each = rng.integers(0, c, n), np.arange(n)
    z[each, y] += rng.uniform(-100, 100, n)
    z = z.astype(np.float32)
    losses, dz = kernels.cross_entropy(z, y, 1.0, True)
    below = z.astype(np.float64) - z[each, y, None]  # exact enough: float64 has 29 bits to spare
    below[each, y] = -INF
    rest = np.exp(below).sum(1)
    for got, true in ((losses, np.log1p(rest)), (dz[each, y], -rest / (1 + rest))):
        unit = np.spacing(np.abs(true).astype(np.float32)).astype(np.float64)
        assert (np.abs(got.astype(np.float32) - true) / unit).max() <= bounds(np.float32, False, c)[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_grid_sees_what_is_wrong(dtype):
    def usual(z, y):
        with np.errstate(all="ignore"):
            e = np.exp(z - z.max(1, keepdims=True))
            p = e / e.sum(1, keepdims=True)
            losses = -np.log(p[np.arange(len(z)), y])
        p[np.arange(len(z)), y] -= 1
        return losses.astype(np.float64), p

    worst, lost = worst_with_index(usual, 65, dtype, True)
    assert lost > 10
    assert (worst[:2] > 1e6).all()
    default, _ = worst_with_index(lambda z, y: softmax.cross_entropy(z, y, 1.0, True), 65, dtype, True)
    assert default[2] > bounds(dtype, True, 65)[2]  # the bounds of precise are not met without it
    assert dtype == np.float64 or default[0] > bounds(dtype, True, 65)[0]


@functools.cache
def weights(c, dtype, kind):
    """Target weights for the rows of grid(c, dtype); 0 where the logit is -inf, in half of the rows."""
    z, rng = grid(c, dtype), np.random.default_rng(c + 1)
    t = np.zeros(z.shape)
    if kind == "one-hot":
        t[np.arange(len(z)), z.argmax(1)] = 1
    elif kind == "smoothed":
        t[np.arange(len(z)), rng.integers(0, c, len(z))] = 0.9
        t += 0.1 / c
    else:
        t = rng.dirichlet(np.full(c, 0.3), len(z)) * rng.uniform(0.5, 2, c)
    t[::2][np.isneginf(z[::2])] = 0
    return t


@pytest.mark.parametrize("kind", ["one-hot", "smoothed", "weighted"])
@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("c", [2, 10, 65, 300])
@pytest.mark.parametrize("dtype", FLOATS)
def test_soft_cross_entropy_on_the_grid(kernels, dtype, c, precise, kind):
    z, t = grid(c, dtype), weights(c, dtype, kind)
    losses, dz = kernels.soft_cross_entropy(z, lambda rows: t[rows], 1.0, True, precise)
    assert dz.dtype == dtype
    allowed, _, allowed_entry = bounds(dtype, precise or dtype != np.float64, c)
    for i, truth in enumerate(truths(c, dtype)):
        loss, gradient = truth.soft(t[i])
        total = t[i].sum()
        terms = np.maximum(np.array([float(p) for p in truth.p]) * total, t[i])  # p_j T and t_j may cancel: their unit
        if kind == "one-hot":
            terms[truth.a] = 0  # here nothing may be lost
        assert ulps(in_dtype(losses[i : i + 1], dtype), [loss], dtype)[0] <= allowed
        entries = ulps(dz[i], gradient, dtype, 2 * np.spacing(terms) if dtype != np.float64 else np.spacing(terms))
        assert entries.max() <= allowed_entry, entries.argmax()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_vocabulary(kernels, dtype):
    z = np.random.default_rng(0).normal(size=(2, 50257)).astype(dtype)
    z[1] = dtype(-1 / 3)
    z[1, 77] += 9
    y = np.array([5, 77])
    for row, target, i in zip(z, y, range(2), strict=True):
        loss, gradient = Truth(row).index(int(target))
        picked = np.r_[0:50257:50, target]
        for precise in (False, True):
            losses, dz = kernels.cross_entropy(z, y, 1.0, True, precise)
            bound, _, bound_entry = bounds(dtype, precise, 50257)
            assert ulps(in_dtype(losses[i : i + 1], dtype), [loss], dtype)[0] <= bound
            assert ulps(dz[i, picked], [gradient[j] for j in picked], dtype).max() <= bound_entry


@pytest.mark.parametrize("precise", [False, True])
def test_float64_underflow_of_every_single_term_loses_nothing(kernels, precise):
    for margin in (720, 744, 750):  # exp(-750) is 0 in float64; 50256 times it is not
        z = np.zeros((1, 50257))
        z[0, 7] = margin
        losses, dz = kernels.cross_entropy(z, np.array([7]), 1.0, True, precise)
        soft, soft_dz = kernels.soft_cross_entropy(z, lambda rows, z=z: (z[rows] > 0) * 1.0, 1.0, True, precise)
        true = 50256 * mpmath.exp(-margin)
        assert float(true) > 0
        assert ulps([losses[0], soft[0], -dz[0, 7], -soft_dz[0, 7]], [true] * 4, np.float64).max() <= 2


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
def test_rows_of_scale_zero_have_gradient_zero_whatever_they_hold(kernels, dtype, precise):
    for c in (4, 100):
        z = np.random.default_rng(1).normal(size=(6, c)).astype(dtype)
        z[0, 1], z[1, 0], z[2], y = np.nan, INF, -INF, np.arange(6) % 4
        scale = np.array([0.0, 0.0, 0.0, 0.0, 0.5, 2.0])
        t = np.random.default_rng(2).dirichlet(np.ones(c), 6)
        for kernel, targets in ((kernels.cross_entropy, y), (kernels.soft_cross_entropy, t.__getitem__)):
            losses, dz = kernel(z, targets, scale, True, precise)
            assert not dz[:4].any()
            assert not np.signbit(dz[:4]).any()
            assert np.isnan(losses[:3]).all()
            assert np.isfinite(losses[3:]).all()
            assert dz[4:].all()
            again = kernel(z, targets, 1.0, True, precise)[1]
            assert np.isnan(again[:3]).all()  # a scale that is one number spoils nothing and hides nothing


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_weight_of_zero_at_minus_infinity_adds_nothing(kernels, dtype, precise):
    z = np.array([[0, -INF, 1], [0, -INF, 1], [-INF, -INF, 2]], dtype)
    t = np.array([[0.25, 0, 0.75], [0.25, 0.25, 0.5], [0, 0, 1]])
    losses, dz = kernels.soft_cross_entropy(z, t.__getitem__, 1.0, True, precise)
    p = np.exp([0, 1]) / np.exp([0, 1]).sum()
    np.testing.assert_allclose(losses[0], -(t[0, [0, 2]] * np.log(p)).sum(), rtol=1e-15)
    assert losses[1:].tolist() == [INF, 0]
    assert not np.signbit(losses).any()
    np.testing.assert_allclose(
        dz, [[p[0] - 0.25, 0, p[1] - 0.75], [p[0] - 0.25, -0.25, p[1] - 0.5], [0, 0, 0]], rtol=1e-3
    )
    whole = kernels.soft_cross_entropy(z[:, ::2], t[:, ::2].__getitem__, 1.0, True, precise)
    np.testing.assert_array_equal(whole[0][[0, 2]], losses[[0, 2]])
    np.testing.assert_array_equal(whole[1][[0, 2]], dz[[0, 2]][:, ::2])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("c", [1, 7, 90, 1500])
def test_row_blocks_do_not_change_a_bit(kernels, dtype, c, monkeypatch):
    rng = np.random.default_rng(4)
    z, t, y = rng.normal(size=(29, c)).astype(dtype) * 8, rng.dirichlet(np.ones(c), 29), rng.integers(0, c, 29)
    z[3], z[:, 0] = z[4], z[:, 0] - dtype(INF) if c > 1 else z[:, 0]
    scale = np.linspace(-1.0, 2.0, 29)
    t.flags.writeable = z.flags.writeable = False

    def results():
        yield from kernels.cross_entropy(z, y, scale, True, True)
        for precise in (False, True):
            for targets in (t, np.asfortranarray(t)):
                yield from kernels.soft_cross_entropy(z, targets.__getitem__, scale, True, precise)
                yield kernels.soft_cross_entropy(z, targets.__getitem__, 2.0, False, precise)[0]

    at_once = list(results())
    for block in (4 * c + 1, 1):
        monkeypatch.setattr(row_kernels, "BLOCK", block)
        for a, b in zip(at_once, results(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("c", [10, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_representable_shift_changes_no_bit(kernels, dtype, c):
    z = (np.random.default_rng(0).integers(-512, 512, (40, c)) / 64).astype(dtype)
    y, t = np.arange(40) % c, np.random.default_rng(1).dirichlet(np.ones(c), 40)
    z[np.arange(20), y[:20]] += 40
    for precise in (False, True):
        for kernel, targets in ((kernels.cross_entropy, y), (kernels.soft_cross_entropy, t.__getitem__)):
            expected, expected_dz = kernel(z, targets, 0.1, True, precise)
            for shift in (4096, -65536):
                losses, dz = kernel(z + dtype(shift), targets, 0.1, True, precise)
                np.testing.assert_array_equal(losses, expected)
                np.testing.assert_array_equal(dz, expected_dz)


def test_target_weights_are_asked_for_block_by_block(kernels, monkeypatch):
    z, asked = np.zeros((10, 4), np.float32), []
    monkeypatch.setattr(row_kernels, "BLOCK", 16)

    def target_rows(rows):
        asked.append(rows.indices(10)[:2])
        return np.full((len(z[rows]), 4), 0.25, np.float32)

    losses, dz = kernels.soft_cross_entropy(z, target_rows, 1.0, True)
    assert asked == [(0, 4), (4, 8), (8, 10)]
    np.testing.assert_array_equal(losses, np.log1p(3.0))
    assert not dz.any()


def test_exact_sums_are_right_to_the_last_place():
    e = np.random.default_rng(3).uniform(size=(20, 3001)) ** 9
    e[1] = np.exp(-7.0)
    sums, plain = row_kernels.exact_row_sums(e), np.cumsum(e, axis=1)[:, -1]
    exact = [mpmath.fsum(mpmath.mpf(float(v)) for v in row) for row in e]
    assert ulps(sums, exact, np.float64).max() <= 0.51
    assert ulps(plain, exact, np.float64).max() > 5


def test_no_floating_point_condition_escapes(kernels):
    largest = np.finfo(np.float32).max
    z = np.array([[largest, -largest, 0], [np.nan, INF, -INF], [-INF] * 3, [0, -95, -120]], np.float32)
    wide = np.concatenate([z, np.full((4, 97), -1e38, np.float32)], axis=1)
    with np.errstate(all="raise"):
        for x in (z, wide, np.where(np.abs(wide) > 1e30, wide.astype(np.float64) * 1e269, wide)):
            t = np.full(x.shape, 1 / x.shape[1])
            for precise in (False, True):
                kernels.cross_entropy(x, np.array([0, 1, 2, 0]), np.array([1e-300, 0, 1, 1]), True, precise)
                losses, _ = kernels.soft_cross_entropy(x, t.__getitem__, np.array([1e-300, 0, 1, 1]), True, precise)
                assert np.isnan(losses[[1, 3]]).tolist() == [True, False]
