"""How many CPUs this process may use."""

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PROCESS = Path("/proc/self/cgroup")


def num_cpus(root: Path = CGROUPS, process: Path = PROCESS) -> int:
    """The CPUs allotted: those the process may run on, or fewer where its container has a limit."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = cpu_quota(root, process)
    return cores if quota is None else max(1, min(cores, int(quota)))


def cpu_quota(root: Path, process: Path) -> float | None:
    """CPUs that the cgroup of this process and those above it may use; None = no limit.

    Args:
        root: where the cgroups are mounted, of version 2 or 1.
        process: the file that names this process's own.
    """
    quotas = []
    for line in process.read_text().splitlines() if process.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "cpu" if controllers else root
        for folder in (own := mount / path.lstrip("/"), *own.parents):
            if folder.is_relative_to(mount):
                quotas += _quota(folder)
    return min(quotas, default=None)


def _quota(folder: Path) -> list[float]:
    """The limit of one cgroup: of version 2 "50000 100000" or "max 100000", of version 1 -1."""
    names = ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    for files in names:
        if all((folder / name).is_file() for name in files):
            quota, period = " ".join((folder / name).read_text() for name in files).split()
            return [int(quota) / int(period)] if quota not in ("max", "-1") else []
    return []
