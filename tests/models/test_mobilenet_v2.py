import pytest
import timm
import torch
import torchvision
from torch import nn

from mobilenets.models import MobileNetV2, count_macs, count_parameters


def shortcuts(model):
    return [block.use_residual for block in model.features[1:-1]]


@pytest.mark.parametrize(
    ("width_mult", "params", "macs"),
    [
        (1.4, 6_108_776, 582_195_824),  # the paper: 6.9 M parameters
        (1.0, 3_504_872, 300_774_272),
        (0.75, 2_636_424, 209_069_792),
        (0.5, 1_968_680, 97_131_840),
        (0.35, 1_677_128, 59_285_808),
    ],
)
def test_size_is_that_of_the_paper(width_mult, params, macs):
    with torch.device("meta"):
        model = MobileNetV2(width_mult=width_mult)
    assert (count_parameters(model), count_macs(model)) == (params, macs)


def test_cifar_size_is_chenyaofos():
    with torch.device("meta"):
        model = MobileNetV2(num_classes=10, strides="cifar")
    assert count_parameters(model) == 2_236_682
    assert round(count_macs(model, (3, 32, 32)) / 1e6, 2) == 87.98


@pytest.mark.parametrize("width_mult", [0.35, 0.5, 0.75, 1.0, 1.4])
def test_keys_and_logits_equal_torchvisions(assert_same_logits, width_mult):
    ours = MobileNetV2(width_mult=width_mult)
    theirs = torchvision.models.mobilenet_v2(width_mult=width_mult)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert_same_logits(ours, theirs)


@pytest.mark.parametrize(
    ("width_mult", "name"), [(0.5, "mobilenetv2_050"), (1.0, "mobilenetv2_100")]
)
@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_logits_equal_timms(assert_same_logits, width_mult, name, output_stride):
    theirs = timm.create_model(name, output_stride=output_stride)
    assert_same_logits(MobileNetV2(width_mult=width_mult, output_stride=output_stride), theirs)


def test_last_layer_is_scaled_above_width_1_only():
    assert MobileNetV2(width_mult=0.5).num_features == 1280
    assert MobileNetV2(width_mult=1.4).num_features == 1792


def test_default_has_ten_shortcuts():
    assert sum(shortcuts(MobileNetV2())) == 10


def test_residual_variants_of_figure_6b_differ_only_in_the_shortcuts():
    models = {
        residual: MobileNetV2(width_mult=0.25, residual=residual).eval()
        for residual in ("bottleneck", "expansion", "none")
    }
    x = torch.randn(1, 3, 64, 64)
    for model in models.values():
        model.load_state_dict(models["bottleneck"].state_dict())
    assert shortcuts(models["expansion"]) == shortcuts(models["bottleneck"])
    assert sum(shortcuts(models["none"])) == 0
    logits = [model(x) for model in models.values()]
    assert not any(torch.allclose(logits[i], logits[(i + 1) % 3]) for i in range(3))


def test_relu6_bottleneck_of_figure_6a_has_no_new_keys():
    linear, clipped = (
        MobileNetV2(width_mult=0.25, bottleneck=bottleneck) for bottleneck in ("linear", "relu6")
    )
    assert list(linear.state_dict()) == list(clipped.state_dict())
    assert all(isinstance(block.conv[-1], nn.ReLU6) for block in clipped.features[1:-1])
    assert all(isinstance(block.conv[-1], nn.BatchNorm2d) for block in linear.features[1:-1])


def test_cifar_strides_are_the_public_ones():
    model = MobileNetV2(width_mult=0.25, strides="cifar")
    first_of_stage = [1, 2, 4, 7, 11, 14, 17]
    strides = [model.features[i].conv[-3][0].stride[0] for i in first_of_stage]
    assert model.features[0][0].stride == (1, 1)
    assert strides == [1, 1, 2, 2, 1, 2, 1]
    assert model.forward_features(torch.randn(2, 3, 32, 32)).shape[2:] == (4, 4)


def test_stages_are_an_argument():
    model = MobileNetV2(stages=[(1, 8, 1, 1), (3, 16, 2, 2)], num_classes=4, strides="cifar")
    assert len(model.features) == 1 + 3 + 1
    assert model.features[2].conv[0][0].out_channels == 24
    assert [info["num_chs"] for info in model.feature_info] == [16]
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 4)


def test_explicit_strides_replace_those_of_the_stages():
    model = MobileNetV2(width_mult=0.25, strides=[1, 1, 2, 1, 1, 1, 2, 1])
    assert model.forward_features(torch.randn(2, 3, 32, 32)).shape[2:] == (8, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": []}, "one or more rows"),
        ({"stages": 6}, "one or more rows"),
        ({"stages": [(6, 16, 1)]}, "not a row of four numbers"),
        ({"stages": [6, 16, 1, 1]}, "6 is not a row of four numbers"),
        ({"strides": 2}, "strides 2 is unknown"),
        ({"stages": [(0, 16, 1, 1)]}, "expand_ratio=0"),
        ({"stages": [(6, 16, 0, 1)]}, "num_blocks=0"),
        ({"strides": [1, 2]}, "has 2 numbers, but this net takes 8"),
        ({"stages": [(6, 16, 1, 2)] * 6}, r"product of strides=.* is 128"),
        ({"bottleneck": "liner"}, "did you mean linear"),
        ({"residual": "expansions"}, "did you mean expansion"),
        ({"conv": "grouped", "channels_per_group": 5}, "does not divide"),
    ],
)
def test_wrong_options_name_the_fix(options, message):
    with pytest.raises(ValueError, match=message):
        MobileNetV2(**options)
