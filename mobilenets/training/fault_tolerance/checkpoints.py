"""Checkpoints of a run: when they are saved, and what a resumed run needs of them."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGTERM
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from mobilenets.run_folder import BEST, LAST
from mobilenets.training.fault_tolerance.lightning_internals import (
    Loops,
    get_log_step,
    resume_at_next_batch,
    resume_at_next_epoch,
    resume_at_validation,
    start_epoch_afresh,
)
from mobilenets.training.fault_tolerance.signals import (
    EXIT_CODES,
    SignalListener,
    exit_after,
    set_handler,
)
from mobilenets.weights.files import read_raw_weights

log = logging.getLogger("mobilenets")

MONITOR = "val/top1"


class Checkpoints(Checkpoint):
    """A callback that saves last.ckpt, to resume from bit for bit, and best.ckpt by val/top1.

    A run is saved between two optimizer steps: after each epoch, every few minutes, after the best
    validation so far, and when a signal ends it. By then any validation that was due has run and
    all metrics are logged. Only a signal doesn't wait for the end of a validation: the resumed run
    starts with it.

    Args:
        folder: the folder of the files.
        limits: the settings that end the run, as plain data. A run that has ended trains no
            further, unless it is resumed with other limits.
        resume: the checkpoint to resume from; None = a new run.
        every_minutes: how often last.ckpt is saved within an epoch; 0 = after every step.

    Raises:
        ValueError: that checkpoint is damaged, or is not one of a run.
    """

    def __init__(
        self,
        folder: Path,
        limits: list[Any] | None = None,
        resume: str | None = None,
        *,
        every_minutes: float,
    ) -> None:
        self.folder = folder
        self.every = 60 * every_minutes  # seconds
        self.limits = limits or []
        self.signals = SignalListener()
        self.best: float | None = None  # the highest val/top1 so far
        self.best_is_new = False  # the best is not saved yet
        self.has_ended = False
        self.log_step = 0  # steps from here on are not, or not completely, logged
        self.saved_step = 0
        self.saved_at = 0.0
        self.fix_counters: Callable[[Loops], None] = resume_at_next_epoch
        if resume is not None:
            state = read_state(Path(resume))
            self.log_step, self.has_ended = state["log_step"], state["ended"] == self.limits

    # When to save

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Skip the training if the run has ended and only its test is missing."""
        trainer.should_stop = self.has_ended

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and listen to signals.

        Raises:
            ValueError: a validation would fall in the middle of an accumulated step.
        """
        check_validation_interval(trainer)
        if trainer.received_sigterm:  # Lightning listened until now; there is nothing to save
            raise SystemExit(EXIT_CODES[SIGTERM])
        self.signals.start()
        self.has_ended = False
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the previous epoch: its metrics are logged only after its end."""
        start_epoch_afresh(trainer)
        self.fix_counters = resume_at_next_epoch
        if self.has_unsaved_steps(trainer):
            self.save(trainer)
        self.stop_if_signalled(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save the previous step if it is time."""
        if batch_idx == 0 or batch_idx % trainer.accumulate_grad_batches:
            return
        self.fix_counters = resume_at_next_batch
        is_due = time.monotonic() - self.saved_at >= self.every or self.best_is_new
        is_due, signal = sync_flags(trainer, is_due, self.signals.received)
        if (is_due or signal) and self.has_unsaved_steps(trainer):
            self.save(trainer)
        self.stop_if_signalled(trainer, signal)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any
    ) -> None:
        """Save and stop if a signal has arrived; the resumed run starts this validation again."""
        _, signal = sync_flags(trainer, False, self.signals.received)
        if signal and not trainer.sanity_checking:
            self.fix_counters = resume_at_validation
            self.save(trainer)
        self.stop_if_signalled(trainer, signal)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note whether this validation is the best so far."""
        score = trainer.callback_metrics.get(MONITOR)
        if score is None or trainer.sanity_checking:
            return
        if self.best is None or float(score) > self.best:
            self.best, self.best_is_new = float(score), True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the run for the last time."""
        self.fix_counters = resume_at_next_epoch
        self.has_ended = True
        self.save(trainer)
        self.stop_if_signalled(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make a signal end the process at once: there is nothing left to save."""
        set_handler(exit_after)

    # How to save

    def save(self, trainer: Trainer) -> None:
        """Write the files, best.ckpt first: a run resumed from last.ckpt doesn't write it again."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        for logger in trainer.loggers:
            logger.save()
        self.log_step = get_log_step(trainer)
        names = [BEST, LAST] if self.best_is_new else [LAST]
        self.best_is_new = False
        for name in names:
            trainer.save_checkpoint(self.folder / name, weights_only=False)
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()

    def has_unsaved_steps(self, trainer: Trainer) -> bool:
        """Return whether there was a step, or a new best validation, since the last save."""
        return trainer.global_step > self.saved_step or self.best_is_new

    def stop_if_signalled(self, trainer: Trainer, signal: int | None = None) -> None:
        """End the process if a signal has arrived; None = ask all processes."""
        if signal is None:
            _, signal = sync_flags(trainer, False, self.signals.received)
        if not signal:
            return
        log.info(f"stopped after step {trainer.global_step}: continue with resume={self.folder}")
        exit_after(signal)

    def checkpoint_to_test(self) -> Path | None:
        """Return the best checkpoint, or the last if there was no validation.

        None after a fast_dev_run, or if max_time has passed within the first step.
        """
        paths = [self.folder / name for name in (BEST, LAST)]
        return next((path for path in paths if path.exists()), None)

    # What to save

    def state_dict(self) -> dict[str, Any]:
        """Return the best score, the position of the logs, and the limits if the run has ended."""
        ended = self.limits if self.has_ended else None
        return {"best": self.best, "log_step": self.log_step, "ended": ended}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score so far."""
        self.best = state_dict["best"]

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Fix Lightning's counters, so that the run resumes exactly here."""
        self.fix_counters(checkpoint["loops"]["fit_loop"])


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return the state of `Checkpoints` in a checkpoint.

    Raises:
        ValueError: the file is damaged, or is not a checkpoint of a run.
    """
    callbacks = read_raw_weights(checkpoint).content.get("callbacks", {})
    if Checkpoints.__qualname__ not in callbacks:
        raise ValueError(f"{checkpoint} is not a checkpoint to resume from: choose another")
    return callbacks[Checkpoints.__qualname__]


def check_validation_interval(trainer: Trainer) -> None:
    """Raise ValueError if a validation falls between the batches of one optimizer step.

    A run can't resume there, so the best weights could not be saved.
    """
    batches, every = trainer.accumulate_grad_batches, trainer.val_check_batch
    total = trainer.num_training_batches
    if batches == 1 or not trainer.enable_validation or every in (total, float("inf")):
        return
    across_epochs = trainer.check_val_every_n_epoch is None and total % batches
    if every is None or every % batches or across_epochs:
        raise ValueError(
            f"trainer.val_check_interval={trainer.val_check_interval} validates in the middle of a "
            f"step of trainer.accumulate_grad_batches={batches}: choose a multiple of that"
        )


def sync_flags(trainer: Trainer, is_due: bool, signal: int) -> tuple[bool, int]:
    """Return what all processes agree on: if one is due, all are; a signal to one stops all."""
    if trainer.world_size == 1:
        return is_due, signal
    flags = torch.tensor([int(is_due), signal], device=trainer.strategy.root_device)
    due, number = trainer.strategy.reduce(flags, reduce_op="max").tolist()
    return bool(due), number
