"""Latencies of predictions: what is measured, and its rows as CSV, as a table and as a picture."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mobilenets.choices import check_choice
from mobilenets.export import Runner
from mobilenets.models import count_macs, count_parameters, create_model
from mobilenets.models.published import find_top1
from mobilenets.predict.backends import BACKENDS, load_backend
from mobilenets.predict.latency import latencies
from mobilenets.weights import Weights, load_weights

MARKERS = "sDv^X"  # of the backends
TOGETHER = 8  # so many cases share the rounds: their nets and buffers are in memory together

# (heading, column in CSV)
COLUMNS = (
    ("net", "net"),
    ("width", "width"),
    ("pixels", "resolution"),
    ("batch", "batch_size"),
    ("threads", "threads"),
    ("backend", "backend"),
    ("MACs", "macs"),
    ("ms", "median_ms"),
    ("5 %", "p5_ms"),
    ("95 %", "p95_ms"),
    ("images/s", "images_per_second"),
    ("of eager", "times_as_fast_as_eager"),
    ("top-1", "top1_percent"),
)
# What only the CSV has.
MORE = ("top1_source", "params", "device", "rounds", "weights")


@dataclass(frozen=True)
class Net:
    """A net at a resolution, and what is known of it.

    Attributes:
        label: its name, and of a trained net the data.
        top1: in %; None = unknown.
        source: who says so.
    """

    label: str
    weights: Weights
    top1: float | None
    source: str | None

    @property
    def width(self) -> float:
        """The width multiplier."""
        return self.weights.options["width_mult"]

    @property
    def resolution(self) -> int:
        """Pixels on a side."""
        return self.weights.preprocessing["image_size"]

    @property
    def in_channels(self) -> int:
        """Of an image."""
        return self.weights.preprocessing["in_channels"]

    @cached_property
    def cost(self) -> tuple[int, int]:
        """Multiply-adds of an image, and parameters."""
        with torch.device("meta"):
            net = create_model(self.weights.model, **self.weights.options)
        return count_macs(net, (self.in_channels, *[self.resolution] * 2)), count_parameters(net)


@dataclass(frozen=True)
class Case:
    """What all backends are compared on."""

    net: Net
    batch_size: int
    threads: int

    def images(self) -> Tensor:
        """Noise in the shape of its batch."""
        shape = self.batch_size, self.net.in_channels, *[self.net.resolution] * 2
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@dataclass
class Row:
    """A backend in one case, and the seconds of its calls."""

    case: Case
    backend: str
    device: str
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """In milliseconds."""
        return 1e3 * median(self.seconds)

    @property
    def top1(self) -> float | None:
        """The net's, in %; that in int8 is another, and isn't known here."""
        return None if self.backend == "int8" else self.case.net.top1


def check(backends: Iterable[str], device: str) -> None:
    """Raises ValueError unless all of these can run here."""
    for name in backends:
        check_choice("--backends", name, BACKENDS)
        BACKENDS[name].check_installed(name)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: {str(error).splitlines()[0]}") from None


def from_name(name: str, width: float, resolution: int) -> Net:
    """A net with random weights, the same in each process, and its published accuracy."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = create_model(name, width_mult=width)
    images = {"image_size": resolution, "in_channels": net.options["in_channels"]}
    weights = Weights(name, Path(name), "random", name, net.options, net.state_dict(), [], images)
    return Net(name, weights, *find_top1(name, width, resolution))


def from_file(source: str, resolution: int | None = None) -> Net:
    """A trained net; at its own resolution with the accuracy of its run.

    Raises:
        ValueError: no weights; or they don't say which images they are for.
    """
    weights = load_weights(source)
    images = weights.preprocessing
    if not images:
        raise ValueError(f"{source} doesn't say which images it takes: save it with save_model")
    label = weights.model
    if data := weights.config.get("data", {}).get("name"):
        label += f" ({data})"
    top1 = author = None
    if resolution in (None, images["image_size"]):
        known = [split for split in ("test", "val") if f"{split}/top1" in weights.metrics]
        if known:
            top1 = 100 * weights.metrics[f"{known[0]}/top1"]
            author = f"{weights.path}, {known[0]} split"
    size = resolution or images["image_size"]
    weights = replace(weights, preprocessing=images | {"image_size": size})
    return Net(label, weights, top1, author)


def measure(
    cases: Sequence[Case], backends: Sequence[str], device: str, rounds: int
) -> Iterator[list[Row]]:
    """Rows, group by group: up to `TOGETHER` cases with the same threads take turns."""
    before = torch.get_num_threads()
    try:
        for group in groups(cases):
            torch.set_num_threads(group[0].threads)
            yield measure_together(group, backends, device, rounds)
    finally:
        torch.set_num_threads(before)


def groups(cases: Sequence[Case]) -> Iterator[Sequence[Case]]:
    """The cases that take turns."""
    for threads in dict.fromkeys(case.threads for case in cases):
        same = [case for case in cases if case.threads == threads]
        for i in range(0, len(same), TOGETHER):
            yield same[i : i + TOGETHER]


def measure_together(
    cases: Sequence[Case], backends: Sequence[str], device: str, rounds: int
) -> list[Row]:
    """The rows of cases that take turns."""
    runners: dict[tuple[int, str], Runner] = {}  # one for all batch sizes
    rows: list[Row] = []
    calls = {}
    for case in cases:
        images = case.images()
        for name in backends:
            key = id(case.net), name
            if key not in runners:
                runners[key] = load_backend(name, case.net.weights, device)
            calls[str(len(rows))] = partial(runners[key], images)
            rows.append(Row(case, name, "cpu" if BACKENDS[name].packages else device))
    for number, seconds in latencies(calls, rounds, settle=1).items():
        rows[int(number)].seconds = seconds
    return rows


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """One line for each row, all digits; what is unknown stays empty."""
    columns = [column for _, column in COLUMNS] + list(MORE)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(record(row, rows) for row in rows)


def record(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """A row under the columns' names; what is unknown is None."""
    case, net = row.case, row.case.net
    cuts = quantiles(row.seconds, n=20, method="inclusive")
    eager = next((r.median for r in rows if r.case is case and r.backend == "eager"), None)
    macs, params = net.cost
    return {
        "net": net.label,
        "width": net.width,
        "resolution": net.resolution,
        "batch_size": case.batch_size,
        "threads": case.threads,
        "backend": row.backend,
        "macs": macs,
        "median_ms": row.median,
        "p5_ms": 1e3 * cuts[0],
        "p95_ms": 1e3 * cuts[-1],
        "images_per_second": 1e3 * case.batch_size / row.median,
        "times_as_fast_as_eager": None if eager is None else eager / row.median,
        "top1_percent": row.top1,
        "top1_source": None if row.top1 is None else net.source,
        "params": params,
        "device": row.device,
        "rounds": len(row.seconds),
        "weights": net.weights.source,
    }


def table(rows: Sequence[Row], style: str = "text") -> str:
    """The rows as aligned "text", or as "markdown"."""
    formats: dict[str, Callable[[Any], str]] = {
        "width": "{:g}".format,
        "macs": lambda macs: f"{macs / 1e6:,.1f} M",
        "images_per_second": lambda speed: f"{speed:.1f}" if speed < 100 else f"{speed:,.0f}",
        "times_as_fast_as_eager": "{:.1f}x".format,
        "top1_percent": "{:.1f} %".format,
        **dict.fromkeys(("median_ms", "p5_ms", "p95_ms"), "{:.2f}".format),
    }
    lines = [[heading for heading, _ in COLUMNS]]
    for row in rows:
        figures = record(row, rows)
        lines.append(
            [
                "" if figures[key] is None else formats.get(key, str)(figures[key])
                for _, key in COLUMNS
            ]
        )
    words = [key in ("net", "backend") for _, key in COLUMNS]
    if style == "markdown":
        lines.insert(1, [":--" if word else "--:" for word in words])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for line in lines:
        comparisons = [
            cell.ljust(width) if word else cell.rjust(width)
            for cell, width, word in zip(line, widths, words, strict=True)
        ]
        text.append(
            f"| {' | '.join(comparisons)} |"
            if style == "markdown"
            else "  ".join(comparisons).rstrip()
        )
    return "\n".join(text)


# The picture


class Point(NamedTuple):
    """Where a net lies in the picture; of a backend, or by its cost (None)."""

    net: str
    backend: str | None
    width: float
    resolution: int
    x: float  # million MACs, or milliseconds
    top1: float


def points(rows: Sequence[Row]) -> list[Point]:
    """Of the rows whose accuracy is known, those of the first batch size and threads."""
    found = []
    for row in rows:
        case, net = row.case, row.case.net
        first = rows[0].case
        if (case.batch_size, case.threads) != (first.batch_size, first.threads):
            continue
        if row.top1 is not None:
            where = net.width, net.resolution
            found.append(Point(net.label, None, *where, net.cost[0] / 1e6, row.top1))
            found.append(Point(net.label, row.backend, *where, row.median, row.top1))
    return list(dict.fromkeys(found))  # the cost is the same for all backends


def lines(points: Sequence[Point]) -> dict[tuple[str, str | None, float | None], list[Point]]:
    """The points that a line connects, by net, backend and, with several resolutions, width."""
    several = {
        p.net
        for p in points
        if any(p.net == q.net and p.resolution != q.resolution for q in points)
    }
    found: dict[tuple[str, str | None, float | None], list[Point]] = {}
    for point in sorted(points, key=lambda point: point.x):
        width = point.width if point.net in several else None
        found.setdefault((point.net, point.backend, width), []).append(point)
    return found


def label(axes: Any, line: Sequence[Point], colour: str, below: bool) -> None:
    """Writes widths beside the points: of a line over resolutions, at its last."""
    for point in line if len({point.width for point in line}) > 1 else line[-1:]:
        axes.annotate(
            f"{point.width:g}",
            (point.x, point.top1),
            xytext=(6, -10) if below else (-3, 6),
            textcoords="offset points",
            ha="left" if below else "right",
            fontsize=8,
            color=colour,
        )


def plain_log(axes: Any) -> None:
    """A log x axis over a factor of 5 at least, with plain numbers: 1, 2, 5, 10, ..."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    left, right = axes.get_xlim()
    wider = max(1.0, 5 * left / right) ** 0.5
    axes.set_xlim(left / wider, right * wider)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def draw(path: Path, rows: Sequence[Row], title: str) -> None:
    """Accuracy against multiply-adds and against latency: a line over widths or resolutions."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    known = points(rows)
    nets = list(dict.fromkeys(point.net for point in known))
    backends = [name for name in BACKENDS if any(point.backend == name for point in known)]
    colours = {net: f"C{i}" for i, net in enumerate(nets)}
    markers = dict(zip([None, *backends], ["o", *MARKERS], strict=False))
    first = rows[0].case

    figure = Figure(figsize=(12, 5.6), layout="constrained", dpi=130)
    cost, latency = figure.subplots(1, 2, sharey=True)
    for axes, chosen in ((cost, (None,)), (latency, backends)):
        for (net, backend, _), line in lines([p for p in known if p.backend in chosen]).items():
            axes.plot(
                [point.x for point in line],
                [point.top1 for point in line],
                color=colours[net],
                marker=markers[backend],
                linestyle="-" if backend in (None, backends[-1]) else ":",
                linewidth=1.2,
                markersize=5,
            )
        plain_log(axes)
        axes.grid(which="both", color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
    for line in lines([p for p in known if p.backend is None]).values():
        net = line[0].net
        label(cost, line, colours[net], below=nets.index(net) % 2 == 0)
    sizes = sorted({point.resolution for point in known})
    cost.set_xlabel(
        "million multiply-adds; width multipliers, at " + ", ".join(map(str, sizes)) + " pixels"
    )
    cost.set_ylabel("top-1 (%)")
    latency.set_xlabel(f"ms for a batch of {first.batch_size} (threads: {first.threads})")
    bottom, top = cost.get_ylim()
    cost.set_ylim(bottom - max(0, 4 - top + bottom) / 2, top + max(0, 4 - top + bottom) / 2)
    handles = [Line2D([], [], color=colours[net], label=net) for net in nets]
    handles += [
        Line2D([], [], color="0.3", marker=markers[name], linestyle="", label=name)
        for name in backends
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.suptitle(title, fontsize=9)
    figure.savefig(path)
