"""Where the messages of a run go on the console."""

import logging
import sys
from typing import TextIO


class StdoutHandler(logging.StreamHandler):
    """Writes to whatever sys.stdout is at the time: a progress bar redirects it above itself."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)  # StreamHandler's own would set `stream`

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The present standard output."""
        return sys.stdout
