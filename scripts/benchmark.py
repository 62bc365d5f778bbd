"""How long a prediction takes: any net, by width, resolution, batch size, threads and backend.

    python scripts/benchmark.py
    python scripts/benchmark.py runs/cifar10/mobilenet_v2_1.0/2026-11-23_10-00-00 --batch-size 1 32
    python scripts/benchmark.py mobilenet_v1 mobilenet_v2 --width 1 0.75 0.5 \\
        --resolution 224 192 160 128 --backends folded onnxruntime

All is measured in one process and in turns: each round calls every backend of every net once, just
after a call that doesn't count, so that what else the machine does meets all alike. "5 %" and
"95 %" of the calls took at most so long. "of eager" is how many times as fast as PyTorch eager with
the same net, images and threads. Nets that are given by name have random weights, and the accuracy
that their authors published for ImageNet; files have that of their run. That of int8 isn't known
here: `scripts/export.py` measures it.
"""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilenets.console import OneLineParser
from mobilenets.imports import lean_imports

if TYPE_CHECKING:
    from benchmarks.predictions import Case

BACKENDS = ("eager", "channels_last", "folded", "onnxruntime", "int8")
RESOLUTION = 224  # of nets given by name


def machine() -> str:
    """What is measured on: processor, CPUs, their load, and versions."""
    import torch

    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), name)
    if torch.cuda.is_available():
        name = f"{torch.cuda.get_device_name()}, {name}"
    words = [f"{name}, {os.cpu_count()} CPUs"]
    with suppress(AttributeError, OSError):  # Windows knows no load
        words.append(f"load {os.getloadavg()[0]:.1f} before")
    for package in ("torch", "onnxruntime"):
        with suppress(PackageNotFoundError):
            words.append(f"{package} {version(package)}")
    return ", ".join(words)


def make_parser() -> OneLineParser:
    """The command line."""
    parser = OneLineParser(
        prog="benchmark.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("nets", nargs="*", metavar="NET", default=["mobilenet_v1", "mobilenet_v2"],
        help="names of nets, checkpoints, run folders or files of weights "
        "(default: mobilenet_v1 mobilenet_v2)")  # fmt: skip
    add("--width", type=positive(float), nargs="+", metavar="W",
        help="width multipliers of nets given by name (default: 1)")  # fmt: skip
    add("--resolution", type=positive(int), nargs="+", metavar="R",
        help=f"pixels (default: those of the checkpoint, or {RESOLUTION})")  # fmt: skip
    add("--batch-size", type=positive(int), nargs="+", metavar="N", default=[1], help="default: 1")
    add("--threads", type=positive(int), nargs="+", metavar="N",
        help="default: one for each CPU that this process may use")  # fmt: skip
    add("--backends", nargs="+", metavar="BACKEND", default=list(BACKENDS),
        help=f"default: {' '.join(BACKENDS)}; there is also compiled")  # fmt: skip
    add("--device", default="cpu", help="where PyTorch runs, such as cuda (default: cpu)")
    add("--rounds", type=positive(int, least=2), default=40,
        help="calls of each backend that count (default: 40)")  # fmt: skip
    add("--keep-memory", action="store_true",
        help="have glibc keep freed memory, as train.py and eval.py do")  # fmt: skip
    add("--format", choices=("text", "markdown"), default="text")
    add("--output", type=Path, default=Path("runs/benchmark"), metavar="DIR",
        help="for predictions.csv and predictions.png (default: runs/benchmark)")  # fmt: skip
    return parser


def positive(kind: type, least: float = 0) -> Any:
    """A parser of numbers above 0, or from `least` on."""
    what = f"a number from {least} on" if least else "a number above 0"
    what = what.replace("number", "whole number") if kind is int else what

    def number(text: str) -> Any:
        with suppress(ValueError):
            value = kind(text)
            if 0 < value < float("inf") and value >= least:
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")

    return number


def make_cases(args: argparse.Namespace) -> "list[Case]":
    """Every net by width, resolution, batch size and threads, the threads in the outer loop.

    Raises:
        ValueError: a net or file that there isn't, or a file that says nothing of its images.
    """
    from benchmarks.predictions import Case, from_file, from_name

    from mobilenets.cpus import num_cpus
    from mobilenets.models import MODELS

    nets = []
    for net in args.nets:
        if net in MODELS:
            nets += [
                from_name(net, width, resolution)
                for width in args.width or [1.0]
                for resolution in args.resolution or [RESOLUTION]
            ]
        elif not Path(net).exists() and ":" not in net:
            raise ValueError(f"there is no net or file {net}: nets are {', '.join(MODELS)}")
        else:
            nets += [from_file(net, resolution) for resolution in args.resolution or [None]]
    return [
        Case(net, batch_size, threads)
        for threads in args.threads or [num_cpus()]
        for net in nets
        for batch_size in args.batch_size
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for, and show it."""
    parser = make_parser()
    args = parser.parse_args(argv)
    # Imported here: --help answers before torch is loaded.
    with lean_imports():
        from benchmarks.predictions import check, draw, measure, points, table, write_csv

    if args.keep_memory:
        from mobilenets.training.hardware import keep_memory

        keep_memory()
    try:
        check(args.backends, args.device)
        cases = make_cases(args)
        args.output.mkdir(parents=True, exist_ok=True)
        title = machine() + ", glibc keeps freed memory" * args.keep_memory
        csv, rows = args.output / "predictions.csv", []
        for group in measure(cases, args.backends, args.device, args.rounds):
            rows += group
            write_csv(csv, rows)
            print(f"done  {len(rows)} of {len(cases) * len(args.backends)} rows", file=sys.stderr)
    except (ValueError, OSError) as error:
        parser.exit(1, f"error: {error}\n")
    title += f"; medians of {args.rounds} calls"
    print(f"{title}\n\n{table(rows, args.format)}\n\nfile  {csv}")
    if points(rows):
        picture = csv.with_suffix(".png")
        draw(picture, rows, title)
        print(f"file  {picture}")
    else:
        print("note  no picture: the accuracy of none of these nets is known")


if __name__ == "__main__":
    main()
