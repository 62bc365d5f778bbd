"""A run that starts from weights takes their options and preprocessing, unless it sets others."""

import pytest
import timm
import torch

from mobilenets import create_model, save_model
from mobilenets.config import TrainConfig, to_dict
from mobilenets.config.checks import from_dict
from mobilenets.config.compose import Source, compose
from mobilenets.config.pretrained import deep_update, settings_from_weights

PREPROCESSING = {
    "image_size": 96,
    "in_channels": 3,
    "mean": [0.5],
    "std": [0.25],
    "crop_pct": 0.9,
    "interpolation": "bicubic",
}


@pytest.fixture
def file(tmp_path):
    """A weights file of this package: MobileNetV1 0.25, padded as in TensorFlow, for 96 pixels."""
    net = create_model("mobilenet_v1", width_mult=0.25, padding="same", strides="cifar")
    path = tmp_path / "v1.safetensors"
    save_model(net, path, preprocessing=PREPROCESSING)
    return path


def compose_from_weights(path, *overrides, folders=()):
    words = ["model=mobilenet_v1", f"model.weights={path}", *overrides]
    composed = compose(TrainConfig, Source("train", tuple(folders)), words)
    added = settings_from_weights(composed.config, composed.explicit)
    return added, from_dict(TrainConfig, deep_update(to_dict(composed.config), added))


def test_files_of_images_are_read_as_the_weights_expect(file):
    added, config = compose_from_weights(file, "data=folder", "data.root=/x")
    assert added == {
        "data.image_size": 96,
        "data.mean": [0.5],
        "data.std": [0.25],
        "data.crop_pct": 0.9,
        "data.interpolation": "bicubic",
        "model.width_mult": 0.25,
        "model.padding": "same",
        "model.strides": "cifar",
    }
    assert (config.model.width_mult, config.data.mean) == (0.25, [0.5])
    assert config.model.num_classes is None, "the data's"


def test_the_command_line_has_precedence(file):
    asked = ["data=folder", "data.root=/x", "data.image_size=64", "model.padding=symmetric"]
    added, config = compose_from_weights(file, *asked)
    assert not {"data.image_size", "model.padding", "model.strides"} & set(added)
    assert (config.data.image_size, config.model.padding) == (64, "symmetric")


def test_images_in_memory_keep_their_size_and_the_strides_for_it(file):
    added, config = compose_from_weights(file, "data=cifar10", "data.root=/x")
    assert set(added) == {
        "data.mean", "data.std", "data.interpolation", "model.width_mult", "model.padding"
    }  # fmt: skip
    assert (config.data.image_size, config.model.strides) == (32, "cifar")


def test_grey_images_get_the_mean_over_the_colours(tmp_path):
    net = create_model("mobilenet_v1", width_mult=0.25)
    mean = [0.2, 0.3, 0.4]
    save_model(net, tmp_path / "v1.safetensors", preprocessing={**PREPROCESSING, "mean": mean})
    _, config = compose_from_weights(tmp_path / "v1.safetensors", "data=digits")
    assert config.data.mean == pytest.approx([0.3])


def test_an_experiment_has_precedence(file, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - override /data: folder\n"
        "data:\n  root: /x\n  image_size: 128\nmodel:\n  dropout: 0.5\n"
    )
    added, config = compose_from_weights(file, "experiment=mine", folders=[tmp_path])
    assert (config.data.image_size, config.model.dropout) == (128, 0.5)
    assert "data.image_size" not in added and added["data.crop_pct"] == 0.9


def test_weights_of_other_zoos_determine_what_their_names_show(tmp_path):
    torch.save(timm.create_model("mobilenetv1_100h").state_dict(), tmp_path / "h.pth")
    added, config = compose_from_weights(tmp_path / "h.pth", "data=folder", "data.root=/x")
    assert config.model.head_channels == 1024
    assert (added["data.mean"], added["data.interpolation"]) == ([0.5], "bicubic")
    assert config.model.strides == "imagenet"


def test_weights_of_another_net_do_not_change_the_nets_options(file):
    added, config = compose_from_weights(file, "model=mobilenet_v2", "data=folder", "data.root=/x")
    assert not [key for key in added if key.startswith("model.")]
    assert config.model.width_mult == 1.0


def test_deep_update_leaves_its_argument_alone():
    values = {"model": {"width_mult": 1.0, "dropout": 0.1}}
    assert deep_update(values, {"model.width_mult": 0.5}) == {
        "model": {"width_mult": 0.5, "dropout": 0.1}
    }
    assert values["model"]["width_mult"] == 1.0
