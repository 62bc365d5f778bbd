"""What makes the machine at hand faster without changing what is computed on it.

Reference: the GNU C Library manual, "Malloc Tunable Parameters", for `mallopt`.
"""

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4  # malloc.h
MIB = 2**20
CGROUPS = Path("/sys/fs/cgroup")


def tune(enabled: bool, accelerator: str = "auto") -> list[str]:
    """Sets the process up for the run; returns in words what was done.

    To be called before anything large is allocated. On a CPU: memory that is freed stays with the
    process, because getting it back costs a page fault for every 4 KiB of every activation; and
    threads for no more cores than the container may use. On CUDA: TF32, and cuDNN looks for its
    fastest algorithms in training, unless the Trainer is told otherwise.

    Args:
        enabled: False gives the precision of multiplications and cuDNN's choice that torch has from
            the start, and leaves the rest alone.
        accelerator: the Trainer's, by which CUDA is used or not.
    """
    fast = enabled and accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    # Set either way: the jobs of a sweep share a process.
    torch.set_float32_matmul_precision("high" if fast else "highest")
    torch.backends.cudnn.benchmark = fast
    if not enabled:
        return []
    done = ["malloc keeps its memory"] if keep_memory() else []
    if num_threads := limit_threads():
        done.append(f"as many threads as CPUs allotted ({num_threads})")
    return [*done, "TF32"] if fast else done


def keep_memory() -> bool:
    """Has glibc keep what is freed; False with another allocator, or where the user has set it."""
    ours = any(name.startswith("MALLOC_") for name in os.environ)
    if ours or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    libc = _glibc()
    if libc is None:
        return False
    # glibc up to 2.34 takes no threshold above 32 MiB, but no mapping at all.
    unmapped = libc.mallopt(M_MMAP_THRESHOLD, 1024 * MIB) or libc.mallopt(M_MMAP_MAX, 0)
    untrimmed = libc.mallopt(M_TRIM_THRESHOLD, -1)
    padded = libc.mallopt(M_TOP_PAD, 256 * MIB)
    return bool(unmapped and untrimmed and padded)


class _Symbol(ctypes.Structure):
    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc and `malloc` is its own (LD_PRELOAD may bring another one)."""
    if sys.platform != "linux":
        return None
    process = ctypes.CDLL(None)
    try:
        functions = process.malloc, process.gnu_get_libc_version
        bases = [_library(process, function) for function in functions]
    except AttributeError:  # musl
        return None
    return process if bases[0] == bases[1] else None


def _library(process: ctypes.CDLL, function: Any) -> int | None:
    """Where the library that a function comes from lies in memory."""
    symbol = _Symbol()
    process.dladdr(ctypes.cast(function, ctypes.c_void_p), ctypes.byref(symbol))
    return symbol.base


def limit_threads(root: Path = CGROUPS, process: Path = Path("/proc/self/cgroup")) -> int | None:
    """Brings torch's threads down to the CPUs that the cgroup may use; None if they are no more.

    torch starts a thread a core. With less time than that, the threads wait for each other while
    the kernel holds them back. OMP_NUM_THREADS stays the user's.
    """
    cpus = cpu_quota(root, process)
    if cpus is None or "OMP_NUM_THREADS" in os.environ:
        return None
    num_threads = max(1, int(cpus))
    if torch.get_num_threads() <= num_threads:
        return None
    torch.set_num_threads(num_threads)
    return num_threads


def cpu_quota(root: Path, process: Path) -> float | None:
    """CPUs that the cgroup of this process and those above it may use; None = no limit.

    Args:
        root: where the cgroups are mounted, of version 2 or 1.
        process: the file that names this process's own.
    """
    quotas = []
    for line in process.read_text().splitlines() if process.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "cpu" if controllers else root
        for folder in (own := mount / path.lstrip("/"), *own.parents):
            if folder.is_relative_to(mount):
                quotas += _quota(folder)
    return min(quotas, default=None)


def _quota(folder: Path) -> list[float]:
    """The limit of one cgroup: of version 2 "50000 100000" or "max 100000", of version 1 -1."""
    names = ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    for files in names:
        if all((folder / name).is_file() for name in files):
            quota, period = " ".join((folder / name).read_text() for name in files).split()
            return [int(quota) / int(period)] if quota not in ("max", "-1") else []
    return []


class EvaluateByRule(Callback):
    """In evaluation cuDNN takes its deterministic algorithms by rule, not the fastest by the clock.

    So eval.py gives the bits of the end of training, whatever was found in training.
    """

    def __init__(self) -> None:
        self.before = (False, False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins with the rule."""
        cudnn = torch.backends.cudnn
        self.before = cudnn.benchmark, cudnn.deterministic
        cudnn.benchmark, cudnn.deterministic = False, True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Goes back to what training uses."""
        cudnn = torch.backends.cudnn
        cudnn.benchmark, cudnn.deterministic = self.before

    on_test_start = on_validation_start
    on_test_end = on_validation_end
