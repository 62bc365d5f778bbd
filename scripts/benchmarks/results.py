"""What a benchmark found: its rows as CSV, as text and as a picture."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.systems import LIMITS, Comparison, Figures

# (heading in text, column in CSV)
COLUMNS = (
    ("net", "net"),
    ("width", "width"),
    ("pixels", "resolution"),
    ("strides", "strides"),
    ("system", "system"),
    ("MACs", "macs"),
    ("images/s", "images_per_second"),
    ("lowest", "images_per_second_lowest"),
    ("highest", "images_per_second_highest"),
    ("of limit", "share_of_limit"),
    ("first step", "first_step_seconds"),
    ("memory", "peak_memory_mib"),
    ("waiting", "data_wait_share"),
    ("batch", "batch_size"),
    ("runs", "runs"),
)
TEXT = 5  # so many columns hold words or names, the others numbers


@dataclass
class Row:
    """A system in one comparison, and the figures of each of its runs."""

    comparison: Comparison
    system: str
    runs: list[Figures] = field(default_factory=list)

    def median(self, figure: str) -> float | None:
        """Of the runs that have the figure."""
        values = [run[figure] for run in self.runs if figure in run]
        return median(values) if values else None

    @property
    def phase(self) -> str:
        """ "train" or "eval"."""
        return "eval" if self.system.startswith("eval") else "train"


def limit(row: Row, rows: Sequence[Row]) -> float | None:
    """The median speed that the row is compared with."""
    for other in rows:
        if other.comparison == row.comparison and other.system == LIMITS[row.phase]:
            return other.median("images_per_second")
    return None


def record(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """A row under the columns' names for CSV; what is unknown is None."""
    comparison, speed, most = row.comparison, row.median("images_per_second"), limit(row, rows)
    speeds = [run["images_per_second"] for run in row.runs]
    memory = row.median("memory")
    return {
        "net": comparison.net,
        "width": comparison.width,
        "resolution": comparison.size,
        "strides": comparison.strides,
        "system": row.system,
        "macs": row.median("macs"),
        "images_per_second": speed,
        "images_per_second_lowest": min(speeds, default=None),
        "images_per_second_highest": max(speeds, default=None),
        "share_of_limit": speed / most if speed and most else None,
        "first_step_seconds": row.median("first_step"),
        "peak_memory_mib": None if memory is None else memory / 2**20,
        "data_wait_share": row.median("waiting"),
        "batch_size": comparison.batch_size,
        "runs": len(row.runs),
    }


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """One line for each row, all digits."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [column for _, column in COLUMNS], lineterminator="\n")
        writer.writeheader()
        writer.writerows(record(row, rows) for row in rows)


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text, an empty line between comparisons."""
    formats = {
        "macs": lambda macs: f"{macs / 1e6:,.1f} M",
        "share_of_limit": "{:.2f}".format,
        "first_step_seconds": "{:.1f} s".format,
        "peak_memory_mib": "{:,.0f} MiB".format,
        "data_wait_share": "{:.0%}".format,
        **dict.fromkeys([c for _, c in COLUMNS if c.startswith("images_per_second")], rate),
    }
    lines: list[list[str]] = [[heading for heading, _ in COLUMNS]]
    for _, group in groupby(rows, lambda row: row.comparison):
        lines.append([""] * len(COLUMNS))
        for row in group:
            comparisons = record(row, rows).items()
            lines.append(
                [
                    "" if value is None else formats.get(key, str)(value)
                    for key, value in comparisons
                ]
            )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < TEXT else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def rate(speed: float) -> str:
    """Images per second with three digits: "37.4", "1,287"."""
    return f"{speed:.1f}" if speed < 100 else f"{speed:,.0f}"


def draw(path: Path, rows: Sequence[Row], title: str) -> None:
    """Bars of images/s and of the share of the limit: a panel for each comparison and phase."""
    from matplotlib.figure import Figure

    panels = [[row for row in rows if row.phase == phase] for phase in LIMITS]
    panels = [
        list(group) for part in panels for _, group in groupby(part, lambda row: row.comparison)
    ]
    columns = min(4, len(panels))
    lines = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    heights = [max(map(len, line)) + 2.5 for line in lines]
    size = (max(4.2 * columns, 6), 0.27 * sum(heights) + 0.6)
    figure = Figure(figsize=size, layout="constrained", dpi=110)
    grid = figure.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    for axes, panel in zip(grid.flat, panels, strict=False):
        records = [record(row, rows) for row in panel]
        names = [row.system for row in panel]
        speeds = [figures["images_per_second"] or 0.0 for figures in records]
        colours = ["tab:blue" if name.endswith("ours") else "silver" for name in names]
        bars = axes.barh(range(len(panel)), speeds, color=colours)
        axes.bar_label(bars, [label(figures) for figures in records], padding=3, fontsize=8)
        axes.set_xlim(0, 1.5 * max(*speeds, 1.0))
        if most := limit(panel[0], rows):
            axes.axvline(most, color="black", linewidth=0.8, linestyle=":", zorder=0)
        axes.set_yticks(range(len(panel)), names, fontsize=8)
        axes.invert_yaxis()
        axes.tick_params(axis="x", labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(heading(panel), fontsize=9)
    figure.suptitle(f"images/s; dotted: one batch in memory\n{title}", fontsize=10)
    figure.savefig(path)


def label(figures: dict[str, Any]) -> str:
    """The end of a bar: "164: 0.87 of limit"."""
    if figures["images_per_second"] is None:
        return "failed"
    share = figures["share_of_limit"]
    return rate(figures["images_per_second"]) + (f": {share:.2f} of limit" if share else "")


def heading(panel: Sequence[Row]) -> str:
    """What is compared: "train V2 0.25, 32 px, 0.7 M MACs, batch 128"."""
    comparison, macs = panel[0].comparison, [macs for row in panel if (macs := row.median("macs"))]
    cost = f"{macs[0] / 1e6:,.1f} M MACs, " if macs else ""
    net = f"{comparison.net.upper()} {comparison.width:g}"
    return f"{panel[0].phase} {net}, {comparison.size} px, {cost}batch {comparison.batch_size}"
