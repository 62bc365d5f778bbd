"""What is said of images that were left out of a run (`data.on_bad_image=skip`)."""

import logging
from typing import Any

import torch.distributed as dist
from pytorch_lightning import Callback, LightningModule, Trainer

from mobilenets.data import Batch

log = logging.getLogger("mobilenets")

MOST = 5  # sentences at a time


class SkippedImages(Callback):
    """Counts the images that were left out, and says how many at the end of every epoch.

    What is wrong with an image is said once.
    """

    def __init__(self) -> None:
        self.skipped: dict[str, list[str]] = {"train": [], "val": [], "test": []}
        self.told: set[str] = set()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Counts those of a batch."""
        self.skipped["train"] += batch.skipped

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Counts those of a batch."""
        self.skipped["val"] += batch.skipped

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Counts those of a batch."""
        self.skipped["test"] += batch.skipped

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tells the number."""
        self.tell("train", f"train, epoch {trainer.current_epoch + 1}")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tells the number."""
        self.tell("val", "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tells the number."""
        self.tell("test", trainer.datamodule.test_split)  # type: ignore[attr-defined]

    def tell(self, kind: str, place: str) -> None:
        """Says how many images were left out since the last time, in all processes."""
        skipped, self.skipped[kind] = self.skipped[kind], []
        if dist.is_available() and dist.is_initialized():
            parts: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(parts, skipped)
            skipped = [sentence for part in parts for sentence in part]
        if not skipped:
            return
        new = sorted(set(skipped) - self.told)
        self.told |= set(new)
        more = [f"... and {len(new) - MOST} more"] * (len(new) > MOST)
        lines = [f"{len(skipped)} bad images of {place}", *new[:MOST], *more]
        log.info("\n".join(f"{'' if i else 'skipped':<8}{line}" for i, line in enumerate(lines)))
