import pytest
import timm
import torch

import mobilenets.timm  # noqa: F401  (registers the nets)
from mobilenets.models import MobileNetV1, MobileNetV2

PAIRS = [("mobilenet_v1", "mobilenetv1_100"), ("mobilenet_v2", "mobilenetv2_100")]


def shapes(maps):
    return [tuple(features.shape) for features in maps]


def test_timm_lists_and_builds_the_nets():
    assert timm.list_models("mobilenet_v[12]") == ["mobilenet_v1", "mobilenet_v2"]
    model = timm.create_model("mobilenet_v1", width_mult=0.5, num_classes=10)
    assert isinstance(model, MobileNetV1)
    assert (model.options["width_mult"], model.num_classes) == (0.5, 10)
    assert isinstance(timm.create_model("mobilenet_v2", width_mult=0.5), MobileNetV2)


def test_timms_names_of_options_work_too():
    model = timm.create_model("mobilenet_v2", width_mult=0.25, in_chans=1, drop_rate=0.4)
    assert (model.options["in_channels"], model.options["dropout"]) == (1, 0.4)
    model = timm.create_model("mobilenet_v2", width_mult=0.25, in_channels=1)
    assert model.options["in_channels"] == 1


def test_default_cfg_names_the_layers_and_the_preprocessing():
    model = timm.create_model("mobilenet_v1", width_mult=0.25)
    cfg = timm.data.resolve_model_data_config(model)
    assert cfg["input_size"] == (3, 224, 224) and cfg["crop_pct"] == 0.875
    assert model.get_submodule(model.default_cfg["first_conv"]) is model.features[0][0]
    assert model.get_submodule(model.default_cfg["classifier"]) is model.classifier[1]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize(
    "options",
    [{}, {"out_indices": (1, 3)}, {"output_stride": 16}, {"feature_cls": "getter"}],
)
def test_feature_maps_equal_those_of_timms_own_nets(ours, theirs, options):
    x = torch.randn(1, 3, 64, 64)
    our_net, their_net = (
        timm.create_model(name, features_only=True, **options).eval() for name in (ours, theirs)
    )
    assert shapes(our_net(x)) == shapes(their_net(x))
    assert our_net.feature_info.channels() == their_net.feature_info.channels()
    assert our_net.feature_info.reduction() == their_net.feature_info.reduction()


@pytest.mark.parametrize("feature_cls", ["list", "getter", "hook"])
def test_feature_maps_are_our_intermediates(feature_cls):
    torch.manual_seed(0)
    net = timm.create_model("mobilenet_v2", width_mult=0.25).eval()
    features = timm.create_model(
        "mobilenet_v2", width_mult=0.25, features_only=True, feature_cls=feature_cls
    ).eval()
    x = torch.randn(1, 3, 64, 64)
    for tensor, other in zip(net.state_dict().values(), features.state_dict().values()):  # noqa: B905 (the last layers are cut off)
        tensor.copy_(other)
    expected = net.forward_intermediates(x, intermediates_only=True)
    for ours, theirs in zip(features(x), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_nets_with_fewer_maps_return_all_of_them():
    net = timm.create_model("mobilenet_v1", width_mult=0.25, features_only=True, strides="cifar")
    assert shapes(net(torch.randn(2, 3, 32, 32))) == [
        (2, 32, 32, 32),
        (2, 64, 16, 16),
        (2, 128, 8, 8),
        (2, 256, 4, 4),
    ]


def test_pretrained_is_rejected():
    with pytest.raises(ValueError, match="no pretrained weights are published for mobilenet_v1"):
        timm.create_model("mobilenet_v1", pretrained=True)


def test_an_unknown_option_gets_a_suggestion():
    with pytest.raises(ValueError, match="did you mean width_mult"):
        timm.create_model("mobilenet_v1", width_mul=0.5)
