"""What makes the machine at hand faster without changing what is computed on it.

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
    """Sets the process up for the run; returns in words what was done.

    To be called before anything large is allocated. On a CPU: memory that is freed stays with the
    process, because getting it back costs a page fault for every 4 KiB of every activation; and
    threads for no more cores than the container may use. On CUDA: TF32, and cuDNN looks for its
    fastest algorithms in training, unless the Trainer is told otherwise.

    Args:
        enabled: False gives the precision of multiplications and cuDNN's choice that torch has from
            the start, and leaves the rest alone.
        accelerator: the Trainer's, by which CUDA is used or not.
        kernels: compile those of training, for a CPU.
    """
    fast = enabled and is_cuda(accelerator)
    # Set either way: the jobs of a sweep share a process.
    torch.set_float32_matmul_precision("high" if fast else "highest")
    torch.backends.cudnn.benchmark = fast
    compiled = load_native(enabled and kernels and not fast)
    if not enabled:
        return []
    done = ["malloc keeps its memory"] if keep_memory() else []
    if compiled:
        done.append("compiled kernels")
    if num_threads := limit_threads():
        done.append(f"as many threads as CPUs allotted ({num_threads})")
    return [*done, "TF32"] if fast else done


def compile_net(net: nn.Module, accelerator: str = "auto") -> None:
    """Compiles `net.forward` in place, so that the keys of the state dict stay as they are.

    On CUDA with CUDA graphs, a launch for hundreds of kernels: training's batches have one shape.
    """
    net.compile(mode="reduce-overhead" if is_cuda(accelerator) else None)


def is_cuda(accelerator: str) -> bool:
    """Whether a Trainer with this accelerator uses CUDA."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


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


def limit_threads() -> int | None:
    """Brings torch's threads down to the CPUs allotted; None if they are no more.

    torch starts a thread a core. With less time than that, the threads wait for each other while
    the kernel holds them back. OMP_NUM_THREADS stays the user's.
    """
    num_threads = num_cpus()
    if "OMP_NUM_THREADS" in os.environ or torch.get_num_threads() <= num_threads:
        return None
    torch.set_num_threads(num_threads)
    return num_threads


class DeterministicEval(Callback):
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


class TrimMalloc(Callback):
    """Gives the memory that training has kept (`keep_memory`) back at its end.

    The test's workers are forked then, and for each page that the fork shares the kernel copies
    what this process writes next.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Returns what is free."""
        if libc := _glibc():
            libc.malloc_trim(0)
