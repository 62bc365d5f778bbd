"""What `save_model` writes is read back, here and by the libraries whose names it has."""

import functools

import pytest
import timm
import torch
import torchvision
from safetensors import safe_open
from timm.models.efficientnet import _gen_mobilenet_v1, _gen_mobilenet_v2

from mobilenets import create_model, load_model, save_model
from mobilenets.weights.files import read_raw_weights

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
PREPROCESSING = {
    "image_size": 64,
    "in_channels": 3,
    "mean": [0.5],
    "std": [0.25],
    "crop_pct": 0.9,
    "interpolation": "bicubic",
}


def make(randomise, name, **options):
    torch.manual_seed(0)
    return randomise(create_model(name, **options))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenet_v1", {"width_mult": 0.25, "num_classes": 3, "padding": "same"}),
        ("mobilenet_v1", {"width_mult": 0.25, "conv": "full", "shallow": True, "num_classes": 3}),
        ("mobilenet_v2", {"width_mult": 0.25, "bottleneck": "relu6", "residual": "none"}),
        ("mobilenet_v2", {"width_mult": 0.25, "conv": "separable", "strides": "cifar"}),
    ],
)
def test_our_file_alone_rebuilds_any_net(randomise, tmp_path, name, options):
    net = make(randomise, name, **options)
    extra = {
        "class_names": [f"class {i}" for i in range(net.num_classes)],
        "preprocessing": PREPROCESSING,
        "metrics": {"test/top1": 0.5},
        "command": "python train.py seed=1",
    }
    expected = net(IMAGES)
    save_model(net.to(memory_format=torch.channels_last), tmp_path / "net.safetensors", **extra)
    again = load_model(tmp_path / "net.safetensors")
    assert torch.equal(again(IMAGES), expected)
    assert again.options == net.options
    assert (again.class_names, again.preprocessing) == (extra["class_names"], PREPROCESSING)
    assert again.metrics == extra["metrics"]
    assert again.weights_report.weights.command == extra["command"]
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_a_loaded_net_is_saved_with_what_it_knows(randomise, tmp_path):
    net = make(randomise, "mobilenet_v2", width_mult=0.25, num_classes=2)
    net.class_names, net.preprocessing, net.metrics = ["a", "b"], PREPROCESSING, {"val/top1": 1.0}
    save_model(net, tmp_path / "one.safetensors")
    save_model(load_model(tmp_path / "one.safetensors"), tmp_path / "two.safetensors")
    one, two = (read_raw_weights(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    assert one.content == two.content
    assert one.tensors.keys() == two.tensors.keys()
    assert all(torch.equal(tensor, two.tensors[key]) for key, tensor in one.tensors.items())


def test_other_programs_read_our_file_as_plain_safetensors(randomise, tmp_path):
    net = make(randomise, "mobilenet_v2", width_mult=0.25)
    save_model(net, tmp_path / "net.safetensors")
    with safe_open(tmp_path / "net.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(net.state_dict())
        assert file.metadata()["format"] == "pt"
        theirs = torchvision.models.mobilenet_v2(width_mult=0.25)
        theirs.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    torch.testing.assert_close(theirs.eval()(IMAGES), net(IMAGES), atol=1e-5, rtol=1e-5)


TIMM = {"mobilenet_v1": _gen_mobilenet_v1, "mobilenet_v2": _gen_mobilenet_v2}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", TIMM)
@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({"width_mult": 0.5}, {}),
        ({"padding": "same", "bn_eps": 1e-3}, {"pad_type": "same", "bn_eps": 1e-3}),
        ({"activation": "relu"}, {"act_layer": "relu"}),
    ],
)
def test_timm_loads_its_format(randomise, tmp_path, name, options, theirs, suffix):
    net = make(randomise, name, num_classes=6, **options)
    path = tmp_path / f"net{suffix}"
    hint = save_model(net, path, format="timm")
    width = options.get("width_mult", 1.0)
    model = TIMM[name](name.replace("net_", "net") + "_100", width, num_classes=6, **theirs)
    timm.models.load_checkpoint(model, str(path))
    torch.testing.assert_close(model.eval()(IMAGES), net(IMAGES), atol=1e-5, rtol=1e-5)
    for option, value in theirs.items():
        assert f"{option}={value!r}" in hint
    if not theirs:  # what timm's nets are by default
        assert torch.equal(load_model(path)(IMAGES), net(IMAGES))


@pytest.mark.parametrize("name", ["mobilenetv1_100h", "mobilenetv2_110d"])
def test_timms_deeper_nets_go_there_and_back(randomise, tmp_path, name):
    torch.manual_seed(0)
    theirs = randomise(timm.create_model(name))
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    save_model(load_model(tmp_path / "theirs.pth"), tmp_path / "ours.pth", format="timm")
    again = torch.load(tmp_path / "ours.pth", weights_only=True)
    assert set(again) == set(theirs.state_dict())
    assert all(torch.equal(value, again[key]) for key, value in theirs.state_dict().items())


def test_torchvision_loads_its_format(randomise, tmp_path):
    net = make(randomise, "mobilenet_v2", width_mult=0.35, num_classes=4)
    save_model(net, tmp_path / "net.pth", format="torchvision")
    theirs = torchvision.models.mobilenet_v2(width_mult=0.35, num_classes=4)
    theirs.load_state_dict(torch.load(tmp_path / "net.pth", weights_only=True))
    torch.testing.assert_close(theirs.eval()(IMAGES), net(IMAGES), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "format", "sentence"),
    [
        ("mobilenet_v1", {}, "torchvision", "torchvision has no mobilenet_v1"),
        ("mobilenet_v2", {"padding": "same"}, "torchvision", "built with padding='same'"),
        ("mobilenet_v2", {"residual": "none"}, "timm", "timm's mobilenet_v2 can't be built with"),
        ("mobilenet_v1", {"shallow": True}, "timm", "shallow=True"),
        ("mobilenet_v1", {}, "tim", "did you mean timm"),
    ],
)
def test_a_net_that_the_library_lacks_is_rejected(tmp_path, name, options, format, sentence):
    net = create_model(name, width_mult=0.25, **options)
    with pytest.raises(ValueError, match=sentence):
        save_model(net, tmp_path / "net.pth", format=format)
    assert not list(tmp_path.iterdir())


def test_our_format_is_safetensors(tmp_path):
    with pytest.raises(ValueError, match=r"net\.pth has to end in \.safetensors"):
        save_model(create_model("mobilenet_v1", width_mult=0.25), tmp_path / "net.pth")


def test_an_interrupted_save_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    net = create_model("mobilenet_v1", width_mult=0.25)
    save_model(net, tmp_path / "net.safetensors")
    before = (tmp_path / "net.safetensors").read_bytes()
    monkeypatch.setattr("safetensors.torch.save", functools.partial(fail, "disk full"))
    with pytest.raises(OSError, match="disk full"):
        save_model(net, tmp_path / "net.safetensors")
    assert (tmp_path / "net.safetensors").read_bytes() == before


def fail(message, *args):
    raise OSError(message)
