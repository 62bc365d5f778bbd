import pytest
import timm
import torch
from timm.models.efficientnet import _gen_mobilenet_v1

from mobilenets.models import ConvBNReLU, MobileNetV1, count_macs, count_parameters


@pytest.mark.parametrize(
    ("options", "params", "macs"),
    [
        ({}, 4_231_976, 568_740_352),
        ({"width_mult": 0.75}, 2_585_560, 325_400_448),
        ({"width_mult": 0.5}, 1_331_592, 149_497_088),
        ({"width_mult": 0.25}, 470_072, 41_030_272),
        ({"shallow": True}, 2_887_976, 307_323_392),  # the paper: 2.9 M and 307 M
        # The paper prints 4866 M, which is the convolutions without the classifier's 1.024 M.
        ({"conv": "full"}, 29_294_088, 4_866_269_184 + 1_024_000),
    ],
)
def test_size_is_that_of_the_paper(options, params, macs):
    with torch.device("meta"):
        model = MobileNetV1(**options)
    assert (count_parameters(model), count_macs(model)) == (params, macs)


@pytest.mark.parametrize(("resolution", "millions"), [(192, 418.1), (160, 290.7), (128, 186.4)])
def test_macs_of_table_7(resolution, millions):
    with torch.device("meta"):
        macs = count_macs(MobileNetV1(), (3, resolution, resolution))
    assert round(macs / 1e6, 1) == millions


@pytest.mark.parametrize("width_mult", [0.25, 0.5, 0.75, 1.0, 1.25])
@pytest.mark.parametrize("output_stride", [32, 8])
def test_logits_equal_timms(assert_same_logits, width_mult, output_stride):
    theirs = _gen_mobilenet_v1("mobilenetv1_100", width_mult, output_stride=output_stride)
    assert_same_logits(MobileNetV1(width_mult=width_mult, output_stride=output_stride), theirs)


def test_width_1_is_timms_mobilenetv1_100():
    theirs = timm.create_model("mobilenetv1_100")
    assert count_parameters(theirs) == count_parameters(MobileNetV1())


def test_state_dict_keys():
    keys = list(MobileNetV1(width_mult=0.25).state_dict())
    assert keys[0] == "features.0.0.weight" and keys[1] == "features.0.1.weight"
    assert "features.1.depthwise.0.weight" in keys and "features.13.pointwise.1.bias" in keys
    assert keys[-2:] == ["classifier.1.weight", "classifier.1.bias"]


def test_channels_and_strides_are_table_1s():
    model = MobileNetV1()
    blocks = [(b.depthwise[0].stride[0], b.pointwise[0].out_channels) for b in model.features[1:]]
    assert blocks == [
        (1, 64),
        (2, 128),
        (1, 128),
        (2, 256),
        (1, 256),
        (2, 512),
        *[(1, 512)] * 5,
        (2, 1024),
        (1, 1024),
    ]


def test_shallow_omits_the_five_14x14x512_blocks():
    channels = [b.pointwise[0].out_channels for b in MobileNetV1(shallow=True).features[1:]]
    assert channels == [64, 128, 128, 256, 256, 512, 1024, 1024]


def test_cifar_strides_are_bsconvs():
    model = MobileNetV1(width_mult=0.25, strides="cifar")
    strides = [model.features[0][0].stride[0]]
    strides += [block.depthwise[0].stride[0] for block in model.features[1:]]
    assert strides == [1, 1, 1, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    assert model.forward_features(torch.randn(2, 3, 32, 32)).shape[2:] == (4, 4)


def test_cifar_macs_are_bsconvs():
    """175.56 M and 3,217,226 parameters, less BSConv's batch norm of the data."""
    with torch.device("meta"):
        model = MobileNetV1(num_classes=10, strides="cifar")
    assert count_parameters(model) == 3_217_226
    assert round(count_macs(model, (3, 32, 32)) / 1e6, 2) == 175.56


def test_explicit_strides_count_the_stem_and_every_block():
    model = MobileNetV1(width_mult=0.25, shallow=True, strides=[1, 1, 2, 1, 2, 1, 2, 1, 1])
    assert model.forward_features(torch.randn(2, 3, 32, 32)).shape[2:] == (4, 4)
    with pytest.raises(ValueError, match="has 13 numbers, but this net takes 14"):
        MobileNetV1(strides=[2] + [1] * 12)


def test_full_has_one_convolution_for_each_pair():
    model = MobileNetV1(width_mult=0.25, conv="full")
    assert all(type(layer) is ConvBNReLU for layer in model.features)
    assert [layer[0].groups for layer in model.features] == [1] * 14
    assert model.features[2][0].weight.shape == (32, 16, 3, 3)


def test_kernels_per_layer_widens_the_depthwise_layers():
    model = MobileNetV1(width_mult=0.25, kernels_per_layer=2)
    assert model.features[1].depthwise[0].weight.shape == (16, 1, 3, 3)
    assert model.features[1].pointwise[0].weight.shape == (16, 16, 1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conv": "full", "kernels_per_layer": 2}, "kernels_per_layer=2 contradicts"),
        ({"conv": "full", "channels_per_group": 2}, "channels_per_group=2 is only for"),
        ({"kernels_per_layer": 1.5}, r"kernels_per_layer=1.5 must be an integer \(at least 1\)"),
        ({"head_channels": 0}, "head_channels=0 must be an integer"),
        ({"conv": "grouped", "channels_per_group": 12}, "does not divide"),
        ({"conv": "grouped"}, "needs channels_per_group"),
        ({"shallow": "no"}, "shallow='no' must be True or False"),
        ({"conv": "fulll"}, "did you mean full"),
    ],
)
def test_wrong_options_name_the_fix(options, message):
    with pytest.raises(ValueError, match=message):
        MobileNetV1(**options)
