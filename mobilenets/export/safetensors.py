"""Our own .safetensors: weights and the record that explains them (`mobilenets.save_model`)."""

from pathlib import Path

import torch
from torch import Tensor

from mobilenets.export.exportable import Exportable, Runner
from mobilenets.weights import read_weights, save_model


def write(model: Exportable, path: Path) -> None:
    """Writes the weights as they were trained, BatchNorm not folded."""
    weights = model.weights
    save_model(
        weights.build(),
        path,
        class_names=weights.class_names,
        preprocessing=weights.preprocessing,
        metrics=weights.metrics,
        command=weights.command,
        config=weights.config,
    )


def load(path: Path, num_threads: int | None = None) -> Runner:
    """What runs a file in PyTorch, with the threads that torch has."""
    net = read_weights(path).build()

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        return net(images)

    return run
