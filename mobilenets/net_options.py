"""The options of the nets, each declared once: its type, its meaning and its range.

The constructors check their arguments by this table, the settings of model= are declared with it,
and --help prints it. Defaults stand in the constructors' signatures.
"""

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from mobilenets.choices import check_choice, join_words
from mobilenets.ranges import check_number

Activation = Literal["relu6", "relu", "leaky_relu", "elu", "gelu", "silu", "mish", "hardswish"]
Padding = Literal["symmetric", "same"]
OutputStride = Literal[32, 16, 8]
StridePreset = Literal["imagenet", "cifar"]
SpatialConv = Literal["depthwise", "full", "grouped", "separable"]
Bottleneck = Literal["linear", "relu6"]
Residual = Literal["bottleneck", "expansion", "none"]


class Option:
    """The type, meaning and range of an option.

    Args:
        type: of its values; None is a value if the type says so.
        meaning: as --help prints it.
        limits: of a number, or of every number in a list, as in `mobilenets.ranges`.
    """

    def __init__(self, type: Any, meaning: str, **limits: float):
        self.type = type
        self.meaning = meaning
        self.limits = limits

    def check(self, name: str, value: object) -> None:
        """Raise ValueError, with `name`, if `value` has a wrong type or is out of range.

        Lists are not checked here, but by the code that reads them.
        """
        is_union = get_origin(self.type) in (Union, UnionType)
        kinds = get_args(self.type) if is_union else (self.type,)
        if any(get_origin(kind) is list for kind in kinds) or (value is None and NoneType in kinds):
            return
        kind = kinds[0]
        choices = (True, False) if kind is bool else get_args(kind)  # a Literal's values
        if not choices:
            check_number(name, value, kind, **self.limits)
        elif isinstance(choices[0], str):
            check_choice(name, value, choices)
        elif not isinstance(value, type(choices[0])) or value not in choices:
            raise ValueError(f"{name}={value!r} must be {join_words([*map(str, choices)], 'or')}")


# To add an option, add a line here, an argument to the net and a field to its config.
NET_OPTIONS = {
    # 0 = no classifier. The minimum in a config is 1, because training needs one.
    "num_classes": Option(int, "number of classes", at_least=0),
    "in_channels": Option(int, "channels of an image", at_least=1),
    "width_mult": Option(float, "multiplies the channels of every layer", above=0),
    "dropout": Option(float, "dropout probability before the classifier", at_least=0, at_most=1),
    "activation": Option(Activation, "nonlinearity after each convolution"),
    "bn_eps": Option(float, "BatchNorm's epsilon; 1e-3 for weights from TensorFlow", above=0),
    "bn_momentum": Option(
        float, "weight of a batch in BatchNorm's running statistics", at_least=0, at_most=1
    ),
    "padding": Option(Padding, "padding; same = as in TensorFlow"),
    "output_stride": Option(OutputStride, "stride of the last map; dilation replaces those beyond"),
    "strides": Option(
        StridePreset | list[int],
        "a preset, or a stride for the stem and for each block (V1) or stage (V2)",
        at_least=1,
    ),
    "conv": Option(SpatialConv, "spatial convolution of every block"),
    "channels_per_group": Option(int | None, "channels per group, for conv=grouped", at_least=1),
    "divisor": Option(int, "the channels of every layer are multiples of it", at_least=1),
    # MobileNetV1
    "shallow": Option(bool, "omit the five 512-channel blocks at 14x14 (Table 5)"),
    "kernels_per_layer": Option(int, "depthwise kernels per channel", at_least=1),
    "head_channels": Option(
        int | None, "add a 1x1 convolution to this many channels after the blocks", at_least=1
    ),
    # MobileNetV2
    "stages": Option(
        list[list[int | float]], "rows of expand_ratio, channels, blocks, stride (Table 2)", above=0
    ),
    "bottleneck": Option(Bottleneck, "activation after the projection (Figure 6a)"),
    "residual": Option(Residual, "what a shortcut connects (Figure 6b)"),
}


def check_options(**options: object) -> None:
    """Raise ValueError for the first option that has a wrong type or is out of range.

    Names that are not in `NET_OPTIONS` are ignored.
    """
    for name, value in options.items():
        if name in NET_OPTIONS:
            NET_OPTIONS[name].check(name, value)
