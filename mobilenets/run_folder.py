"""A run's folder: whose it is, and from which checkpoint in it the run goes on. Loads no torch."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from filelock import FileLock, Timeout

BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"
OWNER = "lock"  # the file that names the process; the lock itself is on a hidden file beside it


def make_run_folder(folder: Path, anew: bool) -> Path:
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


# Going on


def is_valid_checkpoint(checkpoint: Path) -> bool:
    """Whether a checkpoint is there as it was written, by the checksum of each of its parts."""
    try:
        with ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except (OSError, BadZipFile, EOFError, ValueError, NotImplementedError):
        return False


def find_newest(folder: Path) -> Path | None:
    """last.ckpt, or the one before it where that is damaged; None if there is nothing to go on.

    Which is the newest is known by the names: clocks go wrong, and copies have times of their own.
    """
    return next(
        (folder / name for name in (LAST, PREVIOUS) if is_valid_checkpoint(folder / name)), None
    )


# One process at a time


@contextmanager
def lock_run_folder(folder: Path) -> Iterator[None]:
    """Keep the folder for this process; the file `lock` in it names the process.

    The operating system frees the lock when the process ends, however it ends. On a file system
    without locks, as some clusters have, a second process is not noticed.

    Raises:
        ValueError: another process has the folder.
    """
    lock, owner = FileLock(folder / f".{OWNER}", timeout=0), folder / OWNER
    try:
        lock.acquire()
    except Timeout as error:
        name = owner.read_text().strip() if owner.exists() else "another process"
        raise ValueError(
            f"{folder} is in use by {name}: wait until it ends, or choose another folder"
        ) from error
    except (OSError, NotImplementedError):
        pass  # a file system without locks
    owner.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
    try:
        yield
    finally:
        for path in (owner, Path(lock.lock_file)):
            with suppress(OSError):
                path.unlink()
        lock.release()
