"""A small net on disk, and pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

from mobilenets import create_model
from mobilenets.weights import save_model

PREPROCESSING = {
    "image_size": 32,
    "in_channels": 3,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.25, 0.3],
    "crop_pct": 0.8,
    "interpolation": "bilinear",
}


@pytest.fixture
def net_file(tmp_path, randomise):
    torch.manual_seed(0)
    net = randomise(create_model("mobilenet_v1", width_mult=0.25, num_classes=4, shallow=True))
    path = tmp_path / "net.safetensors"
    save_model(net, path, class_names=["a", "b", "c", "d"], preprocessing=PREPROCESSING)
    return path


@pytest.fixture
def picture():
    """picture(seed, width, height) -> a PIL image of coarse noise."""

    def make(seed=0, width=60, height=45):
        noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
        return Image.fromarray(noise.astype(np.uint8)).resize((width, height))

    return make
