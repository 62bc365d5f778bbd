"""Synthetic images, to try out a net or a machine without any data."""

from collections.abc import Sequence

import torch
from torchvision.transforms.v2 import functional

from mobilenets.data.memory import RawSplit, check_class_names

_SIZE = 32


def make_fake(
    *, num_samples: int, num_classes: int, class_names: Sequence[str] | None
) -> tuple[dict[str, RawSplit], list[str]]:
    """Make RGB images of 32x32 pixels: a smooth colour pattern for each class under heavy noise.

    The images are always the same, and a net that learns at all can classify them. All classes have
    equal shares.

    Args:
        num_samples: size of the training set; the test set is a quarter of that.
        num_classes: number of classes.
        class_names: names that replace "class 0", "class 1", ...

    Raises:
        ValueError: too few samples or classes.
    """
    if num_classes < 2 or num_samples < 2 * num_classes:
        raise ValueError(
            f"data.num_samples={num_samples} and data.num_classes={num_classes}: set at least 2 "
            "classes, and 2 samples for each of them"
        )
    patterns = torch.randn(num_classes, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    patterns = functional.resize(patterns, [_SIZE, _SIZE], antialias=True) * 40 + 128
    splits = {
        split: _add_noise(patterns, size, torch.Generator().manual_seed(seed))
        for seed, (split, size) in enumerate(
            [("train", num_samples), ("test", max(num_samples // 4, num_classes))], start=1
        )
    }
    names = [f"class {index}" for index in range(num_classes)]
    return splits, check_class_names(names, class_names)


def _add_noise(patterns: torch.Tensor, num_samples: int, generator: torch.Generator) -> RawSplit:
    labels = torch.arange(num_samples) % len(patterns)
    images = torch.empty(num_samples, *patterns.shape[1:], dtype=torch.uint8)
    for part, classes in zip(images.split(1000), labels.split(1000), strict=True):
        noise = torch.randn(part.shape, generator=generator) * 40
        part.copy_((patterns[classes] + noise).round().clamp(0, 255))
    return RawSplit(images, labels)
