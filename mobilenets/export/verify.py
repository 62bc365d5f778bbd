"""The steps of an export: write a file, run it in its own runtime, and accept or reject it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mobilenets.atomic import atomic_path, remove
from mobilenets.console import first_line
from mobilenets.export.exportable import Exportable, Runner, RuntimeUnavailableError, make_runner
from mobilenets.export.formats import FORMATS
from mobilenets.export.layer_snr import LayerSNR
from mobilenets.export.parity import Example, Parity, compare_logits

REJECTED = ".rejected"  # the end of a rejected file's name


@dataclass
class ExportedFile:
    """An exported file.

    Attributes:
        format: a key of `FORMATS`.
        runtime: the software that runs it.
        path: of the file.
        layer_snr: of each layer, if the file is int8.
        parity: with the net in PyTorch; None if the file could not be run.
        failure: why its own runtime can't run it.
        note: why it was not run, or why it was rejected.
    """

    format: str
    runtime: str
    path: Path
    layer_snr: list[LayerSNR] = field(default_factory=list)
    parity: Parity | None = None
    failure: str | None = None
    note: str | None = None

    @property
    def parts(self) -> list[Path]:
        """The file or folder itself, and the .bin with the weights of an .xml."""
        is_openvino = self.path.suffix == ".xml"
        return [self.path, self.path.with_suffix(".bin")] if is_openvino else [self.path]

    @property
    def num_bytes(self) -> int:
        """Size of all its parts."""
        paths = [*self.parts, *(path for part in self.parts for path in part.rglob("*"))]
        return sum(path.stat().st_size for path in set(paths) if path.is_file())


def write_file(
    format: str, model: Exportable, path: Path, calibration: Sequence[Tensor] | None = None
) -> ExportedFile:
    """Export a net to a file: in int8 if there are batches for its calibration."""
    module, runtime = FORMATS[format].module, FORMATS[format].runtime
    if calibration is None:
        module.write(model, path)
        return ExportedFile(format, runtime, path)
    measure_snr = module.write_int8(model, calibration, path)
    return ExportedFile(format, runtime, path, measure_snr(calibration[:2]))


def verify_files(
    model: Exportable,
    files: Sequence[ExportedFile],
    examples: Iterable[Example],
    num_threads: int | None = None,
) -> dict[str, tuple[Runner, Tensor]]:
    """Run the net in PyTorch and every file in its own runtime, and compare their logits.

    Set the parity of each file; its failure, if its own runtime can't run it; a note, if this
    system can't have its runtime.

    Returns:
        Name -> runner and an input of one image, to measure latencies with: the trained net
        ("PyTorch"), the net with BatchNorm folded ("PyTorch, folded"), and every file that runs,
        by its format.
    """
    inputs = model.random_inputs(1)
    runners: dict[str, Runner] = {}
    for file in files:
        try:
            runner = FORMATS[file.format].module.load(file.path, num_threads)
            runner(inputs)
            runners[file.format] = runner
        except RuntimeUnavailableError as error:
            file.note = f"not run: {error}"
        except Exception as error:  # runtimes raise errors of any type
            file.failure = f"{file.runtime} can't run it ({first_line(error)})"
    trained = make_runner(model.weights.build().float())
    parities = compare_logits(trained, runners, examples)
    for file in files:
        file.parity = parities.get(file.format)
    return {
        "PyTorch": (trained, torch.randn(1, *model.image_shape)),
        "PyTorch, folded": (make_runner(model.net), inputs),
        **{name: (runner, inputs) for name, runner in runners.items()},
    }


def accept_or_reject(files: Sequence[ExportedFile], folder: Path, max_drop: float) -> list[str]:
    """Move the files into `folder`, the rejected ones under names that end in `REJECTED`.

    A file replaces what an earlier export left in the folder, under either name.

    Args:
        files: the verified files.
        folder: on the same file system as the files.
        max_drop: points of top-1 that an int8 file may lose.

    Returns:
        A sentence for each rejected file.
    """
    sentences = []
    for file in files:
        reason = file.failure
        if file.parity:
            reason = file.parity.why_rejected(bool(file.layer_snr), max_drop)
        for part in file.parts:
            accepted, rejected = folder / part.name, folder / f"{part.name}{REJECTED}"
            target, other = (rejected, accepted) if reason else (accepted, rejected)
            with atomic_path(target) as partial:
                part.replace(partial)
            remove(other)
        file.path = folder / f"{file.path.name}{REJECTED if reason else ''}"
        if reason:
            file.note = reason
            sentences.append(f"{file.path} was rejected: {reason}")
    return sentences
