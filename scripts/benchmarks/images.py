"""The images of a benchmark: random ones, smooth like photographs, or those of a folder."""

import pickle
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = [f"class_{i}" for i in range(10)]  # image i is of class i % 10
SMALL = 32  # pixels: CIFAR's
PHOTO_SIZE = (500, 375)  # width and height: the mean of ImageNet
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def make_small(folder: Path, count: int, source: Path | None) -> None:
    """Write images of 32x32 as CIFAR-10's python archive, as images.npy and as tree/ of PNGs.

    Args:
        folder: images.npy in it has shape (count, 32, 32, 3), uint8.
        source: a folder of images to shrink; None = random ones.
    """
    found = [np.asarray(image) for image in islice(iterate_small(source), count)]
    check_count(source, len(found), count)
    images = np.stack(found)
    archive = folder / "cifar-10-batches-py"
    archive.mkdir(parents=True)
    np.save(folder / "images.npy", images)

    rows = images.transpose(0, 3, 1, 2).reshape(count, -1)
    labels = np.arange(count) % len(CLASSES)
    parts = {f"data_batch_{i + 1}": part for i, part in enumerate(np.array_split(range(count), 5))}
    for name, part in [*parts.items(), ("test_batch", np.arange(min(count, 1000)))]:
        batch = {"data": rows[part], "labels": labels[part].tolist()}
        (archive / name).write_bytes(pickle.dumps(batch))
    (archive / "batches.meta").write_bytes(pickle.dumps({"label_names": CLASSES}))
    save_tree(folder / "tree", map(Image.fromarray, images), count, ".png")


def make_large(folder: Path, count: int, source: Path | None) -> None:
    """Make folder/tree/ of JPEGs.

    Args:
        source: a folder of class folders, or of train/ and val/, to link to instead.
    """
    tree = folder / "tree"
    if source is None:
        rng = np.random.default_rng(0)
        photos = iter(lambda: draw_image(rng, PHOTO_SIZE), None)
        save_tree(tree, photos, count, ".jpg", quality=95)
        return
    train = source / "train" if (source / "train").is_dir() else source
    val = source / "val" if (source / "val").is_dir() else train
    check_count(train, len(list(islice(find_images(train), count))), count)
    tree.mkdir(parents=True)
    (tree / "train").symlink_to(train.absolute())
    (tree / "val").symlink_to(val.absolute())


def save_tree(
    tree: Path, images: Iterator[Image.Image], count: int, extension: str, **options: Any
) -> None:
    """Write `count` images as train/CLASS/*, the first tenth of them also as val/CLASS/*."""
    for i, image in enumerate(islice(images, count)):
        for split in ("train", "val") if i < max(count // 10, len(CLASSES)) else ("train",):
            path = tree / split / CLASSES[i % len(CLASSES)] / f"{i:05}{extension}"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, **options)


def draw_image(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Return a random RGB image (width, height) whose finer details are fainter."""
    image = Image.new("RGB", size)
    for step, cells in enumerate((4, 16, 64, 256)):
        shape = (min(cells * size[1] // size[0], size[1]), min(cells, size[0]), 3)
        noise = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        noise = noise.resize(size, Image.Resampling.BICUBIC)
        image = Image.blend(image, noise, 0.5 / (step + 1) if step else 1.0)
    return image


def iterate_small(source: Path | None) -> Iterator[Image.Image]:
    """Yield the folder's images as 32x32, or random ones without end."""
    if source is None:
        rng = np.random.default_rng(0)
        while True:
            yield draw_image(rng, (SMALL, SMALL))
    for path in find_images(source):
        with Image.open(path) as image:
            yield image.convert("RGB").resize((SMALL, SMALL), Image.Resampling.BILINEAR)


def find_images(source: Path) -> Iterator[Path]:
    """Yield the image files at any depth of a folder."""
    return (path for path in source.rglob("*") if path.suffix.lower() in EXTENSIONS)


def check_count(source: Path | None, found: int, count: int) -> None:
    """Raise ValueError if there are fewer images than needed."""
    if found < count:
        raise ValueError(
            f"{source} has {found} images and one epoch of the benchmark takes {count}: "
            "lower --steps or --batch-size, or leave --data out"
        )
