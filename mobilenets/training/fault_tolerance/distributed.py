"""Communication between the processes of a distributed run."""

import os
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from mobilenets.training.hardware import is_cuda

TIMEOUT = timedelta(minutes=10)  # a process that hangs for longer makes torchrun restart all


def init_torchrun(accelerator: str) -> None:
    """Connect the processes of torchrun; each restart gets its own namespace in the store.

    Lightning would leave this to PyTorch, which after a restart would look for the address of a
    process that has died. Without torchrun, nothing is done here and Lightning connects them.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False, timeout=TIMEOUT)
    dist.init_process_group(
        "nccl" if is_cuda(accelerator) else "gloo",
        store=dist.PrefixStore(f"attempt_{os.environ['TORCHELASTIC_RESTART_COUNT']}", store),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=TIMEOUT,
    )


def all_gather_objects(value: Any) -> list[Any]:
    """Return the value of every process, in the order of their ranks."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
