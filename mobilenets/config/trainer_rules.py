"""What Lightning would refuse only after torch is loaded, found before that.

Each rule takes the section `trainer` of a config and yields (setting, what is wrong) pairs.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mobilenets.choices import describe_unknown

Problems = Iterator[tuple[str, str]]

STRATEGIES = (  # of pytorch-lightning 2.6
    *("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true"),
    *("ddp_spawn", "ddp_fork", "ddp_notebook", "fsdp", "fsdp_cpu_offload"),
    *("deepspeed", "deepspeed_stage_1", "deepspeed_stage_2", "deepspeed_stage_3"),
    *("xla", "single_xla"),
)
MAX_TIME = re.compile(r"\d+:[0-5]?\d:[0-5]?\d:[0-5]?\d")  # days first
GPU_FILES = ("nvidia[0-9]*", "kfd", "dxg")  # below /dev: NVIDIA's, AMD's, Windows' in WSL


def check_accelerator(trainer: Any) -> Problems:
    """Check that the kind of device is there."""
    kind, key = trainer.accelerator, "trainer.accelerator"
    if kind in ("gpu", "cuda") and not has_gpu():
        yield key, f"{kind}, and this machine shows no GPU; auto takes what there is"
    if kind == "mps" and sys.platform != "darwin":
        yield key, "mps is on Apple's machines only; auto takes what there is"
    if kind == "tpu" and find_spec("torch_xla") is None:
        yield key, "tpu needs the package torch_xla"


def check_devices(trainer: Any) -> Problems:
    """Check that devices are a number, indices or auto, and that CPUs are only counted."""
    devices, key = trainer.devices, "trainer.devices"
    if isinstance(devices, str):
        if devices != "auto" and not re.fullmatch(r"\d+(,\d+)*,?", devices):
            yield key, f"{devices!r} is not a number, a list of numbers or auto"
            return
        indices = devices != "auto" and "," in devices
    else:
        indices = isinstance(devices, list)
    on_cpu = trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and not has_gpu())
    if on_cpu and indices:
        yield key, f"{devices} names GPUs, and the run is on CPUs; give a number of processes"
    if devices in (-1, "-1") and on_cpu:
        yield key, "-1 means all GPUs, and the run is on CPUs; give a number of processes"
    elif isinstance(devices, int) and devices < 1 and devices != -1:
        yield key, f"{devices} is out of range (at least 1, or -1 for all GPUs)"
    if devices == []:
        yield key, "[] names no device"


def check_strategy(trainer: Any) -> Problems:
    """Check that Lightning knows the strategy."""
    name = trainer.strategy
    if name not in STRATEGIES:
        yield "trainer.strategy", describe_unknown(name, STRATEGIES)


def check_max_time(trainer: Any) -> Problems:
    """Check the form of a length of time."""
    if trainer.max_time is not None and not MAX_TIME.fullmatch(trainer.max_time):
        yield "trainer.max_time", f"{trainer.max_time!r} is not DD:HH:MM:SS, e.g. 00:00:05:00"


def check_val_interval(trainer: Any) -> Problems:
    """Check that validations come after whole batches, a share of an epoch, or a time."""
    every, key = trainer.val_check_interval, "trainer.val_check_interval"
    if isinstance(every, str) and not MAX_TIME.fullmatch(every):
        yield key, f"{every!r} is not a number or a time as DD:HH:MM:SS"
    elif isinstance(every, float) and not 0 < every <= 1:
        yield key, f"{every:g} is out of range: batches as a whole number, or a share up to 1.0"
    elif isinstance(every, int) and every < 1:
        yield key, f"{every} is out of range (at least 1); trainer.limit_val_batches=0 is none"


def check_sync_batchnorm(trainer: Any) -> Problems:
    """Check that BatchNorm is synchronised between GPUs."""
    on_cpu = trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and not has_gpu())
    if trainer.sync_batchnorm and on_cpu:
        yield "trainer.sync_batchnorm", "works on GPUs only, and the run is on CPUs"


def check_torchrun(trainer: Any, environment: Mapping[str, str] = os.environ) -> Problems:
    """Check that torchrun has started as many processes as the run has devices."""
    if "TORCHELASTIC_RUN_ID" not in environment or not isinstance(trainer.devices, int):
        return
    started, wanted = int(environment["WORLD_SIZE"]), trainer.devices * trainer.num_nodes
    if started != wanted and trainer.devices > 0:
        per_node = environment.get("LOCAL_WORLD_SIZE", str(started))
        yield (
            "trainer.devices",
            f"{trainer.devices} on {trainer.num_nodes} node(s), and torchrun has started {started} "
            f"process(es): set trainer.devices={per_node}",
        )


# rule -> the settings of `trainer` that it reads
TRAINER_RULES: dict[Callable[[Any], Problems], tuple[str, ...]] = {
    check_accelerator: ("accelerator",),
    check_devices: ("devices", "accelerator"),
    check_strategy: ("strategy",),
    check_max_time: ("max_time",),
    check_val_interval: ("val_check_interval",),
    check_sync_batchnorm: ("sync_batchnorm", "accelerator"),
    check_torchrun: ("devices", "num_nodes"),
}


def has_gpu() -> bool:
    """Return whether this machine shows a GPU, without loading torch; True where none can tell."""
    if sys.platform != "linux":
        return True
    return any(True for name in GPU_FILES for _ in Path("/dev").glob(name))
