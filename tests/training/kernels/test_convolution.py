"""Convolutions on small feature maps."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobilenets.training.kernels import use_fast_modules
from mobilenets.training.kernels.convolution import SmallMapConv2d, depthwise_weight_grad

GEOMETRIES = [
    # (kernel, stride, padding, dilation, map)
    *(((3, 3), (s, s), (1, 1), (1, 1), (h, w)) for s in (1, 2) for h in (1, 2, 3) for w in (1, 2)),
    ((3, 1), (1, 1), (1, 0), (1, 1), (2, 2)),
    ((5, 5), (2, 2), (2, 2), (1, 1), (3, 4)),
    ((3, 3), (1, 1), (2, 2), (2, 2), (2, 1)),
    ((3, 3), (1, 1), (4, 4), (4, 4), (4, 4)),
    ((3, 3), (3, 1), (0, 2), (1, 1), (4, 2)),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "size"), GEOMETRIES)
def test_the_gradient_of_depthwise_weights_is_that_of_pytorch(
    kernel, stride, padding, dilation, size
):
    torch.manual_seed(0)
    x = torch.randn(3, 4, *size, dtype=torch.float64)
    weight = torch.randn(4, 1, *kernel, dtype=torch.float64, requires_grad=True)
    output = F.conv2d(x, weight, None, stride, padding, dilation, groups=4)
    grad = torch.randn_like(output)
    (expected,) = torch.autograd.grad(output, weight, grad)
    found = depthwise_weight_grad(grad, x, weight.detach(), stride, padding, dilation)
    torch.testing.assert_close(found, expected)


CONVS = {  # name -> the layer, the side of the map, what computes it
    "depthwise on 1 x 1": (nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), 1, "taps"),
    "depthwise on 2 x 2": (nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), 2, "taps"),
    "depthwise to 2 x 2": (nn.Conv2d(8, 8, 3, 2, padding=1, groups=8, bias=False), 3, "taps"),
    "pointwise on 7 x 7": (nn.Conv2d(8, 16, 1, bias=False), 7, "product"),
    "pointwise with bias": (nn.Conv2d(8, 16, 1), 2, "product"),
    "depthwise on 4 x 4": (nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), 4, "as it was"),
    "pointwise on 8 x 8": (nn.Conv2d(8, 16, 1, bias=False), 8, "as it was"),
    "two kernels a channel": (nn.Conv2d(8, 16, 3, padding=1, groups=8, bias=False), 2, "as it was"),
    "padded by name": (nn.Conv2d(8, 8, 3, padding="same", groups=8, bias=False), 2, "as it was"),
    "padded by reflection": (
        nn.Conv2d(8, 8, 1, padding_mode="reflect", bias=False),
        2,
        "as it was",
    ),
}


@pytest.mark.parametrize("name", CONVS)
def test_a_convolution_of_a_small_map_computes_what_pytorchs_does(gradients, name, monkeypatch):
    plain, size, way = copy.deepcopy(CONVS[name])
    plain = plain.to(memory_format=torch.channels_last)
    faster = use_fast_modules(copy.deepcopy(plain))
    assert type(faster) is SmallMapConv2d
    x = torch.randn(4, 8, size, size).to(memory_format=torch.channels_last)

    products, linear = [], F.linear
    monkeypatch.setattr(F, "linear", lambda *args: products.append(1) or linear(*args))
    output, found = gradients(faster, x)
    monkeypatch.undo()
    expected, wanted = gradients(plain, x)
    assert len(products) == (way == "product")
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    assert output.is_contiguous(memory_format=torch.channels_last)
    for key, gradient in wanted.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-4, atol=1e-5, msg=key)
    node = type(faster(x.requires_grad_()).grad_fn).__name__
    assert (node == "_DepthwiseConv2dBackward") == (way == "taps")


def test_maps_that_are_not_channels_last_stay_as_they_lie():
    plain = nn.Conv2d(8, 16, 1, bias=False)
    x = torch.randn(4, 8, 2, 2)
    output = use_fast_modules(copy.deepcopy(plain))(x)
    assert output.is_contiguous() and torch.equal(output, plain(x))
