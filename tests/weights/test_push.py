"""push_to_hub uploads one commit, from which the net can be loaded."""

import json
import sys

import huggingface_hub
import pytest
import torch

from mobilenets import create_model
from mobilenets.weights import load_model, save_model
from mobilenets.weights.push import push_to_hub

CLASSES = ["cat", "dog", "owl"]
PREPROCESSING = {
    "image_size": 32,
    "in_channels": 3,
    "mean": [0.3],
    "std": [0.4],
    "crop_pct": 1.0,
    "interpolation": "bilinear",
}


class Recorder:
    """A stand-in for huggingface_hub.HfApi that records calls and files."""

    calls, files, error = [], {}, None

    def __init__(self, *, token):
        self.calls.append(("token", token))

    def create_repo(self, repo_id, *, private, exist_ok):
        if self.error:
            raise self.error
        self.calls.append(("create_repo", repo_id, private, exist_ok))
        return f"https://huggingface.co/{repo_id}"

    def create_commit(self, repo_id, *, operations, commit_message):
        self.calls.append(("create_commit", repo_id, commit_message))
        for operation in operations:
            with operation.as_file() as file:
                self.files[operation.path_in_repo] = file.read()


@pytest.fixture
def api(monkeypatch):
    fresh = type("Api", (Recorder,), {"calls": [], "files": {}})
    monkeypatch.setattr(huggingface_hub, "HfApi", fresh)
    return fresh


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = create_model("mobilenet_v2", width_mult=0.25, num_classes=3, strides="cifar").eval()
    net.class_names, net.preprocessing = CLASSES, PREPROCESSING
    return net


def test_a_pushed_net_can_be_loaded(net, api, tmp_path):
    url = push_to_hub(net, "me/net", private=True, token="hf_x", commit_message="First")
    assert url == "https://huggingface.co/me/net"
    assert api.calls == [
        ("token", "hf_x"),
        ("create_repo", "me/net", True, True),
        ("create_commit", "me/net", "First"),
    ]
    assert set(api.files) == {"model.safetensors", "config.json", "README.md"}
    for name, content in api.files.items():
        (tmp_path / name).write_bytes(content)
    loaded = load_model(tmp_path)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(images), net(images))
    assert (loaded.class_names, loaded.preprocessing) == (CLASSES, PREPROCESSING)


def test_a_file_is_pushed_as_load_model_reads_it(net, api, tmp_path):
    save_model(net, tmp_path / "net.safetensors")
    push_to_hub(tmp_path / "net.safetensors", "me/net")
    config = json.loads(api.files["config.json"])
    assert config["model"] == {"name": "mobilenet_v2", "options": net.options}
    assert (config["class_names"], config["preprocessing"]) == (CLASSES, PREPROCESSING)


def test_the_card_says_what_the_net_is_how_to_load_it_and_its_metrics(net, api):
    net.metrics = {"test/accuracy": 0.98765432, "epochs": 20}
    push_to_hub(net, "me/net")
    card = api.files["README.md"].decode()
    front, text = card.removeprefix("---\n").split("---\n", 1)
    assert "library_name: mobilenets\n" in front
    assert "- mobilenet_v2\n" in front
    assert "licen" not in front
    assert "`num_classes=3`, `width_mult=0.25`, `strides='cifar'`." in text
    assert 'net = mobilenets.load_model("hf:me/net")' in text
    assert "| test/accuracy | 0.987654 |\n| epochs        |       20 |\n" in text


def test_a_card_of_your_own_is_pushed_as_it_is(net, api):
    push_to_hub(net, "me/net", card="---\nlicense: mit\n---\nMine.\n")
    assert api.files["README.md"] == b"---\nlicense: mit\n---\nMine.\n"


def test_a_net_without_classes_or_metrics_has_none_in_its_card(api):
    push_to_hub(create_model("mobilenet_v1"), "me/net")
    card = api.files["README.md"].decode()
    assert "the package `mobilenets`: all defaults." in card
    assert "Metrics" not in card
    assert json.loads(api.files["config.json"])["class_names"] == []


def test_a_wrong_name_and_a_refusal_are_one_sentence(net, api):
    with pytest.raises(ValueError, match="'net' is not a repository of the Hub"):
        push_to_hub(net, "net")
    assert api.calls == []
    api.error = OSError("401 Client Error. Request ID: 1\n\nInvalid username or password.")
    sentence = r"me/net could not be pushed \(401 Client Error\): .*`hf auth login`"
    with pytest.raises(ValueError, match=sentence) as error:
        push_to_hub(net, "me/net")
    assert "\n" not in str(error.value)
    assert api.files == {}


def test_without_huggingface_hub_its_extra_is_named(net, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r'push_to_hub .* pip install -e "\.\[hub\]"'):
        push_to_hub(net, "me/net")
