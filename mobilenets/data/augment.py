"""Augmentation of whole batches on their device, with nothing per sample in Python."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from mobilenets.data.randomness import uniform


class BatchAugment:
    """Crop, flip and cut out squares of small images, each sample by its own counted draws.

    The crop comes first, then the flip, then the cutout, as in the usual CIFAR recipe. The padding
    is black, as in the recipes behind published figures.

    Args:
        crop_padding: Pixels added on each side before a window of the old size is cut out.
        flip: Probability of a horizontal flip.
        erasing: Probability of erasing a square with sides half as long as the image's, around a
            point anywhere in the image (so part of it may lie outside).
        fill: What an erased square holds, one value in 0..255 a channel.
        seed: The seed of the run.

    Reference: DeVries, Taylor, "Improved regularization of convolutional neural networks with
        cutout", arXiv 1708.04552, for the square.
    """

    def __init__(
        self, *, crop_padding: int, flip: float, erasing: float, fill: list[int], seed: int
    ):
        self.crop_padding = crop_padding
        self.flip = flip
        self.erasing = erasing
        self.fill = torch.tensor(fill, dtype=torch.uint8)
        self.seed = seed

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Augment uint8 images (N, C, H, W) as (seed, epoch, index) say."""
        draws = uniform(self.seed, epoch, indices, 6).unbind(1)
        if self.crop_padding or self.flip:
            images = self._crop_and_flip(images, *draws[:3])
        if self.erasing:
            images = self._erase(images, *draws[3:])
        return images

    def _crop_and_flip(self, images: Tensor, top: Tensor, left: Tensor, flip: Tensor) -> Tensor:
        num, _, height, width = images.shape
        padded = F.pad(images, [self.crop_padding] * 4)
        # Every window of every padded image and of its mirror image, as a view:
        # (2, N, C, 1 + 2 * padding, 1 + 2 * padding, H, W)
        both = torch.stack([padded, padded.flip(3)])
        windows = both.unfold(3, height, 1).unfold(4, width, 1)
        places = 1 + 2 * self.crop_padding
        return windows[
            (flip < self.flip).long(),
            torch.arange(num, device=images.device),
            :,
            (top * places).long(),
            (left * places).long(),
        ]

    def _erase(self, images: Tensor, erase: Tensor, top: Tensor, left: Tensor) -> Tensor:
        height, width = images.shape[2:]
        rows = _around(top * height, height)[:, None, :, None]  # (N, 1, H, 1)
        columns = _around(left * width, width)[:, None, None, :]  # (N, 1, 1, W)
        square = rows & columns & (erase < self.erasing)[:, None, None, None]
        self.fill = self.fill.to(images.device)
        return torch.where(square, self.fill[:, None, None], images)


def _around(centre: Tensor, size: int) -> Tensor:
    """(N,) -> (N, size) bool: the half of the side that lies around each centre."""
    first = centre.floor() - size // 4
    place = torch.arange(size, device=centre.device)
    return (place >= first[:, None]) & (place < first[:, None] + size // 2)


class Mixing:
    """Mixup and CutMix of a batch of normalised images, each batch with the one or with the other.

    The draws come from torch's global generator, which the caller seeds for (seed, step, rank).

    Args:
        mixup_alpha: Mixup's Beta(alpha, alpha); 0 turns it off.
        cutmix_alpha: The same for CutMix; with both, each batch takes one of them at 50:50.
        num_classes: The length of the soft labels.

    Reference: Zhang et al., "mixup: Beyond empirical risk minimization", arXiv 1710.09412;
        Yun et al., "CutMix", arXiv 1905.04899.
    """

    def __init__(self, mixup_alpha: float, cutmix_alpha: float, num_classes: int):
        self.num_classes = num_classes
        self.choices: list[v2.Transform] = []
        if mixup_alpha:
            self.choices.append(v2.MixUp(alpha=mixup_alpha, num_classes=num_classes))
        if cutmix_alpha:
            self.choices.append(v2.CutMix(alpha=cutmix_alpha, num_classes=num_classes))

    def __bool__(self) -> bool:
        return bool(self.choices)

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W), (N,) int64 -> mixed images and soft labels (N, num_classes).

        With neither method on, the images come back as they are, the labels one-hot.
        """
        if not self.choices:
            return images, F.one_hot(labels, self.num_classes).to(images.dtype)
        chosen = int(torch.randint(len(self.choices), ())) if len(self.choices) > 1 else 0
        images, labels = self.choices[chosen](images, labels)
        return images.contiguous(memory_format=torch.channels_last), labels
