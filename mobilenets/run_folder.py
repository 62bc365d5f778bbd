"""A run's folder: whose it is, and from which checkpoint in it the run goes on. Loads no torch."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO
from zipfile import BadZipFile, ZipFile

try:
    import fcntl
except ImportError:  # on Windows nobody notices a second process
    fcntl = None  # type: ignore[assignment]

BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"
LOCK = "lock"
PARTIAL = ".part"  # what is being written ends so, until it is complete


def make(folder: Path, anew: bool) -> Path:
    """Makes `folder`; `anew` adds a number if another run made it in the same second."""
    if not anew:
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    for name in (folder.name, *(f"{folder.name}_{number}" for number in range(2, 100))):
        with suppress(FileExistsError):
            folder.with_name(name).mkdir()
            return folder.with_name(name)
    raise FileExistsError(None, "File exists")


def is_used(folder: Path) -> bool:
    """Whether it holds a run already that has anything to keep."""
    return (folder / "metrics.json").exists() or any(folder.glob("*.ckpt"))


def sweep(folder: Path) -> None:
    """Removes what a killed process left half written."""
    for path in folder.glob(f".*{PARTIAL}"):
        path.unlink()


# Going on


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint is there as it was written, by the checksum of each of its parts."""
    try:
        with ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except (OSError, BadZipFile, EOFError, ValueError, NotImplementedError):
        return False


def newest(folder: Path) -> Path | None:
    """last.ckpt, or the one before it where that is damaged; None if there is nothing to go on.

    Which is the newest is known by the names: clocks go wrong, and copies have times of their own.
    """
    return next((folder / name for name in (LAST, PREVIOUS) if is_whole(folder / name)), None)


# One process at a time


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps the folder for this process; its file `lock` says whose it is.

    The operating system frees the lock when its process ends in whatever way.

    Raises:
        ValueError: another process has it.
    """
    path = folder / LOCK
    with _locked_file(path) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()


def _locked_file(path: Path) -> TextIO:
    while True:
        file = path.open("a+")
        if fcntl is None:
            return file
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            with file:
                file.seek(0)
                owner = file.read().strip() or "another process"
            raise ValueError(
                f"{path.parent} is in use by {owner}: wait for its end, or choose another folder"
            ) from error
        except OSError:  # a file system without locks, as clusters have: there it isn't noticed
            return file
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # it was its owner's, and is deleted by now
