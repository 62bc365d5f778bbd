"""MobileNetV2: inverted residuals with linear bottlenecks.

Reference: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
arXiv 1801.04381.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from mobilenets.models.blocks import (
    ConvBNReLU,
    InvertedResidual,
    check_ints,
    check_number,
    make_divisible,
)
from mobilenets.models.mobilenet import (
    MobileNet,
    check_options,
    describe_features,
    dilate,
    resolve_strides,
)

# Table 2. The stem, a 3x3 convolution: (channels, stride). The stages, the paper's (t, c, n, s):
# (expand_ratio, channels, num_blocks, stride of the first block). The head, a 1x1 convolution.
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
        num_classes: logits; 0 = no classifier, the pooled vector is the output.
        in_channels: channels of the images.
        width_mult: all channels times this, in multiples of `divisor`; the last 1280 only above 1.
        dropout: probability, before the classifier (TF-slim: keep 0.8).
        activation: a name of `blocks.ACTIVATIONS`.
        bn_eps: added to the variance; 1e-3 for weights from TensorFlow or Keras.
        bn_momentum: weight of the new batch in the running statistics.
        padding: "symmetric", or "same" as TensorFlow, for weights from there.
        output_stride: 32; at 16 or 8 the strides beyond it become dilations, same weights.
        strides: "imagenet" = the stem's 2 and those of `stages`; "cifar" for 32 x 32 images
            (`resolve_strides` says why); or a list: the stem's, then one for each stage.
        conv: the spatial convolution of the blocks, "depthwise", "full", "grouped" or
            "separable": see `DepthwiseSeparableConv`.
        channels_per_group: with conv="grouped": channels that a spatial kernel sees.
        stages: rows of (t, c, n, s): expand_ratio, channels, number of blocks, stride of the first.
        bottleneck: "linear", or "relu6" for Figure 6a's nonlinearity after the projection.
        residual: "bottleneck", "expansion" or "none": Figure 6b, see `InvertedResidual`.
        divisor: of the channels of every layer (torchvision: round_nearest).

    Raises:
        ValueError: an option out of range, or two that contradict each other.

    Reference: arXiv 1801.04381, Table 2; the width of the last layer: section 4.
    """

    name = "mobilenet_v2"

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        width_mult: float = 1.0,
        *,
        dropout: float = 0.2,
        activation: str = "relu6",
        bn_eps: float = 1e-5,
        bn_momentum: float = 0.1,
        padding: str = "symmetric",
        output_stride: int = 32,
        strides: str | Sequence[int] = "imagenet",
        conv: str = "depthwise",
        channels_per_group: int | None = None,
        stages: Sequence[Sequence[int]] = STAGES,
        bottleneck: str = "linear",
        residual: str = "bottleneck",
        divisor: int = 8,
    ):
        options = dict(locals())  # all arguments, for model.options
        check_options(**options)
        check_stages(stages)
        stage_strides = resolve_strides(strides, [STEM[1], *(s for *_, s in stages)])
        blocks = [  # (expand_ratio, channels, stride), one row for each block
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


def check_stages(stages: Sequence[Sequence[int]]) -> None:
    """ValueError for the first row of `stages` that is not (t, c, n, s)."""
    if not isinstance(stages, Sequence) or not stages:
        raise ValueError(f"stages={stages!r} must be a list of at least one row (t, c, n, s)")
    for row in stages:
        if not isinstance(row, Sequence) or len(row) != 4:
            raise ValueError(f"stages: {row!r} is not a row of four numbers (t, c, n, s)")
        expand_ratio, channels, num_blocks, stride = row
        check_number("expand_ratio", expand_ratio, above=0)
        check_ints(1, channels=channels, num_blocks=num_blocks, stride=stride)
