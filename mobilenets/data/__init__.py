"""Image data: sources, splits, order, augmentation and normalisation."""

from mobilenets.data.augment import Mixing
from mobilenets.data.batch import Batch
from mobilenets.data.datamodule import ImageDataModule

__all__ = ["Batch", "ImageDataModule", "Mixing"]
