"""A small net on disk."""

import pytest
import torch

from mobilenets import create_model
from mobilenets.weights import save_model
from tests.conftest import PREPROCESSING


@pytest.fixture
def net_file(tmp_path, randomise):
    """The path of a MobileNetV1 with four classes and the preprocessing PREPROCESSING."""
    torch.manual_seed(0)
    net = randomise(create_model("mobilenet_v1", width_mult=0.25, num_classes=4, shallow=True))
    path = tmp_path / "net.safetensors"
    save_model(net, path, class_names=["a", "b", "c", "d"], preprocessing=PREPROCESSING)
    return path
