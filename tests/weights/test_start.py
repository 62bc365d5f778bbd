"""A new run starts from weights that exist, and says what it took."""

import pytest
import torch
import torchvision

from mobilenets import create_model
from mobilenets.weights import start_from


def net(**options):
    return create_model("mobilenet_v2", **{"width_mult": 0.25, "num_classes": 5} | options)


def test_torchvisions_state_dict_is_taken_whole(tmp_path):
    theirs = torchvision.models.mobilenet_v2(width_mult=0.25, num_classes=5)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = net()
    said = start_from(ours, tmp_path / "weights.pth")
    assert said == f"314 of 314 tensors from {tmp_path / 'weights.pth'}"
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key


def test_a_classifier_of_another_size_starts_anew(tmp_path):
    source = net(num_classes=7)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "weights.pt")
    ours = net()
    head = ours.classifier[1].weight.clone()
    said = start_from(ours, tmp_path / "weights.pt")
    assert "312 of 314" in said
    assert "classifier newly initialised" in said
    assert torch.equal(ours.classifier[1].weight, head)
    assert torch.equal(ours.features[0][0].weight, source.features[0][0].weight)


def test_another_width_is_refused_with_both_shapes_and_nothing_is_copied(tmp_path):
    torch.save(net(width_mult=0.5).state_dict(), tmp_path / "weights.pt")
    ours = net()
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    with pytest.raises(ValueError, match=r"check model and model\.width_mult") as error:
        start_from(ours, tmp_path / "weights.pt")
    assert "features.0.0.weight: (16, 3, 3, 3) in the file, (8, 3, 3, 3)" in str(error.value)
    assert len(str(error.value).splitlines()) <= 10
    assert all(torch.equal(before[key], value) for key, value in ours.state_dict().items())


def test_missing_and_unexpected_tensors_are_refused(tmp_path):
    weights = net().state_dict()
    weights["stranger"] = weights.pop("features.0.0.weight")
    torch.save(weights, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="2 differences") as error:
        start_from(net(), tmp_path / "weights.pt")
    assert "features.0.0.weight: missing in the file" in str(error.value)
    assert "stranger: not in the net" in str(error.value)
