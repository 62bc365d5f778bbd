"""A zip archive can neither unpack to more than it claims nor claim too much."""

import struct
import zipfile

import numpy as np
import pytest
import torch

from mobilenets.weights.files import limits, read_raw_weights


def test_a_bomb_is_rejected_by_what_it_claims(tmp_path):
    path = tmp_path / "net.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(10))
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    struct.pack_into("<I", content, directory + 24, 4_000_000_000)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net\.npz would unpack to 4\.0 GB; at most 2\.1 GB are"):
        read_raw_weights(path)


def test_a_bomb_is_rejected_by_its_ratio(tmp_path):
    path = tmp_path / "net.npz"
    np.savez_compressed(path, a=np.zeros(80_000_000, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"would unpack to 80 MB, 1,0\d\d times its own size"):
        read_raw_weights(path)


@pytest.mark.parametrize("write", ["torch", "keras", "npz"])
def test_every_archive_is_measured_before_it_is_read(write, tmp_path, monkeypatch):
    path = tmp_path / "net"
    names = {"torch": "net/data.pkl", "keras": "model.weights.h5", "npz": "a.npy"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(names[write], bytes(30_000_000))
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(limits, "MAX_BYTES", 20_000_000)
    with pytest.raises(ValueError, match=r"would unpack to 0\.0 GB"):
        read_raw_weights(path)


def test_a_member_is_not_read_past_its_claim(tmp_path):
    path = tmp_path / "net.npz"
    np.savez_compressed(path, a=np.zeros(1_000_000, dtype=np.uint8))
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 1000)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net\.npz can't be read \(BadZipFile: Bad CRC-32"):
        read_raw_weights(path)


def test_too_many_members_are_rejected(tmp_path, monkeypatch):
    torch.save({f"{i}": torch.zeros(1) for i in range(30)}, tmp_path / "net.pth")
    monkeypatch.setattr(limits, "MAX_MEMBERS", 20)
    with pytest.raises(ValueError, match=r"net\.pth holds \d+ members; at most 20 are read"):
        read_raw_weights(tmp_path / "net.pth")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_in_one_go_are_rejected(method, tmp_path):
    with zipfile.ZipFile(tmp_path / "net.npz", "w", method) as archive:
        archive.writestr("a.npy", bytes(1000))
    with pytest.raises(ValueError, match=r"holds 'a\.npy' encrypted or compressed by an unusual"):
        read_raw_weights(tmp_path / "net.npz")
