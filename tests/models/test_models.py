import subprocess
import sys
from pathlib import Path

import pytest

import mobilenets
from mobilenets.models import MODELS, MobileNetV1, MobileNetV2, create_model, list_models


def test_create_model_builds_by_name():
    assert type(create_model("mobilenet_v1", width_mult=0.25)) is MobileNetV1
    model = create_model("mobilenet_v2", width_mult=0.25, num_classes=3)
    assert type(model) is MobileNetV2
    assert model.num_classes == 3


def test_every_model_has_the_name_that_builds_it():
    assert len(MODELS) >= 2
    assert all(create_model(name).name == name for name in MODELS)


def test_list_models_takes_a_pattern():
    assert list_models() == sorted(MODELS)
    assert list_models("mobilenet_v[12]") == ["mobilenet_v1", "mobilenet_v2"]
    assert list_models("resnet*") == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mobilenetv2", {}, "model 'mobilenetv2' is unknown; did you mean mobilenet_v2"),
        (
            "mobilenet_v1",
            {"with_mult": 1},
            "option 'with_mult' is unknown; did you mean width_mult",
        ),
        ("mobilenet_v2", {"shalow": True}, "option 'shalow' is unknown"),
        ("mobilenet_v1", {"width_mult": -1}, "width_mult=-1 must be a number"),
    ],
)
def test_create_model_suggests_the_most_similar_name(name, options, message):
    with pytest.raises(ValueError, match=message):
        create_model(name, **options)


def test_the_package_exports_the_nets():
    assert mobilenets.MobileNetV2 is MobileNetV2
    net = mobilenets.create_model("mobilenet_v2", width_mult=0.25)
    assert net.options == create_model("mobilenet_v2", width_mult=0.25).options


def test_the_nets_need_only_torch_and_the_ground_floor():
    program = (
        "import sys, mobilenets.models\n"
        "mobilenets.models.create_model('mobilenet_v1', width_mult=0.25)\n"
        "print(*sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    imported = set(result.stdout.split())
    assert "torch" in imported
    assert not imported & {"timm", "torchvision", "pytorch_lightning", "hydra", "omegaconf"}
    rooms = {path.parent.name for path in Path(mobilenets.__file__).parent.glob("*/__init__.py")}
    assert len(rooms) >= 7
    assert {room for room in rooms if f"mobilenets.{room}" in imported} == {"models"}
