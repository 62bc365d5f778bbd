import json

import pytest

from mobilenets.config import ConfigError, TrainConfig, to_dict, train_config
from mobilenets.config.checks import checked
from mobilenets.config.compose import CONFIGS, Command, Source, compose


@pytest.fixture
def values():
    command = Command(Source(CONFIGS, "train"), ["model=mobilenet_v2", "data=cifar100"])
    return to_dict(compose(TrainConfig, command).config)


def test_a_config_goes_to_plain_data_and_back(values):
    assert json.loads(json.dumps(values)) == values
    config = train_config(values)
    assert to_dict(config) == values
    assert type(config.model).__name__ == "MobileNetV2Config"
    assert type(config.data.augment).__name__ == "SmallAugmentConfig"


def test_all_that_is_wrong_with_plain_data_is_listed(values):
    values["seed"] = "x"
    values["model"]["widht_mult"] = values["model"].pop("width_mult")
    values["data"]["augment"] = None
    del values["trainer"]
    with pytest.raises(ConfigError) as error:
        checked(TrainConfig, values)
    assert error.value.problems == [
        "seed: 'x' is not a whole number",
        "model.widht_mult: did you mean model.width_mult?",
        "model.width_mult: needs a value",
        "data.augment: is a section of settings, not null",
        "trainer: needs a value",
    ]


def test_the_config_of_another_version_is_one_sentence_with_the_file(values):
    values["seed"] = "x"
    values["label_smoothing"] = "y"
    with pytest.raises(ConfigError) as error:
        train_config(values, "runs/best.ckpt")
    assert error.value.problems == [
        "runs/best.ckpt has a damaged config, or one of another version (seed: 'x' is not a whole "
        "number, and 1 more): use that version of mobilenets; mobilenets.load_model reads the net "
        "alone"
    ]


def test_a_choice_that_does_not_exist_is_named_with_those_that_do(values):
    values["model"]["name"] = "mobilenet_v3"
    with pytest.raises(ConfigError) as error:
        checked(TrainConfig, values)
    assert error.value.problems == [
        "model.name: unknown; did you mean mobilenet_v2? Choices: mobilenet_v1, mobilenet_v2"
    ]
