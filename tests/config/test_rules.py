import inspect

import pytest

from mobilenets.config import ConfigError, TrainConfig, rules
from mobilenets.config.checks import list_keys
from mobilenets.config.compose import Source, compose

BREACHES = {
    "check_groups": [
        (
            ["model.conv=grouped"],
            "model.channels_per_group: model.conv=grouped needs it, "
            "e.g. model.channels_per_group=8",
        ),
        (
            ["model.channels_per_group=8"],
            "model.channels_per_group: is only for model.conv=grouped, but model.conv is depthwise",
        ),
    ],
    "check_kernels": [
        (
            ["model.conv=full", "model.kernels_per_layer=2"],
            "model.kernels_per_layer: must be 1 with model.conv=full",
        )
    ],
    "check_stages": [
        (
            ["model=mobilenet_v2", f"model.stages={stages}"],
            "model.stages: each row is [expand_ratio, channels, blocks, stride]",
        )
        for stages in ("[]", "[[1,16,1]]", "[[1,16.5,1,1]]")
    ],
    "check_strides": [
        (["model.strides=[1,2]"], "model.strides: has 2 values but needs 14"),
        (
            ["model.shallow=true", "model.strides=[1,2]"],
            "model.strides: has 2 values but needs 9",
        ),
        (
            ["model=mobilenet_v2", "model.strides=[1,2]"],
            "model.strides: has 2 values but needs 8",
        ),
    ],
    "check_channels": [
        (
            ["model.in_channels=3"],
            "model.in_channels: is 3, but data.in_channels is 1; leave it null",
        )
    ],
    "check_classes": [
        (
            ["model.num_classes=5"],
            "model.num_classes: is 5, but the data has 10 classes; leave it null",
        ),
        (
            ["data=fake", "model.num_classes=5"],
            "model.num_classes: is 5, but the data has 10 classes; leave it null",
        ),
        (
            ["data=fake", "data.class_names=[a,b]"],
            "data.class_names: has 2 names, but data.num_classes is 10",
        ),
        (["data.class_names=[a,b,a]"], "data.class_names: contains 'a' twice"),
    ],
    "check_statistics": [
        (["data.mean=[0.5,0.5]"], "data.mean: has 2 values, but data.in_channels is 1"),
        (
            ["data=cifar10", "data.std=[0.5,0.5]"],
            "data.std: has 2 values, but data.in_channels is 3",
        ),
    ],
    "check_fractions": [
        (
            ["data.val_fraction=0.5", "data.test_fraction=0.5"],
            "data.val_fraction: leaves no training images, together with data.test_fraction",
        )
    ],
    "check_crops": [
        (
            ["data=folder", "data.root=/x", "data.augment.scale=[1,0.5]"],
            "data.augment.scale: [1.0, 0.5] falls: put the minimum first",
        )
    ],
    "check_freeze": [
        (
            ["model.freeze=backbone"],
            "model.freeze: would freeze random weights; set trained ones, model.weights=PATH",
        ),
        (
            ["model.freeze=3"],
            "model.freeze: would freeze random weights; set trained ones, model.weights=PATH",
        ),
    ],
    "check_unfreeze": [
        (
            ["model.weights=w.pth", "model.freeze=backbone", "model.unfreeze=[[2,4,0]]"],
            "model.unfreeze: each row is [epoch, blocks still frozen from then on]",
        ),
        (
            ["model.weights=w.pth", "model.freeze=backbone", "model.unfreeze=[]"],
            "model.unfreeze: each row is [epoch, blocks still frozen from then on]",
        ),
        (
            ["model.weights=w.pth", "model.freeze=backbone", "model.unfreeze=[[0,4]]"],
            "model.unfreeze: the epochs [0] must rise, starting at 1 or later",
        ),
        (
            ["model.weights=w.pth", "model.freeze=backbone", "model.unfreeze=[[2,4],[2,0]]"],
            "model.unfreeze: the epochs [2, 2] must rise, starting at 1 or later",
        ),
        (
            ["model.unfreeze=[[2,0]]"],
            "model.unfreeze: nothing is frozen: set model.freeze to backbone or a number of blocks",
        ),
        (
            ["model.weights=w.pth", "model.freeze=backbone", "model.unfreeze=[[2,4],[3,4]]"],
            "model.unfreeze: the blocks [4, 4] must fall, starting below model.freeze=backbone",
        ),
        (
            ["model.weights=w.pth", "model.freeze=3", "model.unfreeze=[[2,3]]"],
            "model.unfreeze: the blocks [3] must fall, starting below model.freeze=3",
        ),
        (
            [
                "model.weights=w.pth",
                "model.freeze=backbone",
                "model.unfreeze=[[2,0]]",
                "trainer.devices=2",
            ],
            "model.unfreeze: needs a single device, but trainer.devices is 2",
        ),
    ],
    "check_nesterov": [
        (["optimizer.momentum=0"], "optimizer.nesterov: needs optimizer.momentum above 0")
    ],
    "check_schedule_fits": [
        (
            ["schedule.warmup_epochs=30"],
            "schedule.warmup_epochs: is 30, but trainer.max_epochs is 20",
        ),
        (
            ["trainer.max_epochs=-1"],
            "trainer.max_epochs: schedule=cosine needs a limit: set this or trainer.max_steps",
        ),
        (
            ["schedule=step", "schedule.milestones=[3,2]"],
            "schedule.milestones: [3.0, 2.0] must rise",
        ),
    ],
    "check_epoch_limits": [
        (["trainer.min_epochs=30"], "trainer.min_epochs: is 30, but trainer.max_epochs is 20")
    ],
    "check_early_stopping": [
        (
            ["early_stopping=3", "trainer.limit_val_batches=0"],
            "early_stopping: watches val/top1, but trainer.limit_val_batches is 0",
        )
    ],
    "check_quantization": [
        (
            ["quantization_aware=true", "trainer.precision=bf16-mixed"],
            "quantization_aware: needs 32-true, but trainer.precision is bf16-mixed",
        ),
        (
            ["quantization_aware=true", "compile=true"],
            "quantization_aware: can't be compiled, but compile is true",
        ),
        (
            ["quantization_aware=true", "model.weights=w.pth", "model.freeze=3"],
            "quantization_aware: trains all layers, but model.freeze is 3; leave it none",
        ),
        (
            ["quantization_aware=true", "ema_decay=0.99"],
            "quantization_aware: evaluates the weights without EMA, but ema_decay is 0.99",
        ),
    ],
}


def problems(*overrides):
    with pytest.raises(ConfigError) as error:
        compose(TrainConfig, Source("train"), list(overrides))
    return error.value.problems


@pytest.mark.parametrize(
    ("overrides", "sentence"), [case for cases in BREACHES.values() for case in cases]
)
def test_a_broken_rule_is_reported_in_one_sentence(overrides, sentence):
    assert problems(*overrides) == [sentence]


def test_every_rule_is_tested():
    assert set(BREACHES) == {rule.__name__ for rule in rules.TRAIN_RULES}
    defined = inspect.getmembers(rules, inspect.isgeneratorfunction)
    assert {name for name, _ in defined} == set(BREACHES)


def test_the_settings_that_rules_read_exist():
    known = set()
    for choices in (
        {"model": "mobilenet_v1", "data": "digits"},
        {"model": "mobilenet_v2", "data": "folder", "schedule": "step", "optimizer": "sgd"},
        {"data": "fake"},
    ):
        known |= set(list_keys(TrainConfig, {key: {"name": name} for key, name in choices.items()}))
    for reads in rules.TRAIN_RULES.values():
        assert set(reads) <= known


def test_a_rule_does_not_run_on_invalid_settings():
    assert problems("data.std=[0]", "data.mean=[0.5,0.5]") == [
        "data.std: 0 is out of range (above 0)"
    ]
