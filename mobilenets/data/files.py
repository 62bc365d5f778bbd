"""Splits of image files that are decoded on demand."""

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
from mobilenets.data.randomness import counter_rng


class FileSet(Dataset[Batch]):
    """A split of image files; each batch is decoded and transformed by the process that loads it.

    Args:
        tree: the files and their classes.
        class_names: the classes in the order of their indices.
        in_channels: 1 decodes images as grey, 3 as RGB.
        train_transform: for batches of an epoch >= 0; its draws are seeded by (seed, epoch, index).
        eval_transform: for batches of epoch -1. Both return (C, H, W) uint8 of the same size.
        seed: seed of the run.
        skip_bad: leave bad images out of their batch, and list them in `Batch.skipped`. A file that
            can't be read at all is still an error, because the file system is at fault.
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
        # An array, because reference counts in a list would make workers copy its pages.
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
        if not images and epoch >= 0:  # a training step needs images
            raise ImageFileError(f"all {len(indices)} images of a batch are bad: {skipped[0]}")
        kept = np.array(good, dtype=np.int64)
        labels = torch.from_numpy(self.labels[kept])
        return Batch(self._stack(images), labels, torch.from_numpy(kept), epoch, tuple(skipped))

    def keys(self) -> Sequence[str]:
        """Return the keys by which samples are split: their paths below the root."""
        return [os.fsdecode(path) for path in self.paths]

    def subset(self, indices: np.ndarray) -> "FileSet":
        """Return a set of some of the samples."""
        part = copy(self)
        part.paths, part.labels = self.paths[indices], self.labels[indices]
        return part

    def sample_name(self, split: str, index: int) -> str:
        """Return a name to print for a sample: its path."""
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
        with counter_rng(self.seed, epoch, index):
            return self.train_transform(image)
