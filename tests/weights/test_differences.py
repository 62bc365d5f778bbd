"""How weights differ from the net asked for, or from their record, is listed."""

import pytest
import torch

from mobilenets import MobileNetV2, create_model, load_model, save_model
from mobilenets.weights import RECORD_KEY, make_record


@pytest.fixture
def file(tmp_path):
    """A file with the names of timm: MobileNetV1 of width 0.5, 20 classes."""
    save_model(
        create_model("mobilenet_v1", width_mult=0.5, num_classes=20),
        tmp_path / "v1.pth",
        format="timm",
    )
    return tmp_path / "v1.pth"


@pytest.fixture
def state_dict():
    """A state dict of MobileNetV2: width 0.25, 5 classes."""
    return dict(MobileNetV2(width_mult=0.25, num_classes=5).state_dict())


def test_options_that_disagree_are_a_table(tmp_path):
    file = tmp_path / "v1.safetensors"
    save_model(create_model("mobilenet_v1", width_mult=0.5), file)
    options = {"width_mult": 0.25, "bn_eps": 1e-3, "padding": "same", "activation": "relu6"}
    with pytest.raises(ValueError, match="another net than the one asked for") as error:
        create_model("mobilenet_v1", weights=file, **options)
    rows = [line.split() for line in str(error.value).splitlines()[1:-1]]
    assert len(rows) <= 13
    assert "features.0.0.weight: (16, 3, 3, 3) in the file, (8, 3, 3, 3) in the net" in str(
        error.value
    )
    assert rows[:4] == [
        ["option", "in", "the", "file", "asked", "for"],
        ["width_mult", "0.5", "0.25"],
        ["bn_eps", "1e-05", "0.001"],
        ["padding", "symmetric", "same"],
    ]


def test_another_net_is_one_row(file):
    with pytest.raises(ValueError, match=r"model +mobilenet_v1 +mobilenet_v2"):
        create_model("mobilenet_v2", weights=file)


def test_a_width_with_the_same_channels_is_the_same_net(file):
    net = create_model("mobilenet_v1", weights=file, width_mult=0.501)
    assert torch.equal(
        net.features[5].pointwise[0].weight, load_model(file).features[5].pointwise[0].weight
    )


def test_a_wrong_option_names_the_nearest(file):
    with pytest.raises(ValueError, match="did you mean width_mult"):
        create_model("mobilenet_v1", weights=file, width_mul=0.5)


def test_other_convolutions_are_rejected_where_the_file_has_depthwise_ones(state_dict, tmp_path):
    torch.save(state_dict, tmp_path / "v2.pth")
    with pytest.raises(ValueError, match=r"conv +depthwise +full"):
        create_model("mobilenet_v2", weights=tmp_path / "v2.pth", conv="full")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda w: w.pop("features.3.conv.1.0.weight"), "features.3.conv.1.0.weight: missing"),
        (lambda w: w.update({"stranger.weight": torch.zeros(3)}), "stranger: no layer of mobile"),
        (lambda w: w.update({"features.0.0.bias": torch.zeros(8)}), "features.0.0.bias: not in"),
        (
            lambda w: w.update({"features.3.conv.1.1.bias": torch.zeros(9)}),
            r"features.3.conv.1.1.bias: \(9,\) in the file, \(48,\) in the net",
        ),
        (
            lambda w: w.update({"features.0.0.weight": torch.zeros(9, 3, 3, 3)}),
            r"has \[9, 8, 8.* channels, which no width of a MobileNetV2 gives",
        ),
        (lambda w: w.pop("features.0.0.weight"), "lacks the convolution features.0.0.weight"),
    ],
)
def test_a_missing_unexpected_or_misshapen_tensor_is_named(state_dict, tmp_path, change, sentence):
    change(state_dict)
    torch.save(state_dict, tmp_path / "changed.pth")
    with pytest.raises(ValueError, match=sentence) as error:
        load_model(tmp_path / "changed.pth")
    assert str(tmp_path / "changed.pth") in str(error.value)
    assert len(str(error.value).splitlines()) <= 15


def test_weights_of_another_net_than_the_record_says_are_listed(state_dict, tmp_path):
    record = make_record(MobileNetV2(width_mult=0.5, num_classes=5), [], {})
    del state_dict["classifier.1.bias"]
    torch.save({"state_dict": state_dict, RECORD_KEY: record}, tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match="does not hold the tensors of a mobilenet_v2") as error:
        load_model(tmp_path)
    assert "classifier.1.bias: missing in the file" in str(error.value)
    assert "features.0.0.weight: (8, 3, 3, 3) in the file, (16, 3, 3, 3)" in str(error.value)
    assert len(str(error.value).splitlines()) <= 15
