"""Figures of a run: its images, its confusion matrix, its worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchvision.utils import make_grid

from mobilenets.reports.mistakes import Mistake

if TYPE_CHECKING:  # matplotlib takes half a second, and is needed only at the end
    from matplotlib.figure import Figure

MAX_NAMED_CLASSES = 25  # with more, names and counts are too small to read


def make_image_grid(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Lay out normalised images (N, C, H, W) as one (3, H', W') in 0..1, with eight in a row."""
    return make_grid(denormalise(images, mean, std), nrow=8, pad_value=1.0)


def denormalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return normalised images (..., C, H, W) as intensities in 0..1."""
    scale, shift = (images.new_tensor(values).view(-1, 1, 1) for values in (std, mean))
    return (images.float() * scale + shift).clamp(0, 1)


def draw_confusion_matrix(matrix: Tensor, class_names: Sequence[str], title: str) -> Figure:
    """Draw counts (true class, predicted class); the colour is the share of the true class."""
    from matplotlib.figure import Figure

    num_classes = len(class_names)
    is_named = num_classes <= MAX_NAMED_CLASSES
    size = 2.5 + 0.45 * num_classes if is_named else 9.0
    figure = Figure(figsize=(size, size), layout="constrained", dpi=100 if is_named else 150)
    axes = figure.subplots()
    shares = matrix / matrix.sum(dim=1, keepdim=True).clamp(min=1)
    axes.imshow(shares.cpu().numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set(title=title, xlabel="predicted", ylabel="true")
    if is_named:
        axes.set_xticks(range(num_classes), class_names, rotation=45, ha="right")
        axes.set_yticks(range(num_classes), class_names)
        for row, column in matrix.nonzero().tolist():
            axes.text(
                column,
                row,
                str(int(matrix[row, column])),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if shares[row, column] > 0.5 else "black",
            )
    return figure


def draw_mistakes(
    mistakes: Sequence[Mistake], mean: Sequence[float], std: Sequence[float]
) -> Figure:
    """Draw mistakes, four in a row, with the true class, the answer and its confidence."""
    from matplotlib.figure import Figure

    columns = 4
    rows = max(1, -(-len(mistakes) // columns))
    figure = Figure(figsize=(2.6 * columns, 2.9 * rows), layout="constrained", dpi=100)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid:
        axes.axis("off")
    for axes, mistake in zip(grid, mistakes, strict=False):
        image = denormalise(mistake.image, mean, std)
        image = torch.cat([image] * (3 // len(image)))  # (1 or 3, H, W) -> (3, H, W)
        axes.imshow(image.permute(1, 2, 0).cpu().numpy())
        title = f"{mistake.label}, not {mistake.answer} ({mistake.confidence:.0%})"
        axes.set_title(f"{title}\n{mistake.sample[-40:]}", fontsize=8)
    return figure
