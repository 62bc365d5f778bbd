import copy

import pytest
from omegaconf import OmegaConf

from mobilenets.config import ConfigError, TrainConfig, to_dict, train_config
from mobilenets.config.compose import CONFIGS, Command, Source, compose
from mobilenets.config.saved import fill_missing


@pytest.fixture
def values():
    """The config of a run that differs from today's defaults."""
    overrides = ["model=mobilenet_v2", "model.width_mult=0.5", "data=cifar10", "data.root=/a"]
    overrides += ["data.strides=imagenet", "optimizer=adamw", "seed=7", "trainer.max_epochs=3"]
    command = Command(Source(CONFIGS, "train"), overrides)
    return to_dict(compose(TrainConfig, command).config)


def without(values, *keys):
    """A copy of nested values that lacks these dotted keys."""
    values = copy.deepcopy(values)
    for key in keys:
        *sections, name = key.split(".")
        section = values
        for above in sections:
            section = section[above]
        del section[name]
    return values


def problem(values):
    """The first, in brackets, and how many more there are."""
    with pytest.raises(ConfigError, match="one of another version") as error:
        train_config(values)
    (sentence,) = error.value.problems
    return sentence.partition("(")[2].rpartition("): use that version")[0]


def test_a_config_that_lacks_nothing_stays_as_it_is(values):
    assert fill_missing(values) == values


def test_what_came_after_a_config_has_todays_value_of_the_choice_that_was_made(values):
    lacks = ("model.freeze", "hardware", "data.augment.color_jitter", "trainer.profiler")
    lacks += ("model.stages", "optimizer.betas", "optimizer.lr", "ema_decay")
    old = without(values, *lacks)
    saved = copy.deepcopy(old)
    assert to_dict(train_config(saved)) == values
    assert saved == old, "the argument is left alone"


def test_the_values_are_those_of_the_yaml_files(values):
    yaml = OmegaConf.load(CONFIGS / "optimizer" / "adamw.yaml")
    assert train_config(without(values, "optimizer.lr")).optimizer.lr == yaml.lr
    assert yaml.lr != OmegaConf.load(CONFIGS / "optimizer" / "sgd.yaml").lr


def test_what_follows_from_another_setting_follows_from_that_of_the_run(values):
    assert OmegaConf.load(CONFIGS / "data" / "cifar10.yaml").strides == "cifar"
    assert train_config(without(values, "model.strides")).model.strides == "imagenet"


def test_what_is_no_setting_today_is_named_as_ever(values):
    values["model"]["widht_mult"] = values["model"].pop("width_mult")
    values["colour"] = 1
    values["data"]["augment"] = None
    assert problem(values) == "colour: there is no such setting; --help lists all, and 2 more"


def test_a_choice_and_what_has_no_default_are_still_needed(values):
    assert problem(without(values, "model")) == "model: needs a value"
    values["data"] = {"name": "folder"}
    assert problem(values) == "data.root: needs a value, e.g. data.root=/data/flowers"
    values["data"]["name"] = "imagenet21k"
    assert problem(values) == (
        "data.name: unknown; did you mean imagenet? Choices: digits, cifar10, "
        "cifar100, folder, imagenet, fake"
    )
