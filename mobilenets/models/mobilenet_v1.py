"""MobileNetV1: a stack of depthwise separable convolutions.

Reference: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", arXiv 1704.04861.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from torch import nn

from mobilenets.models.blocks import (
    ConvBNReLU,
    DepthwiseSeparableConv,
    check_ints,
    make_divisible,
    spatial_groups,
)
from mobilenets.models.mobilenet import (
    MobileNet,
    check_options,
    describe_features,
    dilate,
    resolve_strides,
)

# Table 1. The stem is a 3x3 convolution; then, for each depthwise separable block,
# (channels, stride). The last block's "s2" in the paper is a misprint: its map stays at 7 x 7.
STEM = (32, 2)
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
# Table 5, "Shallow MobileNet": without the five layers of 14 x 14 x 512.
SHALLOW_BLOCKS = BLOCKS[:6] + BLOCKS[11:]


class MobileNetV1(MobileNet):
    """MobileNetV1 and the variants of its paper.

    Args:
        num_classes: logits; 0 = no classifier, the pooled vector is the output.
        in_channels: channels of the images.
        width_mult: the paper's alpha; all channels times this, in multiples of `divisor`.
        dropout: probability, before the classifier (TF-slim: keep 0.999).
        activation: a name of `blocks.ACTIVATIONS` (the paper: ReLU; its code, TF-slim: ReLU6).
        bn_eps: added to the variance; 1e-3 for weights from TensorFlow or Keras.
        bn_momentum: weight of the new batch in the running statistics.
        padding: "symmetric", or "same" as TensorFlow, for weights from there.
        output_stride: 32; at 16 or 8 the strides beyond it become dilations, same weights.
        strides: "imagenet", "cifar" for 32 x 32 images (`resolve_strides` says why), or a list:
            the stem's, then one for each block.
        conv: "depthwise"; "full" = Table 4's "Conv MobileNet": one full 3x3 convolution in place
            of each depthwise separable pair; "grouped", "separable": see `DepthwiseSeparableConv`.
        channels_per_group: with conv="grouped": channels that a spatial kernel sees.
        shallow: Table 5's "Shallow MobileNet", with 8 blocks in place of 13.
        kernels_per_layer: depthwise kernels for every channel.
        head_channels: a 1x1 convolution to so many channels (times width_mult where that is above
            1) follows the blocks; None = none. timm's mobilenetv1_100h has 1024.
        divisor: of the channels of every layer (timm: round_channels).

    Raises:
        ValueError: an option out of range, or two that contradict each other.

    Reference: arXiv 1704.04861, Table 1.
    """

    name = "mobilenet_v1"

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        width_mult: float = 1.0,
        *,
        dropout: float = 0.001,
        activation: str = "relu6",
        bn_eps: float = 1e-5,
        bn_momentum: float = 0.1,
        padding: str = "symmetric",
        output_stride: int = 32,
        strides: str | Sequence[int] = "imagenet",
        conv: str = "depthwise",
        channels_per_group: int | None = None,
        shallow: bool = False,
        kernels_per_layer: int = 1,
        head_channels: int | None = None,
        divisor: int = 8,
    ):
        options = dict(locals())  # all arguments, for model.options
        check_options(**options)
        if not isinstance(shallow, bool):
            raise ValueError(f"shallow={shallow!r} must be True or False")
        table = (STEM, *(SHALLOW_BLOCKS if shallow else BLOCKS))
        channels = [make_divisible(c * width_mult, divisor) for c, _ in table]
        layer_strides = resolve_strides(strides, [s for _, s in table])
        plan = dilate(layer_strides, output_stride)
        layer: dict[str, Any] = {
            "padding": padding,
            "activation": activation,
            "bn_eps": bn_eps,
            "bn_momentum": bn_momentum,
        }
        block = _choose_block(conv, channels_per_group, kernels_per_layer)

        features: list[nn.Module] = [
            ConvBNReLU(in_channels, channels[0], stride=plan[0][0], **layer)
        ]
        for (c_in, c_out), (stride, dilation) in zip(pairwise(channels), plan[1:], strict=True):
            features.append(block(c_in, c_out, stride=stride, dilation=dilation, **layer))
        if head_channels is not None:
            check_ints(1, head_channels=head_channels)
            channels.append(make_divisible(head_channels * max(1.0, width_mult), divisor))
            features.append(ConvBNReLU(channels[-2], channels[-1], kernel_size=1, **layer))

        super().__init__(
            features,
            num_features=channels[-1],
            feature_info=describe_features(channels, layer_strides, plan),
            options=options,
        )


def _choose_block(
    conv: str, channels_per_group: int | None, kernels_per_layer: int
) -> Callable[..., nn.Module]:
    """The block of Table 1, or the full convolution of Table 4."""
    if conv != "full":
        return partial(
            DepthwiseSeparableConv,
            conv=conv,
            channels_per_group=channels_per_group,
            kernels_per_layer=kernels_per_layer,
        )
    spatial_groups(conv, STEM[0], channels_per_group)
    if kernels_per_layer != 1:
        raise ValueError(
            f'kernels_per_layer={kernels_per_layer} contradicts conv="full", which has one kernel '
            "for each pair of channels: drop one of the two"
        )
    return ConvBNReLU
