"""Explanations of files that are not read, by what their bytes show them to be."""

import re
from pathlib import Path

READABLE = (
    "read are files of PyTorch, safetensors, Keras (.h5, .keras), TensorFlow.js (model.json) and "
    "NumPy (.npz)"
)
UNPACK = "unpack it and give the file inside"
USE_ORIGINAL = "give the weights that it was made from"
TF_CHECKPOINT = (
    "is part of a TensorFlow checkpoint, which only TensorFlow reads: make an .npz of it with "
    "`r = tf.train.load_checkpoint(PREFIX); numpy.savez('weights.npz', "
    "**{n: r.get_tensor(n) for n in r.get_variable_to_shape_map()})`"
)
TF_INDEX_END = bytes.fromhex("57fb808b247547db")
TF_DATA_NAME = re.compile(r".+\.data-\d{5}-of-\d{5}")  # its content has no mark

# (position, pattern of the bytes there, what the file is)
SIGNS = (
    (0, rb"\s*(<!doctype html|<html)", "is an HTML page: the download failed, or needs a login"),
    (0, rb"version https://git-lfs", "is a Git LFS pointer: fetch the file with `git lfs pull`"),
    (0, rb"\x1f\x8b", f"is compressed with gzip: {UNPACK}"),
    (0, rb"BZh\d", f"is compressed with bzip2: {UNPACK}"),
    (0, rb"\xfd7zXZ\0", f"is compressed with xz: {UNPACK}"),
    (0, rb"7z\xbc\xaf\x27\x1c", f"is a 7z archive: {UNPACK}"),
    (257, rb"ustar", f"is a tar archive: {UNPACK}"),
    (4, rb"TFL3", f"is a TensorFlow Lite model: {USE_ORIGINAL}"),
    (0, rb"\x08\x01\x12", f"is a TensorFlow SavedModel: {USE_ORIGINAL}"),
    (0, rb"\x08[\x03-\x1f][\x12\x1a\x22\x32\x3a\x42]", f"is an ONNX model: {USE_ORIGINAL}"),
    (0, rb"\x93NUMPY", "is one NumPy array: save all of the net's with numpy.savez"),
)


def explain_foreign_file(path: Path, head: bytes) -> str:
    """Explain why a file is not read, in words to follow its path; `head` is its first bytes."""
    if not head:
        return f"is empty: the download or the copy failed; {READABLE}"
    end = _read_end(path, len(TF_INDEX_END))
    if TF_DATA_NAME.fullmatch(path.name) or end == TF_INDEX_END:
        return TF_CHECKPOINT
    for position, sign, kind in SIGNS:
        if re.compile(sign, re.IGNORECASE).match(head, position):
            return f"{kind}; {READABLE}"
    return f"is of no format that is known here: {READABLE}"


def _read_end(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read()
