"""A trained net in the form in which it is exported, and the metadata of its file."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from mobilenets import __version__
from mobilenets.models import fold_batchnorm
from mobilenets.weights import Weights

# Runs a net or an exported file: normalised float32 images (N, C, H, W) -> logits (N, num_classes).
Runner = Callable[[Tensor], Tensor]


class RuntimeUnavailableError(Exception):
    """A runtime that this system can't have, so that its files can't be verified here."""


def make_runner(
    net: nn.Module,
    device: torch.device | str = "cpu",
    memory_format: torch.memory_format = torch.preserve_format,
) -> Runner:
    """Return a function that runs a net in PyTorch without gradients.

    The net is moved, and keeps its mode. It runs with the threads that torch has at each call.

    Args:
        net: the net.
        device: where it runs; images and logits are on the CPU.
        memory_format: of its weights and images; by default they keep their own.
    """
    net = net.to(device).to(memory_format=memory_format)

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        return net(images.to(device=device, memory_format=memory_format)).cpu()

    return run


def require_preprocessing(
    weights: Weights, keys: Collection[str] = ("image_size", "in_channels")
) -> None:
    """Raise ValueError unless the weights come with these keys of their preprocessing."""
    if not weights.preprocessing.keys() >= set(keys):
        raise ValueError(
            f"{weights.source} does not say which image_size, mean and std it expects: load it "
            "with mobilenets.load_model, set net.preprocessing, and save it with save_model"
        )


@dataclass(frozen=True)
class Exportable:
    """The net of a checkpoint for inference, in float32 on the CPU.

    Attributes:
        weights: the weights, with their preprocessing.
        preprocess: make preprocessing a part of the net, see `WithPreprocessing`.
    """

    weights: Weights
    preprocess: bool = False

    @cached_property
    def net(self) -> nn.Module:
        """The net to export, BatchNorm folded: inputs -> logits (N, num_classes)."""
        net = fold_batchnorm(self.weights.build().float())
        if self.preprocess:
            from mobilenets.export.preprocessing import WithPreprocessing

            return WithPreprocessing(net, self.weights.preprocessing).eval()
        return net

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a preprocessed image."""
        size = self.weights.preprocessing["image_size"]
        return self.weights.preprocessing["in_channels"], size, size

    def random_inputs(self, batch_size: int = 2) -> Tensor:
        """Return a batch of noise in the shape and type of the net's inputs."""
        generator = torch.Generator().manual_seed(0)
        if self.preprocess:  # height and width differ, so that tracing does not take them as equal
            shape = batch_size, 280, 360, self.image_shape[0]
            return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return torch.randn(batch_size, *self.image_shape, generator=generator)

    def dynamic_shapes(self, max_batch_size: int | None = None) -> tuple[dict[int, Any]]:
        """Return the input's dimensions of variable size, as torch.export takes them."""
        shapes: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=max_batch_size)}
        if self.preprocess:
            shapes |= {1: torch.export.Dim("height"), 2: torch.export.Dim("width")}
        return (shapes,)

    def metadata(self) -> dict[str, str]:
        """Return what the exported file says about itself."""
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
