"""An activation that keeps its output for backward."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class OutputReLU6(nn.ReLU6):
    """A ReLU6 in place that keeps its output for backward.

    PyTorch's own keeps a copy of its input, which costs the copy and, until backward, the memory.
    The output says as much: the gradient passes where it is strictly between 0 and 6. Outputs and
    gradients are those of nn.ReLU6 to the bit. (nn.ReLU keeps its output already.)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same, in place."""
        if self.inplace and is_trained():
            return _OutputReLU6.apply(x)
        return super().forward(x)


def is_trained() -> bool:
    """Whether gradients are wanted of eager PyTorch; a compiler makes kernels of its own."""
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
