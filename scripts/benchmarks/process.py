"""The run of a system: a process of its own, its memory, and the times of its steps."""

import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

SCRIPTS = Path(__file__).parents[1]
CLOCK = Path(__file__).parent / "clock"
PROC = Path("/proc")
MIN_INTERVAL = 0.25  # seconds between measurements of memory
MAX_SHARE = 0.02  # of a core, for these measurements

# glibc keeps freed memory instead of returning it to the system and faulting it in again.
ALLOCATOR = {
    "GLIBC_TUNABLES": f"glibc.malloc.mmap_threshold={2**30}:"
    f"glibc.malloc.trim_threshold={2**40}:glibc.malloc.top_pad={2**26}"
}


class RunError(Exception):
    """A run without metrics; the message is the end of a sentence about the system."""


def run_system(
    command: Sequence[str], scratch: Path, marks: Sequence[int], tuned: bool
) -> tuple[list[float], int | None]:
    """Run a command in the folder `scratch`, which gets output.txt, errors.txt and clock.txt.

    Args:
        marks: the optimizer steps, counted from 1, whose ends are timed.
        tuned: start it with glibc's allocator set for training.

    Returns:
        Seconds from its start to the end of each mark, and its peak memory in bytes (or None).
    """
    clock, errors = scratch / "clock.txt", scratch / "errors.txt"
    path = [str(CLOCK), str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | (ALLOCATOR if tuned else {})
    environment |= {
        "PYTHONPATH": os.pathsep.join(path),
        "TORCH_DEVICE_BACKEND_AUTOLOAD": "1",  # torch starts the clock
        "BENCHMARK_CLOCK": str(clock),
        "BENCHMARK_MARKS": ",".join(map(str, marks)),
    }
    peak, start = None, time.time()
    with (
        (scratch / "output.txt").open("w") as out,
        errors.open("w") as err,
        subprocess.Popen(command, cwd=scratch, env=environment, stdout=out, stderr=err) as run,
    ):
        while run.poll() is None:
            begin = time.perf_counter()
            if (now := measure_memory(run.pid)) is not None:
                peak = max(peak or 0, now)
            with suppress(subprocess.TimeoutExpired):
                run.wait(max(MIN_INTERVAL, (time.perf_counter() - begin) / MAX_SHARE))
    if run.returncode:
        last = (errors.read_text().strip().splitlines() or ["no message"])[-1]
        raise RunError(f"ended with exit code {run.returncode}: {last}")
    times = [float(line) for line in clock.read_text().split()] if clock.exists() else []
    return [end - start for end in times], peak


def measure_memory(pid: int) -> int | None:
    """Return the bytes of a process and its descendants; shared pages count once in all (PSS)."""
    if not (PROC / "self" / "smaps_rollup").exists():
        return None
    children: dict[int, list[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has ended since
            # "PID (NAME) STATE PPID ...", and the name may hold anything
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    tree, total = [pid], 0
    for member in tree:  # grows on the way
        tree += children.get(member, [])
        with suppress(OSError):
            lines = (PROC / str(member) / "smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total
