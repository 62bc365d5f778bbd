"""Write files whole: under a temporary name beside the target, then renamed into place.

Whenever the process is killed or the disk is full, a reader finds the old file or the new one,
never a part of either.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

PARTIAL = ".part"  # the end of a temporary name; it begins with a dot


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there becomes `path`.

    The file or folder is flushed to the disk before it is renamed. If the block raises, it is
    removed and `path` stays as it was. Several processes may write the same `path` at once.

    Raises:
        OSError: the disk is full, or `path` can't be replaced.
    """
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}{PARTIAL}")
    try:
        yield partial
        sync(partial)
        if path.is_dir():
            remove(path)
        partial.replace(path)
        _fsync(path.parent)
    finally:
        remove(partial)


@contextmanager
def atomic_files(folder: Path) -> Iterator[Path]:
    """Yield an empty folder inside `folder`; all that is in it at the end moves into `folder`.

    If the block raises, nothing moves. Files and folders of the same names are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f".{uuid4().hex[:8]}{PARTIAL}"
    scratch.mkdir()
    try:
        yield scratch
        for child in sorted(scratch.iterdir()):
            with atomic_path(folder / child.name) as partial:
                child.replace(partial)
    finally:
        remove(scratch)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, "utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file for people: indented, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_partial_files(folder: Path) -> None:
    """Remove what killed processes left half written in `folder`."""
    for path in folder.glob(f".*{PARTIAL}"):
        remove(path)


def sync(path: Path) -> None:
    """Flush a file, or a folder with all that is in it, to the disk."""
    for child in path.rglob("*") if path.is_dir() else ():
        _fsync(child)
    _fsync(path)


def _fsync(path: Path) -> None:
    """Flush a file's content, or the names in a folder."""
    if path.is_dir() and os.name == "nt":  # Windows can't flush a folder
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
