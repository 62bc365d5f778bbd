"""Check settings against each other: rules over a whole config, which need no torch.

A rule yields (key, problem) pairs. It runs if the settings that it reads are valid by themselves.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

from mobilenets.config.groups import (
    CosineConfig,
    DigitsConfig,
    FakeConfig,
    FolderConfig,
    LargeAugmentConfig,
    MobileNetV1Config,
    MobileNetV2Config,
    SGDConfig,
    StepConfig,
)
from mobilenets.config.schema import TrainConfig

Problems = Iterator[tuple[str, str]]


def check_groups(config: TrainConfig) -> Problems:
    """Check that grouped convolutions, and only they, have a group size."""
    model, key = config.model, "model.channels_per_group"
    if model.conv == "grouped" and model.channels_per_group is None:
        yield key, "model.conv=grouped needs it, e.g. model.channels_per_group=8"
    if model.conv != "grouped" and model.channels_per_group is not None:
        yield key, f"is only for model.conv=grouped, but model.conv is {model.conv}"


def check_kernels(config: TrainConfig) -> Problems:
    """Check that full convolutions have one kernel for each pair of channels."""
    model = config.model
    kernels = model.kernels_per_layer if isinstance(model, MobileNetV1Config) else 1
    if model.conv == "full" and kernels > 1:
        yield "model.kernels_per_layer", "must be 1 with model.conv=full"


def check_stages(config: TrainConfig) -> Problems:
    """Check that each stage has four numbers, of which only the ratio may be a fraction."""
    stages = config.model.stages if isinstance(config.model, MobileNetV2Config) else None
    if stages is not None and not (stages and all(map(_is_stage, stages))):
        yield "model.stages", "each row is [expand_ratio, channels, blocks, stride]"


def _is_stage(row: list[int | float]) -> bool:
    return len(row) == 4 and all(isinstance(number, int) for number in row[1:])


def check_strides(config: TrainConfig) -> Problems:
    """Check that a list of strides has as many as the net needs."""
    strides, needed = config.model.strides, config.model.num_strides()
    if isinstance(strides, list) and needed is not None and len(strides) != needed:
        yield "model.strides", f"has {len(strides)} values but needs {needed}"


def check_channels(config: TrainConfig) -> Problems:
    """Check that the net takes images with the data's number of channels."""
    expected, found = config.model.in_channels, config.data.in_channels
    if expected not in (None, found):
        yield "model.in_channels", f"is {expected}, but data.in_channels is {found}; leave it null"


def check_classes(config: TrainConfig) -> Problems:
    """Check that class names are unique, and that names, data and net have as many classes."""
    data, names = config.data, config.data.class_names
    wanted, actual = config.model.num_classes, None if names is None else len(names)
    if names is not None and (repeated := {name for name in names if names.count(name) > 1}):
        yield "data.class_names", f"contains {min(repeated)!r} twice"
    if isinstance(data, FakeConfig) and actual not in (None, data.num_classes):
        yield "data.class_names", f"has {actual} names, but data.num_classes is {data.num_classes}"
    if isinstance(data, FakeConfig):
        actual = data.num_classes
    if None not in (wanted, actual) and wanted != actual:
        yield "model.num_classes", f"is {wanted}, but the data has {actual} classes; leave it null"


def check_statistics(config: TrainConfig) -> Problems:
    """Check that mean and std have one value per channel, or one for all."""
    for key in ("mean", "std"):
        count, channels = len(getattr(config.data, key)), config.data.in_channels
        if count not in (1, channels):
            yield f"data.{key}", f"has {count} values, but data.in_channels is {channels}"


def check_fractions(config: TrainConfig) -> Problems:
    """Check that the other splits leave training images."""
    data = config.data
    if (
        isinstance(data, DigitsConfig | FolderConfig)
        and data.val_fraction + data.test_fraction >= 1
    ):
        yield "data.val_fraction", "leaves no training images, together with data.test_fraction"


def check_crops(config: TrainConfig) -> Problems:
    """Check that ranges rise."""
    augment = config.data.augment
    if isinstance(augment, LargeAugmentConfig):
        for key in ("scale", "ratio"):
            low, high = getattr(augment, key)
            if low > high:
                yield f"data.augment.{key}", f"[{low}, {high}] falls: put the minimum first"


def check_freeze(config: TrainConfig) -> Problems:
    """Check that only trained weights are frozen."""
    model = config.model
    if model.freeze not in ("none", 0) and model.weights is None:
        yield "model.freeze", "would freeze random weights; set trained ones, model.weights=PATH"


def check_unfreeze(config: TrainConfig) -> Problems:
    """Check that epochs rise and frozen blocks fall, on one device."""
    freeze, rows, key = config.model.freeze, config.model.unfreeze, "model.unfreeze"
    devices = config.trainer.devices
    if rows is None:
        return
    if not rows or any(len(row) != 2 for row in rows):
        yield key, "each row is [epoch, blocks still frozen from then on]"
        return
    epochs, blocks = [epoch for epoch, _ in rows], [count for _, count in rows]
    if any(a >= b for a, b in pairwise([0, *epochs])):
        yield key, f"the epochs {epochs} must rise, starting at 1 or later"
    if freeze in ("none", 0):
        yield key, "nothing is frozen: set model.freeze to backbone or a number of blocks"
    elif any(a <= b for a, b in pairwise([freeze, *blocks] if isinstance(freeze, int) else blocks)):
        yield key, f"the blocks {blocks} must fall, starting below model.freeze={freeze}"
    if isinstance(devices, int) and devices > 1:
        yield key, f"needs a single device, but trainer.devices is {devices}"


def check_nesterov(config: TrainConfig) -> Problems:
    """Check that Nesterov momentum has momentum."""
    optimizer = config.optimizer
    if isinstance(optimizer, SGDConfig) and optimizer.nesterov and optimizer.momentum == 0:
        yield "optimizer.nesterov", "needs optimizer.momentum above 0"


def check_schedule_fits(config: TrainConfig) -> Problems:
    """Check that the schedule fits the length of the run."""
    schedule, trainer = config.schedule, config.trainer
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs < schedule.warmup_epochs:
        yield (
            "schedule.warmup_epochs",
            f"is {schedule.warmup_epochs:g}, but trainer.max_epochs is {trainer.max_epochs}",
        )
    if isinstance(schedule, CosineConfig) and trainer.max_epochs == trainer.max_steps == -1:
        yield "trainer.max_epochs", "schedule=cosine needs a limit: set this or trainer.max_steps"
    milestones = schedule.milestones or [] if isinstance(schedule, StepConfig) else []
    if any(a >= b for a, b in pairwise(milestones)):
        yield "schedule.milestones", f"{milestones} must rise"


def check_epoch_limits(config: TrainConfig) -> Problems:
    """Check that the minimum number of epochs is not above the maximum."""
    low, high = config.trainer.min_epochs, config.trainer.max_epochs
    if low is not None and high is not None and 0 <= high < low:
        yield "trainer.min_epochs", f"is {low}, but trainer.max_epochs is {high}"


def check_early_stopping(config: TrainConfig) -> Problems:
    """Check that early stopping has a validation to watch."""
    if config.early_stopping is not None and config.trainer.limit_val_batches == 0:
        yield "early_stopping", "watches val/top1, but trainer.limit_val_batches is 0"


def check_quantization(config: TrainConfig) -> Problems:
    """Check that all layers train in float32, uncompiled, as simulating int8 requires."""
    trainer, freeze, key = config.trainer, config.model.freeze, "quantization_aware"
    if not config.quantization_aware:
        return
    if trainer.precision not in (None, "32-true", "32", 32):
        yield key, f"needs 32-true, but trainer.precision is {trainer.precision}"
    if config.compile:
        yield key, "can't be compiled, but compile is true"
    if freeze not in ("none", 0):
        yield key, f"trains all layers, but model.freeze is {freeze}; leave it none"
    if config.ema_decay is not None:
        yield key, f"evaluates the weights without EMA, but ema_decay is {config.ema_decay:g}"


TRAIN_RULES: dict[Callable[[TrainConfig], Problems], tuple[str, ...]] = {  # rule -> keys it reads
    check_groups: ("model.conv", "model.channels_per_group"),
    check_kernels: ("model.conv", "model.kernels_per_layer"),
    check_stages: ("model.stages",),
    check_strides: ("model.stages", "model.strides", "model.shallow"),
    check_channels: ("model.in_channels", "data.in_channels"),
    check_classes: ("model.num_classes", "data.class_names", "data.num_classes"),
    check_statistics: ("data.mean", "data.std", "data.in_channels"),
    check_fractions: ("data.val_fraction", "data.test_fraction"),
    check_crops: ("data.augment.scale", "data.augment.ratio"),
    check_freeze: ("model.freeze", "model.weights"),
    check_unfreeze: ("model.freeze", "model.unfreeze", "trainer.devices"),
    check_nesterov: ("optimizer.momentum", "optimizer.nesterov"),
    check_schedule_fits: (
        "schedule.warmup_epochs",
        "schedule.milestones",
        "trainer.max_epochs",
        "trainer.max_steps",
    ),
    check_epoch_limits: ("trainer.min_epochs", "trainer.max_epochs"),
    check_early_stopping: ("early_stopping", "trainer.limit_val_batches"),
    check_quantization: (
        "quantization_aware",
        "trainer.precision",
        "compile",
        "model.freeze",
        "ema_decay",
    ),
}
