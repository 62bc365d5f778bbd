"""Examples: the images that exported files are verified and calibrated on."""

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
from mobilenets.data.transforms import Normalize, eval_transform, resize_size
from mobilenets.export.exportable import Exportable
from mobilenets.export.parity import Example


def examples_from_split(
    data: ImageDataModule, split: str, max_images: int, preprocess: bool = False
) -> Iterator[Example]:
    """Yield the first images of a split, preprocessed as in evaluation, with their labels.

    Args:
        data: the data.
        split: "train", "val" or "test".
        max_images: number of images to stop at.
        preprocess: the inputs are the images before preprocessing, which have different sizes:
            yield them one at a time.
    """
    samples, left = data.splits[split], max_images
    for batch in data.eval_dataloader(split):
        size = min(left, len(batch.labels))
        images = data.on_after_batch_transfer(batch, 0).images[:size].contiguous()
        labels, left = batch.labels[:size], left - size
        if preprocess:
            for i, index in enumerate(batch.indices[:size].tolist()):
                inputs = _read_sample(samples, index, data.preprocessing)
                yield Example(images[i : i + 1], inputs, labels[i : i + 1])
        elif size:
            yield Example(images, images, labels)
        if not left:
            return


def examples_from_folder(
    folder: Path, model: Exportable, max_images: int, batch_size: int = 32
) -> Iterator[Example]:
    """Yield images of a folder and its subfolders, evenly chosen, without labels."""
    preprocessing = model.weights.preprocessing
    normalize, transform = Normalize(preprocessing), eval_transform(preprocessing)
    paths = sorted(
        path
        for path in folder.expanduser().rglob("*")
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()
    )
    if not paths:
        raise ValueError(f"images={folder}: this folder contains no images")
    chosen = iter(paths[:: max(1, len(paths) // max_images)][:max_images])
    size = 1 if model.preprocess else batch_size
    while part := list(islice(chosen, size)):
        encoded = [_read_file(path, model) for path in part]
        images = normalize(torch.stack([transform(image) for image in encoded])).contiguous()
        inputs = _decode(_read_file(part[0], model)) if model.preprocess else images
        yield Example(images, inputs, None)


def random_examples(model: Exportable, num_batches: int = 4) -> Iterator[Example]:
    """Yield noise, for want of images: it shows differences in logits, but no accuracy."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(num_batches):
        images = torch.randn(16, *model.image_shape, generator=generator)
        yield Example(images, images, None)


def _read_sample(
    samples: FileSet | MemorySet, index: int, preprocessing: Mapping[str, Any]
) -> Tensor:
    """Read an image of a data set before its preprocessing: uint8 (1, H, W, C)."""
    if isinstance(samples, FileSet):
        name = samples.sample_name("", index)
        data = samples.read(samples.keys()[index])
        return _decode(EncodedImage(data, name, samples.in_channels))
    if resize_size(preprocessing) != preprocessing["image_size"]:
        raise ValueError(
            "preprocess=true can't be verified on images in memory that were cropped (crop_pct="
            f"{preprocessing['crop_pct']}): give a folder, images=DIR"
        )
    return samples.images[samples.rows[index]][None].contiguous()


def _read_file(path: Path, model: Exportable) -> EncodedImage:
    return EncodedImage(read_file(str(path)), str(path), model.image_shape[0])


def _decode(image: EncodedImage) -> Tensor:
    return image.decode().permute(1, 2, 0)[None].contiguous()  # (C, H, W) -> (1, H, W, C)
