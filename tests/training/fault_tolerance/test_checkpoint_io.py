"""A checkpoint is either complete or absent, whatever happens while it is written."""

import errno
import os

import pytest
import torch

from mobilenets.run_folder import is_valid_checkpoint
from mobilenets.training import AtomicCheckpointIO


def step(path):
    return torch.load(path, weights_only=True)["step"]


def test_the_last_file_is_kept_until_and_after_the_next_is_complete(tmp_path):
    last = tmp_path / "last.ckpt"
    for number in range(3):
        AtomicCheckpointIO().save_checkpoint({"step": number}, last)
    assert (step(last), step(tmp_path / "previous.ckpt")) == (2, 1)
    AtomicCheckpointIO().save_checkpoint({"step": 7}, tmp_path / "best.ckpt")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.ckpt", "last.ckpt", "previous.ckpt",
    ]  # fmt: skip


def test_a_file_system_without_hard_links_is_enough(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    last = tmp_path / "last.ckpt"
    for number in range(3):
        AtomicCheckpointIO().save_checkpoint({"step": number}, last)
    assert (step(last), step(tmp_path / "previous.ckpt")) == (2, 1)


@pytest.mark.parametrize("place", ["fsync", "link", "rename", "replace"])
def test_the_process_may_end_anywhere(place, tmp_path, monkeypatch):
    """At each system call there is a valid checkpoint, and at most a partial file is left over."""

    class Killed(BaseException):
        pass

    def kill(*_, **__):
        raise Killed

    last = tmp_path / "last.ckpt"
    for number in range(2):
        AtomicCheckpointIO().save_checkpoint({"step": number}, last)
    monkeypatch.setattr(os, place, kill)
    try:
        AtomicCheckpointIO().save_checkpoint({"step": 2}, last)
    except Killed:
        assert step(last) == 1
    else:
        assert place == "rename"
        assert step(last) == 2


def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(tmp_path, monkeypatch):
    last = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, last)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        AtomicCheckpointIO().save_checkpoint({"step": 2}, last)
    assert error.value.filename == str(last)
    assert step(last) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_every_bit_of_the_tensors_counts(tmp_path):
    path = tmp_path / "last.ckpt"
    values = torch.arange(1000, dtype=torch.float32)
    AtomicCheckpointIO().save_checkpoint({"values": values}, path)
    content = path.read_bytes()
    assert is_valid_checkpoint(path)
    start = content.index(values.numpy().tobytes()[:64])
    for offset in range(0, 4000, 500):
        damaged = bytearray(content)
        damaged[start + offset] ^= 1
        path.write_bytes(damaged)
        assert torch.load(path, weights_only=True)["values"].shape == (1000,), "nothing is noticed"
        assert not is_valid_checkpoint(path)
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert not is_valid_checkpoint(path)
    assert not is_valid_checkpoint(tmp_path / "none.ckpt")
