"""The steps of an export: a file is written, run by its own runtime, and kept if it passes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mobilenets.console import first_line
from mobilenets.export.exportable import Exportable, NotHereError, Runner, in_pytorch
from mobilenets.export.formats import FORMATS
from mobilenets.export.parity import Example, compare
from mobilenets.export.report import Exported, files_of

REJECTED = ".rejected"


def write(
    format: str, model: Exportable, path: Path, calibration: Sequence[Tensor] | None = None
) -> Exported:
    """Writes a file; in int8 if there are batches for its calibration."""
    module, runtime = FORMATS[format].module, FORMATS[format].runtime
    if calibration is None:
        module.write(model, path)
        return Exported(format, runtime, path)
    measure_noise = module.write_int8(model, calibration, path)
    return Exported(format, runtime, path, noise=measure_noise(calibration[:2]))


def verify_files(
    model: Exportable,
    exported: Sequence[Exported],
    examples: Iterable[Example],
    num_threads: int | None = None,
) -> dict[str, tuple[Runner, Tensor]]:
    """Run the files and the net on the same images, and compare their logits.

    A file that can't be run on this system gets a note, one that its own runtime refuses a
    failure, every other its parity.

    Returns:
        What can be timed: the net as it was trained ("PyTorch"), with BatchNorm folded
        ("PyTorch, folded"), and each file that runs, by its format; with one input of each.
    """
    inputs = model.example(1)
    runners: dict[str, Runner] = {}
    for one in exported:
        try:
            runner = FORMATS[one.format].module.load(one.path, num_threads)
            runner(inputs)
            runners[one.format] = runner
        except NotHereError as error:
            one.note = f"not run: {error}"
        except Exception as error:  # of other people's software, of whatever kind
            one.failure = f"{one.runtime} can't run it ({first_line(error)})"
    trained = in_pytorch(model.weights.build().float())
    parities = compare(trained, runners, examples)
    for one in exported:
        one.parity = parities.get(one.format)
    return {
        "PyTorch": (trained, torch.randn(1, *model.shape)),
        "PyTorch, folded": (in_pytorch(model.net), inputs),
        **{name: (runner, inputs) for name, runner in runners.items()},
    }


def accept_or_reject(exported: Sequence[Exported], folder: Path, max_drop: float) -> list[str]:
    """Moves the files into their folder, under the name of what is refused with `REJECTED`.

    Returns:
        A sentence for each that is.
    """
    refused = []
    for one in exported:
        reason = one.failure
        if one.parity:
            reason = one.parity.refusal(bool(one.noise), max_drop)
        suffix = REJECTED if reason else ""
        for file in files_of(one.path):
            target = folder / f"{file.name}{suffix}"
            clear(target)
            file.replace(target)
            if not reason:
                clear(folder / f"{file.name}{REJECTED}")
            else:
                clear(folder / file.name)
        one.path = folder / f"{one.path.name}{suffix}"
        if reason:
            one.note = reason
            refused.append(f"{one.path} was rejected: {reason}")
    return refused


def clear(path: Path) -> None:
    """Removes what an earlier export left: a file, or the folder of a package."""
    if path.is_dir():
        for child in path.iterdir():
            clear(child)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
