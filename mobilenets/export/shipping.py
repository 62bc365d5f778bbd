"""The steps of an export: a file is written, run by its own runtime, and kept if it passes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mobilenets.export.exportable import Exportable, NotHereError, Runner, in_pytorch
from mobilenets.export.formats import FORMATS
from mobilenets.export.parity import Example, compare, measure
from mobilenets.export.report import Exported, files_of
from mobilenets.latency import Latency

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


def check_files(
    model: Exportable,
    exported: Sequence[Exported],
    examples: Iterable[Example],
    num_threads: int | None = None,
) -> Mapping[str, Mapping[int, Latency]]:
    """Runs the files and the net on the same images, and measures all in turns.

    What can't be run here has a note, what its own runtime refuses a failure; the others get their
    figures.

    Returns:
        The latency of PyTorch by batch size: of the net as it was trained, and folded.
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
    images = torch.randn(1, *model.shape)
    folded = in_pytorch(model.net)
    latencies = measure(
        {
            "PyTorch": (trained, images),
            "PyTorch, folded": (folded, inputs),
            **{name: (runner, inputs) for name, runner in runners.items()},
        }
    )
    for one in exported:
        if one.format in runners:
            one.parity, one.latency = parities[one.format], latencies[one.format]
    return {name: latencies[name] for name in ("PyTorch", "PyTorch, folded")}


def first_line(error: Exception) -> str:
    """What went wrong, in a line."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def settle(exported: Sequence[Exported], folder: Path, max_drop: float) -> list[str]:
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
