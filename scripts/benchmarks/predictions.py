"""The latency of predictions: nets and backends, their measurement, records and picture."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from operator import itemgetter
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import torch

from benchmarks.results import MARKERS, Line, Panel, Record
from mobilenets.choices import check_choice
from mobilenets.cpus import num_cpus
from mobilenets.export import Runner
from mobilenets.models import MODELS, count_macs, count_parameters, create_model
from mobilenets.models.published import find_top1
from mobilenets.predict.backends import BACKENDS, load_backend
from mobilenets.predict.latency import time_calls
from mobilenets.weights import Weights, load_weights

HEADINGS = ("net", "width", "pixels", "batch", "threads", "backend", "MACs", "ms", "5 %", "95 %",
            "images/s", "of eager", "top-1")  # fmt: skip
GROUP_SIZE = 8  # cases that take turns: their nets and buffers are in memory together


class Net(NamedTuple):
    """A net at a resolution, that of its preprocessing."""

    label: str  # its name; of a trained net also its data
    weights: Weights
    top1: float | None  # %; None = unknown
    source: str | None  # of top1


@dataclass(frozen=True)
class Case:
    """What all backends are compared on, and the seconds of their calls."""

    net: Net
    batch_size: int
    threads: int
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of an image: (C, H, W)."""
        images = self.net.weights.preprocessing
        return images["in_channels"], images["image_size"], images["image_size"]

    @cached_property
    def cost(self) -> tuple[int, int]:
        """Multiply-adds for an image, and parameters."""
        with torch.device("meta"):
            net = create_model(self.net.weights.model, **self.net.weights.options)
        return count_macs(net, self.shape), count_parameters(net)


def check_backends(names: Iterable[str], device: str) -> None:
    """Raise ValueError unless all of these backends can run here."""
    for name in names:
        check_choice("--backends", name, BACKENDS)
        BACKENDS[name].check_installed(name)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: {str(error).splitlines()[0]}") from None


def make_net(name: str, width: float, resolution: int) -> Net:
    """Return a net with random weights, always the same, and its published accuracy."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = create_model(name, width_mult=width)
    images = {"image_size": resolution, "in_channels": net.options["in_channels"]}
    weights = Weights(name, Path(name), "random", name, net.options, net.state_dict(), [], images)
    return Net(name, weights, *find_top1(name, width, resolution))


def load_net(source: str, resolution: int | None = None) -> Net:
    """Return a trained net; at its own resolution also the accuracy of its run.

    Raises:
        ValueError: there are no weights, or they don't say which images they are for.
    """
    weights = load_weights(source)
    images = weights.preprocessing
    if not images:
        raise ValueError(f"{source} doesn't say which images it takes: save it with save_model")
    label = weights.model
    if data := weights.config.get("data", {}).get("name"):
        label += f" ({data})"
    size = resolution or images["image_size"]
    top1 = origin = None
    splits = [split for split in ("test", "val") if f"{split}/top1" in weights.metrics]
    if splits and size == images["image_size"]:
        top1 = 100 * weights.metrics[f"{splits[0]}/top1"]
        origin = f"{weights.path}, {splits[0]} split"
    return Net(label, replace(weights, preprocessing=images | {"image_size": size}), top1, origin)


def make_cases(args: argparse.Namespace, resolution: int) -> list[Case]:
    """Return every net by width, resolution, batch size and threads, the threads outermost.

    Args:
        resolution: the default for nets given by name.

    Raises:
        ValueError: a net or file does not exist, or a file doesn't describe its images.
    """
    nets = []
    for net in args.nets:
        if net in MODELS:
            sizes = args.resolution or [resolution]
            nets += [make_net(net, width, size) for width in args.width for size in sizes]
        elif not Path(net).exists() and ":" not in net:
            raise ValueError(f"there is no net or file {net}: nets are {', '.join(MODELS)}")
        else:
            nets += [load_net(net, size) for size in args.resolution or [None]]
    return [
        Case(net, batch_size, threads)
        for threads in args.threads or [num_cpus()]
        for net in nets
        for batch_size in args.batch_size
    ]


def measure(
    cases: Sequence[Case], backends: Sequence[str], device: str, rounds: int
) -> Iterator[Sequence[Case]]:
    """Measure and yield group by group: up to `GROUP_SIZE` cases with the same threads."""
    before = torch.get_num_threads()
    try:
        for threads in dict.fromkeys(case.threads for case in cases):
            torch.set_num_threads(threads)
            same = [case for case in cases if case.threads == threads]
            for i in range(0, len(same), GROUP_SIZE):
                measure_group(same[i : i + GROUP_SIZE], backends, device, rounds)
                yield same[i : i + GROUP_SIZE]
    finally:
        torch.set_num_threads(before)


def measure_group(cases: Sequence[Case], backends: Sequence[str], device: str, rounds: int) -> None:
    """Measure cases that take turns."""
    runners: dict[tuple[int, str], Runner] = {}  # one for all batch sizes of a net
    calls = {}
    for i, case in enumerate(cases):
        noise = torch.Generator().manual_seed(0)
        images = torch.randn(case.batch_size, *case.shape, generator=noise)
        for name in backends:
            key = id(case.net), name
            if key not in runners:
                runners[key] = load_backend(name, case.net.weights, device)
            calls[f"{i} {name}"] = partial(runners[key], images)
    seconds = time_calls(calls, rounds, untimed_calls=1)
    for i, case in enumerate(cases):
        case.seconds.update({name: seconds[f"{i} {name}"] for name in backends})


def make_record(case: Case, backend: str, device: str) -> Record:
    """Return what is known of a backend in a case."""
    seconds, net = case.seconds[backend], case.net
    cuts = quantiles(seconds, n=20, method="inclusive")
    macs, params = case.cost
    top1 = None if backend == "int8" else net.top1  # int8 changes it
    eager = case.seconds.get("eager")
    return {
        "net": net.label,
        "width": net.weights.options["width_mult"],
        "resolution": case.shape[-1],
        "batch_size": case.batch_size,
        "threads": case.threads,
        "backend": backend,
        "macs": macs,
        "median_ms": 1e3 * median(seconds),
        "p5_ms": 1e3 * cuts[0],
        "p95_ms": 1e3 * cuts[-1],
        "images_per_second": case.batch_size / median(seconds),
        "times_as_fast_as_eager": median(eager) / median(seconds) if eager else None,
        "top1_percent": top1,
        "top1_source": None if top1 is None else net.source,
        "params": params,
        "device": "cpu" if BACKENDS[backend].packages else device,
        "rounds": len(seconds),
        "weights": net.weights.source,
    }


# The picture


def select_points(records: Sequence[Record]) -> list[Record]:
    """Return the records of known accuracy that have the first batch size and threads."""
    setting = itemgetter("batch_size", "threads")
    same = [record for record in records if setting(record) == setting(records[0])]
    return [record for record in same if record["top1_percent"] is not None]


def join_points(points: Sequence[Record]) -> list[list[Record]]:
    """Return lines of a net and backend, cheapest point first: over the widths.

    A net that has several resolutions has a line over these for each width.
    """
    nets = [net for net, _ in {(point["net"], point["resolution"]) for point in points}]
    lines: dict[tuple[Any, ...], list[Record]] = {}
    for point in sorted(points, key=itemgetter("macs")):
        width = point["width"] if nets.count(point["net"]) > 1 else None
        lines.setdefault((point["net"], point["backend"], width), []).append(point)
    return list(lines.values())


def make_panels(points: Sequence[Record]) -> list[Panel]:
    """Return accuracy against multiply-adds and against latency."""
    nets, backends = (list(dict.fromkeys(p[key] for p in points)) for key in ("net", "backend"))
    cost, latency = [], []
    for line in join_points(points):
        net, backend = line[0]["net"], line[0]["backend"]
        color, marker = f"C{nets.index(net)}", MARKERS[backends.index(backend)]
        top1, ms = ([point[key] for point in line] for key in ("top1_percent", "median_ms"))
        style = marker + ("-" if backend == backends[-1] else ":")
        latency.append(Line(f"{net}, {backend}", ms, top1, color, style))
        if backend == backends[0]:  # the cost is the same for all
            macs, widths = [p["macs"] / 1e6 for p in line], [f"{p['width']:g}" for p in line]
            if len(set(widths)) == 1:  # over resolutions: at the last point
                widths[:-1] = [""] * (len(line) - 1)
            cost.append(Line("", macs, top1, color, "o-", widths))
    sizes = ", ".join(map(str, sorted({point["resolution"] for point in points})))
    xlabels = (
        f"million multiply-adds; width multipliers, at {sizes} pixels",
        "ms for a batch of {batch_size} (threads: {threads})".format(**points[0]),
    )
    both = zip(xlabels, (cost, latency), strict=True)
    return [Panel(xlabel, "top-1 (%)", lines) for xlabel, lines in both]
