"""Sets small enough to lie in memory as one tensor."""

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mobilenets.data.batch import Batch, BatchKey
from mobilenets.data.transforms import eval_transform, to_channels


class RawSplit(NamedTuple):
    """Images as a source reads them, before they are brought to the size that was asked for."""

    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64


class MemorySet(Dataset[Batch]):
    """A split in the memory of one device; a batch of it is an index gather there.

    Args:
        images: (N, H, W, C) uint8: with the channels innermost, batches come out in channels_last
            without a copy.
        labels: (N,) int64.
    """

    def __init__(self, images: Tensor, labels: Tensor):
        self.images = images
        self.labels = labels
        self.rows = torch.arange(len(labels))  # each sample's place in `images`

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: BatchKey) -> Batch:
        epoch, chosen = key
        indices = torch.from_numpy(chosen)
        if self.images.is_cuda:  # pinned, so that the copy waits for nothing
            indices = indices.pin_memory().to(self.images.device, non_blocking=True)
        images = self.images.index_select(0, self.rows[indices]).permute(0, 3, 1, 2)
        return Batch(images, self.labels[indices], indices, epoch)

    def keys(self) -> Sequence[str]:
        """What identifies each sample in a split by seed: its number."""
        return [str(row) for row in self.rows.tolist()]

    def subset(self, indices: np.ndarray) -> "MemorySet":
        """Make a set of some of the samples, which shares the memory of their images."""
        part = copy(self)
        part.rows, part.labels = self.rows[indices], self.labels[indices]
        return part

    def sample_name(self, split: str, index: int) -> str:
        """Name a sample for a person: "test[17]"."""
        return f"{split}[{index}]"


def move_to_device(sets: Collection[MemorySet], device: torch.device) -> None:
    """Move sets to the device that trains, where a GPU has room; images that they share only once.

    There is room on a GPU if the images take at most a quarter of its memory. Elsewhere they stay
    in the host's, from which each batch is then copied.
    """
    images = {id(part.images): part.images for part in sets}
    if not has_room(device, sum(image.nbytes for image in images.values())):
        device = torch.device("cpu")
    moved = {key: image.to(device) for key, image in images.items()}
    for part in sets:
        part.images = moved[id(part.images)]
        part.labels, part.rows = part.labels.to(device), part.rows.to(device)


def has_room(device: torch.device, size: int) -> bool:
    """Whether a device is a GPU whose memory is four times `size` or more, in bytes."""
    if device.type != "cuda":
        return False
    return 4 * size <= torch.cuda.get_device_properties(device).total_memory


def prepare(raw: RawSplit, preprocessing: Mapping[str, Any]) -> MemorySet:
    """Bring images to the channels and the size of the preprocessing, once and for all."""
    transform = eval_transform(preprocessing)
    size, channels = preprocessing["image_size"], preprocessing["in_channels"]
    images = torch.empty(len(raw.images), size, size, channels, dtype=torch.uint8)
    # In chunks, so that what a resize needs beside its result stays small.
    for target, chunk in zip(images.split(1000), raw.images.split(1000), strict=True):
        target.copy_(transform(to_channels(chunk, channels)).permute(0, 2, 3, 1))
    return MemorySet(images, raw.labels)


def check_class_names(found: Sequence[str], given: Sequence[str] | None) -> list[str]:
    """Call the classes of a set as the config does, if that has as many names."""
    if given is not None and len(given) != len(found):
        raise ValueError(
            f"data.class_names has {len(given)} names, the data {len(found)} classes: give as "
            "many, or set data.class_names=null"
        )
    return list(found if given is None else given)
