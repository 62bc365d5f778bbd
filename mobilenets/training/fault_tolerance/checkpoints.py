"""When a run is saved, and what Lightning has to read in the file to go on exactly there."""

import logging
import time
from pathlib import Path
from signal import SIGTERM
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from mobilenets.run_folder import BEST, LAST
from mobilenets.training.fault_tolerance.signals import EXIT_CODES, Signals, leave, listen
from mobilenets.weights.files import read_file

log = logging.getLogger("mobilenets")

MONITOR = "val/top1"
COUNTS = ("ready", "started", "processed", "completed")  # of Lightning's progress, in this order


class Checkpoints(Checkpoint):
    """Saves last.ckpt, from which a run goes on to the same bits, and best.ckpt by val/top1.

    A run is saved between two steps: after each epoch, every few minutes, when a validation was the
    best so far, and when a signal ends it. By then the optimizer has stepped, a validation that was
    due has been run, and all figures are logged. Only a signal doesn't wait for a validation; the
    run goes on with that.

    Args:
        folder: where the files are.
        limits: what ends the run, as plain data. A run that has ended stays so, unless these are
            others when it goes on.
        resume: the checkpoint that the run goes on from; None = it is a new one.
        every_minutes: how often last.ckpt is written within an epoch; 0 = after every step.

    Raises:
        ValueError: that file is damaged, or none of a run.
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
        self.signals = Signals()
        self.best: float | None = None  # the highest val/top1 so far
        self.best_is_new = False  # and not saved yet
        self.has_ended = False
        self.log_step = 0  # the first step of which nothing, or not all, is logged
        self.saved_step = 0
        self.saved_at = 0.0
        self.settle = between_epochs
        if resume is not None:
            state = read_state(Path(resume))
            self.log_step, self.has_ended = state["log_step"], state["ended"] == self.limits

    # When

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Trains no further if the run has ended and only its test is missing."""
        trainer.should_stop = self.has_ended

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock, and listens to signals.

        Raises:
            ValueError: there would be a validation in the middle of an accumulated step.
        """
        check_validation(trainer)
        if trainer.received_sigterm:  # Lightning listened until now; there is nothing to save
            raise SystemExit(EXIT_CODES[SIGTERM])
        self.signals.begin()
        self.has_ended = False
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves what the last epoch has made: its figures are logged only after its end."""
        # Of a run that goes on here, Lightning would take the last epoch's counts for this one's.
        trainer.fit_loop.epoch_loop.restarting = False
        self.settle = between_epochs
        if self.has_news(trainer):
            self.save(trainer)
        self.stop_if_asked(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Saves before a step what the one before has made, if it is time."""
        if batch_idx == 0 or batch_idx % trainer.accumulate_grad_batches:
            return
        self.settle = between_batches
        is_due = time.monotonic() - self.saved_at >= self.every or self.best_is_new
        is_due, signal = sync_flags(trainer, is_due, self.signals.received)
        if (is_due or signal) and self.has_news(trainer):
            self.save(trainer)
        self.stop_if_asked(trainer, signal)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any
    ) -> None:
        """Saves a run that is to stop before its validation, which it will then begin with."""
        _, signal = sync_flags(trainer, False, self.signals.received)
        if signal and not trainer.sanity_checking:
            self.settle = before_validation
            self.save(trainer)
        self.stop_if_asked(trainer, signal)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the best."""
        score = trainer.callback_metrics.get(MONITOR)
        if score is None or trainer.sanity_checking:
            return
        if self.best is None or float(score) > self.best:
            self.best, self.best_is_new = float(score), True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the run for the last time."""
        self.settle = between_epochs
        self.has_ended = True
        self.save(trainer)
        self.stop_if_asked(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Has a signal end the process: there is nothing to save any more."""
        listen(leave)

    # How

    def save(self, trainer: Trainer) -> None:
        """Writes the files, the best first: once last.ckpt is there, it is not made again."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        for logger in trainer.loggers:
            logger.save()
        self.log_step = trainer.fit_loop.epoch_loop._batches_that_stepped
        names = [BEST, LAST] if self.best_is_new else [LAST]
        self.best_is_new = False
        for name in names:
            trainer.save_checkpoint(self.folder / name, weights_only=False)
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()

    def has_news(self, trainer: Trainer) -> bool:
        """Whether there is anything that the files don't hold yet."""
        return trainer.global_step > self.saved_step or self.best_is_new

    def stop_if_asked(self, trainer: Trainer, signal: int | None = None) -> None:
        """Ends the process if a signal has come."""
        if signal is None:
            _, signal = sync_flags(trainer, False, self.signals.received)
        if not signal:
            return
        log.info(f"stopped after step {trainer.global_step}: resume={self.folder} goes on")
        leave(signal)

    def to_test(self) -> Path | None:
        """The file to test at the end: the best, or the last where there was no validation.

        None after a fast_dev_run, or where max_time has passed within the first step.
        """
        paths = [self.folder / name for name in (BEST, LAST)]
        return next((path for path in paths if path.exists()), None)

    # What

    def state_dict(self) -> dict[str, Any]:
        """The best, the position of the logs, and at what the run has ended, if it has."""
        ended = self.limits if self.has_ended else None
        return {"best": self.best, "log_step": self.log_step, "ended": ended}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the best so far."""
        self.best = state_dict["best"]

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Writes the counters so that Lightning goes on with what comes next."""
        self.settle(checkpoint["loops"]["fit_loop"])


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What `Checkpoints` has written of itself into a file.

    Raises:
        ValueError: one sentence about a file that is damaged, or none of a run.
    """
    callbacks = read_file(checkpoint).content.get("callbacks", {})
    if Checkpoints.__qualname__ not in callbacks:
        raise ValueError(f"{checkpoint} is no checkpoint that a run can go on from: give another")
    return callbacks[Checkpoints.__qualname__]


# Lightning's counters: `loops` is the state of its fit loop, changed in place.


def between_epochs(loops: dict[str, Any]) -> None:
    """An epoch is over, or the run; the next is not begun."""
    for counts in _counts(loops["epoch_progress"]):
        counts.update(dict.fromkeys(COUNTS, counts["completed"]))


def between_batches(loops: dict[str, Any]) -> None:
    """The step of a batch is done, and a validation that was due after it.

    Lightning goes on so after a save in `on_train_batch_end`, where it completes the last batch.
    """
    progress = loops["epoch_loop.batch_progress"]
    for counts in _counts(progress):
        done = counts["completed"]
        counts.update(dict.fromkeys(COUNTS, done), completed=done - 1)
    progress["is_last_batch"] = False
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


def before_validation(loops: dict[str, Any]) -> None:
    """The step of a batch is done, and the validation after it stands at its first batch."""
    progress = loops["epoch_loop.val_loop.batch_progress"]
    for counts in _counts(progress):
        counts.update(ready=1, started=1, processed=0, completed=0)
    progress["is_last_batch"] = False


def _counts(progress: dict[str, Any]) -> list[dict[str, int]]:
    return [progress["total"], progress["current"]]


def check_validation(trainer: Trainer) -> None:
    """Raises ValueError where a validation falls between the batches of one step.

    Its weights could not be saved, as a run can't go on from there.
    """
    batches, every = trainer.accumulate_grad_batches, trainer.val_check_batch
    total = trainer.num_training_batches
    if batches == 1 or not trainer.enable_validation or every in (total, float("inf")):
        return
    across_epochs = trainer.check_val_every_n_epoch is None and total % batches
    if every is None or every % batches or across_epochs:
        raise ValueError(
            f"trainer.val_check_interval={trainer.val_check_interval} validates in the middle of a "
            f"step of trainer.accumulate_grad_batches={batches}: let it be a multiple of that"
        )


def sync_flags(trainer: Trainer, is_due: bool, signal: int) -> tuple[bool, int]:
    """What all processes do: it is due if for any, and a signal to one stops all."""
    if trainer.world_size == 1:
        return is_due, signal
    flags = torch.tensor([int(is_due), signal], device=trainer.strategy.root_device)
    due, number = trainer.strategy.reduce(flags, reduce_op="max").tolist()
    return bool(due), number
