"""The settings of model=, against the nets that they configure."""

import dataclasses
from dataclasses import dataclass
from inspect import signature
from typing import get_type_hints

import pytest
import torch

from mobilenets.config import ConfigError, TrainConfig, to_dict
from mobilenets.config.checks import from_dict
from mobilenets.config.compose import Source, compose
from mobilenets.config.groups import CHOICES, ModelConfig
from mobilenets.config.values import coerce
from mobilenets.models import MODELS, create_model
from mobilenets.net_options import NET_OPTIONS

NETS = CHOICES[ModelConfig]
ALWAYS = {"name", "weights", "freeze", "unfreeze"}  # settings that are no options of the net
FROM_DATA = {"num_classes", "in_channels"}  # null = the data's


def train(*overrides):
    return compose(TrainConfig, Source("train"), list(overrides)).config


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_every_option_of_a_net_is_a_setting_with_the_type_meaning_and_range_of_the_table(name):
    fields = {field.name: field for field in dataclasses.fields(NETS[name])}
    assert set(fields) - ALWAYS == set(signature(MODELS[name]).parameters)
    types = get_type_hints(NETS[name])
    for key in set(fields) - ALWAYS:
        option, metadata = NET_OPTIONS[key], dict(fields[key].metadata)
        assert metadata.pop("meaning").startswith(option.meaning)
        assert types[key] == (option.type | None if key in FROM_DATA else option.type), key
        if key != "num_classes":  # a net with 0 classes has no classifier to train
            assert metadata == option.limits, key


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_python_and_the_command_line_accept_the_same_values(name):
    types = get_type_hints(NETS[name])
    fields = {field.name: field.metadata for field in dataclasses.fields(NETS[name])}
    numbers = [key for key in NET_OPTIONS if NET_OPTIONS[key].limits and key in types]
    checked = 0
    for key in set(numbers) - {"num_classes", "strides", "stages"}:
        for value in (-1, -0.5, 0, 0.0, 0.5, 1, 1.0, 1.5, 2, 2**40, float("inf"), float("nan")):
            in_python = accepts(NET_OPTIONS[key].check, key, value)
            assert accepts(coerce, types[key], value, fields[key]) == in_python, (key, value)
            checked += 1
    assert checked > 50
    assert train("model.dropout=1.0").model.dropout == 1


def accepts(check, *arguments):
    try:
        check(*arguments)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=mobilenet_v1"],
        ["model=mobilenet_v1", "model.shallow=true"],
        ["model=mobilenet_v2"],
        ["model=mobilenet_v2", "model.stages=[[1,16,1,1],[1.5,24,2,2]]"],
    ],
)
def test_a_net_takes_as_many_strides_as_its_config_says(overrides):
    model = train(*overrides).model
    options = model.options(10, 1)
    with torch.device("meta"):
        create_model(**options | {"strides": [1] * model.num_strides()})
        for count in (model.num_strides() - 1, model.num_strides() + 1):
            with pytest.raises(ValueError, match=rf"takes {model.num_strides()}\b"):
                create_model(**options | {"strides": [1] * count})


def test_a_third_net_is_not_held_to_the_strides_of_another(monkeypatch):
    @dataclass
    class UnknownConfig(ModelConfig):
        """Leaves the number of strides to the constructor."""

    @dataclass
    class KnownConfig(ModelConfig):
        """Knows the number of strides."""

        def num_strides(self):
            return 3

    values = to_dict(train())
    own = {field.name for field in dataclasses.fields(ModelConfig)}
    model = {key: value for key, value in values["model"].items() if key in own}
    model |= {"name": "tiny", "strides": [1, 1, 2]}
    monkeypatch.setitem(NETS, "tiny", UnknownConfig)
    assert from_dict(TrainConfig, values | {"model": model}).model.strides == [1, 1, 2]
    monkeypatch.setitem(NETS, "tiny", KnownConfig)
    assert from_dict(TrainConfig, values | {"model": model}).model.strides == [1, 1, 2]
    with pytest.raises(ConfigError, match=r"^model.strides: has 2 values but needs 3"):
        from_dict(TrainConfig, values | {"model": model | {"strides": [1, 1]}})
