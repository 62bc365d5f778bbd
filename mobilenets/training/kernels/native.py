"""The functions of `batchnorm.c`, compiled once for this processor."""

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
"""The compiled kernels, None if `load` has not loaded them; the fast modules look here."""


def load(enabled: bool = True) -> bool:
    """Load the compiled kernels if there is a C compiler, or unload them; return whether they run.

    The library is kept in the user's cache, under a key of its source, compiler and processor. It
    is linked without an OpenMP runtime, so it uses the one that torch has loaded, and torch's
    threads. (A compiler whose OpenMP is not GCC's finds none.)
    """
    global library
    library = _load() if enabled and sys.platform == "linux" else None
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
    """Return a key for source, compiler and processor: machines may share a home folder."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    parts = SOURCE.read_bytes(), version, *sorted(line.encode() for line in processor)
    return hashlib.sha256(b"\0".join((*parts, " ".join(FLAGS).encode()))).hexdigest()[:16]


def _compile(compiler: str, path: Path) -> None:
    """Compile the library `path` for this processor."""
    compiled = path.with_suffix(".o")
    for command in (
        [compiler, *FLAGS, "-c", str(SOURCE), "-o", str(compiled)],
        [compiler, "-shared", str(compiled), "-o", str(path), "-lm"],
    ):
        subprocess.run(command, capture_output=True, check=True, timeout=60)
