"""The faster modules of training: same results, same keys, same gradients."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobilenets.models import create_model
from mobilenets.training.kernels import (
    FASTER,
    OutputReLU6,
    speed_up,
)


def gradients(net: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The output, and the gradients of the input ("x") and of the parameters."""
    x = x.clone().requires_grad_()
    output = net(x * 1)  # no leaf: a first layer may work in place
    generator = torch.Generator().manual_seed(1)
    (output.float() * torch.randn(output.shape, generator=generator)).sum().backward()
    return output.detach(), {"x": x.grad} | {
        name: parameter.grad for name, parameter in net.named_parameters()
    }


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(inplace=True))


@pytest.mark.parametrize("autocast", [False, True])
def test_relu6_has_the_output_and_the_gradients_of_pytorchs_to_the_bit(autocast):
    plain, faster = layers(), layers()
    for net in (plain, faster):
        net[1].weight.data.fill_(4.0)
        net[1].bias.data.fill_(2.0)
    faster[2] = speed_up(faster[2])
    assert type(faster[2]) is OutputReLU6
    x = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output, found = gradients(faster, x)
        expected, wanted = gradients(plain, x)
    assert (expected == 0).any() and (expected == 6).any()
    assert torch.equal(output, expected)
    assert [key for key in wanted if not torch.equal(found[key], wanted[key])] == []


def test_relu6_lets_gradients_pass_strictly_between_its_bounds_as_pytorchs():
    values = torch.tensor([-1.0, -0.0, 0.0, 1e-30, 3.0, 6.0, 7.0, float("inf"), float("nan")])
    _, found = gradients(OutputReLU6(inplace=True), values)
    _, wanted = gradients(nn.ReLU6(inplace=True), values)
    assert torch.equal(found["x"], wanted["x"])


def test_relu6_keeps_one_tensor_where_pytorchs_keeps_two():
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


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_a_net_keeps_its_keys_parameters_and_pickled_state(name):
    net = create_model(name, width_mult=0.25, num_classes=5)
    keys, parameters = list(net.state_dict()), [id(p) for p in net.parameters()]
    assert speed_up(net) is net
    assert list(net.state_dict()) == keys
    assert [id(p) for p in net.parameters()] == parameters
    kinds = {type(module) for module in net.modules()}
    assert kinds >= set(FASTER.values()) and not kinds & set(FASTER)
    speed_up(net)  # a second time changes nothing
    assert {type(module) for module in net.modules()} == kinds

    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    plain = create_model(name, width_mult=0.25, num_classes=5)
    plain.load_state_dict(torch.load(file, weights_only=True))
    net.load_state_dict(plain.state_dict())
    twin = copy.deepcopy(net)
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(twin.eval()(x), plain.eval()(x), rtol=1e-5, atol=1e-6)


def test_a_net_learns_as_with_pytorchs_modules():
    """In float32 both are as far from float64: the net itself amplifies the rounding."""

    def all_gradients(dtype: torch.dtype, faster: bool) -> torch.Tensor:
        torch.manual_seed(0)
        net = create_model("mobilenet_v1", width_mult=0.25, num_classes=5, dropout=0.0)
        net = net.to(memory_format=torch.channels_last)
        x, y = torch.randn(16, 3, 32, 32), torch.randint(5, (16,))
        net = speed_up(net) if faster else net
        F.cross_entropy(net.to(dtype)(x.to(dtype)), y).backward()
        return torch.cat([p.grad.double().flatten() for p in net.parameters()])

    exact = all_gradients(torch.float64, faster=False)
    plain = (all_gradients(torch.float32, faster=False) - exact).norm()
    faster = (all_gradients(torch.float32, faster=True) - exact).norm()
    assert faster < 2 * plain + 1e-4 * exact.norm()


def test_a_compiler_and_an_exporter_see_pytorchs_modules():
    net = speed_up(create_model("mobilenet_v2", width_mult=0.25, num_classes=5)).eval()
    exported = torch.export.export(net, (torch.randn(2, 3, 32, 32),))
    called = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert any("conv2d" in name for name in called)
    assert not any("permute" in name or "autograd" in name for name in called)
