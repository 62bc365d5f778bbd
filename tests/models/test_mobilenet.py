"""What both nets share."""

import copy
import json
import math
import pickle

import pytest
import torch
from torch import nn

from mobilenets.models import MobileNetV1, MobileNetV2, create_model
from mobilenets.models.mobilenet import dilate

NETS = [MobileNetV1, MobileNetV2]
COMMON = [
    {},
    {"activation": "hardswish"},
    {"padding": "same"},
    {"output_stride": 8},
    {"strides": "cifar"},
    {"conv": "full"},
    {"conv": "grouped", "channels_per_group": 8},
    {"conv": "separable"},
]
OWN = {
    "mobilenet_v1": [
        {"conv": "separable", "padding": "same", "kernels_per_layer": 2},
        {"shallow": True},
        {"kernels_per_layer": 2},
        {"head_channels": 64},
    ],
    "mobilenet_v2": [
        {"stages": ((1, 16, 1, 1), (4, 32, 2, 2), (1.5, 32, 1, 1))},
        {"bottleneck": "relu6"},
        {"residual": "expansion"},
        {"residual": "none"},
    ],
}
CASES = [(name, options) for name in OWN for options in COMMON + OWN[name]]


def small(net, **options):
    torch.manual_seed(0)
    return net(**{"width_mult": 0.25, "num_classes": 7, **options})


def vary_norms(model):
    """Set statistics and biases that an untrained net does not have, so that errors show."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.5)
    return model.eval()


@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_parameter_gets_a_gradient(name, options):
    model = create_model(name, width_mult=0.25, num_classes=7, **options)
    logits = model(torch.randn(4, 3, 64, 64))
    (logits * torch.randn_like(logits)).sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize(("name", "options"), CASES)
def test_options_rebuild_the_net(name, options):
    with torch.device("meta"):
        model = create_model(name, width_mult=0.3, num_classes=5, **options)
        assert json.loads(json.dumps(model.options)) == model.options
        rebuilt = create_model(model.name, **model.options)
    assert rebuilt.options == model.options
    shapes, expected = (
        {key: tensor.shape for key, tensor in m.state_dict().items()} for m in (rebuilt, model)
    )
    assert shapes == expected


@pytest.mark.parametrize("net", NETS)
def test_options_hold_plain_lists(net):
    count = 14 if net is MobileNetV1 else 8
    assert net(width_mult=0.1, strides=(2,) + (1,) * (count - 1)).options["strides"] == [
        2,
        *[1] * (count - 1),
    ]


@pytest.mark.parametrize("net", NETS)
def test_forward_is_features_then_head(net):
    model = small(net).eval()
    x = torch.randn(2, 3, 64, 96)
    features = model.forward_features(x)
    assert features.shape == (2, model.num_features, 2, 3)
    pooled = model.forward_head(features, pre_logits=True)
    torch.testing.assert_close(pooled, features.mean((2, 3)))
    torch.testing.assert_close(model(x), model.classifier[1](pooled))


@pytest.mark.parametrize("net", NETS)
def test_in_channels_and_dropout(net):
    model = small(net, in_channels=1, dropout=0.5)
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 7)
    assert model.classifier[0].p == 0.5


@pytest.mark.parametrize("net", NETS)
def test_norm_options_reach_every_norm(net):
    norms = [m for m in small(net, bn_eps=1e-3, bn_momentum=0.01).modules() if hasattr(m, "eps")]
    assert len(norms) == (27 if net is MobileNetV1 else 52)
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(("size", "agree"), [(33, True), (64, False)])
def test_paddings_agree_on_odd_maps_only(net, size, agree):
    symmetric, same = vary_norms(small(net)), small(net, padding="same").eval()
    same.load_state_dict(symmetric.state_dict())
    x = torch.randn(1, 3, size, size)  # 33 -> 17 -> 9 -> 5 -> 3 -> 2
    ours, theirs = symmetric.forward_features(x), same.forward_features(x)
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, atol=1e-4) == agree


@pytest.mark.parametrize("net", NETS)
def test_initialisation_is_that_of_torchvision(net):
    model = net()
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5000:
            fan_out = module.out_channels * math.prod(module.kernel_size)
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05), (
                name
            )
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.eq(1).all() and module.bias.eq(0).all(), name
    linear = model.classifier[1]
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert linear.bias.eq(0).all()


# Dilation


def test_dilation_follows_the_rule_of_slim_and_timm():
    assert dilate([2, 1, 2, 2, 1, 2, 2], 32) == [(s, 1) for s in (2, 1, 2, 2, 1, 2, 2)]
    assert dilate([2, 2, 2, 2, 1, 2, 1], 8) == [
        (2, 1),
        (2, 1),
        (2, 1),
        (1, 1),
        (1, 2),
        (1, 2),
        (1, 4),
    ]


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("output_stride", [16, 8])
@pytest.mark.parametrize("conv", ["depthwise", "full", "separable"])
def test_a_dilated_net_computes_the_same_map_at_a_higher_resolution(net, output_stride, conv):
    plain = vary_norms(small(net, conv=conv))
    dense = small(net, conv=conv, output_stride=output_stride).eval()
    dense.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 64, 64)
    features = dense.forward_features(x)
    assert features.shape[2:] == (64 // output_stride, 64 // output_stride)
    step = 32 // output_stride
    torch.testing.assert_close(
        features[:, :, ::step, ::step], plain.forward_features(x), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_dilation_keeps_the_size(net, padding):
    model = small(net, output_stride=8, padding=padding).eval()
    assert model.forward_features(torch.randn(1, 3, 50, 65)).shape[2:] == (7, 9)


@pytest.mark.parametrize("net", NETS)
def test_cifar_strides_end_at_8_with_every_output_stride(net):
    for output_stride in (32, 16, 8):
        model = small(net, strides="cifar", output_stride=output_stride)
        assert model.feature_info[-1]["reduction"] == 8


# Maps for detection and segmentation


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(
    ("options", "reductions"),
    [
        ({}, [2, 4, 8, 16, 32]),
        ({"output_stride": 16}, [2, 4, 8, 16, 16]),
        ({"output_stride": 8}, [2, 4, 8, 8, 8]),
        ({"strides": "cifar"}, [1, 2, 4, 8]),
    ],
)
def test_intermediates_are_as_feature_info_describes_them(net, options, reductions):
    model = small(net, **options).eval()
    x = torch.randn(1, 3, 64, 64)
    last, maps = model.forward_intermediates(x)
    torch.testing.assert_close(last, model.forward_features(x))
    assert [info["reduction"] for info in model.feature_info] == reductions
    for info, features in zip(model.feature_info, maps, strict=True):
        size = 64 // info["reduction"]
        assert features.shape == (1, info["num_chs"], size, size)
        assert isinstance(model.get_submodule(info["module"]), nn.Module)


@pytest.mark.parametrize(
    ("indices", "reductions"),
    [(None, [2, 4, 8, 16, 32]), (2, [16, 32]), ([1, 3], [4, 16]), ([-1, 0], [2, 32])],
)
def test_intermediates_are_chosen_by_index(indices, reductions):
    maps = small(MobileNetV2).forward_intermediates(
        torch.randn(2, 3, 64, 64), indices, intermediates_only=True
    )
    assert [64 // features.shape[2] for features in maps] == reductions


def test_stop_early_skips_the_later_layers():
    model, ran = small(MobileNetV2), []
    for layer in model.features:
        layer.register_forward_hook(lambda *_: ran.append(1))
    x = torch.randn(2, 3, 64, 64)
    (features,) = model.forward_intermediates(x, [1], stop_early=True, intermediates_only=True)
    assert features.shape[2:] == (16, 16) and len(ran) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"indices": [5]}, "map 5 does not exist: there are 5 maps"),
        ({"indices": 6}, "there are 5 maps"),
        ({"indices": 0}, "indices=0"),
        ({"output_fmt": "NHWC"}, 'use "NCHW"'),
        ({"stop_early": True}, "needs intermediates_only=True"),
    ],
)
def test_invalid_arguments_for_intermediates_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        small(MobileNetV1).forward_intermediates(torch.randn(1, 3, 32, 32), **options)


# Classifier


@pytest.mark.parametrize("net", NETS)
def test_reset_classifier_keeps_the_features_and_updates_the_options(net):
    model = small(net).eval()
    x = torch.randn(2, 3, 32, 32)
    features = model.forward_features(x)
    model.reset_classifier(3)
    assert model.num_classes == model.options["num_classes"] == 3
    assert model(x).shape == (2, 3)
    assert not model.classifier.training
    assert torch.equal(model.forward_features(x), features)
    assert create_model(model.name, **model.options)(x).shape == (2, 3)


@pytest.mark.parametrize("net", NETS)
def test_a_net_with_zero_classes_returns_the_pooled_vector(net):
    model = small(net, num_classes=0).eval()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(x), model.forward_head(model.forward_features(x), pre_logits=True))
    model.reset_classifier(4)
    assert model(x).shape == (2, 4)
    model.reset_classifier(0)
    assert model(x).shape == (2, model.num_features)


def test_reset_classifier_keeps_the_device_and_dtype():
    model = small(MobileNetV1).to("meta", torch.bfloat16)
    model.reset_classifier(3)
    assert model.classifier[1].weight.device.type == "meta"
    assert model.classifier[1].weight.dtype == torch.bfloat16


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("coarse", [False, True])
def test_timm_groups_the_parameters_by_layer_with_the_classifier_last(net, coarse):
    from timm.models import group_parameters

    model = small(net)
    groups = group_parameters(model, model.group_matcher(coarse=coarse))
    layers = [f"features.{i}." for i in range(len(model.features))] + ["classifier."]
    assert sum(map(len, groups.values())) == len(list(model.parameters()))
    assert {
        number: {name[: len(layers[number])] for name in groups[number]} for number in groups
    } == {number: {layer} for number, layer in enumerate(layers)}


# Copies


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_compute_the_same(net, clone):
    model = small(net, padding="same").eval()
    x = torch.randn(1, 3, 32, 32)
    copied = clone(model)
    assert torch.equal(copied(x), model(x))
    copied.reset_classifier(2)
    assert model.options["num_classes"] == 7


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": -1}, r"num_classes=-1 must be an integer \(at least 0\)"),
        ({"num_classes": 2.5}, "num_classes=2.5"),
        ({"in_channels": 0}, "in_channels=0"),
        ({"width_mult": 0}, r"width_mult=0 must be a number \(above 0\)"),
        ({"width_mult": float("nan")}, "width_mult=nan"),
        ({"width_mult": "1.0"}, "width_mult='1.0'"),
        ({"dropout": 1.5}, r"dropout=1.5 must be a number \(at least 0, at most 1\)"),
        ({"activation": None}, "activation None is unknown"),
        ({"activation": "relu_6"}, "did you mean relu6"),
        ({"bn_eps": 0}, "bn_eps=0"),
        ({"bn_momentum": 2}, "bn_momentum=2"),
        ({"padding": "valid"}, "padding 'valid' is unknown"),
        ({"output_stride": 4}, "output_stride=4 must be 32, 16 or 8"),
        ({"divisor": True}, "divisor=True must be an integer"),
        ({"strides": "cifar10"}, "did you mean cifar"),
        ({"conv": "depthwize"}, "did you mean depthwise"),
    ],
)
def test_wrong_options_name_the_fix(net, options, message):
    with pytest.raises(ValueError, match=message):
        net(**options)
