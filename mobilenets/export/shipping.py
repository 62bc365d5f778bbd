"""The steps of an export: a file is written, run by its own runtime, and kept if it passes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mobilenets.export.exportable import Exportable, Runner
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
    module.write_int8(model, calibration, path)
    return Exported(format, runtime, path, noise=module.noise(model, path, calibration[:2]))


def check_files(
    model: Exportable,
    exported: Sequence[Exported],
    examples: Iterable[Example],
    num_threads: int | None = None,
) -> Mapping[str, Mapping[int, Latency]]:
    """Runs the files and the net on the same images, and measures all in turns.

    What can't be run here has a note; the others get their figures.

    Returns:
        The latency of PyTorch by batch size: of the net as it was trained, and folded.
    """
    runners: dict[str, Runner] = {}
    for one in exported:
        try:
            runners[one.format] = FORMATS[one.format].module.load(one.path, num_threads)
        except RuntimeError as error:
            one.note = f"not run: {error}"
    trained = in_pytorch(model.weights.build().float())
    parities = compare(trained, runners, examples)
    images = torch.randn(1, *model.shape)
    inputs = model.example(1)
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


def in_pytorch(net: nn.Module) -> Runner:
    """What runs a net here."""
    net = net.eval()

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        return net(images)

    return run


def settle(exported: Sequence[Exported], folder: Path, max_drop: float) -> list[str]:
    """Moves the files into their folder, under the name of what is refused with `REJECTED`.

    Returns:
        A sentence for each that is.
    """
    refused = []
    for one in exported:
        reason = one.parity.refusal(bool(one.noise), max_drop) if one.parity else None
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
