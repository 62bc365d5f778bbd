"""A report of the images that a run left out (`data.on_bad_image=skip`)."""

import logging
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from mobilenets.console import label_lines
from mobilenets.data import Batch
from mobilenets.training.fault_tolerance.distributed import all_gather_objects

log = logging.getLogger("mobilenets")

MAX_SENTENCES = 5  # in one report


class SkippedImages(Callback):
    """A callback that counts the skipped images, and reports their number after every epoch.

    The problem of each image is reported once.
    """

    def __init__(self) -> None:
        self.skipped: dict[str, list[str]] = {"train": [], "val": [], "test": []}
        self.reported: set[str] = set()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Count the skipped images of a batch."""
        self.skipped["train"] += batch.skipped

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Count the skipped images of a batch."""
        self.skipped["val"] += batch.skipped

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Count the skipped images of a batch."""
        self.skipped["test"] += batch.skipped

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report those of the epoch."""
        self.report("train", f"train, epoch {trainer.current_epoch + 1}")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report those of the validation."""
        self.report("val", "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report those of the test."""
        self.report("test", trainer.datamodule.test_split)  # type: ignore[attr-defined]

    def report(self, stage: str, name: str) -> None:
        """Log the images that all processes have skipped in a stage since its last report."""
        own, self.skipped[stage] = self.skipped[stage], []
        skipped = [sentence for part in all_gather_objects(own) for sentence in part]
        if not skipped:
            return
        new = sorted(set(skipped) - self.reported)
        self.reported |= set(new)
        hidden = len(new) - MAX_SENTENCES
        more = [f"... and {hidden} more"] if hidden > 0 else []
        count = f"{len(skipped)} bad images of {name}"
        log.info(label_lines("skipped", count, *new[:MAX_SENTENCES], *more))
