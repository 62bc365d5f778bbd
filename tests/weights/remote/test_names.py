"""A name gives weights, with their published classes, preprocessing and options."""

import os
import subprocess
import sys

import pytest

from mobilenets.weights.remote import https
from mobilenets.weights.remote.names import fetch, is_name

pytestmark = pytest.mark.usefixtures("caches")

V2_FILE = "mobilenet_v2-7ebf99e0.pth"
TIMM_NAME = "timm:mobilenetv1_100.ra4_e3600_r224_in1k"
TIMM_REPO = "timm/mobilenetv1_100.ra4_e3600_r224_in1k"
SHA256 = "5e" * 32

TRANSFORMERS_FILES = {
    "config.json": {
        "model_type": "mobilenet_v1",
        "layer_norm_eps": 0.001,
        "tf_padding": True,
        "hidden_act": "relu6",
        "id2label": {"0": "background"},
    },
    "preprocessor_config.json": {
        "size": {"shortest_edge": 256},
        "crop_size": {"height": 224, "width": 224},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 2,
    },
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"weights",
}


def test_names_are_told_from_paths():
    names = ["torchvision:X", "timm:x", "hf:a/b", "https://a/b", "http://a/b"]
    assert all(is_name(name) for name in names)
    paths = ["runs/digits/best.ckpt", "model.safetensors", "/w/timm:x", "./hf:a", "C:\\w.pth"]
    assert not any(is_name(path) for path in paths)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("weights.pth", "is not a name of weights: give torchvision:NAME"),
        ("http://host/w.pth", "by https only; use https://"),
        ("torchvision:IMAGENET1K_V3", r"did you mean torchvision:IMAGENET1K_V2\? Choices: "),
        ("timm:mobilenetv1_100.ra4", rf"did you mean {TIMM_NAME}\?"),
        ("timm:resnet50.a1_in1k", r"is unknown; did you mean timm:mobilenetv"),
        ("hf:mobilenet", "'mobilenet' is not a repository of the Hub: write OWNER/REPO"),
        ("hf:../x", "write OWNER/REPO"),
        ("hf:a/b/c", "write OWNER/REPO"),
        ("hf:a/b@../../x", "is not a branch, tag or commit"),
        ("hf:a/b@", "'' is not a branch, tag or commit"),
        ("https://host/w.pth", "add #sha256= and the 64 digits"),
        ("https://host/w.pth#sha256=12ab", "add #sha256= and the 64 digits"),
        (f"https://#sha256={SHA256}", "write https://HOST/FILE"),
        (f"https://host/a b#sha256={SHA256}", "write https://HOST/FILE"),
    ],
)
def test_a_wrong_name_is_answered_in_one_sentence_without_the_network(name, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        fetch(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "file", "resize"),
    [
        ("torchvision:IMAGENET1K_V1", "mobilenet_v2-b0353104.pth", 256),
        ("torchvision:IMAGENET1K_V2", V2_FILE, 232),
        ("torchvision:DEFAULT", V2_FILE, 232),
    ],
)
def test_torchvisions_weights_come_with_their_preprocessing_and_classes(
    name, file, resize, checkpoints, monkeypatch
):
    asked = []

    def record(url, path, sha256, limit):
        asked.append((url, sha256))
        path.write_bytes(b"weights")

    monkeypatch.setattr(https, "download", record)
    fetched = fetch(name)
    assert fetched.path == checkpoints / file
    assert asked == [(f"https://download.pytorch.org/models/{file}", file[-12:-4])]
    assert fetched.preprocessing == {
        "image_size": 224,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "crop_pct": 224 / resize,
        "interpolation": "bilinear",
    }
    assert len(fetched.class_names) == 1000
    assert fetched.class_names[0] == "tench"
    assert fetched.options == {}


@pytest.mark.parametrize("name", [TIMM_NAME, "timm:mobilenetv1_100"])
def test_timms_weights_come_with_the_preprocessing_of_their_training(name, snapshot):
    folder = snapshot(TIMM_REPO, {"model.safetensors": b"weights"})
    fetched = fetch(name)
    assert fetched.path == folder / "model.safetensors"
    assert fetched.preprocessing == {
        "image_size": 224,  # of training; it is tested at 256
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "crop_pct": 0.875,
        "interpolation": "bicubic",
    }
    assert (fetched.class_names, fetched.options) == (None, {})


def test_a_repository_of_transformers_is_fetched_once_file_by_file_at_one_commit(hub):
    there = hub({"google/net": TRANSFORMERS_FILES | {"tf_model.h5": b"unwanted"}})
    fetched = fetch("hf:google/net")
    assert fetched.options == {"bn_eps": 0.001, "padding": "same", "activation": "relu6"}
    assert fetched.preprocessing == {
        "image_size": 224,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "crop_pct": 0.875,
        "interpolation": "bilinear",
    }
    assert there.asked == [
        ("config.json", "main"),
        ("preprocessor_config.json", there.commit),
        ("model.safetensors", there.commit),
    ]
    assert {path.name for path in fetched.path.iterdir()} == {file for file, _ in there.asked}
    there.asked.clear()
    assert fetch("hf:google/net") == fetched
    assert there.asked == []


def test_all_files_are_of_the_commit_of_the_config(hub, snapshot):
    old, new = "a" * 40, "b" * 40
    files = {name: TRANSFORMERS_FILES[name] for name in ("config.json", "preprocessor_config.json")}
    snapshot("google/net", files, old)
    hub({"google/net": TRANSFORMERS_FILES}, commit=new)
    with pytest.raises(ValueError, match=f"has no revision {old}"):
        fetch("hf:google/net")


def test_cached_weights_without_a_config_are_used_where_there_is_no_network(snapshot, monkeypatch):
    folder = snapshot("a/b", {"pytorch_model.bin": b"weights"})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetched = fetch("hf:a/b")
    assert (fetched.path, fetched.options, fetched.preprocessing) == (folder, {}, {})


def test_hf_home_and_torch_home_and_offline_mode_are_those_of_the_environment(snapshot, tmp_path):
    files = {"config.json": {"architecture": "mobilenetv1_100"}, "model.safetensors": b"weights"}
    folder = snapshot("a/b", files)
    code = (
        "from mobilenets.weights.remote.names import fetch\n"
        "print(fetch('hf:a/b').path)\n"
        f"for name in ('hf:a/c', 'https://host/w.pth#sha256={SHA256}'):\n"
        "    try: fetch(name)\n"
        "    except ValueError as error: print(error)\n"
    )
    homes = {"HF_HOME": str(tmp_path / "hf"), "TORCH_HOME": str(tmp_path / "torch")}
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_CACHE"}
    lines = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | homes | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert lines[0] == str(folder)
    assert str(tmp_path / "hf" / "hub" / "models--a--c") in lines[1]
    assert lines[2].endswith(f"at {tmp_path / 'torch' / 'hub' / 'checkpoints'}/{SHA256[:8]}-w.pth")
