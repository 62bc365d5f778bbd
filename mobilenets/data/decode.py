"""From an image file to a tensor, or to one sentence about what is wrong with the file."""

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
)
# The decoders that may run, whatever a file's name says (PIL would start Ghostscript for EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

_UPRIGHT = {  # EXIF orientation -> what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageFileError(ValueError):
    """An image file that can't be read; `str(error)` is one sentence with the file and the fix.

    A DataLoader raises a worker's exception anew with the text of its whole traceback as the
    message. The sentence is the end of that text, and this class takes it back out.
    """

    def __init__(self, message: str):
        marker = f"{type(self).__module__}.{type(self).__qualname__}: "
        super().__init__(message.rpartition(marker)[2].strip())


def read_image(path: str, in_channels: int) -> Tensor:
    """Read an image file as uint8, (3, H, W) in RGB or (1, H, W) in greyscale.

    The picture is turned upright as its EXIF orientation says; 16-bit greys are scaled to 8 bits;
    transparency is laid on white; CMYK, palettes and the like are converted; of an animation the
    first frame is read.

    Raises:
        ImageFileError: The file is missing, truncated, too large or not an image.
    """
    try:
        with open(path, "rb") as file, Image.open(file, formats=_FORMATS) as image:  # noqa: PTH123
            orientation = image.getexif().get(ExifTags.Base.Orientation)
            converted = _convert(image, "L" if in_channels == 1 else "RGB")
            if orientation in _UPRIGHT:
                converted = converted.transpose(_UPRIGHT[orientation])
            pixels = np.array(converted)
    except Exception as error:  # a decoder that reads garbage may raise anything
        raise ImageFileError(
            f"{path} can't be read as an image ({_reason(error)}): delete it, or replace it with a "
            "sound JPEG, PNG, WebP, BMP, GIF, TIFF or PPM file"
        ) from None
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], in_channels).permute(2, 0, 1)


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits per pixel, which PIL would clip to white
        words = np.array(image).astype(np.int32).clip(0, 65535)
        return Image.fromarray(((words + 128) // 257).astype(np.uint8)).convert(mode)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert(mode)
    return image.convert(mode)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or of an unknown format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__
