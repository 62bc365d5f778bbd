"""What the console shows: a run's messages, a script's progress and its answer to wrong words."""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TextIO

SECONDS_BETWEEN_LINES = 30


class StdoutHandler(logging.StreamHandler):
    """Writes to whatever sys.stdout is at the time: a progress bar redirects it above itself."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)  # StreamHandler's own would set `stream`

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The present standard output."""
        return sys.stdout


class StderrHandler(StdoutHandler):
    """The same of sys.stderr."""

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The present standard error."""
        return sys.stderr


class OneLineParser(argparse.ArgumentParser):
    """Answers a wrong command line with one sentence and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Print the message without the usage."""
        self.exit(2, f"{self.prog}: {message}\n")


@contextmanager
def progress(total: int, file: TextIO | None = None) -> Iterator[Callable[[], None]]:
    """Show how many of the images are done: a bar on a terminal, a line now and then elsewhere.

    Args:
        file: where; None = standard output.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(file=file)
    if console.is_terminal:
        columns = (BarColumn(), MofNCompleteColumn(), "images,", TimeRemainingColumn(), "left")
        # Redirected, a standard output that is a file would get nothing.
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
            print(f"done    {done:,} of {total:,} images, {rate}", file=file)

    yield advance
