"""Decode an image file to a tensor, or raise one sentence about what is wrong with the file.

PIL is the only decoder. With cropping and resizing, torchvision.io and simplejpeg are at most 1.1
times as fast for photographs of ImageNet's size, and 1.3 to 1.5 times for those of 224 pixels
(`scripts/benchmark_decoding.py`). But decoding in torchvision.io is deprecated, and a damaged PNG
crashes its process. simplejpeg is an optional package, and results must not depend on one.
"""

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
)
# The decoders allowed to run, whatever a file's name (PIL would start Ghostscript for EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# The size of an uncompressed 16-bit RGB file with as many pixels as PIL opens at most.
_MAX_BYTES = 6 * 178_956_970

_UPRIGHT = {  # EXIF orientation -> the operation that undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # orientations that swap height and width


class ImageFileError(ValueError):
    """An image that can't be read or decoded; `str(error)` is one sentence with file and fix.

    A DataLoader re-raises an exception of its workers with the whole traceback as the message. The
    original sentence is at the end of that text, and the constructor extracts it.
    """

    def __init__(self, message: str):
        marker = f"{type(self).__module__}.{type(self).__qualname__}: "
        super().__init__(message.rpartition(marker)[2].strip())


class BadImageError(ImageFileError):
    """A file that can be read but holds no valid image, whenever and wherever it is read."""


class Box(NamedTuple):
    """A rectangle of an upright image, in pixels."""

    top: int
    left: int
    height: int
    width: int


class EncodedImage:
    """An image file in memory whose header has been read and whose pixels are not decoded yet.

    Decoding turns the image upright according to its EXIF orientation, scales 16-bit grey to 8
    bits, composites transparency onto white, converts CMYK, palettes and the like, and takes the
    first frame of an animation.

    Args:
        data: content of the file.
        name: name of the file in error messages.
        in_channels: 1 decodes as grey, 3 as RGB.

    Attributes:
        kind: format and mode of the file: "JPEG RGB".
        height, width: size of the upright image in pixels.

    Raises:
        BadImageError: from here or from `decode`: the file is truncated, too large or not an image.
    """

    def __init__(self, data: bytes, name: str, in_channels: int):
        self.name = name
        self.in_channels = in_channels
        with _bad_image_errors(name):
            self._image = Image.open(io.BytesIO(data), formats=_FORMATS)
            if self._image.format == "TIFF":  # loading one turns it upright, and updates its EXIF
                self._image.load()
            self._orientation = self._image.getexif().get(ExifTags.Base.Orientation)
        self.kind = f"{self._image.format} {self._image.mode}"
        width, height = self._image.size
        sideways = self._orientation in _SIDEWAYS
        self.height, self.width = (width, height) if sideways else (height, width)

    def decode(self, box: Box | None = None, min_size: int | None = None) -> Tensor:
        """Decode the image, or a box of it. This works only once, because it closes the file.

        Args:
            box: part of the image to return; None = all of it.
            min_size: decode a JPEG at the smallest of 1/8, 1/4, 1/2 and full size at which the box
                has at least `min_size` pixels in both directions. The edges of the box may then be
                off by up to half a pixel of the result. None = full size.

        Returns:
            (in_channels, height, width) uint8, with the channels innermost in memory.
        """
        whole = Box(0, 0, self.height, self.width)
        box = box or whole
        reduction = 1 if min_size is None else dct_reduction(box.height, box.width, min_size)
        with _bad_image_errors(self.name), closing(self._image) as image:
            if not _reduce(image, reduction):
                reduction = 1
            upright = _to_upright(image, self._orientation, self.in_channels)
            if box != whole:
                upright = upright.crop(_reduced_edges(box, reduction))
            return _to_tensor(upright)


def decode_image(data: bytes, name: str, in_channels: int, min_size: int | None = None) -> Tensor:
    """Decode an image file in memory to uint8 (in_channels, H, W): see `EncodedImage`."""
    return EncodedImage(data, name, in_channels).decode(min_size=min_size)


def read_image(path: str, in_channels: int) -> Tensor:
    """Read and decode an image file to uint8 (in_channels, H, W): see `EncodedImage`."""
    return decode_image(read_file(path), path, in_channels)


def from_pil(image: Image.Image, in_channels: int) -> Tensor:
    """Convert a PIL image to uint8 (in_channels, H, W), as `EncodedImage` does."""
    with _bad_image_errors(getattr(image, "filename", "") or "the image"):
        image.load()  # loading a TIFF turns it upright, and updates its EXIF
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        return _to_tensor(_to_upright(image, orientation, in_channels))


def read_file(path: str) -> bytes:
    """Return the content of an image file.

    Raises:
        ImageFileError: the file is missing, unreadable, too large or not a regular file.
    """
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageFileError(f"{path} is not a regular file: remove it, or replace it")
            if status.st_size > _MAX_BYTES:
                raise ImageFileError(
                    f"{path} has {status.st_size:,} bytes, more than the maximum of "
                    f"{_MAX_BYTES:,}: make it smaller"
                )
            return file.read()
    except OSError as error:
        raise ImageFileError(
            f"{path} can't be read ({_reason(error)}): restore it, or delete it"
        ) from None


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a file; a FIFO too, without waiting for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def dct_reduction(height: int, width: int, min_size: int) -> int:
    """Return the largest of 8, 4, 2 and 1 that leaves min_size pixels per side; 1 if none does."""
    available = min(height, width) // min_size
    return next((reduction for reduction in (8, 4, 2) if reduction <= available), 1)


def _reduce(image: Image.Image, reduction: int) -> bool:
    """Make PIL decode a JPEG at 1 / reduction of its size; return False if it won't."""
    width, height = image.size
    # PIL takes the largest reduction that leaves this size. That is the given one, because
    # n / (n // reduction) is below 2 * reduction.
    size = (width // reduction, height // reduction)
    return reduction > 1 and image.draft(None, size) is not None


def _reduced_edges(box: Box, reduction: int) -> tuple[int, int, int, int]:
    """Return the left, top, right and bottom of a box in the reduced image.

    Halves are rounded up, so each side has at least length // reduction pixels, and none leaves the
    image.
    """
    top, left, height, width = box
    left, top, right, bottom = (
        (edge + reduction // 2) // reduction for edge in (left, top, left + width, top + height)
    )
    return left, top, right, bottom


@contextmanager
def _bad_image_errors(name: str) -> Iterator[None]:
    """Raise what a decoder raises as `BadImageError`."""
    try:
        with warnings.catch_warnings(action="ignore"):  # PIL's warnings don't name the file
            yield
    except MemoryError:
        raise  # not the file's fault
    except Exception as error:  # a decoder that reads garbage may raise anything
        raise BadImageError(
            f"{name} can't be read as an image ({_reason(error)}): delete it, or replace it with a "
            "valid JPEG, PNG, WebP, BMP, GIF, TIFF or PPM file"
        ) from None


def _to_upright(image: Image.Image, orientation: int | None, in_channels: int) -> Image.Image:
    image = _convert(image, "L" if in_channels == 1 else "RGB")
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _to_tensor(image: Image.Image) -> Tensor:
    pixels = np.array(image)
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], -1).permute(2, 0, 1)


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits per pixel, which PIL would clip to 255
        words = np.array(image).astype(np.int32)
        if words.min() < 0 or words.max() > 65535:
            raise ValueError("its pixels are 32-bit numbers of unknown range")
        return Image.fromarray(((words + 128) // 257).astype(np.uint8)).convert(mode)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert(mode)
    if image.mode == "LAB":
        image = image.convert("RGB")  # PIL converts LAB to no other mode
    return image if image.mode == mode else image.convert(mode)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or an unknown format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
