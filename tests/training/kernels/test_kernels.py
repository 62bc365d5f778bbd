"""The faster modules of training: same results, same keys, same gradients."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F

from mobilenets.models import create_model
from mobilenets.training.kernels import FAST_MODULES, load_native, use_fast_modules


@pytest.fixture(params=[False, True], ids=["eager", "compiled"])
def compiled(request):
    """Without the compiled kernels, and with them."""
    if load_native(request.param) != request.param:
        pytest.skip("there is no C compiler whose OpenMP is torch's")
    yield request.param
    load_native(False)


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_a_net_keeps_its_keys_parameters_and_pickled_state(name):
    net = create_model(name, width_mult=0.25, num_classes=5)
    keys, parameters = list(net.state_dict()), [id(p) for p in net.parameters()]
    assert use_fast_modules(net) is net
    assert list(net.state_dict()) == keys
    assert [id(p) for p in net.parameters()] == parameters
    kinds = {type(module) for module in net.modules()}
    assert kinds >= set(FAST_MODULES.values()) and not kinds & set(FAST_MODULES)
    use_fast_modules(net)  # a second time changes nothing
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


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_a_net_learns_as_with_pytorchs_modules(name, compiled):
    """In float32 both are as far from float64: the net itself amplifies the rounding."""

    def all_gradients(dtype: torch.dtype, faster: bool) -> torch.Tensor:
        torch.manual_seed(0)
        net = create_model(name, width_mult=0.25, num_classes=5, dropout=0.0)
        net = net.to(memory_format=torch.channels_last)
        x, y = torch.randn(16, 3, 32, 32), torch.randint(5, (16,))
        net = use_fast_modules(net) if faster else net
        F.cross_entropy(net.to(dtype)(x.to(dtype)), y).backward()
        return torch.cat([p.grad.double().flatten() for p in net.parameters()])

    exact = all_gradients(torch.float64, faster=False)
    plain = (all_gradients(torch.float32, faster=False) - exact).norm()
    faster = (all_gradients(torch.float32, faster=True) - exact).norm()
    assert faster < 2 * plain + 1e-4 * exact.norm()


def test_a_compiler_and_an_exporter_see_pytorchs_modules():
    net = use_fast_modules(create_model("mobilenet_v2", width_mult=0.25, num_classes=5)).eval()
    exported = torch.export.export(net, (torch.randn(2, 3, 32, 32),))
    called = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert any("conv2d" in name for name in called)
    assert not any("permute" in name or "autograd" in name for name in called)
