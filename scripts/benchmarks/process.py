"""One system's run: a process of its own, its memory, and the dates of its steps."""

import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

SCRIPTS = Path(__file__).parents[1]
CLOCK = Path(__file__).parent / "clock"
PROC = Path("/proc")
INTERVAL = 0.25  # seconds between looks at the memory, at least
LOOKING = 0.02  # the share of a core that looking may take

# glibc keeps what was freed instead of giving it back to the system and faulting it in again.
ALLOCATOR = {
    "GLIBC_TUNABLES": f"glibc.malloc.mmap_threshold={2**30}:"
    f"glibc.malloc.trim_threshold={2**40}:glibc.malloc.top_pad={2**26}"
}


class Run(NamedTuple):
    """What was seen of a process from outside."""

    returncode: int
    marks: list[float]  # seconds from the start of the process to the end of each marked step
    peak: int | None  # bytes, children included; None where the system does not tell


def run(command: Sequence[str], scratch: Path, marks: Sequence[int], tuned: bool) -> Run:
    """Run a command in the folder `scratch`, which gets output.txt, errors.txt and clock.txt.

    Args:
        marks: the numbers of the optimizer's steps, from 1, whose ends are dated.
        tuned: start it with glibc's allocator set for training.
    """
    clock = scratch / "clock.txt"
    path = [str(CLOCK), str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "BENCHMARK_CLOCK": str(clock),
        "BENCHMARK_MARKS": ",".join(map(str, marks)),
        **(ALLOCATOR if tuned else {}),
    }
    peak = None
    with (scratch / "output.txt").open("w") as output, (scratch / "errors.txt").open("w") as errors:
        start = time.time()
        with subprocess.Popen(
            command, cwd=scratch, env=environment, stdout=output, stderr=errors
        ) as process:
            while process.poll() is None:
                begin = time.perf_counter()
                now = tree_pss(process.pid)
                peak = now if peak is None else max(peak, now or 0)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(INTERVAL, (time.perf_counter() - begin) / LOOKING))
    dates = [float(line) for line in clock.read_text().split()] if clock.exists() else []
    return Run(process.returncode, [date - start for date in dates], peak)


def tree_pss(pid: int) -> int | None:
    """Bytes of a process and all below it; pages that several share count once in all (PSS)."""
    if not (PROC / "self" / "smaps_rollup").exists():
        return None
    children: dict[int, list[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            # "PID (NAME) STATE PPID ...", and the name may hold anything
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended since
            continue
        children.setdefault(parent, []).append(int(folder.name))
    tree, total = [pid], 0
    for member in tree:  # which grows meanwhile
        tree += children.get(member, [])
        total += _pss(member)
    return total


def _pss(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
