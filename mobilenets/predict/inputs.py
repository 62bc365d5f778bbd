"""What a person calls pictures -> the pictures: files, folders, patterns, a list, videos."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mobilenets.data.decode import EXTENSIONS, ImageFileError

VIDEOS = frozenset((".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm"))


class Found(NamedTuple):
    """The files that inputs stand for, and a sentence for each input that stands for none."""

    paths: list[Path]
    missing: list[str]


def find_inputs(inputs: Sequence[str], listed: Iterable[str] = ()) -> Found:
    """The files that are meant, in order, each once.

    Args:
        inputs: files; folders, in which pictures and videos are looked for at any depth, without
            hidden ones; patterns as photos/**/*.jpg; "-" for the paths in `listed`.
        listed: a path a line.
    """
    paths: dict[Path, None] = {}
    missing: list[str] = []
    for text in map(os.path.expanduser, inputs):
        before = len(missing)
        if text == "-":
            found, lost = find_inputs([line.rstrip("\r\n") for line in listed if line.strip()])
            missing += lost
        elif Path(text).is_dir():
            found = list(_inside(Path(text), missing))
        elif os.path.lexists(text):
            found = [Path(text)]
        else:
            found, lost = find_inputs(_matches(text))
            missing += lost
        if not found and text != "-" and len(missing) == before:
            missing.append(f"{text}: there is no such file, and no picture in it")
        paths |= dict.fromkeys(found)
    return Found(list(paths), missing)


def _matches(pattern: str) -> list[str]:
    if not glob.has_magic(pattern):
        return []
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (Path's has no absolute ones)


def _inside(folder: Path, missing: list[str]) -> Iterator[Path]:
    """Its pictures and videos, those of linked folders too, each folder once."""
    seen = set()

    def note(error: OSError) -> None:
        missing.append(f"{error.filename}: {error.strerror}")

    for root, folders, files in os.walk(folder, onerror=note, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(root, name)
            if not name.startswith(".") and path.suffix.lower() in EXTENSIONS | VIDEOS:
                yield path


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its name."""
    return path.suffix.lower() in VIDEOS


def frames(path: Path, per_second: float) -> Iterator[Image.Image]:
    """So many frames of each second of a video; the file name of each has its time in it.

    Raises:
        ImageFileError: OpenCV is missing, or can't read the file.
    """
    if not path.is_file():  # a FIFO would keep OpenCV waiting
        raise ImageFileError(f"{path} is no regular file: remove it, or replace it")
    if find_spec("cv2") is None:
        raise ImageFileError(f'{path} is a video: pip install "mobilenets[video]" to read it')
    import cv2

    video = cv2.VideoCapture(str(path))
    try:
        rate = video.get(cv2.CAP_PROP_FPS) or 25.0
        number, due, read = 0, 0.0, 0
        while video.grab():
            if number / rate >= due - 1e-9:
                good, pixels = video.retrieve()
                if good:
                    read += 1
                    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))
                    image.filename = f"{path}@{number / rate:.2f}s"  # type: ignore[attr-defined]
                    yield image
                due += 1 / per_second
            number += 1
    finally:
        video.release()
    if not read:
        raise ImageFileError(f"{path} can't be read as a video: delete it, or replace it")
