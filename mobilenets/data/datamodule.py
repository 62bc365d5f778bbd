"""The Lightning data module: from the settings of a data set to batches on the device."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from mobilenets.choices import check_choice
from mobilenets.cpus import num_cpus
from mobilenets.data.augment import BatchAugment
from mobilenets.data.batch import Batch
from mobilenets.data.cifar import read_cifar10, read_cifar100
from mobilenets.data.digits import read_digits
from mobilenets.data.fake import make_fake
from mobilenets.data.files import FileSet
from mobilenets.data.folder import Tree, find_imagenet, find_trees, order_classes
from mobilenets.data.loaders import make_loader, start_workers
from mobilenets.data.memory import MemorySet, RawSplit, move_to_device, prepare
from mobilenets.data.order import BatchOrder
from mobilenets.data.splits import SPLITS, complete_splits
from mobilenets.data.transforms import (
    Normalize,
    check_preprocessing,
    eval_transform,
    mean_color,
    resize_size,
    train_transform,
)

IN_MEMORY: dict[str, Callable[..., tuple[dict[str, RawSplit], list[str]]]] = {
    # name -> function that returns {split: images and labels} and the class names
    "digits": read_digits,
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "fake": make_fake,
}
IN_FILES: dict[str, Callable[..., tuple[dict[str, Tree], list[str]]]] = {
    # name -> function that returns {split: class-per-folder tree} and notes
    "folder": find_trees,
    "imagenet": find_imagenet,
}
MIXING = ("mixup", "cutmix")  # settings of augmentation that belong to the LightningModule
MAX_WORKERS = 8  # unless num_workers asks for more

Set = TypeVar("Set", MemorySet, FileSet)


class Position(NamedTuple):
    """The point that training has reached."""

    epoch: int
    batch: int  # number of batches of the epoch that each process has seen
    world_size: int


class ImageDataModule(pl.LightningDataModule):
    """The splits of a data set and their loaders, with augmentation and normalisation.

    The order of samples depends only on (seed, epoch), and the augmentation of a sample only on
    (seed, epoch, sample index).

    Args:
        name: a key of `IN_MEMORY` or `IN_FILES`.
        seed: seed of the run.
        class_names: classes in the order of their indices; None takes those of the data.
        in_channels: 1 (grey) or 3 (RGB).
        image_size: height and width of the net's input.
        mean: on the scale 0..1, one value or one per channel.
        std: likewise.
        crop_pct: evaluation resizes the short side to image_size / crop_pct.
        interpolation: "nearest", "bilinear" or "bicubic".
        batch_size: samples per batch and device.
        num_workers: processes that decode image files; None = one per CPU, at most `MAX_WORKERS`.
            Sets in memory use none.
        val_fraction: share of the training samples to hold out for validation, if the set has no
            validation split; 0 = no validation.
        split_seed: seed of the splits.
        augment: options of `BatchAugment` for sets in memory, of `train_transform` for sets in
            files. Those in `MIXING` are ignored here.
        test_fraction: share of the samples to hold out for the test, if the set has no test split.
        on_bad_image: for sets in files, "error", or "skip" to leave bad images out of their batch
            and list them in `Batch.skipped`.
        source_options: options of the function in `IN_MEMORY` or `IN_FILES`: root, download, ...

    Raises:
        ValueError: from here or from `setup`, one sentence with the cause and the fix.
    """

    name: str

    def __init__(
        self,
        name: str,
        *,
        seed: int,
        class_names: Sequence[str] | None,
        in_channels: int,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        crop_pct: float,
        interpolation: str,
        batch_size: int,
        val_fraction: float,
        split_seed: int,
        augment: Mapping[str, Any],
        num_workers: int | None = None,
        test_fraction: float = 0.0,
        on_bad_image: str = "error",
        **source_options: Any,
    ):
        super().__init__()
        check_choice("data", name, [*IN_MEMORY, *IN_FILES])
        self.name = name
        self.seed = seed
        self.class_names = list(class_names or ())  # final after setup()
        self.in_channels = in_channels
        self.image_size = image_size
        self.batch_size = batch_size
        if name in IN_MEMORY:
            num_workers = 0
        elif num_workers is None:
            num_workers = min(MAX_WORKERS, num_cpus())
        self.num_workers = num_workers
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self.augment = dict(augment)
        self.test_fraction = test_fraction
        self.on_bad_image = on_bad_image
        self.source_options = source_options
        self.preprocessing: dict[str, Any] = {
            "image_size": image_size,
            "in_channels": in_channels,
            "mean": list(mean),
            "std": list(std),
            "crop_pct": crop_pct,
            "interpolation": interpolation,
        }
        check_preprocessing(self.preprocessing)
        self.test_split = "test"  # the split that `test_dataloader` reads
        self.notes: list[str] = []
        self.position = Position(epoch=0, batch=0, world_size=1)
        self.splits: dict[str, MemorySet] | dict[str, FileSet] = {}
        self._val_loader: DataLoader[Batch] | None = None
        self._normalize = Normalize(self.preprocessing)
        self._augment_batch = self._make_augment_batch() if name in IN_MEMORY else None

    @property
    def num_classes(self) -> int:
        """Number of classes, known after `setup`."""
        return len(self.class_names)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of samples in each split, known after `setup`."""
        return {split: len(samples) for split, samples in self.splits.items()}

    def setup(self, stage: str | None = None) -> None:
        """Find or read the data and split it, once for all stages."""
        if self.splits:
            return
        given = self.class_names or None
        if given and len(set(given)) < len(given):
            duplicate = next(name for name in given if given.count(name) > 1)
            raise ValueError(
                f"data.class_names has {duplicate!r} twice: give each class its own name"
            )
        if self.name in IN_MEMORY:
            self._read_into_memory(given)
        else:
            self._find_files(given)

    def state_dict(self) -> dict[str, int]:
        """Return the `Position` to resume from; all else follows from the seed."""
        assert self.trainer is not None
        loop, epoch = self.trainer.fit_loop.epoch_loop, self.trainer.fit_loop.epoch_progress.current
        in_epoch = epoch.started > epoch.completed  # type: ignore[attr-defined]
        batch = loop.batch_progress.current.processed if in_epoch else 0  # type: ignore[attr-defined]
        return Position(self.trainer.current_epoch, batch, self.trainer.world_size)._asdict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Set the `Position` at which `train_dataloader` starts, so no batch is loaded twice."""
        self.position = Position(**state_dict)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled batches for augmentation; a ragged last batch is dropped."""
        if self.num_workers and self.sizes["val"]:
            self._val_loader = self.eval_dataloader("val")
            start_workers(self._val_loader)
        return self._make_loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Return the validation split in order, or an empty list if there is none."""
        if not self.sizes["val"]:
            return []
        return self._val_loader or self.eval_dataloader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the split named by `test_split`, in order."""
        return self.eval_dataloader(self.test_split)

    def eval_dataloader(self, split: str) -> DataLoader[Batch]:
        """Return "train", "val" or "test" in order, every sample once, without augmentation."""
        check_choice("split", split, SPLITS)
        return self._make_loader(split, shuffle=False)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise a batch on the device; training batches of small images are augmented first."""
        images = batch.images
        if self._augment_batch is not None and batch.epoch >= 0:
            images = self._augment_batch(images, batch.indices, batch.epoch)
        return batch._replace(images=self._normalize(images))

    def sample_name(self, split: str, index: int) -> str:
        """Return a name to print for a sample: the path of its file, or "test[17]"."""
        return self.splits[split].sample_name(split, index)

    def _read_into_memory(self, class_names: Sequence[str] | None) -> None:
        read = IN_MEMORY[self.name]
        raw, self.class_names = read(class_names=class_names, **self.source_options)
        self.splits = self._complete_splits(
            {split: prepare(raw.pop(split), self.preprocessing) for split in list(raw)}
        )

    def _find_files(self, class_names: Sequence[str] | None) -> None:
        trees, self.notes = IN_FILES[self.name](**self.source_options)
        self.notes += self._note_enlarged(trees.values())
        self.class_names = order_classes(trees, class_names)
        self.splits = self._complete_splits(
            {
                split: FileSet(
                    tree,
                    self.class_names,
                    in_channels=self.in_channels,
                    train_transform=train_transform(self.preprocessing, self.augment),
                    eval_transform=eval_transform(self.preprocessing),
                    seed=self.seed,
                    skip_bad=self.on_bad_image == "skip",
                )
                for split, tree in trees.items()
            }
        )

    def _note_enlarged(self, trees: Iterable[Tree]) -> list[str]:
        """Return a note if the images of shards are smaller than evaluation resizes them to."""
        sides = [tree.short_side for tree in trees if tree.short_side is not None]
        wanted = resize_size(self.preprocessing)
        if not sides or min(sides) >= wanted:
            return []
        return [
            f"the shards were made with --short-side {min(sides)}, and their images are enlarged "
            f"to {wanted} (data.image_size={self.image_size} / data.crop_pct): make them again "
            f"with scripts/prepare_imagenet.py --short-side {wanted}, or lower data.image_size"
        ]

    def _complete_splits(self, sets: dict[str, Set]) -> dict[str, Set]:
        return complete_splits(
            sets,
            test_fraction=self.test_fraction,
            val_fraction=self.val_fraction,
            seed=self.split_seed,
        )

    def _make_augment_batch(self) -> BatchAugment:
        options = {key: value for key, value in self.augment.items() if key not in MIXING}
        return BatchAugment(**options, fill=mean_color(self.preprocessing), seed=self.seed)

    def _device(self) -> torch.device:
        """Return the device of the net; without a Trainer, the CPU."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def _make_loader(self, split: str, *, shuffle: bool) -> DataLoader[Batch]:
        samples = self.splits[split]
        on_gpu = False
        if isinstance(samples, MemorySet):
            sets = [part for part in self.splits.values() if isinstance(part, MemorySet)]
            move_to_device(sets, self._device())
            on_gpu = samples.images.is_cuda
        rank, world_size = 0, 1
        if dist.is_available() and dist.is_initialized():
            rank, world_size = dist.get_rank(), dist.get_world_size()
        self._check_size(split, len(samples), world_size, shuffle)
        if shuffle and self.position.batch and self.position.world_size != world_size:
            raise ValueError(
                f"the run stopped in mid-epoch with {self.position.world_size} process(es), and "
                f"there are {world_size} now: resume with {self.position.world_size}, or from a "
                "checkpoint at the end of an epoch"
            )
        order = BatchOrder(
            len(samples),
            self.batch_size,
            seed=self.seed,
            shuffle=shuffle,
            drop_last=shuffle,
            rank=rank,
            world_size=world_size,
            epoch=self.position.epoch,
            start=self.position.batch if shuffle else 0,
        )
        pin_memory = torch.cuda.is_available() and not on_gpu
        return make_loader(samples, order, num_workers=self.num_workers, pin_memory=pin_memory)

    def _check_size(self, split: str, size: int, world_size: int, shuffle: bool) -> None:
        if size < world_size:
            raise ValueError(
                f"the {split} split has {size} images for {world_size} process(es): change "
                "data.val_fraction or data.test_fraction, or use fewer devices"
            )
        if shuffle and size < self.batch_size * world_size:
            raise ValueError(
                f"the {split} split has {size} images, fewer than a batch of "
                f"{self.batch_size * world_size}: set data.batch_size to {size // world_size} or "
                "less"
            )
