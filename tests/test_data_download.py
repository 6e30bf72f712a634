"""Downloads from a server of one's own that does everything wrong."""

import hashlib
import re
import threading
from functools import partial

import pytest

import tinygrad_ce.data.download as module
from tests.webserver import Server, send
from tinygrad_ce.data.download import RemoteFile, download


@pytest.fixture
def server():
    with Server() as server:
        yield server


DATA = bytes(range(256)) * 1000
FILE = RemoteFile("file.gz", len(DATA), hashlib.sha256(DATA).hexdigest())


class TestDownload:
    def test_gets_the_file_and_says_so(self, server, tmp_path, capsys):
        server.answers["/file.gz"] = DATA
        path = download(FILE, [server.url], tmp_path / "new" / "folder")
        assert path == tmp_path / "new" / "folder" / "file.gz"
        assert path.read_bytes() == DATA
        assert [p.name for p in path.parent.iterdir()] == ["file.gz"]
        out, error = capsys.readouterr()
        assert out == ""
        assert error == f"downloading {server.url}file.gz (256,000 bytes)\n"

    def test_in_a_terminal_there_is_a_bar(self, server, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "100")
        server.answers["/file.gz"] = DATA
        download(FILE, [server.url], tmp_path)
        text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", capsys.readouterr().err)
        assert "file.gz" in text
        assert "256.0/256.0 kB" in text

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (None, "HTTP Error 404: Not Found"),
            (b"x" * len(DATA), f"SHA-256 {hashlib.sha256(b'x' * len(DATA)).hexdigest()}, expected {FILE.sha256}"),
            (DATA[:-1], "255,999 of 256,000 bytes"),
            (b"", "0 of 256,000 bytes"),
            (DATA + b"x", "more than the 256,000 bytes expected"),
            (partial(send, data=DATA[:100_000], announced=len(DATA)), "100,000 of 256,000 bytes"),
            (lambda handler: handler.wfile.write(b"no HTTP\r\n\r\n"), "no HTTP"),
            (lambda handler: handler.send_error(500), "HTTP Error 500"),
            (lambda _: None, "Remote end closed connection without response"),
        ],
        ids=["404", "other bytes", "short", "empty", "long", "truncated", "no HTTP", "500", "hung up"],
    )
    def test_what_goes_wrong_is_said_and_leaves_nothing_behind(self, server, tmp_path, answer, message):
        if answer is not None:
            server.answers["/file.gz"] = answer
        with pytest.raises(ConnectionError, match=re.escape(message)) as found:
            download(FILE, [server.url], tmp_path)
        assert str(found.value).startswith(f"cannot download file.gz: {server.url}file.gz: ")
        assert str(tmp_path) in str(found.value)
        assert list(tmp_path.iterdir()) == []

    def test_a_server_that_falls_silent(self, server, tmp_path, monkeypatch):
        go_on = threading.Event()

        def stall(handler):
            send(handler, DATA[:1000], len(DATA))
            go_on.wait(10)

        monkeypatch.setattr(module, "TIMEOUT", 0.1)
        server.answers["/file.gz"] = stall
        with pytest.raises(ConnectionError, match="timed out"):
            download(FILE, [server.url], tmp_path)
        go_on.set()
        assert list(tmp_path.iterdir()) == []

    def test_no_server(self, tmp_path):
        with pytest.raises(
            ConnectionError, match=r"cannot download file\.gz: http://127\.0\.0\.1:9/file\.gz: .*refused"
        ):
            download(FILE, ["http://127.0.0.1:9/"], tmp_path)

    def test_interrupted(self, server, tmp_path, monkeypatch):
        def one_chunk(*_):
            yield DATA[:1000]
            assert len(list(tmp_path.iterdir())) == 1
            raise KeyboardInterrupt

        monkeypatch.setattr(module, "_chunks", one_chunk)
        with pytest.raises(KeyboardInterrupt):
            download(FILE, [server.url], tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_the_next_mirror_is_tried(self, server, tmp_path):
        server.answers |= {"/a/file.gz": b"wrong", "/b/file.gz": DATA}
        path = download(FILE, [f"{server.url}{mirror}/" for mirror in "abc"], tmp_path)
        assert path.read_bytes() == DATA
        assert server.asked == ["/a/file.gz", "/b/file.gz"]

    def test_an_older_file_stays_when_the_new_one_fails(self, server, tmp_path):
        (tmp_path / "file.gz").write_bytes(b"older")
        with pytest.raises(ConnectionError):
            download(FILE, [server.url], tmp_path)
        assert (tmp_path / "file.gz").read_bytes() == b"older"
