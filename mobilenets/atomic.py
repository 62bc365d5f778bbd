"""Atomic writes: to a partial file beside the target, which is then renamed.

Even if the process is killed or the disk is full, a reader finds the complete old file or the
complete new one.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

PARTIAL = ".part"  # suffix of the hidden partial files


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a partial path beside `path`; the file or folder written there replaces `path`.

    It is flushed to the disk before it is renamed. If the block raises an error, it is removed, and
    `path` is unchanged. Several processes may write the same `path` at once. If the old or the new
    `path` is a folder, the old one is removed just before the rename.

    Raises:
        OSError: the disk is full, or `path` can't be replaced.
    """
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}{PARTIAL}")
    try:
        yield partial
        sync(partial)
        if path.is_dir() or partial.is_dir():
            remove(path)
        partial.replace(path)
        _fsync(path.parent)
    finally:
        remove(partial)


@contextmanager
def atomic_files(folder: Path) -> Iterator[Path]:
    """Yield an empty folder whose content moves to `folder` at the end of the block.

    Files and folders of the same names are replaced. If the block raises an error, nothing moves.
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


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make a folder and its parents; remove those that were missing if the block raises."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # not empty any more
            for path in missing:
                path.rmdir()
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, completely or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, "utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an indented JSON file, completely or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def remove(path: Path) -> None:
    """Remove a file, or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_partial_files(folder: Path) -> None:
    """Remove the partial files that killed processes left in `folder`."""
    for path in folder.glob(f".*{PARTIAL}"):
        remove(path)


def sync(path: Path) -> None:
    """Flush a file, or a folder with its content, to the disk."""
    for child in path.rglob("*") if path.is_dir() else ():
        _fsync(child)
    _fsync(path)


def _fsync(path: Path) -> None:
    """Flush the content of a file, or the names in a folder."""
    if path.is_dir() and os.name == "nt":  # Windows can't flush a folder
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
