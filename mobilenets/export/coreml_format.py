"""Core ML's .mlpackage, for Apple's devices. Reference: apple.github.io/coremltools."""

import platform
from pathlib import Path

import torch
from torch import Tensor

from mobilenets.export import torch_export_format
from mobilenets.export.exportable import Exportable, NotHereError, Runner
from mobilenets.export.quiet import quiet

MOST = 64  # images in a batch


def write(model: Exportable, path: Path) -> None:
    """Writes a net for batches of up to `MOST` images, in float32, for iOS 16 and macOS 13 on."""
    with quiet():
        import coremltools

        program = torch_export_format.export(model, MOST).run_decompositions({})
        converted = coremltools.convert(
            program,
            outputs=[coremltools.TensorType(name="logits")],
            minimum_deployment_target=coremltools.target.iOS16,
            compute_precision=coremltools.precision.FLOAT32,
        )
        converted.user_defined_metadata.update(model.metadata())
        converted.save(str(path))


def load(path: Path, num_threads: int | None = None) -> Runner:
    """What runs a file in Core ML.

    Raises:
        NotHereError: this is not macOS, the only system that has it.
    """
    if platform.system() != "Darwin":
        raise NotHereError("Core ML runs on macOS only")
    import coremltools

    package = coremltools.models.MLModel(str(path))
    (name,) = package.input_description

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(package.predict({name: images.numpy()})["logits"])

    return run
