"""How fast train.py and eval.py are, beside the limit and beside what people use today.

    python scripts/benchmark_training.py
    python scripts/benchmark_training.py --sizes 224 --nets v2 --widths 1.0 --rounds 5
    python scripts/benchmark_training.py --timm-script ~/timm/train.py --data /data/photographs

Every run is a process of its own, and the systems take turns (A B C A B C ...), so that what
else the machine does meets all of them; figures are medians of the rounds. "of limit" compares with
one batch that lies in memory: in training the same net and step as ours, channels_last and with a
tuned allocator; in evaluation (eval-*) the same net, eager and channels first. Time to the first
step counts from the start of the process. Memory is the largest PSS seen, children included.
Logging and metrics are on; validation is on, but off the clock. Baselines' nets get the strides of
ours, so that all nets of a comparison cost the same multiply-adds.
"""

import argparse
import math
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import images, process
from benchmarks.results import Row, draw, rate, table, write_csv
from benchmarks.systems import (
    SYSTEMS,
    Comparison,
    Figures,
    System,
    checkpoint,
    timm_script,
    torchvision_script,
    train_ours,
)

from mobilenets.console import OneLineParser

BATCH_SIZES = {True: 128, False: 32}  # by: is it as small as CIFAR?
VAL_SHARE = 0.1  # of the training images, which train.py keeps for validation


class SystemFailedError(Exception):
    """A run that gave no figures; the message is one sentence."""


def schedule(
    comparisons: Sequence[Comparison], systems: Mapping[str, System], rounds: int
) -> Iterator[tuple[Comparison, str]]:
    """Every run in its order: within a comparison the systems take turns."""
    for comparison in comparisons:
        for _ in range(rounds):
            yield from ((comparison, name) for name in systems if systems[name].takes(comparison))


def measure(system: System, comparison: Comparison, scratch: Path) -> Figures:
    """One run in the empty folder `scratch`.

    Raises:
        SystemFailedError: it failed, or trained fewer steps than asked.
    """
    last = comparison.warmup + comparison.steps
    command = system.command(comparison)
    run = process.run(command, scratch, (1, comparison.warmup, last), system.tuned)
    if run.returncode:
        errors = (scratch / "errors.txt").read_text().strip().splitlines() or ["it said nothing"]
        raise SystemFailedError(f"ended with exit code {run.returncode}: {errors[-1]}")
    figures: Figures = {}
    if run.peak is not None:
        figures["memory"] = run.peak
    if run.marks:
        figures["first_step"] = run.marks[0]
    if len(run.marks) == 3:
        figures["images_per_second"] = (
            comparison.steps * comparison.batch_size / (run.marks[2] - run.marks[1])
        )
    figures |= system.read(scratch, comparison)  # what it measures itself is more exact
    if "images_per_second" not in figures:
        raise SystemFailedError(
            f"trained fewer than {last} steps, or with an optimizer unlike torch's"
        )
    return figures


def machine() -> str:
    """What was measured on: processor, threads and versions."""
    import torch

    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), name)
    if torch.cuda.is_available():
        name = f"{torch.cuda.get_device_name()}, {name}"
    packages = ("torch", "torchvision", "pytorch-lightning", "timm")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{name}, {torch.get_num_threads()} threads of {os.cpu_count()}; {versions}"


# The command line


def make_parser() -> OneLineParser:
    """The command line."""
    parser = OneLineParser(
        prog="benchmark_training.py",
        description=f"{__doc__}\ncontenders:\n"
        + "\n".join(f"  {name:<17}{system.about}" for name, system in SYSTEMS.items())
        + "\n  timm-script, timm-script-tuned, torchvision-script, torchvision-script-tuned: "
        "with the options below",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--sizes", type=at_least(32), nargs="+", default=[32, 224], help="pixels (default: 32 224)")
    add("--nets", choices=("v1", "v2"), nargs="+", default=["v1", "v2"])
    add("--widths", type=float, nargs="+", default=[0.25, 1.0], help="default: 0.25 1.0")
    add("--strides", choices=("cifar", "imagenet"), nargs="+", default=["cifar", "imagenet"],
        help="at 32 pixels (default: both); all others have imagenet's")  # fmt: skip
    add("--systems", nargs="+", metavar="NAME", help="default: all")
    add("--rounds", type=at_least(1), default=3, help="runs of each system (default: 3)")
    add("--steps", type=at_least(2), default=20, help="steps on the clock (default: 20)")
    add(
        "--warmup",
        type=at_least(2),
        default=10,
        help="steps before, in which loaders use up what they had ready (default: 10)",
    )
    add("--batch-size", type=at_least(1), help="default: 128 at 32 pixels, else 32")
    add("--data", type=Path, metavar="DIR", help="class folders of images; default: random ones")
    add("--timm-script", type=Path, metavar="FILE", help="timm's train.py")
    add("--torchvision-script", type=Path, metavar="FILE",
        help="torchvision's references/classification/train.py")  # fmt: skip
    add("--output", type=Path, default=Path("runs/benchmark"), metavar="DIR",
        help="for benchmark.csv and benchmark.png (default: runs/benchmark)")  # fmt: skip
    return parser


def at_least(least: int) -> Any:
    """A parser of whole numbers from `least` on."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
        return int(text)

    return number


def choose_systems(args: argparse.Namespace) -> dict[str, System]:
    """Those asked for, baselines' own scripts among them where their paths are given.

    Raises:
        ValueError: an unknown name, or a script that is not there.
    """
    known = dict(SYSTEMS)
    for name, make in (("timm", timm_script), ("torchvision", torchvision_script)):
        script: Path | None = getattr(args, f"{name}_script")
        if script is not None and not script.is_file():
            raise ValueError(f"--{name}-script: there is no file {script}")
        if script is not None:
            known[f"{name}-script"] = make(script.absolute(), tuned=False)
            known[f"{name}-script-tuned"] = make(script.absolute(), tuned=True)
    names = args.systems or list(known)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"--systems: there is no {unknown[0]}, choose of {', '.join(known)}")
    return {name: known[name] for name in names}


def make_comparisons(args: argparse.Namespace, folder: Path) -> list[Comparison]:
    """All comparisons; their data will be in folder/SIZE."""
    comparisons = []
    for size in args.sizes:
        small = size == images.SMALL
        batch_size = args.batch_size or BATCH_SIZES[small]
        for strides in args.strides if small else ["imagenet"]:
            comparisons += [
                Comparison(
                    net, width, size, strides, batch_size, args.warmup, args.steps,
                    str(folder / str(size)),
                )
                for net in args.nets
                for width in args.widths
            ]  # fmt: skip
    return comparisons


def prepare(comparison: Comparison, systems: Mapping[str, System], source: Path | None) -> None:
    """Make the comparison's data, once for a size, and the checkpoint that eval.py reads.

    Raises:
        SystemFailedError: train.py made no checkpoint.
    """
    folder = Path(comparison.data)
    count = (
        math.ceil((comparison.warmup + comparison.steps) * comparison.batch_size / (1 - VAL_SHARE))
        + 1
    )
    if not folder.exists() and comparison.size == images.SMALL:
        images.make_small(folder, count, source)
        if any("script" in name for name in systems):
            images.make_small_tree(folder)
    elif not folder.exists():
        images.make_tree(folder / "tree", count, source)
    file = checkpoint(comparison)
    if "eval-ours" in systems and not file.exists():
        file.parents[1].mkdir(parents=True)
        short = train_ours(replace(comparison, steps=1), "trainer.max_epochs=1")
        process.run(short, file.parents[1], (1,), tuned=False)
        if not file.exists():
            errors = (file.parents[1] / "errors.txt").read_text().strip()
            raise SystemFailedError(f"train.py made no checkpoint for eval.py: {errors}")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for; exit code 1 if a system failed."""
    parser = make_parser()
    args = parser.parse_args(argv)
    failures: list[str] = []
    try:
        systems = choose_systems(args)
        args.output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
            rows = run_all(args, systems, Path(temporary), failures)
    except (ValueError, OSError, SystemFailedError) as error:
        parser.exit(1, f"error: {error}\n")
    title = machine()
    draw(args.output / "benchmark.png", rows, title)
    print(f"{title}\n\n{table(rows)}\n")
    print(f"file  {args.output / 'benchmark.csv'}\nfile  {args.output / 'benchmark.png'}")
    if failures:
        parser.exit(1, "".join(f"error: {failure}\n" for failure in failures))


def run_all(
    args: argparse.Namespace,
    systems: Mapping[str, System],
    temporary: Path,
    failures: list[str],
) -> list[Row]:
    """All runs, one after another; the CSV is written after each, progress goes to stderr."""
    comparisons = make_comparisons(args, temporary)
    rows: dict[tuple[Comparison, str], Row] = {}
    turns = list(schedule(comparisons, systems, args.rounds))
    if not turns:
        raise ValueError("none of these systems trains any of these nets: see --help")
    for i, (comparison, name) in enumerate(turns, 1):
        prepare(comparison, systems, args.data)
        row = rows.setdefault((comparison, name), Row(comparison, name))
        what = (
            f"{comparison.net} {comparison.width:g} {comparison.size} {comparison.strides} {name}"
        )
        with tempfile.TemporaryDirectory(dir=temporary) as scratch:
            try:
                row.runs.append(measure(systems[name], comparison, Path(scratch)))
                result = f"{rate(row.runs[-1]['images_per_second'])} images/s"
            except SystemFailedError as error:
                failures.append(f"{what} {error}")
                result = "failed"
        print(f"[{i}/{len(turns)}] {what}: {result}", file=sys.stderr)
        write_csv(args.output / "benchmark.csv", list(rows.values()))
    return list(rows.values())


if __name__ == "__main__":
    main()
