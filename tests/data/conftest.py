from pathlib import Path

import numpy as np
import pytest
from PIL import Image

OPTIONS = {
    "class_names": None,
    "in_channels": 3,
    "image_size": 16,
    "mean": [0.5],
    "std": [0.25],
    "crop_pct": 1.0,
    "interpolation": "bilinear",
    "batch_size": 8,
    "num_workers": 0,
    "val_fraction": 0.2,
    "split_seed": 0,
}
SMALL = {
    "crop_padding": 2,
    "flip": 0.5,
    "color_jitter": 0.4,
    "erasing": 0.3,
    "mixup": 0.0,
    "cutmix": 0.0,
}
LARGE = {
    "scale": [0.3, 1.0],
    "ratio": [0.75, 1.33],
    "flip": 0.5,
    "color_jitter": 0.4,
    "policy": "randaugment",
    "magnitude": 9,
    "erasing": 0.3,
    "mixup": 0.0,
    "cutmix": 0.0,
}


def write_images(folder: Path, count: int, *, first: int = 0) -> None:
    """Write `count` different JPEGs of 24x20 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        pixels = np.random.default_rng((len(folder.name), number)).integers(0, 256, (20, 24, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03}.jpg")


@pytest.fixture
def make_data():
    """Make a set up ImageDataModule: make_data(name, **what differs from OPTIONS)."""
    from mobilenets.data import ImageDataModule

    def make(name, *, seed=0, **options):
        augment = LARGE if name in ("folder", "imagenet") else SMALL
        data = ImageDataModule(name, seed=seed, **{**OPTIONS, "augment": augment, **options})
        data.setup()
        return data

    return make


@pytest.fixture
def images():
    return write_images


@pytest.fixture
def tree(tmp_path):
    """A tree without splits: 3 classes of 10, 12 and 14 images."""
    root = tmp_path / "flowers"
    for number, name in enumerate(("daisy", "rose", "tulip")):
        write_images(root / name, 10 + 2 * number)
    return root
