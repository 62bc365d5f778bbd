"""Core ML's .mlpackage, for Apple's devices. Reference: apple.github.io/coremltools."""

import platform
from pathlib import Path

import torch
from torch import Tensor

from mobilenets.export.exportable import Exportable, Runner, RuntimeUnavailableError
from mobilenets.export.quiet import quiet
from mobilenets.export.torch_export_format import MAX_BATCH_SIZE, export_program


def write(model: Exportable, path: Path) -> None:
    """Export a net in float32 for iOS 16, macOS 13 and later."""
    with quiet():
        import coremltools

        program = export_program(model, MAX_BATCH_SIZE).run_decompositions({})
        converted = coremltools.convert(
            program,
            outputs=[coremltools.TensorType(name="logits")],
            minimum_deployment_target=coremltools.target.iOS16,
            compute_precision=coremltools.precision.FLOAT32,
        )
        converted.user_defined_metadata.update(model.metadata())
        converted.save(str(path))


def load(path: Path, num_threads: int | None = None) -> Runner:
    """Return a function that runs a file in Core ML.

    Raises:
        RuntimeUnavailableError: this is not macOS, the only system that has Core ML.
    """
    if platform.system() != "Darwin":
        raise RuntimeUnavailableError("Core ML runs on macOS only")
    import coremltools

    package = coremltools.models.MLModel(str(path))
    (name,) = package.input_description

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(package.predict({name: images.numpy()})["logits"])

    return run
