"""Pictures with the answer on them."""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mobilenets.data.decode import from_pil, read_image
from mobilenets.data.transforms import resized_side
from mobilenets.predict.gradcam import LAST_MAP, grad_cam
from mobilenets.predict.predictor import Prediction, Predictor

MIN_SIDE, MAX_SIDE = 320, 1024  # pixels of the shorter and the longer side
TINY = 64  # pixels of a picture whose pixels are shown as squares when it is enlarged
STRENGTH = 0.5  # of the heat map where it is hottest
DARK, FIRST, OTHERS = (24, 24, 28), (46, 125, 90), (70, 76, 88)


def draw(
    picture: Image.Image,
    top: Sequence[tuple[str, float]],
    heat: Tensor | None = None,
    preprocessing: Mapping[str, Any] | None = None,
) -> Image.Image:
    """A copy of a picture with a bar for each class below it, and the heat map on it.

    Args:
        picture: upright, of any size; small ones are enlarged.
        top: classes and their probabilities.
        heat: (h, w) from 0 to 1, of the part of the picture that evaluation crops.
        preprocessing: says which part that is.
    """
    image = resized(picture.convert("RGB"))
    if heat is not None and preprocessing is not None:
        image = heated(image, heat, preprocessing)
    strip = bars(top, max(image.width, MIN_SIDE))
    whole = Image.new("RGB", (strip.width, image.height + strip.height), DARK)
    whole.paste(image, ((strip.width - image.width) // 2, 0))
    whole.paste(strip, (0, image.height))
    return whole


def resized(image: Image.Image) -> Image.Image:
    """Resize to at least `MIN_SIDE` on the shorter side and at most `MAX_SIDE` on the longer."""
    factor = min(max(1.0, MIN_SIDE / min(image.size)), MAX_SIDE / max(image.size))
    width, height = (max(1, round(side * factor)) for side in image.size)
    tiny = max(image.size) <= TINY
    return image.resize((width, height), Image.Resampling.NEAREST if tiny else None)


def heated(image: Image.Image, heat: Tensor, preprocessing: Mapping[str, Any]) -> Image.Image:
    """A picture with the heat map laid over the part that the net has seen."""
    from matplotlib import colormaps

    box = left, top, right, bottom = crop_box(image.width, image.height, preprocessing)
    grey = Image.fromarray(heat.numpy().astype(np.float32))
    grey = grey.resize((right - left, bottom - top), Image.Resampling.BICUBIC)
    warm = np.asarray(grey).clip(0, 1)  # (height, width)
    colors = Image.fromarray((255 * colormaps["turbo"](warm)[..., :3]).astype(np.uint8))
    mask = Image.fromarray((255 * STRENGTH * warm).astype(np.uint8))
    result = image.copy()
    result.paste(colors, box, mask)
    pen = ImageDraw.Draw(result)
    pen.rectangle((left, top, right - 1, bottom - 1), outline="white")
    pen.rectangle((left + 1, top + 1, right - 2, bottom - 2), outline="black")  # one of them shows
    return result


def crop_box(
    width: int, height: int, preprocessing: Mapping[str, Any]
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what evaluation crops, in pixels of the picture."""
    shorter = min(width, height)
    side = round(shorter * preprocessing["image_size"] / resized_side(preprocessing))
    left, top = round((width - side) / 2), round((height - side) / 2)
    return left, top, left + side, top + side


def bars(top: Sequence[tuple[str, float]], width: int) -> Image.Image:
    """A row for each class: a bar as long as its probability, its name, and the figure."""
    size = max(13, width // 28)
    row, space = round(1.7 * size), size // 2
    image = Image.new("RGB", (width, row * len(top) + space), DARK)
    pen = ImageDraw.Draw(image, "RGB")
    pen.font = font(size)
    for i, (name, probability) in enumerate(top):
        y = space // 2 + i * row
        pen.rectangle((0, y, round(width * probability), y + row - 3), FIRST if i == 0 else OTHERS)
        figure, middle = f"{probability:.1%}", y + (row - 3) / 2
        room = width - pen.textlength(figure) - 4 * space
        pen.text((space, middle), truncate(name, room, pen), "white", anchor="lm")
        pen.text((width - space, middle), figure, "white", anchor="rm")
    return image


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """A font of so many pixels, with the letters of most languages."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def truncate(text: str, room: float, pen: ImageDraw.ImageDraw) -> str:
    """A text in one line, shortened to so many pixels."""
    text = " ".join(text.split())
    if pen.textlength(text) <= room:
        return text
    while text and pen.textlength(f"{text}...") > room:
        text = text[:-1]
    return f"{text}..."


class Overlays:
    """Writes pictures with the answer on them into a folder, each under a name of its own.

    Args:
        predictor: what has looked at the pictures.
        folder: where they go; it is made.
        cam: with a heat map (`grad_cam`).
        layer: whose map that is; None = the last.

    Raises:
        ValueError: the net has no such layer.
    """

    def __init__(self, predictor: Predictor, folder: Path, cam: bool, layer: str | None = None):
        self.predictor = predictor
        self.folder = folder
        self.layer = layer or LAST_MAP
        self.number = 0
        self.map_size: tuple[int, ...] | None = None
        self.net = predictor.weights.build().float().requires_grad_(False) if cam else None
        if self.net:
            size = predictor.weights.preprocessing["image_size"]
            blank = predictor.normalized(predictor.prepare(Image.new("RGB", (size, size)))[None])
            self.map_size = tuple(grad_cam(self.net, blank, layer=self.layer).shape[1:])
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, picture: Path | Image.Image, prediction: Prediction, topk: int) -> None:
        """Draws the answer on a picture, and saves it."""
        heat = None
        if self.net is not None:
            prepared = self.predictor.prepare(picture)[None]
            heat = grad_cam(self.net, self.predictor.normalized(prepared), layer=self.layer)[0]
        path = Path(prediction.name)
        if isinstance(picture, Image.Image):
            pixels, name = from_pil(picture, 3), path.name  # with the frame's time
        else:
            pixels, name = read_image(str(picture), 3), path.stem
        image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
        drawn = draw(image, prediction.top(topk), heat, self.predictor.weights.preprocessing)
        drawn.save(self._free(name), quality=92)
        self.number += 1

    def _free(self, name: str) -> Path:
        """A file that nobody has yet: with the picture's own name, and a number if need be."""
        for number in count():
            target = self.folder / f"{name}{f'_{number}' if number else ''}.jpg"
            if not target.exists():
                return target
        raise AssertionError("count() has no end")
