"""The config files beside weights state the preprocessing and some options of the net."""

import json

import pytest

from mobilenets.weights.zoos.hub_configs import read_hub_configs

TRANSFORMERS_CONFIG = {
    "model_type": "mobilenet_v1",
    "layer_norm_eps": 0.001,
    "tf_padding": True,
    "hidden_act": "relu6",
    "id2label": {"0": "background"},
}
PREPROCESSOR_CONFIG = {
    "size": {"shortest_edge": 256},
    "crop_size": {"height": 224, "width": 224},
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
}
TIMM_CONFIG = {
    "architecture": "mobilenetv1_100",
    "pretrained_cfg": {
        "input_size": [3, 224, 224],
        "test_input_size": [3, 256, 256],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "crop_pct": 0.875,
        "test_crop_pct": 0.95,
        "interpolation": "bicubic",
    },
}
TIMM_PREPROCESSING = {
    "image_size": 224,  # of training; it is tested at 256
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "crop_pct": 0.875,
    "interpolation": "bicubic",
}
TRANSFORMERS_OPTIONS = {"bn_eps": 0.001, "padding": "same", "activation": "relu6"}
TRANSFORMERS_PREPROCESSING = TIMM_PREPROCESSING | {"interpolation": "bilinear"}


def write(folder, config=None, preprocessor=None):
    for name, content in (("config", config), ("preprocessor_config", preprocessor)):
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_timms_config_gives_the_preprocessing_of_training(tmp_path):
    assert read_hub_configs(write(tmp_path, TIMM_CONFIG)) == ({}, TIMM_PREPROCESSING)
    flat = {"architecture": "mobilenetv1_100", **TIMM_CONFIG["pretrained_cfg"]}  # before 2023
    assert read_hub_configs(write(tmp_path, flat)) == ({}, TIMM_PREPROCESSING)


def test_settings_that_a_config_does_not_state_are_left_out(tmp_path):
    config = {"architecture": "mobilenetv2_100", "pretrained_cfg": {"crop_pct": 0.9}}
    assert read_hub_configs(write(tmp_path, config)) == ({}, {"crop_pct": 0.9})
    config = {"model_type": "mobilenet_v2"}
    assert read_hub_configs(write(tmp_path, config)) == (TRANSFORMERS_OPTIONS, {})
    assert read_hub_configs(write(tmp_path, {"library_name": "mobilenets"})) == ({}, {})
    assert read_hub_configs(tmp_path / "empty") == ({}, {})


def test_transformers_options_are_those_of_its_config(tmp_path):
    config = TRANSFORMERS_CONFIG | {"tf_padding": False, "hidden_act": "relu", "output_stride": 16}
    options, _ = read_hub_configs(write(tmp_path, config | {"layer_norm_eps": 1e-5}))
    assert options == {
        "bn_eps": 1e-5,
        "padding": "symmetric",
        "activation": "relu",
        "output_stride": 16,
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, TRANSFORMERS_PREPROCESSING),
        ({"size": 256, "crop_size": 224}, TRANSFORMERS_PREPROCESSING),
        ({"resample": 3}, TIMM_PREPROCESSING),
        ({"do_center_crop": False}, {"image_size": 256, "crop_pct": None}),
        ({"crop_size": None, "size": {"height": 96, "width": 96}}, {"image_size": 96}),
        ({"do_normalize": False}, {"mean": None, "std": None}),
    ],
)
def test_transformers_preprocessing_is_that_of_its_config(changes, expected, tmp_path):
    folder = write(tmp_path, TRANSFORMERS_CONFIG, PREPROCESSOR_CONFIG | changes)
    _, preprocessing = read_hub_configs(folder)
    assert {key: preprocessing.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("config", "preprocessor", "sentence"),
    [
        ([], None, r"config\.json holds a list, not a dict"),
        ({"architecture": "mobilenetv1_100", "pretrained_cfg": 3}, None, "pretrained_cfg=3 must"),
        (TRANSFORMERS_CONFIG, {"size": -1}, r"image_size=-1 must be an integer \(at least 1\)"),
        (TRANSFORMERS_CONFIG, {"size": 256, "crop_size": "9"}, "crop_size='9' must be an integer"),
        (TRANSFORMERS_CONFIG, {"resample": 1}, "resample=1 must be 0, 2 or 3"),
        (TRANSFORMERS_CONFIG, {"image_std": [0.0]}, "std=0.0 must be"),
        (TRANSFORMERS_CONFIG, {"image_mean": 0.5}, "mean=0.5 must be a list of one number"),
        (TRANSFORMERS_CONFIG, {"image_mean": [float("nan")]}, "mean=nan must be"),
    ],
)
def test_an_invalid_config_is_named(config, preprocessor, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence) as error:
        read_hub_configs(write(tmp_path, config, preprocessor))
    assert str(error.value).startswith(str(tmp_path))


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
def test_a_damaged_config_is_rejected(content, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json is not JSON, or it is damaged"):
        read_hub_configs(tmp_path)
