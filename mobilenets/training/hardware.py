"""Settings of the process that make training faster and leave its results alone.

Reference: the GNU C Library manual, "Malloc Tunable Parameters", for `mallopt`.
"""

import ctypes
import os
import sys
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from mobilenets.cpus import num_cpus
from mobilenets.training.kernels import load_native

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4  # malloc.h
MIB = 2**20


def tune_process(enabled: bool, accelerator: str = "auto", *, kernels: bool = False) -> list[str]:
    """Tune the process for speed; return a list of what was done, for the log.

    Call it before anything large is allocated. On a CPU, freed memory stays with the process,
    because getting it back costs a page fault for every 4 KiB of every activation; and torch starts
    no more threads than the container has CPUs. On CUDA, matrix products use TF32, and cuDNN
    searches for its fastest algorithms in training, unless the Trainer is told otherwise.

    Args:
        enabled: False restores torch's defaults for matrix products and cuDNN, and does no more.
        accelerator: the Trainer's; it decides whether CUDA is used.
        kernels: compile the kernels of training for a CPU.
    """
    fast = enabled and is_cuda(accelerator)
    # Always set, because the jobs of a sweep share a process.
    torch.set_float32_matmul_precision("high" if fast else "highest")
    torch.backends.cudnn.benchmark = fast
    compiled = load_native(enabled and kernels and not fast)
    if not enabled:
        return []
    done = ["malloc keeps its memory"] if keep_freed_memory() else []
    if compiled:
        done.append("compiled kernels")
    if num_threads := limit_threads():
        done.append(f"threads limited to the CPUs allotted ({num_threads})")
    return [*done, "TF32"] if fast else done


def compile_net(net: nn.Module, accelerator: str = "auto") -> None:
    """Compile `net.forward` in place, which leaves the keys of the state dict as they are.

    On CUDA it uses CUDA graphs, one launch for hundreds of kernels: all batches of training have
    the same shape.
    """
    net.compile(mode="reduce-overhead" if is_cuda(accelerator) else None)


def is_cuda(accelerator: str) -> bool:
    """Return whether a Trainer with this accelerator uses CUDA."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory; return whether it does.

    It does not if malloc is another library's, or if the user has tuned it.
    """
    is_tuned = any(name.startswith("MALLOC_") for name in os.environ)
    if is_tuned or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    libc = _glibc()
    if libc is None:
        return False
    # Up to 2.34 glibc refuses a threshold above 32 MiB, but accepts no mapping at all.
    unmapped = libc.mallopt(M_MMAP_THRESHOLD, 1024 * MIB) or libc.mallopt(M_MMAP_MAX, 0)
    untrimmed = libc.mallopt(M_TRIM_THRESHOLD, -1)
    padded = libc.mallopt(M_TOP_PAD, 64 * MIB)
    return bool(unmapped and untrimmed and padded)


class _Symbol(ctypes.Structure):
    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc and `malloc` is its own, which LD_PRELOAD may change."""
    if sys.platform != "linux":
        return None
    process = ctypes.CDLL(None)
    try:
        functions = process.malloc, process.gnu_get_libc_version
        bases = [_find_library(process, function) for function in functions]
    except AttributeError:  # musl
        return None
    return process if bases[0] == bases[1] else None


def _find_library(process: ctypes.CDLL, function: Any) -> int | None:
    """Return the address in memory of the library that a function comes from."""
    symbol = _Symbol()
    process.dladdr(ctypes.cast(function, ctypes.c_void_p), ctypes.byref(symbol))
    return symbol.base


def limit_threads() -> int | None:
    """Limit torch's threads to the CPUs allotted; return their number, None if nothing changed.

    torch starts a thread for each core. If a container may use less CPU time than that, the kernel
    pauses some threads while the others wait for them. A user's OMP_NUM_THREADS is left alone.
    """
    num_threads = num_cpus()
    if "OMP_NUM_THREADS" in os.environ or torch.get_num_threads() <= num_threads:
        return None
    torch.set_num_threads(num_threads)
    return num_threads


class DeterministicEval(Callback):
    """A callback that makes cuDNN choose deterministic algorithms in evaluation, not the fastest.

    eval.py then gives the same bits as the end of training, whichever algorithms training has found
    the fastest.
    """

    def __init__(self) -> None:
        self.before = (False, False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the present choice, and switch to deterministic algorithms."""
        cudnn = torch.backends.cudnn
        self.before = cudnn.benchmark, cudnn.deterministic
        cudnn.benchmark, cudnn.deterministic = False, True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the choice of training."""
        cudnn = torch.backends.cudnn
        cudnn.benchmark, cudnn.deterministic = self.before

    on_test_start = on_validation_start
    on_test_end = on_validation_end


class TrimMalloc(Callback):
    """A callback that returns the freed memory that `keep_freed_memory` has kept, after training.

    The workers of the test are forked next, and share this process's pages: the kernel would have
    to copy each page that is written afterwards.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Return the free memory to the system."""
        if libc := _glibc():
            libc.malloc_trim(0)
