"""From an image file to a tensor, or to one sentence about what is wrong with the file.

PIL is the only decoder. Cropping and resizing included, torchvision.io and simplejpeg are at most
1.1 times as fast for photographs of ImageNet's size and 1.3 to 1.5 times for those of 224 pixels
(`scripts/benchmark_decoding.py`). But the former is deprecated, and a damaged PNG kills its
process; the latter is an optional package, on which results must not depend.
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
# The decoders that may run, whatever a file's name says (PIL would start Ghostscript for EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# Of a file: 16-bit RGB without compression. PIL itself opens nothing above so many pixels.
_MAX_BYTES = 6 * 178_956_970

_UPRIGHT = {  # EXIF orientation -> what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # the orientations that swap height and width


class ImageFileError(ValueError):
    """An image that can't be had; `str(error)` is one sentence with the file and the fix.

    A DataLoader raises a worker's exception anew with the text of its whole traceback as the
    message. The sentence is the end of that text, and this class takes it back out.
    """

    def __init__(self, message: str):
        marker = f"{type(self).__module__}.{type(self).__qualname__}: "
        super().__init__(message.rpartition(marker)[2].strip())


class BadImageError(ImageFileError):
    """A file that was read and holds no image: it is so whenever and wherever it is read."""


class Box(NamedTuple):
    """A rectangle of an upright image, in pixels."""

    top: int
    left: int
    height: int
    width: int


class EncodedImage:
    """An image file in memory whose header is read and whose pixels aren't decoded yet.

    `kind` is its format and mode: "JPEG RGB". The picture is turned upright as its EXIF orientation
    says, and `height` and `width` are those of the upright picture; 16-bit greys are scaled to 8
    bits; transparency is laid on white; CMYK, palettes and the like are converted; of an animation
    the first frame is read.

    Args:
        data: The bytes of the file.
        name: What errors call it.
        in_channels: 1 reads greyscale, 3 RGB.

    Raises:
        BadImageError: From here or from `decode`: the file is truncated, too large or not an
            image.
    """

    def __init__(self, data: bytes, name: str, in_channels: int):
        self.name = name
        self.in_channels = in_channels
        with _one_sentence(name):
            self._image = Image.open(io.BytesIO(data), formats=_FORMATS)
            if self._image.format == "TIFF":
                self._image.load()  # where PIL turns it upright by itself, and says so from then on
            self._orientation = self._image.getexif().get(ExifTags.Base.Orientation)
        self.kind = f"{self._image.format} {self._image.mode}"  # "JPEG RGB"
        width, height = self._image.size
        sideways = self._orientation in _SIDEWAYS
        self.height, self.width = (width, height) if sideways else (height, width)

    def decode(self, box: Box | None = None, min_size: int | None = None) -> Tensor:
        """Decode the image or a box of it; only once, as that frees what is held of the file.

        Args:
            box: The part to return; None: all.
            min_size: Lets a JPEG be decoded at 1/8, 1/4 or 1/2 of its size: the smallest at which
                the box still has so many pixels in both directions. The box then begins up to half
                a pixel of the result off. None: in full.

        Returns:
            (in_channels, height, width) uint8 whose channels lie innermost in memory.
        """
        whole = Box(0, 0, self.height, self.width)
        box = box or whole
        reduction = 1 if min_size is None else dct_reduction(box.height, box.width, min_size)
        with _one_sentence(self.name), closing(self._image) as image:
            if not _reduce(image, reduction):
                reduction = 1
            picture = _upright(image, self._orientation, self.in_channels)
            if box != whole:
                picture = picture.crop(_edges(box, reduction))
            return _as_tensor(picture)


def decode_image(data: bytes, name: str, in_channels: int, min_size: int | None = None) -> Tensor:
    """Decode the bytes of an image file as uint8, (in_channels, H, W): see `EncodedImage`."""
    return EncodedImage(data, name, in_channels).decode(min_size=min_size)


def read_image(path: str, in_channels: int) -> Tensor:
    """Read an image file as uint8, (in_channels, H, W): see `EncodedImage`."""
    return decode_image(read_file(path), path, in_channels)


def from_pil(image: Image.Image, in_channels: int) -> Tensor:
    """A picture as uint8, (in_channels, H, W), upright and converted as `EncodedImage` does it."""
    with _one_sentence(getattr(image, "filename", "") or "the picture"):
        image.load()  # PIL turns a TIFF upright by itself, and says so from then on
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        return _as_tensor(_upright(image, orientation, in_channels))


def read_file(path: str) -> bytes:
    """Read an image file's bytes.

    Raises:
        ImageFileError: The file is missing, too large or no regular file, or may not be read.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageFileError(f"{path} is no regular file: remove it, or replace it")
            if status.st_size > _MAX_BYTES:
                raise ImageFileError(
                    f"{path} has {status.st_size:,} bytes, and images of at most {_MAX_BYTES:,} "
                    "are read: make it smaller"
                )
            return file.read()
    except OSError as error:
        raise ImageFileError(
            f"{path} can't be read ({_reason(error)}): restore it, or delete it"
        ) from None


def _open_at_once(path: str, flags: int) -> int:
    """Open a file, a FIFO too without waiting for someone who writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def dct_reduction(height: int, width: int, min_size: int) -> int:
    """The largest of 8, 4, 2 and 1 that leaves min_size pixels of height and width; 1 if none."""
    available = min(height, width) // min_size
    return next((reduction for reduction in (8, 4, 2) if reduction <= available), 1)


def _reduce(image: Image.Image, reduction: int) -> bool:
    """Have a JPEG decoded at 1 / reduction of its size; False: the format can't, or needn't."""
    width, height = image.size
    # PIL takes the largest reduction that leaves this size, which is the given one: the quotient of
    # n by n // reduction is below 2 * reduction.
    size = (width // reduction, height // reduction)
    return reduction > 1 and image.draft(None, size) is not None


def _edges(box: Box, reduction: int) -> tuple[int, int, int, int]:
    """The left, top, right and bottom of a box in the reduced image.

    Halves are always rounded up: so each side stays at least as long as its quotient, and inside.
    """
    top, left, height, width = box
    left, top, right, bottom = (
        (edge + reduction // 2) // reduction for edge in (left, top, left + width, top + height)
    )
    return left, top, right, bottom


@contextmanager
def _one_sentence(name: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings(action="ignore"):  # PIL's, which don't name the file
            yield
    except MemoryError:
        raise  # the machine's fault
    except Exception as error:  # a decoder that reads garbage may raise anything
        raise BadImageError(
            f"{name} can't be read as an image ({_reason(error)}): delete it, or replace it with a "
            "sound JPEG, PNG, WebP, BMP, GIF, TIFF or PPM file"
        ) from None


def _upright(image: Image.Image, orientation: int | None, in_channels: int) -> Image.Image:
    picture = _convert(image, "L" if in_channels == 1 else "RGB")
    return picture.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else picture


def _as_tensor(picture: Image.Image) -> Tensor:
    pixels = np.array(picture)
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], -1).permute(2, 0, 1)


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits per pixel, which PIL would clip to white
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
        image = image.convert("RGB")  # the only mode that PIL turns it into
    return image if image.mode == mode else image.convert(mode)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or of an unknown format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
