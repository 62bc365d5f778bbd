"""What ends a run from outside: it finishes its step, is saved, and can go on later."""

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


class Signals:
    """Remembers SIGINT, SIGTERM and, under SLURM, SIGUSR1 until a run is saved.

    A second SIGINT leaves at once.
    """

    def __init__(self) -> None:
        self.received = 0  # a signal's number

    def begin(self) -> None:
        """Listens from now on, in place of Lightning, whose handlers lose the step."""
        listen(self.remember)

    def remember(self, number: int, frame: Any) -> None:
        """Takes a signal."""
        if self.received and number == signal.SIGINT:
            os._exit(EXIT_CODES[signal.SIGINT])
        self.received = self.received or number
        name = signal.Signals(number).name
        os.write(2, f"{name}: finishing the step, saving (Ctrl-C leaves at once)\n".encode())


def leave(number: int, frame: Any = None) -> NoReturn:
    """Ends the process after a signal; after SIGUSR1 the first process has SLURM start it again."""
    if number == SIGUSR1 and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        requeue(os.environ["SLURM_JOB_ID"])
    raise SystemExit(EXIT_CODES[signal.Signals(number)])


def requeue(job: str) -> None:
    """Has SLURM start a job again, from its command line."""
    command = ["scontrol", "requeue", job]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        log.error(f"{' '.join(command)} failed ({error}): start the job again yourself")


def listen(handler: Callable[[int, Any], Any]) -> None:
    """Has signals handled so from now on; Lightning puts things back at the end of its work."""
    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)
    if "SLURM_JOB_ID" in os.environ:
        signal.signal(signal.SIGUSR1, handler)  # SLURM runs on Linux
