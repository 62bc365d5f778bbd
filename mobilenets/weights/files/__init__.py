"""Weights files of every common container, recognised by their content, never by their name.

Nothing in a file is executed, and what it unpacks to is bounded. Which net a file holds, and what
the axes of its tensors mean, is decided elsewhere.
"""

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile, is_zipfile

from mobilenets.imports import install_hint
from mobilenets.run_folder import BEST, LAST
from mobilenets.weights.files.foreign import READABLE, TF_CHECKPOINT, explain_foreign_file
from mobilenets.weights.files.keras_file import read_keras_hdf5, read_keras_zip
from mobilenets.weights.files.limits import UnreadableFile, check_size
from mobilenets.weights.files.npz_file import read_npz
from mobilenets.weights.files.raw_weights import RawWeights
from mobilenets.weights.files.safetensors_file import read_safetensors
from mobilenets.weights.files.tfjs_file import MODEL_FILE, read_tfjs
from mobilenets.weights.files.torch_file import DAMAGED, read_torch
from mobilenets.weights.files.zips import open_zip

__all__ = ["HUB_FILES", "RawWeights", "read_raw_weights"]

Reader = Callable[[Path], RawWeights]

HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # names on Hugging Face, the better first
FOLDER_FILES = (MODEL_FILE, *HUB_FILES)  # what is looked for in a folder

HEAD_BYTES = 1024
ZIP = b"PK\x03\x04"
# (position, the bytes there, reader)
READERS: tuple[tuple[int, bytes, Reader], ...] = (
    # The end of the header's length, and the header; first, as a length may begin as others do.
    (7, b"\0{", read_safetensors),
    (0, b"\x80", read_torch),  # a pickle
    (0, b"\x89HDF\r\n\x1a\n", read_keras_hdf5),
    (0, b"{", read_tfjs),
)
# (pattern of members, whether all must match, reader)
ZIP_READERS: tuple[tuple[str, bool, Reader], ...] = (
    (r"[^/]+/data\.pkl", False, read_torch),
    (r"model\.weights\.h5", False, read_keras_zip),
    (r".+\.npy", True, read_npz),
)
TORCHSCRIPT = re.compile(r"[^/]+/constants\.pkl")

# What the readers' libraries raise when they are given garbage.
LIBRARY_ERRORS = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(RuntimeError, MemoryError, BadZipFile, zlib.error),
)


def read_raw_weights(path: Path) -> RawWeights:
    """Read a weights file, or the one in a folder of TensorFlow.js or Hugging Face.

    Raises:
        ValueError: the file can't be read; one sentence with its path, the cause and the fix.
    """
    path = _find_file(path)
    try:
        check_size(path.stat().st_size, "is")
        raw = _choose_reader(path)(path)
        raw.check()
    except UnreadableFile as error:
        raise ValueError(f"{path} {error}") from error.__cause__
    except ModuleNotFoundError as error:
        raise ValueError(f"reading {path} needs {error.name}: {install_hint('keras')}") from None
    except LIBRARY_ERRORS as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(
            f"{path} can't be read ({reason}): get it again if it is damaged or was cut short"
        ) from error
    return raw


def _find_file(path: Path) -> Path:
    """Return the file itself, or the weights file in a folder."""
    if path.is_dir():
        for name in FOLDER_FILES:
            if (path / name).is_file():
                return path / name
        raise ValueError(
            f"{path} holds no {BEST} or {LAST}, and no {', '.join(FOLDER_FILES)}: "
            "give a run folder or a file of weights"
        )
    if path.is_file():
        return path
    if Path(f"{path}.index").is_file():
        raise ValueError(f"{path} {TF_CHECKPOINT}")
    raise ValueError(f"there is no file {path}: give a file of weights or a run folder")


def _choose_reader(path: Path) -> Reader:
    """Choose a reader by the first bytes of the file."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(ZIP):
        if b"/data.pkl" in head and not is_zipfile(path):  # written by torch.save and cut short
            raise UnreadableFile(DAMAGED)
        return _choose_zip_reader(path)
    for position, magic, reader in READERS:
        if head.startswith(magic, position):
            return reader
    raise UnreadableFile(explain_foreign_file(path, head))


def _choose_zip_reader(path: Path) -> Reader:
    """Choose a reader by the members of the archive."""
    with open_zip(path) as archive:
        members = archive.namelist()
    if any(map(TORCHSCRIPT.fullmatch, members)):
        raise UnreadableFile(
            "is a TorchScript program, which is not opened: save its state_dict alone "
            "(torch.save(torch.jit.load(PATH).state_dict(), NEW_PATH)) and use that"
        )
    for pattern, match_all, reader in ZIP_READERS:
        if (all if match_all else any)(re.fullmatch(pattern, member) for member in members):
            return reader
    raise UnreadableFile(
        f"is a zip archive of something else: if it contains weights, unpack it; {READABLE}"
    )
