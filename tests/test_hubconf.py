"""torch.hub's entry points need none of the requirements but torch and torchvision."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from mobilenets import create_model

REPOSITORY = Path(__file__).parents[1]
OTHERS = [
    "pytorch_lightning",
    "torchmetrics",
    "hydra",
    "omegaconf",
    "timm",
    "tensorboard",
    "sklearn",
    "matplotlib",
    "huggingface_hub",
    "rich",
]


def run(code, folder):
    """Return the lines that `code` prints without the other requirements.

    torch.hub finds the repository as "me/mobilenets:main", as if it had been downloaded.
    """
    (folder / "hub").mkdir()
    (folder / "hub" / "me_mobilenets_main").symlink_to(REPOSITORY)
    blocked = f"import sys\nfor name in {OTHERS}: sys.modules[name] = None\nimport torch\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + code],
        cwd=folder,
        env=os.environ | {"TORCH_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_entry_points_build_and_load_nets_with_only_torch_and_torchvision(tmp_path):
    v1 = f"({str(REPOSITORY)!r}, 'mobilenet_v1', source='local', trust_repo=True"
    lines = run(
        f"net = torch.hub.load{v1}, width_mult=0.25, num_classes=10).eval()\n"
        "x = torch.rand(2, 3, 64, 64)\n"
        "print(type(net).__name__, *net(x).shape)\n"
        "torch.save(net.state_dict(), 'v1.pt')\n"
        f"print(torch.equal(net(x), torch.hub.load{v1}, weights='v1.pt', num_classes=10)(x)))\n"
        "loaded = torch.hub.load('me/mobilenets:main', 'load', 'v1.pt', trust_repo=True)\n"
        "print(torch.equal(net(x), loaded(x)))\n",
        tmp_path,
    )
    assert lines == ["MobileNetV1 2 10", "True", "True"]


def test_load_takes_the_options_of_load_model(tmp_path):
    net = create_model("mobilenet_v1", width_mult=0.25, num_classes=10)
    torch.save(net.state_dict(), tmp_path / "v1.pt")
    loaded = torch.hub.load(
        str(REPOSITORY), "load", str(tmp_path / "v1.pt"), source="local", num_classes=4
    )
    assert loaded.num_classes == 4
    assert torch.equal(loaded.features[0][0].weight, net.features[0][0].weight)


def test_the_entry_points_are_listed_and_explained(tmp_path):
    lines = run(
        "print(*torch.hub.list('me/mobilenets:main', trust_repo=True))\n"
        "print(torch.hub.help('me/mobilenets:main', 'mobilenet_v2', trust_repo=True))\n",
        tmp_path,
    )
    assert lines[0] == "load mobilenet_v1 mobilenet_v2"
    assert "torchvision:IMAGENET1K_V2" in "".join(lines[1:])
