"""The number of CPUs that this process may use."""

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PROCESS = Path("/proc/self/cgroup")


def num_cpus(root: Path = CGROUPS, process: Path = PROCESS) -> int:
    """Return the CPUs that the process may run on, or fewer if its container has a limit."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = read_cpu_quota(root, process)
    return cores if quota is None else max(1, min(cores, int(quota)))


def read_cpu_quota(root: Path, process: Path) -> float | None:
    """Return the lowest CPU limit of this process's cgroup and those above it; None = no limit.

    Args:
        root: the mount point of the cgroups, of version 2 or 1.
        process: the file that names the cgroup of this process.
    """
    quotas = []
    for line in process.read_text().splitlines() if process.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "cpu" if controllers else root
        for folder in (own := mount / path.lstrip("/"), *own.parents):
            if folder.is_relative_to(mount):
                quotas += _read_quota(folder)
    return min(quotas, default=None)


def _read_quota(folder: Path) -> list[float]:
    """Return the limit of one cgroup, if any: version 2 writes "max" for none, version 1 -1."""
    names = ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    for files in names:
        if all((folder / name).is_file() for name in files):
            quota, period = " ".join((folder / name).read_text() for name in files).split()
            return [int(quota) / int(period)] if quota not in ("max", "-1") else []
    return []
