"""What a file is that is not read, as far as its bytes tell."""

import re
from pathlib import Path

READ = (
    "read are files of PyTorch, safetensors, Keras (.h5, .keras), TensorFlow.js (model.json) and "
    "NumPy (.npz)"
)
UNPACK = "unpack it and give what is in it"
CONVERTED = "give the weights that it was made from"
TF_CHECKPOINT = (
    "is part of a TensorFlow checkpoint, which only TensorFlow reads: make an .npz of it with "
    "`r = tf.train.load_checkpoint(PREFIX); numpy.savez('weights.npz', "
    "**{n: r.get_tensor(n) for n in r.get_variable_to_shape_map()})`"
)
TF_TABLE_END = bytes.fromhex("57fb808b247547db")  # of an .index file
TF_DATA_NAME = re.compile(r".+\.data-\d{5}-of-\d{5}")  # has no mark of its own

# (position, bytes there, what it is)
SIGNS = (
    (0, rb"\s*(<!doctype html|<html)", "is an HTML page: the download failed, or needs a login"),
    (0, rb"version https://git-lfs", "is a Git LFS pointer: fetch the file with `git lfs pull`"),
    (0, rb"\x1f\x8b", f"is compressed with gzip: {UNPACK}"),
    (0, rb"BZh\d", f"is compressed with bzip2: {UNPACK}"),
    (0, rb"\xfd7zXZ\0", f"is compressed with xz: {UNPACK}"),
    (0, rb"7z\xbc\xaf\x27\x1c", f"is a 7z archive: {UNPACK}"),
    (257, rb"ustar", f"is a tar archive: {UNPACK}"),
    (4, rb"TFL3", f"is a TensorFlow Lite model: {CONVERTED}"),
    (0, rb"\x08\x01\x12", f"is a TensorFlow SavedModel: {CONVERTED}"),
    (0, rb"\x08[\x03-\x1f][\x12\x1a\x22\x32\x3a\x42]", f"is an ONNX model: {CONVERTED}"),
    (0, rb"\x93NUMPY", "is one NumPy array: save all of the net's with numpy.savez"),
)


def describe(path: Path, head: bytes) -> str:
    """The words that follow the path of a file that no reader knows; `head` is its beginning."""
    if not head:
        return f"is empty: the download or the copy failed; {READ}"
    if TF_DATA_NAME.fullmatch(path.name) or _tail(path).endswith(TF_TABLE_END):
        return TF_CHECKPOINT
    for position, sign, what in SIGNS:
        if re.compile(sign, re.IGNORECASE).match(head, position):
            return f"{what}; {READ}"
    return f"is of no format that is known here: {READ}"


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(TF_TABLE_END)))
        return file.read()
