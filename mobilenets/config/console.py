"""Where the messages of a run go on the console, and how scripts answer a wrong command line."""

import argparse
import logging
import sys
from typing import NoReturn, TextIO


class StdoutHandler(logging.StreamHandler):
    """Writes to whatever sys.stdout is at the time: a progress bar redirects it above itself."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)  # StreamHandler's own would set `stream`

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The present standard output."""
        return sys.stdout


class OneLineParser(argparse.ArgumentParser):
    """Answers a wrong command line with one sentence and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Print the message without the usage."""
        self.exit(2, f"{self.prog}: {message}\n")
