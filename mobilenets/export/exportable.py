"""A trained net as it is shipped, and all that its file has to say."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from mobilenets import __version__
from mobilenets.models import fold_batchnorm
from mobilenets.weights import Weights

# What runs a net, or a file: normalised images, float32 (N, C, H, W) -> logits (N, num_classes).
Runner = Callable[[Tensor], Tensor]


class NotHereError(Exception):
    """Software that this system can't have, so that nothing is known of a file for it."""


def in_pytorch(net: nn.Module) -> Runner:
    """What runs a net here, as it is: its mode, its place and the threads that torch has."""

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        return net(images)

    return run


@dataclass(frozen=True)
class Exportable:
    """The net of a checkpoint for prediction, in float32 on the CPU.

    Attributes:
        weights: what the checkpoint says; its preprocessing has to be known.
        preprocess: the net takes images as they come, see `WithPreprocessing`.
    """

    weights: Weights
    preprocess: bool = False

    @cached_property
    def net(self) -> nn.Module:
        """What is exported, BatchNorm folded: images -> logits (N, num_classes)."""
        net = fold_batchnorm(self.weights.build().float())
        if self.preprocess:
            from mobilenets.export.preprocessing import WithPreprocessing

            return WithPreprocessing(net, self.weights.preprocessing).eval()
        return net

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image that the net itself gets."""
        size = self.weights.preprocessing["image_size"]
        return self.weights.preprocessing["in_channels"], size, size

    def check(self) -> None:
        """Raises ValueError where nobody says what the net's images are."""
        if not self.weights.preprocessing:
            raise ValueError(
                f"{self.weights.source} says nothing of image_size, mean and std: load it with "
                "mobilenets.load_model, set net.preprocessing, and save it with save_model"
            )

    def example(self, batch_size: int = 2) -> Tensor:
        """Noise in the shape of a batch of inputs."""
        generator = torch.Generator().manual_seed(0)
        if self.preprocess:
            shape = batch_size, 280, 360, self.shape[0]  # unlike sides: neither is taken for both
            return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return torch.randn(batch_size, *self.shape, generator=generator)

    def dynamic_shapes(self, most: int | None = None) -> tuple[dict[int, Any]]:
        """Which dimensions of an input are free, as torch.export is told; `most`: of a batch."""
        shapes: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=most)}
        if self.preprocess:
            shapes |= {1: torch.export.Dim("height"), 2: torch.export.Dim("width")}
        return (shapes,)

    def metadata(self) -> dict[str, str]:
        """What a file says of itself, as texts."""
        return {
            "mobilenets_version": __version__,
            "model": self.weights.model,
            "class_names": json.dumps(self.weights.class_names),
            "preprocessing": json.dumps(self.weights.preprocessing),
            "input": (
                "uint8 images (N, H, W, C) of any size"
                if self.preprocess
                else "float32 images (N, C, H, W), resized, cropped and normalised: see "
                "preprocessing, whose mean and std are those of pixels from 0 to 1"
            ),
        }
