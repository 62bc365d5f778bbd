"""Checkpoints explain themselves, and other files are rejected in one sentence."""

import pickle

import pytest
import torch

from mobilenets import MobileNetV2, create_model, load_model
from mobilenets.weights import RECORD_KEY, load_checkpoint, make_record

PREPROCESSING = {
    "image_size": 32,
    "in_channels": 1,
    "mean": [0.3],
    "std": [0.4],
    "crop_pct": 1.0,
    "interpolation": "bilinear",
}
CLASSES = ["cat", "dog", "owl"]


@pytest.fixture
def net():
    torch.manual_seed(0)
    options = {"width_mult": 0.25, "num_classes": 3, "in_channels": 1, "strides": "cifar"}
    return create_model("mobilenet_v2", **options).eval()


def save(path, net, prefix="net.", **more):
    extra = {"metrics": {"val/top1": 0.5}, "command": "python train.py"}
    record = make_record(net, CLASSES, PREPROCESSING, {"seed": 3}, **extra)
    weights = {prefix + key: value for key, value in net.state_dict().items()}
    torch.save({"epoch": 4, "state_dict": weights | more, RECORD_KEY: record}, path)


def test_the_file_alone_rebuilds_the_net(net, tmp_path):
    save(tmp_path / "best.ckpt", net)
    images = torch.randn(2, 1, 32, 32)
    loaded = load_model(tmp_path / "best.ckpt")
    assert torch.equal(loaded(images), net(images))
    assert not loaded.training
    assert (loaded.class_names, loaded.preprocessing) == (CLASSES, PREPROCESSING)
    checkpoint = load_checkpoint(tmp_path)
    assert (checkpoint.config, checkpoint.command) == ({"seed": 3}, "python train.py")
    assert loaded.metrics == {"val/top1": 0.5}


def test_the_ema_is_read_if_the_run_kept_one(net, tmp_path):
    raw = {f"net.{key}": torch.zeros_like(value) for key, value in net.state_dict().items()}
    save(tmp_path / "best.ckpt", net, "ema.module.", **raw)
    images = torch.randn(2, 1, 32, 32)
    assert torch.equal(load_model(tmp_path)(images), net(images))


def test_a_run_folder_means_its_best_checkpoint_or_else_the_last(net, tmp_path):
    save(tmp_path / "last.ckpt", net)
    assert load_checkpoint(tmp_path).path.name == "last.ckpt"
    save(tmp_path / "best.ckpt", net)
    assert load_checkpoint(tmp_path).path.name == "best.ckpt"


class Payload:
    """A class that writes a file when it is unpickled."""

    def __reduce__(self):
        return (open, ("executed", "w"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no file .*: give a file of weights or a run folder"),
        (b"", "is empty"),
        (b"<html>404</html>", "is an HTML page"),
        (b"\x80garbage", "is not a checkpoint: torch.save did not write it, or it is damaged"),
        ({"a.weight": torch.zeros(2)}, "names of no MobileNet known here, such as a.weight"),
        (MobileNetV2(width_mult=0.25).state_dict(), "it has no 'mobilenets' entry"),
        (torch.zeros(2), "holds a Tensor, not a dict of weights"),
        ({"state_dict": Payload()}, "holds more than tensors and plain data"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_named_with_its_cause(
    content, sentence, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError, match=sentence):
        load_checkpoint(path)
    assert not (tmp_path / "executed").exists()


def test_a_plain_pickle_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.ckpt").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ValueError, match=r"file\.ckpt"):
        load_checkpoint("file.ckpt")
    assert not (tmp_path / "executed").exists()


def test_a_file_cut_short_is_rejected(net, tmp_path):
    path = tmp_path / "best.ckpt"
    save(path, net)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ValueError, match="is not a checkpoint"):
        load_checkpoint(path)


def test_an_empty_folder_is_not_a_run_folder(tmp_path):
    with pytest.raises(ValueError, match=r"holds no best\.ckpt or last\.ckpt"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("record", [{}, {"version": "1", "model": {"name": "mobilenet_v1"}}, [1]])
def test_a_damaged_record_is_one_sentence(net, tmp_path, record):
    save(tmp_path / "best.ckpt", net)
    content = torch.load(tmp_path / "best.ckpt", weights_only=True)
    torch.save(content | {RECORD_KEY: record}, tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=r"best\.ckpt has a damaged record"):
        load_model(tmp_path)


@pytest.mark.parametrize("ranges", [[1.0], {"stem": [0.0]}, {"stem": [0.0, "6"]}, {"stem": 6.0}])
def test_damaged_ranges_of_activations_are_one_sentence(net, tmp_path, ranges):
    save(tmp_path / "best.ckpt", net)
    content = torch.load(tmp_path / "best.ckpt", weights_only=True)
    content[RECORD_KEY]["activation_ranges"] = ranges
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=r"best\.ckpt has a damaged record"):
        load_model(tmp_path)


def test_the_best_checkpoint_has_the_test_metrics_of_its_run(net, tmp_path):
    save(tmp_path / "best.ckpt", net)
    save(tmp_path / "last.ckpt", net)
    (tmp_path / "metrics.json").write_text('{"test/top1": 0.75}')
    assert load_model(tmp_path).metrics == {"val/top1": 0.5, "test/top1": 0.75}
    assert load_model(tmp_path / "last.ckpt").metrics == {"val/top1": 0.5}


def test_other_classes_are_named(net, tmp_path):
    save(tmp_path / "best.ckpt", net)
    checkpoint = load_checkpoint(tmp_path)
    checkpoint.check_classes(CLASSES)
    with pytest.raises(ValueError, match="number 1 is 'dog' there and 'emu' in the data"):
        checkpoint.check_classes(["cat", "emu", "owl"])
    with pytest.raises(ValueError, match=r"'owl' there and None in the data \(3 and 2 classes\)"):
        checkpoint.check_classes(["cat", "dog"])
