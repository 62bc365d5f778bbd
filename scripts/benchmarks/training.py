"""The speed of training and evaluation: the run of a system, its records and their picture."""

from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from statistics import median

from benchmarks.process import RunError, run_system
from benchmarks.results import MARKERS, Line, Panel, Record, format_records
from benchmarks.systems import LIMITS, Comparison, Metrics, System

HEADINGS = ("net", "width", "pixels", "strides", "system", "MACs", "images/s", "lowest", "highest",
            "of limit", "first step", "memory", "waiting", "batch", "runs")  # fmt: skip
COMPARED = itemgetter("net", "width", "resolution", "strides")  # equal within a comparison

Results = dict[tuple[Comparison, str], list[Metrics]]
"""The metrics of the runs of each system in each comparison."""


def measure(system: System, case: Comparison, scratch: Path) -> Metrics:
    """Run a system once in the empty folder `scratch`.

    Raises:
        RunError: it failed, or trained fewer steps than it should.
    """
    marks = 1, case.warmup, case.total_steps
    times, peak = run_system(system.command(case), scratch, marks, system.tuned)
    metrics: Metrics = {} if peak is None else {"peak_memory_mib": peak / 2**20}
    if times:
        metrics["first_step_seconds"] = times[0]
    if len(times) == len(marks):
        metrics["images_per_second"] = case.steps * case.batch_size / (times[2] - times[1])
    metrics |= system.read(scratch, case)  # what it measures itself is more exact
    if "images_per_second" not in metrics:
        raise RunError(
            f"trained fewer than {case.total_steps} steps, or with an optimizer unlike torch's"
        )
    return metrics


def make_records(results: Results) -> list[Record]:
    """Return medians and ranges of each system's runs, and its speed relative to the limit's."""
    records: list[Record] = []
    for (case, system), runs in results.items():
        limit_runs = results.get((case, LIMITS[find_phase(system)]), [])
        speed, limit = (find_median(each, "images_per_second") for each in (runs, limit_runs))
        speeds = [run["images_per_second"] for run in runs]
        record = {
            "net": case.net,
            "width": case.width,
            "resolution": case.size,
            "strides": case.strides,
            "system": system,
            "macs": case.macs,
            "images_per_second": speed,
            "images_per_second_lowest": min(speeds, default=None),
            "images_per_second_highest": max(speeds, default=None),
            "share_of_limit": speed / limit if speed and limit else None,
            "first_step_seconds": find_median(runs, "first_step_seconds"),
            "peak_memory_mib": find_median(runs, "peak_memory_mib"),
            "data_wait_share": find_median(runs, "data_wait_share"),
            "batch_size": case.batch_size,
            "runs": len(runs),
        }
        records.append(record)
    return records


def find_median(runs: Sequence[Metrics], metric: str) -> float | None:
    """Return the median of the runs that have this metric, None if none has."""
    values = [run[metric] for run in runs if metric in run]
    return median(values) if values else None


def find_phase(system: str) -> str:
    """Return "train" or "eval", a key of `LIMITS`."""
    return "eval" if system.startswith("eval") else "train"


def format_comparisons(records: Sequence[Record]) -> str:
    """Return a table with an empty line before each comparison."""
    lines = format_records(HEADINGS, records).splitlines()
    for i in range(len(records) - 1, -1, -1):
        if i == 0 or COMPARED(records[i]) != COMPARED(records[i - 1]):
            lines.insert(i + 1, "")
    return "\n".join(lines)


def make_panels(records: Sequence[Record]) -> list[Panel]:
    """Return the speed of each system in each comparison, training and evaluation apart."""
    limited = any(record["share_of_limit"] for record in records)
    key, unit = ("share_of_limit", "limit = 1") if limited else ("images_per_second", "images/s")
    panels = []
    for phase in LIMITS:
        lines: dict[str, Line] = {}
        for record in records:
            system, speed = record["system"], record[key]
            if find_phase(system) == phase and speed is not None:
                color, marker = f"C{len(lines)}", MARKERS[len(lines) % len(MARKERS)]
                line = lines.setdefault(system, Line(system, [], [], color, marker))
                line.x.append("{net} {width:g}\n{resolution} px\n{strides}".format(**record))
                line.y.append(speed)
        if lines:
            panels.append(Panel(phase, f"speed ({unit})", list(lines.values())))
    return panels
