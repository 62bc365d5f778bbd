"""Errors of the machine, not of the program: one sentence that says which setting to change."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

CAUSES = {  # text in PyTorch's message -> what has failed
    "out of shared memory": "shared memory",
    "bus error": "shared memory",
    "/torch_": "shared memory",
    "shm": "shared memory",
    "dataloader worker": "worker",
    "can't allocate memory": "memory",
    "cannot allocate memory": "memory",
    "out of memory": "memory",
}


@contextmanager
def with_hints(batch_size: int, num_workers: int) -> Iterator[None]:
    """Replace errors about memory and killed workers by one sentence that names the fix.

    Raises:
        ValueError: in place of PyTorch's own error.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        sentence = explain(error, batch_size, num_workers)
        if sentence is None:
            raise
        raise ValueError(sentence) from error


def explain(error: Exception, batch_size: int, num_workers: int) -> str | None:
    """Return a sentence with the cause and the fix, None for any other kind of error."""
    text = str(error).lower()
    cause = next((cause for sign, cause in CAUSES.items() if sign in text), None)
    smaller = f"data.batch_size={max(1, batch_size // 2)} (now {batch_size})"
    fewer = f"data.num_workers={num_workers // 2} (now {num_workers})"
    if isinstance(error, torch.OutOfMemoryError):
        return f"the device is out of memory: set {smaller}, or trainer.precision=bf16-mixed"
    if cause == "shared memory":
        return f"shared memory (/dev/shm) is too small for the workers: enlarge it, or set {fewer}"
    if cause == "worker":
        return (
            "a worker process was killed while loading images, usually because memory ran out: "
            f"set {fewer} or {smaller}"
        )
    if cause == "memory" or isinstance(error, MemoryError):
        return f"the machine is out of memory: set {smaller}" + f" or {fewer}" * (num_workers > 0)
    return None
