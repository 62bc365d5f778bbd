"""Resizing, cropping and normalisation as a part of an exported net."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilenets.data.transforms import resized_side


class WithPreprocessing(nn.Module):
    """A net for images as they come: uint8 (N, H, W, C) -> logits (N, num_classes).

    What evaluation does (`mobilenets.data.transforms.eval_transform`, `Normalize`) is a part of the
    graph: the short side is resized with antialiasing, the centre cropped, mean and std applied.
    Pixels are rounded after resizing as there; interpolation in another runtime may differ by one
    in 255.

    Args:
        net: normalised images (N, C, H, W) -> logits.
        preprocessing: see `mobilenets.weights.Weights`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, preprocessing: Mapping[str, Any]):
        super().__init__()
        self.net = net
        self.size = preprocessing["image_size"]
        self.short_side = resized_side(preprocessing)
        self.mode = preprocessing["interpolation"]
        if self.mode == "nearest":
            raise ValueError(
                "preprocess=true knows bilinear and bicubic interpolation, and the net was trained "
                "with nearest: leave it out"
            )
        for name in ("mean", "std"):
            values = torch.tensor(preprocessing[name], dtype=torch.float32)
            self.register_buffer(name, 255 * values.view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (N, H, W, C) -> logits (N, num_classes)."""
        x = images.permute(0, 3, 1, 2).float()  # (N, H, W, C) -> (N, C, H, W)
        height, width = x.shape[2:]
        shorter = torch.sym_min(height, width)
        tall, wide = self.short_side * height // shorter, self.short_side * width // shorter
        x = F.interpolate(x, (tall, wide), mode=self.mode, antialias=True)  # type: ignore[arg-type]
        x = x.round().clamp(0, 255)
        top, left = _margin(tall - self.size), _margin(wide - self.size)
        x = x.narrow(2, top, self.size).narrow(3, left, self.size)
        return self.net((x - self.mean) / self.std)


def _margin(excess: int) -> int:
    """round(excess / 2), halves to the even number, in whole numbers as a graph has them."""
    return (excess + excess // 2 % 2) // 2
