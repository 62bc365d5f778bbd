"""Files that are costly to make, kept in the user's cache folder."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from mobilenets.atomic import atomic_path

MAX_FILES = 32  # of one suffix; the least recently used are removed


def cache_folder() -> Path:
    """Return this project's folder in the user's cache; it may not exist yet."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "mobilenets")


@contextmanager
def cached(key: str, suffix: str, make: Callable[[Path], object]) -> Iterator[Path]:
    """Yield the cached file `key`; if there is none, make it with `make(path)`.

    The name of a cached file ends in the SHA-256 of its content, so a damaged file is detected and
    made again. If the cache can't be written, the file exists only within the block.
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
            path = _store(path)
        yield path


def find_cached(key: str, suffix: str) -> Path | None:
    """Return the cached file `key`, None if there is none; remove damaged ones."""
    with suppress(OSError):
        for path in cache_folder().glob(f"{key}-*{suffix}"):
            if path.name == f"{key}-{file_sha256(path)}{suffix}":
                return path
            path.unlink()
    return None


def _store(path: Path) -> Path:
    """Copy a file into the cache, and remove the least recently used of its suffix."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{path.stem}-{file_sha256(path)}{path.suffix}"
    with atomic_path(target) as partial:
        shutil.copyfile(path, partial)
    kept = sorted(folder.glob(f"*{path.suffix}"), key=lambda file: file.stat().st_mtime)
    for old in kept[:-MAX_FILES]:
        with suppress(OSError):
            old.unlink()
    return target


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
