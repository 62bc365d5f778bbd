"""A class-per-folder tree packed into shards: tar files of small JPEGs, read by their place.

    train/shard-00000.tar, train/shard-00001.tar, ..., train/shards.json

The shards are plain tar files with members CLASS/name.jpg. The index, shards.json, says where in
them each image lies, in the order of the tree that it came from and under the name that it had
there. So the splits by seed, the order of an epoch and the augmentation of each image are those of
the tree.
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

from mobilenets.atomic import atomic_path, write_text
from mobilenets.data.decode import ImageFileError, decode_image

INDEX = "shards.json"
_FORMAT = 1
_BLOCK = 512  # members of a tar file start and end at multiples of it
_MAX_OPEN = 128  # files that a reader keeps open: well below the usual limits for a process
_MAX_JPEG = 65500  # pixels in a row or column, libjpeg's limit


@dataclass
class Shard:
    """What one tar file holds."""

    names: list[str]  # CLASS/name, as in the tree
    offsets: list[int]  # where each image's bytes begin in the tar file
    sizes: list[int]  # and how many they are
    bytes: int  # of the whole file
    source: str = ""  # a digest of the files that it was made of
    left_out: dict[str, str] = field(default_factory=dict)  # name of a bad image -> what is wrong


def shard_path(root: Path, number: int) -> Path:
    """Where the tar file of that number lies."""
    return root / f"shard-{number:05}.tar"


def open_shards(root: Path) -> tuple[dict[str, list[str]], "ShardReader", int]:
    """Find the images in the shards of `root`.

    Returns:
        {class: the names of its images}, what reads an image by its name, and the short side that
        larger images were reduced to, in pixels.

    Raises:
        ValueError: The index is damaged, or a shard is missing or cut short.
    """
    options, shards = read_index(root / INDEX)
    for number, shard in enumerate(shards):
        path = shard_path(root, number)
        size = path.stat().st_size if path.exists() else 0
        if size != shard.bytes:
            raise ValueError(
                f"{path} has {size:,} bytes instead of {shard.bytes:,}: copy it again, or make the "
                "shards anew"
            )
    paths: dict[str, list[str]] = {}
    for name in (name for shard in shards for name in shard.names):
        paths.setdefault(name.partition("/")[0], []).append(name)
    return paths, ShardReader.of(root, shards), options["short_side"]


class ShardReader:
    """Reads images by name from the shards of a folder, in any process or thread.

    Every read says where it begins, so nothing depends on a file's position, which forked workers
    share.

    Args:
        root: The folder of the shards.
        names: (N,) bytes, ascending.
        places: (N, 3) int64: the number of the shard, where in it the image begins, its size.
    """

    def __init__(self, root: Path, names: np.ndarray, places: np.ndarray):
        self.root = root
        self.names = names
        self.places = places
        self._open = lru_cache(_MAX_OPEN)(_open)

    @classmethod
    def of(cls, root: Path, shards: Sequence[Shard]) -> "ShardReader":
        """Make the reader of these shards."""
        names = np.array([os.fsencode(name) for shard in shards for name in shard.names])
        numbers = np.repeat(np.arange(len(shards)), [len(shard.names) for shard in shards])
        offsets = np.concatenate([np.array(shard.offsets, np.int64) for shard in shards])
        sizes = np.concatenate([np.array(shard.sizes, np.int64) for shard in shards])
        order = np.argsort(names, kind="stable")  # timsort: they are nearly in order
        return cls(root, names[order], np.stack([numbers, offsets, sizes], axis=1)[order])

    def __call__(self, name: str) -> bytes:
        """Read the bytes of an image.

        Raises:
            ImageFileError: The shard is gone, unreadable or cut short since it was opened.
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
    """A file descriptor that lives as long as somebody uses it."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


def _open(path: Path) -> _OpenFile:
    return _OpenFile(os.open(path, os.O_RDONLY))


def read_index(path: Path) -> tuple[dict[str, Any], list[Shard]]:
    """Read what `write_index` wrote: the options, and the shards in their order.

    Raises:
        ValueError: It is damaged, or of another version.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}")
        return content["options"], [Shard(**shard) for shard in content["shards"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is no index of shards that can be read here ({error}): copy it again, or make "
            "the shards anew with scripts/prepare_imagenet.py"
        ) from None


def write_index(path: Path, options: dict[str, Any], shards: Sequence[Shard]) -> None:
    """Write down what the shards hold; `options` say how they were made."""
    content = {"format": _FORMAT, "options": options, "shards": [vars(shard) for shard in shards]}
    text = json.dumps(content, separators=(",", ":"))  # ASCII: any name survives
    write_text(path, text)


def write_shard(path: Path, images: Iterable[tuple[str, bytes]]) -> Shard:
    """Write (name, JPEG) pairs into a tar file; the same pairs always give the same bytes."""
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
    """The header of a member without owner and date; what has become a JPEG is called one."""
    is_jpeg = name.lower().endswith((".jpg", ".jpeg"))
    member = tarfile.TarInfo(name if is_jpeg else f"{name}.jpg")
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def shrink(data: bytes, name: str, *, short_side: int, quality: int) -> bytes:
    """Make an image file an upright JPEG, grey or RGB, whose short side is at most `short_side`.

    The image is reduced as in evaluation (bilinear with antialiasing). A JPEG that is small and
    upright already stays as it is.

    Raises:
        ImageFileError: See `decode_image`; `name` is the file's in the message.
    """
    from torchvision.transforms.v2 import functional as F

    from mobilenets.data.transforms import to_channels

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
            f"{name} is too long for a JPEG ({max(image.shape[1:]):,} pixels): cut or remove it"
        )
    pixels = to_channels(image, 1)[0] if grey else image.permute(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(file, "JPEG", quality=quality)
    return file.getvalue()
