"""Transforms from an image file to the input of the net, in training and in evaluation.

`preprocessing` is the plain dict that a checkpoint carries: image_size, in_channels, mean, std,
crop_pct, interpolation. Files arrive as `EncodedImage`, because pixels outside a crop need not be
decoded. Later steps take uint8 tensors (..., C, H, W). `Normalize` comes last and runs on whole
batches on the device.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from mobilenets.choices import check_choice
from mobilenets.data.decode import Box, EncodedImage

INTERPOLATIONS = {
    "nearest": InterpolationMode.NEAREST_EXACT,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}
# Rec. 601 in units of 1/65536, as PIL converts RGB to grey (torchvision doesn't round).
_LUMA = torch.tensor([19595, 38470, 7471], dtype=torch.int32)
POLICIES = ("randaugment", "trivialaugment")
_MAX_TRIES = 10  # crops drawn until one fits, as in torchvision


def eval_transform(preprocessing: Mapping[str, Any]) -> v2.Transform:
    """Return a transform that resizes the short side to image_size / crop_pct and crops the centre.

    It takes a batch of pixels or one `EncodedImage`, which is decoded in full. Decoding at half
    size would be faster, but even at twice the required size it changed the logits of a MobileNetV1
    0.25 by 2 to 5 % of their standard deviation, and 7 to 12 % of its predictions at 48 and 64 px.
    """
    size = preprocessing["image_size"]
    interpolation = INTERPOLATIONS[preprocessing["interpolation"]]
    return v2.Compose(
        [
            _decode_fully,
            v2.Resize(resize_size(preprocessing), interpolation, antialias=True),
            v2.CenterCrop(size),
        ]
    )


def resize_size(preprocessing: Mapping[str, Any]) -> int:
    """Return the short side in pixels to which evaluation resizes an image before cropping it."""
    return round(preprocessing["image_size"] / preprocessing["crop_pct"])


def train_transform(preprocessing: Mapping[str, Any], augment: Mapping[str, Any]) -> v2.Transform:
    """Return a transform that decodes and augments one `EncodedImage`.

    All random numbers come from torch's default generator. Uncovered and erased pixels are filled
    with the mean colour.

    Args:
        preprocessing: see the top of this module.
        augment: scale and ratio of `RandomResizedCrop`, flip (probability), color_jitter (strength
            of changes in brightness, contrast and saturation), policy (None, "randaugment" or
            "trivialaugment"), magnitude (of RandAugment), erasing (probability).

    Raises:
        ValueError: an unknown policy.
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
    # The policies rotate and shear with two modes of interpolation only.
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
            check_choice("data.augment.policy", policy, ("null", *POLICIES))
    if strength := augment["color_jitter"]:
        steps.append(v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength))
    if augment["erasing"]:
        steps.append(v2.RandomErasing(augment["erasing"], value=fill))
    return v2.Compose(steps)


class RandomResizedCrop:
    """torchvision's RandomResizedCrop for encoded images: it draws the crop before decoding.

    A JPEG is decoded at the smallest scale from 1/8 to 1/1 at which the crop covers the result.

    The size of a crop is drawn as a fraction of the image's area, its position as a fraction of the
    free space, and every image takes the same number of draws. So an image that was shrunk in
    advance (by scripts/prepare_imagenet.py) gets the crop of the original up to rounding, and the
    same draws afterwards. torchvision draws positions in pixels, which differ for each image size.
    Rounding can also decide whether a crop just fits, and so which crop is taken: for 1 to 4 images
    in 1000.

    Args:
        size: height and width of the result.
        scale: range of the crop's share of the image's area.
        ratio: range of the crop's width / height.
        interpolation: mode of the resize, which is antialiased.
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
        """Draw a crop, decode it and resize it; return uint8 (C, size, size)."""
        crop = image.decode(self.draw(image.height, image.width), min_size=self.size)
        return v2.functional.resize(crop, [self.size] * 2, self.interpolation, antialias=True)

    def draw(self, height: int, width: int) -> Box:
        """Draw a crop, in pixels, for an image of this size.

        If none of ten draws fits, return the largest central crop with an allowed ratio.
        """
        (y, x), *tries = torch.rand(1 + _MAX_TRIES, 2, dtype=torch.float64).tolist()
        (smallest, largest), (narrowest, widest) = self.scale, self.ratio
        for u, v in tries:
            area = height * width * (smallest + u * (largest - smallest))
            ratio = narrowest * (widest / narrowest) ** v  # its logarithm is uniform
            h, w = math.sqrt(area / ratio), math.sqrt(area * ratio)
            if h <= height and w <= width:
                break
        else:
            h, w = min(height, width / narrowest), min(width, height * widest)
            y = x = 0.5
        rows, columns = max(1, round(h)), max(1, round(w))
        top, left = round(y * (height - rows)), round(x * (width - columns))
        return Box(top, left, rows, columns)


def _decode_fully(image: EncodedImage | Tensor) -> Tensor:
    return image.decode() if isinstance(image, EncodedImage) else image


def mean_color(preprocessing: Mapping[str, Any]) -> list[int]:
    """Return the mean of each channel in 0..255."""
    return [round(255 * mean) for mean in _per_channel(preprocessing, "mean")]


def convert_channels(images: Tensor, in_channels: int) -> Tensor:
    """Convert uint8 images (..., C, H, W) between grey and RGB where needed."""
    if images.shape[-3] == 1 and in_channels == 3:
        return images.repeat_interleave(3, dim=-3)
    if images.shape[-3] == 3 and in_channels == 1:
        luma = (images.int() * _LUMA[:, None, None]).sum(-3, keepdim=True)
        return ((luma + (1 << 15)) >> 16).to(torch.uint8)
    assert images.shape[-3] == in_channels
    return images


class Normalize:
    """(x / 255 - mean) / std: uint8 (N, C, H, W) -> float32 in channels_last, on the same device.

    Args:
        preprocessing: see the top of this module; mean and std have one value, or one per channel.
    """

    def __init__(self, preprocessing: Mapping[str, Any]):
        mean, std = _per_channel(preprocessing, "mean"), _per_channel(preprocessing, "std")
        size = preprocessing["image_size"]
        # As large as an image: broadcasting along the innermost channels is 6 times slower.
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
        """Return a normalised batch."""
        if self.offset.device != images.device:
            self.offset, self.scale = self.offset.to(images.device), self.scale.to(images.device)
        floats = images.to(torch.float32, memory_format=torch.channels_last)
        return floats.sub_(self.offset).div_(self.scale)


def _per_channel(preprocessing: Mapping[str, Any], name: str) -> Sequence[float]:
    values = preprocessing[name]
    return values * preprocessing["in_channels"] if len(values) == 1 else values


def check_preprocessing(preprocessing: Mapping[str, Any]) -> None:
    """Raise ValueError with the setting and the fix if the preprocessing makes no sense."""
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
    check_choice("data.interpolation", preprocessing["interpolation"], INTERPOLATIONS)
