"""Layers that compute the same, faster: the one place where modules of a net are swapped."""

from torch import nn

from mobilenets.models import ConvBNReLU
from mobilenets.training.kernels.activation import OutputReLU6
from mobilenets.training.kernels.batchnorm import FusedBatchNorm2d, FusedConvBNReLU
from mobilenets.training.kernels.convolution import SmallMapConv2d
from mobilenets.training.kernels.native import load as load_native

__all__ = ["FASTER", "SmallMapConv2d", "load_native", "speed_up"]

# To add a kernel, add a line: a module's type, and a subclass that computes the same with the same
# attributes. A fused pair is a subclass of the container that holds both.
FAST_MODULES: dict[type[nn.Module], type[nn.Module]] = {
    nn.ReLU6: OutputReLU6,
    nn.Conv2d: SmallMapConv2d,
    nn.BatchNorm2d: FusedBatchNorm2d,
    ConvBNReLU: FusedConvBNReLU,
}


def use_fast_modules(net: nn.Module) -> nn.Module:
    """Lets the modules of a net compute faster in training; returns the net.

    Only their classes change: parameters, hooks and the keys of the state dict are the same
    objects. Compiled or exported, they do what PyTorch's own do.
    """
    for module in net.modules():
        module.__class__ = FAST_MODULES.get(type(module), type(module))
    return net
