"""Files that can be made again, kept in the user's cache folder."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from mobilenets.atomic import atomic_path

MAX_FILES = 32  # of one kind; the least recently used go first


def cache_folder() -> Path:
    """Return this project's folder in the user's cache; it may not exist yet."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "mobilenets")


@contextmanager
def cached(key: str, suffix: str, make: Callable[[Path], object]) -> Iterator[Path]:
    """Yield the cached file `key`, or make it with `make(path)`.

    The file's name ends in the SHA-256 of its content, so a damaged file is noticed and made
    again. Where the cache can't be written, the file exists within the block only.
    """
    if path := find_cached(key, suffix):
        with suppress(OSError):
            path.touch()  # the least recently used files are removed first
        yield path
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, f"{key}{suffix}")
        make(path)
        with suppress(OSError):
            path = _keep(path)
        yield path


def find_cached(key: str, suffix: str) -> Path | None:
    """Return the undamaged file `key` in the cache, None if there is none."""
    with suppress(OSError):
        for path in cache_folder().glob(f"{key}-*{suffix}"):
            if path.name == f"{key}-{_sha256(path)}{suffix}":
                return path
            path.unlink()
    return None


def _keep(path: Path) -> Path:
    """Copy a file into the cache, and remove the least recently used of its kind."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{path.stem}-{_sha256(path)}{path.suffix}"
    with atomic_path(target) as partial:
        shutil.copyfile(path, partial)
    kept = sorted(folder.glob(f"*{path.suffix}"), key=lambda file: file.stat().st_mtime)
    for old in kept[:-MAX_FILES]:
        with suppress(OSError):
            old.unlink()
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
