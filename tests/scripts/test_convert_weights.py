"""scripts/convert_weights.py: what it writes, prints and refuses."""

import importlib.util
from pathlib import Path

import pytest
import torch
import torchvision

from mobilenets import create_model, load_model

SCRIPT = Path(__file__).parents[2] / "scripts" / "convert_weights.py"


@pytest.fixture
def convert(capsys, monkeypatch, tmp_path):
    """convert(source, dest, ...) -> (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("convert_weights", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(*argv):
        code = 0
        try:
            module.main(argv)
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


def test_there_and_back_through_every_format(convert):
    theirs = torchvision.models.mobilenet_v2(width_mult=0.25, num_classes=6).eval()
    torch.save({"model": theirs.state_dict(), "epoch": 3}, "source.pth")
    code, out, _ = convert("source.pth", "ours.safetensors")
    assert code == 0
    assert out.splitlines() == [
        "weights source.pth",
        "        PyTorch, names of torchvision: mobilenet_v2 of width 0.25, num_classes 6",
        "        images: in_channels 3, image_size 224, crop_pct 0.875, interpolation bilinear, "
        "mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]",
        "        314 tensors: 314 matched, 0 converted, 0 re-initialised, 0 ignored",
        "file    ours.safetensors",
        'for     mobilenets.load_model("ours.safetensors")',
    ]
    assert convert("ours.safetensors", "timm.bin", "--format", "timm")[0] == 0
    assert convert("timm.bin", "back.pth", "--format", "torchvision")[0] == 0
    back = torch.load("back.pth", weights_only=True)
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(back[key], value) for key, value in theirs.state_dict().items())


def test_the_classifier_can_be_left_out(convert):
    torch.save(create_model("mobilenet_v1", width_mult=0.25).state_dict(), "source.pt")
    code, out, _ = convert("source.pt", "features.safetensors", "--num-classes", "0")
    assert (code, load_model("features.safetensors").num_classes) == (0, 0)
    assert "classifier left out" in out


@pytest.mark.parametrize(
    ("argv", "code", "sentence"),
    [
        (("nothing.pth", "out.safetensors"), 1, "error: there is no file nothing.pth"),
        (("source.pt", "out.pth"), 1, "error: out.pth has to end in .safetensors"),
        (("source.pt", "out.pth", "--format", "torchvision"), 1, "torchvision has no mobilenet_v1"),
        (("source.pt",), 2, "DEST"),
        (("source.pt", "no/where.safetensors"), 1, "no/where.safetensors"),
    ],
)
def test_mistakes_are_one_sentence(convert, argv, code, sentence):
    torch.save(create_model("mobilenet_v1", width_mult=0.25).state_dict(), "source.pt")
    found, _, err = convert(*argv)
    assert found == code
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == ["source.pt"]
