"""The report on the exported files: a table, and export.json."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mobilenets.atomic import write_json
from mobilenets.console import format_table, label_lines
from mobilenets.export.layer_snr import LayerSNR
from mobilenets.export.verify import ExportedFile

NUM_WORST_LAYERS = 10
Latencies = Mapping[int, tuple[float, float]]  # batch size -> median and 95th percentile in ms


def format_report(files: Sequence[ExportedFile], latencies: Mapping[str, Latencies]) -> str:
    """Return a table with a row for each runner of PyTorch and for each file, and the notes.

    Args:
        files: the accepted and rejected files.
        latencies: of the runners of `verify_files`, by their names.
    """
    formats = [file.format for file in files]
    pytorch = {name: latencies[name] for name in latencies if name not in formats}
    baseline = next(iter(pytorch.values()))
    parity = next((file.parity for file in files if file.parity), None)
    header = ["file", "run by", "MB", "difference", "agreement", "top-1", "int8 drop"]
    header += [*(f"batch {size}: ms (p95)" for size in baseline), "faster"]
    rows: list[list[str | None]] = []
    for name, latency in pytorch.items():
        top1 = _percent(parity.accuracy_pytorch) if parity else None
        rows.append([None, name, None, None, None, top1, None, *_speed(latency, baseline)])
    for file in files:
        row = [file.path.name, file.runtime, f"{file.num_bytes / 1e6:.2f}"]
        metrics: list[str | None] = [None] * 4
        if file.parity:
            metrics = [
                f"{file.parity.largest_difference:.1e}",
                f"{file.parity.agreement:.2%}",
                _percent(file.parity.accuracy),
                f"{file.parity.drop:.2f}" if file.layer_snr else None,
            ]
        rows.append([*row, *metrics, *_speed(latencies.get(file.format, {}), baseline)])
    if not any(file.layer_snr for file in files):
        column = header.index("int8 drop")
        del header[column]
        for cells in rows:
            del cells[column]
    table = format_table(header, rows, left=(0, 1))
    notes = [label_lines("note", f"{file.path.name}: {file.note}") for file in files if file.note]
    return "\n".join([table, *notes])


def _speed(latency: Latencies, baseline: Latencies) -> list[str | None]:
    """Return a cell for each batch size, and one with the ratios to the baseline."""
    if not latency:
        return [None] * (len(baseline) + 1)
    times = [f"{latency[size][0]:.2f} ({latency[size][1]:.2f})" for size in baseline]
    ratios = [f"{baseline[size][0] / latency[size][0]:.1f}x" for size in baseline]
    return [*times, ", ".join(ratios)]


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.2%}"


def format_worst_layers(layers: Sequence[LayerSNR]) -> str:
    """Return a table of the layers with the lowest signal-to-noise ratio, the worst first."""
    worst = sorted(layers, key=lambda layer: layer.decibels)[:NUM_WORST_LAYERS]
    rows = [(layer.layer, f"{layer.decibels:.1f} dB") for layer in worst]
    return format_table(("layer", "signal to noise"), rows)


def write_report(
    path: Path,
    files: Sequence[ExportedFile],
    latencies: Mapping[str, Latencies],
    **settings: Any,
) -> None:
    """Write export.json, which keeps the entries of earlier exports into the same folder.

    Args:
        path: of the report.
        files: the accepted and rejected files.
        latencies: of the runners of `verify_files`, by their names.
        settings: more keys of each entry.
    """
    entries = {}
    if path.is_file():
        entries = json.loads(path.read_text("utf-8")).get("files", {})
    for file in files:
        entry = {
            "format": file.format,
            "runtime": file.runtime,
            "bytes": file.num_bytes,
            "note": file.note,
        }
        if file.parity:
            entry |= asdict(file.parity)
            entry["latency_ms"] = {
                f"batch {size}": {"median": median, "p95": p95}
                for size, (median, p95) in latencies.get(file.format, {}).items()
            }
        if file.layer_snr:
            entry["signal_to_noise_db"] = dict(file.layer_snr)
        entries[file.path.name] = entry | settings
    write_json(path, {"files": entries})
