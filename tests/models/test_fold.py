"""Folded nets predict the same without a BatchNorm."""

import pytest
import torch
from torch import nn

from mobilenets import create_model, fold_batchnorm

VARIANTS = [
    {},
    {"conv": "full"},
    {"conv": "grouped", "channels_per_group": 8},
    {"conv": "separable"},
    {"padding": "same", "bn_eps": 1e-3},
    {"conv": "separable", "padding": "same"},
    {"output_stride": 8, "activation": "hardswish"},
    {"num_classes": 0, "strides": "cifar", "in_channels": 1},
]
NETS = [
    *(("mobilenet_v1", options) for options in VARIANTS),
    ("mobilenet_v1", {"shallow": True, "kernels_per_layer": 2, "head_channels": 64}),
    *(("mobilenet_v2", options) for options in VARIANTS),
    *(("mobilenet_v2", {"residual": residual}) for residual in ("expansion", "none")),
    ("mobilenet_v2", {"bottleneck": "relu6"}),
]


@pytest.fixture
def make_net(randomise):
    """make_net(name, ...) -> a net in training mode whose norms all have an effect."""

    def make(name, **options):
        torch.manual_seed(0)
        options = {"width_mult": 0.25, "num_classes": 5} | options
        return randomise(create_model(name, **options)).train()

    return make


def norms(net):
    return [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize(("name", "options"), NETS)
def test_every_net_predicts_the_same_without_its_norms(name, options, make_net):
    net = make_net(name, **options).double()  # in float32 a deep net amplifies its own rounding
    folded = fold_batchnorm(net)
    assert norms(net) and net.training, "the net itself does not change"
    assert not norms(folded) and not folded.training
    x = torch.randn(2, net.options["in_channels"], 33, 32, dtype=torch.float64)
    net.eval()
    torch.testing.assert_close(folded(x), net(x), rtol=1e-9, atol=1e-12)
    assert net(x).std() > 1e-6

    torch.testing.assert_close(folded.forward_features(x), net.forward_features(x))
    (last, maps), (expected, others) = folded.forward_intermediates(x), net.forward_intermediates(x)
    torch.testing.assert_close([last, *maps], [expected, *others])
    assert folded.feature_info == net.feature_info and folded.options == net.options


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_folding_rounds_as_much_as_the_dtype(name, dtype, make_net):
    net = make_net(name).to(memory_format=torch.channels_last).eval()
    x = torch.randn(4, 3, 32, 32)
    exact = make_net(name).double().eval()(x.double())
    folded = fold_batchnorm(net.to(dtype))
    assert {p.dtype for p in folded.parameters()} == {dtype}
    stem = folded.features[0][0]
    assert stem.weight.is_contiguous(memory_format=torch.channels_last)

    def error(outputs):
        return ((outputs.double() - exact).norm() / exact.norm()).item()

    with torch.inference_mode():
        assert error(folded(x.to(dtype))) < max(2 * error(net(x.to(dtype))), 1e-5)


def test_a_folded_net_needs_no_gradient_and_shares_no_weight(make_net):
    net = make_net("mobilenet_v2")
    net.compile(backend="eager")
    folded = fold_batchnorm(net)
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert all(parameter.requires_grad for parameter in net.parameters())
    own = {parameter.data_ptr() for parameter in net.parameters()}
    assert not own & {parameter.data_ptr() for parameter in folded.parameters()}
    assert folded._compiled_call_impl is None


def test_synchronised_norms_are_folded(make_net):
    net = nn.SyncBatchNorm.convert_sync_batchnorm(make_net("mobilenet_v1")).eval()
    folded = fold_batchnorm(net)
    assert not [module for module in folded.modules() if isinstance(module, nn.SyncBatchNorm)]


def test_a_norm_without_running_statistics_stays():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(fold_batchnorm(net)(x), net.eval()(x))


def test_a_norm_without_a_convolution_before_it_stays():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4))
    net[0].running_mean.fill_(0.5)
    folded = fold_batchnorm(net)
    assert len(norms(folded)) == 2
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(folded(x), net.eval()(x))
