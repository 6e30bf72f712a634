"""MNIST and Fashion-MNIST: found, read, checked, and fetched on request."""

import gzip
import hashlib
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from tests.webserver import Server
from tinygrad_ce.data import fashion_mnist, mnist
from tinygrad_ce.data.download import RemoteFile

NAMES = [f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]


def idx(array, kind=8):
    """The bytes of an IDX file, by hand."""
    lengths = b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, kind, array.ndim]) + lengths + array.astype(np.uint8).tobytes()


def content(seed=0, train=12, test=5):
    """The four files, unpacked, with random pixels and labels."""
    rng = np.random.default_rng(seed)
    files = {}
    for part, count in (("train", train), ("t10k", test)):
        files[f"{part}-images-idx3-ubyte"] = idx(rng.integers(0, 256, (count, 28, 28)))
        files[f"{part}-labels-idx1-ubyte"] = idx(rng.integers(0, 10, count))
    return files


def write(folder, files, suffix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(data, mtime=0) if suffix else data)
    return folder


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No files anywhere but where a test puts them, and no server but the test's own."""
    module = import_module("tinygrad_ce.data.mnist")  # the package has the function under this name
    monkeypatch.setenv("TINYGRAD_CE_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("http_proxy", raising=False)
    installed = replace(module.FASHION_MNIST, installed=tmp_path / "installed", mirrors=("http://127.0.0.1:9/",))
    monkeypatch.setattr(module, "FASHION_MNIST", installed)
    monkeypatch.setattr(module, "MNIST", replace(module.MNIST, mirrors=("http://127.0.0.1:9/",)))
    return module


class TestReading:
    @pytest.mark.parametrize("suffix", ["", ".gz"])
    @pytest.mark.parametrize(("load", "last"), [(mnist, "9"), (fashion_mnist, "Ankle boot")])
    def test_what_is_in_the_files(self, tmp_path, suffix, load, last):
        files = content()
        train, test = load(write(tmp_path / "here", files, suffix))
        for dataset, part in ((train, "train"), (test, "t10k")):
            pixels = np.frombuffer(files[f"{part}-images-idx3-ubyte"][16:], np.uint8).reshape(-1, 784)
            assert dataset.inputs.dtype == np.float32
            assert np.array_equal(dataset.inputs, (pixels / 255).astype(np.float32))
            assert dataset.targets.dtype == np.int64
            assert dataset.targets.tolist() == list(files[f"{part}-labels-idx1-ubyte"][8:])
            assert len(dataset.classes) == 10
            assert dataset.classes[9] == last
            dataset.inputs[...] = dataset.targets[...] = 0  # they are the caller's own

    def test_what_gzip_is_called_does_not_matter(self, tmp_path):
        packed = {name: gzip.compress(data) for name, data in content().items()}
        train, _ = mnist(str(write(tmp_path, packed)))
        assert len(train) == 12
        for name, data in content().items():
            (tmp_path / name).unlink()
            (tmp_path / f"{name}.gz").write_bytes(data)  # a browser has unpacked it
        assert np.array_equal(mnist(tmp_path)[0].inputs, train.inputs)

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("suffix", ["", ".gz"])
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda data: data[:-1], "the file is truncated: its header announces"),
            (lambda data: data + b"\0", "the file has bytes after its end"),
            (lambda data: data[:7], "truncated in its header: 7 bytes"),
            (lambda _: b"", "it starts with 0x, expected 0x000008"),
            (lambda data: b"\0\0\x0d" + data[3:], "it starts with 0x00000d"),
            (lambda data: data[:3] + b"\x02" + data[4:], "it starts with 0x00000802"),
            (lambda _: b"<html>404", "it starts with 0x3c68746d, expected 0x000008"),
            (lambda data: data[:4] + bytes(4) + data[8:], "the file has bytes after its end"),
            (lambda data: data[:4] + b"\xff\xff\xff\xff" + data[8:], "truncated: its header announces 4294967295"),
        ],
        ids=["cut", "longer", "header", "empty", "floats", "axes", "page", "none", "many"],
    )
    def test_damaged(self, tmp_path, name, suffix, damage, message):
        files = content()
        write(tmp_path, files | {name: damage(files[name])}, suffix)
        with pytest.raises(ValueError, match=re.escape(message)) as found:
            mnist(tmp_path)
        assert str(found.value).startswith(f"{tmp_path / name}{suffix}: ")

    @pytest.mark.parametrize("name", NAMES)
    def test_every_cut_of_a_gzip_file_is_seen(self, tmp_path, name):
        write(tmp_path, content(), ".gz")
        path = tmp_path / f"{name}.gz"
        whole = path.read_bytes()
        for length in [*range(20), len(whole) // 2, *range(len(whole) - 10, len(whole))]:
            path.write_bytes(whole[:length])
            with pytest.raises(ValueError, match=re.escape(str(path))):
                mnist(tmp_path)

    def test_a_flipped_bit_in_a_gzip_file_is_seen(self, tmp_path):
        write(tmp_path, content(), ".gz")
        path = tmp_path / "train-images-idx3-ubyte.gz"
        whole = path.read_bytes()
        for place in np.random.default_rng(0).integers(10, len(whole), 50):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            with pytest.raises(ValueError, match="the gzip file is damaged or truncated"):
                mnist(tmp_path)

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ({"train-labels-idx1-ubyte": idx(np.zeros(11))},
             "train-labels-idx1-ubyte: 11 labels for the 12 images of train-images-idx3-ubyte"),
            ({"t10k-labels-idx1-ubyte": idx(np.array([0, 9, 10, 3, 200]))},
             "t10k-labels-idx1-ubyte: label 10 in row 2, expected 0 to 9"),
            ({"train-images-idx3-ubyte": idx(np.zeros((12, 32, 32)))},
             "train-images-idx3-ubyte: expected images of 28 x 28 pixels, found the shape (12, 32, 32)"),
            ({"t10k-images-idx3-ubyte": idx(np.zeros((0, 28, 28))), "t10k-labels-idx1-ubyte": idx(np.zeros(0))},
             "t10k-images-idx3-ubyte: expected images of 28 x 28 pixels, found the shape (0, 28, 28)"),
            ({"train-images-idx3-ubyte": idx(np.zeros(12))},
             "train-images-idx3-ubyte: no IDX file of images: it starts with 0x00000801, expected 0x00000803; only "
             "unsigned bytes are read, with 1 axis (labels, 0x00000801) or 3 axes (images, 0x00000803)"),
        ],
    )  # fmt: skip
    def test_files_that_do_not_fit(self, tmp_path, files, message):
        write(tmp_path, content() | files)
        with pytest.raises(ValueError, match=re.escape(message)):
            mnist(tmp_path)


class TestPlaces:
    def test_the_first_that_has_them(self, tmp_path):
        places = [tmp_path / "root", tmp_path / "data" / "fashion-mnist", tmp_path / "installed"]
        for count, place in zip((3, 2, 1), reversed(places), strict=True):
            write(place, content(train=count))
            assert len(fashion_mnist(tmp_path / "root")[0]) == count
        assert len(fashion_mnist()[0]) == 2

    def test_without_the_variable_it_is_the_cache(self, tmp_path, monkeypatch):
        monkeypatch.delenv("TINYGRAD_CE_DATA")
        monkeypatch.setattr(Path, "expanduser", lambda self: tmp_path.joinpath(*self.parts[1:]))
        write(tmp_path / ".cache" / "tinygrad_ce" / "mnist", content(train=4))
        assert len(mnist()[0]) == 4

    def test_not_found_names_every_place_and_every_way(self, tmp_path):
        with pytest.raises(FileNotFoundError) as found:
            fashion_mnist(tmp_path / "root")
        message = str(found.value)
        for text in (
            *(str(tmp_path / "root"), str(tmp_path / "data" / "fashion-mnist"), str(tmp_path / "installed")),
            *NAMES,
            "apt install dataset-fashion-mnist (Debian, Ubuntu)",
            "set TINYGRAD_CE_DATA to the folder that it is in",
            "write fashion_mnist(download=True) (31 MB)",
        ):
            assert text in message
        assert "\n" not in message
        with pytest.raises(FileNotFoundError, match=re.escape("mnist(download=True) (12 MB)")) as found:
            mnist()
        assert "apt" not in str(found.value)

    def test_some_of_the_files_missing(self, tmp_path):
        folder = write(tmp_path / "root", content(), ".gz")
        (folder / "t10k-labels-idx1-ubyte.gz").unlink()
        write(tmp_path / "data" / "mnist", content())  # not mixed with those
        message = f"mnist: {folder} has only 3 of the four files: t10k-labels-idx1-ubyte (.gz or not) missing"
        with pytest.raises(FileNotFoundError, match=re.escape(message)):
            mnist(folder)


class TestDownload:
    @pytest.fixture
    def server(self):
        with Server() as server:
            yield server

    @pytest.fixture
    def published(self, server, nowhere, monkeypatch):
        packed = {f"{name}.gz": gzip.compress(data) for name, data in content(7).items()}
        files = tuple(RemoteFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in packed.items())
        monkeypatch.setattr(nowhere, "MNIST", replace(nowhere.MNIST, files=files, mirrors=(server.url,)))
        server.answers |= {f"/{name}": data for name, data in packed.items()}
        return server

    def test_only_on_request_and_only_once(self, published, tmp_path):
        with pytest.raises(FileNotFoundError):
            mnist()
        assert published.asked == []
        train, _ = mnist(download=True)
        expected, _ = mnist(write(tmp_path / "other", content(7)))
        assert np.array_equal(train.inputs, expected.inputs)
        assert sorted(path.name for path in (tmp_path / "data" / "mnist").iterdir()) == sorted(f"{n}.gz" for n in NAMES)
        assert len(published.asked) == 4
        mnist()
        mnist(download=True)
        assert len(published.asked) == 4

    def test_goes_to_root_and_takes_up_where_it_failed(self, published, tmp_path):
        lost = published.answers.pop("/t10k-images-idx3-ubyte.gz")
        with pytest.raises(ConnectionError, match=r"cannot download t10k-images-idx3-ubyte\.gz"):
            mnist(tmp_path / "root", download=True)
        assert len(list((tmp_path / "root").iterdir())) == 2
        published.answers["/t10k-images-idx3-ubyte.gz"] = lost
        published.asked.clear()
        assert len(mnist(tmp_path / "root", download=True)[1]) == 5
        assert published.asked == ["/t10k-images-idx3-ubyte.gz", "/t10k-labels-idx1-ubyte.gz"]


INSTALLED = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(not INSTALLED.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_the_real_fashion_mnist():
    train, test = fashion_mnist(INSTALLED)
    assert (train.inputs.shape, test.inputs.shape) == ((60000, 784), (10000, 784))
    assert np.bincount(train.targets).tolist() == [6000] * 10
    assert np.bincount(test.targets).tolist() == [1000] * 10
    assert train.targets[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert [train.classes[y] for y in test.targets[:4]] == ["Ankle boot", "Pullover", "Trouser", "Trouser"]
    mean = train.inputs.mean(dtype=float)
    squares = sum(float(np.vdot(block, block)) for block in np.split(train.inputs, 600)) / train.inputs.size
    std = (squares - mean**2) ** 0.5
    assert (round(mean, 4), round(std, 4)) == (0.2860, 0.3530)  # the figures everybody normalises with
