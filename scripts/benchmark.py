"""Measure the latency of predictions by net, width, resolution, batch size, threads and backend.

    python scripts/benchmark.py
    python scripts/benchmark.py runs/cifar10/mobilenet_v2_1.0/2026-11-23_10-00-00 --batch-size 1 32
    python scripts/benchmark.py mobilenet_v1 mobilenet_v2 --width 1 0.75 0.5 \\
        --resolution 224 192 160 128 --backends folded onnxruntime

Everything runs in one process and takes turns: each round calls every backend of every net once,
right after a call that doesn't count, so that other load on the machine affects all alike. "5 %"
and "95 %" are percentiles of the calls' milliseconds. "of eager" is the speed relative to eager
PyTorch with the same net, images and threads. Nets given by name have random weights and the
ImageNet accuracy that their authors published; files have the accuracy of their run. The accuracy
in int8 isn't known here: `scripts/export.py` measures it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mobilenets.console import OneLineParser, label_lines, number, print_errors
from mobilenets.imports import lean_imports

RESOLUTION = 224  # the default for nets given by name
BACKENDS = ("eager", "channels_last", "folded", "onnxruntime", "int8")


def make_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = OneLineParser(
        prog="benchmark.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, count = parser.add_argument, number(int, above=0)
    add("nets", nargs="*", metavar="NET", default=["mobilenet_v1", "mobilenet_v2"],
        help="names of nets, checkpoints, run folders or files of weights "
        "(default: mobilenet_v1 mobilenet_v2)")  # fmt: skip
    add("--width", type=number(float, above=0), nargs="+", metavar="W", default=[1.0],
        help="width multipliers of nets given by name (default: 1)")  # fmt: skip
    add("--resolution", type=count, nargs="+", metavar="R",
        help=f"pixels (default: as in the file, {RESOLUTION} for nets given by name)")  # fmt: skip
    add("--batch-size", type=count, nargs="+", metavar="N", default=[1], help="default: 1")
    add("--threads", type=count, nargs="+", metavar="N",
        help="default: one for each CPU that this process may use")  # fmt: skip
    add("--backends", nargs="+", metavar="BACKEND", default=list(BACKENDS),
        help=f"default: {' '.join(BACKENDS)}; there is also compiled")  # fmt: skip
    add("--device", default="cpu", help="where PyTorch runs, such as cuda (default: cpu)")
    add("--rounds", type=number(int, at_least=2), default=40,
        help="calls of each backend that count (default: 40)")  # fmt: skip
    add("--keep-memory", action="store_true",
        help="make glibc keep freed memory, as train.py and eval.py do")  # fmt: skip
    add("--format", choices=("text", "markdown"), default="text", help="of the table")
    add("--output", type=Path, default=Path("runs/benchmark"), metavar="DIR",
        help="for predictions.csv and predictions.png (default: runs/benchmark)")  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for; print a table, write a CSV file and a picture."""
    args = make_parser().parse_args(argv)
    # Imported here: --help answers before torch is loaded.
    with lean_imports():
        from benchmarks import predictions
        from benchmarks.results import describe_machine, draw, format_records, write_csv
    if args.keep_memory:
        from mobilenets.training.hardware import keep_freed_memory

        keep_freed_memory()
    csv, picture = args.output / "predictions.csv", args.output / "predictions.png"
    done: list[predictions.Case] = []
    try:
        predictions.check_backends(args.backends, args.device)
        cases = predictions.make_cases(args, RESOLUTION)
        args.output.mkdir(parents=True, exist_ok=True)
        title = describe_machine("torch", "onnxruntime")
        for group in predictions.measure(cases, args.backends, args.device, args.rounds):
            done += group
            records = [
                predictions.make_record(case, name, args.device)
                for case in done
                for name in args.backends
            ]
            write_csv(csv, records)
            print(f"[{len(done)}/{len(cases)}] nets, batch sizes and threads", file=sys.stderr)
    except (ValueError, OSError) as error:
        print_errors(error)
        sys.exit(1)
    title += f"{', glibc keeps freed memory' * args.keep_memory}; medians of {args.rounds} calls"
    print(f"{title}\n\n{format_records(predictions.HEADINGS, records, args.format)}\n")
    print(label_lines("file", str(csv)))
    if points := predictions.select_points(records):
        draw(picture, title, predictions.make_panels(points))
        print(label_lines("file", str(picture)))
    else:
        print(label_lines("note", "no picture: the accuracy of these nets is unknown"))


if __name__ == "__main__":
    main()
