"""The batch that travels from a data set to the net."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

BatchKey = tuple[int, np.ndarray]
"""(epoch, indices): the key that `BatchOrder` yields and that indexes a data set."""


class Batch(NamedTuple):
    """One batch of labelled images.

    A loader yields `images` as uint8; `ImageDataModule.on_after_batch_transfer` turns them into
    normalised float32 on the device.
    """

    images: Tensor  # (N, C, H, W), channels_last memory format
    labels: Tensor  # (N,) int64, class indices
    indices: Tensor  # (N,) int64, positions within the split
    epoch: int  # the epoch whose augmentation applies; -1 = none
    skipped: tuple[str, ...] = ()  # a sentence for each bad image that was left out
