"""A split of image files, read when they are needed."""

import os
from collections.abc import Callable, Sequence
from copy import copy
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mobilenets.data.batch import Batch, BatchKey
from mobilenets.data.decode import BadImageError, EncodedImage, ImageFileError
from mobilenets.data.folder import Tree
from mobilenets.data.randomness import counted_rng


class FileSet(Dataset[Batch]):
    """A split of image files; a batch of it is decoded and transformed where it is asked for.

    Args:
        tree: The files and their classes.
        class_names: What gives each class its index.
        in_channels: 1 reads greyscale, 3 RGB.
        train_transform: For batches of an epoch, seeded by (seed, epoch, index).
        eval_transform: For batches of epoch -1; both give (C, H, W) uint8 of one size.
        seed: The seed of the run.
        skip_bad: Leave bad images out of their batches, which get smaller, and say so there. A file
            that can't be read at all is an error nevertheless: that is the machine's fault.
    """

    def __init__(
        self,
        tree: Tree,
        class_names: Sequence[str],
        *,
        in_channels: int,
        train_transform: Callable[[EncodedImage], Tensor],
        eval_transform: Callable[[EncodedImage | Tensor], Tensor],
        seed: int,
        skip_bad: bool = False,
    ):
        self.root = tree.root
        self.read = tree.read
        # Arrays: workers would copy the memory of lists page by page, as they count references.
        self.paths = np.array([os.fsencode(path) for path in chain(*tree.paths.values())])
        sizes = [len(paths) for paths in tree.paths.values()]
        self.labels = np.repeat([class_names.index(name) for name in tree.paths], sizes)
        self.in_channels = in_channels
        self.train_transform = train_transform
        self.eval_transform = eval_transform
        self.seed = seed
        self.skip_bad = skip_bad

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: BatchKey) -> Batch:
        epoch, indices = key
        images, good, skipped = [], [], []
        for index in indices:
            try:
                images.append(self._load(epoch, int(index)))
                good.append(index)
            except BadImageError as error:
                if not self.skip_bad:
                    raise
                skipped.append(str(error))
        if not images and epoch >= 0:  # there is no step without images
            raise ImageFileError(f"all {len(indices)} images of a batch are bad: {skipped[0]}")
        kept = np.array(good, dtype=np.int64)
        labels = torch.from_numpy(self.labels[kept])
        return Batch(self._stack(images), labels, torch.from_numpy(kept), epoch, tuple(skipped))

    def keys(self) -> Sequence[str]:
        """What identifies each sample in a split by seed: its path below the root."""
        return [os.fsdecode(path) for path in self.paths]

    def subset(self, indices: np.ndarray) -> "FileSet":
        """Make a set of some of the samples."""
        part = copy(self)
        part.paths, part.labels = self.paths[indices], self.labels[indices]
        return part

    def sample_name(self, split: str, index: int) -> str:
        """Name a sample for a person: its path."""
        return str(self.root / os.fsdecode(self.paths[index]))

    def _stack(self, images: Sequence[Tensor]) -> Tensor:
        if not images:
            blank = torch.zeros(self.in_channels, 1, 1, dtype=torch.uint8)
            return self.eval_transform(blank)[None][:0]
        return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)

    def _load(self, epoch: int, index: int) -> Tensor:
        data = self.read(os.fsdecode(self.paths[index]))
        image = EncodedImage(data, self.sample_name("", index), self.in_channels)
        if epoch < 0:
            return self.eval_transform(image)
        with counted_rng(self.seed, epoch, index):
            return self.train_transform(image)
