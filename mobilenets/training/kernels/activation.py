"""An activation that saves its output, not its input, for the backward pass."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class OutputReLU6(nn.ReLU6):
    """An in-place ReLU6 that saves its output for the backward pass.

    nn.ReLU6 saves a copy of its input, which costs time and, until the backward pass, memory. The
    output is sufficient: the gradient passes where it is strictly between 0 and 6. Outputs and
    gradients equal those of nn.ReLU6 bit for bit. (nn.ReLU already saves its output.)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Clamp a tensor of any shape, in place."""
        if self.inplace and is_eager_training():
            return _OutputReLU6.apply(x)
        return super().forward(x)


def is_eager_training() -> bool:
    """Return whether gradients are recorded in eager mode; a compiler makes its own kernels."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


class _OutputReLU6(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        F.relu6(x, inplace=True)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad, output, 0, 6)
