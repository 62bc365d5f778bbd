"""DataLoaders of whole batches, and their worker processes."""

import os
import signal

import torch
from torch.utils.data import DataLoader, Dataset

from mobilenets.data.batch import Batch
from mobilenets.data.order import BatchOrder


def make_loader(
    samples: Dataset[Batch], order: BatchOrder, *, num_workers: int, pin_memory: bool
) -> DataLoader[Batch]:
    """Make a loader of the batches in `order`; its workers persist from epoch to epoch."""
    return DataLoader(
        samples,
        sampler=order,  # yields whole batches, so automatic batching is off
        batch_size=None,
        num_workers=num_workers,  # torch gives each worker one thread
        worker_init_fn=_ignore_signals,
        persistent_workers=num_workers > 0,
        pin_memory=pin_memory,
        # Each iteration draws a seed for its workers, though none uses it. It must not come from
        # the global generator, from which dropout and mixing draw.
        generator=torch.Generator(),
    )


def start_workers(loader: DataLoader[Batch]) -> None:
    """Fork the workers of a loader, without giving them anything to load.

    A fork shares the pages of its parent until one of them writes to a page, which copies it. In
    mid-training that would be gigabytes; before training it is next to nothing.
    """
    order = loader.sampler
    assert isinstance(order, BatchOrder)
    bounds, order.bounds = order.bounds, order.bounds[:1]
    iter(loader)
    order.bounds = bounds


def _ignore_signals(worker: int) -> None:
    """Let the main process answer a signal sent to all processes; it still needs its workers.

    A second SIGTERM, which the main process sends at its end, stops the worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    if "SLURM_JOB_ID" in os.environ:  # only Slurm sends SIGUSR1
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
