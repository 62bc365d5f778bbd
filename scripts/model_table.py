"""Print the parameters and multiply-adds of the nets beside those in the papers.

    python scripts/model_table.py mobilenet_v1 --width 1 0.75 0.5 0.25 --resolution 224 192 160 128
    python scripts/model_table.py --paper v2-table-4 --format markdown

A multiply-add (MAC) counts 1, as in the papers; only convolutions and linear layers have any.
"difference" is our count, rounded as in the paper, minus the paper's. The accuracies are the
papers', on ImageNet.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import torch

from mobilenets.console import TABLE_STYLES, OneLineParser, format_table, number
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
    """The exact parameters and multiply-adds of one of our nets."""

    params: int
    macs: int


def measure(model: str, resolution: int, **options: Any) -> Cost:
    """Count a net's parameters and multiply-adds without allocating it."""
    with torch.device("meta"):
        net = create_model(model, **options)
    return Cost(count_parameters(net), count_macs(net, (3, resolution, resolution)))


def format_difference(ours: int, paper: float) -> str:
    """Return ours - paper in millions with the paper's digits: 6108776, 6.9 -> "-0.8"."""
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
    """Return a row of the table; unknown cells are empty."""
    row = [label, "" if width is None else f"{width:g}", str(resolution or "")]
    row += [str(cost.params), str(cost.macs)] if cost else ["", ""]
    if published is None or table is None:
        return [*row, "", "", "", "", "", ""]
    row += [str(published.params), format_difference(cost.params, published.params) if cost else ""]
    row += [str(published.macs), format_difference(cost.macs, published.macs) if cost else ""]
    source, _, number = table.partition("-table-")
    return [*row, str(published.top1), f"{PAPERS[source]} Table {number}"]


def make_model_rows(
    model: str, widths: Sequence[float], resolutions: Sequence[int]
) -> list[list[str]]:
    """Return a row for each width and resolution of one of our nets."""
    rows = []
    for width in widths:
        for resolution in resolutions:
            cost = measure(model, resolution, width_mult=width)
            table, published = find_published(model, resolution, {"width_mult": width})
            rows.append(make_row(model, width, resolution, cost, table, published))
    return rows


def make_paper_rows(table: str) -> list[list[str]]:
    """Return the rows of a paper's table; other authors' nets have no counts of ours."""
    rows = []
    for row in TABLES[table]:
        cost = measure(row.model, row.resolution or 224, **row.options) if row.model else None
        width = row.options.get("width_mult")
        rows.append(make_row(row.label, width, row.resolution, cost, table, row))
    return rows


def format_rows(rows: list[list[str]], style: str) -> str:
    """Return the table in one of `TABLE_STYLES`; CSV has raw numbers."""
    if style == "csv":
        return format_table([column for _, column in COLUMNS], rows, style)
    readable = []
    for name, width, resolution, params, macs, *published in rows:
        if params:
            params, macs = f"{int(params):,}", f"{int(macs) / 1e6:,.1f} M"
        readable.append([name, width, resolution, params, macs, *published])
    header = [heading for heading, _ in COLUMNS]
    return format_table(header, readable, style, left=(0, len(COLUMNS) - 1))


def make_parser() -> OneLineParser:
    """Return the parser of the command line."""
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
        "--resolution",
        type=number(int, above=0),
        nargs="+",
        metavar="R",
        help="image sizes in pixels (default: 224)",
    )
    parser.add_argument(
        "--paper", choices=TABLES, nargs="+", metavar="TABLE", help=f"one of: {', '.join(TABLES)}"
    )
    parser.add_argument("--format", choices=TABLE_STYLES, default="text")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if bool(args.model) == bool(args.paper):
        parser.error("name either a model or, with --paper, tables of the papers")
    if args.paper and (args.width or args.resolution):
        parser.error("--paper has its own widths and resolutions: drop --width and --resolution")
    try:
        if args.paper:
            rows = [row for table in args.paper for row in make_paper_rows(table)]
        else:
            rows = make_model_rows(args.model, args.width or [1.0], args.resolution or [224])
    except ValueError as error:
        parser.error(str(error))
    print(format_rows(rows, args.format))


if __name__ == "__main__":
    main()
