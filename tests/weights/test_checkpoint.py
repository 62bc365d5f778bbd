"""Checkpoints explain themselves, and what is none is refused in one sentence."""

import pickle

import pytest
import torch

from mobilenets import create_model, load_model
from mobilenets.weights import RECORD_KEY, make_record, read_checkpoint

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
    record = make_record(net, CLASSES, PREPROCESSING, {"seed": 3})
    weights = {prefix + key: value for key, value in net.state_dict().items()}
    torch.save({"epoch": 4, "state_dict": weights | more, RECORD_KEY: record}, path)


def test_the_file_alone_rebuilds_the_net(net, tmp_path):
    save(tmp_path / "best.ckpt", net)
    images = torch.randn(2, 1, 32, 32)
    loaded = load_model(tmp_path / "best.ckpt")
    assert torch.equal(loaded(images), net(images))
    assert not loaded.training
    assert (loaded.class_names, loaded.preprocessing) == (CLASSES, PREPROCESSING)
    checkpoint = read_checkpoint(tmp_path)
    assert (checkpoint.epoch, checkpoint.config) == (5, {"seed": 3})


def test_the_average_is_read_where_one_was_kept(net, tmp_path):
    raw = {f"net.{key}": torch.zeros_like(value) for key, value in net.state_dict().items()}
    save(tmp_path / "best.ckpt", net, "ema.module.", **raw)
    images = torch.randn(2, 1, 32, 32)
    assert torch.equal(load_model(tmp_path)(images), net(images))


def test_a_run_folder_means_its_best_checkpoint_or_else_the_last(net, tmp_path):
    save(tmp_path / "last.ckpt", net)
    assert read_checkpoint(tmp_path).path.name == "last.ckpt"
    save(tmp_path / "best.ckpt", net)
    assert read_checkpoint(tmp_path).path.name == "best.ckpt"


class Payload:
    """Would write a file if it were unpickled."""

    def __reduce__(self):
        return (open, ("executed", "w"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no file .*: give a .ckpt file or a run folder"),
        (b"", "is not a checkpoint: torch.save did not write it, or it is damaged"),
        (b"<html>404</html>", "is not a checkpoint: torch.save did not write it"),
        ({"weight": torch.zeros(2)}, "it has no 'mobilenets' entry"),
        (torch.zeros(2), "holds a Tensor, not a dict of weights"),
        ({"state_dict": Payload()}, "holds more than tensors and plain data"),
    ],
)
def test_what_is_no_checkpoint_is_named_with_its_cause(content, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError, match=sentence):
        read_checkpoint(path)
    assert not (tmp_path / "executed").exists()


def test_a_plain_pickle_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.ckpt").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ValueError, match=r"file\.ckpt"):
        read_checkpoint("file.ckpt")
    assert not (tmp_path / "executed").exists()


def test_a_file_cut_short_is_refused(net, tmp_path):
    path = tmp_path / "best.ckpt"
    save(path, net)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ValueError, match="is not a checkpoint"):
        read_checkpoint(path)


def test_an_empty_folder_is_no_run(tmp_path):
    with pytest.raises(ValueError, match=r"holds no best\.ckpt or last\.ckpt"):
        read_checkpoint(tmp_path)


def test_other_classes_are_named(net, tmp_path):
    save(tmp_path / "best.ckpt", net)
    checkpoint = read_checkpoint(tmp_path)
    checkpoint.check_classes(CLASSES)
    with pytest.raises(ValueError, match="number 1 is 'dog' there and 'emu' in the data"):
        checkpoint.check_classes(["cat", "emu", "owl"])
    with pytest.raises(ValueError, match=r"'owl' there and None in the data \(3 and 2 classes\)"):
        checkpoint.check_classes(["cat", "dog"])
