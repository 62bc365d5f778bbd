"""The images of a benchmark: random ones that look smooth like photographs, or given ones."""

import pickle
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = [f"class_{i}" for i in range(10)]
SMALL = 32  # pixels: CIFAR's
PHOTOGRAPH = (500, 375)  # width and height: the mean of ImageNet
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def make_small(folder: Path, count: int, source: Path | None) -> None:
    """Write `count` images of 32x32 as CIFAR-10's python archive, and as images.npy for baselines.

    images.npy has shape (count, 32, 32, 3), uint8; the label of image i is i % 10.

    Args:
        source: a folder of images to shrink; None draws random ones.
    """
    images = np.stack([np.asarray(image) for image in islice(_small(source), count)])
    if len(images) < count:
        raise ValueError(_too_few(source, len(images), count))
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", images)

    archive = folder / "cifar-10-batches-py"
    archive.mkdir()
    rows = images.transpose(0, 3, 1, 2).reshape(count, -1)
    labels = np.arange(count) % len(CLASSES)
    parts = {f"data_batch_{i + 1}": part for i, part in enumerate(np.array_split(range(count), 5))}
    for name, part in [*parts.items(), ("test_batch", np.arange(min(count, 1000)))]:
        batch = {"data": rows[part], "labels": labels[part].tolist()}
        (archive / name).write_bytes(pickle.dumps(batch))
    (archive / "batches.meta").write_bytes(pickle.dumps({"label_names": CLASSES}))


def make_tree(folder: Path, count: int, source: Path | None) -> None:
    """Make folder/train/CLASS/ with `count` JPEGs, and folder/val/CLASS/ with a tenth of that.

    Args:
        source: a folder of class folders, or of train/ and val/, to link to instead.
    """
    folder.mkdir(parents=True)
    if source is not None:
        train = source / "train" if (source / "train").is_dir() else source
        val = source / "val" if (source / "val").is_dir() else train
        if (found := len(list(islice(_files(train), count)))) < count:
            raise ValueError(_too_few(train, found, count))
        (folder / "train").symlink_to(train.absolute())
        (folder / "val").symlink_to(val.absolute())
        return
    rng = np.random.default_rng(0)
    for split, size in (("train", count), ("val", max(count // 10, len(CLASSES)))):
        for i in range(size):
            path = folder / split / CLASSES[i % len(CLASSES)] / f"{i:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            smooth(rng, PHOTOGRAPH).save(path, quality=95)


def make_small_tree(folder: Path) -> None:
    """Write the images of `make_small` as folder/tree/{train,val}/CLASS/*.png, for scripts."""
    images = np.load(folder / "images.npy")
    for split, part in (("train", images), ("val", images[: max(len(images) // 10, 10)])):
        for i, pixels in enumerate(part):
            path = folder / "tree" / split / CLASSES[i % len(CLASSES)] / f"{i:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def smooth(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A random RGB image (width, height) whose details are the fainter the finer they are."""
    image = None
    for step, comparisons in enumerate((4, 16, 64, 256)):
        shape = (min(comparisons * size[1] // size[0], size[1]), min(comparisons, size[0]), 3)
        noise = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        noise = noise.resize(size, Image.Resampling.BICUBIC)
        image = noise if image is None else Image.blend(image, noise, 0.5 / (step + 1))
    assert image is not None
    return image


def _small(source: Path | None) -> Iterator[Image.Image]:
    """Images of 32x32 without end, or as many as the folder has."""
    if source is None:
        rng = np.random.default_rng(0)
        while True:
            yield smooth(rng, (SMALL, SMALL))
    for path in _files(source):
        with Image.open(path) as image:
            yield image.convert("RGB").resize((SMALL, SMALL), Image.Resampling.BILINEAR)


def _files(source: Path) -> Iterator[Path]:
    return (path for path in source.rglob("*") if path.suffix.lower() in EXTENSIONS)


def _too_few(source: Path | None, found: int, count: int) -> str:
    return (
        f"{source} has {found} images and one epoch of the benchmark takes {count}: "
        "lower --steps or --batch-size, or leave --data out"
    )
