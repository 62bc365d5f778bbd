"""What both benchmarks do with their results: a CSV file, a table and the panels of a picture."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from mobilenets.atomic import write_text
from mobilenets.console import format_table
from mobilenets.cpus import num_cpus

Record = Mapping[str, Any]
"""The values of a row by their column in the CSV file; None = unknown."""


def format_rate(speed: float) -> str:
    """Return images/s with about three digits: "37.4", "1,287"."""
    return f"{speed:.1f}" if speed < 100 else f"{speed:,.0f}"


FORMATS: dict[str, Callable[[Any], str]] = {  # column -> how the table shows its values
    "width": "{:g}".format,
    "macs": lambda macs: f"{macs / 1e6:,.1f} M",
    **dict.fromkeys(("median_ms", "p5_ms", "p95_ms"), "{:.2f}".format),
    "images_per_second": format_rate,
    "images_per_second_lowest": format_rate,
    "images_per_second_highest": format_rate,
    "times_as_fast_as_eager": "{:.1f}x".format,
    "top1_percent": "{:.1f} %".format,
    "share_of_limit": "{:.2f}".format,
    "first_step_seconds": "{:.1f} s".format,
    "peak_memory_mib": "{:,.0f} MiB".format,
    "data_wait_share": "{:.0%}".format,
}


def describe_machine(*packages: str) -> str:
    """Return the processor, its CPUs and their load, and the versions of packages."""
    import torch

    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), name)
    if torch.cuda.is_available():
        name = f"{torch.cuda.get_device_name()}, {name}"
    words = [f"{name}, {num_cpus()} of {os.cpu_count()} CPUs"]
    with suppress(AttributeError, OSError):  # Windows reports no load
        words.append(f"load {os.getloadavg()[0]:.1f} before")
    for package in packages:
        with suppress(PackageNotFoundError):
            words.append(f"{package} {version(package)}")
    return ", ".join(words)


def write_csv(path: Path, records: Sequence[Record]) -> None:
    """Write a line for each record, with all digits; unknown values stay empty."""
    rows = [list(record.values()) for record in records]
    write_text(path, format_table(list(records[0]), rows, "csv") + "\n")


def format_records(headings: Sequence[str], records: Sequence[Record], style: str = "text") -> str:
    """Return a table of the first columns, one for each heading, in a style of `format_table`."""
    keys = list(records[0])[: len(headings)]
    rows = [
        [None if record[key] is None else FORMATS.get(key, str)(record[key]) for key in keys]
        for record in records
    ]
    words = [i for i, key in enumerate(keys) if isinstance(records[0][key], str)]
    return format_table(headings, rows, style, left=words)


MARKERS = "sDv^XP*hp<"


class Line(NamedTuple):
    """Points of a panel that a line joins."""

    label: str  # in the legend; "" = none
    x: list[Any]  # numbers or words
    y: list[float]
    color: str
    style: str  # marker and dashes, such as "o:"
    notes: Sequence[str] = ()  # written beside the points


class Panel(NamedTuple):
    """A panel of a picture: numbers on its x axis have a log scale; above words, y starts at 0."""

    xlabel: str
    ylabel: str
    lines: Sequence[Line]


def draw(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Draw panels side by side, with one legend."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure(figsize=(7 * len(panels), 5.6), layout="constrained", dpi=120)
    figure.suptitle(title, fontsize=9)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    handles = {}
    for axes, panel in zip(grid, panels, strict=True):
        for line in panel.lines:
            style = {"color": line.color, "markersize": 5, "linewidth": 1.2}
            (drawn,) = axes.plot(line.x, line.y, line.style, **style)
            if line.label:
                handles[line.label] = drawn
            for x, y, note in zip(line.x, line.y, line.notes, strict=False):
                place = {"xytext": (6, -10), "textcoords": "offset points"}
                axes.annotate(note, (x, y), **place, fontsize=8, color=line.color)
        if isinstance(panel.lines[0].x[0], str):
            axes.set_ylim(bottom=0)
        else:
            axes.set_xscale("log")
            left, right = axes.dataLim.intervalx
            axes.set_xlim(left / 1.6, right * 1.6)  # a factor above 2.5, so that there is a tick
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
        axes.grid(which="both", color="0.92")
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    legend: dict[str, Any] = {"loc": "outside lower center", "ncols": 5, "frameon": False}
    figure.legend(handles.values(), handles.keys(), **legend)
    figure.savefig(path)
