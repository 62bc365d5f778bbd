"""The number of CPUs, from the affinity of the process and the limits of its container."""

import os

import pytest

from mobilenets.cpus import num_cpus, read_cpu_quota


def cgroup(tmp_path, line, files):
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "cgroup").write_text(line)
    return tmp_path / "fs", tmp_path / "cgroup"


@pytest.mark.parametrize(
    ("line", "files", "cpus"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, 2),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "100000 100000\n"}, 1),
        ("0::/of/the/host\n", {"cpu.max": "400000 100000\n"}, 4),
        (
            "3:cpu,cpuacct:/a\n2:memory:/b\n",
            {"cpu/a/cpu.cfs_quota_us": "50000\n", "cpu/a/cpu.cfs_period_us": "100000\n"},
            0.5,
        ),
        (
            "3:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            None,
        ),
        ("", {}, None),
    ],
)
def test_the_limit_of_a_container_is_read(tmp_path, line, files, cpus):
    assert read_cpu_quota(*cgroup(tmp_path, line, files)) == cpus


def test_without_cgroups_there_is_no_limit(tmp_path):
    assert read_cpu_quota(tmp_path / "none", tmp_path / "none") is None


@pytest.mark.parametrize(
    ("limit", "cpus"),
    [("max", 4), ("800000", 4), ("400000", 4), ("250000", 2), ("20000", 1)],
)
@pytest.mark.parametrize("affinity", [True, False])
def test_a_container_has_no_more_cpus_than_its_limit_and_at_least_one(
    tmp_path, monkeypatch, limit, cpus, affinity
):
    if affinity:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 4, 6}, raising=False)
    else:  # as on macOS
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert num_cpus(*cgroup(tmp_path, "0::/\n", {"cpu.max": f"{limit} 100000"})) == cpus
