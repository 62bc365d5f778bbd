"""A file is recognised by its content, and one that is not read says what it is."""

import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mobilenets.weights.files import limits, read_raw_weights

WEIGHTS = {"stem.weight": torch.arange(6.0).reshape(2, 3)}
READ = "read are files of PyTorch, safetensors"


@pytest.mark.parametrize("name", ["net.pth", "net.h5", "net.safetensors", "net.npz", "model.json"])
def test_the_name_of_a_file_does_not_matter(name, tmp_path):
    torch.save(WEIGHTS, tmp_path / name)
    assert read_raw_weights(tmp_path / name).format == "PyTorch"
    save_file(WEIGHTS, tmp_path / name)
    stored = read_raw_weights(tmp_path / name)
    assert stored.format == "safetensors"
    assert torch.equal(stored.tensors["stem.weight"], WEIGHTS["stem.weight"])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty: the download or the copy failed; read are"),
        (b"<!DOCTYPE html><html>404</html>", "is an HTML page: the download failed, or needs a"),
        (b"\n <HTML><body>", "is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer: fetch"),
        (b"\x1f\x8b\x08\x00abc", "is compressed with gzip: unpack it"),
        (b"BZh91AY", "is compressed with bzip2"),
        (b"\xfd7zXZ\x00\x00", "is compressed with xz"),
        (b"7z\xbc\xaf\x27\x1c\x00\x04", "is a 7z archive"),
        (bytes(257) + b"ustar\x0000", "is a tar archive"),
        (b"\x1c\x00\x00\x00TFL3\x14", "is a TensorFlow Lite model: give the weights"),
        (b"\x08\x01\x12\x9e\x01", "is a TensorFlow SavedModel"),
        (b"\x08\x08\x12\x07pytorch", "is an ONNX model: give the weights that it was made from"),
        (b"\x93NUMPY\x01\x00", r"is one NumPy array: save all of the net's with numpy\.savez"),
        (bytes(100) + bytes.fromhex("57fb808b247547db"), "is part of a TensorFlow checkpoint"),
        (b"weights", "is of no format that is known here"),
    ],
)
def test_a_format_that_is_not_read_is_named(content, sentence, tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path} {sentence}") as raised:
        read_raw_weights(path)
    assert "TensorFlow checkpoint" in sentence or READ in str(raised.value)


@pytest.mark.parametrize("given", ["model.ckpt", "model.ckpt.data-00000-of-00001"])
def test_a_tensorflow_checkpoint_is_told_how_to_become_an_npz(given, tmp_path):
    (tmp_path / "model.ckpt.index").write_bytes(b"x")
    (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(b"numbers")
    with pytest.raises(ValueError, match=r"r = tf\.train\.load_checkpoint\(PREFIX\); numpy\.savez"):
        read_raw_weights(tmp_path / given)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("model.safetensors", save_file),
        ("pytorch_model.bin", torch.save),
    ],
)
def test_a_folder_of_hugging_face_is_read(name, write, tmp_path):
    write(WEIGHTS, tmp_path / name)
    assert list(read_raw_weights(tmp_path).tensors) == ["stem.weight"]


def test_a_folder_prefers_safetensors(tmp_path):
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    torch.save(WEIGHTS, tmp_path / "pytorch_model.bin")
    assert read_raw_weights(tmp_path).format == "safetensors"


def test_a_folder_without_weights_says_what_it_lacks(tmp_path):
    with pytest.raises(ValueError, match=r"and no model\.json, model\.safetensors, pytorch_mod"):
        read_raw_weights(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*net\.pth: give a file of weights"):
        read_raw_weights(tmp_path / "net.pth")


def test_a_file_larger_than_the_limit_is_not_opened(tmp_path, monkeypatch):
    torch.save(WEIGHTS, tmp_path / "net.pth")
    monkeypatch.setattr(limits, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match=r"net\.pth is 0\.0 GB; at most 0\.0 GB are read"):
        read_raw_weights(tmp_path / "net.pth")


def test_a_sparse_file_of_nine_gigabytes_is_not_opened(tmp_path):
    with (tmp_path / "net.pth").open("wb") as file:
        file.truncate(9_300_000_000)
    with pytest.raises(ValueError, match=r"net\.pth is 9\.3 GB; at most 2\.1 GB are read"):
        read_raw_weights(tmp_path / "net.pth")


def test_a_zip_of_something_else_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr("a.npy", "hello")
    with pytest.raises(ValueError, match=r"net\.zip is a zip archive of something else"):
        read_raw_weights(tmp_path / "net.zip")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_an_archive_cut_short_is_damaged(share, tmp_path):
    np.savez(tmp_path / "net.npz", kernel=np.ones((9, 9)))
    content = (tmp_path / "net.npz").read_bytes()
    (tmp_path / "net.npz").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(
        ValueError, match=r"net\.npz can't be read \(BadZipFile: .*\): get it again"
    ):
        read_raw_weights(tmp_path / "net.npz")
