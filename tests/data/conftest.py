"""Small data modules and a tree of image files."""

import pytest

from tests.conftest import PREPROCESSING

SMALL_PREPROCESSING = PREPROCESSING | {
    "image_size": 16,
    "mean": [0.5],
    "std": [0.25],
    "crop_pct": 1.0,
}
OPTIONS = {
    **SMALL_PREPROCESSING,
    "class_names": None,
    "batch_size": 8,
    "num_workers": 0,
    "val_fraction": 0.2,
    "split_seed": 0,
}
AUGMENT_MEMORY = {
    "crop_padding": 2,
    "flip": 0.5,
    "color_jitter": 0.4,
    "erasing": 0.3,
    "mixup": 0.0,
    "cutmix": 0.0,
}
AUGMENT_FILES = {
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


@pytest.fixture
def make_data():
    """make_data(name, **changes) -> an ImageDataModule with OPTIONS and changes, set up."""
    from mobilenets.data import ImageDataModule
    from mobilenets.data.datamodule import IN_FILES

    def make(name, *, seed=0, **options):
        augment = AUGMENT_FILES if name in IN_FILES else AUGMENT_MEMORY
        data = ImageDataModule(name, seed=seed, **{**OPTIONS, "augment": augment, **options})
        data.setup()
        return data

    return make


@pytest.fixture
def tree(tmp_path, write_images):
    """A folder of three classes with 10, 12 and 14 images, without splits."""
    root = tmp_path / "flowers"
    for number, name in enumerate(("daisy", "rose", "tulip")):
        write_images(root / name, 10 + 2 * number)
    return root
