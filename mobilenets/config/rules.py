"""What settings must be together: rules over a whole config, each settled before torch is loaded.

A rule yields (setting, what is wrong) pairs. It runs when the settings it reads are sound.
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

Wrong = Iterator[tuple[str, str]]


def check_groups(config: TrainConfig) -> Wrong:
    """The size of the groups belongs to grouped convolutions."""
    model, key = config.model, "model.channels_per_group"
    if model.conv == "grouped" and model.channels_per_group is None:
        yield key, "model.conv=grouped needs it, e.g. model.channels_per_group=8"
    if model.conv != "grouped" and model.channels_per_group is not None:
        yield key, f"is for model.conv=grouped, and that is {model.conv}"


def check_kernels(config: TrainConfig) -> Wrong:
    """A full convolution has one kernel for each pair of channels."""
    model = config.model
    kernels = model.kernels_per_layer if isinstance(model, MobileNetV1Config) else 1
    if model.conv == "full" and kernels > 1:
        yield "model.kernels_per_layer", "has to be 1 with model.conv=full"


def check_strides(config: TrainConfig) -> Wrong:
    """Rows of Table 2 have four numbers; explicit strides are as many as stem and stages."""
    model = config.model
    layers = 14
    if isinstance(model, MobileNetV1Config) and model.shallow:
        layers = 9
    if isinstance(model, MobileNetV2Config):
        layers = 1 + len(model.stages)
        if not model.stages or any(len(row) != 4 for row in model.stages):
            yield "model.stages", "each row is [expand_ratio, channels, blocks, stride]"
    if isinstance(model.strides, list) and len(model.strides) != layers:
        yield "model.strides", f"has {len(model.strides)} values, and {layers} are needed"


def check_channels(config: TrainConfig) -> Wrong:
    """The net takes the images as they are."""
    asked, found = config.model.in_channels, config.data.in_channels
    if asked not in (None, found):
        yield "model.in_channels", f"{asked}, and data.in_channels is {found}; leave it null"


def check_classes(config: TrainConfig) -> Wrong:
    """Names, images and net agree on the number of classes; a name is used once."""
    data, names = config.data, config.data.class_names
    asked, found = config.model.num_classes, None if names is None else len(names)
    if names is not None and (twice := {name for name in names if names.count(name) > 1}):
        yield "data.class_names", f"{min(twice)!r} stands there twice"
    if isinstance(data, FakeConfig) and found not in (None, data.num_classes):
        yield "data.class_names", f"{found} names, and data.num_classes is {data.num_classes}"
    if isinstance(data, FakeConfig):
        found = data.num_classes
    if None not in (asked, found) and asked != found:
        yield "model.num_classes", f"{asked}, and the data has {found} classes; leave it null"


def check_statistics(config: TrainConfig) -> Wrong:
    """A mean and a deviation for each channel, or one for all."""
    for key in ("mean", "std"):
        count, channels = len(getattr(config.data, key)), config.data.in_channels
        if count not in (1, channels):
            yield f"data.{key}", f"has {count} values, and data.in_channels is {channels}"


def check_fractions(config: TrainConfig) -> Wrong:
    """Something is left to train on."""
    data = config.data
    if (
        isinstance(data, DigitsConfig | FolderConfig)
        and data.val_fraction + data.test_fraction >= 1
    ):
        yield "data.val_fraction", "leaves nothing to train on, with data.test_fraction"


def check_crops(config: TrainConfig) -> Wrong:
    """Ranges go upwards."""
    augment = config.data.augment
    if isinstance(augment, LargeAugmentConfig):
        for key in ("scale", "ratio"):
            low, high = getattr(augment, key)
            if low > high:
                yield f"data.augment.{key}", f"[{low}, {high}] goes downwards: smallest first"


def check_freeze(config: TrainConfig) -> Wrong:
    """What is frozen is trained."""
    model = config.model
    if model.freeze not in ("none", 0) and model.weights is None:
        yield "model.freeze", "would freeze random weights; give trained ones, model.weights=PATH"


def check_unfreeze(config: TrainConfig) -> Wrong:
    """Blocks thaw one after another, where some are frozen; on one device."""
    freeze, rows, key = config.model.freeze, config.model.unfreeze, "model.unfreeze"
    devices = config.trainer.devices
    if rows is None:
        return
    if not rows or any(len(row) != 2 for row in rows):
        yield key, "each row is [epoch, blocks still frozen from then on]"
        return
    epochs, blocks = [epoch for epoch, _ in rows], [count for _, count in rows]
    if any(a >= b for a, b in pairwise([0, *epochs])):
        yield key, f"the epochs {epochs} have to rise, from 1 or later"
    if freeze in ("none", 0):
        yield key, "nothing is frozen: model.freeze has to be backbone or a number of blocks"
    elif any(a <= b for a, b in pairwise([freeze, *blocks] if isinstance(freeze, int) else blocks)):
        yield key, f"the blocks {blocks} have to fall, below model.freeze={freeze}"
    if isinstance(devices, int) and devices > 1:
        yield key, f"works on one device, and trainer.devices is {devices}"


def check_nesterov(config: TrainConfig) -> Wrong:
    """Nesterov's form is one of momentum."""
    optimizer = config.optimizer
    if isinstance(optimizer, SGDConfig) and optimizer.nesterov and optimizer.momentum == 0:
        yield "optimizer.nesterov", "needs optimizer.momentum above 0"


def check_schedule_fits(config: TrainConfig) -> Wrong:
    """The schedule fits into the run."""
    schedule, trainer = config.schedule, config.trainer
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs < schedule.warmup_epochs:
        yield (
            "schedule.warmup_epochs",
            f"{schedule.warmup_epochs:g}, and trainer.max_epochs is {trainer.max_epochs}",
        )
    if isinstance(schedule, CosineConfig) and trainer.max_epochs == trainer.max_steps == -1:
        yield "trainer.max_epochs", "schedule=cosine needs an end: give it or trainer.max_steps"
    milestones = schedule.milestones or [] if isinstance(schedule, StepConfig) else []
    if any(a >= b for a, b in pairwise(milestones)):
        yield "schedule.milestones", f"{milestones} has to rise"


def check_epoch_limits(config: TrainConfig) -> Wrong:
    """A run can't be longer than it may."""
    low, high = config.trainer.min_epochs, config.trainer.max_epochs
    if low is not None and high is not None and 0 <= high < low:
        yield "trainer.min_epochs", f"{low}, and trainer.max_epochs is {high}"


def check_early_stopping(config: TrainConfig) -> Wrong:
    """Early stopping watches the validation."""
    if config.early_stopping is not None and config.trainer.limit_val_batches == 0:
        yield "early_stopping", "watches val/top1, and trainer.limit_val_batches is 0"


def check_quantization(config: TrainConfig) -> Wrong:
    """Int8 is imitated in float32, by layers in training mode, which observe their inputs."""
    trainer, freeze, key = config.trainer, config.model.freeze, "quantization_aware"
    if not config.quantization_aware:
        return
    if trainer.precision not in (None, "32-true", "32", 32):
        yield key, f"imitates int8 in 32-true, and trainer.precision is {trainer.precision}"
    if config.compile:
        yield key, "is not compiled, and compile is true"
    if freeze not in ("none", 0):
        yield key, f"trains all layers, and model.freeze is {freeze}; leave it none"
    if config.ema_decay is not None:
        yield key, f"evaluates the weights themselves, and ema_decay is {config.ema_decay:g}"


TRAIN_RULES: dict[Callable[[TrainConfig], Wrong], tuple[str, ...]] = {  # rule -> what it reads
    check_groups: ("model.conv", "model.channels_per_group"),
    check_kernels: ("model.conv", "model.kernels_per_layer"),
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
