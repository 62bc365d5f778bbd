"""Augmentation of whole batches on their device, without a Python loop over the samples."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mobilenets.data.randomness import draw_uniform

_LUMA = (0.299, 0.587, 0.114)  # Rec. 601


class BatchAugment:
    """Random flips, crops, colour changes and erased squares for small images, in this order.

    Each sample's random numbers depend only on (seed, epoch, index). No step waits for the device.

    Args:
        flip: probability of a horizontal flip.
        crop_padding: black pixels added on each side before a window of the old size is cropped.
        color_jitter: brightness, contrast and saturation are each multiplied by a random factor
            between max(0, 1 - color_jitter) and 1 + color_jitter.
        erasing: probability of erasing a square, half as wide as the image. Its centre may be any
            pixel, so part of the square may lie outside.
        fill: colour of an erased square, one value in 0..255 per channel.
        seed: the seed of the run.

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
        """Augment uint8 images (N, C, H, W); return them in channels_last."""
        draws = draw_uniform(self.seed, epoch, indices, 9).unbind(1)
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
        # A row of a window is contiguous, so rows are gathered from all spans of `width` pixels.
        # Gathering window by window would make CPUs copy byte by byte.
        spans = padded.view(-1).unfold(0, width * channels, channels)
        first = torch.arange(num, device=pixels.device) * padded.shape[1] + (top * places).long()
        rows = first[:, None] + torch.arange(height, device=pixels.device)  # (N, H)
        starts = rows * padded.shape[2] + (left * places).long()[:, None]
        return spans.index_select(0, starts.view(-1)).view(pixels.shape)

    def _recolor(
        self, pixels: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor
    ) -> Tensor:
        """Change brightness, contrast and saturation in one step.

        Brightness mixes an image with black, contrast with its mean grey, saturation with each
        pixel's grey. All three are linear, so their order makes no difference, except that separate
        steps would each clip the result.
        """
        low, high = max(0.0, 1 - self.color_jitter), 1 + self.color_jitter
        bright, contrasted, saturated = (
            low + draw[:, None] * (high - low) for draw in (brightness, contrast, saturation)
        )  # (N, 1)
        floats = pixels.to(torch.float32)
        grey = _to_grey(floats).flatten(1)  # (N, H * W)
        mean = grey.round().mean(1, keepdim=True)  # sums of integers are exact in any order
        shift = contrasted * (1 - saturated) * grey + (1 - contrasted) * mean
        shift = shift * bright + 0.5  # rounds to nearest
        mixed = floats.flatten(1) * (bright * contrasted * saturated)
        for channel in mixed.view(*grey.shape, -1).unbind(2):
            channel.add_(shift)
        # By way of int16, as CPUs do not vectorise the conversion from float32 to bytes.
        return mixed.clamp_(0, 255).to(torch.int16).to(torch.uint8).view(pixels.shape)

    def _erase(self, pixels: Tensor, erase: Tensor, top: Tensor, left: Tensor) -> Tensor:
        num, height, width, channels = pixels.shape
        rows = _half_window(top * height, height) & (erase < self.erasing)[:, None]  # (N, H)
        columns = _half_window(left * width, width)  # (N, W)
        columns = columns[:, :, None].expand(-1, -1, channels)  # (N, W, C)
        square = _mask(rows)[:, :, None] & _mask(columns).reshape(num, 1, -1)  # (N, H, W * C)
        self.fill = self.fill.to(pixels.device)
        erased = self.fill.repeat(height * width)
        return _where(square.flatten(1), erased, pixels.flatten(1)).view(pixels.shape)


def _mask(condition: Tensor) -> Tensor:
    """Return bytes with all bits set where `condition` holds, and none elsewhere."""
    return condition.to(torch.uint8).mul_(255)


def _where(mask: Tensor, some: Tensor, others: Tensor) -> Tensor:
    """Select bytes as torch.where does; 4 times faster on CPUs, which vectorise this."""
    return (some ^ others).bitwise_and_(mask).bitwise_xor_(others)


def _to_grey(colors: Tensor) -> Tensor:
    """Return the grey level of floating-point pixels: (..., C) -> (...)."""
    if colors.shape[-1] == 1:
        return colors[..., 0]
    red, green, blue = colors.unbind(-1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def _half_window(centre: Tensor, size: int) -> Tensor:
    """Mark the size // 2 places around each centre: (N,) -> (N, size) bool."""
    first = centre.floor() - size // 4
    place = torch.arange(size, device=centre.device)
    return (place >= first[:, None]) & (place < first[:, None] + size // 2)


class Mixing:
    """Mixup or CutMix of a batch of normalised images; draws and results are torchvision's.

    Every image is mixed with the one before it in the batch. The random numbers come from torch's
    global CPU generator, which the caller seeds for (seed, step, rank), so nothing waits for the
    device.

    Args:
        mixup_alpha: alpha of Mixup's Beta(alpha, alpha); 0 turns it off.
        cutmix_alpha: the same for CutMix. With both on, each batch uses one of them, at 50:50.
        num_classes: length of the soft labels.

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
        """Return mixed images and soft labels: (N, C, H, W), (N,) int64 -> ..., (N, num_classes).

        With neither method on, return the same images and one-hot labels.
        """
        one_hot = F.one_hot(labels, self.num_classes)
        if not self.choices:
            return images, one_hot.to(images.dtype)
        chosen = int(torch.randint(len(self.choices), ())) if len(self.choices) > 1 else 0
        mix, beta = self.choices[chosen]
        mixed, share = mix(images, float(beta.sample()))
        mixed = mixed.contiguous(memory_format=torch.channels_last)
        return mixed, _blend(one_hot.to(torch.float32), share)


def _mixup(images: Tensor, share: float) -> tuple[Tensor, float]:
    """Blend images; return them and the share that each keeps of itself."""
    return _blend(images, share), share


def _cutmix(images: Tensor, share: float) -> tuple[Tensor, float]:
    """Paste rectangles; return the images and the share that each keeps of itself."""
    height, width = images.shape[2:]
    side = math.sqrt(1 - share)
    columns, rows = _random_span(width, side), _random_span(height, side)
    mixed = images.clone()
    mixed[:, :, rows, columns] = images[:, :, rows, columns].roll(1, 0)
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, 1 - area / (height * width)


def _random_span(size: int, share: float) -> slice:
    """Draw the centre of a span of `share * size` pixels, and clip the span to 0..size."""
    centre, half = int(torch.randint(size, (1,))), int(0.5 * share * size)
    return slice(max(centre - half, 0), min(centre + half, size))


def _blend(batch: Tensor, share: float) -> Tensor:
    """Return share * each + (1 - share) * the one before it."""
    return batch.roll(1, 0).mul_(1 - share).add_(batch.mul(share))


def _beta(alpha: float) -> torch.distributions.Beta:
    return torch.distributions.Beta(torch.tensor([alpha]), torch.tensor([alpha]))
