"""Batch normalisation and the activation after it in one compiled kernel, `batchnorm.c`."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mobilenets.models import ConvBNReLU
from mobilenets.training.kernels import native
from mobilenets.training.kernels.activation import OutputReLU6, is_eager_training

Bounds = tuple[float, float]
UNBOUNDED = float("-inf"), float("inf")
BOUNDS: dict[type[nn.Module], Bounds] = {  # of activations that only clamp
    nn.ReLU: (0.0, float("inf")),
    nn.ReLU6: (0.0, 6.0),
    OutputReLU6: (0.0, 6.0),
}


class FusedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with a compiled kernel for training on a CPU in float32, channels_last.

    Outputs, gradients and running statistics equal those of nn.BatchNorm2d up to rounding.
    """

    def forward(self, x: Tensor, bounds: Bounds = UNBOUNDED) -> Tensor:
        """Normalise (N, C, H, W), then clamp; only if the norm `is_fused` may there be bounds."""
        if self.is_fused(x):
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            statistics = self.running_mean, self.running_var, self.momentum, self.eps
            return _BatchNorm.apply(x, self.weight, self.bias, *statistics, *bounds)
        assert bounds == UNBOUNDED
        return super().forward(x)

    def is_fused(self, x: Tensor) -> bool:
        """Return whether the kernel supports this input."""
        return (
            native.library is not None
            and is_eager_training()
            and self.training
            and self.affine
            and self.track_running_stats
            and self.momentum is not None
            and x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and x.is_contiguous(memory_format=torch.channels_last)
            and x.numel() > x.shape[1]  # one pixel has no variance: PyTorch raises
        )


class FusedConvBNReLU(ConvBNReLU):
    """A ConvBNReLU with one kernel for the norm and the activation, if that only clamps."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        conv, norm, *activation = self
        x = conv(x)
        bounds = BOUNDS.get(type(activation[0])) if activation else None
        if bounds and isinstance(norm, FusedBatchNorm2d) and norm.is_fused(x):
            return norm(x, bounds)
        for layer in (norm, *activation):
            x = layer(x)
        return x


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
        low: float,
        high: float,
    ) -> Tensor:
        assert native.library is not None
        rows, channels, sums = count_pixels(x), x.shape[1], allocate_sums(x)
        y, saved = torch.empty_like(x), x.new_empty(4, channels)
        native.library.batchnorm_forward(
            x.data_ptr(),
            y.data_ptr(),
            rows,
            channels,
            weight.data_ptr(),
            bias.data_ptr(),
            running_mean.data_ptr(),
            running_var.data_ptr(),
            momentum,
            eps,
            low,
            high,
            saved.data_ptr(),
            sums.data_ptr(),
            len(sums),
        )
        ctx.save_for_backward(x, saved)
        ctx.bounds = low, high
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        assert native.library is not None
        x, saved = ctx.saved_tensors
        rows, channels, sums = count_pixels(x), x.shape[1], allocate_sums(x)
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grads = x.new_empty(4, channels)  # of the weight, of the bias, and scratch
        native.library.batchnorm_backward(
            x.data_ptr(),
            grad.data_ptr(),
            None if grad_x is None else grad_x.data_ptr(),
            rows,
            channels,
            saved.data_ptr(),
            *ctx.bounds,
            grads.data_ptr(),
            sums.data_ptr(),
            len(sums),
        )
        return grad_x, grads[0], grads[1], *[None] * 6


def count_pixels(x: Tensor) -> int:
    """Return the number of rows of (N, C, H, W) as a matrix (N * H * W, C)."""
    return x.numel() // x.shape[1]


def allocate_sums(x: Tensor) -> Tensor:
    """Return the memory (threads, 2, C) in which the threads of the kernel add up."""
    return x.new_empty(torch.get_num_threads(), 2, x.shape[1], dtype=torch.float64)
