"""The settings of the config groups: model=, data=, optimizer=, schedule=.

Each choice has a class, found by its `name` in `CHOICES`, that declares the type, meaning and range
of its settings. The values stand in configs/<group>/<choice>.yaml; nothing has a default here.
"""

# ruff: noqa: RUF009 (`setting` is dataclasses.field, with metadata)
import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from mobilenets import net_options
from mobilenets.net_options import NET_OPTIONS


def setting(meaning: str, **limits: Any) -> Any:
    """Declare a field with its meaning and the limits of its values.

    Limits: above, at_least, below, at_most (of a number, or of each number in a list), length (of
    a list). `example` is a value for a setting that has no default.
    """
    return dataclasses.field(metadata={"meaning": meaning, **limits})


# model=


def net_setting(name: str, null: str = "", **limits: Any) -> Any:
    """Declare a field for an option of the nets, with the meaning and limits in `NET_OPTIONS`.

    Args:
        name: the option, which is the field's name too.
        null: what null means, if only the config takes it.
        limits: those that differ in the config.
    """
    option = NET_OPTIONS[name]
    meaning = f"{option.meaning}; null = {null}" if null else option.meaning
    return setting(meaning, **option.limits | limits)


@dataclass
class ModelConfig:
    """What every net has: the options of all nets, and the settings of trained weights."""

    name: str = setting("set by model=")
    num_classes: int | None = net_setting("num_classes", "as many as the data has", at_least=1)
    in_channels: int | None = net_setting("in_channels", "as many as the data has")
    width_mult: float = net_setting("width_mult")
    dropout: float = net_setting("dropout")
    activation: net_options.Activation = net_setting("activation")
    bn_eps: float = net_setting("bn_eps")
    bn_momentum: float = net_setting("bn_momentum")
    padding: net_options.Padding = net_setting("padding")
    output_stride: net_options.OutputStride = net_setting("output_stride")
    strides: net_options.StridePreset | list[int] = net_setting("strides")
    conv: net_options.SpatialConv = net_setting("conv")
    channels_per_group: int | None = net_setting("channels_per_group")
    divisor: int = net_setting("divisor")
    weights: str | None = setting(
        "trained weights to start from: a file of any zoo, or a name (torchvision:, timm:, hf:)"
    )
    freeze: Literal["none", "backbone"] | int = setting(
        "layers not to train: the backbone, or the stem and this many blocks", at_least=0
    )
    unfreeze: list[list[int]] | None = setting(
        "rows of epoch (from 0), number of blocks still frozen from then on", at_least=0
    )

    def num_strides(self) -> int | None:
        """Return the length of a list of strides for this net; None = its constructor checks it."""
        return None

    def options(self, num_classes: int, in_channels: int) -> dict[str, Any]:
        """Return the arguments of `create_model` for data with these numbers.

        Raises:
            ValueError: the config sets another number.
        """
        options = dataclasses.asdict(self)
        for key in ("weights", "freeze", "unfreeze"):  # of the run, not of the net
            del options[key]
        for key, found in (("num_classes", num_classes), ("in_channels", in_channels)):
            if options[key] not in (None, found):
                raise ValueError(
                    f"model.{key}: is {options[key]}, but the data has {found}; leave it null"
                )
            options[key] = found
        return options


@dataclass
class MobileNetV1Config(ModelConfig):
    """arXiv 1704.04861."""

    shallow: bool = net_setting("shallow")
    kernels_per_layer: int = net_setting("kernels_per_layer")
    head_channels: int | None = net_setting("head_channels")

    def num_strides(self) -> int:
        """Count the stem and the blocks (Tables 1 and 5)."""
        return 1 + (8 if self.shallow else 13)


@dataclass
class MobileNetV2Config(ModelConfig):
    """arXiv 1801.04381."""

    stages: list[list[int | float]] = net_setting("stages")
    bottleneck: net_options.Bottleneck = net_setting("bottleneck")
    residual: net_options.Residual = net_setting("residual")

    def num_strides(self) -> int:
        """Count the stem and the stages (Table 2)."""
        return 1 + len(self.stages)


# data=


@dataclass
class MixConfig:
    """Augmentation for any images."""

    flip: float = setting("probability of a horizontal flip", at_least=0, at_most=1)
    color_jitter: float = setting("strength of colour jitter; 0 = off", at_least=0)
    erasing: float = setting("probability of erasing a rectangle", at_least=0, at_most=1)
    mixup: float = setting("alpha of mixup's beta distribution; 0 = off", at_least=0)
    cutmix: float = setting("alpha of CutMix's beta distribution; 0 = off", at_least=0)


@dataclass
class SmallAugmentConfig(MixConfig):
    """Augmentation of small images, in batches."""

    crop_padding: int = setting("pixels padded on every side before a random crop", at_least=0)


@dataclass
class LargeAugmentConfig(MixConfig):
    """Augmentation of large images, one by one."""

    scale: list[float] = setting(
        "range of the crop's area, as a fraction of the image", length=2, above=0, at_most=1
    )
    ratio: list[float] = setting("range of the crop's width / height", length=2, above=0)
    policy: Literal["randaugment", "trivialaugment"] | None = setting("automatic augmentation")
    magnitude: int = setting("magnitude of RandAugment", at_least=0, at_most=10)


@dataclass
class DataConfig:
    """The settings that every data set has."""

    name: str = setting("set by data=")
    strides: Literal["imagenet", "cifar"] = setting("the net's strides for images of this size")
    class_names: list[str] | None = setting("in the order of the labels; null = folder names")
    in_channels: Literal[1, 3] = setting("channels of an image: grey or colour")
    image_size: int = setting("height and width of the net's input", at_least=1)
    mean: list[float] = setting("per channel, for pixels from 0 to 1", at_least=0, at_most=1)
    std: list[float] = setting("per channel, for pixels from 0 to 1", above=0)
    crop_pct: float = setting("centre crop / resized image, in evaluation", above=0, at_most=1)
    interpolation: Literal["nearest", "bilinear", "bicubic"] = setting("for all resizing")
    batch_size: int = setting("images per step and device", at_least=1)
    val_fraction: float = setting("fraction of train used for validation", above=0, below=1)
    split_seed: int = setting("seed of the random splits", at_least=0)
    augment: MixConfig = setting("augmentation of training images")

    def options(self) -> dict[str, Any]:
        """Return the arguments of `ImageDataModule`."""
        options = dataclasses.asdict(self)
        del options["strides"]  # an argument of the net
        return options


@dataclass
class SmallImagesConfig(DataConfig):
    """Images kept in memory, and augmented in batches on the device."""

    augment: SmallAugmentConfig = setting("augmentation of training images")


@dataclass
class LargeImagesConfig(DataConfig):
    """Images in files, decoded and augmented one by one in worker processes."""

    augment: LargeAugmentConfig = setting("augmentation of training images")
    num_workers: int | None = setting(
        "processes that load images; null = one per CPU, up to 8; any number gives the same run",
        at_least=0,
    )
    on_bad_image: Literal["error", "skip"] = setting(
        "error stops the run; skip leaves the image out of its batch and reports it"
    )


@dataclass
class DigitsConfig(SmallImagesConfig):
    """Scikit-learn's handwritten digits."""

    test_fraction: float = setting(
        "fraction of all images used as the test split", above=0, below=1
    )


@dataclass
class CifarConfig(SmallImagesConfig):
    """The official Python archives of CIFAR-10 and CIFAR-100."""

    root: str = setting("folder with the archive, packed or unpacked", example="/data/cifar")
    download: bool = setting("download the archive if it is missing")
    verify: bool = setting("verify the archive's checksums; false also reads modified copies")


@dataclass
class FolderConfig(LargeImagesConfig):
    """Any tree with one folder per class."""

    root: str = setting(
        "folder with class folders, or with train/ and optionally val/ and test/",
        example="/data/flowers",
    )
    test_fraction: float = setting(
        "fraction used as the test split if there is no test/", above=0, below=1
    )


@dataclass
class ImageNetConfig(LargeImagesConfig):
    """ImageNet-1k, as train/ and val/ with one folder per wnid."""

    root: str = setting("folder with train/ and val/", example="/data/imagenet")


@dataclass
class FakeConfig(SmallImagesConfig):
    """Random images, for trials and measurements of speed."""

    num_samples: int = setting("training images; the test split has a quarter as many", at_least=1)
    num_classes: int = setting("number of classes", at_least=2)


# optimizer=


@dataclass
class OptimizerConfig:
    """The settings that every optimizer has."""

    name: str = setting("set by optimizer=")
    lr: float = setting("learning rate after warm-up", above=0)
    weight_decay: float = setting("weight decay", at_least=0)
    decay_norm_and_bias: bool = setting("also decay BatchNorm's parameters and biases")
    decay_depthwise: bool = setting("also decay depthwise filters (V1 paper: little or none)")
    layer_decay: float | None = setting(
        "factor on a layer's learning rate for each layer after it", above=0, at_most=1
    )
    head_lr_mult: float = setting("factor for the classifier's learning rate", above=0)


@dataclass
class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent."""

    momentum: float = setting("momentum", at_least=0, below=1)
    nesterov: bool = setting("use Nesterov momentum")


@dataclass
class RMSpropConfig(OptimizerConfig):
    """RMSprop as in TensorFlow."""

    alpha: float = setting("decay of the running average of squared gradients", at_least=0, below=1)
    momentum: float = setting("momentum", at_least=0, below=1)
    eps: float = setting("added to that average inside the square root", above=0)


@dataclass
class AdamWConfig(OptimizerConfig):
    """Adam with decoupled weight decay."""

    betas: list[float] = setting("decay of each running average", length=2, at_least=0, below=1)
    eps: float = setting("added to the denominator", above=0)


# schedule=


@dataclass
class ScheduleConfig:
    """The settings that every schedule has."""

    name: str = setting("set by schedule=")
    warmup_epochs: float = setting("epochs of linear warm-up from 0", at_least=0)
    interval: Literal["step", "epoch"] = setting("update the learning rate every step or epoch")


@dataclass
class CosineConfig(ScheduleConfig):
    """Cosine decay."""

    final_factor: float = setting("final learning rate / optimizer.lr", at_least=0, at_most=1)


@dataclass
class StepConfig(ScheduleConfig):
    """Step decay."""

    gamma: float = setting("factor at each decay", above=0, at_most=1)
    step_epochs: float = setting("epochs between decays", above=0)
    milestones: list[float] | None = setting(
        "epochs of the decays, in place of step_epochs", above=0
    )


@dataclass
class ExponentialConfig(ScheduleConfig):
    """Exponential decay."""

    gamma: float = setting("factor per decay_epochs", above=0, at_most=1)
    decay_epochs: float = setting("epochs in which gamma applies once", above=0)


CHOICES: dict[type, dict[str, type]] = {  # a group's class -> a choice's name -> its class
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
