import inspect

import pytest

from mobilenets.config import ConfigError, TrainConfig, rules
from mobilenets.config.checks import keys
from mobilenets.config.compose import CONFIGS, Command, Source, compose

BREACHES = {
    "check_groups": [
        (
            ["model.conv=grouped"],
            "model.channels_per_group: model.conv=grouped needs it, "
            "e.g. model.channels_per_group=8",
        ),
        (
            ["model.channels_per_group=8"],
            "model.channels_per_group: is for model.conv=grouped, and that is depthwise",
        ),
    ],
    "check_kernels": [
        (
            ["model.conv=full", "model.kernels_per_layer=2"],
            "model.kernels_per_layer: has to be 1 with model.conv=full",
        )
    ],
    "check_strides": [
        (
            ["model=mobilenet_v2", "model.stages=[[1,16,1]]"],
            "model.stages: each row is [expand_ratio, channels, blocks, stride]",
        ),
        (["model.strides=[1,2]"], "model.strides: has 2 values, and 14 are needed"),
        (
            ["model.shallow=true", "model.strides=[1,2]"],
            "model.strides: has 2 values, and 9 are needed",
        ),
        (
            ["model=mobilenet_v2", "model.strides=[1,2]"],
            "model.strides: has 2 values, and 8 are needed",
        ),
    ],
    "check_channels": [
        (
            ["model.in_channels=3"],
            "model.in_channels: 3, and data.in_channels is 1; leave it null",
        )
    ],
    "check_classes": [
        (
            ["model.num_classes=5"],
            "model.num_classes: 5, and the data has 10 classes; leave it null",
        ),
        (
            ["data=fake", "model.num_classes=5"],
            "model.num_classes: 5, and the data has 10 classes; leave it null",
        ),
        (
            ["data=fake", "data.class_names=[a,b]"],
            "data.class_names: 2 names, and data.num_classes is 10",
        ),
        (["data.class_names=[a,b,a]"], "data.class_names: 'a' stands there twice"),
    ],
    "check_statistics": [
        (["data.mean=[0.5,0.5]"], "data.mean: has 2 values, and data.in_channels is 1"),
        (
            ["data=cifar10", "data.std=[0.5,0.5]"],
            "data.std: has 2 values, and data.in_channels is 3",
        ),
    ],
    "check_fractions": [
        (
            ["data.val_fraction=0.5", "data.test_fraction=0.5"],
            "data.val_fraction: leaves nothing to train on, with data.test_fraction",
        )
    ],
    "check_crops": [
        (
            ["data=folder", "data.root=/x", "data.augment.scale=[1,0.5]"],
            "data.augment.scale: [1.0, 0.5] goes downwards: smallest first",
        )
    ],
    "check_freeze": [
        (
            ["model.freeze=backbone"],
            "model.freeze: would freeze random weights; give trained ones, model.weights=PATH",
        ),
        (
            ["model.freeze=3"],
            "model.freeze: would freeze random weights; give trained ones, model.weights=PATH",
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
            "model.unfreeze: the epochs [0] have to rise, from 1 or later",
        ),
        (
            ["model.weights=w.pth", "model.freeze=backbone", "model.unfreeze=[[2,4],[2,0]]"],
            "model.unfreeze: the epochs [2, 2] have to rise, from 1 or later",
        ),
        (
            ["model.unfreeze=[[2,0]]"],
            "model.unfreeze: nothing is frozen: model.freeze has to be backbone or a number of "
            "blocks",
        ),
        (
            ["model.weights=w.pth", "model.freeze=backbone", "model.unfreeze=[[2,4],[3,4]]"],
            "model.unfreeze: the blocks [4, 4] have to fall, below model.freeze=backbone",
        ),
        (
            ["model.weights=w.pth", "model.freeze=3", "model.unfreeze=[[2,3]]"],
            "model.unfreeze: the blocks [3] have to fall, below model.freeze=3",
        ),
        (
            [
                "model.weights=w.pth",
                "model.freeze=backbone",
                "model.unfreeze=[[2,0]]",
                "trainer.devices=2",
            ],
            "model.unfreeze: works on one device, and trainer.devices is 2",
        ),
    ],
    "check_nesterov": [
        (["optimizer.momentum=0"], "optimizer.nesterov: needs optimizer.momentum above 0")
    ],
    "check_schedule_fits": [
        (
            ["schedule.warmup_epochs=30"],
            "schedule.warmup_epochs: 30, and trainer.max_epochs is 20",
        ),
        (
            ["trainer.max_epochs=-1"],
            "trainer.max_epochs: schedule=cosine needs an end: give it or trainer.max_steps",
        ),
        (
            ["schedule=step", "schedule.milestones=[3,2]"],
            "schedule.milestones: [3.0, 2.0] has to rise",
        ),
    ],
    "check_epoch_limits": [
        (["trainer.min_epochs=30"], "trainer.min_epochs: 30, and trainer.max_epochs is 20")
    ],
    "check_early_stopping": [
        (
            ["early_stopping=3", "trainer.limit_val_batches=0"],
            "early_stopping: watches val/top1, and trainer.limit_val_batches is 0",
        )
    ],
    "check_quantization": [
        (
            ["quantization_aware=true", "trainer.precision=bf16-mixed"],
            "quantization_aware: imitates int8 in 32-true, and trainer.precision is bf16-mixed",
        ),
        (
            ["quantization_aware=true", "compile=true"],
            "quantization_aware: is not compiled, and compile is true",
        ),
        (
            ["quantization_aware=true", "model.weights=w.pth", "model.freeze=3"],
            "quantization_aware: trains all layers, and model.freeze is 3; leave it none",
        ),
        (
            ["quantization_aware=true", "ema_decay=0.99"],
            "quantization_aware: evaluates the weights themselves, and ema_decay is 0.99",
        ),
    ],
}


def problems(*overrides):
    with pytest.raises(ConfigError) as error:
        compose(TrainConfig, Command(Source(CONFIGS, "train"), list(overrides)))
    return error.value.problems


@pytest.mark.parametrize(
    ("overrides", "sentence"), [case for cases in BREACHES.values() for case in cases]
)
def test_a_breach_of_a_rule_is_one_sentence(overrides, sentence):
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
        known |= set(keys(TrainConfig, {key: {"name": name} for key, name in choices.items()}))
    for reads in rules.TRAIN_RULES.values():
        assert set(reads) <= known


def test_a_rule_is_silent_where_what_it_reads_is_wrong_already():
    assert problems("data.std=[0]", "data.mean=[0.5,0.5]") == [
        "data.std: 0 is out of range (above 0)"
    ]
