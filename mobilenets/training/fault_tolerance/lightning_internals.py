"""Every use of private or undocumented state of Lightning, torchmetrics and PyTorch's optimizers.

Check this file after an upgrade of one of them; it was written with pytorch-lightning 2.6.6,
torchmetrics 1.9 and torch 2.14. Only `ImageDataModule.state_dict` also reads Lightning's counters,
because mobilenets/data can't import from here.
"""

from typing import Any

import torch
from pytorch_lightning import Trainer
from torchmetrics import Metric

# Logging


def is_logging_step(trainer: Trainer) -> bool:
    """Return whether the logger writes the values of the current step.

    Lightning decides by a private count of batches, and has no public property for the result.
    """
    return trainer._logger_connector.should_update_logs


def get_log_step(trainer: Trainer) -> int:
    """Return the number that Lightning gives the next logged step.

    It is the number of optimizer steps, but without the last one while its validation is running.
    `trainer.global_step` counts that step already.
    """
    return trainer.fit_loop.epoch_loop._batches_that_stepped


# Resuming

COUNTS = ("ready", "started", "processed", "completed")  # of a progress tracker, in this order
Loops = dict[str, Any]
"""The state of Lightning's fit loop in a checkpoint, `checkpoint["loops"]["fit_loop"]`.

Lightning saves its counters as they are at that moment, in the middle of a hook. A run that resumes
with them would repeat or skip a step. The functions below change them in place, so that the run
resumes exactly where it was saved.
"""


def start_epoch_afresh(trainer: Trainer) -> None:
    """Make Lightning count this epoch from 0.

    In a run that resumed between two epochs, `restarting` is still true when the epoch starts, and
    Lightning would continue the counts of the epoch before.
    """
    trainer.fit_loop.epoch_loop.restarting = False


def resume_at_next_epoch(loops: Loops) -> None:
    """Fix the counters of a run that is between two epochs, or at its end."""
    for counts in _total_and_current(loops["epoch_progress"]):
        counts.update(dict.fromkeys(COUNTS, counts["completed"]))


def resume_at_next_batch(loops: Loops) -> None:
    """Fix the counters of a run that is between two batches, after any validation that was due.

    They become those of a checkpoint that was saved in `on_train_batch_end`, whose last batch
    Lightning counts as completed when it resumes.
    """
    progress = loops["epoch_loop.batch_progress"]
    for counts in _total_and_current(progress):
        num_done = counts["completed"]
        counts.update(dict.fromkeys(COUNTS, num_done), completed=num_done - 1)
    progress["is_last_batch"] = False
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


def resume_at_validation(loops: Loops) -> None:
    """Fix the counters of a run that stops during a validation, which then starts over."""
    progress = loops["epoch_loop.val_loop.batch_progress"]
    for counts in _total_and_current(progress):
        counts.update(ready=1, started=1, processed=0, completed=0)
    progress["is_last_batch"] = False


def _total_and_current(progress: dict[str, Any]) -> list[dict[str, int]]:
    return [progress["total"], progress["current"]]


# Metrics


def get_metric_state(metric: Metric) -> dict[str, Any]:
    """Return what a metric has accumulated.

    Its `state_dict` is empty. Persistent states would be in it, but then among the weights, too.
    """
    return metric.metric_state


def restore_metric_state(metric: Metric, state: dict[str, Any], device: torch.device) -> None:
    """Give a metric the state that `get_metric_state` returned."""
    metric._update_count = 1  # at 0, `compute` warns that there was no update
    for name, value in state.items():
        setattr(metric, name, value.to(device))


# Optimizers


def allow_clipping_when_fused(optimizer: torch.optim.Optimizer) -> None:
    """Make Lightning unscale gradients itself before the step, so that it can clip them.

    A fused optimizer claims by this attribute that it unscales gradients within its step. Lightning
    then refuses trainer.gradient_clip_val with trainer.precision=16-mixed.
    """
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
