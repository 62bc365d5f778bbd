"""Faster layers with the same results, and the one function that swaps them into a net."""

from torch import nn

from mobilenets.models import ConvBNReLU
from mobilenets.training.kernels.activation import OutputReLU6
from mobilenets.training.kernels.batchnorm import FusedBatchNorm2d, FusedConvBNReLU
from mobilenets.training.kernels.convolution import SmallMapConv2d
from mobilenets.training.kernels.native import load as load_native

__all__ = ["FAST_MODULES", "SmallMapConv2d", "load_native", "use_fast_modules"]

# To add a kernel, add a line: a type of module, and a subclass that computes the same with the same
# attributes. A kernel for two layers is a subclass of the container that holds both.
FAST_MODULES: dict[type[nn.Module], type[nn.Module]] = {
    nn.ReLU6: OutputReLU6,
    nn.Conv2d: SmallMapConv2d,
    nn.BatchNorm2d: FusedBatchNorm2d,
    ConvBNReLU: FusedConvBNReLU,
}


def use_fast_modules(net: nn.Module) -> nn.Module:
    """Make the modules of a net faster in training; return the net.

    Only their classes change, not parameters, hooks or the keys of the state dict. A compiler or an
    exporter sees the computation of PyTorch's own modules.
    """
    for module in net.modules():
        module.__class__ = FAST_MODULES.get(type(module), type(module))
    return net
