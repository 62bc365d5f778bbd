"""A net from weights: what may differ from the file, what may not, and what is reported."""

import pytest
import timm
import torch
import torchvision

from mobilenets import MobileNetV2, create_model, load_model, save_model
from mobilenets.weights import start_from
from mobilenets.weights.load import adapt_channels, adapt_preprocessing


@pytest.fixture
def file(tmp_path):
    """A file with the names of timm: MobileNetV1 of width 0.5, 20 classes."""
    torch.manual_seed(0)
    net = create_model("mobilenet_v1", width_mult=0.5, num_classes=20)
    save_model(net, tmp_path / "v1.pth", format="timm")
    return tmp_path / "v1.pth"


@pytest.fixture
def torchvisions(tmp_path):
    """A state dict of torchvision: width 0.25, 5 classes."""
    net = torchvision.models.mobilenet_v2(width_mult=0.25, num_classes=5)
    torch.save(net.state_dict(), tmp_path / "v2.pth")
    return tmp_path / "v2.pth", net.state_dict()


def test_a_state_dict_with_our_keys_is_copied_whole(torchvisions):
    path, tensors = torchvisions
    net = create_model("mobilenet_v2", width_mult=0.25, num_classes=5)
    report = start_from(net, path)
    assert (len(report.matched), report.converted, report.reinitialised) == (314, [], [])
    for key, value in tensors.items():
        assert torch.equal(net.state_dict()[key], value), key


def test_create_model_needs_no_option_of_the_file(file):
    net = create_model("mobilenet_v1", weights=file)
    assert (net.options["width_mult"], net.num_classes, net.training) == (0.5, 20, False)
    assert net.preprocessing["interpolation"] == "bicubic"
    assert "164 tensors: 0 matched, 164 converted, 0 re-initialised, 0 ignored" in str(
        net.weights_report
    )
    assert "PyTorch, names of timm: mobilenet_v1 of width 0.5" in str(net.weights_report)


def test_another_number_of_classes_reinitialises_the_classifier_and_reports_it(file):
    torch.manual_seed(1)
    net = load_model(file, num_classes=7)
    assert net.num_classes == 7
    assert net.weights_report.reinitialised == ["classifier.1.weight", "classifier.1.bias"]
    assert "classifier newly initialised: 7 classes, and 20 in the file" in str(net.weights_report)
    assert torch.equal(net.features[0][0].weight, load_model(file).features[0][0].weight)
    assert (net.class_names, net.metrics) == ([], {})


def test_no_classes_leave_the_classifier_out(file):
    net = load_model(file, num_classes=0)
    images = torch.randn(1, 3, 64, 64)
    assert net(images).shape == (1, 512)
    assert net.weights_report.ignored == ["classifier.1.weight", "classifier.1.bias"]
    assert torch.equal(
        net(images), load_model(file).forward_head(net.forward_features(images), pre_logits=True)
    )


@pytest.mark.parametrize("in_channels", [1, 2, 4, 6])
def test_the_stem_adapts_as_timms(file, in_channels):
    theirs = timm.models.adapt_input_conv(in_channels, load_model(file).features[0][0].weight)
    ours = load_model(file, in_channels=in_channels)
    torch.testing.assert_close(ours.features[0][0].weight, theirs, rtol=1e-6, atol=1e-7)
    assert ours.weights_report.converted.count("features.0.0.weight") == 1


def test_grey_weights_see_the_same_in_three_equal_channels():
    kernel = torch.randn(8, 1, 3, 3)
    torch.testing.assert_close(adapt_channels(kernel, 3).sum(1, keepdim=True), kernel)


def test_mean_and_std_are_averaged_for_other_channels():
    color = {"in_channels": 3, "mean": [0.2, 0.3, 0.4], "std": [0.1, 0.2, 0.3], "image_size": 8}
    grey = adapt_preprocessing(color, 1)
    assert (grey["mean"], grey["std"]) == (pytest.approx([0.3]), pytest.approx([0.2]))
    assert (grey["in_channels"], grey["image_size"]) == (1, 8)
    assert adapt_preprocessing(color, 3) == color


def test_geometry_and_dropout_are_free(file):
    net = load_model(file, output_stride=8, strides="cifar", dropout=0.5, bn_momentum=0.01)
    assert (net.options["strides"], net.options["dropout"]) == ("cifar", 0.5)
    assert torch.equal(net.classifier[1].weight, load_model(file).classifier[1].weight)


def test_options_that_a_state_dict_with_our_keys_does_not_show_are_free(torchvisions):
    path, _ = torchvisions
    net = create_model("mobilenet_v2", weights=path, bn_eps=1e-3, padding="same")
    assert (net.options["bn_eps"], net.options["padding"]) == (1e-3, "same")


def test_timms_names_do_not_fix_the_padding_either(tmp_path, randomise):
    """TensorFlow's weights in timm's format are loaded with the options that timm needs too."""
    options = {"padding": "same", "bn_eps": 1e-3}
    net = randomise(create_model("mobilenet_v2", width_mult=0.25, num_classes=4, **options))
    save_model(net, tmp_path / "v2.pth", format="timm")
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(load_model(tmp_path / "v2.pth", **options)(images), net(images))
    assert not torch.equal(load_model(tmp_path / "v2.pth")(images), net(images))


def test_nothing_is_copied_where_anything_differs(torchvisions):
    path, _ = torchvisions
    net = MobileNetV2(width_mult=0.5)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"width_mult +0\.25 +0\.5"):
        start_from(net, path)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_half_the_blocks_are_rejected(torchvisions, tmp_path):
    weights = {k: v for k, v in torchvisions[1].items() if k.split(".")[1] not in ("9", "10", "11")}
    torch.save(weights, tmp_path / "short.pth")
    with pytest.raises(ValueError, match="has 14 blocks in"):
        load_model(tmp_path / "short.pth")


def test_imagenets_names_come_with_a_thousand_classes(tmp_path):
    torch.save(MobileNetV2(width_mult=0.25).state_dict(), tmp_path / "v2.pth")
    names = load_model(tmp_path / "v2.pth").class_names
    assert (len(names), names[0], names[-1]) == (1000, "tench", "toilet tissue")
