"""A file of a URL comes from torch.hub's cache, or through a checked download, or not at all."""

import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import URLError
from urllib.request import Request

import pytest

from mobilenets.weights import download as module
from mobilenets.weights.download import download
from mobilenets.weights.fetch import fetch

pytestmark = pytest.mark.usefixtures("caches")

V2_FILE = "mobilenet_v2-7ebf99e0.pth"
V2_URL = f"https://download.pytorch.org/models/{V2_FILE}"
CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def https_name(url="https://host/w.pth"):
    return f"{url}#sha256={SHA256}"


def test_a_cached_url_is_used_without_the_network_after_its_sum_was_checked(checkpoints):
    path = checkpoints / f"{SHA256[:8]}-w.pth"
    path.write_bytes(CONTENT)
    fetched = fetch(https_name().replace(SHA256, SHA256.upper()))
    assert (fetched.path, fetched.preprocessing, fetched.class_names) == (path, {}, None)
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(ValueError, match=r"-w\.pth is damaged or another file .*: delete it"):
        fetch(https_name())


def test_a_damaged_file_in_torchvisions_place_is_refused(checkpoints):
    (checkpoints / V2_FILE).write_bytes(b"half")
    with pytest.raises(ValueError, match=r"its sha256 is [0-9a-f]{64}, not 7ebf99e0"):
        fetch("torchvision:IMAGENET1K_V2")


@pytest.mark.parametrize(
    ("name", "file"),
    [("torchvision:IMAGENET1K_V2", V2_FILE), (https_name(), f"{SHA256[:8]}-w.pth")],
)
def test_without_a_network_the_sentence_says_which_file_to_put_where(
    name, file, tmp_path, monkeypatch
):
    place = tmp_path / "torch" / "hub" / "checkpoints" / file
    url = V2_URL if "torchvision" in name else "https://host/w.pth"

    def offline(*args):
        raise URLError(OSError(-2, "Name or service not known"))

    for why in (r"HF_HUB_OFFLINE is set", r"[Errno -2] Name or service not known"):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1" if "OFFLINE" in why else "0")
        with pytest.raises(ValueError, match="could not be fetched") as error:
            fetch(name)
        assert str(error.value) == (
            f"{name} could not be fetched ({why}): put {url.rsplit('/', 1)[1]} from {url} "
            f"at {place}"
        )
        monkeypatch.setattr(module, "download", offline)


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("https://host/a/w.pth?download=true", "w.pth"),
        ("https://host/a/..", "weights"),
        ("https://host/", "weights"),
        ("https://host/%2e%2e%2fetc%2Fpasswd", "passwd"),
        ("https://host/a%5Cb%00.pth", "b_.pth"),
        ("https://host/" + "x" * 300 + ".pth", "x" * 96 + ".pth"),
    ],
)
def test_a_url_can_name_a_file_in_the_cache_only(url, file, checkpoints, monkeypatch):
    monkeypatch.setattr(module, "download", lambda url, path, sha256: path.write_bytes(CONTENT))
    assert fetch(https_name(url)).path == checkpoints / f"{SHA256[:8]}-{file}"
    assert len(list(checkpoints.iterdir())) == 1


class Handler(BaseHTTPRequestHandler):
    """/w.pth gives CONTENT, /endless no length and no end, /moved a redirect, others 404."""

    def do_GET(self):
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/w.pth")
            self.end_headers()
        elif self.path in ("/w.pth", "/short", "/endless"):
            self.send_response(200)
            if self.path != "/endless":
                self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: 1000 if self.path == "/short" else None])
        else:
            self.send_error(404)

    def log_message(self, *args):
        """Nothing on the console."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
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
        ("short", SHA256, 1 << 30, Exception, "sha256 is|1000 bytes read"),
        ("moved", SHA256, 1 << 30, OSError, "redirects to http://127.0.0.1:1/w.pth, which is not"),
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
    getattr(error.value, "close", lambda: None)()  # an HTTPError is the open answer
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


def test_a_redirect_to_https_is_followed():
    request = Request("https://host/w.pth")
    new = module._HttpsRedirects().redirect_request(
        request, None, 302, "Found", {}, "https://cdn/w.pth"
    )
    assert new.full_url == "https://cdn/w.pth"
