"""Output of the commands: labelled lines, one-line errors, tables, progress."""

import argparse
import csv
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

LABEL_WIDTH = 8  # columns for the label before a line: "model", "data", "note", ...
SECONDS_BETWEEN_LINES = 30
TABLE_STYLES = ("text", "markdown", "csv")

# Logging


class StdoutHandler(logging.StreamHandler):
    """A handler that looks up sys.stdout for each message, because a progress bar redirects it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)  # StreamHandler's own would set `stream`

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The current standard output."""
        return sys.stdout


class StderrHandler(StdoutHandler):
    """A handler that looks up sys.stderr for each message."""

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The current standard error."""
        return sys.stderr


# Lines


def label_lines(label: str, *lines: str, width: int = LABEL_WIDTH) -> str:
    """Return the lines with a label before the first, and the others indented by its width."""
    return "\n".join(f"{'' if i else label:<{width}}{line}" for i, line in enumerate(lines))


def relative(path: Path) -> str:
    """Return the path relative to the working directory, if that is shorter."""
    with suppress(ValueError):  # Windows: on another drive
        return min(str(path), os.path.relpath(path), key=len)
    return str(path)


def escape_stdout() -> None:
    """Make standard output escape undecodable bytes in file names instead of raising an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


# Errors


def print_errors(*sentences: object) -> None:
    """Print "error: SENTENCE" lines to standard error."""
    for sentence in sentences:
        print(f"error: {sentence}", file=sys.stderr)


def first_line(error: Exception) -> str:
    """Return the type of an error and the first line of its message, for use within a sentence."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


# Command lines


class OneLineParser(argparse.ArgumentParser):
    """An ArgumentParser that rejects a wrong command line with one sentence and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Print the message without the usage, and exit."""
        self.exit(2, f"{self.prog}: {message}\n")


def number(
    kind: type[int] | type[float],
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Callable[[str], Any]:
    """Return a `type` for argparse: a number in a range."""
    noun = "a whole number" if kind is int else "a number"
    if above is not None:
        limit = f"above {above:g}"
    elif at_most is None:
        limit = f"of {at_least:g} or more"
    else:
        limit = f"from {at_least:g} to {at_most:g}"

    def parse(text: str) -> Any:
        with suppress(ValueError):
            value = kind(text)
            in_range = value > above if above is not None else value >= (at_least or 0)
            if in_range and value < float("inf") and (at_most is None or value <= at_most):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {noun} {limit}")

    return parse


# Tables


def format_table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    style: str = "text",
    left: Collection[int] = (0,),
) -> str:
    """Return a table as aligned text, as Markdown or as CSV.

    Args:
        header: a heading for each column.
        rows: the cells of each row; None = an empty cell.
        style: one of `TABLE_STYLES`.
        left: the columns to align left; the others, of numbers, are aligned right.
    """
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if style == "csv":
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([header, *cells])
        return file.getvalue().rstrip("\n")
    from rich import box
    from rich.console import Console
    from rich.table import Table

    markdown = style == "markdown"
    table = Table(
        box=box.MARKDOWN if markdown else None,
        show_edge=markdown,
        padding=(0, 1) if markdown else (0, 2, 0, 0),
    )
    for i, heading in enumerate(header):
        table.add_column(heading, justify="left" if i in left else "right", no_wrap=True)
    for row in cells:
        table.add_row(*row)
    console = Console(
        file=io.StringIO(), width=10_000, color_system=None, markup=False, emoji=False
    )
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if markdown:  # rich's separator line doesn't state the alignment
        dashes = enumerate(lines[1].strip("|").split("|"))
        marks = [dash if i in left else f"{dash[:-1]}:" for i, dash in dashes]
        lines[1] = f"|{'|'.join(marks)}|"
    return "\n".join(lines)


# Progress


@contextmanager
def progress(total: int, file: TextIO | None = None) -> Iterator[Callable[[], None]]:
    """Show how many images are done: a bar on a terminal, otherwise a line every 30 seconds.

    Args:
        total: the number of images.
        file: where to write; None = standard output.

    Yields:
        A function that advances by one image.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(file=file)
    if console.is_terminal:
        columns = (BarColumn(), MofNCompleteColumn(), "images,", TimeRemainingColumn(), "left")
        # A standard output that is a file would get nothing if it were redirected.
        with Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty()) as bar:
            task = bar.add_task("", total=total)
            yield lambda: bar.advance(task)
        return
    start = last = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal done, last
        done += 1
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES or done == total:
            last = now
            rate = f"{done / (now - start):.0f} a second"
            print(label_lines("done", f"{done:,} of {total:,} images, {rate}"), file=file)

    yield advance
