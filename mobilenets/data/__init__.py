"""Image data: where it comes from, how it is split, ordered, augmented and normalised."""

from mobilenets.data.augment import Mixing
from mobilenets.data.batch import Batch
from mobilenets.data.datamodule import ImageDataModule

__all__ = ["Batch", "ImageDataModule", "Mixing"]
