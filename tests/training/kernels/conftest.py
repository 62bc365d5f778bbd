"""What the tests of the kernels compare."""

import pytest
import torch
from torch import nn


@pytest.fixture
def gradients():
    """The output of a net, and the gradients of its input ("x") and of its parameters."""

    def run(net: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        x = x.clone().requires_grad_()
        output = net(x * 1)  # no leaf: a first layer may work in place
        generator = torch.Generator().manual_seed(1)
        weights = torch.randn(output.shape, generator=generator)
        (output.float() * weights).sum().backward()
        return output.detach(), {"x": x.grad} | {
            name: parameter.grad for name, parameter in net.named_parameters()
        }

    return run
