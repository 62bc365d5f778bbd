"""What became of an export: export.json, and a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobilenets.atomic import write_json
from mobilenets.export.layer_snr import LayerNoise
from mobilenets.export.parity import Parity, as_json

Latency = tuple[float, float]  # median and 95th percentile, in milliseconds
WORST = 10  # layers that are printed


@dataclass
class Exported:
    """A file that was written.

    Attributes:
        format: a name of `FORMATS`.
        runtime: what runs it, in words.
        path: of the file.
        parity: None where it could not be run here.
        latency: by batch size.
        noise: of its layers, if it is int8.
        failure: why its own runtime can't run it.
        note: why it was not run, or why it is not to be used.
    """

    format: str
    runtime: str
    path: Path
    parity: Parity | None = None
    latency: dict[int, Latency] = field(default_factory=dict)
    noise: list[LayerNoise] = field(default_factory=list)
    failure: str | None = None
    note: str | None = None

    @property
    def size(self) -> int:
        """Bytes of the file, with those that belong to it."""
        return sum(file.stat().st_size for file in files_of(self.path) for file in _leaves(file))


def files_of(path: Path) -> list[Path]:
    """A file, and the .bin of weights that goes with an .xml."""
    weights = path.with_suffix(".bin")
    return [path, weights] if path.suffix == ".xml" else [path]


def _leaves(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


def table(exported: Sequence[Exported], pytorch: Mapping[str, Mapping[int, Latency]]) -> str:
    """The figures of all files, a row each, after those of PyTorch."""
    sizes = list(next(iter(pytorch.values())))
    first = next((one.parity for one in exported if one.parity), None)
    head = ["file", "run by", "MB", "difference", "agreement", "top-1", "int8 drop"]
    head += [f"batch {size}: ms (p95)" for size in sizes] + ["faster"]
    eager = next(iter(pytorch.values()))
    rows = [head]
    for name, latency in pytorch.items():
        accuracy = _percent(first.accuracy_pytorch) if first else ""
        rows.append(["", name, "", "", "", accuracy, "", *_times(latency, sizes, eager)])
    for one in exported:
        figures = ["", "", "", ""]
        if parity := one.parity:
            drop = f"{parity.drop:.2f}" if one.noise else ""
            figures = [
                f"{parity.largest_difference:.1e}",
                f"{parity.agreement:.2%}",
                _percent(parity.accuracy),
                drop,
            ]
        size = f"{one.size / 1e6:.2f}"
        times = _times(one.latency, sizes, eager)
        rows.append([one.path.name, one.runtime, size, *figures, *times])
    if not any(row[6] for row in rows[1:]):
        rows = [row[:6] + row[7:] for row in rows]
    notes = [f"{'note':<8}{one.path.name}: {one.note}" for one in exported if one.note]
    return "\n".join([aligned(rows), *notes])


def _times(
    latency: Mapping[int, Latency], sizes: Sequence[int], eager: Mapping[int, Latency]
) -> list[str]:
    if not latency:
        return [""] * (len(sizes) + 1)
    times = [f"{latency[size][0]:.2f} ({latency[size][1]:.2f})" for size in sizes]
    ratios = [f"{eager[size][0] / latency[size][0]:.1f}x" for size in sizes]
    return [*times, ", ".join(ratios)]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text: the first two columns to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def worst_layers(noise: Sequence[LayerNoise]) -> str:
    """The layers that int8 costs most, the worst first."""
    worst = sorted(noise, key=lambda layer: layer.decibels)[:WORST]
    rows = [(layer.layer, f"{layer.decibels:.1f} dB") for layer in worst]
    return aligned([("layer", "signal to noise"), *rows])


def write_report(path: Path, exported: Sequence[Exported], **more: Any) -> None:
    """Writes all figures, those of earlier exports into the same folder kept."""
    files = {}
    if path.is_file():
        files = json.loads(path.read_text("utf-8")).get("files", {})
    for one in exported:
        files[one.path.name] = {
            "format": one.format,
            "runtime": one.runtime,
            "bytes": one.size,
            "note": one.note,
            **(as_json(one.parity, one.latency) if one.parity else {}),
            **({"signal_to_noise_db": dict(one.noise)} if one.noise else {}),
            **more,
        }
    write_json(path, {"files": files})
