"""compare_gradients against mpmath, and the ULP that everything is measured in."""

import math
import re

import mpmath
import numpy as np
import pytest

import tinygrad_ce as tg
from tests.comparisons import BATCHES, DTYPES, FUSED, LOG_SOFTMAX, OURS, SMALL_STEPS, batch, compared
from tinygrad_ce import compare, nn
from tinygrad_ce import functional as F
from tinygrad_ce.compare import Chain, compare_gradients
from tinygrad_ce.kernels.accuracy import Wide, difference, ulp_difference


def mp_cross_entropy(logits, targets, reduction="mean"):
    """Loss and gradient by the textbook formulas, to 200 digits; the gradient as a list of rows."""
    with mpmath.workdps(200):
        losses, gradient = [], []
        for row, y in zip(logits, targets, strict=True):
            e = [mpmath.exp(mpmath.mpf(float(x))) for x in row]
            total = mpmath.fsum(e)
            losses.append(-mpmath.log(e[y] / total))
            gradient.append([x / total - (j == y) for j, x in enumerate(e)])
        count = len(losses) if reduction == "mean" else 1
        return mpmath.fsum(losses) / count, [[g / count for g in row] for row in gradient]


def mp_ulps(actual, exact):
    """|actual - exact| over the spacing of the dtype at the exact value, by mpmath."""
    if not np.isfinite(actual):
        return math.inf
    with mpmath.workdps(200):
        unit = np.spacing(abs(actual.dtype.type(float(exact))))
        return float(abs(mpmath.mpf(float(actual)) - exact) / mpmath.mpf(float(unit)))


def relative(wide, exact):
    """|wide - exact| / |exact| of a number in the wide type, which float() would round."""
    with mpmath.workdps(200):
        high = float(wide)
        value = mpmath.mpf(high) + mpmath.mpf(float(wide - Wide(high)))
        return float(abs(value - exact) / abs(exact))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BATCHES)
class TestAgainstMpmath:
    @pytest.mark.parametrize("reference", ["long double", "mpmath"])
    def test_the_truth_is_the_truth(self, name, dtype, reduction, reference):
        z, y = batch(name, dtype)
        loss, gradient = mp_cross_entropy(z, y, reduction)
        found = compared(z, y, reduction=reduction, reference=reference)
        assert found.reference.startswith("mpmath") == (reference == "mpmath")
        bound = 8 * float(np.finfo(Wide).eps)
        assert relative(Wide(found.loss), loss) <= np.finfo(np.float64).eps
        for index in np.ndindex(z.shape):
            assert relative(found.gradient[index], gradient[index[0]][index[1]]) <= bound

    def test_the_differences_of_every_chain(self, name, dtype, reduction):
        z, y = batch(name, dtype)
        loss, gradient = mp_cross_entropy(z, y, reduction)
        in_doubt = 0.02 if np.finfo(Wide).nmant > 52 or dtype != "float64" else 8.0
        for chain in compared(z, y, reduction=reduction).chains:
            assert chain.gradient.dtype == z.dtype
            assert chain.loss_error.ulps == pytest.approx(mp_ulps(z.dtype.type(chain.loss), loss), abs=in_doubt)
            assert chain.loss_error.actual == chain.loss or math.isnan(chain.loss)
            ulps = {
                index: mp_ulps(chain.gradient[index], gradient[index[0]][index[1]]) for index in np.ndindex(z.shape)
            }
            worst = max(ulps.values())
            assert chain.gradient_error.ulps == pytest.approx(worst, rel=1e-6, abs=in_doubt)
            at = chain.gradient_error.index
            assert ulps[at] == pytest.approx(worst, rel=1e-6, abs=in_doubt)
            assert np.array_equal(chain.gradient[at], chain.gradient_error.actual, equal_nan=True)
            assert chain.gradient_error.exact == pytest.approx(float(gradient[at[0]][at[1]]), rel=1e-15)
            if chain.not_finite:
                assert chain.gradient_error.absolute == math.inf
                continue
            apart = max(
                float(abs(mpmath.mpf(float(chain.gradient[index])) - gradient[index[0]][index[1]]))
                for index in np.ndindex(z.shape)
            )
            assert chain.gradient_error.absolute == pytest.approx(apart, rel=1e-3)
            relative = [
                float(abs(mpmath.mpf(float(chain.gradient[i, j])) / gradient[i][j] - 1))
                for i, j in np.ndindex(z.shape)
                if abs(gradient[i][j]) >= float(np.finfo(dtype).smallest_normal)
            ]
            assert chain.gradient_error.relative == pytest.approx(max(relative), rel=1e-3, abs=1e-15)

    def test_lost_elements(self, name, dtype, reduction):
        z, y = batch(name, dtype)
        _, gradient = mp_cross_entropy(z, y, reduction)
        found = compared(z, y, reduction=reduction)
        for chain in found.chains:
            lost = [
                gradient[i][j]
                for i, j in np.ndindex(z.shape)
                if chain.gradient[i, j] == 0 and z.dtype.type(float(gradient[i][j])) != 0
            ]
            assert chain.lost == len(lost)
            assert chain.largest_lost == pytest.approx(float(max(map(abs, lost), default=0)), rel=1e-15)
            assert chain.not_finite == np.count_nonzero(~np.isfinite(chain.gradient))
            assert chain.nan == np.count_nonzero(np.isnan(chain.gradient))
            assert chain.not_finite == 0 or dtype == "float16" or name in ("shifted", "confident")
            assert chain.not_finite == 0 or chain.name in ("softmax, log, pick", "naive", "clipped")


class TestConfidentRows:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_small_steps_lose_what_the_fused_loss_keeps(self, dtype):
        z, y = batch("confident", dtype)
        fused, log_softmax, small_steps, *_ = compared(z, y).chains
        assert fused.lost == log_softmax.lost == 0
        assert small_steps.lost == 2
        assert small_steps.gradient[1, 4] == small_steps.gradient[3, 0] == 0
        # float64 logits are as exact as their differences: half a unit of the margin, so that many ULP of its exp
        assert fused.gradient_error.ulps < (1 if dtype == "float32" else 100)
        assert small_steps.gradient_error.ulps > 1e6

    def test_a_wrong_certainty_breaks_small_steps(self):
        fused, log_softmax, small_steps, *_ = compared(np.float32([[0.0, 200.0]]), [0]).chains
        assert fused.loss == log_softmax.loss == 200
        assert small_steps.loss == math.inf
        assert small_steps.loss_error.ulps == small_steps.gradient_error.ulps == math.inf
        assert (fused.not_finite, log_softmax.not_finite, small_steps.not_finite) == (0, 0, 2)

    def test_the_verdicts_say_so(self):
        z, y = batch("confident", "float32")
        verdicts = compared(z, y).verdicts()
        assert verdicts["softmax, log, pick"].startswith(
            "2 of the 50 elements of the gradient are exactly 0: p rounds to 1, although float32 can hold the truth"
        )
        assert re.fullmatch(r"within 0\.[45]\d ULP: rounded once, the best there is", verdicts["fused"])
        assert "exactly 0" not in " ".join(compared(*batch("ordinary", "float32")).in_words())

    @pytest.mark.parametrize(
        ("logits", "target", "chain", "words"),
        [
            (
                [[0.0, 200.0]],
                0,
                "softmax, log, pick",
                "2 of the 2 elements of the gradient are not finite (2 nan): soft",
            ),
            ([[0.0, 200.0]], 0, "clipped", "the gradient is exactly 0 in 1 row: softmax underflowed, although float32"),
            ([[0.0, 200.0]], 0, "naive", "2 of the 2 elements of the gradient are not finite (2 nan): exp overflowed"),
            ([[-200.0, -200.0]], 0, "naive", "not finite (2 nan): exp underflowed in a whole row: 0 / 0"),
            ([[0.0, -np.inf]], 0, "fused", "agrees with the truth to the last bit"),
            ([[0.0, 15.0]], 0, "clipped", "the worst element has no digit right (gradient[0, 0] is -0.75"),
            ([[1.0, 2.0, 0.5]], 0, "clipped", "differs by 5.73 ULP: rounding"),
        ],
    )
    def test_the_verdict_names_the_cause(self, logits, target, chain, words):
        assert words in compared(np.float32(logits), [target]).verdicts()[chain]


class TestWhatItTakes:
    def test_ops_and_bytes(self):
        z = np.random.default_rng(0).normal(size=(32, 10)).astype(np.float32)
        chains = compared(z, np.arange(32) % 10).chains
        assert [chain.ops for chain in chains] == [1, 2, 5, 6, 7]
        size = z.nbytes
        assert size <= chains[FUSED].kept_bytes <= size + 32 * 8
        assert chains[LOG_SOFTMAX].kept_bytes == size  # the log-probabilities; the targets belong to the caller
        assert size <= chains[SMALL_STEPS].kept_bytes <= size + 32 * 8  # the probabilities, once

    def test_a_chain_wrong_by_a_thousandth_is_found_out(self, monkeypatch):
        def wrong(logits, problem):
            return F.softmax_cross_entropy(logits * 1.001, problem.targets)

        monkeypatch.setitem(compare.CHAINS, "wrong", Chain("wrong", wrong, agrees=True))
        z, y = batch("ordinary", "float32")
        comparison = compared(z, y, chains=["fused", "wrong"])
        found = comparison["wrong"]
        with pytest.raises(AssertionError, match="wrong: differs by up to"):
            comparison.raise_if_different()
        assert found.gradient_error.ulps > 1000
        assert found.loss_error.ulps > 100


class TestParameters:
    def test_what_a_parameter_gets_is_what_the_logits_get(self):
        z, y = batch("confident", "float32")
        p = tg.Tensor(z, requires_grad=True)
        found = compared(p * 1.0, y, parameters={"p": p})
        for chain in found.chains:
            assert chain.parameter_error.name == "p"
            # the truth is rounded to float32 here, so up to half a unit apart
            assert chain.parameter_error.ulps == pytest.approx(chain.gradient_error.ulps, rel=1e-6, abs=0.5)
        small_steps = found.chains[SMALL_STEPS]
        assert small_steps.parameter_error.index == small_steps.gradient_error.index

    def test_the_worst_of_several(self):
        x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
        y = np.arange(8) % 3
        model = nn.MLP([4, 5, 3], generator=np.random.default_rng(1))
        parameters = dict(model.named_parameters())
        found = compared(model(x), y, parameters=parameters)
        dz = np.float64(found.gradient)
        hidden = model[1](model[0](x)).numpy().astype(np.float64)
        for i, chain in enumerate(compare.CHAINS.values()):
            true = {"2.weight": dz.T @ hidden, "2.bias": dz.sum(axis=0)}
            got = dict(zip(parameters, tg.grad(chain(model(x), y), list(parameters.values())), strict=True))
            for name, g in true.items():
                wrong = np.abs(got[name].numpy() - g).max() / np.abs(g).max()
                assert wrong < (1e-5 if chain.name == "clipped" else 4 * np.finfo(np.float32).eps)
            error = found.chains[i].parameter_error
            assert error.absolute < 1e-5
            assert got[error.name].numpy()[error.index].shape == ()
        assert found.chains[FUSED].parameter_error.ulps <= found.chains[SMALL_STEPS].parameter_error.ulps

    def test_nothing_is_changed(self):
        x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
        model = nn.Linear(3, 2, generator=np.random.default_rng(0))
        before = {name: array.tobytes() for name, array in model.state_dict().items()}
        logits = model(x)
        compare_gradients(logits, [0, 1, 1, 0], parameters=dict(model.named_parameters()))
        assert all(parameter.grad is None for parameter in model.parameters())
        assert {name: array.tobytes() for name, array in model.state_dict().items()} == before
        logits.sum().backward()  # its graph is still there
        assert model.bias.grad.numpy().tolist() == [4, 4]


class TestArguments:
    def test_any_class_axis(self):
        z = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
        y = np.random.default_rng(1).integers(0, 5, size=(2, 3))
        found = compared(z, y, axis=1, chains=None)
        rows = compared(np.moveaxis(z, 1, -1).reshape(-1, 5), y.reshape(-1), chains=None)
        assert found.gradient.shape == z.shape
        assert np.array_equal(np.moveaxis(found.gradient, 1, -1).reshape(-1, 5), rows.gradient)
        assert [c.gradient_error.ulps for c in found.chains] == [c.gradient_error.ulps for c in rows.chains]

    def test_lists_tensors_and_no_grad(self):
        z, y = [[2.0, 1.0, 0.1]], [0]
        with tg.no_grad():
            found = compare_gradients(tg.Tensor(z), tg.Tensor(y, dtype=np.int64), chains=OURS)
        assert found == compare_gradients(z, y, chains=OURS)
        assert (found.dtype, found.shape, found.axis) == ("float32", (1, 3), 1)

    @pytest.mark.parametrize(
        ("logits", "targets", "options", "kind", "message"),
        [
            (np.array([[1, 2]]), [0], {}, TypeError, "logits must be floating, found int64"),
            (np.ones((2, 2)), [0, 1], {"reduction": "all"}, ValueError, "reduction='all'; expected"),
            (np.float64(1), 0, {}, ValueError, "logits need a class axis"),
            (
                np.ones((2, 2)),
                [0, 1],
                {"chains": ["fussed"]},
                ValueError,
                "no chain is called 'fussed'; there are fused, ",
            ),
            (np.ones((2, 2)), [0, 1], {"reference": "exact"}, ValueError, "reference='exact'; expected"),
            (np.ones((2, 2)), [0, 1], {"weight": [1.0]}, ValueError, r"weight has shape \(1,\), expected \(2,\)"),
            (np.ones((0, 2)), np.zeros(0, int), {}, ValueError, r"of shape \(0, 2\) have no rows"),
            (np.ones((2, 2)), [0], {}, ValueError, r"targets have shape \(1,\), expected \(2,\)"),
            (np.ones((2, 2)), [0, 2], {}, IndexError, r"targets\[1\] = 2 is not a class"),
            (np.ones((2, 2)), [0, 1], {"parameters": {"w": 1.0}}, TypeError, r"parameters\['w'\] is 1.0"),
            (
                np.ones((2, 2)),
                [0, 1],
                {"parameters": {"w": tg.Tensor([1.0], requires_grad=True)}},
                TypeError,
                "have no graph that leads to the parameters",
            ),
        ],
    )
    def test_what_is_refused(self, logits, targets, options, kind, message):
        with pytest.raises(kind, match=message):
            compare_gradients(logits, targets, **options)


@pytest.mark.parametrize("reference", ["long double", "mpmath"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
class TestLossOptions:
    """Every option of the loss, for the truth by the textbook in 200 digits, and for the chains by the truth."""

    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    @pytest.mark.parametrize("smoothing", [0.0, 0.25])
    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("kind", ["indices", "ignored", "probabilities"])
    def test_the_truth(self, dtype, reference, kind, weighted, smoothing, reduction):
        rng = np.random.default_rng(7)
        z = (rng.normal(size=(4, 3)) * 2).astype(dtype)
        y = np.array([0, 2, 1, 2])
        q = np.eye(3)[y]
        counts = np.ones(4)
        if kind == "ignored":
            y[1] = -100
            counts[1] = 0
        if kind == "probabilities":
            q = np.array([[0.25, 0.25, 0.5], [1, 0, 0], [0.5, 0.5, 0], [0.125, 0.625, 0.25]])
            y = q.astype(dtype)
        w = np.array([0.5, 2, 1.25]) if weighted else np.ones(3)
        options = {"weight": w.astype(dtype)} if weighted else {}
        options |= {"label_smoothing": smoothing} if smoothing else {}
        found = compared(z, y, reduction=reduction, reference=reference, chains=None, **options)

        t = counts[:, None] * w * ((1 - smoothing) * q + smoothing / 3)
        divisor = 1.0
        if reduction == "mean":
            divisor = 4.0 if kind == "probabilities" else float((counts * w[np.argmax(q, axis=1)]).sum())
        with mpmath.workdps(60):
            losses = []
            for i, row in enumerate(z):
                e = [mpmath.exp(mpmath.mpf(float(x))) for x in row]
                total = mpmath.fsum(e)
                losses.append(-mpmath.fsum(t[i, j] * mpmath.log(x / total) for j, x in enumerate(e)))
                for j, x in enumerate(e):
                    exact = float((x / total * t[i].sum() - t[i, j]) / divisor)
                    # of the long double truth a difference of terms is left
                    assert float(found.gradient[i, j]) == pytest.approx(exact, rel=1e-14, abs=1e-16)
            assert found.loss == pytest.approx(float(mpmath.fsum(losses) / divisor), rel=1e-14)
        assert np.shape(found.truth.loss) == ((4,) if reduction == "none" else ())
        found.raise_if_different()
        for name in ("softmax, log, pick", "naive", "p - y", "central differences"):
            assert found[name].gradient_error.absolute < (2e-6 if dtype == "float32" else 1e-8)
            assert found[name].loss is None or found[name].loss == pytest.approx(found.loss, rel=1e-5)

    def test_precise_is_passed_on(self, dtype, reference):
        z, y = batch("wide", dtype)
        plain, precise = (compared(z, y, reference=reference, precise=p)["fused"].gradient_error for p in (False, True))
        assert precise.ulps <= (0.51 if dtype == "float32" else 4)
        assert precise.ulps <= plain.ulps

    def test_nothing_to_average(self, dtype, reference):
        z = np.ones((2, 3), dtype)
        for on_empty, loss in (("nan", math.nan), ("zero", 0.0)):
            found = compared(z, [-100, -100], on_empty=on_empty, reference=reference)
            assert found.loss == pytest.approx(loss, nan_ok=True)
            assert not found.gradient.any()
            found.raise_if_different()
        with pytest.raises(ValueError, match="on_empty"):
            compared(z, [-100, -100], on_empty="raise")

    def test_minus_infinity_and_broken_rows(self, dtype, reference):
        inf = np.inf
        z = np.array([[0, 1, -inf], [-inf, 0, 1], [np.nan, 0, 1], [-inf, -inf, -inf], [inf, 0, 0]], dtype)
        found = compared(z, [0, 0, -100, 1, 1], reduction="none", reference=reference)
        loss = found.truth.loss.astype(float)
        assert loss[0] == pytest.approx(math.log1p(math.e))
        assert loss[1] == inf
        assert loss[2] == 0
        assert np.isnan(loss[3:]).all()
        assert np.isfinite(found.gradient[:3]).all()
        assert np.isnan(found.gradient[3:]).all()
        assert found.gradient[0, 2] == 0 == found.gradient[1, 0] + 1
        found.raise_if_different("fused")


class TestUlp:
    def test_units_of_the_true_value(self):
        one = np.longdouble(1)
        assert ulp_difference(np.float32(1 + 2**-23), one) == 1
        assert ulp_difference(np.float64(1 + 2**-52), one) == 1
        assert ulp_difference(np.float16(1 + 2**-10), one) == 1
        assert ulp_difference(np.float32(0), one) == 2**23
        assert ulp_difference(np.float32(0.5), np.longdouble(0.5)) == 0

    def test_around_zero_the_smallest_subnormal(self):
        tiny = np.finfo(np.float32).smallest_subnormal
        assert ulp_difference(np.float32(tiny), np.longdouble(0)) == 1
        assert ulp_difference(np.float32(0), np.longdouble(0)) == 0
        assert ulp_difference(np.float32(-0.0), np.longdouble(0)) == 0
        assert ulp_difference(np.float32(0), np.longdouble(tiny) / 4) == 0.25

    @pytest.mark.parametrize(
        ("actual", "exact", "ulps"),
        [
            (math.nan, math.nan, 0),
            (math.nan, 1, math.inf),
            (1, math.nan, math.inf),
            (math.inf, math.inf, 0),
            (math.inf, -math.inf, math.inf),
            (math.inf, 1e39, 0),  # rightly overflowed
            (math.inf, 1, math.inf),
            (1, math.inf, math.inf),
        ],
    )
    def test_what_is_not_finite(self, actual, exact, ulps):
        assert ulp_difference(np.float32(actual), np.longdouble(exact)) == ulps

    def test_the_largest_number_has_a_unit(self):
        largest = np.finfo(np.float32).max
        assert ulp_difference(np.nextafter(largest, np.float32(0)), np.longdouble(largest)) == 1

    def test_difference_names_the_worst(self):
        found = difference(np.float32([[1, 2], [3, 4]]), np.longdouble([[1, 2], [3 + 2**-20, 4]]), "w")
        assert (found.name, found.index, found.ulps, found.absolute) == ("w", (1, 0), 4, 2**-20)
        empty = difference(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.longdouble))
        assert (empty.absolute, empty.ulps) == (0, 0)
        broken = difference(np.float32([math.nan, 1]), np.longdouble([1, 1]))
        assert (broken.absolute, broken.ulps, broken.index) == (math.inf, math.inf, (0,))
