"""The YAML files in configs/: all of them compose, and their comments are true."""

import inspect
import json
import re

import pytest

from mobilenets.config import ConfigError, EvalConfig, TrainConfig
from mobilenets.config.checks import list_groups
from mobilenets.config.compose import CONFIGS, Source, compose
from mobilenets.models import MODELS

EXPERIMENTS = sorted(path.stem for path in CONFIGS.glob("experiment/*.yaml"))
CHOICES = [
    f"{path.parent.name}={path.stem}"
    for group in [*list_groups(TrainConfig), "trainer"]
    for path in sorted(CONFIGS.glob(f"{group}/*.yaml"))
]


def train(*overrides):
    return compose(TrainConfig, Source("train"), list(overrides)).config


def train_with(choice):
    """The config of `choice`, given the paths that only a command line knows: data and weights."""
    paths = {"data.root": "/x", "model.weights": "w.pth"}
    try:
        return train(choice)
    except ConfigError as error:
        missing = [key for key in paths if f"{key}=" in str(error)]  # the fix that it names
        return train(choice, *(f"{key}={paths[key]}" for key in missing))


def test_every_choice_composes_and_is_valid():
    assert len(CHOICES) >= 2 + 6 + 3 + 3 + 1
    for choice in CHOICES:
        group, name = choice.split("=")
        section = getattr(train_with(choice), group)
        assert group == "trainer" or section.name == name


def test_every_experiment_composes_and_is_valid():
    assert len(EXPERIMENTS) >= 7
    for name in EXPERIMENTS:
        config = train_with(f"experiment={name}")
        nets = [net for net in MODELS if net in name]
        assert not nets or config.model.name in nets, name


def test_every_experiment_states_command_cost_and_result():
    for name in EXPERIMENTS:
        text = (CONFIGS / "experiment" / f"{name}.yaml").read_text()
        header = text[: text.index("\ndefaults:")]
        assert re.search(rf"^# Command: python train.py experiment={name}\b", header, re.M), name
        assert re.search(r"^# Cost: +\S", header, re.M), name
        result = re.search(r"^# Result: +(.+)", header, re.M)
        assert result and re.search(r"\d %|not measured", result[1]), name


def test_every_file_begins_with_a_comment_that_describes_it():
    files = sorted(CONFIGS.rglob("*.yaml"))
    assert len(files) >= 4 + len(CHOICES) + len(EXPERIMENTS)
    for path in files:
        comments = [line for line in path.read_text().splitlines() if not line.startswith("# @")]
        assert comments[0].startswith("# "), path


def test_an_experiment_overrides_the_values_of_its_choices():
    config = train("experiment=imagenet_mobilenet_v2", "data.root=/x", "optimizer.lr=0.02")
    assert (config.data.batch_size, config.optimizer.lr) == (96, 0.02)
    assert (config.schedule.gamma, config.schedule.interval) == (0.98, "epoch")
    assert config.ema_decay == 0.9999


def test_the_main_job_is_mobilenet_v1_on_digits():
    config = train()
    assert (config.model.name, config.data.name) == ("mobilenet_v1", "digits")


def test_eval_needs_nothing_but_a_checkpoint():
    config = compose(EvalConfig, Source("eval"), ["checkpoint=best.ckpt"]).config
    assert (config.checkpoint, config.split) == ("best.ckpt", "test")


@pytest.mark.parametrize("name", MODELS)
def test_the_values_of_a_net_are_its_constructors_defaults(name):
    values = train(f"model={name}", "data=imagenet", "data.root=/x").model.options(1000, 3)
    assert values.pop("name") == name
    parameters = inspect.signature(MODELS[name]).parameters
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    assert values == json.loads(json.dumps(defaults))  # tuples become lists


def test_the_digits_statistics_are_those_of_the_scans():
    from sklearn.datasets import load_digits

    scans = load_digits().images / 16
    data = train().data
    assert data.mean == pytest.approx([scans.mean()], abs=1e-3)
    assert data.std == pytest.approx([scans.std()], abs=1e-3)


@pytest.mark.parametrize(("name", "count"), [("digits", 10), ("cifar10", 10), ("cifar100", 100)])
def test_class_names_are_complete(name, count):
    names = train(f"data={name}").data.class_names
    assert len(set(names)) == len(names) == count
    assert names == sorted(names)  # the order of the labels, in all three
