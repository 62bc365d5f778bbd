"""Pictures with the answer on them."""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mobilenets.data.decode import from_pil, read_image
from mobilenets.data.transforms import resized_side
from mobilenets.predict.gradcam import grad_cam
from mobilenets.predict.predictor import Prediction, Predictor

LEAST, MOST = 320, 1024  # pixels of the shorter and the longer side
STRENGTH = 0.55  # of the heat map where it is hottest


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
    image = picture.convert("RGB")
    if heat is not None and preprocessing is not None:
        image = heated(image, heat, preprocessing)
    factor = LEAST / min(image.size)
    if factor > 1:
        size = [round(side * factor) for side in image.size]
        image = image.resize((size[0], size[1]), Image.Resampling.NEAREST)
    image.thumbnail((MOST, MOST))
    return below(image, bars(top, image.width))


def heated(image: Image.Image, heat: Tensor, preprocessing: Mapping[str, Any]) -> Image.Image:
    """A picture with the heat map laid over the part that the net has seen."""
    from matplotlib import colormaps

    box = crop_box(image.width, image.height, preprocessing)
    side = (box[2] - box[0], box[3] - box[1])
    grey = Image.fromarray((255 * heat.numpy()).astype(np.uint8))
    warm = np.asarray(grey.resize(side, Image.Resampling.BICUBIC)) / 255  # (height, width)
    colors = Image.fromarray((255 * colormaps["inferno"](warm)[..., :3]).astype(np.uint8))
    mask = Image.fromarray((255 * STRENGTH * warm).astype(np.uint8))
    result = image.copy()
    result.paste(colors, box, mask)
    ImageDraw.Draw(result).rectangle(
        (box[0], box[1], box[2] - 1, box[3] - 1), outline=(255, 255, 255)
    )
    return result


def crop_box(
    width: int, height: int, preprocessing: Mapping[str, Any]
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what evaluation crops, in pixels of the picture."""
    shorter = min(width, height)
    side = round(shorter * preprocessing["image_size"] / resized_side(preprocessing))
    side = min(side, shorter)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return left, top, left + side, top + side


def bars(top: Sequence[tuple[str, float]], width: int) -> Image.Image:
    """A row for each class: a bar as long as its probability, its name, and the figure."""
    size = max(13, width // 26)
    font, row = ImageFont.load_default(size), round(1.6 * size)
    image = Image.new("RGB", (width, row * len(top) + size // 2), (24, 24, 28))
    pen = ImageDraw.Draw(image)
    for i, (name, probability) in enumerate(top):
        y = size // 4 + i * row
        color = (46, 125, 90) if i == 0 else (70, 76, 88)
        pen.rectangle((0, y, round(width * probability), y + row - 3), fill=color)
        figure = f"{probability:.1%}"
        room = width - pen.textlength(figure, font) - 2 * size
        pen.text((size // 2, y + size // 6), fitted(name, room, pen, font), "white", font)
        x = width - size // 2 - pen.textlength(figure, font)
        pen.text((x, y + size // 6), figure, "white", font)
    return image


def fitted(text: str, room: float, pen: ImageDraw.ImageDraw, font: Any) -> str:
    """A text, shortened to so many pixels."""
    if pen.textlength(text, font) <= room:
        return text
    while text and pen.textlength(f"{text}...", font) > room:
        text = text[:-1]
    return f"{text}..."


def below(image: Image.Image, strip: Image.Image) -> Image.Image:
    """Two pictures of one width in one, the second under the first."""
    whole = Image.new("RGB", (image.width, image.height + strip.height))
    whole.paste(image, (0, 0))
    whole.paste(strip, (0, image.height))
    return whole


class Overlays:
    """Writes pictures with the answer on them into a folder, each under a name of its own.

    Args:
        predictor: what has looked at the pictures.
        folder: where they go; it is made.
        cam: with a heat map (`grad_cam`).
    """

    def __init__(self, predictor: Predictor, folder: Path, cam: bool):
        folder.mkdir(parents=True, exist_ok=True)
        self.predictor = predictor
        self.folder = folder
        self.number = 0
        self.net = predictor.weights.build().float() if cam else None

    def write(self, picture: Path | Image.Image, prediction: Prediction, topk: int) -> None:
        """Draws the answer on a picture, and saves it."""
        heat = None
        if self.net is not None:
            prepared = self.predictor.prepare(picture)[None]
            heat = grad_cam(self.net, self.predictor.normalized(prepared))[0]
        pixels = (
            from_pil(picture, 3)
            if isinstance(picture, Image.Image)
            else read_image(str(picture), 3)
        )
        image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
        drawn = draw(image, prediction.top(topk), heat, self.predictor.weights.preprocessing)
        drawn.save(self._free(Path(prediction.name)))
        self.number += 1

    def _free(self, path: Path) -> Path:
        """A file name that nothing has yet: the picture's own, with a number if need be."""
        stem = path.name.replace("@", "_") if path.suffix[1:-1].isdigit() else path.stem
        for number in count():
            target = self.folder / f"{stem}{f'_{number}' if number else ''}.jpg"
            if not target.exists():
                return target
        raise AssertionError("count() has no end")
