"""Compare the speed of train.py and eval.py with the limit and with other people's loops.

    python scripts/benchmark_training.py
    python scripts/benchmark_training.py --sizes 224 --nets v2 --widths 1.0 --rounds 5
    python scripts/benchmark_training.py --timm-script ~/timm/train.py --data /data/photographs

Every run is a process of its own, and the systems take turns (A B C A B C ...), so that other load
on the machine affects all alike; the results are medians of the rounds. "of limit" compares with
one batch in memory: in training with the same net and step as ours, channels_last and a tuned
allocator; in evaluation (eval-*) with the same net, eager and channels first. The time to the first
step counts from the start of the process. Memory is the peak PSS, children included. Logging and
metrics are on; validation is on, but not timed. Baselines' nets get our strides, so that all nets
of a comparison cost the same multiply-adds.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from benchmarks import images, systems, training
from benchmarks.process import RunError, run_system
from benchmarks.results import Record, describe_machine, draw, format_rate, write_csv
from benchmarks.systems import SYSTEMS, Comparison, System

from mobilenets.choices import check_choice
from mobilenets.console import OneLineParser, label_lines, number, print_errors

BATCH_SIZES = {True: 128, False: 32}  # by: are the images as small as CIFAR's?
VAL_SHARE = 0.1  # of the training images, which train.py keeps for validation


def make_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = OneLineParser(
        prog="benchmark_training.py",
        description=f"{__doc__}\nsystems:\n"
        + "\n".join(f"  {name:<17}{system.about}" for name, system in SYSTEMS.items())
        + "\n  timm-script, timm-script-tuned, torchvision-script, torchvision-script-tuned: "
        "with the options below",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, count = parser.add_argument, number(int, at_least=1)
    add("--sizes", type=number(int, at_least=32), nargs="+", default=[32, 224],
        help="pixels (default: 32 224)")  # fmt: skip
    add("--nets", choices=("v1", "v2"), nargs="+", default=["v1", "v2"])
    add("--widths", type=number(float, above=0), nargs="+", default=[0.25, 1.0],
        help="default: 0.25 1.0")  # fmt: skip
    add("--strides", choices=("cifar", "imagenet"), nargs="+", default=["cifar", "imagenet"],
        help="at 32 pixels (default: both); other sizes have imagenet's")  # fmt: skip
    add("--systems", nargs="+", metavar="NAME", help="default: all")
    add("--rounds", type=count, default=3, help="runs of each system (default: 3)")
    add("--steps", type=number(int, at_least=2), default=20, help="timed steps (default: 20)")
    add("--warmup", type=number(int, at_least=2), default=10,
        help="steps before, in which loaders use up what they had ready (default: 10)")  # fmt: skip
    add("--batch-size", type=count, help="default: 128 at 32 pixels, else 32")
    add("--data", type=Path, metavar="DIR", help="class folders of images; default: random images")
    add("--timm-script", type=find_script, metavar="FILE", help="timm's train.py")
    add("--torchvision-script", type=find_script, metavar="FILE",
        help="torchvision's references/classification/train.py")  # fmt: skip
    add("--output", type=Path, default=Path("runs/benchmark"), metavar="DIR",
        help="for benchmark.csv and benchmark.png (default: runs/benchmark)")  # fmt: skip
    return parser


def find_script(text: str) -> Path:
    """Return the absolute path of an existing file, as argparse takes it for `type`."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return Path(text).absolute()


def choose_systems(args: argparse.Namespace) -> dict[str, System]:
    """Return the systems that were asked for; with a path also a baseline's own script.

    Raises:
        ValueError: a name is unknown.
    """
    known = dict(SYSTEMS)
    for owner in ("timm", "torchvision"):
        if script := getattr(args, f"{owner}_script"):
            both = [systems.make_script(owner, script, tuned) for tuned in (False, True)]
            known |= {system.name: system for system in both}
    for name in args.systems or ():
        check_choice("--systems", name, known)
    return {name: known[name] for name in args.systems or known}


def make_comparisons(args: argparse.Namespace, folder: Path) -> list[Comparison]:
    """Return all comparisons; their data will be in folder/SIZE."""
    return [
        Comparison(
            net=net,
            width=width,
            size=size,
            strides=strides,
            batch_size=args.batch_size or BATCH_SIZES[size == images.SMALL],
            warmup=args.warmup,
            steps=args.steps,
            data=str(folder / str(size)),
        )
        for size in args.sizes
        for strides in (args.strides if size == images.SMALL else ["imagenet"])
        for net in args.nets
        for width in args.widths
    ]


def schedule(
    cases: Sequence[Comparison], chosen: Mapping[str, System], rounds: int
) -> Iterator[tuple[Comparison, str]]:
    """Yield every run in order: within a comparison the systems take turns."""
    for case in cases:
        for _ in range(rounds):
            yield from ((case, name) for name in chosen if chosen[name].supports(case))


def prepare(case: Comparison, chosen: Mapping[str, System], source: Path | None) -> None:
    """Make the data, once for each size, and the checkpoint that eval.py reads."""
    if not Path(case.data).exists():
        count = math.ceil(case.total_steps * case.batch_size / (1 - VAL_SHARE)) + 1
        make = images.make_small if case.is_small else images.make_large
        make(Path(case.data), count, source)
    if "eval-ours" in chosen and not case.checkpoint.exists():
        scratch = case.checkpoint.parents[1]
        scratch.mkdir(parents=True)
        command = systems.train_ours(replace(case, steps=1), "trainer.max_epochs=1")
        try:
            run_system(command, scratch, (1,), tuned=False)
        except RunError as error:
            raise RunError(f"train.py, which makes the checkpoint for eval.py, {error}") from None


def run_all(
    args: argparse.Namespace, chosen: Mapping[str, System], folder: Path, failures: list[str]
) -> list[Record]:
    """Run one system after another; write the CSV file after each, and progress to stderr."""
    turns = list(schedule(make_comparisons(args, folder), chosen, args.rounds))
    if not turns:
        raise ValueError("none of these systems trains any of these nets: see --help")
    results: training.Results = {turn: [] for turn in turns}
    for i, (case, name) in enumerate(turns, 1):
        prepare(case, chosen, args.data)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            try:
                metrics = training.measure(chosen[name], case, Path(scratch))
                results[case, name].append(metrics)
                result = f"{format_rate(metrics['images_per_second'])} images/s"
            except RunError as error:
                failures.append(f"{case} {name} {error}")
                result = "failed"
        print(f"[{i}/{len(turns)}] {case} {name}: {result}", file=sys.stderr)
        records = training.make_records(results)
        write_csv(args.output / "benchmark.csv", records)
    return records


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for; exit with code 1 if a system failed."""
    args = make_parser().parse_args(argv)
    failures: list[str] = []
    try:
        chosen = choose_systems(args)
        args.output.mkdir(parents=True, exist_ok=True)
        title = describe_machine("torch", "torchvision", "pytorch-lightning", "timm")
        title += f", {torch.get_num_threads()} threads"
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            records = run_all(args, chosen, Path(folder), failures)
    except (ValueError, OSError, RunError) as error:
        print_errors(error)
        sys.exit(1)
    print(f"{title}\n\n{training.format_comparisons(records)}\n")
    print(label_lines("file", str(args.output / "benchmark.csv")))
    if panels := training.make_panels(records):
        draw(args.output / "benchmark.png", title, panels)
        print(label_lines("file", str(args.output / "benchmark.png")))
    if failures:
        print_errors(*failures)
        sys.exit(1)


if __name__ == "__main__":
    main()
