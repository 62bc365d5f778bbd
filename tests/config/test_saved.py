import copy

import pytest
from omegaconf import OmegaConf

from mobilenets.config import ConfigError, TrainConfig, restore_config, to_dict
from mobilenets.config.compose import CONFIGS, Source, compose
from mobilenets.config.groups import CHOICES, DataConfig
from mobilenets.config.saved import fill_missing


@pytest.fixture
def values():
    """The config of a run that differs from today's defaults."""
    overrides = ["model=mobilenet_v2", "model.width_mult=0.5", "data=cifar10", "data.root=/a"]
    overrides += ["data.strides=imagenet", "optimizer=adamw", "seed=7", "trainer.max_epochs=3"]
    return to_dict(compose(TrainConfig, Source("train"), overrides).config)


def without(values, *keys):
    """Return a copy of nested values without these dotted keys."""
    values = copy.deepcopy(values)
    for key in keys:
        *sections, name = key.split(".")
        section = values
        for above in sections:
            section = section[above]
        del section[name]
    return values


def problem(values):
    """Return the first problem, and how many more there are."""
    with pytest.raises(ConfigError, match="that of another version") as error:
        restore_config(values)
    (sentence,) = error.value.problems
    return sentence.partition("(")[2].rpartition("): use that version")[0]


def test_a_config_that_lacks_nothing_stays_as_it_is(values):
    assert fill_missing(values) == values


def test_settings_that_were_added_since_have_the_values_of_the_runs_choices(values):
    lacks = ("model.freeze", "hardware", "data.augment.color_jitter", "trainer.profiler")
    lacks += ("model.stages", "optimizer.betas", "optimizer.lr", "ema_decay")
    old = without(values, *lacks)
    saved = copy.deepcopy(old)
    assert to_dict(restore_config(saved)) == values
    assert saved == old, "the argument is left alone"


def test_the_values_are_those_of_the_yaml_files(values):
    yaml = OmegaConf.load(CONFIGS / "optimizer" / "adamw.yaml")
    assert restore_config(without(values, "optimizer.lr")).optimizer.lr == yaml.lr
    assert yaml.lr != OmegaConf.load(CONFIGS / "optimizer" / "sgd.yaml").lr


def test_a_default_that_refers_to_another_setting_takes_the_runs_value(values):
    assert OmegaConf.load(CONFIGS / "data" / "cifar10.yaml").strides == "cifar"
    assert restore_config(without(values, "model.strides")).model.strides == "imagenet"


def test_settings_that_were_removed_since_are_dropped(values):
    today = copy.deepcopy(values)
    values["trainer"] |= {"limit_predict_batches": None, "enable_autolog_hparams": True}
    values["trainer"]["barebones"] = False
    values["data"]["num_workers"] = 0
    saved = copy.deepcopy(values)
    assert to_dict(restore_config(values)) == today
    assert values == saved, "the argument is left alone"


def test_images_in_files_keep_their_number_of_workers():
    values = to_dict(compose(TrainConfig, Source("train"), ["data=folder", "data.root=/a"]).config)
    values["data"]["num_workers"] = 3
    assert restore_config(values).data.num_workers == 3


def test_unknown_settings_are_reported(values):
    values["model"]["widht_mult"] = values["model"].pop("width_mult")
    values["colour"] = 1
    values["data"]["augment"] = None
    assert problem(values) == "colour: there is no such setting; --help lists all, and 2 more"


def test_choices_and_values_without_a_default_are_required(values):
    assert problem(without(values, "model")) == "model: needs a value"
    values["data"] = {"name": "folder"}
    assert problem(values) == "data.root: needs a value, e.g. data.root=/data/flowers"
    values["data"]["name"] = "imagenet21k"
    assert problem(values) == (
        f"data.name: unknown; did you mean imagenet? Choices: {', '.join(CHOICES[DataConfig])}"
    )
