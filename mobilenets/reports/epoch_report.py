"""One line per epoch: loss, accuracy, speed."""

import logging
import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from mobilenets.training import Classifier

log = logging.getLogger("mobilenets")


class EpochReport(Callback):
    """A callback that measures the speed of every epoch, logs it, and prints one line.

    speed/images_per_second covers training alone, without validation, on all devices;
    speed/data_wait is the share of that time that steps spent waiting for their batch.
    """

    def __init__(self) -> None:
        self.images = 0
        self.training = self.waiting = 0.0  # seconds
        self.mark = self.start = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the measurements of the epoch so far."""
        passed = time.perf_counter() - self.start
        return {"images": self.images, "times": (self.training, self.waiting, passed)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the measurements."""
        self.images = state_dict["images"]
        self.training, self.waiting, passed = state_dict["times"]
        self.start = time.perf_counter() - passed

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock if a run resumes in mid-epoch, which does not start that epoch again."""
        self.mark = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start all clocks from 0."""
        self.images, self.training, self.waiting = 0, 0.0, 0.0
        self.start = self.mark = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count the time since the last step as waiting for this batch."""
        now = time.perf_counter()
        self.waiting += now - self.mark
        self.training += now - self.mark
        self.mark = now

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step and its images."""
        now = time.perf_counter()
        self.training += now - self.mark
        self.mark = now
        self.images += len(batch.images) * trainer.world_size

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave out the time of a validation in mid-epoch."""
        self.mark = time.perf_counter()

    def on_train_epoch_end(
        self,
        trainer: Trainer,
        pl_module: Classifier,  # type: ignore[override]
    ) -> None:
        """Log the speed and print the line of the epoch."""
        speed = self.images / self.training
        waiting = self.waiting / self.training
        pl_module.log("speed/images_per_second", speed, rank_zero_only=True)
        pl_module.log("speed/data_wait", waiting, rank_zero_only=True)
        train = pl_module.train_metrics.compute()
        val = {key.removeprefix("val/"): value for key, value in pl_module.last_val_metrics.items()}
        if not trainer.is_global_zero:
            return
        last = trainer.max_epochs if (trainer.max_epochs or -1) > 0 else "?"
        parts = [
            f"epoch {trainer.current_epoch + 1:>3}/{last}",
            f"train loss {train['loss']:.4f} top-1 {train['top1']:7.2%}",
        ]
        if val:
            parts.append(f"val loss {val['loss']:.4f} top-1 {val['top1']:7.2%}")
        parts.append(f"{speed:,.0f} images/s ({waiting:.0%} waiting for data)")
        parts.append(f"{time.perf_counter() - self.start:.1f} s")
        log.info(" | ".join(parts))
