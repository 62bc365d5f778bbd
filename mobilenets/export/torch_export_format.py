"""torch.export's .pt2, which PyTorch runs without this package. Reference: docs.pytorch.org."""

from pathlib import Path

import torch
from torch import nn

from mobilenets.export.exportable import Exportable, Runner, make_runner
from mobilenets.export.quiet import quiet

MAX_BATCH_SIZE = 64  # in formats that need a maximum


def export_program(
    model: Exportable, max_batch_size: int | None = None, net: nn.Module | None = None
) -> torch.export.ExportedProgram:
    """Trace a net with torch.export.

    Args:
        model: the net.
        max_batch_size: None = any.
        net: a variant of the net to trace in its place, such as a quantized one.
    """
    # Traced at the maximum size, which is what ExecuTorch plans its memory for.
    inputs, shapes = model.random_inputs(max_batch_size or 2), model.dynamic_shapes(max_batch_size)
    return torch.export.export(net or model.net, (inputs,), dynamic_shapes=shapes)


def write(model: Exportable, path: Path) -> None:
    """Export a net; its metadata are the archive's extra files."""
    with quiet():
        torch.export.save(export_program(model), path, extra_files=model.metadata())


def load(path: Path, num_threads: int | None = None) -> Runner:
    """Return a function that runs a file in PyTorch, with torch's threads."""
    with quiet():
        return make_runner(torch.export.load(path).module())
