"""The compiled kernels on several threads, and beside those of NumPy."""

import contextlib
import threading

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce.kernels import softmax, threads

compiled = pytest.importorskip("tinygrad_ce.kernels.compiled")
DTYPES = [np.float32, np.float64]
SHAPES = [(450, 10), (140, 33), (40, 1000), (5, 1), (1, 70)]  # of three blocks and more, and of one


def results(kernels, z, y, g, t, scale):
    """What every kernel makes of these."""
    p, log_p = kernels.softmax(z), kernels.log_softmax(z)
    return [
        *kernels.cross_entropy(z, y, 0.5, True),
        *kernels.cross_entropy(z, y, scale, True),
        *kernels.soft_cross_entropy(z, t.__getitem__, scale, True),
        p,
        log_p,
        kernels.logsumexp(z, 1),
        kernels.softmax_gradient(g, p),
        kernels.log_softmax_gradient(g, log_p),
    ]


def problem(n, c, dtype):
    rng = np.random.default_rng(n + c)
    z, y = (rng.normal(size=(n, c)) * 6).astype(dtype), rng.integers(0, c, n)
    z[::3] += 25 * np.eye(c, dtype=dtype)[y[::3]]  # confident rows
    return z, y, rng.normal(size=(n, c)).astype(dtype), rng.dirichlet(np.ones(c), n), np.linspace(0, 2, n)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_bit_depends_on_the_number_of_threads(shape, dtype, monkeypatch):
    arguments = problem(*shape, dtype)
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    expected, helped = results(compiled, *arguments), threads.helped
    monkeypatch.setattr(compiled, "PARALLEL", 1)
    monkeypatch.setattr(compiled, "CHEAP_PARALLEL", 1)
    asked = []

    @contextlib.contextmanager
    def counted(work):
        with helped(work) as helpers:
            asked.append(helpers)
            yield helpers

    @contextlib.contextmanager
    def all_by_helpers(work):
        crew = [threading.Thread(target=work) for _ in range(3)]
        for each in crew:
            each.start()
        for each in crew:
            each.join(60)
        yield len(crew)

    try:
        for count in (2, 3, 7):
            tg.set_num_threads(count)
            for how in (counted, all_by_helpers):
                monkeypatch.setattr(threads, "helped", how)
                for a, b in zip(results(compiled, *arguments), expected, strict=True):
                    np.testing.assert_array_equal(a, b)
            assert set(asked) == {count - 1}
            asked.clear()
    finally:
        tg.set_num_threads(None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_two_kinds_agree_to_what_each_promises(shape, dtype):
    """In loss and target gradient to a few units; in other float32 entries z - m is rounded by NumPy, not by numba."""
    z, y, g, t, scale = problem(*shape, dtype)
    ours, numpys = (results(kernels, z, y, g, t, scale) for kernels in (compiled, softmax))
    few, many = {np.float32: (5, 75), np.float64: (90, 520)}[dtype]
    eps, own = np.finfo(dtype).eps, (np.arange(len(y)), y)
    for a, b in zip(ours[:4:2], numpys[:4:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=few * eps)
    for a, b in zip(ours[1:4:2], numpys[1:4:2], strict=True):
        np.testing.assert_allclose(a[own], b[own], rtol=few * eps)
    for a, b in zip([*ours[1:4:2], *ours[6:9]], [*numpys[1:4:2], *numpys[6:9]], strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=many * eps)
