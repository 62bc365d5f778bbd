"""Inputs of a prediction: files, folders, patterns, a list, videos -> image files and frames."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mobilenets.data.decode import EXTENSIONS, ImageFileError
from mobilenets.imports import find_missing, install_hint

VIDEO_EXTENSIONS = frozenset((".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm"))


class FoundInputs(NamedTuple):
    """The files that were found, and a sentence for each input without any."""

    paths: list[Path]
    missing: list[str]


def find_inputs(inputs: Sequence[str], listed: Iterable[str] = ()) -> FoundInputs:
    """Find the files that the inputs stand for, in their order, each once.

    Args:
        inputs: files; folders, which are searched for images and videos at any depth, without
            hidden files; patterns such as photos/**/*.jpg; "-" for the paths in `listed`.
        listed: one path per line.
    """
    paths: dict[Path, None] = {}
    missing: list[str] = []
    for text in map(os.path.expanduser, inputs):
        before = len(missing)
        if text == "-":
            found, problems = find_inputs([line.rstrip("\r\n") for line in listed if line.strip()])
            missing += problems
        elif Path(text).is_dir():
            found = list(_list_folder(Path(text), missing))
        elif os.path.lexists(text):
            found = [Path(text)]
        else:
            found, problems = find_inputs(_expand_pattern(text))
            missing += problems
        if not found and text != "-" and len(missing) == before:
            missing.append(f"{text}: no such file, or no images in it")
        paths |= dict.fromkeys(found)
    return FoundInputs(list(paths), missing)


def _expand_pattern(pattern: str) -> list[str]:
    if not glob.has_magic(pattern):
        return []
    # Path.glob takes no absolute patterns.
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207


def _list_folder(folder: Path, missing: list[str]) -> Iterator[Path]:
    """Yield the images and videos below a folder; follow links, but visit each folder once."""
    visited = set()

    def note_error(error: OSError) -> None:
        missing.append(f"{error.filename}: {error.strerror}")

    for root, folders, files in os.walk(folder, onerror=note_error, followlinks=True):
        real = os.path.realpath(root)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(root, name)
            if not name.startswith(".") and path.suffix.lower() in EXTENSIONS | VIDEO_EXTENSIONS:
                yield path


def is_video(path: Path) -> bool:
    """Return whether a file's name is a video's."""
    return path.suffix.lower() in VIDEO_EXTENSIONS


def read_frames(path: Path, frames_per_second: float) -> Iterator[Image.Image]:
    """Yield frames of a video at this rate; the `filename` of each holds its time.

    Raises:
        ImageFileError: OpenCV is missing, or can't read the file.
    """
    if not path.is_file():  # OpenCV would wait for a FIFO
        raise ImageFileError(f"{path} is not a regular file: remove it, or replace it")
    if find_missing(["cv2"]):
        raise ImageFileError(f"{path} is a video: {install_hint('video')} to read it")
    import cv2

    video = cv2.VideoCapture(str(path))
    try:
        rate = video.get(cv2.CAP_PROP_FPS) or 25.0
        number, due, num_read = 0, 0.0, 0
        while video.grab():
            if number / rate >= due - 1e-9:
                success, pixels = video.retrieve()
                if success:
                    num_read += 1
                    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))  # BGR -> RGB
                    image.filename = f"{path}@{number / rate:.2f}s"  # type: ignore[attr-defined]
                    yield image
                due += 1 / frames_per_second
            number += 1
    finally:
        video.release()
    if not num_read:
        raise ImageFileError(f"{path} can't be read as a video: remove it, or replace it")
