"""Tuning the process: memory, threads, kernels, and algorithms of cuDNN."""

import ctypes
import subprocess
import sys

import pytest
import torch
from torch.backends import cudnn

from mobilenets.training import hardware
from mobilenets.training.hardware import (
    DeterministicEval,
    compile_net,
    keep_freed_memory,
    limit_threads,
    tune_process,
)


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """A machine without settings of the user; torch's settings are restored afterwards."""
    for name in ("GLIBC_TUNABLES", "OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_float32_matmul_precision(), cudnn.benchmark, cudnn.deterministic
    threads = torch.get_num_threads()
    yield
    torch.set_float32_matmul_precision(before[0])
    cudnn.benchmark, cudnn.deterministic = before[1:]
    torch.set_num_threads(threads)


@pytest.fixture
def calls(monkeypatch):
    """The calls of mallopt in a process whose C library is glibc and accepts all but `refused`."""
    calls = []

    class Library:
        refused = ()

        def mallopt(self, option, value):
            calls.append((option, value))
            return int(option not in self.refused)

    library = Library()
    monkeypatch.setattr(hardware, "_glibc", lambda: library)
    return {"made": calls, "library": library}


def test_malloc_keeps_freed_memory(calls):
    assert keep_freed_memory()
    assert dict(calls["made"]) == {-3: 2**30, -1: -1, -2: 64 * 2**20}


def test_an_old_glibc_that_refuses_the_threshold_maps_nothing_at_all(calls):
    calls["library"].refused = (-3,)
    assert keep_freed_memory()
    assert (-4, 0) in calls["made"]


def test_what_glibc_refuses_is_not_reported_as_done(calls):
    calls["library"].refused = (-1,)
    assert not keep_freed_memory()
    assert tune_process(True, "cpu") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"), ("MALLOC_TRIM_THRESHOLD_", "1000000")],
)
def test_a_malloc_that_the_user_has_set_stays_so(calls, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert not keep_freed_memory()
    assert not calls["made"]


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_left_alone(monkeypatch, system):
    monkeypatch.setattr(sys, "platform", system)
    assert not keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch):
    class Musl:
        malloc = ctypes.CFUNCTYPE(None)()

        def __init__(self, name):
            pass

    monkeypatch.setattr(ctypes, "CDLL", Musl)
    assert not keep_freed_memory()


def test_another_allocator_is_left_alone(monkeypatch):
    libraries = iter([1, 2])
    monkeypatch.setattr(hardware, "_find_library", lambda process, function: next(libraries))
    assert not keep_freed_memory()


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted on Linux")
def test_a_step_takes_no_page_faults():
    if hardware._glibc() is None:
        pytest.skip("the C library is not glibc")
    code = """
import resource, torch
from mobilenets.training import tune_process
def step():
    return [torch.ones(2**24) for _ in range(3)]  # of 64 MiB
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for tune in (False, True):
    tune_process(tune, "cpu")
    step()
    print(min(faults() for _ in range(5)))  # the kernel may take pages away in between
"""
    off, on = map(int, subprocess.check_output([sys.executable, "-c", code]).split())
    assert on < 20
    assert off > 90, "one for each page, were it a huge one of 2 MiB"


@pytest.mark.skipif(sys.platform != "linux", reason="the resident set is read from /proc")
def test_the_end_of_training_returns_its_freed_memory():
    if hardware._glibc() is None:
        pytest.skip("the C library is not glibc")
    code = """
import torch
from mobilenets.training import TrimMalloc, tune_process
tune_process(True, "cpu")
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before = resident()
blocks = [torch.ones(2**24) for _ in range(4)]  # of 64 MiB
rest = torch.ones(2**10)  # above them, so that the heap can't just be cut
del blocks
kept = resident()
TrimMalloc().on_fit_end(None, None)
print(kept - before, resident() - before)
"""
    kept, left = map(int, subprocess.check_output([sys.executable, "-c", code]).split())
    assert kept > 4 * 2**26 > 2**26 > left


def test_kernels_are_compiled_if_asked_on_a_cpu(monkeypatch, calls):
    monkeypatch.setattr(hardware, "load_native", lambda enabled: enabled)
    entry = "compiled kernels"
    assert entry in tune_process(True, "cpu", kernels=True)
    assert entry not in tune_process(True, "cpu")
    assert entry not in tune_process(False, "cpu", kernels=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert entry not in tune_process(True, "auto", kernels=True)


def test_threads_are_no_more_than_the_cpus_allotted(monkeypatch):
    monkeypatch.setattr(hardware, "num_cpus", lambda: 2)
    torch.set_num_threads(2)
    assert limit_threads() is None
    torch.set_num_threads(8)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert limit_threads() is None, "the user has set the number"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert limit_threads() == torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("enabled", "accelerator", "fast"),
    [(True, "auto", True), (True, "gpu", True), (True, "cpu", False), (False, "auto", False)],
)
def test_multiplications_are_fast_on_cuda_only_and_only_if_asked(
    monkeypatch, calls, enabled, accelerator, fast
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for _ in range(2):  # as in a sweep, where the job before has left its own
        assert ("TF32" in tune_process(enabled, accelerator)) == fast
        assert torch.get_float32_matmul_precision() == ("high" if fast else "highest")
        assert cudnn.benchmark == fast
        torch.set_float32_matmul_precision("medium")
        cudnn.benchmark = not fast


@pytest.mark.parametrize(
    ("accelerator", "mode"),
    [("auto", "reduce-overhead"), ("cuda", "reduce-overhead"), ("cpu", None)],
)
def test_cuda_gets_graphs(monkeypatch, accelerator, mode):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    modes = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda net, mode: modes.append(mode))
    compile_net(torch.nn.Identity(), accelerator)
    assert modes == [mode]


def test_a_process_that_is_not_tuned_is_left_alone(calls):
    assert tune_process(False) == []
    assert not calls["made"]


@pytest.mark.parametrize("phase", ["validation", "test"])
def test_evaluation_uses_deterministic_algorithms_and_training_what_it_used_before(phase):
    callback = DeterministicEval()
    cudnn.benchmark, cudnn.deterministic = True, False
    getattr(callback, f"on_{phase}_start")(None, None)
    assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
    getattr(callback, f"on_{phase}_end")(None, None)
    assert (cudnn.benchmark, cudnn.deterministic) == (True, False)
