"""The YAML files in configs/: all of them compose, and they are what they say."""

import inspect
import re

import pytest

from mobilenets.config import EvalConfig, TrainConfig
from mobilenets.config.checks import chosen
from mobilenets.config.compose import CONFIGS, Command, Source, compose

EXPERIMENTS = sorted(path.stem for path in CONFIGS.glob("experiment/*.yaml"))
CHOICES = [
    f"{path.parent.name}={path.stem}"
    for group in [*chosen(TrainConfig), "trainer"]
    for path in sorted(CONFIGS.glob(f"{group}/*.yaml"))
]


def train(*overrides):
    return compose(TrainConfig, Command(Source(CONFIGS, "train"), list(overrides))).config


def rooted(choice):
    """`choice` with what it needs besides."""
    return [choice, "data.root=/x"] if re.search("folder|imagenet", choice) else [choice]


def test_every_choice_composes_and_is_sound():
    assert len(CHOICES) == 2 + 6 + 3 + 3 + 1
    for choice in CHOICES:
        group, name = choice.split("=")
        section = getattr(train(*rooted(choice)), group)
        assert group == "trainer" or section.name == name


def test_every_experiment_composes_and_is_sound():
    assert len(EXPERIMENTS) == 7
    for name in EXPERIMENTS:
        weights = ["model.weights=w.pth"] if "finetune" in name else []
        config = train(*rooted(f"experiment={name}"), *weights)
        assert config.model.name in name or name in ("digits", "finetune_folder", "qat")


def test_every_experiment_states_command_cost_and_result():
    for name in EXPERIMENTS:
        text = (CONFIGS / "experiment" / f"{name}.yaml").read_text()
        header = text[: text.index("\ndefaults:")]
        assert re.search(rf"^# Command: python train.py experiment={name}\b", header, re.M), name
        assert re.search(r"^# Cost: +\S", header, re.M), name
        result = re.search(r"^# Result: +(.+)", header, re.M)
        assert result and re.search(r"\d %|not measured", result[1]), name


def test_every_file_says_in_its_first_comment_what_it_is():
    files = sorted(CONFIGS.rglob("*.yaml"))
    assert len(files) == 4 + 15 + 7 + 3
    for path in files:
        comments = [line for line in path.read_text().splitlines() if not line.startswith("# @")]
        assert comments[0].startswith("# "), path


def test_the_values_of_an_experiment_go_over_those_of_its_choices():
    config = train("experiment=imagenet_mobilenet_v2", "data.root=/x", "optimizer.lr=0.02")
    assert (config.data.batch_size, config.optimizer.lr) == (96, 0.02)
    assert (config.schedule.gamma, config.schedule.interval) == (0.98, "epoch")
    assert config.ema_decay == 0.9999


def test_the_main_job_is_mobilenet_v1_on_digits():
    config = train()
    assert (config.model.name, config.data.name) == ("mobilenet_v1", "digits")


def test_eval_needs_nothing_but_a_checkpoint():
    command = Command(Source(CONFIGS, "eval"), ["checkpoint=best.ckpt"])
    config = compose(EvalConfig, command).config
    assert (config.checkpoint, config.split) == ("best.ckpt", "test")


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_the_values_of_a_net_are_its_constructors_defaults(name):
    from mobilenets import models

    cls = {"mobilenet_v1": models.MobileNetV1, "mobilenet_v2": models.MobileNetV2}[name]
    values = train(f"model={name}", "data=imagenet", "data.root=/x").model.options(1000, 3)
    assert values.pop("name") == name
    assert values == {
        key: [list(row) for row in parameter.default] if key == "stages" else parameter.default
        for key, parameter in inspect.signature(cls).parameters.items()
    }


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
