"""Resizing, cropping and normalisation as a part of an exported net."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilenets.data.transforms import resize_size


class WithPreprocessing(nn.Module):
    """A net with its preprocessing: uint8 images (N, H, W, C) of any size -> logits.

    The graph does what evaluation does (`mobilenets.data.transforms.eval_transform`, `Normalize`):
    resize the short side with antialiasing, crop the centre, subtract the mean and divide by std.
    Pixels are rounded after resizing, as in evaluation; another runtime's interpolation may differ
    from PyTorch's by one in 255.

    Args:
        net: normalised images (N, C, H, W) -> logits (N, num_classes).
        preprocessing: see `mobilenets.weights.Weights`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, preprocessing: Mapping[str, Any]):
        super().__init__()
        self.net = net
        self.size = preprocessing["image_size"]
        self.short_side = resize_size(preprocessing)
        self.mode = preprocessing["interpolation"]
        if self.mode == "nearest":
            raise ValueError(
                "preprocess=true supports bilinear and bicubic interpolation, and the net was "
                "trained with nearest: drop preprocess=true"
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
        top, left = _half(tall - self.size), _half(wide - self.size)
        x = x.narrow(2, top, self.size).narrow(3, left, self.size)
        return self.net((x - self.mean) / self.std)


def _half(excess: int) -> int:
    """Return round(excess / 2), half to even, in integer arithmetic that a graph can hold."""
    return (excess + excess // 2 % 2) // 2
