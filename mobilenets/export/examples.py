"""The images that exported files are checked and calibrated on."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobilenets.data import ImageDataModule
from mobilenets.data.decode import EXTENSIONS, EncodedImage, read_file
from mobilenets.data.files import FileSet
from mobilenets.data.memory import MemorySet
from mobilenets.data.transforms import Normalize, eval_transform, resized_side
from mobilenets.export.exportable import Exportable
from mobilenets.export.parity import Example


def examples_from_split(
    data: ImageDataModule, split: str, most: int, preprocess: bool = False
) -> Iterator[Example]:
    """The first images of a split as evaluation reads them, with their labels.

    Args:
        preprocess: the inputs are the images before that, one at a time: their sizes differ.
    """
    samples, left = data.splits[split], most
    for batch in data.eval_dataloader(split):
        size = min(left, len(batch.labels))
        images = data.on_after_batch_transfer(batch, 0).images[:size].contiguous()
        labels, left = batch.labels[:size], left - size
        if preprocess:
            for i, index in enumerate(batch.indices[:size].tolist()):
                inputs = _as_it_comes(samples, index, data.preprocessing)
                yield Example(images[i : i + 1], inputs, labels[i : i + 1])
        elif size:
            yield Example(images, images, labels)
        if not left:
            return


def _as_it_comes(
    samples: FileSet | MemorySet, index: int, preprocessing: Mapping[str, Any]
) -> Tensor:
    """An image before preprocessing: uint8 (1, H, W, C)."""
    if isinstance(samples, FileSet):
        name = samples.sample_name("", index)
        data = samples.read(samples.keys()[index])
        return _pixels(EncodedImage(data, name, samples.in_channels))
    if resized_side(preprocessing) != preprocessing["image_size"]:
        raise ValueError(
            "preprocess=true can't be checked on images in memory that were cropped (crop_pct="
            f"{preprocessing['crop_pct']}): give a folder, images=DIR"
        )
    return samples.images[samples.rows[index]][None].contiguous()


def _pixels(image: EncodedImage) -> Tensor:
    return image.decode().permute(1, 2, 0)[None].contiguous()


def examples_from_folder(
    folder: Path, model: Exportable, most: int, batch_size: int = 32
) -> Iterator[Example]:
    """The first images in a folder and those below it, without labels."""
    preprocessing = model.weights.preprocessing
    normalize, transform = Normalize(preprocessing), eval_transform(preprocessing)
    paths = sorted(
        path
        for path in folder.expanduser().rglob("*")
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()
    )
    if not paths:
        raise ValueError(f"images={folder}: there are no images in this folder")
    chosen = iter(paths[:: max(1, len(paths) // most)][:most])  # of all its parts
    size = 1 if model.preprocess else batch_size
    while part := list(islice(chosen, size)):
        encoded = [_read(path, model.shape[0]) for path in part]
        images = normalize(torch.stack([transform(image) for image in encoded])).contiguous()
        inputs = _pixels(_read(part[0], model.shape[0])) if model.preprocess else images
        yield Example(images, inputs, None)


def _read(path: Path, in_channels: int) -> EncodedImage:
    return EncodedImage(read_file(str(path)), str(path), in_channels)


def random_examples(model: Exportable, batches: int = 4) -> Iterator[Example]:
    """Noise in place of images, where none are known: it shows differences, not accuracy."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(batches):
        images = torch.randn(16, *model.shape, generator=generator)
        yield Example(images, images, None)
