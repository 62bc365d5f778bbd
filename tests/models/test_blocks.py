import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models._utils import _make_divisible

from mobilenets.models.blocks import (
    ACTIVATIONS,
    ConvBNReLU,
    DepthwiseSeparableConv,
    InvertedResidual,
    count_groups,
    make_divisible,
)


def numpy_conv(x, weight, stride=1, groups=1, dilation=1, pad=(0, 0, 0, 0)):
    """Cross-correlation in plain NumPy. x: (C, H, W), weight: (O, C / groups, k, k).

    pad: pixels of zeros at the top, bottom, left, right.
    """
    top, bottom, left, right = pad
    x = np.pad(x, ((0, 0), (top, bottom), (left, right)))
    out_channels, in_group, kh, kw = weight.shape
    height = (x.shape[1] - (kh - 1) * dilation - 1) // stride + 1
    width = (x.shape[2] - (kw - 1) * dilation - 1) // stride + 1
    y = np.zeros((out_channels, height, width))
    for o in range(out_channels):
        group = o // (out_channels // groups)
        for c in range(in_group):
            for i in range(kh):
                for j in range(kw):
                    rows = i * dilation + stride * np.arange(height)
                    columns = j * dilation + stride * np.arange(width)
                    y[o] += weight[o, c, i, j] * x[group * in_group + c][np.ix_(rows, columns)]
    return y


def tf_same_pad(size, kernel_size, stride, dilation=1):
    """(before, after) in Keras's formulation, which goes by the remainder of size / stride."""
    reach = (kernel_size - 1) * dilation + 1
    total = max(reach - (size % stride or stride), 0)
    return total // 2, total - total // 2


def close(ours, expected):
    np.testing.assert_allclose(ours.detach().numpy(), expected, atol=1e-4)


# ConvBNReLU


def test_conv_bn_relu_is_conv_without_bias_then_norm_then_relu6():
    layer = ConvBNReLU(4, 6, 5, stride=2)
    conv, norm, activation = layer
    assert conv.padding == (2, 2) and conv.bias is None
    assert (norm.eps, norm.momentum) == (1e-5, 0.1)
    assert isinstance(activation, nn.ReLU6)
    assert list(layer.state_dict())[:2] == ["0.weight", "1.weight"]
    assert layer(torch.randn(2, 4, 9, 8)).shape == (2, 6, 5, 4)


def test_conv_bn_relu_passes_its_norm_options_on():
    norm = ConvBNReLU(4, 6, bn_eps=1e-3, bn_momentum=0.01)[1]
    assert (norm.eps, norm.momentum) == (1e-3, 0.01)


def test_activation_none_is_linear():
    assert len(ConvBNReLU(4, 6, activation=None)) == 2


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_trains(name):
    layer = ConvBNReLU(3, 4, activation=name)
    layer(torch.randn(2, 3, 6, 6)).square().sum().backward()
    assert layer[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_is_that_of_tensorflow(size, kernel_size, stride, dilation):
    layer = ConvBNReLU(2, 3, kernel_size, stride, dilation=dilation, padding="same")
    x = torch.randn(1, 2, size, size + 1)
    pads = [tf_same_pad(s, kernel_size, stride, dilation) for s in (size, size + 1)]
    expected = numpy_conv(
        x[0].numpy(),
        layer[0].weight.detach().numpy(),
        stride,
        dilation=dilation,
        pad=(*pads[0], *pads[1]),
    )
    assert expected.shape[1:] == (-(-size // stride), -(-(size + 1) // stride))
    close(layer[0](x)[0], expected)


def test_same_padding_of_stride_2_on_an_even_map_is_at_the_bottom_and_right():
    layer = ConvBNReLU(1, 1, 3, stride=2, padding="same")
    nn.init.ones_(layer[0].weight)
    sums = layer[0](torch.arange(16.0).reshape(1, 1, 4, 4))[0, 0]
    assert sums.tolist() == [[45.0, 39.0], [66.0, 50.0]]  # of rows 0-2 and 2-3, columns alike


def test_both_paddings_agree_at_stride_1():
    symmetric, same = ConvBNReLU(2, 3, 3), ConvBNReLU(2, 3, 3, padding="same")
    same.load_state_dict(symmetric.state_dict())
    x = torch.randn(1, 2, 6, 7)
    assert torch.equal(symmetric(x), same(x))


# Spatially separable convolution


@pytest.mark.parametrize("kernels_per_layer", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_separable_equals_depthwise_with_kernels_of_rank_1(
    kernels_per_layer, stride, dilation, padding
):
    options = {"dilation": dilation, "padding": padding}
    block = DepthwiseSeparableConv(3, 4, 3, stride, kernels_per_layer, conv="separable", **options)
    row, column = block.depthwise[0]
    assert (row.kernel_size, column.kernel_size) == ((1, 3), (3, 1))
    depthwise = DepthwiseSeparableConv(3, 4, 3, stride, kernels_per_layer, **options)
    with torch.no_grad():
        depthwise.depthwise[0].weight.copy_(column.weight @ row.weight)  # (C, 1, 3, 3)
    x = torch.randn(2, 3, 9, 8)
    close(block.depthwise[0](x), depthwise.depthwise[0](x).detach().numpy())


# DepthwiseSeparableConv


@pytest.mark.parametrize("kernels_per_layer", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_kernels_of_one_channel_are_adjacent(kernels_per_layer, stride):
    block = DepthwiseSeparableConv(4, 5, 3, stride, kernels_per_layer)
    weight = block.depthwise[0].weight.detach().numpy()
    assert weight.shape == (4 * kernels_per_layer, 1, 3, 3)
    x = torch.randn(1, 4, 7, 8)
    y = block.depthwise[0](x)[0]
    for channel in range(4):
        for j in range(kernels_per_layer):
            o = channel * kernels_per_layer + j
            alone = numpy_conv(
                x[0, channel : channel + 1].numpy(), weight[o : o + 1], stride, pad=(1, 1, 1, 1)
            )
            close(y[o], alone[0])


@pytest.mark.parametrize(
    ("conv", "channels_per_group", "groups"),
    [
        ("depthwise", None, 6),
        ("grouped", 1, 6),
        ("grouped", 2, 3),
        ("grouped", 6, 1),
        ("full", None, 1),
    ],
)
@pytest.mark.parametrize("kernels_per_layer", [1, 2])
def test_each_kind_of_convolution_equals_numpy(conv, channels_per_group, groups, kernels_per_layer):
    block = DepthwiseSeparableConv(
        6, 4, 3, 2, kernels_per_layer, conv=conv, channels_per_group=channels_per_group
    )
    spatial = block.depthwise[0]
    assert spatial.weight.shape == (6 * kernels_per_layer, 6 // groups, 3, 3)
    x = torch.randn(1, 6, 7, 8)
    expected = numpy_conv(
        x[0].numpy(), spatial.weight.detach().numpy(), stride=2, groups=groups, pad=(1, 1, 1, 1)
    )
    close(spatial(x)[0], expected)


def test_depthwise_separable_is_depthwise_then_pointwise():
    block = DepthwiseSeparableConv(4, 6, stride=2)
    x = torch.randn(2, 4, 8, 8)
    assert block(x).shape == (2, 6, 4, 4)
    assert block.pointwise[0].kernel_size == (1, 1)
    assert torch.equal(block.eval()(x), block.pointwise(block.depthwise(x)))
    assert [type(layer) for layer in block.depthwise] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU6]
    assert [type(layer) for layer in block.pointwise] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU6]


# InvertedResidual


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "shortcut"),
    [(4, 4, 1, True), (4, 4, 2, False), (4, 6, 1, False), (4, 6, 2, False)],
)
def test_a_block_has_a_shortcut_if_the_shapes_agree(in_channels, out_channels, stride, shortcut):
    block = InvertedResidual(in_channels, out_channels, stride, expand_ratio=6).eval()
    x = torch.randn(1, in_channels, 8, 8)
    expected = block.conv(x) + x if shortcut else block.conv(x)
    assert block.use_residual == shortcut
    assert torch.equal(block(x), expected)


def test_shortcut_can_be_forbidden():
    block = InvertedResidual(4, 4, 1, 6, use_residual=False).eval()
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(block(x), block.conv(x))


@pytest.mark.parametrize("shape", [(4, 4, 2), (4, 6, 1)])
def test_an_impossible_shortcut_is_rejected(shape):
    with pytest.raises(ValueError, match="use_residual=True is impossible"):
        InvertedResidual(*shape, 6, use_residual=True)


def test_a_kernel_that_changes_the_size_has_no_shortcut():
    assert not InvertedResidual(4, 4, 1, 6, kernel_size=4).use_residual
    assert InvertedResidual(4, 4, 1, 6, kernel_size=4, padding="same").use_residual
    with pytest.raises(ValueError, match="4x4 kernel"):
        InvertedResidual(4, 4, 1, 6, kernel_size=4, use_residual=True)


def test_expansion_is_omitted_at_ratio_1():
    keys = [key for key in InvertedResidual(4, 6, 1, 1).state_dict() if key.endswith("weight")]
    assert keys == ["conv.0.0.weight", "conv.0.1.weight", "conv.1.weight", "conv.2.weight"]


def test_projection_is_linear_unless_the_bottleneck_is_relu6():
    x = torch.randn(2, 4, 8, 8)
    linear = InvertedResidual(4, 6, 1, 6).eval()
    clipped = InvertedResidual(4, 6, 1, 6, bottleneck="relu6", activation="silu").eval()
    clipped.load_state_dict(linear.state_dict())
    assert isinstance(clipped.conv[0][2], nn.SiLU) and isinstance(clipped.conv[-1], nn.ReLU6)
    assert linear(x).min() < 0 and clipped(x).min() == 0


def test_relu6_bottleneck_comes_before_the_addition():
    block = InvertedResidual(4, 4, 1, 6, bottleneck="relu6").eval()
    x = torch.randn(1, 4, 8, 8)
    assert (block(x) - x).min() > -1e-6
    assert block(x).min() < 0


@pytest.mark.parametrize("expand_ratio", [1, 6])
def test_expansion_shortcut_connects_the_expanded_maps(expand_ratio):
    block = InvertedResidual(4, 4, 1, expand_ratio, residual="expansion").eval()
    x = torch.randn(1, 4, 8, 8)
    *expand, spatial, project, norm = block.conv
    expanded = expand[0](x) if expand else x
    assert len(expand) == (expand_ratio != 1)
    assert torch.equal(block(x), norm(project(expanded + spatial(expanded))))


def test_expansion_shortcut_replaces_the_default_one_and_can_be_forced_elsewhere():
    assert not InvertedResidual(4, 6, 1, 6, residual="expansion").use_residual
    assert InvertedResidual(4, 6, 1, 6, use_residual=True, residual="expansion").use_residual
    with pytest.raises(ValueError, match="impossible"):
        InvertedResidual(4, 4, 2, 6, use_residual=True, residual="expansion")


def test_residual_none_has_no_shortcut_and_forbids_a_forced_one():
    assert not InvertedResidual(4, 4, 1, 6, residual="none").use_residual
    with pytest.raises(ValueError, match="contradicts"):
        InvertedResidual(4, 4, 1, 6, use_residual=True, residual="none")


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"conv": "depthwise"}, (24, 1, 3, 3)),
        ({"conv": "full"}, (24, 24, 3, 3)),
        ({"conv": "grouped", "channels_per_group": 8}, (24, 8, 3, 3)),
    ],
)
def test_inverted_residual_takes_each_kind_of_convolution(options, shape):
    block = InvertedResidual(4, 8, 2, 6, **options)
    assert block.conv[1][0].weight.shape == shape
    assert block(torch.randn(2, 4, 9, 9)).shape == (2, 8, 5, 5)


def test_inverted_residual_takes_a_separable_convolution():
    row, column = InvertedResidual(4, 8, 2, 6, conv="separable").conv[1][0]
    assert (row.weight.shape, column.weight.shape) == ((24, 1, 1, 3), (24, 1, 3, 1))


# Options


@pytest.mark.parametrize("width_mult", [0.1, 0.25, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4, 3.7])
def test_make_divisible_agrees_with_torchvision(width_mult):
    channels = [c * width_mult for c in (1, 3, 16, 24, 32, 64, 96, 160, 320, 1280)]
    assert [make_divisible(c) for c in channels] == [_make_divisible(c, 8) for c in channels]
    assert all(make_divisible(c) >= 0.9 * c and make_divisible(c) % 8 == 0 for c in channels)


def test_count_groups():
    assert count_groups("depthwise", 32) == count_groups("separable", 32) == 32
    assert count_groups("full", 32) == 1
    assert count_groups("grouped", 32, 8) == 4


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ConvBNReLU(3, 4, activation="HardSwisch"), "did you mean hardswish"),
        (lambda: ConvBNReLU(3, 4, padding="Same"), "did you mean same"),
        (lambda: ConvBNReLU(3, 4, stride=0), r"stride=0 must be an integer \(at least 1\)"),
        (lambda: ConvBNReLU(3, 4, kernel_size=1.5), "kernel_size=1.5"),
        (lambda: DepthwiseSeparableConv(3, 4, conv="group"), "did you mean grouped"),
        (lambda: DepthwiseSeparableConv(3, 4, conv="grouped"), "needs channels_per_group"),
        (
            lambda: DepthwiseSeparableConv(8, 4, conv="grouped", channels_per_group=3),
            "channels_per_group=3 does not divide 8",
        ),
        (lambda: DepthwiseSeparableConv(8, 4, channels_per_group=4), 'only for conv="grouped"'),
        (lambda: DepthwiseSeparableConv(3, 4, kernels_per_layer=0), "kernels_per_layer=0"),
        (lambda: InvertedResidual(4, 4, 1, 0), r"expand_ratio=0 must be a number \(above 0\)"),
        (lambda: InvertedResidual(4, 4, 1, 6, bottleneck="relu"), "did you mean relu6"),
        (lambda: InvertedResidual(4, 4, 1, 6, residual="expand"), "did you mean expansion"),
    ],
)
def test_wrong_options_name_the_fix(build, message):
    with pytest.raises(ValueError, match=message):
        build()
