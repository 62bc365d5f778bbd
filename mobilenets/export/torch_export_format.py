"""torch.export's .pt2, which PyTorch runs without this package. Reference: docs.pytorch.org."""

from pathlib import Path

import torch
from torch import nn

from mobilenets.export.exportable import Exportable, Runner, in_pytorch
from mobilenets.export.quiet import quiet


def export(
    model: Exportable, most: int | None = None, net: nn.Module | None = None
) -> torch.export.ExportedProgram:
    """The graph of a net, or of another form of it, for batches of at most so many images."""
    # The example has the largest size: ExecuTorch plans its memory by it.
    example, shapes = model.example(most or 2), model.dynamic_shapes(most)
    return torch.export.export(net or model.net, (example,), dynamic_shapes=shapes)


def write(model: Exportable, path: Path) -> None:
    """Writes a net with any batch size; its metadata are the archive's extra files."""
    with quiet():
        torch.export.save(export(model), path, extra_files=model.metadata())


def load(path: Path, num_threads: int | None = None) -> Runner:
    """What runs a file in PyTorch, with the threads that torch has."""
    with quiet():
        return in_pytorch(torch.export.load(path).module())
