"""MobileNetV1, a stack of depthwise separable convolutions.

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
    count_groups,
    make_divisible,
)
from mobilenets.models.mobilenet import MobileNet, describe_features, dilate, resolve_strides
from mobilenets.net_options import (
    Activation,
    OutputStride,
    Padding,
    SpatialConv,
    StridePreset,
    check_options,
)

# Table 1, as (channels, stride): the stem, a 3x3 convolution, and each depthwise separable block.
# The last block's "s2" in the paper is a misprint: its map stays at 7 x 7.
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
# Table 5, "Shallow MobileNet": without the five layers at 14 x 14 x 512.
SHALLOW_BLOCKS = BLOCKS[:6] + BLOCKS[11:]


class MobileNetV1(MobileNet):
    """MobileNetV1 and the variants of its paper.

    Args:
        num_classes: number of logits; 0 = no classifier, the net returns the pooled vector.
        in_channels: channels of the images.
        width_mult: the paper's alpha: multiplies all channels, which stay multiples of `divisor`.
        dropout: probability of dropout before the classifier (TF-slim: keep 0.999).
        activation: a key of `blocks.ACTIVATIONS` (the paper: ReLU; its code, TF-slim: ReLU6).
        bn_eps: added to the variance; 1e-3 for weights from TensorFlow or Keras.
        bn_momentum: weight of a batch in the running statistics.
        padding: "symmetric", or "same" for weights from TensorFlow.
        output_stride: at 16 or 8, dilation replaces the strides beyond it; the weights still fit.
        strides: "imagenet"; "cifar" for 32 x 32 images (see `resolve_strides`); or a list, the
            stem's stride first, then one for each block.
        conv: "depthwise"; "full", Table 4's "Conv MobileNet" with a full 3x3 convolution instead
            of each depthwise separable pair; "grouped", "separable": see `DepthwiseSeparableConv`.
        channels_per_group: channels that a spatial kernel sees; for conv="grouped" only.
        shallow: build Table 5's "Shallow MobileNet", with 8 blocks instead of 13.
        kernels_per_layer: depthwise kernels per channel.
        head_channels: add a 1x1 convolution to this many channels after the blocks (multiplied by
            width_mult if that is above 1); None = no such layer. timm's mobilenetv1_100h has 1024.
        divisor: the channels of every layer are multiples of it (timm: round_channels).

    Raises:
        ValueError: an option is out of range, or two options contradict each other.

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
        activation: Activation = "relu6",
        bn_eps: float = 1e-5,
        bn_momentum: float = 0.1,
        padding: Padding = "symmetric",
        output_stride: OutputStride = 32,
        strides: StridePreset | Sequence[int] = "imagenet",
        conv: SpatialConv = "depthwise",
        channels_per_group: int | None = None,
        shallow: bool = False,
        kernels_per_layer: int = 1,
        head_channels: int | None = None,
        divisor: int = 8,
    ):
        options = dict(locals())  # every argument, for model.options
        check_options(**options)
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
            channels.append(make_divisible(head_channels * max(1.0, width_mult), divisor))
            features.append(ConvBNReLU(channels[-2], channels[-1], kernel_size=1, **layer))

        super().__init__(
            features,
            num_features=channels[-1],
            feature_info=describe_features(channels, layer_strides, plan),
            options=options,
        )


def _choose_block(
    conv: SpatialConv, channels_per_group: int | None, kernels_per_layer: int
) -> Callable[..., nn.Module]:
    """Return the class of Table 1's block, or of Table 4's full convolution."""
    if conv != "full":
        return partial(
            DepthwiseSeparableConv,
            conv=conv,
            channels_per_group=channels_per_group,
            kernels_per_layer=kernels_per_layer,
        )
    count_groups(conv, STEM[0], channels_per_group)  # raises if channels_per_group is given
    if kernels_per_layer != 1:
        raise ValueError(
            f'kernels_per_layer={kernels_per_layer} contradicts conv="full", which has one kernel '
            "for each pair of channels: leave one of the two out"
        )
    return ConvBNReLU
