import json

import pytest

from mobilenets.config import ConfigError, TrainConfig, restore_config, to_dict
from mobilenets.config.checks import from_dict
from mobilenets.config.compose import Source, compose
from mobilenets.config.groups import CHOICES, ModelConfig


@pytest.fixture
def values():
    return to_dict(
        compose(TrainConfig, Source("train"), ["model=mobilenet_v2", "data=cifar100"]).config
    )


def test_a_config_survives_the_way_through_plain_data(values):
    assert json.loads(json.dumps(values)) == values
    config = restore_config(values)
    assert to_dict(config) == values
    assert type(config.model).__name__ == "MobileNetV2Config"
    assert type(config.data.augment).__name__ == "SmallAugmentConfig"


def test_every_problem_in_plain_data_is_listed(values):
    values["seed"] = "x"
    values["model"]["widht_mult"] = values["model"].pop("width_mult")
    values["data"]["augment"] = None
    del values["trainer"]
    with pytest.raises(ConfigError) as error:
        from_dict(TrainConfig, values)
    assert error.value.problems == [
        "seed: 'x' is not an integer",
        "model.widht_mult: did you mean model.width_mult?",
        "model.width_mult: needs a value",
        "data.augment: is a section of settings, not null",
        "trainer: needs a value",
    ]


def test_the_config_of_another_version_is_one_sentence_with_the_file(values):
    values["seed"] = "x"
    values["label_smoothing"] = "y"
    with pytest.raises(ConfigError) as error:
        restore_config(values, "runs/best.ckpt")
    assert error.value.problems == [
        "runs/best.ckpt has a damaged config or that of another version (seed: 'x' is not an "
        "integer, and 1 more): use that version of mobilenets, or read the net alone with "
        "mobilenets.load_model"
    ]


def test_a_choice_that_does_not_exist_is_named_with_those_that_do(values):
    values["model"]["name"] = "mobilenet_2"
    with pytest.raises(ConfigError) as error:
        from_dict(TrainConfig, values)
    assert error.value.problems == [
        "model.name: unknown; did you mean mobilenet_v2? Choices: "
        + ", ".join(CHOICES[ModelConfig])
    ]
