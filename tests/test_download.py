"""A download is whole and checked, or not there."""

import hashlib
import os
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.error import URLError
from urllib.request import Request

import pytest

from mobilenets import download as module
from mobilenets.download import download

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """A server: /w.pth sends CONTENT, /endless no length, /moved a redirect, other paths 404.

    /short always breaks off after 1000 bytes, /parts and /whole twice: then /parts sends the rest,
    and /whole everything again.
    """

    asked: ClassVar = []  # the path and the range of every request

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Range")))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "http://localhost:1/w.pth")
            self.end_headers()
        elif self.path == "/busy":
            self.send_error(503)
        elif self.path == "/parts" and len(self.asked) == 3:
            start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])
            self.send_response(206)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start:])
        elif self.path in ("/w.pth", "/short", "/endless", "/parts", "/whole"):
            self.send_response(200)
            if self.path != "/endless":
                self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            breaks_off = self.path == "/short" or len(self.asked) < 3
            cut = breaks_off and self.path in ("/short", "/parts", "/whole")
            self.wfile.write(CONTENT[: 1000 if cut else None])
        else:
            self.send_error(404)

    def log_message(self, *args):
        """Nothing on the console."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "PAUSES", (0, 0))
    monkeypatch.setattr(module, "SCHEME", "http://127.0.0.1:")
    monkeypatch.setattr(Handler, "asked", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_download_is_checked_before_it_takes_its_place(server, tmp_path):
    path = tmp_path / "new" / "w.pth"
    download(f"{server}/w.pth", path, SHA256[:8], limit=len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("file", "sha256", "limit", "kind", "sentence"),
    [
        ("w.pth", "0" * 64, 1 << 30, ValueError, f"sha256 is {SHA256}, not 0000"),
        ("w.pth", SHA256, 255_999, ValueError, "larger than 255,999 bytes and was not fetched"),
        ("endless", SHA256, 1000, ValueError, "larger than 1,000 bytes and was not fetched"),
        ("short", SHA256, 1 << 30, OSError, "the connection ended after 1,000 bytes"),
        ("busy", SHA256, 1 << 30, OSError, "503"),
        ("moved", SHA256, 1 << 30, OSError, "redirects to http://localhost:1/w.pth, which is not"),
        ("none", SHA256, 1 << 30, OSError, "404"),
    ],
)
def test_a_failed_download_leaves_the_old_file_and_nothing_else(
    file, sha256, limit, kind, sentence, server, tmp_path
):
    path = tmp_path / "w.pth"
    path.write_bytes(b"old")
    with pytest.raises(kind, match=sentence) as error:
        download(f"{server}/{file}", path, sha256, limit)
    getattr(error.value, "close", lambda: None)()  # an HTTPError is the open response
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"
    assert len(Handler.asked) == (3 if file in ("short", "busy") else 1), "attempts"


@pytest.mark.parametrize("file", ["parts", "whole"])
def test_a_download_that_breaks_off_is_resumed_or_starts_again(file, server, tmp_path):
    download(f"{server}/{file}", tmp_path / "w.pth", SHA256, 1 << 30)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT
    ranges = [asked for _, asked in Handler.asked]
    assert ranges == [None, "bytes=1000-", "bytes=1000-"]


def test_an_error_that_stays_is_not_tried_again():
    assert not module._may_succeed_later(URLError(socket.gaierror(-2, "Name or service not known")))
    assert not module._may_succeed_later(OSError(28, "No space left on device"))
    assert module._may_succeed_later(URLError(TimeoutError()))


def test_files_are_fetched_by_https_only(tmp_path):
    with pytest.raises(ValueError, match="by https only"):
        download("http://127.0.0.1:1/w.pth", tmp_path / "w.pth", SHA256, 1 << 30)
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_to_https_is_followed():
    request = Request("https://host/w.pth")
    new = module._HttpsRedirects().redirect_request(
        request, None, 302, "Found", {}, "https://cdn/w.pth"
    )
    assert new.full_url == "https://cdn/w.pth"
