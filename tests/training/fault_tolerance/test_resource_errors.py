"""Errors about memory and workers name the setting to change."""

import pytest
import torch

from mobilenets.training import with_hints


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "batch_size=16"),
        (MemoryError(), "the machine is out of memory: set data.batch_size=16 (now 32) or data"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate"
                         " memory: you tried to allocate 4000000000000 bytes."),
            "the machine is out of memory",
        ),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            "a worker process was killed while loading images, usually because memory ran out: set "
            "data.num_workers=2 (now 4)",
        ),
        (
            RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"),
            "a worker process was killed while loading images",
        ),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible "
                         "that dataloader's workers are out of shared memory. Please try to raise "
                         "your shared memory limit."),
            "shared memory (/dev/shm) is too small",
        ),
        (
            RuntimeError("unable to write to file </torch_7_1_2>: No space left on device (28)"),
            "shared memory (/dev/shm) is too small",
        ),
    ],
)  # fmt: skip
def test_each_error_has_its_sentence(error, sentence):
    with pytest.raises(ValueError) as raised, with_hints(batch_size=32, num_workers=4):
        raise error
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), with_hints(batch_size=32, num_workers=4):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
