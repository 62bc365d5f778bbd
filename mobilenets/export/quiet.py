"""Silence for exporters, which print and warn a lot; their errors are exceptions."""

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings, log messages, and what Python or compiled code prints."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = logging.root.manager.disable
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    with (
        tempfile.TemporaryFile("w+") as sink,
        redirect_stdout(sink),
        redirect_stderr(sink),
        warnings.catch_warnings(action="ignore"),
    ):
        try:
            logging.disable(logging.ERROR)
            for descriptor in (1, 2):
                os.dup2(sink.fileno(), descriptor)
            yield
        finally:
            logging.disable(before)
            for descriptor, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
