"""What goes wrong with the machine, not with the program: one sentence that says what to change."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SIGNS = {  # what PyTorch says -> what has happened
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
    """Has a lack of memory, and the end of a worker, raise one sentence with its remedy.

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
    """The sentence for an error; None if it is of another kind."""
    text = str(error).lower()
    kind = next((kind for sign, kind in SIGNS.items() if sign in text), None)
    less = f"data.batch_size={max(1, batch_size // 2)} (now {batch_size})"
    fewer = f"data.num_workers={num_workers // 2} (now {num_workers})"
    if isinstance(error, torch.OutOfMemoryError):
        return f"the device is out of memory: set {less}, or trainer.precision=bf16-mixed"
    if kind == "shared memory":
        return f"shared memory, /dev/shm, is too small for the workers: enlarge it, or set {fewer}"
    if kind == "worker":
        return (
            "a process that loads images was killed, mostly for lack of memory: "
            f"set {fewer} or {less}"
        )
    if kind == "memory" or isinstance(error, MemoryError):
        return f"the machine is out of memory: set {less}" + f" or {fewer}" * (num_workers > 0)
    return None
