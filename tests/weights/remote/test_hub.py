"""A repository on the Hub is fetched file by file, or one sentence says why it can't be."""

import sys

import huggingface_hub.errors
import pytest

from mobilenets.weights.remote.names import fetch

pytestmark = pytest.mark.usefixtures("caches")

TIMM_NAME = "timm:mobilenetv1_100.ra4_e3600_r224_in1k"
TIMM_REPO = "timm/mobilenetv1_100.ra4_e3600_r224_in1k"


class ConnectError(Exception):
    """A stand-in for httpx's, which is not an OSError."""


def test_timms_older_file_is_taken_where_there_is_no_safetensors(hub):
    there = hub({TIMM_REPO: {"pytorch_model.bin": b"weights"}})
    assert fetch(TIMM_NAME).path.name == "pytorch_model.bin"
    assert there.asked == [("model.safetensors", "main"), ("pytorch_model.bin", "main")]


def test_a_revision_is_passed_on(hub):
    there = hub({"a/b": {"model.safetensors": b"weights"}})
    assert fetch(f"hf:a/b@{there.commit}").path.name == there.commit
    assert {revision for _, revision in there.asked} == {there.commit}
    with pytest.raises(ValueError, match="hf:a/b@v9: a/b has no revision v9"):
        fetch("hf:a/b@v9")


@pytest.mark.parametrize(
    ("files", "sizes", "sentence"),
    [
        ({"README.md": b""}, {}, r"a/b has no model\.safetensors or pytorch_model\.bin"),
        ({"config.json": {"model_type": "vit"}}, {}, "is of 'vit', which is not a MobileNet"),
        ({"config.json": {"architecture": "resnet50"}}, {}, "is of 'resnet50', which is not"),
        (
            {"model.safetensors": b"weights"},
            {"model.safetensors": (2 << 30) + 1},
            r"model\.safetensors is larger than 2,147,483,648 bytes and was not fetched",
        ),
    ],
)
def test_a_repository_without_usable_weights_is_named(files, sizes, sentence, hub):
    there = hub({"a/b": files}, sizes=sizes)
    with pytest.raises(ValueError, match=sentence):
        fetch("hf:a/b")
    foreign = "config.json" in files
    assert (("model.safetensors", "main") in there.asked) != foreign  # refused before its weights


def test_a_missing_or_private_repository_is_named(hub):
    hub({})
    with pytest.raises(ValueError, match=r"the Hub shows no repository a/b: .*`hf auth login`"):
        fetch("hf:a/b")


@pytest.mark.parametrize("name", ["hf:a/b", "hf:a/b@v1"])
@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectError("[Errno -2] Name or service not known"), "[Errno -2] Name or service"),
        (huggingface_hub.errors.OfflineModeIsEnabled("Cannot reach X: offline"), "Cannot reach X"),
        (huggingface_hub.errors.LocalEntryNotFoundError("an error"), "no connection to the Hub"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_without_the_hub_the_sentence_says_which_folder_to_put_where(
    name, error, why, tmp_path, monkeypatch
):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fail)
    revision = " --revision v1" if "@" in name else ""
    with pytest.raises(ValueError, match="could not be fetched") as raised:
        fetch(name)
    message = str(raised.value)
    assert message.startswith(f"{name} could not be fetched ({why}")
    assert f"run `hf download a/b{revision}` where there is a network" in message
    assert f"to {tmp_path / 'hf' / 'hub' / 'models--a--b'}, or give the path" in message


def test_without_huggingface_hub_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r'hf:a/b needs huggingface_hub: pip install -e "\.\['):
        fetch("hf:a/b")
