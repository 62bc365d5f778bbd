"""Parameters and multiply-adds of the nets, beside the figures that the papers print.

    python scripts/model_table.py mobilenet_v1 --width 1 0.75 0.5 0.25 --resolution 224 192 160 128
    python scripts/model_table.py --paper v2-table-4 --format markdown

A multiply-add (MAC) counts 1, as in the papers; only convolutions and linear layers have any.
"difference" is ours, rounded as the paper rounds, minus the paper's. The accuracies are the
papers', measured by their authors on ImageNet.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import torch

from mobilenets.console import OneLineParser
from mobilenets.models import count_macs, count_parameters, create_model, list_models
from mobilenets.models.published import PAPERS, TABLES, Published, find_published

# (heading in text and Markdown, column in CSV)
COLUMNS = (
    ("model", "model"),
    ("width", "width"),
    ("pixels", "resolution"),
    ("params", "params"),
    ("MACs", "macs"),
    ("paper: params (M)", "paper_params_millions"),
    ("difference", "params_difference_millions"),
    ("paper: MACs (M)", "paper_macs_millions"),
    ("difference", "macs_difference_millions"),
    ("paper: top-1 (%)", "paper_top1_percent"),
    ("source", "source"),
)


@dataclass
class Cost:
    """What our net costs: exact counts."""

    params: int
    macs: int


def measure(model: str, resolution: int, **options: Any) -> Cost:
    """Count without allocating the net."""
    with torch.device("meta"):
        net = create_model(model, **options)
    return Cost(count_parameters(net), count_macs(net, (3, resolution, resolution)))


def difference(ours: int, paper: float) -> str:
    """ours - paper in millions, with the paper's number of digits: 6108776, 6.9 -> "-0.8"."""
    printed = Decimal(str(paper))
    return f"{(Decimal(ours) / 10**6).quantize(printed, ROUND_HALF_UP) - printed:+}"


def make_row(
    label: str,
    width: float | None,
    resolution: int | None,
    cost: Cost | None,
    table: str | None,
    published: Published | None,
) -> list[str]:
    """One line of the table; what is unknown stays empty."""
    row = [label, "" if width is None else f"{width:g}", str(resolution or "")]
    row += [str(cost.params), str(cost.macs)] if cost else ["", ""]
    if published is None or table is None:
        return [*row, "", "", "", "", "", ""]
    row += [str(published.params), difference(cost.params, published.params) if cost else ""]
    row += [str(published.macs), difference(cost.macs, published.macs) if cost else ""]
    source, _, number = table.partition("-table-")
    return [*row, str(published.top1), f"{PAPERS[source]} Table {number}"]


def model_rows(model: str, widths: Sequence[float], resolutions: Sequence[int]) -> list[list[str]]:
    """One row for each width and resolution of one of our nets."""
    rows = []
    for width in widths:
        for resolution in resolutions:
            cost = measure(model, resolution, width_mult=width)
            table, published = find_published(model, resolution, {"width_mult": width})
            rows.append(make_row(model, width, resolution, cost, table, published))
    return rows


def paper_rows(table: str) -> list[list[str]]:
    """The rows of a paper's table; other people's nets only with their published figures."""
    rows = []
    for row in TABLES[table]:
        cost = measure(row.model, row.resolution or 224, **row.options) if row.model else None
        width = row.options.get("width_mult")
        rows.append(make_row(row.label, width, row.resolution, cost, table, row))
    return rows


def print_table(rows: list[list[str]], style: str) -> None:
    """Write the rows to the standard output as "text", "markdown" or "csv"."""
    if style == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([[column for _, column in COLUMNS], *rows])
        return
    lines = [[heading for heading, _ in COLUMNS]]
    for name, width, resolution, params, macs, *published in rows:
        if params:
            params, macs = f"{int(params):,}", f"{int(macs) / 1e6:,.1f} M"
        lines.append([name, width, resolution, params, macs, *published])
    if style == "markdown":
        lines.insert(1, [":--", *["--:"] * (len(COLUMNS) - 2), ":--"])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        cells[0], cells[-1] = line[0].ljust(widths[0]), line[-1].ljust(widths[-1])
        print(f"| {' | '.join(cells)} |" if style == "markdown" else "  ".join(cells).rstrip())


def make_parser() -> OneLineParser:
    """The command line."""
    parser = OneLineParser(
        prog="model_table.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", nargs="?", help=f"one of: {', '.join(list_models())}")
    parser.add_argument(
        "--width", type=float, nargs="+", metavar="W", help="width multipliers (default: 1)"
    )
    parser.add_argument(
        "--resolution", type=pixels, nargs="+", metavar="R", help="image sizes (default: 224)"
    )
    parser.add_argument(
        "--paper", choices=TABLES, nargs="+", metavar="TABLE", help=f"one of: {', '.join(TABLES)}"
    )
    parser.add_argument("--format", choices=("text", "markdown", "csv"), default="text")
    return parser


def pixels(text: str) -> int:
    """An image size from the command line."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels above 0")
    return int(text)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table that the command line asks for."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if bool(args.model) == bool(args.paper):
        parser.error("name either a model or, with --paper, tables of the papers")
    if args.paper and (args.width or args.resolution):
        parser.error("--paper has widths and resolutions of its own: drop --width, --resolution")
    try:
        if args.paper:
            rows = [row for table in args.paper for row in paper_rows(table)]
        else:
            rows = model_rows(args.model, args.width or [1.0], args.resolution or [224])
    except ValueError as error:
        parser.error(str(error))
    print_table(rows, args.format)


if __name__ == "__main__":
    main()
