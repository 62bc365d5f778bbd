"""Images with their prediction drawn below them, and a heat map on them."""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mobilenets.data.decode import from_pil, read_image
from mobilenets.data.transforms import resize_size
from mobilenets.predict.gradcam import LAST_LAYER, grad_cam
from mobilenets.predict.predictor import Prediction, Predictor

MIN_SIDE, MAX_SIDE = 320, 1024  # pixels of the shorter and the longer side
MAX_PIXEL_ART = 64  # pixels of the longer side of images that are enlarged without interpolation
HEAT_OPACITY = 0.5  # of the heat map at its maximum
BACKGROUND, TOP1_BAR, OTHER_BAR = (24, 24, 28), (46, 125, 90), (70, 76, 88)


class OverlayWriter:
    """A folder of images with their prediction, each under its own name.

    Args:
        predictor: the predictor of the predictions.
        folder: where the images go; it is created.
        cam: draw a heat map (`grad_cam`).
        layer: the layer whose heat map it is; None = the last.

    Raises:
        ValueError: the net has no such layer.
    """

    def __init__(self, predictor: Predictor, folder: Path, cam: bool, layer: str | None = None):
        self.predictor = predictor
        self.folder = folder
        self.layer = layer or LAST_LAYER
        self.num_written = 0
        self.heat_size: tuple[int, ...] | None = None
        self.net = predictor.weights.build().float().requires_grad_(False) if cam else None
        if self.net:
            size = predictor.weights.preprocessing["image_size"]
            blank = predictor.prepare(Image.new("RGB", (size, size)))[None]
            heat = grad_cam(self.net, predictor.normalize(blank), layer=self.layer)
            self.heat_size = tuple(heat.shape[1:])
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, image: Path | Image.Image, prediction: Prediction, topk: int) -> None:
        """Draw a prediction on its image, and save it."""
        heat = None
        if self.net is not None:
            prepared = self.predictor.prepare(image)[None]
            heat = grad_cam(self.net, self.predictor.normalize(prepared), layer=self.layer)[0]
        path = Path(prediction.name)
        if isinstance(image, Image.Image):
            pixels, name = from_pil(image, 3), path.name  # ends in the frame's time
        else:
            pixels, name = read_image(str(image), 3), path.stem
        upright = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
        drawn = draw_overlay(
            upright, prediction.top(topk), heat, self.predictor.weights.preprocessing
        )
        drawn.save(self._find_unused_path(name), quality=92)
        self.num_written += 1

    def _find_unused_path(self, name: str) -> Path:
        """Return a path with the image's name, numbered if another image has it."""
        for number in count():
            path = self.folder / f"{name}{f'_{number}' if number else ''}.jpg"
            if not path.exists():
                return path
        raise AssertionError("count() has no end")


def draw_overlay(
    image: Image.Image,
    top: Sequence[tuple[str, float]],
    heat: Tensor | None = None,
    preprocessing: Mapping[str, Any] | None = None,
) -> Image.Image:
    """Return a copy of an image with a bar for each class below it, and a heat map on it.

    Args:
        image: upright, of any size; small ones are enlarged.
        top: classes and their probabilities.
        heat: (h, w) from 0 to 1, of the part of the image that evaluation crops.
        preprocessing: of the evaluation.
    """
    image = resize_for_display(image.convert("RGB"))
    if heat is not None and preprocessing is not None:
        image = blend_heat(image, heat, preprocessing)
    bars = draw_bars(top, max(image.width, MIN_SIDE))
    result = Image.new("RGB", (bars.width, image.height + bars.height), BACKGROUND)
    result.paste(image, ((bars.width - image.width) // 2, 0))
    result.paste(bars, (0, image.height))
    return result


def resize_for_display(image: Image.Image) -> Image.Image:
    """Resize to at least `MIN_SIDE` on the shorter side and at most `MAX_SIDE` on the longer."""
    factor = min(max(1.0, MIN_SIDE / min(image.size)), MAX_SIDE / max(image.size))
    width, height = (max(1, round(side * factor)) for side in image.size)
    pixel_art = max(image.size) <= MAX_PIXEL_ART
    return image.resize((width, height), Image.Resampling.NEAREST if pixel_art else None)


def blend_heat(image: Image.Image, heat: Tensor, preprocessing: Mapping[str, Any]) -> Image.Image:
    """Return a copy with the heat map blended over the crop that the net sees, and its outline."""
    from matplotlib import colormaps

    box = left, top, right, bottom = find_eval_crop(image.width, image.height, preprocessing)
    grey = Image.fromarray(heat.numpy().astype(np.float32))
    grey = grey.resize((right - left, bottom - top), Image.Resampling.BICUBIC)
    values = np.asarray(grey).clip(0, 1)  # (height, width)
    colors = Image.fromarray((255 * colormaps["turbo"](values)[..., :3]).astype(np.uint8))
    mask = Image.fromarray((255 * HEAT_OPACITY * values).astype(np.uint8))
    result = image.copy()
    result.paste(colors, box, mask)
    pen = ImageDraw.Draw(result)  # one of two colours is visible on any image
    pen.rectangle((left, top, right - 1, bottom - 1), outline="white")
    pen.rectangle((left + 1, top + 1, right - 2, bottom - 2), outline="black")
    return result


def find_eval_crop(
    width: int, height: int, preprocessing: Mapping[str, Any]
) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of evaluation's crop, in pixels of the image."""
    shorter = min(width, height)
    side = round(shorter * preprocessing["image_size"] / resize_size(preprocessing))
    left, top = round((width - side) / 2), round((height - side) / 2)
    return left, top, left + side, top + side


def draw_bars(top: Sequence[tuple[str, float]], width: int) -> Image.Image:
    """Draw a bar for each class, as long as its probability, with the name and the number on it."""
    size = max(13, width // 28)
    row, space = round(1.7 * size), size // 2
    image = Image.new("RGB", (width, row * len(top) + space), BACKGROUND)
    pen = ImageDraw.Draw(image, "RGB")
    pen.font = load_font(size)
    for i, (name, probability) in enumerate(top):
        y, color = space // 2 + i * row, OTHER_BAR if i else TOP1_BAR
        pen.rectangle((0, y, round(width * probability), y + row - 3), color)
        percent, middle = f"{probability:.1%}", y + (row - 3) / 2
        max_width = width - pen.textlength(percent) - 4 * space
        pen.text((space, middle), truncate(name, max_width, pen), "white", anchor="lm")
        pen.text((width - space, middle), percent, "white", anchor="rm")
    return image


@cache
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Return a font of this size in pixels, with the letters of most languages."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def truncate(text: str, max_width: float, pen: ImageDraw.ImageDraw) -> str:
    """Return a text as one line, cut to this width in pixels."""
    text = " ".join(text.split())
    if pen.textlength(text) <= max_width:
        return text
    while text and pen.textlength(f"{text}...") > max_width:
        text = text[:-1]
    return f"{text}..."
