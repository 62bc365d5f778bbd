"""ReLU6 that saves its output."""

import pytest
import torch
from torch import nn

from mobilenets.training.kernels import use_fast_modules
from mobilenets.training.kernels.activation import OutputReLU6


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(inplace=True))


@pytest.mark.parametrize("autocast", [False, True])
def test_relu6_has_the_output_and_the_gradients_of_pytorchs_to_the_bit(gradients, autocast):
    plain, faster = layers(), layers()
    for net in (plain, faster):
        net[1].weight.data.fill_(4.0)
        net[1].bias.data.fill_(2.0)
    faster[2] = use_fast_modules(faster[2])
    assert type(faster[2]) is OutputReLU6
    x = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output, found = gradients(faster, x)
        expected, wanted = gradients(plain, x)
    assert (expected == 0).any() and (expected == 6).any()
    assert torch.equal(output, expected)
    assert [key for key in wanted if not torch.equal(found[key], wanted[key])] == []


def test_relu6_lets_gradients_pass_strictly_between_its_bounds_as_pytorchs(gradients):
    values = torch.tensor([-1.0, -0.0, 0.0, 1e-30, 3.0, 6.0, 7.0, float("inf"), float("nan")])
    _, found = gradients(OutputReLU6(inplace=True), values)
    _, wanted = gradients(nn.ReLU6(inplace=True), values)
    assert torch.equal(found["x"], wanted["x"])


def test_relu6_saves_one_tensor_where_pytorchs_saves_two():
    def kept(activation: nn.Module) -> int:
        sizes = []

        def pack(tensor):
            sizes.append(tensor.untyped_storage().data_ptr())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            x = torch.randn(8, requires_grad=True)
            y = activation(x * 1)
            kept_alive = y * y  # what follows keeps the output anyway
        del kept_alive
        return len(set(sizes))

    assert kept(nn.ReLU6(inplace=True)) - kept(OutputReLU6(inplace=True)) == 1


def test_gradients_of_gradients_are_refused():
    x = torch.randn(4, requires_grad=True)
    y = OutputReLU6(inplace=True)(x * 1)
    (grad,) = torch.autograd.grad((y**2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
