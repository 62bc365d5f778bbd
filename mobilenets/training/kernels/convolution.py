"""A convolution that avoids the slow paths of oneDNN on small feature maps."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mobilenets.training.kernels.activation import is_eager_training

MAX_MATMUL_PIXELS = 7 * 7  # up to here a pointwise convolution is a matrix product
Pair = tuple[int, int]


class SmallMapConv2d(nn.Conv2d):
    """A convolution that is fast on the small feature maps of the last blocks, on a CPU in float32.

    oneDNN is slow in two cases, and images of 32 pixels run into both. Its fast kernel for the
    gradient of depthwise weights does not support maps with fewer rows than the kernel; the
    fallback took 90 ms for 512 channels of 2 x 2 in a batch of 128, this module takes 1 ms. And its
    pointwise convolutions take 1.2 to 3.7 times as long as a matrix product on maps of up to 7 x 7.
    Outputs and gradients equal those of nn.Conv2d up to rounding.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self._is_plain(input):
            if self._is_pointwise() and is_small_channels_last(input):
                by_pixel = input.permute(0, 2, 3, 1)  # (N, H, W, C)
                return F.linear(by_pixel, weight.flatten(1), bias).permute(0, 3, 1, 2)
            is_small = input.shape[2] < self._min_onednn_rows()
            if is_small and is_eager_training() and self._is_depthwise():
                geometry = (self.stride, self.padding, self.dilation)
                return _DepthwiseConv2d.apply(input, weight, *geometry)
        return super()._conv_forward(input, weight, bias)

    def _is_plain(self, x: Tensor) -> bool:
        plain = self.padding_mode == "zeros" and not isinstance(self.padding, str)
        plain = plain and x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32
        return plain and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()

    def _is_pointwise(self) -> bool:
        unit = self.kernel_size == self.stride == (1, 1)
        return unit and self.padding == (0, 0) and self.groups == 1

    def _is_depthwise(self) -> bool:
        return self.groups == self.in_channels == self.out_channels and self.bias is None

    def _min_onednn_rows(self) -> int:
        """Return the rows that jit_uni_dw_convolution_bwd_weights needs."""
        assert not isinstance(self.padding, str)
        return self.kernel_size[0] + -self.padding[0] % self.stride[0]


def is_small_channels_last(x: Tensor) -> bool:
    """Return whether maps (N, C, H, W) are small, and in memory a matrix with a row per pixel."""
    is_matrix = x.is_contiguous(memory_format=torch.channels_last)
    return is_matrix and x.shape[2] * x.shape[3] <= MAX_MATMUL_PIXELS


class _DepthwiseConv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = stride, padding, dilation
        return F.conv2d(x, weight, None, stride, padding, dilation, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation = ctx.geometry
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            geometry = (stride, padding, dilation, False, (0, 0), len(weight))
            only_x = (True, False, False)
            grad_x, *_ = torch.ops.aten.convolution_backward(
                grad, x, weight, None, *geometry, only_x
            )
        if ctx.needs_input_grad[1]:
            grad_weight = depthwise_weight_grad(grad, x, weight, stride, padding, dilation)
        return grad_x, grad_weight, None, None, None


def depthwise_weight_grad(
    grad: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Return the gradient of depthwise weights (C, 1, kh, kw), given the output's (N, C, H', W').

    The gradient of a tap is the sum, over all outputs, of the output's gradient times the input
    that the tap was multiplied by.
    """
    result = torch.zeros_like(weight)
    taps = [
        [
            (tap, *_overlap(x.shape[2 + axis], grad.shape[2 + axis], stride[axis], offset))
            for tap in range(weight.shape[2 + axis])
            for offset in [tap * dilation[axis] - padding[axis]]
        ]
        for axis in (0, 1)
    ]
    for i, rows, x_rows in taps[0]:
        for j, columns, x_columns in taps[1]:
            products = grad[:, :, rows, columns] * x[:, :, x_rows, x_columns]
            result[:, 0, i, j] = products.sum((0, 2, 3))  # without any overlap: 0
    return result


def _overlap(size: int, out_size: int, stride: int, offset: int) -> tuple[slice, slice]:
    """Return the outputs for which a tap lies inside the map, and the inputs it multiplies."""
    first = max(0, -(offset // stride))
    end = max(first, min(out_size, (size - 1 - offset) // stride + 1))
    start = first * stride + offset
    return slice(first, end), slice(start, start + (end - first) * stride, stride)
