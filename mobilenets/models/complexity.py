"""The cost of a net: its parameters, and its multiply-adds for one input."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

# The operations of convolutions and linear layers; attention's products of activations are bmm.
COUNTED = (torch.ops.aten.convolution, torch.ops.aten.mm, torch.ops.aten.addmm)


def count_parameters(model: nn.Module) -> int:
    """Count all parameters, trained or frozen; running statistics are not parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, input_size: Sequence[int] = (3, 224, 224)) -> int:
    """Count the multiply-adds of all convolutions and linear layers for one input, exactly.

    This is the papers' count: a multiply-add is 1, a kernel counts in full at the borders, and
    biases, norms, activations and pooling are free. The forward pass runs on a copy in evaluation
    mode on the meta device, so nothing is computed and the model does not change.

    Args:
        model: any module that takes one tensor; a layer that is called twice counts twice.
        input_size: shape of one input without the batch; for images (channels, height, width).
    """
    counter = FlopCounterMode(display=False)
    # With gradients a linear layer is one mm or addmm; without them torch may choose bmm.
    with torch.inference_mode(False), torch.enable_grad():
        net = deepcopy(model).to("meta").eval().requires_grad_()
        dtype = next(net.parameters(), torch.empty(0)).dtype
        with counter:
            net(torch.empty(1, *input_size, dtype=dtype, device="meta"))
    flops = counter.get_flop_counts().get("Global", {})
    return sum(flops.get(operation, 0) for operation in COUNTED) // 2
