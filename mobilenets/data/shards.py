"""A class-per-folder tree packed into shards: tar files of small JPEGs with an index.

    train/shard-00000.tar, train/shard-00001.tar, ..., train/shards.json

Shards are plain tar files with members CLASS/name.jpg. The index, shards.json, gives the position
of each image, in the order of the original tree and under its original name. So the splits by seed,
the order of an epoch and the augmentation of each image are the same as for the tree.
"""

import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from torchvision.transforms.v2 import functional as F

from mobilenets.atomic import atomic_path, write_text
from mobilenets.data.decode import ImageFileError, decode_image
from mobilenets.data.transforms import convert_channels

INDEX = "shards.json"
_FORMAT = 1
_BLOCK = 512  # bytes; members of a tar file start and end at multiples of it
_MAX_OPEN = 128  # files that a reader keeps open, well below the usual limit of a process
_MAX_JPEG = 65500  # pixels per side, libjpeg's limit


@dataclass
class Shard:
    """The content of one tar file."""

    names: list[str]  # CLASS/name, as in the tree
    offsets: list[int]  # of each image in the tar file, in bytes
    sizes: list[int]  # of each image, in bytes
    bytes: int  # size of the tar file
    source: str = ""  # digest of the files that it was made from
    left_out: dict[str, str] = field(default_factory=dict)  # name of a bad image -> problem


def shard_path(root: Path, number: int) -> Path:
    """Return the path of the tar file of this number."""
    return root / f"shard-{number:05}.tar"


def open_shards(root: Path) -> tuple[dict[str, list[str]], "ShardReader", int]:
    """Open the shards in `root`.

    Returns:
        {class: names of its images}, a function that reads an image by its name, and the short side
        in pixels to which larger images were reduced.

    Raises:
        ValueError: the index is damaged, or a shard is missing or truncated.
    """
    options, shards = read_index(root / INDEX)
    for number, shard in enumerate(shards):
        path = shard_path(root, number)
        size = path.stat().st_size if path.exists() else 0
        if size != shard.bytes:
            raise ValueError(
                f"{path} has {size:,} bytes instead of {shard.bytes:,}: copy it again, or make "
                "the shards again"
            )
    paths: dict[str, list[str]] = {}
    for name in (name for shard in shards for name in shard.names):
        paths.setdefault(name.partition("/")[0], []).append(name)
    return paths, ShardReader.from_shards(root, shards), options["short_side"]


class ShardReader:
    """A reader of images by name from a folder of shards, for any process or thread.

    Every read passes its own offset, because forked workers share the position of an open file.

    Args:
        root: folder of the shards.
        names: (N,) bytes, in ascending order.
        places: (N, 3) int64: the shard's number, the image's offset in it, its size.
    """

    def __init__(self, root: Path, names: np.ndarray, places: np.ndarray):
        self.root = root
        self.names = names
        self.places = places
        self._open = lru_cache(_MAX_OPEN)(_open)

    @classmethod
    def from_shards(cls, root: Path, shards: Sequence[Shard]) -> "ShardReader":
        """Make a reader from the content of the shards."""
        names = np.array([os.fsencode(name) for shard in shards for name in shard.names])
        numbers = np.repeat(np.arange(len(shards)), [len(shard.names) for shard in shards])
        offsets = np.concatenate([np.array(shard.offsets, np.int64) for shard in shards])
        sizes = np.concatenate([np.array(shard.sizes, np.int64) for shard in shards])
        order = np.argsort(names, kind="stable")  # fast for names that are nearly sorted
        return cls(root, names[order], np.stack([numbers, offsets, sizes], axis=1)[order])

    def __call__(self, name: str) -> bytes:
        """Return the content of an image file.

        Raises:
            ImageFileError: the shard has been removed, truncated or made unreadable.
        """
        key = os.fsencode(name)
        row = np.searchsorted(self.names, key)
        assert self.names[row] == key
        number, offset, size = self.places[row].tolist()
        path = shard_path(self.root, number)
        try:
            data = os.pread(self._open(path).descriptor, size, offset)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ImageFileError(f"{path} can't be read ({reason}): copy it again") from None
        if len(data) < size:
            raise ImageFileError(f"{path} ends within {name}: copy it again")
        return data

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardReader, (self.root, self.names, self.places)


class _OpenFile:
    """A file descriptor that is closed with its last reference."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


def _open(path: Path) -> _OpenFile:
    return _OpenFile(os.open(path, os.O_RDONLY))


def read_index(path: Path) -> tuple[dict[str, Any], list[Shard]]:
    """Read the options and the shards that `write_index` wrote.

    Raises:
        ValueError: the file is damaged, or of another version.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}")
        return content["options"], [Shard(**shard) for shard in content["shards"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is not a valid index of shards ({error}): copy it again, or make the shards "
            "again with scripts/prepare_imagenet.py"
        ) from None


def write_index(path: Path, options: dict[str, Any], shards: Sequence[Shard]) -> None:
    """Write the index of these shards, with the options they were made with."""
    content = {"format": _FORMAT, "options": options, "shards": [vars(shard) for shard in shards]}
    text = json.dumps(content, separators=(",", ":"))  # ASCII: any name survives
    write_text(path, text)


def write_shard(path: Path, images: Iterable[tuple[str, bytes]]) -> Shard:
    """Write (name, JPEG) pairs to a tar file; the same pairs always make the same bytes."""
    shard = Shard([], [], [], 0)

    def blocks() -> Iterator[bytes]:
        end = 0
        for name, data in images:
            header = _tar_header(name, len(data))
            shard.names.append(name)
            shard.offsets.append(end + len(header))
            shard.sizes.append(len(data))
            block = header + data + bytes(-len(data) % _BLOCK)
            end += len(block)
            yield block
        closing = 2 * _BLOCK
        closing += -(end + closing) % tarfile.RECORDSIZE
        shard.bytes = end + closing
        yield bytes(closing)

    with atomic_path(path) as partial, partial.open("wb") as file:
        file.writelines(blocks())
    return shard


def _tar_header(name: str, size: int) -> bytes:
    """Return the header of a member without owner and date; its name ends in .jpg or .jpeg."""
    is_jpeg = name.lower().endswith((".jpg", ".jpeg"))
    member = tarfile.TarInfo(name if is_jpeg else f"{name}.jpg")
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def shrink(data: bytes, name: str, *, short_side: int, quality: int) -> bytes:
    """Convert an image file to an upright JPEG whose short side is at most `short_side` pixels.

    The image is resized as in evaluation (bilinear with antialiasing), and is grey or RGB. A JPEG
    that is small and upright already is returned as it is.

    Args:
        data: content of the file.
        name: name of the file in error messages.
        short_side: maximum of the short side.
        quality: of the JPEG, from 1 to 100.

    Raises:
        ImageFileError: the image can't be decoded, or is too long for a JPEG.
    """
    image = decode_image(data, name, 3)
    with Image.open(io.BytesIO(data)) as header:
        upright = header.getexif().get(ExifTags.Base.Orientation, 1) == 1
        plain = header.format == "JPEG" and header.mode in ("L", "RGB") and upright
        grey = header.mode in ("1", "L", "LA", "La") or header.mode.startswith("I")
    if min(image.shape[1:]) > short_side:
        image = F.resize(image, [short_side], antialias=True)
    elif plain:
        return data
    if max(image.shape[1:]) > _MAX_JPEG:
        raise ImageFileError(
            f"{name} is too long for a JPEG ({max(image.shape[1:]):,} pixels): crop or remove it"
        )
    pixels = convert_channels(image, 1)[0] if grey else image.permute(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(file, "JPEG", quality=quality)
    return file.getvalue()
