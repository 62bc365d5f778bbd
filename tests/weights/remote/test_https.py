"""A file at a URL comes from torch.hub's cache or is fetched into it."""

import hashlib
from urllib.error import URLError

import pytest

from mobilenets.weights.remote import https as module
from mobilenets.weights.remote.names import fetch

pytestmark = pytest.mark.usefixtures("caches")

V2_FILE = "mobilenet_v2-7ebf99e0.pth"
V2_URL = f"https://download.pytorch.org/models/{V2_FILE}"
CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def https_name(url="https://host/w.pth"):
    return f"{url}#sha256={SHA256}"


def test_a_cached_file_is_used_without_the_network_after_a_check_of_its_sha256(checkpoints):
    path = checkpoints / f"{SHA256[:8]}-w.pth"
    path.write_bytes(CONTENT)
    fetched = fetch(https_name().replace(SHA256, SHA256.upper()))
    assert (fetched.path, fetched.preprocessing, fetched.class_names) == (path, {}, None)
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(ValueError, match=r"-w\.pth is damaged or another file .*: delete it"):
        fetch(https_name())


def test_a_damaged_file_in_torchvisions_place_is_rejected(checkpoints):
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
    monkeypatch.setattr(module, "download", lambda url, path, *_: path.write_bytes(CONTENT))
    assert fetch(https_name(url)).path == checkpoints / f"{SHA256[:8]}-{file}"
    assert len(list(checkpoints.iterdir())) == 1
