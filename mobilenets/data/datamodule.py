"""From a config's data fields to loaders of batches and what happens to these on the device."""

import os
import signal
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
from mobilenets.data.memory import MemorySet, RawSplit, move_to_device, prepare
from mobilenets.data.order import BatchOrder
from mobilenets.data.splits import SPLITS, complete_splits
from mobilenets.data.transforms import (
    Normalize,
    check_preprocessing,
    eval_transform,
    mean_color,
    resized_side,
    train_transform,
)

IN_MEMORY: dict[str, Callable[..., tuple[dict[str, RawSplit], list[str]]]] = {
    # name -> what returns {split: its images and labels} and the class names
    "digits": read_digits,
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "fake": make_fake,
}
IN_FILES: dict[str, Callable[..., tuple[dict[str, Tree], list[str]]]] = {
    # name -> what returns {split: its class-per-folder tree} and notes
    "folder": find_trees,
    "imagenet": find_imagenet,
}
MIXING = ("mixup", "cutmix")  # settings of augmentation that are the LightningModule's


Set = TypeVar("Set", MemorySet, FileSet)


class Position(NamedTuple):
    """Where in its training a run is: the epoch, and the batches seen of it by each process."""

    epoch: int
    batch: int
    world_size: int


class ImageDataModule(pl.LightningDataModule):
    """The splits of one data set, their loaders, and augmentation and normalisation on the device.

    The order of samples and each sample's augmentation depend only on (seed, epoch, sample index).

    Args:
        name: A key of IN_MEMORY or IN_FILES.
        seed: The seed of the run.
        class_names: The classes in the order of their indices; None takes those of the data.
        in_channels: 1 (grey) or 3 (RGB).
        image_size: Height and width of the images that the net gets.
        mean: On the scale 0..1, one value, or one a channel.
        std: Likewise.
        crop_pct: In evaluation the short side is resized to image_size / crop_pct.
        interpolation: "nearest", "bilinear" or "bicubic".
        batch_size: Samples per batch and device.
        num_workers: Processes that decode image files; None: one a CPU allotted, at most 8. Sets in
            memory need none.
        val_fraction: The share of the training samples for validation, where the set has no split
            for that; 0: no validation set.
        split_seed: The seed of such splits.
        augment: For a set in memory: flip, crop_padding, color_jitter, erasing (see
            `BatchAugment`); for one in files see `train_transform`. What concerns mixing is the
            LightningModule's.
        test_fraction: Likewise for the test set, of sets that may have none.
        on_bad_image: Of sets in files: "error", or "skip", which leaves bad images out of their
            batches and says so in `Batch.skipped`.
        source_options: What the set's own reader takes: root, download, verify, num_samples, ...

    Raises:
        ValueError: From here or from `setup`: one sentence with the cause and the fix.
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
        num_workers: int | None,
        val_fraction: float,
        split_seed: int,
        augment: Mapping[str, Any],
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
        self.num_workers = min(8, num_cpus()) if num_workers is None else num_workers
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
        """The number of classes, known after `setup`."""
        return len(self.class_names)

    @property
    def sizes(self) -> dict[str, int]:
        """The number of samples in each split, known after `setup`."""
        return {split: len(samples) for split, samples in self.splits.items()}

    def setup(self, stage: str | None = None) -> None:
        """Find or read the data, and split it; once, whatever the stage."""
        if self.splits:
            return
        given = self.class_names or None
        if given and len(set(given)) < len(given):
            double = next(name for name in given if given.count(name) > 1)
            raise ValueError(f"data.class_names has {double!r} twice: give each class its own name")
        if self.name in IN_MEMORY:
            self._read_into_memory(given)
        else:
            self._find_files(given)

    def state_dict(self) -> dict[str, int]:
        """Where a run goes on: all else follows from the seed. In mid-epoch, between two steps."""
        assert self.trainer is not None
        loop, epoch = self.trainer.fit_loop.epoch_loop, self.trainer.fit_loop.epoch_progress.current
        begun = epoch.started > epoch.completed  # type: ignore[attr-defined]
        batch = loop.batch_progress.current.processed if begun else 0  # type: ignore[attr-defined]
        return Position(self.trainer.current_epoch, batch, self.trainer.world_size)._asdict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Has `train_dataloader` begin where `state_dict` says: what was seen isn't read again."""
        self.position = Position(**state_dict)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Augmented batches in the order of (seed, epoch); a ragged last one is left out."""
        if self.num_workers and self.sizes["val"]:
            self._val_loader = self.eval_dataloader("val")
            _start_workers(self._val_loader)
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """The validation split in order; an empty list if there is none."""
        if not self.sizes["val"]:
            return []
        return self._val_loader or self.eval_dataloader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """The split named by `test_split`, in order."""
        return self.eval_dataloader(self.test_split)

    def eval_dataloader(self, split: str) -> DataLoader[Batch]:
        """One of "train", "val" and "test": not augmented, in order, every sample once."""
        if split not in SPLITS:
            raise ValueError(f"split={split}: choose one of {', '.join(SPLITS)}")
        return self._loader(split, shuffle=False)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment small images of the training set, and normalise, on the device."""
        images = batch.images
        if self._augment_batch is not None and batch.epoch >= 0:
            images = self._augment_batch(images, batch.indices, batch.epoch)
        return batch._replace(images=self._normalize(images))

    def sample_name(self, split: str, index: int) -> str:
        """Name a sample for a person: the file's path, or "test[17]"."""
        return self.splits[split].sample_name(split, index)

    def _read_into_memory(self, class_names: Sequence[str] | None) -> None:
        read = IN_MEMORY[self.name]
        raw, self.class_names = read(class_names=class_names, **self.source_options)
        self.splits = self._complete(
            {split: prepare(raw.pop(split), self.preprocessing) for split in list(raw)}
        )

    def _find_files(self, class_names: Sequence[str] | None) -> None:
        trees, self.notes = IN_FILES[self.name](**self.source_options)
        self.notes += self._enlarged(trees.values())
        self.class_names = order_classes(trees, class_names)
        self.splits = self._complete(
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

    def _enlarged(self, trees: Iterable[Tree]) -> list[str]:
        """A note if the images of shards are smaller than evaluation, or even the net, wants."""
        sides = [tree.short_side for tree in trees if tree.short_side is not None]
        wanted = resized_side(self.preprocessing)
        if not sides or min(sides) >= wanted:
            return []
        return [
            f"the shards were made with --short-side {min(sides)}, and their images are enlarged "
            f"to {wanted} (data.image_size={self.image_size} / data.crop_pct): make them anew with "
            f"scripts/prepare_imagenet.py --short-side {wanted}, or lower data.image_size"
        ]

    def _complete(self, sets: dict[str, Set]) -> dict[str, Set]:
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
        """Where the net is; without a Trainer that is not known, and the CPU as good as any."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def _loader(self, split: str, *, shuffle: bool) -> DataLoader[Batch]:
        samples = self.splits[split]
        resident = False  # whether it lies on a GPU, and its batches with it
        if isinstance(samples, MemorySet):
            sets = [part for part in self.splits.values() if isinstance(part, MemorySet)]
            move_to_device(sets, self._device())
            resident = samples.images.is_cuda
        rank, world_size = 0, 1
        if dist.is_available() and dist.is_initialized():
            rank, world_size = dist.get_rank(), dist.get_world_size()
        if len(samples) < world_size:
            raise ValueError(
                f"the {split} split has {len(samples)} images for {world_size} process(es): change "
                "data.val_fraction or data.test_fraction, or use fewer devices"
            )
        if shuffle and len(samples) < self.batch_size * world_size:
            raise ValueError(
                f"the train split has {len(samples)} images, fewer than a batch of "
                f"{self.batch_size * world_size}: set data.batch_size to "
                f"{len(samples) // world_size} or less"
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
        if shuffle and self.position.batch and self.position.world_size != world_size:
            raise ValueError(
                f"the run stopped in the middle of an epoch with {self.position.world_size} "
                f"process(es), and there are {world_size} now: go on with as many, "
                "or from a checkpoint of the end of an epoch"
            )
        return DataLoader(
            samples,
            sampler=order,  # yields whole batches: automatic batching is off
            batch_size=None,
            num_workers=self.num_workers,  # torch gives each worker one thread
            worker_init_fn=_leave_signals,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available() and not resident,
            # Each iteration draws a seed for its workers, which don't use it: not from the global
            # generator, where dropout and mixing draw from.
            generator=torch.Generator(),
        )


def _start_workers(loader: DataLoader[Batch]) -> None:
    """Fork a loader's workers, with nothing to load yet.

    A fork shares this process's pages, and whichever is written afterwards is copied: of a process
    in training that is gigabytes, of one that hasn't begun next to nothing.
    """
    order = loader.sampler
    assert isinstance(order, BatchOrder)
    bounds, order.bounds = order.bounds, order.bounds[:1]
    iter(loader)
    order.bounds = bounds


def _leave_signals(worker: int) -> None:
    """A signal to all processes of a run is the main one's to answer, which needs its workers.

    A second SIGTERM, from the main process at its end, ends the worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    if "SLURM_JOB_ID" in os.environ:  # nobody else sends it
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
