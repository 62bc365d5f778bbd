"""How the processes of torchrun meet."""

import os
from datetime import timedelta

import torch.distributed as dist

from mobilenets.training.hardware import is_cuda

PATIENCE = timedelta(minutes=10)  # with a process that hangs, before torchrun starts all anew


def init_torchrun(accelerator: str) -> None:
    """Connects the processes of torchrun, at each of its attempts in a place of its own.

    Lightning would leave that to PyTorch, which after a restart looks for the address of a process
    that has died. Without torchrun it is left to Lightning.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False, timeout=PATIENCE)
    dist.init_process_group(
        "nccl" if is_cuda(accelerator) else "gloo",
        store=dist.PrefixStore(f"attempt_{os.environ['TORCHELASTIC_RESTART_COUNT']}", store),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=PATIENCE,
    )
