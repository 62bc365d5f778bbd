"""The folder of a run: which process owns it, and which checkpoint to resume. Loads no torch."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from filelock import FileLock, Timeout

BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"
OWNER = "lock"  # names the owner; the lock itself is a hidden file beside it
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # torchrun's, Lightning's, SLURM's


def make_run_folder(folder: Path, is_named: bool) -> Path:
    """Make the folder of a new run, and return its path.

    Args:
        folder: the path.
        is_named: the user chose the path, so it may exist. Otherwise it is a timestamp, and a
            number is added if another run has the same one.
    """
    if is_named:
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    for name in (folder.name, *(f"{folder.name}_{number}" for number in range(2, 100))):
        with suppress(FileExistsError):
            folder.with_name(name).mkdir()
            return folder.with_name(name)
    raise FileExistsError(None, "File exists")


def has_run(folder: Path) -> bool:
    """Return whether a folder has metrics or checkpoints of a run."""
    return (folder / "metrics.json").exists() or any(folder.glob("*.ckpt"))


# Resuming


def is_valid_checkpoint(checkpoint: Path) -> bool:
    """Return whether a checkpoint exists and the checksums of all its parts are right."""
    try:
        with ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except (OSError, BadZipFile, EOFError, ValueError, NotImplementedError):
        return False


def find_newest_checkpoint(folder: Path) -> Path | None:
    """Return last.ckpt, or its previous version if it is damaged; None if neither is valid.

    The names tell which is newer. Times don't: clocks go wrong, and copies have their own.
    """
    return next(
        (folder / name for name in (LAST, PREVIOUS) if is_valid_checkpoint(folder / name)), None
    )


# Locking


@contextmanager
def lock_run_folder(folder: Path) -> Iterator[None]:
    """Lock the folder for this process, whose name goes into the file `lock`.

    The operating system frees the lock when the process ends, even if it is killed. Some clusters
    have a file system without locks; there a second process is not detected.

    Raises:
        ValueError: another process has locked the folder.
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


# Several processes


def is_first_process() -> bool:
    """Return whether this is the process of a run that writes its files."""
    return int(next((os.environ[rank] for rank in RANKS if rank in os.environ), 0)) == 0
