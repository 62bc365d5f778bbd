"""The settings of what can be chosen: model=, data=, optimizer=, schedule=.

A choice has a class here, found by its `name` in `CHOICES`, which says what its settings mean and
may be; its values stand in configs/<group>/<choice>.yaml. Nothing has a default here.
"""

# ruff: noqa: RUF009 (`setting` is dataclasses.field, with metadata)
import dataclasses
from dataclasses import dataclass
from typing import Any, Literal


def setting(meaning: str, **rules: Any) -> Any:
    """A field with its meaning and, as rules, what its values may be.

    Rules: above, at_least, below, at_most (bounds of a number, or of each number of a list),
    length (of a list), example (of a value that has to be given).
    """
    return dataclasses.field(metadata={"meaning": meaning, **rules})


# model=


@dataclass
class ModelConfig:
    """What both nets have."""

    name: str = setting("chosen with model=")
    num_classes: int | None = setting("null = as many as the data has", at_least=1)
    in_channels: int | None = setting("null = as the data has", at_least=1)
    width_mult: float = setting("multiplies the channels of every layer", above=0)
    dropout: float = setting("probability, before the classifier", at_least=0, below=1)
    activation: Literal[
        "relu6", "relu", "leaky_relu", "elu", "gelu", "silu", "mish", "hardswish"
    ] = setting("non-linearity after each convolution")
    bn_eps: float = setting("BatchNorm's epsilon (for TensorFlow's weights 1e-3)", above=0)
    bn_momentum: float = setting("share of a batch in BatchNorm's averages", at_least=0, at_most=1)
    padding: Literal["symmetric", "same"] = setting("same = as TensorFlow pads")
    output_stride: Literal[32, 16, 8] = setting("dilation replaces the strides beyond it")
    strides: Literal["imagenet", "cifar"] | list[int] = setting(
        "of stem and stages: a preset, or a number for each", at_least=1
    )
    conv: Literal["depthwise", "full", "grouped", "separable"] = setting(
        "spatial convolution of every block"
    )
    channels_per_group: int | None = setting("for conv=grouped", at_least=1)
    divisor: int = setting("the channels of every layer are multiples of it", at_least=1)
    weights: str | None = setting(
        "trained weights to start from: a file of any zoo, or a name (torchvision:, timm:, hf:)"
    )
    freeze: Literal["none", "backbone"] | int = setting(
        "what is left untrained: the backbone, or its stem and so many blocks", at_least=0
    )
    unfreeze: list[list[int]] | None = setting(
        "rows of epoch, blocks still frozen from then on; epochs count from 0", at_least=0
    )

    def options(self, num_classes: int, in_channels: int) -> dict[str, Any]:
        """What `create_model` takes, for data of so many classes and channels.

        Raises:
            ValueError: the config asks for another number of either.
        """
        options = dataclasses.asdict(self)
        for key in ("weights", "freeze", "unfreeze"):  # of the run, not of the net
            del options[key]
        for key, found in (("num_classes", num_classes), ("in_channels", in_channels)):
            if options[key] not in (None, found):
                raise ValueError(
                    f"model.{key}: {options[key]}, and the data has {found}; leave it null"
                )
            options[key] = found
        return options


@dataclass
class MobileNetV1Config(ModelConfig):
    """arXiv 1704.04861."""

    shallow: bool = setting("without the five 512-channel blocks at 14x14 (Table 5)")
    kernels_per_layer: int = setting("depthwise kernels for every channel", at_least=1)
    head_channels: int | None = setting("of a 1x1 convolution after the blocks", at_least=1)


@dataclass
class MobileNetV2Config(ModelConfig):
    """arXiv 1801.04381."""

    stages: list[list[int]] = setting(
        "rows of expand_ratio, channels, blocks, stride (Table 2)", at_least=1
    )
    bottleneck: Literal["linear", "relu6"] = setting("activation of the bottleneck (Figure 6a)")
    residual: Literal["bottleneck", "expansion", "none"] = setting(
        "what the shortcut joins (Figure 6b)"
    )


# data=


@dataclass
class MixConfig:
    """Augmentation that any data can have."""

    flip: float = setting("probability of a left-right flip", at_least=0, at_most=1)
    color_jitter: float = setting("strength of changes in colour; 0 = off", at_least=0)
    erasing: float = setting("probability of erasing a rectangle", at_least=0, at_most=1)
    mixup: float = setting("alpha of Mixup's beta distribution; 0 = off", at_least=0)
    cutmix: float = setting("alpha of CutMix's beta distribution; 0 = off", at_least=0)


@dataclass
class SmallAugmentConfig(MixConfig):
    """Of small images."""

    crop_padding: int = setting("pixels added around an image before cropping", at_least=0)


@dataclass
class LargeAugmentConfig(MixConfig):
    """Of large images."""

    scale: list[float] = setting(
        "smallest and largest share of the area to crop", length=2, above=0, at_most=1
    )
    ratio: list[float] = setting(
        "smallest and largest width / height of the crop", length=2, above=0
    )
    policy: Literal["randaugment", "trivialaugment"] | None = setting("automatic augmentation")
    magnitude: int = setting("strength of RandAugment", at_least=0, at_most=10)


@dataclass
class DataConfig:
    """What all data sets have."""

    name: str = setting("chosen with data=")
    strides: Literal["imagenet", "cifar"] = setting("strides that suit images of this size")
    class_names: list[str] | None = setting("in the labels' order; null = the folders' names")
    in_channels: Literal[1, 3] = setting("channels of an image: grey or colour")
    image_size: int = setting("height and width that the net sees", at_least=1)
    mean: list[float] = setting("of each channel, pixels being 0 to 1", at_least=0, at_most=1)
    std: list[float] = setting("of each channel, pixels being 0 to 1", above=0)
    crop_pct: float = setting("evaluation: centre crop / resized image", above=0, at_most=1)
    interpolation: Literal["nearest", "bilinear", "bicubic"] = setting("of all resizing")
    batch_size: int = setting("images in a step, on each device", at_least=1)
    num_workers: int | None = setting(
        "processes that load images; null = one a CPU, at most 8; any number gives the same run",
        at_least=0,
    )
    val_fraction: float = setting("share of train held out for validation", above=0, below=1)
    split_seed: int = setting("draws the held-out images", at_least=0)
    augment: MixConfig = setting("augmentation of training images")

    def options(self) -> dict[str, Any]:
        """What `ImageDataModule` takes."""
        options = dataclasses.asdict(self)
        del options["strides"]  # the net's
        return options


@dataclass
class SmallImagesConfig(DataConfig):
    """Kept in memory, augmented in batches on the device."""

    augment: SmallAugmentConfig = setting("augmentation of training images")


@dataclass
class LargeImagesConfig(DataConfig):
    """Decoded and augmented one by one, by workers."""

    augment: LargeAugmentConfig = setting("augmentation of training images")
    on_bad_image: Literal["error", "skip"] = setting(
        "error ends the run; skip makes the batch smaller, counts and reports"
    )


@dataclass
class DigitsConfig(SmallImagesConfig):
    """Scikit-learn's scans."""

    test_fraction: float = setting("share of all images that is the test split", above=0, below=1)


@dataclass
class CifarConfig(SmallImagesConfig):
    """The official python archives."""

    root: str = setting("folder of the archive, packed or unpacked", example="/data/cifar")
    download: bool = setting("fetch the archive when it is absent")
    verify: bool = setting("check the archive's checksums; false reads copies")


@dataclass
class FolderConfig(LargeImagesConfig):
    """Any tree with one folder for each class."""

    root: str = setting(
        "folder of class folders, or of train/ and perhaps val/, test/", example="/data/flowers"
    )
    test_fraction: float = setting("share that is tested on without a test/", above=0, below=1)


@dataclass
class ImageNetConfig(LargeImagesConfig):
    """ImageNet-1k, prepared as train/ and val/ with a folder for each wnid."""

    root: str = setting("folder of train/ and val/", example="/data/imagenet")


@dataclass
class FakeConfig(SmallImagesConfig):
    """Random images, for tests and speed."""

    num_samples: int = setting("training images; the test has a quarter as many", at_least=1)
    num_classes: int = setting("classes", at_least=2)


# optimizer=


@dataclass
class OptimizerConfig:
    """What all optimizers have."""

    name: str = setting("chosen with optimizer=")
    lr: float = setting("learning rate after the warm-up", above=0)
    weight_decay: float = setting("weight decay", at_least=0)
    decay_norm_and_bias: bool = setting("decay BatchNorm's parameters and biases too")
    decay_depthwise: bool = setting("decay depthwise filters too (V1 paper: little or none)")
    layer_decay: float | None = setting(
        "multiplies a layer's rate once for every layer after it", above=0, at_most=1
    )
    head_lr_mult: float = setting("multiplies the classifier's rate", above=0)


@dataclass
class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent."""

    momentum: float = setting("momentum", at_least=0, below=1)
    nesterov: bool = setting("Nesterov's form of it")


@dataclass
class RMSpropConfig(OptimizerConfig):
    """RMSprop in TensorFlow's form."""

    alpha: float = setting("decay of the average of squared gradients", at_least=0, below=1)
    momentum: float = setting("momentum", at_least=0, below=1)
    eps: float = setting("added to that average, inside the root", above=0)


@dataclass
class AdamWConfig(OptimizerConfig):
    """Adam with decoupled weight decay."""

    betas: list[float] = setting("decays of both averages", length=2, at_least=0, below=1)
    eps: float = setting("added to the denominator", above=0)


# schedule=


@dataclass
class ScheduleConfig:
    """What all schedules have."""

    name: str = setting("chosen with schedule=")
    warmup_epochs: float = setting("epochs in which it first rises from 0", at_least=0)
    interval: Literal["step", "epoch"] = setting("when it changes")


@dataclass
class CosineConfig(ScheduleConfig):
    """Half a cosine."""

    final_factor: float = setting("last rate / optimizer.lr", at_least=0, at_most=1)


@dataclass
class StepConfig(ScheduleConfig):
    """A staircase."""

    gamma: float = setting("factor of each step", above=0, at_most=1)
    step_epochs: float = setting("epochs between steps", above=0)
    milestones: list[float] | None = setting("epochs of the steps, instead", above=0)


@dataclass
class ExponentialConfig(ScheduleConfig):
    """A constant factor."""

    gamma: float = setting("factor for each decay_epochs", above=0, at_most=1)
    decay_epochs: float = setting("epochs in which the rate falls by gamma", above=0)


CHOICES: dict[type, dict[str, type]] = {  # a section's class -> its name in the YAML -> its fields
    ModelConfig: {"mobilenet_v1": MobileNetV1Config, "mobilenet_v2": MobileNetV2Config},
    DataConfig: {
        "digits": DigitsConfig,
        "cifar10": CifarConfig,
        "cifar100": CifarConfig,
        "folder": FolderConfig,
        "imagenet": ImageNetConfig,
        "fake": FakeConfig,
    },
    OptimizerConfig: {"sgd": SGDConfig, "rmsprop": RMSpropConfig, "adamw": AdamWConfig},
    ScheduleConfig: {"cosine": CosineConfig, "step": StepConfig, "exponential": ExponentialConfig},
}
