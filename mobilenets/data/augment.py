"""Augmentation of whole batches on their device, with nothing per sample in Python."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mobilenets.data.randomness import uniform

_LUMA = (0.299, 0.587, 0.114)  # Rec. 601


class BatchAugment:
    """Flip, crop, recolour and cut squares out of small images, each sample by its counted draws.

    The steps come in this order, and none of them waits for the device.

    Args:
        flip: Probability of a horizontal flip.
        crop_padding: Pixels added on each side before a window of the old size is cut out. They
            are black, as in the recipes behind published figures.
        color_jitter: Brightness, contrast and saturation are multiplied by a factor each, between
            1 - color_jitter (but at least 0) and 1 + color_jitter.
        erasing: Probability of erasing a square with sides half as long as the image's, around a
            point anywhere in the image (so part of it may lie outside).
        fill: What an erased square holds, one value in 0..255 a channel.
        seed: The seed of the run.

    Reference: DeVries, Taylor, "Improved regularization of convolutional neural networks with
        cutout", arXiv 1708.04552, for the square.
    """

    def __init__(
        self,
        *,
        flip: float,
        crop_padding: int,
        color_jitter: float = 0.0,
        erasing: float,
        fill: list[int],
        seed: int,
    ):
        self.flip = flip
        self.crop_padding = crop_padding
        self.color_jitter = color_jitter
        self.erasing = erasing
        self.fill = torch.tensor(fill, dtype=torch.uint8)
        self.seed = seed

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Augment uint8 images (N, C, H, W) as (seed, epoch, index) say, to channels_last."""
        draws = uniform(self.seed, epoch, indices, 9).unbind(1)
        pixels = images.permute(0, 2, 3, 1).contiguous()  # (N, H, W, C)
        if self.flip:
            mirrored = _mask(draws[2] < self.flip)[:, None, None, None]
            pixels = _where(mirrored, pixels.flip(2), pixels)
        if self.crop_padding:
            pixels = self._crop(pixels, *draws[0:2])
        if self.color_jitter:
            pixels = self._recolor(pixels, *draws[6:9])
        if self.erasing:
            pixels = self._erase(pixels, *draws[3:6])
        return pixels.permute(0, 3, 1, 2)

    def _crop(self, pixels: Tensor, top: Tensor, left: Tensor) -> Tensor:
        num, height, width, channels = pixels.shape
        places = 1 + 2 * self.crop_padding
        padded = F.pad(pixels, [0, 0] + [self.crop_padding] * 4)
        # Each row of a window lies in one piece. So rows are gathered, out of all stretches of so
        # many pixels, wherever they begin; window by window, CPUs copy byte by byte.
        stretches = padded.view(-1).unfold(0, width * channels, channels)
        first = torch.arange(num, device=pixels.device) * padded.shape[1] + (top * places).long()
        rows = first[:, None] + torch.arange(height, device=pixels.device)  # (N, H)
        begins = rows * padded.shape[2] + (left * places).long()[:, None]
        return stretches.index_select(0, begins.view(-1)).view(pixels.shape)

    def _recolor(
        self, pixels: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor
    ) -> Tensor:
        """Change all three in one step.

        Brightness mixes an image with black, contrast with its mean grey, saturation with the grey
        of each pixel. All are linear, and in any order they give this, but for the clipping that
        one by one they would need in between.
        """
        low, high = max(0.0, 1 - self.color_jitter), 1 + self.color_jitter
        bright, contrasted, saturated = (
            low + draw[:, None] * (high - low) for draw in (brightness, contrast, saturation)
        )  # (N, 1)
        floats = pixels.to(torch.float32)
        grey = _grey(floats).flatten(1)  # (N, H * W)
        mean = grey.round().mean(1, keepdim=True)  # whole numbers add up exactly in any order
        shift = contrasted * (1 - saturated) * grey + (1 - contrasted) * mean
        shift = shift * bright + 0.5  # to round
        mixed = floats.flatten(1) * (bright * contrasted * saturated)
        for channel in mixed.view(*grey.shape, -1).unbind(2):
            channel.add_(shift)
        # CPUs turn floats into bytes one by one, but not by way of a larger integer.
        return mixed.clamp_(0, 255).to(torch.int16).to(torch.uint8).view(pixels.shape)

    def _erase(self, pixels: Tensor, erase: Tensor, top: Tensor, left: Tensor) -> Tensor:
        num, height, width, channels = pixels.shape
        rows = _around(top * height, height) & (erase < self.erasing)[:, None]  # (N, H)
        columns = _around(left * width, width)[:, :, None].expand(-1, -1, channels)  # (N, W, C)
        square = _mask(rows)[:, :, None] & _mask(columns).reshape(num, 1, -1)  # (N, H, W * C)
        self.fill = self.fill.to(pixels.device)
        erased = self.fill.repeat(height * width)
        return _where(square.flatten(1), erased, pixels.flatten(1)).view(pixels.shape)


def _mask(condition: Tensor) -> Tensor:
    """Bytes without any bit set, or with all."""
    return condition.to(torch.uint8).mul_(255)


def _where(mask: Tensor, some: Tensor, others: Tensor) -> Tensor:
    """Do what torch.where does, for bytes: 4 times faster on CPUs, which vectorise this."""
    return (some ^ others).bitwise_and_(mask).bitwise_xor_(others)


def _grey(colors: Tensor) -> Tensor:
    """(..., C) -> (...): the grey of floating-point pixels, which grey ones have already."""
    if colors.shape[-1] == 1:
        return colors[..., 0]
    red, green, blue = colors.unbind(-1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def _around(centre: Tensor, size: int) -> Tensor:
    """(N,) -> (N, size) bool: the half of the side that lies around each centre."""
    first = centre.floor() - size // 4
    place = torch.arange(size, device=centre.device)
    return (place >= first[:, None]) & (place < first[:, None] + size // 2)


class Mixing:
    """Mixup and CutMix of a batch of normalised images, each batch with the one or with the other.

    Every image is mixed with the one before it in the batch. The draws come from torch's global
    generator on the CPU, which the caller seeds for (seed, step, rank): no device is waited for.
    They and the results are those of torchvision's MixUp and CutMix.

    Args:
        mixup_alpha: Mixup's Beta(alpha, alpha); 0 turns it off.
        cutmix_alpha: The same for CutMix; with both, each batch takes one of them at 50:50.
        num_classes: The length of the soft labels.

    Reference: Zhang et al., "mixup: Beyond empirical risk minimization", arXiv 1710.09412;
        Yun et al., "CutMix", arXiv 1905.04899.
    """

    def __init__(self, mixup_alpha: float, cutmix_alpha: float, num_classes: int):
        self.num_classes = num_classes
        methods = ((_mixup, mixup_alpha), (_cutmix, cutmix_alpha))
        self.choices = [(method, _beta(alpha)) for method, alpha in methods if alpha]

    def __bool__(self) -> bool:
        return bool(self.choices)

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W), (N,) int64 -> mixed images and soft labels (N, num_classes).

        With neither method on, the images come back as they are, the labels one-hot.
        """
        one_hot = F.one_hot(labels, self.num_classes)
        if not self.choices:
            return images, one_hot.to(images.dtype)
        chosen = int(torch.randint(len(self.choices), ())) if len(self.choices) > 1 else 0
        mix, shares = self.choices[chosen]
        mixed, share = mix(images, float(shares.sample()))
        mixed = mixed.contiguous(memory_format=torch.channels_last)
        return mixed, _blend(one_hot.to(torch.float32), share)


def _mixup(images: Tensor, share: float) -> tuple[Tensor, float]:
    """Blend; returns the share that each image has in the result, too."""
    return _blend(images, share), share


def _cutmix(images: Tensor, share: float) -> tuple[Tensor, float]:
    """Paste a rectangle; returns the share that each image has in the result, too."""
    height, width = images.shape[2:]
    side = math.sqrt(1 - share)
    columns, rows = _stretch(width, side), _stretch(height, side)
    mixed = images.clone()
    mixed[:, :, rows, columns] = images[:, :, rows, columns].roll(1, 0)
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, 1 - area / (height * width)


def _stretch(size: int, share: float) -> slice:
    """Draw the middle of a stretch of that share of 0..size, and cut off what is outside."""
    centre, half = int(torch.randint(size, (1,))), int(0.5 * share * size)
    return slice(max(centre - half, 0), min(centre + half, size))


def _blend(batch: Tensor, share: float) -> Tensor:
    """Add to that share of each the rest of the one before."""
    return batch.roll(1, 0).mul_(1 - share).add_(batch.mul(share))


def _beta(alpha: float) -> torch.distributions.Beta:
    return torch.distributions.Beta(torch.tensor([alpha]), torch.tensor([alpha]))
