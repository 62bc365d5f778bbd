"""What travels from a data set to the net."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

BatchKey = tuple[int, np.ndarray]
"""What `BatchOrder` yields and a set is indexed with: (epoch, indices)."""


class Batch(NamedTuple):
    """One batch of labelled images.

    A loader yields `images` as uint8; `ImageDataModule.on_after_batch_transfer` turns them, on the
    device, into normalised float32.
    """

    images: Tensor  # (N, C, H, W), channels_last memory format
    labels: Tensor  # (N,) int64, the class indices
    indices: Tensor  # (N,) int64, each sample's number within its split
    epoch: int  # the epoch whose augmentation applies, -1 = not augmented
    skipped: tuple[str, ...] = ()  # what is wrong with each image that was left out
