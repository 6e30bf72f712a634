"""compare_gradients against mpmath, and the ULP that everything is measured in."""

import json
import math
import re

import mpmath
import numpy as np
import pytest
from rich.console import Console

import tinygrad_ce as tg
from tinygrad_ce import compare, nn
from tinygrad_ce import functional as F
from tinygrad_ce.compare import compare_gradients
from tinygrad_ce.kernels.accuracy import Wide, difference, ulp_difference

FUSED, LOG_SOFTMAX, SMALL_STEPS = range(3)


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


def batch(name, dtype):
    rng = np.random.default_rng(3)
    if name == "ordinary":
        return rng.normal(size=(6, 5)).astype(dtype), np.array([0, 1, 2, 3, 4, 0])
    if name == "wide":
        return (rng.normal(size=(4, 7)) * 4).astype(dtype), np.array([6, 0, 3, 3])
    if name == "shifted":
        return (rng.normal(size=(3, 4)) + 1000).astype(dtype), np.array([1, 2, 3])
    z = rng.normal(size=(5, 10))  # confident: rows 1 and 3 are sure, and right
    margin = {"float16": 9, "float32": 22, "float64": 44}[dtype]
    z[1, 4] += margin
    z[3, 0] += 2 * margin
    return z.astype(dtype), np.array([0, 4, 2, 0, 9])


BATCHES = ["ordinary", "wide", "shifted", "confident"]
DTYPES = ["float16", "float32", "float64"]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BATCHES)
class TestAgainstMpmath:
    def test_the_truth_is_the_truth(self, name, dtype, reduction):
        z, y = batch(name, dtype)
        loss, gradient = mp_cross_entropy(z, y, reduction)
        found = compare_gradients(z, y, reduction=reduction)
        bound = 8 * float(np.finfo(Wide).eps)
        assert relative(Wide(found.loss), loss) <= np.finfo(np.float64).eps
        for index in np.ndindex(z.shape):
            assert relative(found.gradient[index], gradient[index[0]][index[1]]) <= bound

    def test_the_differences_of_every_chain(self, name, dtype, reduction):
        z, y = batch(name, dtype)
        loss, gradient = mp_cross_entropy(z, y, reduction)
        in_doubt = 0.02 if np.finfo(Wide).nmant > 52 or dtype != "float64" else 8.0
        for chain in compare_gradients(z, y, reduction=reduction).chains:
            assert chain.gradient.dtype == z.dtype
            assert chain.loss_error.ulps == pytest.approx(mp_ulps(z.dtype.type(chain.loss), loss), abs=in_doubt)
            ulps = {
                index: mp_ulps(chain.gradient[index], gradient[index[0]][index[1]]) for index in np.ndindex(z.shape)
            }
            worst = max(ulps.values())
            assert chain.gradient_error.ulps == pytest.approx(worst, rel=1e-6, abs=in_doubt)
            assert ulps[chain.gradient_error.index] == pytest.approx(worst, rel=1e-6, abs=in_doubt)
            if chain.not_finite:
                assert chain.gradient_error.absolute == math.inf
                continue
            apart = max(
                float(abs(mpmath.mpf(float(chain.gradient[index])) - gradient[index[0]][index[1]]))
                for index in np.ndindex(z.shape)
            )
            assert chain.gradient_error.absolute == pytest.approx(apart, rel=1e-3)

    def test_lost_elements(self, name, dtype, reduction):
        z, y = batch(name, dtype)
        _, gradient = mp_cross_entropy(z, y, reduction)
        found = compare_gradients(z, y, reduction=reduction)
        for chain in found.chains:
            lost = [
                gradient[i][j]
                for i, j in np.ndindex(z.shape)
                if chain.gradient[i, j] == 0 and z.dtype.type(float(gradient[i][j])) != 0
            ]
            assert chain.lost == len(lost)
            assert chain.largest_lost == pytest.approx(float(max(map(abs, lost), default=0)), rel=1e-15)
            assert chain.not_finite == np.count_nonzero(~np.isfinite(chain.gradient))
            assert chain.not_finite == 0 or (dtype, chain.name) == ("float16", "softmax, log, pick, mean")


class TestConfidentRows:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_small_steps_lose_what_the_fused_loss_keeps(self, dtype):
        z, y = batch("confident", dtype)
        fused, log_softmax, small_steps = compare_gradients(z, y).chains
        assert fused.lost == log_softmax.lost == 0
        assert small_steps.lost == 2
        assert small_steps.gradient[1, 4] == small_steps.gradient[3, 0] == 0
        # float64 logits are as exact as their differences: half a unit of the margin, so that many ULP of its exp
        assert fused.gradient_error.ulps < (1 if dtype == "float32" else 100)
        assert small_steps.gradient_error.ulps > 1e6

    def test_a_wrong_certainty_breaks_small_steps(self):
        fused, log_softmax, small_steps = compare_gradients(np.float32([[0.0, 200.0]]), [0]).chains
        assert fused.loss == log_softmax.loss == 200
        assert small_steps.loss == math.inf
        assert small_steps.loss_error.ulps == small_steps.gradient_error.ulps == math.inf
        assert (fused.not_finite, log_softmax.not_finite, small_steps.not_finite) == (0, 0, 2)

    def test_the_words_say_so(self):
        z, y = batch("confident", "float32")
        words = " ".join(compare_gradients(z, y).in_words())
        assert "softmax, log, pick, mean: 2 of the 50 elements of the logits' gradient are exactly 0" in words
        assert re.search(r"fused: loss and gradient are within 0\.[45]\d ULP", words)
        assert "exactly 0" not in " ".join(compare_gradients(*batch("ordinary", "float32")).in_words())
        words = " ".join(compare_gradients(np.float32([[0.0, 200.0]]), [0]).in_words())
        assert "2 of the 2 elements of the logits' gradient are not finite" in words


class TestWhatItTakes:
    def test_ops_and_bytes(self):
        z = np.random.default_rng(0).normal(size=(32, 10)).astype(np.float32)
        chains = compare_gradients(z, np.arange(32) % 10).chains
        assert [chain.ops for chain in chains] == [1, 2, 5]
        size = z.nbytes
        assert size <= chains[FUSED].kept_bytes <= size + 32 * 8
        assert chains[LOG_SOFTMAX].kept_bytes == size  # the log-probabilities; the targets belong to the caller
        assert size <= chains[SMALL_STEPS].kept_bytes <= size + 32 * 8  # the probabilities, once

    def test_a_chain_wrong_by_a_thousandth_is_found_out(self, monkeypatch):
        def wrong(logits, targets, axis, reduction):
            return F.softmax_cross_entropy(logits * 1.001, targets, axis=axis, reduction=reduction)

        monkeypatch.setitem(compare.CHAINS, "wrong", wrong)
        z, y = batch("ordinary", "float32")
        found = compare_gradients(z, y).chains[-1]
        assert found.name == "wrong"
        assert found.gradient_error.ulps > 1000
        assert found.loss_error.ulps > 100


class TestParameters:
    def test_what_a_parameter_gets_is_what_the_logits_get(self):
        z, y = batch("confident", "float32")
        p = tg.Tensor(z, requires_grad=True)
        found = compare_gradients(p * 1.0, y, parameters={"p": p})
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
        found = compare_gradients(model(x), y, parameters=parameters)
        dz = np.float64(found.gradient)
        hidden = model[1](model[0](x)).numpy().astype(np.float64)
        for i, chain in enumerate(compare.CHAINS.values()):
            true = {"2.weight": dz.T @ hidden, "2.bias": dz.sum(axis=0)}
            got = dict(zip(parameters, tg.grad(chain(model(x), y, 1, "mean"), list(parameters.values())), strict=True))
            for name, g in true.items():
                assert np.abs(got[name].numpy() - g).max() < 4 * np.finfo(np.float32).eps * np.abs(g).max()
            error = found.chains[i].parameter_error
            assert error.absolute < 1e-6
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
        found = compare_gradients(z, y, axis=1)
        rows = compare_gradients(np.moveaxis(z, 1, -1).reshape(-1, 5), y.reshape(-1))
        assert found.gradient.shape == z.shape
        assert np.array_equal(np.moveaxis(found.gradient, 1, -1).reshape(-1, 5), rows.gradient)
        assert [c.gradient_error.ulps for c in found.chains] == [c.gradient_error.ulps for c in rows.chains]

    def test_lists_tensors_and_no_grad(self):
        z, y = [[2.0, 1.0, 0.1]], [0]
        with tg.no_grad():
            found = compare_gradients(tg.Tensor(z), tg.Tensor(y, dtype=np.int64))
        assert found == compare_gradients(z, y)
        assert (found.dtype, found.shape, found.axis) == ("float32", (1, 3), 1)

    @pytest.mark.parametrize(
        ("logits", "targets", "options", "kind", "message"),
        [
            (np.array([[1, 2]]), [0], {}, TypeError, "logits must be floating, found int64"),
            (np.ones((2, 2)), [0, 1], {"reduction": "none"}, ValueError, "reduction='none'; expected"),
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


class TestForms:
    def test_text_fits_a_page_and_has_every_number(self):
        z, y = batch("confident", "float32")
        found = compare_gradients(z, y)
        text = str(found)
        assert max(map(len, text.splitlines())) <= 80
        assert text.isascii()
        rows = {name: cells for name, *cells in (re.split(r"\s{2,}", line.strip()) for line in text.splitlines())}
        assert rows["elements lost to 0"] == ["0", "0", "2"]
        assert rows["ops in the graph"] == ["1", "2", "5"]
        assert [float(x) for x in rows["loss"]] == pytest.approx([c.loss for c in found.chains], rel=1e-6)

    def test_rich_shows_the_same_cells(self):
        found = compare_gradients(*batch("confident", "float32"))
        console = Console(width=100)
        with console.capture() as capture:
            console.print(found)
        shown = capture.get().split()
        assert [word for word in str(found).split() if word not in shown and set(word) != {"-"}] == []

    def test_json_is_strict(self):
        found = compare_gradients(np.float32([[0.0, 200.0], [1.0, 2.0]]), [0, 1])
        data = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert [chain["name"] for chain in data["chains"]] == list(compare.CHAINS)
        assert data["chains"][SMALL_STEPS]["loss"] == "inf"
        assert data["chains"][FUSED]["loss"] == found.chains[FUSED].loss
        assert data["shape"] == [2, 2]
        assert "gradient" not in data


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
