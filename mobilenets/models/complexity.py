"""What a net costs: parameters, and multiply-adds for one input."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

# What convolutions and linear layers become; attention's products of activations are bmm.
COUNTED = (torch.ops.aten.convolution, torch.ops.aten.mm, torch.ops.aten.addmm)


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, trained or frozen; running statistics are none."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, input_size: Sequence[int] = (3, 224, 224)) -> int:
    """Multiply-adds of all convolutions and linear layers for one input, exact; one MAC = 1.

    As the papers count: a kernel counts in full at the borders too; biases, norms, activations and
    pooling count nothing. The forward pass runs on a copy in evaluation mode on the meta device, so
    it computes nothing, and the model and its mode stay as they are.

    Args:
        model: any module called with one tensor; a layer that is called twice counts twice.
        input_size: shape of one input without the batch, (channels, height, width) for images.
    """
    counter = FlopCounterMode(display=False)
    # With gradients a linear layer is one mm or addmm; without, torch may choose bmm.
    with torch.inference_mode(False), torch.enable_grad():
        net = deepcopy(model).to("meta").eval().requires_grad_()
        dtype = next(net.parameters(), torch.empty(0)).dtype
        with counter:
            net(torch.empty(1, *input_size, dtype=dtype, device="meta"))
    flops = counter.get_flop_counts().get("Global", {})
    return sum(flops.get(operation, 0) for operation in COUNTED) // 2
