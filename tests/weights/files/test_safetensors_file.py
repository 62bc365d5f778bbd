"""safetensors files are read with their metadata, after a check of the header's size."""

import pytest
import torch
from safetensors.torch import save_file

from mobilenets.weights.files import read_raw_weights

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.arange(3), "c": torch.ones(())}


@pytest.fixture
def path(tmp_path):
    save_file(WEIGHTS, tmp_path / "net", {"format": "pt"})
    return tmp_path / "net"


def test_tensors_and_metadata_are_read(path):
    stored = read_raw_weights(path)
    assert (stored.format, stored.content, stored.ignored) == ("safetensors", {"format": "pt"}, [])
    assert sorted(stored.tensors) == sorted(WEIGHTS)
    assert all(torch.equal(stored.tensors[name], WEIGHTS[name]) for name in WEIGHTS)


def test_a_file_without_metadata_has_no_content(tmp_path):
    save_file(WEIGHTS, tmp_path / "net")
    assert read_raw_weights(tmp_path / "net").content == {}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_stay_as_they_are(dtype, tmp_path):
    save_file({"a": torch.ones(3, dtype=dtype)}, tmp_path / "net")
    assert read_raw_weights(tmp_path / "net").tensors["a"].dtype == dtype


def test_the_prefixes_of_wrappers_are_dropped(tmp_path):
    save_file({f"module.{name}": value for name, value in WEIGHTS.items()}, tmp_path / "net")
    assert sorted(read_raw_weights(tmp_path / "net").tensors) == sorted(WEIGHTS)


def test_a_header_of_any_length_is_recognised(tmp_path):
    """Its low byte comes first, where other formats have their marks: 128 in a pickle."""
    first = set()
    for i in range(256):
        save_file({"a": torch.ones(1)}, tmp_path / "net", {"pad": "x" * i})
        first.add((tmp_path / "net").read_bytes()[0])
        assert read_raw_weights(tmp_path / "net").format == "safetensors"
    assert 128 in first


@pytest.mark.parametrize("length", [1_000, 200_000_000, 2**50])
def test_a_header_longer_than_the_file_is_rejected(length, path):
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(ValueError, match=f"net claims a header of {length:,} bytes, more than the"):
        read_raw_weights(path)


def test_a_header_of_more_than_100_mb_is_rejected_however_large_the_file(path):
    path.write_bytes((150_000_000).to_bytes(8, "little") + path.read_bytes()[8:])
    with path.open("r+b") as file:
        file.truncate(200_000_000)
    with pytest.raises(ValueError, match=r"net claims a header of 150,000,000 bytes"):
        read_raw_weights(path)


def test_a_file_cut_short_is_damaged(path):
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"net is a damaged safetensors file \(.*\): get it again"):
        read_raw_weights(path)


def test_a_form_that_is_not_read_is_named(tmp_path):
    save_file({"a": torch.ones(3).to(torch.float8_e4m3fn)}, tmp_path / "net")
    with pytest.raises(ValueError, match="net holds 'a' in a form that is not read"):
        read_raw_weights(tmp_path / "net")


def test_weights_that_diverged_are_rejected(tmp_path):
    save_file({"a": torch.full((3,), torch.nan)}, tmp_path / "net")
    with pytest.raises(ValueError, match="net holds NaN or infinity in 'a'"):
        read_raw_weights(tmp_path / "net")
