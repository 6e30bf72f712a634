"""What a comparison shows, the peers it calls in, whole models, and sweeps."""

import importlib.util
import io
import json
import math
import re
import subprocess
import sys
import tracemalloc
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from rich.console import Console

import tinygrad_ce as tg
from tests.comparisons import FUSED, OURS, SMALL_STEPS, batch, compared
from tinygrad_ce import compare, nn
from tinygrad_ce import functional as F
from tinygrad_ce.compare import compare_gradients


class TestForms:
    def test_text_fits_a_page_and_has_every_number(self):
        found = compared(*batch("confident", "float32"))
        text = str(found)
        assert max(map(len, text.splitlines())) <= 80
        assert text.isascii()
        rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
        accuracy = {row[0]: row[1:] for row in rows if len(row) == 7 and row[0] in OURS}
        cost = {row[0]: row[1:] for row in rows if len(row) == 3 and row[0] in OURS}
        assert list(accuracy) == list(cost) == list(OURS)
        for chain in found.chains:
            assert float(accuracy[chain.name][0]) == pytest.approx(chain.loss, rel=1e-6)
            assert accuracy[chain.name][-1] == str(chain.lost)
            assert cost[chain.name] == [str(chain.ops), str(chain.kept_bytes)]

    def test_everything_measured_fits_a_hundred_columns(self):
        found = compare_gradients(np.float32([[0.0, 200.0], [1.0, 2.0]]), [0, 1])
        assert {"p - y", "central differences"} <= {chain.name for chain in found.chains}
        assert max(map(len, str(found).splitlines())) <= 100
        assert " nan" in str(found)

    def test_a_notebook_stores_what_print_shows(self):
        model = nn.Linear(2, 2, generator=np.random.default_rng(0))
        found = compared(*batch("ordinary", "float32"))
        models = compare.compare_models(
            model, (np.eye(2), np.array([0, 1])), F.softmax_cross_entropy, compare.CHAINS["naive"]
        )
        swept = compare.sweep(margins=[1], chains=["fused"])
        for thing in (found, found.steps(), found.steps().table(), models, swept):
            assert repr(thing) == str(thing)
            assert "\n---" in repr(thing)
            assert f"{type(thing).__name__}(" not in repr(thing)

    def test_rich_shows_the_same_cells(self):
        found = compared(*batch("confident", "float32"))
        console = Console(width=100)
        with console.capture() as capture:
            console.print(found)
        shown = capture.get().split()
        assert [word for word in str(found).split() if word not in shown and set(word) != {"-"}] == []

    def test_html_has_every_chain_and_is_well_formed(self):
        found = compared(*batch("confident", "float32"))
        root = ElementTree.fromstring(found._repr_html_())
        first = [row[0].text for row in root.find("table").iter("tr") if row[0].tag == "td"]
        assert first == list(OURS)
        assert len(list(root.iter("li"))) == len(found.in_words())

    def test_json_is_strict(self):
        found = compare_gradients(np.float32([[0.0, 200.0], [1.0, 2.0]]), [0, 1], chains=OURS)
        data = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert [chain["name"] for chain in data["chains"]] == list(OURS)
        assert data["chains"][SMALL_STEPS]["loss"] == "inf"
        assert data["chains"][FUSED]["loss"] == found.chains[FUSED].loss
        assert data["chains"][FUSED]["verdict"] == found.verdicts()["fused"]
        assert data["shape"] == [2, 2]
        assert "gradient" not in data["chains"][FUSED]
        assert data["chains"][FUSED]["cost"]["backward"] > 0

    def test_json_without_times_is_the_same_at_each_run(self):
        z, y = batch("ordinary", "float32")
        first, second = (json.dumps(compared(z, y, weight=np.ones(5)).to_json()) for _ in range(2))
        assert first == second
        assert "cost" not in json.loads(first)["chains"][0]

    def test_plot_draws_every_chain(self):
        found = compare_gradients(*batch("confident", "float32"))
        errors, times = found.plot().axes
        names = [text.get_text() for text in errors.get_legend().get_texts()]
        assert names == [chain.name for chain in found.chains]
        line = errors.get_lines()[names.index("softmax, log, pick")]
        assert (line.get_ydata() == 1).sum() == 2  # what is lost
        assert [text.get_text() for text in times.get_yticklabels()] == names
        assert len(compared(*batch("ordinary", "float32")).plot().axes) == 1
        assert repr(found.plot()).startswith("<Figure size ")

    def test_without_matplotlib_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(ImportError, match=r'pip install "tinygrad_ce\[plot\]"'):
            compared(*batch("ordinary", "float32")).plot()


class TestRaise:
    def test_what_agrees_passes_and_what_does_not_is_named(self):
        found = compared(*batch("confident", "float32"))
        found.raise_if_different()
        found.raise_if_different("fused", ulps=0.51)
        with pytest.raises(AssertionError, match="clipped: 2 of the 50"):
            found.raise_if_different("fused", "clipped")
        with pytest.raises(AssertionError, match="fused: within"):
            found.raise_if_different("fused", ulps=0.01)
        with pytest.raises(KeyError, match="no chain 'jax' was compared; there are fused"):
            found.raise_if_different("jax")


class TestAChainOfOnesOwn:
    @staticmethod
    def build(z, problem):
        picked = F.take_along_axis(z, problem.targets[:, None], 1)
        losses = F.logsumexp(z, 1, keepdims=True) - picked
        return F.sum(losses) if problem.reduction == "sum" else F.mean(losses)

    def test_it_is_measured_beside_the_others(self):
        mine = compare.Chain("mine", self.build)
        z, y = batch("confident", "float32")
        found = compared(z, y, chains=["naive", mine])
        assert [chain.name for chain in found.chains] == ["naive", "mine"]
        leaf = tg.Tensor(z, requires_grad=True)
        (gradient,) = tg.grad(F.mean(F.logsumexp(leaf, 1) - leaf[np.arange(5), y]), [leaf])
        assert np.array_equal(found["mine"].gradient, gradient.data)
        assert found["mine"].lost == 2
        assert found["mine"].why == ""  # what broke it is not known
        assert found["naive"].why == "p rounds to 1"
        assert found.draw(mine).drawing.titles == ("mine", "fused")

    def test_in_a_sweep(self):
        mine = compare.Chain("mine", self.build)
        found = compare.sweep(margins=[1, 40], chains=["fused", mine])
        assert found.first("mine", "float32", "likeliest", all_lost=True) == 40
        assert found.first("mine", "float32", "another") is None

    def test_it_may_take_a_name_of_ours(self):
        found = compared(*batch("ordinary", "float32"), chains=[compare.Chain("naive", self.build)])
        assert found["naive"].ops == 4  # ours has 7

    @pytest.mark.parametrize(
        ("chains", "kind", "message"),
        [
            ("fused", TypeError, "chains: expected a list of names or of Chains, found 'fused'"),
            ([len], TypeError, "chains: expected a list of names or of Chains, found .<built-in function len>"),
            (["fused", compare.Chain("fused", len)], ValueError, "two chains are called 'fused'; give each a name"),
            ([compare.Chain("rows", lambda z, _: z)], ValueError, r"chain 'rows': .* of 1 element, .* shape \(6, 5\)"),
            ([compare.Chain("float", lambda _z, _: 2.5)], ValueError, "chain 'float': build must return .* found 2.5"),
        ],
    )
    def test_what_is_refused(self, chains, kind, message):
        with pytest.raises(kind, match=message):
            compared(*batch("ordinary", "float32"), chains=chains)


class TestPeers:
    def test_they_are_what_they_say(self):
        z, y = batch("ordinary", "float64")
        found = compared(z, y, chains=["p - y", "central differences"])
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        by_hand, differences = found.chains
        assert np.allclose(by_hand.gradient, (p - np.eye(5)[y]) / 6, rtol=1e-13, atol=0)
        assert 1e-13 < differences.gradient_error.absolute < 1e-9
        assert by_hand.loss is None is by_hand.loss_error
        assert by_hand.ops is None is by_hand.kept_bytes

    def test_central_differences_leave_large_and_infinite_logits_out(self):
        for z in (np.float32([[0, -np.inf]]), np.zeros((2, 2000), np.float32)):
            names = [chain.name for chain in compared(z, np.zeros(len(z), int), chains=None).chains]
            assert "central differences" not in names
            assert "p - y" in names

    def test_without_torch_and_mpmath(self, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        monkeypatch.setitem(sys.modules, "mpmath", None)
        found = compared(*batch("ordinary", "float32"), chains=None)
        assert found.chains[-1].name == "central differences"
        assert "bits)" in found.reference
        assert "mpmath" not in found.reference
        with pytest.raises(ImportError, match="pip install mpmath"):
            compared(*batch("ordinary", "float32"), reference="mpmath")

    def test_nothing_heavy_is_imported_before_it_is_needed(self):
        code = (
            "import sys, tinygrad_ce.compare as c; c.compare_gradients([[1.0, 2.0]], [0], chains=['fused', 'naive'], "
            "reference='long double'); print([m for m in ('torch', 'mpmath', 'matplotlib') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"

    def test_torch_is_run_on_the_same_numbers(self):
        torch = pytest.importorskip("torch")
        z, y = batch("wide", "float32")
        found = compared(z, y, chains=["torch"], weight=np.float32([1, 2, 3, 4, 5, 6, 7]), label_smoothing=0.1)["torch"]
        leaf = torch.tensor(z, requires_grad=True)
        weight = torch.arange(1.0, 8.0)
        loss = torch.nn.functional.cross_entropy(leaf, torch.tensor(y), weight=weight, label_smoothing=0.1)
        loss.backward()
        assert found.loss == loss.item()
        assert np.array_equal(found.gradient, leaf.grad.numpy())
        assert found.ops > 2
        plain = compared(z, y, chains=["torch"])["torch"]
        assert (plain.ops, plain.kept_bytes) == (2, z.nbytes + 4)  # log-probabilities, and the weight of the batch


class TestMeasuring:
    def test_times_and_memory(self):
        z = np.random.default_rng(0).normal(size=(64, 100)).astype(np.float32)
        found = compare_gradients(z, np.arange(64), chains=[*OURS, "p - y"])
        for chain in found.chains:
            assert chain.cost.backward > 0
            assert (chain.cost.forward is None) == (chain.name == "p - y")
            assert z.nbytes <= chain.cost.peak_bytes < 40 * z.nbytes
        assert not tracemalloc.is_tracing()

    def test_tracing_of_the_caller_goes_on(self):
        tracemalloc.start()
        try:
            compare_gradients([[1.0, 2.0]], [0], chains=["fused"])
            assert tracemalloc.is_tracing()
        finally:
            tracemalloc.stop()


class TestSteps:
    def test_every_intermediate_gradient(self):
        z, y = batch("wide", "float64")
        found = compared(z, y)
        for row in range(4):
            steps = found.steps(row)
            p = np.exp(z[row]) / np.exp(z[row]).sum()
            hot = np.eye(7)[y[row]] / 4
            assert np.allclose(steps.p, p, rtol=1e-14, atol=0)
            assert np.array_equal(steps.dlog_p, -hot)
            assert np.allclose(steps.dp, -hot / p, rtol=1e-14, atol=0)
            assert np.allclose(steps.jacobian, np.diag(p) - np.outer(p, p), rtol=1e-12, atol=1e-15)
            assert np.allclose(steps.jacobian @ steps.dp, steps.exact.astype(float), rtol=1e-12, atol=1e-16)
            assert np.allclose(steps.dz, steps.single, rtol=1e-12, atol=1e-16)
            assert np.array_equal(steps.exact, found.gradient[row])

    def test_text_and_rows(self):
        found = compared(np.float32([[2.0, 1.0, 0.1], [0.0, 30.0, 0.0]]), [0, 1])
        text = str(found.steps(-1))
        assert text.startswith("row 1: ")
        assert "diag(p) - p p^T" in text
        assert re.search(r"^1 +30 +1 +-0\.5 +-0\.5 +0 +0 +-9\.358e-14$", text, re.MULTILINE)  # z, p, ..., p - y, exact
        assert len(compared(np.zeros((1, 100), np.float32), [0]).steps().table().rows) == 12
        with pytest.raises(IndexError, match="row 2 is not one of the 2 rows; valid are 0 to 1"):
            found.steps(2)

    def test_html_says_what_the_text_says(self):
        for classes, below in ((3, "diag(p) - p p^T\n[["), (7, None), (20, "(8 classes with smaller gradients)")):
            steps = compared(np.zeros((1, classes), np.float32), [0]).steps()
            root = ElementTree.fromstring(steps._repr_html_())
            assert root.find("p").text == steps.title()
            assert str(steps).startswith(f"{steps.title()}\n\n{steps.table()}")
            pre = root.find("pre")
            assert (None if pre is None else pre.text[: len(below)]) == below
            assert pre is None or str(steps).endswith(f"\n\n{pre.text}")


class TestModels:
    @staticmethod
    def model_and_batch():
        rng = np.random.default_rng(0)
        model = nn.MLP([4, 8, 3], generator=rng)
        return model, ((rng.normal(size=(6, 4)) * 30).astype(np.float32), np.array([0, 1, 2, 0, 1, 2]))

    def test_the_same_loss_differs_by_rounding(self):
        model, (x, y) = self.model_and_batch()
        unfused = compare.CHAINS["softmax, log, pick"]
        found = compare.compare_models(model, (x, y), F.softmax_cross_entropy, unfused)
        assert [p.name for p in found.parameters] == [name for name, _ in model.named_parameters()]
        assert found.verdict().startswith("the same loss: they differ by rounding, up to")
        found.raise_if_different()
        parameters = model.parameters()
        a, b = (tg.grad(loss(model(x), y), parameters) for loss in (F.softmax_cross_entropy, unfused))
        for result, g, h in zip(found.parameters, a, b, strict=True):
            assert result.between.absolute == np.abs(np.float64(g.data) - h.data).max()
            assert result.shape == g.shape
            at = result.between.index
            assert (result.between.actual, result.between.exact) == (g.data[at], h.data[at])
        assert all(parameter.grad is None for parameter in parameters)

    def test_another_loss_is_found_out(self):
        model, batch = self.model_and_batch()

        def wrong(z, y):
            return F.softmax_cross_entropy(z * 1.001, y)

        found = compare.compare_models(model, batch, F.softmax_cross_entropy, wrong)
        assert found.verdict().startswith("different losses: in float64, too, ")
        with pytest.raises(AssertionError, match="different losses"):
            found.raise_if_different()
        assert found.names == ("softmax_cross_entropy", "wrong")

    def test_html_says_what_was_compared(self):
        def small(z, y):
            return F.softmax_cross_entropy(z, y)

        small.__name__ = "a < b"
        model, batch = self.model_and_batch()
        found = compare.compare_models(model, batch, F.softmax_cross_entropy, small)
        first, last = ElementTree.fromstring(found._repr_html_()).findall("p")
        assert first.text == str(found).splitlines()[0]
        assert "b: a < b = " in first.text
        assert last.text == found.verdict()

    def test_what_is_lost_is_found(self):
        model = nn.Linear(2, 2, generator=np.random.default_rng(0))
        model.load_state_dict({"weight": np.diag([20.0, 25.0]), "bias": np.zeros(2)})
        x, y = np.eye(2, dtype=np.float32), np.array([0, 1])  # margins of 20 and 25, right
        found = compare.compare_models(model, (x, y), F.softmax_cross_entropy, compare.CHAINS["softmax, log, pick"])
        weight, _ = found.parameters
        assert weight.lost == (0, 2)
        assert found.loss.lost == (0, 1)
        assert weight.second.index in ((0, 0), (1, 1))
        assert found.verdict() == "the same loss, but softmax, log, pick has 3 numbers lost to 0"
        assert found.verdict() in str(found)

    def test_the_same_twice_and_float64(self):
        model, (x, y) = self.model_and_batch()
        found = compare.compare_models(model, (x, y), F.softmax_cross_entropy, F.softmax_cross_entropy)
        assert found.verdict() == "the same to the last bit"
        assert found.names == ("a", "b")
        json.dumps(found.to_json(), allow_nan=False)
        for parameter in model.parameters():
            parameter.data = parameter.data.astype(np.float64)
        found = compare.compare_models(
            model, (x.astype(np.float64), y), F.softmax_cross_entropy, compare.CHAINS["log-softmax + NLL"]
        )
        assert found.dtype == "float64"
        assert found.loss.first is None
        found.raise_if_different(1e-12)

    def test_what_is_refused(self):
        model, batch = self.model_and_batch()

        def rows(z, y):
            return F.softmax_cross_entropy(z, y, reduction="none")

        with pytest.raises(ValueError, match=r"must be a Tensor of one element, found one of shape \(6,\)"):
            compare.compare_models(model, batch, rows, rows)
        with pytest.raises(ValueError, match="ReLU has no parameters"):
            compare.compare_models(nn.ReLU(), batch, rows, rows)


class TestSweep:
    def test_where_each_chain_fails(self):
        found = compare.sweep(margins=[1, 5, 10, 20, 40, 90], dtypes=["float32", "float64"])
        for dtype in ("float32", "float64"):
            for chain in ("fused", "log-softmax + NLL"):
                assert found.first(chain, dtype, "likeliest") is found.first(chain, dtype, "another") is None
        for chain in ("softmax, log, pick", "p - y"):
            assert found.first(chain, "float32", "likeliest", all_lost=True) == 20
            assert found.first(chain, "float64", "likeliest", all_lost=True) == 40
        assert found.first("softmax, log, pick", "float32", "another", all_lost=True) == 90
        assert found.first("clipped", "float64", "another") == 1

    def test_scales_and_text(self):
        found = compare.sweep(scales=[1000, 0.1, 10.0], chains=["fused", "naive"], rows=4, classes=5)
        assert found.values == (0.1, 10.0, 1000.0)
        assert found.first("naive", "float32", "random") == 1000
        text = str(found)
        assert re.search(r"^naive +float32 +random +1000 +1000 +inf +nan or infinite$", text, re.MULTILINE)
        assert re.search(r"^fused +float32 +random +never +never ", text, re.MULTILINE)
        assert max(map(len, text.splitlines())) <= 100
        json.dumps(found.to_json(), allow_nan=False)

    def test_what_is_not_finite_has_no_relative_error(self):
        """In float16 the truth of the elements that are nan is below the normal numbers."""
        found = compare.sweep(margins=[1, 9, 12, 17], dtypes=["float16"])
        broken = {(p.chain, p.target) for p in found.points if p.not_finite}
        assert ("naive", "likeliest") in broken
        assert ("fused", "likeliest") not in broken
        assert all((p.relative == math.inf) == (p.not_finite > 0) for p in found.points)
        for chain, _, target, *_, worst, _ in found.table().rows:
            assert (worst == "inf") == ((chain, target) in broken)
        line = found.plot().axes[0].get_lines()[4]
        assert (line.get_label(), line.get_ydata()[-1]) == ("naive", 10)
        assert found.title() in ElementTree.fromstring(found._repr_html_()).find("p").text

    def test_plot(self):
        figure = compare.sweep(margins=[1, 20], chains=["fused", "p - y"]).plot()
        assert [axes.get_title() for axes in figure.axes] == [
            "float32, the target is the likeliest class",
            "float32, the target is another class",
        ]
        assert figure.axes[0].get_lines()[1].get_ydata()[1] == 1  # p - y at a margin of 20

    def test_the_words_in_the_plot_are_above_the_markers_and_below_the_frame(self):
        dtypes = ("float16", "float32", "float64")
        figure = compare.sweep(margins=[1, 20], dtypes=dtypes, chains=["naive"], rows=1).plot()
        figure.savefig(io.BytesIO(), format="png")  # places them
        for axes in figure.axes:
            (words,) = axes.texts
            box = words.get_window_extent()
            marker = axes.transData.transform((1, 10))[1] + 2 * figure.dpi / 72
            assert marker < box.y0 < box.y1 < axes.get_window_extent().y1

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"margins": [1], "scales": [1]}, "give margins or scales, not both"),
            ({"margins": []}, "at least one"),
            ({"scales": [-1]}, "must be finite and not negative"),
            ({"scales": [math.inf]}, "must be finite and not negative"),
        ],
    )
    def test_what_is_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            compare.sweep(**options)
