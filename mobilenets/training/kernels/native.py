"""Compiles `batchnorm.c` for the processor at hand, once, and hands out its functions."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from mobilenets.cache import cache_folder

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
        path = cache_folder() / f"kernels-{_fingerprint(compiler)}.so"
        if not path.exists():
            _compile(compiler, path)
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
    """Under another name first, as other processes may look for it at this moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        compiled, linked = f"{folder}/kernels.o", f"{folder}/kernels.so"
        for command in (
            [compiler, *FLAGS, "-c", str(SOURCE), "-o", compiled],
            [compiler, "-shared", compiled, "-o", linked, "-lm"],
        ):
            subprocess.run(command, capture_output=True, check=True, timeout=60)
        Path(linked).replace(path)
