"""The compiled norm, and the pair of norm and activation."""

import copy

import pytest
import torch
from torch import nn

from mobilenets.models import ConvBNReLU
from mobilenets.training.kernels import load_native, use_fast_modules
from mobilenets.training.kernels.batchnorm import FusedBatchNorm2d, FusedConvBNReLU

PAIRS = {None: 0, "relu": 1, "relu6": 1, "hardswish": 0}  # activation -> kernels that hold it


@pytest.fixture(autouse=True)
def compiled():
    """The compiled kernels, for one test."""
    if not load_native():
        pytest.skip("there is no C compiler whose OpenMP is torch's")
    yield
    load_native(False)


def pair(activation="relu6", channels=7, **options):
    """Return a layer with a norm that is not the identity: in double, in float, and a fast one."""
    torch.manual_seed(0)
    layer = ConvBNReLU(channels, channels, 1, activation=activation, **options)
    nn.init.uniform_(layer[1].weight, 0.5, 3.0)
    nn.init.uniform_(layer[1].bias, -1.0, 4.0)
    plain = layer.to(memory_format=torch.channels_last)
    return copy.deepcopy(plain).double(), plain, use_fast_modules(copy.deepcopy(plain))


def maps(*shape, mean=3.0):
    """Return inputs in channels_last."""
    torch.manual_seed(1)
    return (torch.randn(shape) + mean).to(memory_format=torch.channels_last)


def kernels(output: torch.Tensor) -> int:
    """Return the number of compiled norms in the graph of an output."""
    seen, left = set(), [output.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [child for child, _ in node.next_functions]
    return sum(type(node).__name__ == "_BatchNormBackward" for node in seen)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(5, 7, 9, 4), (2, 7, 1, 1), (1, 7, 3, 1), (3, 300, 2, 3)])
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
def test_it_is_as_exact_as_pytorchs(gradients, activation, shape, threads):
    exact, plain, faster = pair(activation, shape[1])
    x = maps(*shape)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        output, found = gradients(faster, x)
    finally:
        torch.set_num_threads(before)
    plain_output, plain_found = gradients(plain, x)
    exact_output, wanted = gradients(exact, x.double())
    wanted["output"], found["output"], plain_found["output"] = exact_output, output, plain_output
    for key, value in wanted.items():
        error, usual = (found[key] - value).norm(), (plain_found[key] - value).norm()
        assert error <= 2 * usual + 1e-5 * value.norm() + 1e-6, key
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(faster.state_dict()[key], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", PAIRS)
def test_an_activation_that_only_clamps_goes_into_the_kernel(activation):
    _, _, faster = pair(activation)
    assert type(faster) is FusedConvBNReLU and type(faster[1]) is FusedBatchNorm2d
    ran = []
    if activation:
        faster[2].register_forward_hook(lambda *_: ran.append(1))
    assert kernels(faster(maps(2, 7, 3, 3))) == 1
    assert len(ran) == (activation == "hardswish")


@pytest.mark.parametrize(
    "change",
    [
        lambda layer, x: (layer.eval(), x),
        lambda layer, x: (layer.to(memory_format=torch.contiguous_format), x.contiguous()),
        lambda layer, x: (layer.double(), x.double()),
        lambda layer, x: (layer.bfloat16(), x.bfloat16()),
        lambda layer, x: (setattr(layer[1], "momentum", None), x),
        lambda layer, x: (setattr(layer[1], "track_running_stats", False), x),
        lambda layer, x: (load_native(False), x),
    ],
    ids=["evaluation", "channels first", "double", "bfloat16", "mean", "no statistics", "off"],
)
def test_what_the_kernel_does_not_support_is_left_to_pytorch(change):
    _, plain, faster = pair()
    x = maps(2, 7, 3, 3)
    assert kernels(faster(x)) == 1
    plain.load_state_dict(faster.state_dict())
    _, x = change(faster, x)
    change(plain, x)
    output = faster(x)
    assert kernels(output) == 0
    assert torch.equal(output, plain(x))
    with torch.no_grad():
        torch.testing.assert_close(faster(x), plain(x))


def test_one_pixel_has_no_variance_and_pytorch_raises():
    _, _, faster = pair()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        faster(maps(1, 7, 1, 1))


def test_a_large_mean_does_not_drown_the_variance():
    norm = FusedBatchNorm2d(3, momentum=1.0)
    x = maps(4, 3, 40, 40, mean=1e4)
    norm(x)
    torch.testing.assert_close(
        norm.running_var, x.double().var((0, 2, 3)).float(), rtol=1e-4, atol=0
    )


def test_a_channel_of_one_value_stays_finite(gradients):
    _, _, faster = pair(None)
    output, found = gradients(faster[1], torch.full_like(maps(2, 7, 3, 3), 5.0))
    assert output.isfinite().all() and found["x"].isfinite().all()
    bias = faster[1].bias.detach()[:, None, None].expand(output.shape)
    torch.testing.assert_close(output, bias, rtol=0, atol=1e-3)


def test_a_nan_stays_a_nan():
    _, _, faster = pair()
    x = maps(2, 7, 3, 3)
    x[0, 0, 0, 0] = float("nan")
    assert faster(x).isnan().any()


def test_frozen_layers_get_no_gradient_and_pass_none_on():
    _, _, faster = pair()
    faster[1].requires_grad_(False)
    x = maps(2, 7, 3, 3).requires_grad_()
    faster[1](x).sum().backward()
    assert x.grad is not None and faster[1].weight.grad is None
    faster[1].requires_grad_(True)
    faster[1](x.detach()).sum().backward()
    assert faster[1].weight.grad is not None


def test_the_bits_are_the_same_each_time(gradients):
    _, _, faster = pair(channels=300)
    x = maps(6, 300, 5, 5)
    (first, one), (second, two) = (gradients(copy.deepcopy(faster), x) for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(one[key], two[key]) for key in one)
