"""What happens to an image between its file and the net: the presets of training and evaluation.

`preprocessing` is the plain dict that a checkpoint carries: image_size, in_channels, mean, std,
crop_pct, interpolation. Files come as `EncodedImage`, as what is cut away needn't be decoded; all
else works on uint8 tensors (..., C, H, W); `Normalize` comes last, in batches, on the device.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from mobilenets.data.decode import Box, EncodedImage

INTERPOLATIONS = {
    "nearest": InterpolationMode.NEAREST_EXACT,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}
# Rec. 601 in 1/65536, as PIL turns RGB files into grey (torchvision doesn't round).
_LUMA = torch.tensor([19595, 38470, 7471], dtype=torch.int32)
POLICIES = ("randaugment", "trivialaugment")
_TRIES = 10  # crops drawn to find one that fits, as in torchvision


def eval_transform(preprocessing: Mapping[str, Any]) -> v2.Transform:
    """Resize the short side to image_size / crop_pct, with antialiasing, and crop the centre.

    It takes a batch of pixels, or one `EncodedImage`. The latter is decoded in full: at half the
    size, though still twice the size that was asked for, logits of a MobileNetV1 0.25 changed by 2
    to 5 % of their standard deviation and 7 to 12 % of the predictions at 48 and 64 px.
    """
    size = preprocessing["image_size"]
    interpolation = INTERPOLATIONS[preprocessing["interpolation"]]
    return v2.Compose(
        [
            _decode_in_full,
            v2.Resize(resized_side(preprocessing), interpolation, antialias=True),
            v2.CenterCrop(size),
        ]
    )


def resized_side(preprocessing: Mapping[str, Any]) -> int:
    """The short side of an image in evaluation, before its centre is cropped, in pixels."""
    return round(preprocessing["image_size"] / preprocessing["crop_pct"])


def train_transform(preprocessing: Mapping[str, Any], augment: Mapping[str, Any]) -> v2.Transform:
    """Decode and augment one `EncodedImage`: every draw comes from torch's default generator.

    Args:
        preprocessing: See above.
        augment: scale and ratio of RandomResizedCrop, flip (probability), color_jitter (strength of
            the change in brightness, contrast and saturation), policy (None, "randaugment" or
            "trivialaugment"), magnitude (of RandAugment), erasing (probability). What is uncovered
            or erased is filled with the mean colour.
    """
    fill = mean_color(preprocessing)
    steps: list[Callable[..., Tensor]] = [
        RandomResizedCrop(
            preprocessing["image_size"],
            scale=augment["scale"],
            ratio=augment["ratio"],
            interpolation=INTERPOLATIONS[preprocessing["interpolation"]],
        ),
        v2.RandomHorizontalFlip(augment["flip"]),
    ]
    # The policies' rotations and shears know two modes of interpolation.
    nearest = preprocessing["interpolation"] == "nearest"
    mode = InterpolationMode.NEAREST if nearest else InterpolationMode.BILINEAR
    match augment["policy"]:
        case None:
            pass
        case "randaugment":
            magnitude = int(augment["magnitude"])
            steps.append(v2.RandAugment(magnitude=magnitude, interpolation=mode, fill=fill))
        case "trivialaugment":
            steps.append(v2.TrivialAugmentWide(interpolation=mode, fill=fill))
        case policy:
            raise ValueError(f"data.augment.policy={policy}: choose null, {' or '.join(POLICIES)}")
    if strength := augment["color_jitter"]:
        steps.append(v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength))
    if augment["erasing"]:
        steps.append(v2.RandomErasing(augment["erasing"], value=fill))
    return v2.Compose(steps)


class RandomResizedCrop:
    """torchvision's, of an image that is still encoded: the crop is drawn before it is decoded.

    A JPEG is decoded at the smallest scale, of 1/8 to 1/1, at which the crop covers the result.

    A crop is drawn in fractions, of the image's area and of what is free beside the crop, and every
    image takes the same number of draws. So an image that was made smaller before (as by
    scripts/prepare_imagenet.py) has the crop of the original up to rounding, and what is drawn
    after it; torchvision draws the place in pixels, which is elsewhere in every size. Rounding can
    also decide whether a crop just fits, and so which one is taken: for 1 to 4 images in 1000.

    Args:
        size: Height and width of the result.
        scale: The range of the crop's share of the image's area.
        ratio: The range of the crop's width / height.
        interpolation: How it is resized, with antialiasing.
    """

    def __init__(
        self,
        size: int,
        *,
        scale: Sequence[float],
        ratio: Sequence[float],
        interpolation: InterpolationMode,
    ):
        self.size = size
        self.scale = list(scale)
        self.ratio = list(ratio)
        self.interpolation = interpolation

    def __call__(self, image: EncodedImage) -> Tensor:
        """Draw, decode, crop and resize: uint8 (C, size, size)."""
        crop = image.decode(self.draw(image.height, image.width), min_size=self.size)
        return v2.functional.resize(crop, [self.size] * 2, self.interpolation, antialias=True)

    def draw(self, height: int, width: int) -> Box:
        """Draw the crop of an image of this size, in its pixels.

        Where none of ten fits, it is the largest in the centre whose ratio is allowed.
        """
        (down, across), *tries = torch.rand(1 + _TRIES, 2, dtype=torch.float64).tolist()
        (smallest, largest), (narrowest, widest) = self.scale, self.ratio
        for x, y in tries:
            area = height * width * (smallest + x * (largest - smallest))
            ratio = narrowest * (widest / narrowest) ** y  # its logarithm is uniform
            h, w = math.sqrt(area / ratio), math.sqrt(area * ratio)
            if h <= height and w <= width:
                break
        else:
            h, w = min(height, width / narrowest), min(width, height * widest)
            down = across = 0.5
        rows, columns = max(1, round(h)), max(1, round(w))
        top, left = round(down * (height - rows)), round(across * (width - columns))
        return Box(top, left, rows, columns)


def _decode_in_full(image: EncodedImage | Tensor) -> Tensor:
    return image.decode() if isinstance(image, EncodedImage) else image


def mean_color(preprocessing: Mapping[str, Any]) -> list[int]:
    """The mean of the set in 0..255, one value a channel."""
    return [round(255 * mean) for mean in _per_channel(preprocessing, "mean")]


def to_channels(images: Tensor, in_channels: int) -> Tensor:
    """Turn (..., 1 or 3, H, W) uint8 images into grey ones or RGB ones; others stay as they are."""
    if images.shape[-3] == 1 and in_channels == 3:
        return images.repeat_interleave(3, dim=-3)
    if images.shape[-3] == 3 and in_channels == 1:
        luma = (images.int() * _LUMA[:, None, None]).sum(-3, keepdim=True)
        return ((luma + (1 << 15)) >> 16).to(torch.uint8)
    assert images.shape[-3] == in_channels
    return images


class Normalize:
    """(x / 255 - mean) / std: uint8 (N, C, H, W) -> float32 in channels_last, where the images are.

    Args:
        preprocessing: See above; mean and std have one value, or one a channel, on the scale 0..1.
    """

    def __init__(self, preprocessing: Mapping[str, Any]):
        mean, std = _per_channel(preprocessing, "mean"), _per_channel(preprocessing, "std")
        size = preprocessing["image_size"]
        # As large as an image: broadcasting along the channels, which lie innermost, is 6x slower.
        shape = (1, len(mean), size, size)
        self.offset, self.scale = (
            torch.tensor(values, dtype=torch.float32)
            .mul(255)
            .view(1, -1, 1, 1)
            .expand(shape)
            .contiguous(memory_format=torch.channels_last)
            for values in (mean, std)
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise a batch."""
        if self.offset.device != images.device:
            self.offset, self.scale = self.offset.to(images.device), self.scale.to(images.device)
        floats = images.to(torch.float32, memory_format=torch.channels_last)
        return floats.sub_(self.offset).div_(self.scale)


def _per_channel(preprocessing: Mapping[str, Any], name: str) -> Sequence[float]:
    values = preprocessing[name]
    return values * preprocessing["in_channels"] if len(values) == 1 else values


def check_preprocessing(preprocessing: Mapping[str, Any]) -> None:
    """Raise a ValueError that names the field, unless the preprocessing makes sense."""
    channels = preprocessing["in_channels"]
    if channels not in (1, 3):
        raise ValueError(f"data.in_channels={channels}: images are read as grey (1) or as RGB (3)")
    for name in ("mean", "std"):
        if len(preprocessing[name]) not in (1, channels):
            raise ValueError(
                f"data.{name} has {len(preprocessing[name])} values: give one, or "
                f"data.in_channels={channels} of them"
            )
    if min(preprocessing["std"]) <= 0:
        raise ValueError(f"data.std={preprocessing['std']}: every value must be above 0")
    if not 0 < preprocessing["crop_pct"] <= 1:
        raise ValueError(
            f"data.crop_pct={preprocessing['crop_pct']}: must be above 0 and at most 1"
        )
    if preprocessing["interpolation"] not in INTERPOLATIONS:
        raise ValueError(
            f"data.interpolation={preprocessing['interpolation']}: choose one of "
            f"{', '.join(INTERPOLATIONS)}"
        )
