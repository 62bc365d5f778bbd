"""The building blocks of MobileNetV1 and MobileNetV2, each usable on its own.

Feature maps are (N, C, H, W). A stride divides H and W and rounds up. Nothing else changes them if
the kernel size is odd or the padding is "same".
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mobilenets.net_options import (
    Activation,
    Bottleneck,
    Padding,
    Residual,
    SpatialConv,
    check_options,
)
from mobilenets.ranges import check_ints, check_number

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu6": partial(nn.ReLU6, inplace=True),
    "relu": partial(nn.ReLU, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
    "elu": partial(nn.ELU, inplace=True),
    "gelu": nn.GELU,
    "silu": partial(nn.SiLU, inplace=True),
    "mish": partial(nn.Mish, inplace=True),
    "hardswish": partial(nn.Hardswish, inplace=True),
}


class Conv2dSame(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding: the output is always ceil(size / stride).

    The padding depends on the size of the input. An odd amount puts the extra row and column at the
    bottom and the right; a 3x3 kernel with stride 2 pads an even map only there.

    Reference: tensorflow.org/api_docs/python/tf/nn, "Notes on padding".
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        top, bottom = self._compute_padding(x.shape[2], axis=0)
        left, right = self._compute_padding(x.shape[3], axis=1)
        return super().forward(F.pad(x, (left, right, top, bottom)))

    def _compute_padding(self, size: int, axis: int) -> tuple[int, int]:
        stride, reach = self.stride[axis], (self.kernel_size[axis] - 1) * self.dilation[axis]
        last_window = (-(-size // stride) - 1) * stride  # its first row or column
        total = max(last_window + reach + 1 - size, 0)
        return total // 2, total - total // 2


class ConvBNReLU(nn.Sequential):
    """A convolution without bias (0), batch normalisation (1) and an activation (2).

    (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of the kernel, in pixels.
        stride: step of the kernel on both axes, in pixels.
        groups: as in `nn.Conv2d`: a divisor of both channel counts; in_channels = depthwise.
        dilation: distance between the taps of the kernel, in pixels.
        padding: "symmetric" pads (kernel_size - 1) // 2 * dilation pixels on every side; "same"
            pads as TensorFlow does (`Conv2dSame`), which differs if the stride is above 1.
        activation: a key of `ACTIVATIONS`, or None for a linear layer.
        bn_eps: added to the variance. Weights from TensorFlow and Keras need 1e-3.
        bn_momentum: weight of a batch in the running statistics (1 - TensorFlow's decay).
        separable: use a 1 x k and then a k x 1 kernel, with the same channels and nothing in
            between. The two equal one kernel of rank 1, with 2k weights instead of k * k.

    Raises:
        ValueError: an unknown name, or a size below 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        *,
        dilation: int = 1,
        padding: Padding = "symmetric",
        activation: Activation | None = "relu6",
        bn_eps: float = 1e-5,
        bn_momentum: float = 0.1,
        separable: bool = False,
    ):
        check_ints(1, in_channels=in_channels, out_channels=out_channels, groups=groups)
        check_ints(1, kernel_size=kernel_size, stride=stride, dilation=dilation)
        check_options(padding=padding)
        conv2d = partial(_conv2d, dilation=dilation, padding=padding)
        k, s = kernel_size, stride
        conv: nn.Module
        if separable:
            conv = nn.Sequential(
                conv2d(in_channels, out_channels, (1, k), (1, s), groups),
                conv2d(out_channels, out_channels, (k, 1), (s, 1), out_channels),
            )
        else:
            conv = conv2d(in_channels, out_channels, (k, k), (s, s), groups)
        layers: list[nn.Module] = [conv]
        layers.append(nn.BatchNorm2d(out_channels, eps=bn_eps, momentum=bn_momentum))
        if activation is not None:
            check_options(activation=activation)
            layers.append(ACTIVATIONS[activation]())
        super().__init__(*layers)


class DepthwiseSeparableConv(nn.Module):
    """A depthwise convolution within each channel, then a pointwise (1x1) one across channels.

    (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Each input channel has K = `kernels_per_layer` kernels, so `depthwise` outputs in_channels * K
    channels. Its weight has the shape (in_channels * K, 1, k, k), and kernel j of channel i is
    `weight[i * K + j, 0]`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of the spatial kernel, in pixels.
        stride: step of the spatial kernel, in pixels.
        kernels_per_layer: kernels per input channel (Keras: depth_multiplier).
        conv: the spatial convolution: "depthwise"; "full", an ordinary convolution over all
            channels; "grouped", whose kernels see `channels_per_group` channels each; "separable",
            depthwise with a 1 x k and then a k x 1 kernel.
        channels_per_group: for conv="grouped" only; a divisor of in_channels.
        dilation: distance between the taps of the spatial kernel, in pixels.
        options: padding, activation, bn_eps and bn_momentum of both convolutions (`ConvBNReLU`).

    Raises:
        ValueError: an unknown name, a size below 1, or groups that do not divide the channels.

    Reference: arXiv 1704.04861, section 3.1 and Figure 3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        kernels_per_layer: int = 1,
        *,
        conv: SpatialConv = "depthwise",
        channels_per_group: int | None = None,
        dilation: int = 1,
        **options: Any,
    ):
        super().__init__()
        check_options(in_channels=in_channels, kernels_per_layer=kernels_per_layer)
        filtered = in_channels * kernels_per_layer
        self.depthwise = ConvBNReLU(
            in_channels,
            filtered,
            kernel_size,
            stride,
            groups=count_groups(conv, in_channels, channels_per_group),
            separable=conv == "separable",
            dilation=dilation,
            **options,
        )
        self.pointwise = ConvBNReLU(filtered, out_channels, kernel_size=1, **options)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        return self.pointwise(self.depthwise(x))


class InvertedResidual(nn.Module):
    """A bottleneck block: a 1x1 expansion, a depthwise convolution, a linear 1x1 projection.

    (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)), with
    round(in_channels * expand_ratio) channels in between. Without expansion (expand_ratio=1) the
    first convolution is omitted.

    If the block has a shortcut (`use_residual`), it adds
    - residual="bottleneck": the block's input to the projection's output (MobileNetV2).
    - residual="expansion": the spatial convolution's input to its activated output, before the
      projection. The paper compares with "the shortcuts connecting the expanded layers" but prints
      no formula. Here both variants have shortcuts in the same blocks, and the same numbers of
      parameters and multiply-adds.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: step of the spatial kernel, in pixels.
        expand_ratio: the channels in between, as a multiple of in_channels (the paper's t).
        kernel_size: height and width of the spatial kernel, in pixels.
        use_residual: None = a shortcut if stride is 1 and in_channels equals out_channels; True
            forces one, False forbids it.
        conv: the spatial convolution: see `DepthwiseSeparableConv`.
        channels_per_group: for conv="grouped" only; a divisor of the channels in between.
        bottleneck: "linear"; or "relu6", a ReLU6 after the projection and before the addition.
        residual: what a shortcut connects, "bottleneck" or "expansion"; "none" = no shortcut.
        dilation: distance between the taps of the spatial kernel, in pixels.
        options: padding, activation, bn_eps and bn_momentum of all convolutions (`ConvBNReLU`).

    Raises:
        ValueError: an unknown name, a size below 1, groups that do not divide the channels, or a
            forced shortcut between maps of different shapes.

    Reference: arXiv 1801.04381, section 3.3 and Table 1; variants: section 6.4 and Figure 6.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        expand_ratio: float,
        kernel_size: int = 3,
        use_residual: bool | None = None,
        *,
        conv: SpatialConv = "depthwise",
        channels_per_group: int | None = None,
        bottleneck: Bottleneck = "linear",
        residual: Residual = "bottleneck",
        dilation: int = 1,
        **options: Any,
    ):
        super().__init__()
        check_options(in_channels=in_channels, bottleneck=bottleneck, residual=residual)
        check_number("expand_ratio", expand_ratio, above=0)
        expanded = max(1, round(in_channels * expand_ratio))
        expand = []
        if expand_ratio != 1:
            expand = [ConvBNReLU(in_channels, expanded, kernel_size=1, **options)]
        spatial = ConvBNReLU(
            expanded,
            expanded,
            kernel_size,
            stride,
            groups=count_groups(conv, expanded, channels_per_group),
            separable=conv == "separable",
            dilation=dilation,
            **options,
        )
        options["activation"] = None if bottleneck == "linear" else "relu6"
        project = ConvBNReLU(expanded, out_channels, kernel_size=1, **options)
        self.conv = nn.Sequential(*expand, spatial, *project)  # *project: torchvision's keys

        same_size = stride == 1 and (kernel_size % 2 == 1 or options.get("padding") == "same")
        same_channels = in_channels == out_channels
        if use_residual is None:
            use_residual = same_size and same_channels and residual != "none"
        elif use_residual and residual == "none":
            raise ValueError(
                'use_residual=True contradicts residual="none": choose "bottleneck" or "expansion"'
            )
        elif use_residual and not (same_size and (same_channels or residual == "expansion")):
            raise ValueError(
                f"use_residual=True is impossible from {in_channels} to {out_channels} channels "
                f"with stride {stride} and a {kernel_size}x{kernel_size} kernel: a shortcut "
                "connects maps of the same shape (use_residual=None adds one only where it can)"
            )
        self.use_residual = use_residual
        self.residual = residual
        self.num_expand = len(expand)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        if not self.use_residual:
            return self.conv(x)
        if self.residual == "bottleneck":
            return x + self.conv(x)
        expanded = self.conv[: self.num_expand](x)
        filtered = self.conv[self.num_expand](expanded)
        return self.conv[self.num_expand + 1 :](expanded + filtered)


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Round to the nearest multiple of `divisor` above 0, or up if that loses more than 10 %.

    Reference: TensorFlow's research/slim/nets/mobilenet, `make_divisible`.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def count_groups(conv: SpatialConv, channels: int, channels_per_group: int | None = None) -> int:
    """Return `groups` of the spatial convolution `conv` with `channels` input channels."""
    check_options(conv=conv, channels_per_group=channels_per_group)
    if conv != "grouped" and channels_per_group is not None:
        raise ValueError(
            f'channels_per_group={channels_per_group} is only for conv="grouped", and conv is '
            f'"{conv}": change conv or leave channels_per_group out'
        )
    if conv != "grouped":
        return 1 if conv == "full" else channels
    if channels_per_group is None:
        raise ValueError('conv="grouped" needs channels_per_group, for example 8')
    if channels % channels_per_group:
        raise ValueError(
            f"channels_per_group={channels_per_group} does not divide {channels} channels: "
            "use a divisor of them (the channels of both nets are multiples of 8 by default)"
        )
    return channels // channels_per_group


def _conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    groups: int,
    dilation: int,
    padding: Padding,
) -> nn.Conv2d:
    if padding == "same" and (stride != (1, 1) or any(k % 2 == 0 for k in kernel_size)):
        return Conv2dSame(
            in_channels, out_channels, kernel_size, stride, 0, dilation, groups, bias=False
        )
    height, width = kernel_size  # at stride 1 both paddings are the same for an odd kernel
    pad = ((height - 1) // 2 * dilation, (width - 1) // 2 * dilation)
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, pad, dilation, groups, bias=False
    )
