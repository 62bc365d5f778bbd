"""Compiles `batchnorm.c` for the processor at hand, once, and hands out its functions."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from mobilenets.cache import cached

SOURCE = Path(__file__).with_name("batchnorm.c")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC")

_POINTER, _SIZE, _FLOAT, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int
SIGNATURES = {
    "batchnorm_forward": (
        *[_POINTER] * 2, *[_SIZE] * 2, *[_POINTER] * 4, *[_FLOAT] * 4, *[_POINTER] * 2, _INT,
    ),
    "batchnorm_backward": (
        *[_POINTER] * 3, *[_SIZE] * 2, _POINTER, *[_FLOAT] * 2, *[_POINTER] * 2, _INT,
    ),
}  # fmt: skip

library: ctypes.CDLL | None = None
"""What `load` found: the modules use it while it is there."""


def load(wanted: bool = True) -> bool:
    """Has the modules of `FASTER` use compiled kernels, if there is a C compiler; or not any more.

    The library is kept in the user's cache, under a name that tells source, compiler and processor.
    Its threads are torch's: it is linked with no OpenMP of its own, but finds the one that torch
    has loaded. (So a compiler with another OpenMP than GCC's has nothing to run on.)
    """
    global library
    library = _load() if wanted and sys.platform == "linux" else None
    return library is not None


def _load() -> ctypes.CDLL | None:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    with suppress(OSError, AttributeError, subprocess.SubprocessError):
        key = f"kernels-{_fingerprint(compiler)}"
        with cached(key, ".so", partial(_compile, compiler)) as path:
            loaded = ctypes.CDLL(str(path))
        for name, signature in SIGNATURES.items():
            function = getattr(loaded, name)
            function.argtypes, function.restype = signature, None
        return loaded
    return None


def _fingerprint(compiler: str) -> str:
    """What the code depends on: a home folder may be shared by machines of several kinds."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    parts = SOURCE.read_bytes(), version, *sorted(line.encode() for line in processor)
    return hashlib.sha256(b"\0".join((*parts, " ".join(FLAGS).encode()))).hexdigest()[:16]


def _compile(compiler: str, path: Path) -> None:
    """Compile the library `path`, as position-independent code for this processor."""
    compiled = path.with_suffix(".o")
    for command in (
        [compiler, *FLAGS, "-c", str(SOURCE), "-o", str(compiled)],
        [compiler, "-shared", str(compiled), "-o", str(path), "-lm"],
    ):
        subprocess.run(command, capture_output=True, check=True, timeout=60)
