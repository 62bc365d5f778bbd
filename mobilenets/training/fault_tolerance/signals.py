"""Signals that end a run: it finishes its step, is saved, and can be resumed later."""

import logging
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any, NoReturn

from pytorch_lightning.utilities import rank_zero_only

log = logging.getLogger("mobilenets")

SIGUSR1 = getattr(signal, "SIGUSR1", None)  # Windows has none
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, SIGUSR1: 75}  # 75: EX_TEMPFAIL


class SignalListener:
    """A listener that remembers SIGINT, SIGTERM and, under SLURM, SIGUSR1 until a run is saved.

    A second SIGINT ends the process at once.
    """

    def __init__(self) -> None:
        self.received = 0  # the number of the first signal; 0 = none

    def start(self) -> None:
        """Start to listen, in place of Lightning, whose handlers lose the current step."""
        set_handler(self.receive)

    def receive(self, number: int, frame: Any) -> None:
        """Handle a signal."""
        if self.received and number == signal.SIGINT:
            os._exit(EXIT_CODES[signal.SIGINT])
        self.received = self.received or number
        name = signal.Signals(number).name
        os.write(2, f"{name}: finishing the step, then saving (Ctrl-C exits at once)\n".encode())


def exit_after(number: int, frame: Any = None) -> NoReturn:
    """End the process after a signal; after SIGUSR1, rank 0 first asks SLURM to requeue the job."""
    if number == SIGUSR1 and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        requeue(os.environ["SLURM_JOB_ID"])
    raise SystemExit(EXIT_CODES[signal.Signals(number)])


def requeue(job: str) -> None:
    """Ask SLURM to run a job again, with the same command line."""
    command = ["scontrol", "requeue", job]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        log.error(f"{' '.join(command)} failed ({error}): submit the job again yourself")


def set_handler(handler: Callable[[int, Any], Any]) -> None:
    """Handle signals with `handler`, until Lightning restores its own at the end of its work."""
    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)
    if "SLURM_JOB_ID" in os.environ:
        signal.signal(signal.SIGUSR1, handler)  # SLURM runs on Linux
