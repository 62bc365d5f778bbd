"""Layers that compute the same, faster: the one place where modules of a net are swapped."""

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


# To add a compiled kernel, add a line: a module's type, and a subclass that computes the same with
# the same attributes. A fused pair is a subclass of the container that holds both.
FASTER: dict[type[nn.Module], type[nn.Module]] = {
    nn.ReLU6: OutputReLU6,
}


def speed_up(net: nn.Module) -> nn.Module:
    """Lets the modules of a net compute faster in training; returns the net.

    Only their classes change: parameters, hooks and the keys of the state dict are the same
    objects. Compiled or exported, they do what PyTorch's own do.
    """
    for module in net.modules():
        module.__class__ = FASTER.get(type(module), type(module))
    return net


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
