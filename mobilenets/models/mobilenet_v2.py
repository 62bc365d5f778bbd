"""MobileNetV2, a stack of inverted residuals with linear bottlenecks.

Reference: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
arXiv 1801.04381.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from mobilenets.models.blocks import ConvBNReLU, InvertedResidual, make_divisible
from mobilenets.models.mobilenet import MobileNet, describe_features, dilate, resolve_strides
from mobilenets.net_options import (
    Activation,
    Bottleneck,
    OutputStride,
    Padding,
    Residual,
    SpatialConv,
    StridePreset,
    check_options,
)
from mobilenets.ranges import check_ints, check_number

# Table 2. The stem, a 3x3 convolution, as (channels, stride). The stages, as the paper's (t, c, n,
# s): (expand_ratio, channels, num_blocks, stride of the first block). The head, a 1x1 convolution.
STEM = (32, 2)
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
HEAD_CHANNELS = 1280


class MobileNetV2(MobileNet):
    """MobileNetV2 and the variants of its paper. The state-dict keys are torchvision's.

    Args:
        num_classes: number of logits; 0 = no classifier, the net returns the pooled vector.
        in_channels: channels of the images.
        width_mult: multiplies all channels, which stay multiples of `divisor`; the last layer's
            1280 channels only if it is above 1.
        dropout: probability of dropout before the classifier (TF-slim: keep 0.8).
        activation: a key of `blocks.ACTIVATIONS`.
        bn_eps: added to the variance; 1e-3 for weights from TensorFlow or Keras.
        bn_momentum: weight of a batch in the running statistics.
        padding: "symmetric", or "same" for weights from TensorFlow.
        output_stride: at 16 or 8, dilation replaces the strides beyond it; the weights still fit.
        strides: "imagenet", the stem's 2 and the strides of `stages`; "cifar" for 32 x 32 images
            (see `resolve_strides`); or a list, the stem's stride first, then one for each stage.
        conv: the spatial convolution of the blocks, "depthwise", "full", "grouped" or
            "separable": see `DepthwiseSeparableConv`.
        channels_per_group: channels that a spatial kernel sees; for conv="grouped" only.
        stages: rows of (t, c, n, s): expand_ratio, channels, number of blocks, stride of the first.
        bottleneck: "linear", or "relu6" for Figure 6a's nonlinearity after the projection.
        residual: "bottleneck", "expansion" or "none", as in Figure 6b: see `InvertedResidual`.
        divisor: the channels of every layer are multiples of it (torchvision: round_nearest).

    Raises:
        ValueError: an option is out of range, or two options contradict each other.

    Reference: arXiv 1801.04381, Table 2; width of the last layer: section 4.
    """

    name = "mobilenet_v2"

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        width_mult: float = 1.0,
        *,
        dropout: float = 0.2,
        activation: Activation = "relu6",
        bn_eps: float = 1e-5,
        bn_momentum: float = 0.1,
        padding: Padding = "symmetric",
        output_stride: OutputStride = 32,
        strides: StridePreset | Sequence[int] = "imagenet",
        conv: SpatialConv = "depthwise",
        channels_per_group: int | None = None,
        stages: Sequence[tuple[float, int, int, int]] = STAGES,
        bottleneck: Bottleneck = "linear",
        residual: Residual = "bottleneck",
        divisor: int = 8,
    ):
        options = dict(locals())  # every argument, for model.options
        check_options(**options)
        check_stages(stages)
        stage_strides = resolve_strides(strides, [STEM[1], *(s for *_, s in stages)])
        blocks = [  # (expand_ratio, channels, stride) of each block
            (t, make_divisible(c * width_mult, divisor), stride if i == 0 else 1)
            for (t, c, n, _), stride in zip(stages, stage_strides[1:], strict=True)
            for i in range(n)
        ]
        channels = [make_divisible(STEM[0] * width_mult, divisor), *(c for _, c, _ in blocks)]
        layer_strides = [stage_strides[0], *(stride for *_, stride in blocks)]
        plan = dilate(layer_strides, output_stride)
        num_features = make_divisible(HEAD_CHANNELS * max(1.0, width_mult), divisor)
        layer: dict[str, Any] = {
            "padding": padding,
            "activation": activation,
            "bn_eps": bn_eps,
            "bn_momentum": bn_momentum,
        }
        block: Callable[..., nn.Module] = partial(
            InvertedResidual,
            conv=conv,
            channels_per_group=channels_per_group,
            bottleneck=bottleneck,
            residual=residual,
            **layer,
        )

        features: list[nn.Module] = [
            ConvBNReLU(in_channels, channels[0], stride=plan[0][0], **layer)
        ]
        c_in = channels[0]
        for (t, c_out, _), (stride, dilation) in zip(blocks, plan[1:], strict=True):
            features.append(block(c_in, c_out, stride=stride, expand_ratio=t, dilation=dilation))
            c_in = c_out
        features.append(ConvBNReLU(channels[-1], num_features, kernel_size=1, **layer))

        super().__init__(
            features,
            num_features=num_features,
            feature_info=describe_features(channels, layer_strides, plan),
            options=options,
        )


def check_stages(stages: Sequence[Sequence[object]]) -> None:
    """Raise ValueError for the first row of `stages` that is not (t, c, n, s)."""
    if not isinstance(stages, Sequence) or not stages:
        raise ValueError(f"stages={stages!r} must be a list of one or more rows (t, c, n, s)")
    for row in stages:
        if not isinstance(row, Sequence) or len(row) != 4:
            raise ValueError(f"stages: {row!r} is not a row of four numbers (t, c, n, s)")
        expand_ratio, channels, num_blocks, stride = row
        check_number("expand_ratio", expand_ratio, above=0)
        check_ints(1, channels=channels, num_blocks=num_blocks, stride=stride)
