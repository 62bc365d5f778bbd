"""The building blocks of MobileNetV1 and MobileNetV2, each usable on its own.

Maps are (N, C, H, W). A stride divides H and W, rounding up; nothing else changes them as long as
the kernel size is odd or the padding is "same".
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mobilenets.choices import check_choice

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu6": partial(nn.ReLU6, inplace=True),
    "relu": partial(nn.ReLU, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
    "elu": partial(nn.ELU, inplace=True),
    "gelu": nn.GELU,
    "silu": partial(nn.SiLU, inplace=True),
    "mish": partial(nn.Mish, inplace=True),
    "hardswish": partial(nn.Hardswish, inplace=True),
}
PADDINGS = ("symmetric", "same")
CONVS = ("depthwise", "full", "grouped", "separable")
BOTTLENECKS = ("linear", "relu6")
RESIDUALS = ("bottleneck", "expansion", "none")


class Conv2dSame(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME": the output is ceil(size / stride), always.

    The padding depends on the size of the input. Where it is odd, the extra row and column go to
    the bottom and to the right: a 3x3 kernel of stride 2 on an even map is padded there only.

    Reference: tensorflow.org/api_docs/python/tf/nn, "Notes on padding".
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        top, bottom = self._pad(x.shape[2], axis=0)
        left, right = self._pad(x.shape[3], axis=1)
        return super().forward(F.pad(x, (left, right, top, bottom)))

    def _pad(self, size: int, axis: int) -> tuple[int, int]:
        stride, reach = self.stride[axis], (self.kernel_size[axis] - 1) * self.dilation[axis]
        last_window = (-(-size // stride) - 1) * stride  # where it begins
        total = max(last_window + reach + 1 - size, 0)
        return total // 2, total - total // 2


class ConvBNReLU(nn.Sequential):
    """Convolution without bias (0), batch normalisation (1), activation (2).

    (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; both are multiples of `groups`.
        kernel_size: height and width of the kernel, in pixels.
        stride: step of the kernel, in pixels, on both axes.
        groups: an output channel sees the input channels of its group; in_channels = depthwise.
        dilation: distance between the taps of the kernel, in pixels.
        padding: "symmetric" pads (kernel_size - 1) // 2 * dilation pixels on every side; "same"
            pads as TensorFlow does (`Conv2dSame`), which differs where the stride is above 1.
        activation: a name of `ACTIVATIONS`, or None for a linear layer.
        bn_eps: added to the variance. Weights from TensorFlow and Keras need 1e-3.
        bn_momentum: weight of the new batch in the running statistics (1 - TensorFlow's decay).
        separable: use 1 x k, then k x 1 with the same channels and nothing in between. It equals
            one convolution with kernels of rank 1, at 2k instead of k * k weights a kernel.

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
        padding: str = "symmetric",
        activation: str | None = "relu6",
        bn_eps: float = 1e-5,
        bn_momentum: float = 0.1,
        separable: bool = False,
    ):
        check_ints(1, in_channels=in_channels, out_channels=out_channels, groups=groups)
        check_ints(1, kernel_size=kernel_size, stride=stride, dilation=dilation)
        check_choice("padding", padding, PADDINGS)
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
            check_choice("activation", activation, ACTIVATIONS)
            layers.append(ACTIVATIONS[activation]())
        super().__init__(*layers)


class DepthwiseSeparableConv(nn.Module):
    """A depthwise convolution filters each channel, a pointwise (1x1) one combines them.

    (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Every input channel has K = `kernels_per_layer` kernels, so `depthwise` gives in_channels * K
    channels. Its weight has the shape (in_channels * K, 1, k, k): the K kernels of channel 0 come
    first, then those of channel 1, and so on; kernel j of channel i is `weight[i * K + j, 0]`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of the spatial kernel, in pixels.
        stride: step of the spatial kernel, in pixels.
        kernels_per_layer: kernels for every input channel (Keras: depth_multiplier).
        conv: the spatial convolution, one of `CONVS`. "depthwise"; "full", an ordinary convolution
            of all channels; "grouped", where a kernel sees `channels_per_group` channels;
            "separable", depthwise with 1 x k followed by k x 1 kernels.
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
        conv: str = "depthwise",
        channels_per_group: int | None = None,
        dilation: int = 1,
        **options: Any,
    ):
        super().__init__()
        check_ints(1, in_channels=in_channels, kernels_per_layer=kernels_per_layer)
        filtered = in_channels * kernels_per_layer
        self.depthwise = ConvBNReLU(
            in_channels,
            filtered,
            kernel_size,
            stride,
            groups=spatial_groups(conv, in_channels, channels_per_group),
            separable=conv == "separable",
            dilation=dilation,
            **options,
        )
        self.pointwise = ConvBNReLU(filtered, out_channels, kernel_size=1, **options)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        return self.pointwise(self.depthwise(x))


class InvertedResidual(nn.Module):
    """Expand with 1x1, filter depthwise, project back with a linear 1x1: a bottleneck block.

    (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)); in between
    there are round(in_channels * expand_ratio) channels. At expand_ratio 1 the expanding
    convolution is left out.

    Where there is a shortcut (`use_residual`), it adds
    - residual="bottleneck": the block's input to its output, after the projection (MobileNetV2).
    - residual="expansion": the expanded map that enters the spatial convolution (at expand_ratio 1
      the block's input) to the map that leaves it, after the activation, before the projection.
      The paper compares with "the shortcuts connecting the expanded layers" and prints no formula.
      With this one both variants have shortcuts in the same blocks, the same parameters and the
      same multiply-adds; they differ only in what a shortcut connects.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: step of the spatial kernel, in pixels.
        expand_ratio: the channels in between as a multiple of in_channels (the paper's t).
        kernel_size: height and width of the spatial kernel, in pixels.
        use_residual: None = a shortcut where stride is 1 and in_channels equals out_channels;
            True forces one, False forbids it.
        conv: the spatial convolution, one of `CONVS`: see `DepthwiseSeparableConv`.
        channels_per_group: for conv="grouped" only; a divisor of the channels in between.
        bottleneck: "linear"; or "relu6", a ReLU6 after the projection and before the addition.
        residual: what a shortcut connects, "bottleneck" or "expansion"; "none" = no shortcut.
        dilation: distance between the taps of the spatial kernel, in pixels.
        options: padding, activation, bn_eps and bn_momentum of all convolutions (`ConvBNReLU`).

    Raises:
        ValueError: an unknown name, a size below 1, groups that do not divide the channels, or a
            forced shortcut between maps of different shapes.

    Reference: arXiv 1801.04381, section 3.3 and Table 1; section 6.4 and Figure 6 for the variants.
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
        conv: str = "depthwise",
        channels_per_group: int | None = None,
        bottleneck: str = "linear",
        residual: str = "bottleneck",
        dilation: int = 1,
        **options: Any,
    ):
        super().__init__()
        check_ints(1, in_channels=in_channels)
        check_number("expand_ratio", expand_ratio, above=0)
        check_choice("bottleneck", bottleneck, BOTTLENECKS)
        check_choice("residual", residual, RESIDUALS)
        expanded = max(1, round(in_channels * expand_ratio))
        expand = []
        if expand_ratio != 1:
            expand = [ConvBNReLU(in_channels, expanded, kernel_size=1, **options)]
        spatial = ConvBNReLU(
            expanded,
            expanded,
            kernel_size,
            stride,
            groups=spatial_groups(conv, expanded, channels_per_group),
            separable=conv == "separable",
            dilation=dilation,
            **options,
        )
        options["activation"] = None if bottleneck == "linear" else "relu6"
        project = ConvBNReLU(expanded, out_channels, kernel_size=1, **options)
        self.conv = nn.Sequential(*expand, spatial, *project)  # unpacked: torchvision's keys

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
                f"with stride {stride} and a {kernel_size}x{kernel_size} kernel: a shortcut joins "
                "maps of one shape (use_residual=None has one only where that holds)"
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
    """The multiple of `divisor` nearest to `channels`, at least one, never under 90 % of it.

    Reference: TensorFlow's research/slim/nets/mobilenet, `make_divisible`.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def spatial_groups(conv: str, channels: int, channels_per_group: int | None = None) -> int:
    """`groups` of the spatial convolution `conv` (one of `CONVS`) over so many input channels."""
    check_choice("conv", conv, CONVS)
    if conv != "grouped" and channels_per_group is not None:
        raise ValueError(
            f'channels_per_group={channels_per_group} is read only with conv="grouped", '
            f"not with conv={conv!r}: set one or drop the other"
        )
    if conv != "grouped":
        return 1 if conv == "full" else channels
    if channels_per_group is None:
        raise ValueError('conv="grouped" needs channels_per_group, for example 8')
    check_ints(1, channels_per_group=channels_per_group)
    if channels % channels_per_group:
        raise ValueError(
            f"channels_per_group={channels_per_group} does not divide {channels} channels: "
            "use one of their divisors (all channels of both nets are multiples of 8)"
        )
    return channels // channels_per_group


def check_ints(least: int, **values: object) -> None:
    """ValueError naming the first of `values` that is not an integer of at least `least`."""
    for option, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{option}={value!r} must be an integer of at least {least}")


def check_number(option: str, value: object, above: float) -> None:
    """ValueError if `value` is not a finite number above `above`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not above < value < float("inf"):  # type: ignore[operator]
        raise ValueError(f"{option}={value!r} must be a number above {above}")


def _conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    groups: int,
    dilation: int,
    padding: str,
) -> nn.Conv2d:
    if padding == "same" and (stride != (1, 1) or any(k % 2 == 0 for k in kernel_size)):
        return Conv2dSame(
            in_channels, out_channels, kernel_size, stride, 0, dilation, groups, bias=False
        )
    height, width = kernel_size  # at stride 1 both rules pad an odd kernel alike
    pad = ((height - 1) // 2 * dilation, (width - 1) // 2 * dilation)
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, pad, dilation, groups, bias=False
    )
