"""Data sets small enough to fit in memory as one tensor."""

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mobilenets.data.batch import Batch, BatchKey
from mobilenets.data.transforms import convert_channels, eval_transform


class RawSplit(NamedTuple):
    """Images as a source reads them, before they are resized."""

    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64


class MemorySet(Dataset[Batch]):
    """A split in the memory of one device; a batch is an index gather there.

    Args:
        images: (N, H, W, C) uint8. With channels innermost, batches are channels_last without a
            copy.
        labels: (N,) int64.
    """

    def __init__(self, images: Tensor, labels: Tensor):
        self.images = images
        self.labels = labels
        self.rows = torch.arange(len(labels))  # each sample's row in `images`

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: BatchKey) -> Batch:
        epoch, chosen = key
        indices = torch.from_numpy(chosen)
        if self.images.is_cuda:  # pinned memory lets the copy run asynchronously
            indices = indices.pin_memory().to(self.images.device, non_blocking=True)
        images = self.images.index_select(0, self.rows[indices]).permute(0, 3, 1, 2)
        return Batch(images, self.labels[indices], indices, epoch)

    def keys(self) -> Sequence[str]:
        """Return the keys by which samples are split: their row numbers."""
        return [str(row) for row in self.rows.tolist()]

    def subset(self, indices: np.ndarray) -> "MemorySet":
        """Return a set of some of the samples; both share the memory of their images."""
        part = copy(self)
        part.rows, part.labels = self.rows[indices], self.labels[indices]
        return part

    def sample_name(self, split: str, index: int) -> str:
        """Return a name to print for a sample: "test[17]"."""
        return f"{split}[{index}]"


def move_to_device(sets: Collection[MemorySet], device: torch.device) -> None:
    """Move sets to the training device if it is a GPU with room for them.

    Otherwise they stay in host memory, and each batch is copied. Images that several sets share are
    moved once, and stay shared.
    """
    images = {id(part.images): part.images for part in sets}
    if not has_room(device, sum(image.nbytes for image in images.values())):
        device = torch.device("cpu")
    moved = {key: image.to(device) for key, image in images.items()}
    for part in sets:
        part.images = moved[id(part.images)]
        part.labels, part.rows = part.labels.to(device), part.rows.to(device)


def has_room(device: torch.device, size: int) -> bool:
    """Return whether the device is a GPU, and `size` bytes are at most a quarter of its memory."""
    if device.type != "cuda":
        return False
    return 4 * size <= torch.cuda.get_device_properties(device).total_memory


def prepare(raw: RawSplit, preprocessing: Mapping[str, Any]) -> MemorySet:
    """Convert images to the channels and the size of the preprocessing, once for the whole run."""
    transform = eval_transform(preprocessing)
    size, channels = preprocessing["image_size"], preprocessing["in_channels"]
    images = torch.empty(len(raw.images), size, size, channels, dtype=torch.uint8)
    # In chunks, to bound the temporary memory of a resize.
    for target, chunk in zip(images.split(1000), raw.images.split(1000), strict=True):
        target.copy_(transform(convert_channels(chunk, channels)).permute(0, 2, 3, 1))
    return MemorySet(images, raw.labels)


def check_class_names(found: Sequence[str], given: Sequence[str] | None) -> list[str]:
    """Return `given`, the names in the config, or else `found`, the set's own.

    Raises:
        ValueError: the config has too few or too many names.
    """
    if given is not None and len(given) != len(found):
        raise ValueError(
            f"data.class_names has {len(given)} names, the data {len(found)} classes: give one "
            "name per class, or set data.class_names=null"
        )
    return list(found if given is None else given)
